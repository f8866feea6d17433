"""The guest's half of webmessaging, the vendor's published protocol: a conversation from the deployment's files to read-back."""

from __future__ import annotations

from harness.core import ops
from harness.core.events import Typing, Unrecognised, Violation
from harness.core.session import Context, Socket
from harness.dialects.registry import Dialect
from harness.dialects.webmessaging_files import WebmessagingFiles
from harness.dialects.webmessaging_frames import (
    HEALTH_TRACE,
    Configured,
    Deleted,
    Fault,
    Frame,
    Health,
    HistoryToken,
    Notice,
    Presence,
    Presigned,
    Said,
    Session,
    Uploaded,
    decode,
    presence,
    request,
)
from harness.dialects.webmessaging_probes import probes
from harness.dialects.webmessaging_settings import CLIENT_FAULTS, WebmessagingSettings
from harness.errors import FailureCause

CLEARING, JWT, CLOSING, CONFIRM, READBACK = "clearing", "jwt", "closing", "confirm", "readback"


class WebmessagingSession(WebmessagingFiles):
    """One webmessaging guest."""

    _busy = (*WebmessagingFiles._busy, "paced", "tab")

    def __init__(self, context: Context, settings: WebmessagingSettings) -> None:
        super().__init__(context, settings)
        self._fresh_chat = False
        """The session is read-only: another conversation is begun on the same connection."""
        self._clears = self._cleared = False
        self._has_tabs = self.rng.random() < settings.tabs

    # ---------------------------------------------------------------- beginning
    def _begin_conversation(self, now: int) -> None:
        self._new_conversation()
        self._begin_life(now)
        self._choose_token()
        self._establish(now)

    def _begin_life(self, now: int) -> None:
        self._life += 1
        self._earlier_ns = max(self._earlier_ns, self._server_ns)
        self._forget_conversation()
        self._fresh_chat = self._cleared = False
        self._clears = self.rng.random() < self.settings.clear
        self._go(now, "authenticating")

    def _on_configured(self, now: int, event: Session) -> None:
        if self.conversation_id:
            self._resumed(now, event)
            return
        self.conversation_id = self._public_id()
        self._start_failures = 0
        self._start_new = False
        self._forget_jwt()
        if event.read_only:
            self._over(now, "read-only", read_only=True)
            return
        self._live(now)
        wanted = self._deployment.auto_start if self._deployment else self.settings.auto_start
        if self.phase != "live":
            return
        if wanted and event.new is not False:
            self._act(now, self._conn, presence(self._session.reveal(), self._uuid(), "Join"))
            self._per_second.spend(now)
        if self.rng.random() < self.settings.get_configuration:
            trace = self._uuid()
            frame = request("getConfiguration", self._session.reveal(), trace, deploymentId=self.context.target.deployment_id)
            self._ask(now, "lookup", frame, trace, self._on_configuration)

    def _on_configuration(self, now: int, answer: Configured | Fault) -> None:  # noqa: ARG002
        if isinstance(answer, Configured) and answer.max_attributes:
            self._max_attributes = answer.max_attributes

    def _resumed(self, now: int, event: Session) -> None:
        if event.new is True:
            # The server does not know the conversation any more, and has opened another one for the same token.
            self._note(now, "context.split")
            self._conversation_lost(now, "context_split")
        elif event.read_only and self.state != "leaving":
            self._over(now, "read-only", read_only=True)
        elif self.settings.resync or self.state == "leaving":
            self.phase = "syncing"
            self.render.freeze()
            self._start_sync(now, self._caught_up)
        else:
            self._shown(now, self.render.thaw(now))
            self._live(now)

    def _chat(self, now: int) -> None:
        super()._chat(now)
        if self._has_tabs and self.phase == "live" and self.state == "chatting":
            self._arm("tab", now + self.settings.tab_pause)

    # ---------------------------------------------------------------- frames
    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        self._on_event(now, self.sockets[conn], decode(data, self.settings.max_frame_bytes))
        self._finish_if_done(now)

    def _on_event(self, now: int, socket: Socket, event: Frame) -> None:
        if isinstance(event, Said):
            self._on_said(now, socket, event)
        elif isinstance(event, Fault):
            self._on_fault(now, socket, event)
        elif isinstance(event, Session):
            self._on_session(now, socket, event)
        elif isinstance(event, Presence):
            self._on_presence(now, socket, event)
        elif isinstance(event, Notice):
            self._on_notice(now, socket, event)
        elif isinstance(event, Uploaded):
            self._on_uploaded(now, event)
        elif isinstance(event, Typing):
            pass
        elif isinstance(event, Unrecognised):
            self._note(now, "frame.unknown_type", event.kind)
        elif isinstance(event, Violation):
            self._note(now, f"violation.{event.cause}", event.detail)
        else:
            self._on_answer(now, event)

    def _on_answer(self, now: int, event: Health | HistoryToken | Presigned | Deleted | Configured) -> None:
        """The answer to a question; where it lacks the tracing id, its kind tells which."""
        if isinstance(event, Health):
            trace = HEALTH_TRACE
        else:
            measure = {HistoryToken: "jwt", Configured: "lookup", Presigned: "presign"}.get(type(event), "")
            trace = event.trace or (self._waiting_for(measure) if measure else "")
        if not self._take_answer(now, trace, event):
            self._note(now, "frame.unexpected", type(event).__name__)

    def _on_fault(self, now: int, socket: Socket, fault: Fault) -> None:
        current = socket.conn == self._conn
        if fault.limited:
            self._on_limited(now, socket, fault)
        if fault.trace in self._early:
            self._early.discard(fault.trace)
            if fault.code == 4007:
                self._note(now, "session.not_found")
            return
        if fault.trace and fault.trace == self._tabs.get(socket.conn):
            self._note(now, "error.frame", str(fault.code))
            self._drop_tab(socket.conn, "not configured")
            return
        if self._take_answer(now, fault.trace or self._meant(fault), fault):
            if fault.limited or fault.code not in (4006, 4007):
                return
        elif current and self.phase == "authenticating" and fault.trace in ("", self._configure_trace):
            self._on_configure_refused(now, fault)
            return
        elif current and self._leave_step in (CLOSING, CLEARING) and "leave" in self._timers and self._is_not_a_message(fault):
            self._on_leave_refused(now, fault)
            return
        elif fault.trace in self._registry:
            self._on_message_refused(now, fault)
        elif not fault.limited:
            self._on_other_fault(now, fault)
        if current:
            self._on_session_fault(now, fault)

    def _meant(self, fault: Fault) -> str:
        """The question that an error without tracing id answers, if it names a file."""
        return self._waiting_for("presign") if fault.ident else ""

    def _is_not_a_message(self, fault: Fault) -> bool:
        return fault.trace not in self._registry and fault.trace not in self._typing_traces

    def _on_other_fault(self, now: int, fault: Fault) -> None:
        if fault.trace in self._typing_traces and fault.code == 403:
            self._types = False  # the feature is off
        elif fault.code == 409:
            self._note(now, "session.read_only")
        elif fault.code not in (4006, 4007):
            self._note(now, "error.frame", str(fault.code))

    def _on_session_fault(self, now: int, fault: Fault) -> None:
        """What an error means for the session, whatever it answered."""
        if self.state in ("leaving", "between", "finished") or not self.conversation_id:
            return
        if fault.code == 4006:
            self._on_expired(now)
        elif fault.code == 4007:
            self._on_not_found(now)
        elif fault.code == 409:
            self._over(now, "read-only", read_only=True)
        elif fault.code == 401 and self._signs_in and self.phase == "live":
            self._sign_in_again(now, anew=False)
        elif fault.code == 4017:
            self._fatal(now, FailureCause.AUTH_REJECTED)

    def _on_presence(self, now: int, socket: Socket, event: Presence) -> None:
        if event.kind == "Disconnect":
            if socket.conn == self._conn and self.conversation_id and self.state != "leaving":
                self._over(now, "read-only" if event.read_only else "disconnect", read_only=event.read_only)
        elif event.kind == "SessionExpired":
            if socket.conn == self._conn:
                self._on_notice(now, socket, Notice("SessionExpiredEvent"))
        elif event.kind not in ("Join", "Clear", "SignIn"):
            self._note(now, "frame.unexpected", f"presence.{event.kind}"[:64])

    def _on_notice(self, now: int, socket: Socket, event: Notice) -> None:
        if not self.conversation_id:
            self._close(socket.conn, 1000, "over")
            if socket.conn == self._conn and self.phase == "authenticating":
                self._disarm("auth")
                self._answered(now, "auth", ops.FAIL, FailureCause.SESSION_CLOSED.value)
                self._note(now, "frame.unexpected", event.kind)
                self._token_spent = True
                self._start_failed(now, FailureCause.SESSION_CLOSED)
        elif event.kind == "ConnectionClosedEvent":
            if self._cleared and socket.conn == self._conn:
                self._finish_conversation(now, False, "cleared")
            else:
                self._on_superseded(now, socket, event.reason)
        elif event.kind == "SessionClearedEvent":
            self._on_cleared(now, socket)
        elif event.kind == "SessionExpiredEvent":
            self._on_expired(now)
        else:
            self._note(now, "session.logout")
            self._forget_sign_in()
            self._fatal(now, FailureCause.SESSION_CLOSED)

    # ---------------------------------------------------------------- over
    def _over(self, now: int, reason: str, *, read_only: bool) -> None:
        """The other side has ended the conversation."""
        self._note(now, "closed.by_server", reason)
        self._broken_off(FailureCause.SESSION_CLOSED)
        self._fresh_chat = read_only
        if read_only and self.phase == "live" and self.state == "chatting" and not self.stopping:
            for _ in range(self.settings.read_only_tries):
                self._speak(now, now)
        if self.phase != "live":  # it was found out on resuming: nothing goes on, and leaving reads what was missed
            self._shown(now, self.render.thaw(now))
            self.phase = "live"
            self._end_gap(now, ops.INFO, FailureCause.SESSION_CLOSED.value)
        self._leave(now)

    def _on_cleared(self, now: int, socket: Socket) -> None:
        if socket.conn != self._conn or self._cleared:
            return
        self._note(now, "session.cleared")
        self._cleared = True
        if self._leave_step == CLEARING:
            self._answered(now, "leave")
            self._arm("leave", now + self.settings.leave_timeout)
        else:
            self._broken_off(FailureCause.SESSION_CLOSED)

    def _on_put_out(self, now: int, reason: str) -> None:  # noqa: ARG002
        if self.state == "leaving":
            self._read_back(now)
        else:
            self._token_spent = True
            self._finish_conversation(now, False, "superseded")

    def _fatal(self, now: int, cause: FailureCause) -> None:
        self._token_spent = True
        if not self.conversation_id:
            self._start_failed(now, cause)
        elif self._leave_step == READBACK:
            return
        elif self.state == "leaving":
            self._finish_conversation(now, False, cause.value)
        else:
            self._conversation_lost(now, cause.value)

    def _conversation_lost(self, now: int, cause: str) -> None:
        self._token_spent = True
        super()._conversation_lost(now, cause)

    def _on_exhausted(self, now: int, cause: FailureCause) -> None:
        if not self.conversation_id:
            self._token_spent = True
            self._start_failed(now, cause)
            return
        self._note(now, "reconnect.exhausted", cause.value)
        if self.state == "leaving":
            self._read_back(now)
        else:
            self._token_spent = True
            self._finish_conversation(now, False, cause.value)

    # ---------------------------------------------------------------- leaving
    def _on_stop(self, now: int) -> None:
        self._disarm("between")
        if not self.conversation_id and self.state == "authenticating":
            self._abandon(now)

    def _on_down(self, now: int) -> None:
        if self._cleared:
            self._finish_conversation(now, False, "cleared")
            return
        if self._leave_step in (JWT, CLEARING):
            if "leave" in self._timers and self._leave_step == CLEARING:
                self._answered(now, "leave", ops.INFO, FailureCause.CONNECTION_CLOSED.value)
            self._leave_step = CONFIRM
        super()._on_down(now)

    def _expects_end(self) -> bool:
        return self._cleared or self._leave_step in (CLOSING, READBACK)

    def _say_good_bye(self, now: int) -> None:
        """Close the session; before that, get the token for the history, which a closed session may not hand out any more."""
        if self._clears and (self._deployment is None or self._deployment.clears) and not self._fresh_chat:
            self._leave_step = CLEARING
            self._disarm("leave")
            self._start_sync(now, self._clear, from_start=True)  # there will be nothing to read afterwards
        else:
            self._leave_step = JWT
            self._with_jwt(now, self._close_session)

    def _clear(self, now: int, ok: bool) -> None:  # noqa: ARG002
        sync, self._sync = self._sync, None
        self._shown(now, self.render.thaw(now))
        if sync is None or self._leave_step != CLEARING or self.phase != "live":
            return
        self._arm("leave", now + self.settings.leave_timeout)
        self._budget(self._conn).spend(now)
        self._send_timed(now, presence(self._session.reveal(), self._uuid(), "Clear"))

    def _close_session(self, now: int, ok: bool) -> None:  # noqa: ARG002
        if self._leave_step == JWT and self.phase == "live":
            self._budget(self._conn).spend(now)
            super()._say_good_bye(now)

    def _on_leave_refused(self, now: int, fault: Fault) -> None:
        cause = FailureCause.RATE_LIMITED if fault.limited else FailureCause.REFUSED
        self._answered(now, "leave", ops.FAIL, cause.value)
        if not fault.limited:
            self._note(now, "error.frame", str(fault.code))
        self._disarm("leave")
        if self._leave_step == CLEARING:
            self._clears = False
            self._leave_step = CONFIRM
            self._leave_on(now)
        elif fault.limited:
            self._leave_step = CONFIRM
            self._arm("leave", now + self._asked_to_wait(fault.retry_after_ns))
        else:
            self._read_back(now)

    def _leave_overdue(self, now: int) -> None:
        if self._leave_step == CLEARING:
            if self._cleared:  # the connection was to be closed, and was not
                self._finish_conversation(now, False, "cleared")
                return
            self._answered(now, "leave", ops.FAIL, FailureCause.TIMEOUT.value)
            self._clears = False
            self._leave_step = CONFIRM
        super()._leave_overdue(now)

    def _on_session_closed(self, now: int) -> None:
        if self._leave_step != CLOSING:
            self._note(now, "frame.unexpected", "SessionResponse")
            return
        self._barrier = True
        self._answered(now, "leave")
        self._read_back(now)

    def _after_read_back(self, now: int, complete: bool) -> None:
        keeps = self._barrier and self.rng.random() < self.settings.keep_token
        if self._signs_in and self.rng.random() < self.settings.sign_out:
            self._sign_out(now)
        elif self._fresh_chat and self._barrier and not self._token_spent and self._goes_on():
            self._new_chat(now, complete)
            return
        if keeps and not self._token_spent:
            self._start_new = True
        else:
            self._token_spent = True
        self._finish_conversation(now, complete, self._forced_cause)

    def _goes_on(self) -> bool:
        """Whether the next conversation can begin at once, on the same connection."""
        limit, socket = self.behaviour.conversations, self.sockets.get(self._conn)
        wanted = not self.stopping and (not limit or self.conversation - self.continued < limit)
        return wanted and socket is not None and not socket.begun_by_guest

    def _new_chat(self, now: int, complete: bool) -> None:
        """The button of a session that has become read-only."""
        self._close_books(now, complete, "", cut=False)
        self._new_conversation()
        self._begin_life(now)
        self._start_new = True
        self._refreshes = self._configured_again = 0
        self._configure(now)

    def _finish_conversation(self, now: int, complete: bool, cause: str, pause_ns: int | None = None) -> None:
        if cause == "cleared":
            self._token_spent, self._start_new = False, False
        super()._finish_conversation(now, complete, cause, pause_ns)

    _ends_storing = False  # a frame that was held up opens the next conversation of the token

    def _close_books(self, now: int, complete: bool, cause: str, *, cut: bool) -> None:
        self._forget_questions()
        self._jwt_waiters.clear()
        self._early.clear()
        for name in [name for name in self._timers if name.startswith("upload:")]:
            self._disarm(name)
        super()._close_books(now, complete, cause, cut=cut)

    # ---------------------------------------------------------------- timers
    def _on_timer(self, name: str, now: int, due: int) -> None:
        if name == "paced":
            self._pump(now)
        elif name.startswith("upload:"):
            self._upload_overdue(now, int(name[7:]))
        else:
            super()._on_timer(name, now, due)


DIALECT = Dialect(
    name="webmessaging",
    probes=probes,
    published=True,
    transport="websocket",
    correlation="echo",
    bases=("api", "cdn", "files", "webmessaging"),
    settings=WebmessagingSettings,
    session=WebmessagingSession,
    sources=(
        "GitHub MyPureCloud/web-messaging-sdk-java 18.1.0",
        "GitHub MyPureCloud/genesys-messenger-transport-mobile-sdk 2.14.0",
        "GitHub Safricloud-PTY-Ltd/genesys-cloud-headless-webmessage-reference (October 2026)",
        "GitHub ovotech/genesys-web-messaging-tester (2024-12)",
        "GitHub MakingChatbots/genesys-cloud-chatbot-tester (2025-09)",
    ),
    transcript="webmessaging.jsonl",
    needs=("deployment",),
    measures=(
        "lookup",
        "connect",
        "auth",
        "echo",
        "reply",
        "event.lag",
        "health",
        "jwt",
        "history",
        "resync",
        "presign",
        "upload",
        "download",
        "reconnect.gap",
        "leave",
    ),
    client_faults=CLIENT_FAULTS,
)
