"""The guest's half of engagements: register as a public client, chat on a socket that confirms nothing, register anew in time.

The guest's token and its session are one grant: a new token is a new session, hence a new conversation.
"""

from __future__ import annotations

from functools import partial

from harness.core.calling import Ask, Grant
from harness.core.chat import ChatGuest
from harness.core.credentials import Secret
from harness.core.events import Delivered, RateLimited, Refusal, SessionEnded, TokenExpired, Unrecognised, Violation
from harness.core.http import cause_of_status
from harness.core.misbehaviour import no_backoff, no_jitter
from harness.core.session import Context, Op, Socket
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse, SocketEnd
from harness.dialects.engagements_frames import (
    Registration,
    decode,
    decode_message,
    decode_registration,
    end_frame,
    message_frame,
    registration_body,
    socket_path,
    typing_frame,
)
from harness.dialects.engagements_probes import probes
from harness.dialects.engagements_settings import EngagementsSettings
from harness.dialects.registry import Dialect
from harness.errors import FailureCause

_POLICY = 1008
"""Close code of a server that does not accept the token (any more)."""
_RENEWED = "renewed"
_REASONS = {_RENEWED: "Token renewal", FailureCause.TOKEN_EXPIRED.value: "Token renewal"}


class EngagementsSession(ChatGuest):
    """One engagements guest."""

    def __init__(self, context: Context, settings: EngagementsSettings) -> None:
        super().__init__(context, settings)
        self.settings = settings
        self._offered: Registration | None = None
        """What the newest registration gave."""
        self._session: Registration | None = None
        """What the present conversation uses; None: not registered yet."""
        self._used = 0
        """Generation of the token that the present (or last) conversation uses."""
        self._bad_token: FailureCause | None = None
        """Why the token is no good, where the last socket's end has shown it."""
        self._settled_once = self._renewing = self._good_bye = False
        self._ghosts = 0
        """Reconnects to a session that is over."""

    def _secrets(self) -> tuple[str, ...]:
        return super()._secrets() if self._session is None else (*super()._secrets(), self._session.guest_token)

    # ---------------------------------------------------------------- registration
    def _token_request(self) -> Ask:
        target, settings = self.context.target, self.settings
        given = {"displayName": settings.display_name, "email": settings.email}
        slot, run = str(self.context.slot), self.context.run
        metadata = {key: text.replace("{slot}", slot).replace("{run}", run) for key, text in given.items() if text}
        body = registration_body(target.channel_id, target.client_id, {**metadata, **target.attributes})
        return Ask("org", settings.guests_path, body, [("Content-Type", "application/json")])

    def _read_grant(self, body: bytes) -> Grant | None:
        granted = decode_registration(body)
        return None if granted is None else Grant(Secret(granted.guest_token), 0 if granted.expires_ns else -1)

    def _token_answered(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        if isinstance(outcome, HttpResponse):
            if outcome.status == 401:
                self._note(now, "auth.rejected", "401")
            elif outcome.status == 403:
                self._note(now, "scope.refused", decode_message(outcome.body)[:64])
            elif 200 <= outcome.status < 300:
                self._offered = decode_registration(outcome.body)
        super()._token_answered(now, request, outcome)

    def _take_token(self, now: int, acquired_ns: int, value: Secret, lifetime_ns: int) -> None:
        if self._offered is not None and self._offered.expires_ns:
            lifetime_ns = self._offered.expires_ns - self.context.wall_offset_ns - acquired_ns
            if lifetime_ns <= 0:  # by our clock; the server's may differ, and it alone decides
                self._note(now, "token.stale")
        super()._take_token(now, acquired_ns, value, max(lifetime_ns, 0))

    def _begin_conversation(self, now: int) -> None:
        if self._used == self._generation:  # it has served its session
            self.credential = None
            self._disarm("token.due")
        self._session = self._bad_token = None
        self._settled_once = self._renewing = self._good_bye = False
        self._ghosts = 0
        super()._begin_conversation(now)

    def _prepare(self, now: int) -> None:
        if self._session is None:
            self._need_token(now, partial(self._registered, self._life))
        elif self.settings.heed_refusals and self._token_state(now) in ("expired", "rejected"):
            self._note(now, "token.expired")
            self._replace(now, FailureCause.TOKEN_EXPIRED)
        else:
            self._connect(now)

    def _registered(self, life: int, now: int, ok: bool) -> None:
        if life != self._life:
            return
        credential = self.credential
        if not ok or credential is None or self._offered is None:
            self._start_failed(now, self._gave_up)
            return
        self._session, self._used = self._offered, self._generation
        self.conversation_id = self._session.session_id
        if self.settings.proactive_refresh and credential.refresh_ns and "token.due" not in self._timers:
            self._arm("token.due", max(credential.refresh_ns, now + self.settings.retry_base))
        self._connect(now)

    def _token_state(self, now: int) -> str:
        return self.credential.state(now) if self.credential is not None else "expired"

    # ---------------------------------------------------------------- renewal
    def _refresh(self, now: int) -> None:
        if not self.stopping and self.state != "leaving":
            super()._refresh(now)

    def _lapses_ns(self) -> int:
        return self.credential.expires_ns if self.credential is not None and self.settings.proactive_refresh else 0

    def _on_new_token(self, now: int) -> None:
        if not self._has_successor() or self.stopping or self.state == "leaving":
            return
        if self.phase == "live" and self._reply_due():
            self._renewing = True  # nothing that belongs to the old session comes once it is over
            self._arm("renew", now + self.settings.renew_patience)
        else:
            self._renew(now, _RENEWED)

    def _has_successor(self) -> bool:
        """Whether a newer session than the present one is at hand."""
        return bool(self.conversation_id) and self._session is not None and self._generation != self._used

    def _reply_due(self) -> bool:
        return any(op.sent_ns and not op.replied for op in self.ops.values())

    def _replied(self, now: int, seq: int) -> None:
        super()._replied(now, seq)
        if self._renewing and self.state != "leaving" and not self._reply_due():
            self._renew(now, _RENEWED)

    def _replace(self, now: int, cause: FailureCause) -> None:
        """The session's token does not work any more: another session, at once where this one has worked at all."""
        if self._settled_once:
            self._renew(now, cause.value)
        else:
            self._start_failed(now, cause)

    # ---------------------------------------------------------------- socket
    def _frame_endpoint(self) -> str:
        return f"WS {self.settings.guests_path}/{{id}}/ws"

    def _socket_target(self) -> tuple[str, str]:
        session = self._session
        assert session is not None
        return "org", socket_path(self.settings.guests_path, session.session_id, session.guest_token)

    def _greet(self, now: int, socket: Socket) -> None:
        self._let_in(now, socket)

    def _settle(self, now: int) -> None:
        super()._settle(now)
        self._settled_once = True

    def _on_upgrade_refused(self, now: int, response: HttpResponse | None) -> None:
        if response is not None and response.status in (401, 403):
            self._token_refused(now, str(response.status), cause_of_status(response.status) or FailureCause.UNAUTHORISED)

    def _on_lost(self, now: int, socket: Socket, end: SocketEnd, cause: FailureCause) -> None:
        super()._on_lost(now, socket, end, cause)
        if end.code == _POLICY and self.state != "leaving":
            lasted = self.phase == "live" and "settled" not in self._timers
            self._token_refused(now, str(end.code), FailureCause.TOKEN_EXPIRED if lasted else FailureCause.AUTH_REJECTED)

    def _token_refused(self, now: int, how: str, cause: FailureCause) -> None:
        if cause is FailureCause.TOKEN_EXPIRED or self._token_state(now) == "expired":
            cause = FailureCause.TOKEN_EXPIRED
            self._note(now, "token.expired")
        else:
            self._note(now, "auth.rejected", how)
        if self.settings.heed_refusals:
            self._bad_token = cause

    def _may_reconnect(self, now: int) -> bool:
        if not super()._may_reconnect(now):
            return False
        bad, self._bad_token = self._bad_token, None
        if self._has_successor():
            self._renew(now, _RENEWED)
        elif bad is not None:
            self._reject_token(self._used)
            self._replace(now, bad)
        else:
            return True
        return False

    # ---------------------------------------------------------------- frames
    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        socket, event = self.sockets[conn], decode(data, self.settings.max_frame_bytes)
        if isinstance(event, Delivered):
            if event.flaw:
                self._note(now, "message.flawed", event.flaw)
            # Whole seconds are too coarse to time a delivery by, so the stamp is left out.
            self._hear(now, socket, event.text, event.message_id, 0)
        elif isinstance(event, SessionEnded):
            self._over(now, socket, event.reason)
        elif isinstance(event, RateLimited):
            refused = self._meant(socket) if event.frame == "message" else None
            self._limited_by_frame(now, socket, event.frame, event.retry_after_ns, refused)
        elif isinstance(event, TokenExpired):
            self._on_expired(now, socket)
        elif isinstance(event, Refusal):
            self._note(now, "error.frame", event.code[:64])
        elif isinstance(event, Unrecognised):
            self._note(now, "frame.unknown_type", event.kind)
        elif isinstance(event, Violation):
            self._note(now, f"violation.{event.cause}", event.detail)
        self._finish_if_done(now)

    def _on_expired(self, now: int, socket: Socket) -> None:
        self._note(now, "token.expired")
        if socket.conn != self._conn or self.state == "leaving" or not self.settings.heed_refusals:
            return
        self._reject_token(self._used)
        self._broken_off(FailureCause.TOKEN_EXPIRED)
        if self._has_successor():
            self._renew(now, _RENEWED)
        else:
            self._replace(now, FailureCause.TOKEN_EXPIRED)

    # ---------------------------------------------------------------- saying
    def _can_speak(self) -> bool:
        return super()._can_speak() and not self._renewing

    def _message_frame(self, op: Op) -> str:
        return message_frame(op.text, self.settings.message_source)

    def _typing_frame(self) -> str:
        return typing_frame()

    def _end_frame(self, reason: str) -> str:
        return end_frame(_REASONS.get(reason, self.settings.end_reason))

    # ---------------------------------------------------------------- leaving
    def _say_good_bye(self, now: int) -> None:
        self._good_bye = True
        if not self.settings.end_wait:
            super()._say_good_bye(now)
            return
        self._send(self._conn, self._end_frame(self._cause))
        self._arm("leave", now + self.settings.end_wait)

    def _leave(self, now: int) -> None:
        if "ghost" in self._timers and self._parting is not None:
            self._disarm("ghost")
            self._part(now, *self._parting)
            return
        super()._leave(now)

    def _part(self, now: int, cause: str, pause_ns: int | None) -> None:
        if "ghost" in self._timers:
            return
        settings = self.settings
        over = (self._over_said or self._good_bye) and not self.closing and not self._goes_on
        if over and settings.reconnect_after_end and self._ghosts < settings.reconnect_attempts:
            self._disarm("parted")
            self._parting = (cause, pause_ns)
            self._arm("ghost", now + self._backoff.delay(self._ghosts, self.rng))
            self._ghosts += 1
            return
        self._renewing = False
        super()._part(now, cause, pause_ns)

    def _haunt(self, now: int) -> None:
        """As written: come back to a session that is over."""
        self._note(now, "reconnect.after_end", str(self._ghosts))
        base, path = self._socket_target()
        self._open(now, base, path, self.settings.connect_timeout)
        self._arm("parted", now + self.settings.connect_timeout + self.settings.leave_timeout)

    # ---------------------------------------------------------------- timers
    def _on_timer(self, name: str, now: int, due: int) -> None:
        if name == "renew":
            self._renew(now, _RENEWED)
        elif name == "leave":
            self._finish_conversation(now, self._cause)
        elif name == "ghost":
            self._haunt(now)
        else:
            super()._on_timer(name, now, due)


DIALECT = Dialect(
    name="engagements",
    probes=probes,
    published=False,
    transport="websocket",
    correlation="marker",
    bases=("org",),
    settings=EngagementsSettings,
    session=EngagementsSession,
    sources=("How to build a custom chat UI using the WebSocket-based Guest API instead of the default widget (seed 001)",),
    transcript="engagements.jsonl",
    needs=("client_id", "channel"),
    measures=("token", "connect", "reply", "reconnect.gap"),
    client_faults={
        "no_refresh": {"proactive_refresh": False},
        "no_jitter": no_jitter(EngagementsSettings),
        "no_backoff": no_backoff(EngagementsSettings),
        "no_settle": {"settled_after": 0, "heed_refusals": False},
        "no_keepalive": {"ping_every": 0},
        "blind_resend": {"resend": "blind"},
        "typing_flood": {"typing_every": 0, "typing_frames": 20},
        "reconnect_after_end": {"reconnect_after_end": True},
    },
)
