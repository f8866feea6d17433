"""The guest's half of guests: a session that is created, stored, resumed, replaced; its handshake, messages and end."""

from __future__ import annotations

from harness.core import ops
from harness.core.events import Delivered, RateLimited, Refusal, SessionEnded, Unrecognised, Violation
from harness.core.link import GOING_AWAY
from harness.core.misbehaviour import no_backoff, no_jitter
from harness.core.session import Context, Op, Socket
from harness.core.stamps import show_iso
from harness.core.wire import HttpResponse, SocketEnd
from harness.dialects.guests_frames import (
    Created,
    Frame,
    decode,
    end_frame,
    handshake_frame,
    message_frame,
    socket_path,
    typing_frame,
)
from harness.dialects.guests_jwt import Claims
from harness.dialects.guests_probes import probes
from harness.dialects.guests_rest import GuestsRest
from harness.dialects.guests_settings import GuestsSettings
from harness.dialects.guests_store import SHORT_LIFE, Activity, ActivityLog, Saved, SessionStore
from harness.dialects.registry import Dialect
from harness.errors import FailureCause

_MS = 10**6
_NOBODY = Saved("", "", "", 0, 0)


class GuestsSession(GuestsRest):
    """One guest of the guests dialect."""

    _close_reason = "Widget disconnect"

    def __init__(self, context: Context, settings: GuestsSettings) -> None:
        super().__init__(context, settings)
        self.store = SessionStore()
        self._log = ActivityLog(settings.activity_limit)
        self._saved = _NOBODY
        self._created_ns = 0
        """When the session began; -1: the guest has forgotten."""
        self._expires_ns = self._due_ns = self._replace_by_ns = 0
        """When the token runs out; when the session should, and when it must, be replaced. 0: never."""
        self._heard = False
        """Whether the server has spoken on the present socket, which it does to those alone whose handshake it took."""
        self._rejections = 0
        self._forsaken: FailureCause | None = None
        """Why the session cannot be gone on with, once the link is down."""
        self._syncs = self._sync_due = False

    @property
    def activity(self) -> tuple[Activity, ...]:
        """The log of the present session, or of the last one."""
        return self._log.entries()

    def _secrets(self) -> tuple[str, ...]:
        return (*super()._secrets(), self._saved.guest_token)

    def _log_event(self, now: int, event: str, **details: object) -> None:
        self._log.add(show_iso(self._wall(now)), event, **details)

    # ---------------------------------------------------------------- beginning
    def _begin_conversation(self, now: int) -> None:
        self._saved, self._forsaken = _NOBODY, None
        self._created_ns = self._expires_ns = self._due_ns = self._replace_by_ns = self._rejections = 0
        self._syncs = self._sync_due = False
        self.store.clear()
        super()._begin_conversation(now)

    def _prepare(self, now: int) -> None:
        if not self._saved.guest_id:
            self._create_guest(now)
        elif self._outlived(now):
            self._renew(now, "renewed")
        else:
            self._connect(now)

    def _adopt(self, now: int, created: Created, claims: Claims) -> None:
        wall = self._wall(now)
        self._saved = Saved(created.guest_id, created.guest_token, created.session_id, wall // _MS, claims.expires_ns // _MS)
        self.store.save(self._saved)
        self.conversation_id = created.session_id
        self._created_ns = now
        self._expires_ns = claims.expires_ns - wall + now if claims.expires_ns else 0
        if not self.settings.load_only_expiry:
            self._plan_replacement(now)
        self._log.clear()
        self._log_event(now, "session_started", duration_ms=0)
        self._syncs = self._sync_due = self.rng.random() < self.settings.profile_sync
        self._connect(now)

    def _socket_target(self) -> tuple[str, str]:
        return "org", socket_path(self._saved.guest_id, self._saved.session_id)

    def _frame_endpoint(self) -> str:
        return "WS /api/v2/guests/{id}/sessions/{id}/ws"

    def _greet(self, now: int, socket: Socket) -> None:
        socket.ready_ns = now
        self._heard = False
        self._send(socket.conn, handshake_frame(self._saved.guest_token))
        self._arm("lived", now + self.settings.handshake_grace)

    def _let_in(self, now: int, socket: Socket) -> None:
        self._disarm("lived")
        super()._let_in(now, socket)
        if self._sync_due and self.phase == "live":
            self._sync_due = False
            self._sync_profile(now, self._saved.guest_id)

    def _settle(self, now: int) -> None:
        super()._settle(now)
        self._rejections = 0

    # ---------------------------------------------------------------- the session's life
    def _plan_replacement(self, now: int) -> None:
        """A session with little life left is replaced; one that never has more than that, at half of it."""
        if not self._expires_ns:
            return
        settings, life = self.settings, self._expires_ns - now
        ahead = settings.renew_ahead if life >= 2 * settings.renew_ahead else max(life, 0) // 2
        self._due_ns = self._expires_ns - ahead
        self._replace_by_ns = self._due_ns + min(settings.renew_patience, ahead // 2)
        early = round(self.rng.random() * min(settings.renew_jitter, (self._due_ns - now) // 4))
        self._arm("renew", max(self._due_ns - early, now + settings.retry_base))  # no busy loop, however short the life

    def _expired(self, now: int) -> bool:
        return 0 < self._expires_ns <= now

    def _outlived(self, now: int) -> bool:
        """Whether no socket should be opened for this session any more."""
        if self.settings.load_only_expiry:
            return False
        return self._expired(now) or (0 < self._due_ns <= now and not self.stopping)

    def _lapses_ns(self) -> int:
        return 0 if self.settings.load_only_expiry else self._expires_ns

    def _replacement_due(self, now: int) -> None:
        if self.stopping:
            return  # the last words are said; what is still to come would be lost with the session
        if now < self._replace_by_ns and any(not op.replied for op in self.ops.values()):
            self._arm("renew", min(now + self.settings.retry_base // 4 + 1, self._replace_by_ns))
        else:
            self._renew(now, "renewed")

    def _reload(self, now: int) -> None:
        """The page is loaded again: what it had in memory is gone, what it had stored is not."""
        settings = self.settings
        self.credential = None
        if settings.store_corrupted and self.store.text and self.rng.random() < settings.store_corrupted:
            self.store.text = self.store.text[: len(self.store.text) // 2]
        loaded = self.store.load(self._wall(now) // _MS, settings.renew_ahead // _MS)
        if not isinstance(loaded, Saved):
            self._note(now, "session.replaced", loaded)
            self._renew(now, "renewed" if loaded == SHORT_LIFE else "reload", GOING_AWAY)
            return
        self._note(now, "session.resumed")
        self._saved = loaded
        self._created_ns = -1 if settings.forget_created else min(loaded.created_ms * _MS - self._wall(0), now)
        self._sync_due = self._syncs
        self._controlled(now, "", GOING_AWAY, "reload")

    def _gone(self, now: int, cause: FailureCause) -> None:
        """The session cannot be gone on with: start anew."""
        if self._chat_begun:
            self._note(now, "conversation.lost", cause.value)
            self._finish_conversation(now, cause.value, self._backoff.delay(0, self.rng))
        else:
            self._start_failed(now, cause)

    def _end_conversation(self, now: int, complete: bool, cause: str = "") -> None:
        if self.conversation_id:
            if self._created_ns < 0:
                self._note(now, "session.duration_unknown")
            else:
                self._sample(now, "session", ops.OK, "", self._created_ns, self.conversation_id)
        self.store.clear()
        super()._end_conversation(now, complete, cause)

    # ---------------------------------------------------------------- the profile
    def _profile_synced(self, now: int) -> None:
        self._log_event(now, "profile_synced", provider_id=self.settings.provider_id)

    def _guest_unknown(self, now: int) -> None:
        if self.state != "leaving":
            self._gone(now, FailureCause.NOT_FOUND)

    # ---------------------------------------------------------------- frames
    def _message_frame(self, op: Op) -> str:
        return message_frame(op.text)

    def _typing_frame(self) -> str:
        return typing_frame()

    def _end_frame(self, reason: str) -> str:
        return end_frame(reason)

    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        socket, frame = self.sockets[conn], decode(data, self.settings.max_frame_bytes)
        self._log_event(now, "ws_message_received", type=_kind(frame))
        if conn == self._conn and not isinstance(frame, Violation):
            self._heard = True
            if self.phase == "authenticating":
                self._let_in(now, socket)
        self._on_event(now, socket, frame)
        self._finish_if_done(now)

    def _on_event(self, now: int, socket: Socket, frame: Frame) -> None:
        if isinstance(frame, Delivered):
            if frame.flaw:
                self._note(now, "message.flawed", frame.flaw)
            self._hear(now, socket, frame.text, frame.message_id, frame.server_ns)
        elif isinstance(frame, SessionEnded):
            self._over(now, socket, frame.reason)
        elif isinstance(frame, RateLimited):
            self._limited_by_frame(now, socket, frame.frame, frame.retry_after_ns, self._meant(socket))
        elif isinstance(frame, Refusal):
            self._note(now, "error.frame", frame.code[:64])
        elif isinstance(frame, Unrecognised):
            self._note(now, "frame.unknown_type", frame.kind)
        elif isinstance(frame, Violation):
            self._note(now, f"violation.{frame.cause}", frame.detail)

    # ---------------------------------------------------------------- link down
    def _on_upgrade_refused(self, now: int, response: HttpResponse | None) -> None:
        if response is not None and response.status == 404:
            self._note(now, "session.not_found", "socket")
            self._forsaken = FailureCause.NOT_FOUND

    def _on_closed(self, now: int, socket: Socket, end: SocketEnd) -> None:
        self._log_event(now, "ws_disconnected", duration_ms=max(now - self._created_ns, 0) // _MS if self._created_ns >= 0 else 0)
        super()._on_closed(now, socket, end)

    def _on_lost(self, now: int, socket: Socket, end: SocketEnd, cause: FailureCause) -> None:
        """A cut without a close frame is a refused handshake, the token's end, or the network: timing and `exp` tell."""
        super()._on_lost(now, socket, end, cause)
        if end.code:
            return
        expired = self._expired(now + self.settings.clock_tolerance)
        if not self._heard and (self.phase == "authenticating" or "settled" in self._timers):
            self._rejections += 1
            self._note(now, "auth.rejected", "probably expired" if expired else "unexplained")
            if expired:
                self._forsaken = FailureCause.TOKEN_EXPIRED
            elif self._rejections >= self.settings.rejections:
                self._forsaken = FailureCause.AUTH_REJECTED
        elif expired:
            self._note(now, "token.expired")
            if not self.settings.load_only_expiry:
                self._forsaken = FailureCause.TOKEN_EXPIRED

    def _may_reconnect(self, now: int) -> bool:
        forsaken, self._forsaken = self._forsaken, None
        if not super()._may_reconnect(now):
            return False
        if forsaken is None:
            return True
        self._gone(now, forsaken)
        return False

    # ---------------------------------------------------------------- timers
    def _on_timer(self, name: str, now: int, due: int) -> None:
        if name == "lived":
            socket = self.sockets.get(self._conn)
            if socket is not None and self.phase == "authenticating":
                self._let_in(now, socket)
        elif name == "renew":
            self._replacement_due(now)
        else:
            super()._on_timer(name, now, due)


def _kind(frame: Frame) -> str:
    if isinstance(frame, Delivered):
        return "message"
    if isinstance(frame, SessionEnded):
        return "sessionEnded"
    if isinstance(frame, RateLimited | Refusal):
        return "error"
    if isinstance(frame, Unrecognised):
        return frame.kind
    return "" if isinstance(frame, Violation) else "typing"


DIALECT = Dialect(
    name="guests",
    probes=probes,
    published=False,
    transport="websocket",
    correlation="marker",
    bases=("org",),
    settings=GuestsSettings,
    session=GuestsSession,
    sources=("Creating Genesys Cloud Web Messaging Guest Sessions via Guest API with TypeScript (seed 003)",),
    transcript="guests.jsonl",
    measures=("token", "guest", "connect", "reply", "event.lag", "reconnect.gap", "profile", "session"),
    client_faults={
        "no_refresh": {"load_only_expiry": True, "proactive_refresh": False},
        "load_only_expiry": {"load_only_expiry": True},
        "no_jitter": no_jitter(GuestsSettings),
        "no_backoff": no_backoff(GuestsSettings),
        "no_keepalive": {"ping_every": 0, "answer_pings": False},
        "blind_resend": {"resend": "blind"},
        "retry_refusals": {"retry_refusals": True},
        "date_at_once": {"date_at_once": True},
        "endless_retries": {"rest_attempts": 1_000_000},
        "big_profile": {"profile_sync": 1.0, "profile_bytes": 11 * 1024},
        "no_jwt_check": {"check_jwt": False},
        "naive_padding": {"naive_padding": True},
        "fast_clock": {"clock_ahead": 2 * 3600 * 10**9},
        "forget_created": {"forget_created": True},
        "typing_flood": {"typing_frames": 20, "typing_every": 0},
    },
)
