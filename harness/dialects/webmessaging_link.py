"""webmessaging's sockets: configure a session on each, keep it healthy, ask and be answered, hold further tabs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlencode

import msgspec

from harness.core import ops
from harness.core.link import NORMAL
from harness.core.session import Context, Socket
from harness.core.wire import HttpResponse, SocketEnd
from harness.dialects.webmessaging_frames import (
    HEALTH_TRACE,
    Fault,
    Health,
    Session,
    configure,
    health,
    message,
    request,
)
from harness.dialects.webmessaging_pace import MINUTE, SECOND, Budget
from harness.dialects.webmessaging_rest import WebmessagingRest
from harness.dialects.webmessaging_settings import WebmessagingSettings
from harness.errors import FailureCause

_SIGN_IN_AGAIN = ("Session authentication failed", "Try to authenticate again")


class Question(msgspec.Struct):
    """A request on the socket whose answer is waited for."""

    measure: str
    conn: int
    key: int
    intended_ns: int
    then: Callable[[int, Any], None]
    """Told the answer, or a `Fault` (code 0: none came)."""
    sent_ns: int = 0


class WebmessagingLink(WebmessagingRest):
    """The part of a webmessaging guest that owns sockets."""

    def __init__(self, context: Context, settings: WebmessagingSettings) -> None:
        super().__init__(context, settings)
        self._questions: dict[str, Question] = {}
        self._by_frame: dict[int, Question] = {}
        self._configure_trace = ""
        self._configured_with = 0
        """Generation of the JWT in the last configure request."""
        self._refreshes = self._configured_again = 0
        self._early: set[str] = set()
        self._max_attributes = 0
        self._expiry_noted = ""
        self._tabs: dict[int, str] = {}
        """Further sockets: tracing id of their configure request, "" before it; `ready` once answered."""
        self._budgets: dict[int, Budget] = {}
        self._per_second = Budget(settings.messages_per_second, SECOND)
        self._per_minute = Budget(settings.health_per_minute, MINUTE)

    def _frame_endpoint(self) -> str:
        return "WS " + self.settings.socket_path

    # ---------------------------------------------------------------- pace
    def _budget(self, conn: int) -> Budget:
        if conn not in self._budgets:
            self._budgets = {c: b for c, b in self._budgets.items() if c in self.sockets}
            self._budgets[conn] = Budget(self.settings.requests_per_minute, MINUTE)
        return self._budgets[conn]

    def _act(self, now: int, conn: int, text: str, key: int = 0) -> None:
        """Send any request, and count it."""
        self._budget(conn).spend(now)
        self._send(conn, text, key)

    # ---------------------------------------------------------------- questions
    def on_written(self, now: int, key: int) -> None:
        """As in the base, and for questions."""
        question = self._by_frame.get(key)
        if question is not None:
            question.sent_ns = now
        else:
            super().on_written(now, key)

    def _ask(self, now: int, measure: str, text: str, trace: str, then: Callable[[int, Any], None]) -> None:
        """Send a request on the current socket; `then` is told its answer, whatever becomes of it."""
        self._last_key += 1
        self._questions[trace] = question = Question(measure, self._conn, self._last_key, now, then)
        self._by_frame[question.key] = question
        self._arm("ask:" + trace, now + self.settings.ask_timeout)
        self._act(now, self._conn, text, question.key)

    def _take_answer(self, now: int, trace: str, answer: Any) -> bool:
        """Whether a question waited for this."""
        question = self._questions.pop(trace, None)
        if question is None:
            return False
        failed = isinstance(answer, Fault)
        if failed and answer.limited:
            cause = FailureCause.RATE_LIMITED
        else:
            cause = FailureCause.REFUSED
        self._close_question(now, trace, question, ops.FAIL if failed else ops.OK, cause.value if failed else "")
        question.then(now, answer)
        return True

    def _close_question(self, now: int, trace: str, question: Question, outcome: str, cause: str) -> None:
        self._disarm("ask:" + trace)
        self._by_frame.pop(question.key, None)
        if question.measure:
            socket = self.sockets.get(question.conn)
            address = socket.address if socket else self._address
            start = question.sent_ns or question.intended_ns
            self._sample(now, question.measure, outcome, cause, start, address, question.intended_ns)

    def _unanswered(self, now: int, trace: str, outcome: str, cause: FailureCause) -> None:
        question = self._questions.pop(trace, None)
        if question is not None:
            self._close_question(now, trace, question, outcome, cause.value)
            question.then(now, Fault(0, cause.value, ""))

    def _waiting_for(self, measure: str) -> str:
        """Tracing id of the question of this kind that is under way; "" where none is."""
        return next((trace for trace, question in self._questions.items() if question.measure == measure), "")

    def _forget_questions(self) -> None:
        for trace in self._questions:
            self._disarm("ask:" + trace)
        self._questions.clear()
        self._by_frame.clear()

    # ---------------------------------------------------------------- timers
    def _on_link_timer(self, name: str, now: int) -> bool:
        if name == "health":
            self._check_health(now)
        elif name == "tab":
            self._open_tab(now)
        elif name.startswith("ask:"):
            self._unanswered(now, name[4:], ops.FAIL, FailureCause.TIMEOUT)
        else:
            return super()._on_link_timer(name, now)
        return True

    def _quiet(self) -> None:
        super()._quiet()
        self._disarm("health")
        self._disarm("tab")

    # ---------------------------------------------------------------- up
    def _socket_target(self) -> tuple[str, str]:
        pairs = [("deploymentId", self.context.target.deployment_id)]
        if self.settings.application:
            pairs.append(("application", self.settings.application))
        return "webmessaging", f"{self.settings.socket_path}?{urlencode(pairs)}"

    def _on_upgrade_refused(self, now: int, response: HttpResponse | None) -> None:
        if response is None or response.status != 403:
            return
        self._note(now, "origin.refused")  # or the deployment is not active: access denied, not to be tried again
        if self.state == "leaving":
            self._read_back(now)
        elif self.conversation_id:
            self._finish_conversation(now, False, FailureCause.FORBIDDEN.value)
        else:
            self._not_prepared(now, FailureCause.FORBIDDEN)

    def _greet(self, now: int, socket: Socket) -> None:
        for _ in range(self.settings.early_frames):
            trace = self._uuid()
            self._early.add(trace)
            self._act(now, socket.conn, message(self._session.reveal(), trace, "Is anybody there?"))
        self._refreshes = self._configured_again = 0
        self._configure(now)

    def _configure(self, now: int) -> None:
        """Ask for the session on the current socket."""
        self.phase = "authenticating"
        self._configure_trace = self._uuid()
        self._arm("auth", now + self.settings.auth_timeout)
        self._budget(self._conn).spend(now)
        self._send_timed(now, self._configure_frame(self._configure_trace))

    def _configure_frame(self, trace: str) -> str:
        credential = self.credential if self._signs_in else None
        self._configured_with = self._generation
        start_new: bool | None = self._start_new and not self.conversation_id
        if not start_new and not self.settings.send_start_new:
            start_new = None
        return configure(
            self._session.reveal(),
            trace,
            self.context.target.deployment_id,
            start_new=start_new,
            journey=self.settings.journey,
            jwt=credential.value.reveal() if credential else "",
        )

    def _on_session(self, now: int, socket: Socket, event: Session) -> None:
        if event.connected:
            socket.ready_ns = socket.ready_ns or now  # for the books, also where the guest has turned to something else
        if event.max_attributes:
            self._max_attributes = event.max_attributes
        if socket.conn in self._tabs and event.connected:
            self._tabs[socket.conn] = "ready"
        elif socket.conn != self._conn:
            self._note(now, "frame.unexpected", "SessionResponse")
        elif not event.connected:
            self._on_session_closed(now)
        elif self.phase == "authenticating":
            self._disarm("auth")
            self._answered(now, "auth")
            self._arm_ping(now)
            self._arm_health(now)
            self._on_timing(now, event.expires_s)
            self._on_configured(now, event)
        else:
            self._note(now, "frame.unexpected", "SessionResponse")

    def _on_configure_refused(self, now: int, fault: Fault) -> None:
        """The session is not given."""
        self._disarm("auth")
        sign_in_again = fault.code == 403 and fault.text.startswith(_SIGN_IN_AGAIN)
        if fault.limited:
            self._answered(now, "auth", ops.FAIL, FailureCause.RATE_LIMITED.value)
            wait = self._asked_to_wait(fault.retry_after_ns)
            self._break_off(now, "rate limited", FailureCause.RATE_LIMITED, code=NORMAL, wait_ns=wait)
            return
        expired = fault.code in (4006, 4007)
        if not expired:
            self._note(now, "auth.rejected", str(fault.code))
        cause = FailureCause.TOKEN_EXPIRED if expired else FailureCause.AUTH_REJECTED
        self._answered(now, "auth", ops.FAIL, cause.value)
        if fault.code == 401 or sign_in_again:
            self._sign_in_again(now, anew=sign_in_again)
        elif fault.code == 4007:
            self._on_not_found(now)
        elif fault.code == 4006:
            self._on_expired(now)
        elif fault.code in (403, 4017):
            self._fatal(now, FailureCause.FORBIDDEN if fault.code == 403 else FailureCause.AUTH_REJECTED)
        else:
            self._break_off(now, "not configured", FailureCause.AUTH_REJECTED, code=NORMAL)

    def _sign_in_again(self, now: int, *, anew: bool) -> None:
        """The JWT was refused: replace it and configure once more, a few times."""
        self._reject_token(self._configured_with)
        self._refreshes += 1
        if not self._signs_in or not self.settings.refresh_refused or self._refreshes > self.settings.auth_refreshes:
            self._fatal(now, FailureCause.UNAUTHORISED)
            return
        if anew:
            self._forget_sign_in()
        self.phase = "authenticating"
        self._need_token(now, partial(self._signed_in_again, self._conn), fresh=True)

    def _signed_in_again(self, conn: int, now: int, ok: bool) -> None:
        if conn != self._conn or conn not in self.sockets or self.phase != "authenticating":
            return
        if ok:
            self._configure(now)
        else:
            self._fatal(now, self._gave_up)

    def _on_not_found(self, now: int) -> None:
        """The server does not know the session: configure it again once, then drop it."""
        self._note(now, "session.not_found")
        if self._configured_again < self.settings.configure_again and self.phase in ("authenticating", "syncing", "live"):
            self._configured_again += 1
            self._forget_sync()
            self._configure(now)
        else:
            self._fatal(now, FailureCause.NOT_FOUND)

    def _on_expired(self, now: int) -> None:
        self._note(now, "session.expired")
        self._fatal(now, FailureCause.TOKEN_EXPIRED)

    # ---------------------------------------------------------------- health
    def _arm_health(self, now: int) -> None:
        every = self.settings.health_every
        if every > 0:
            self._arm("health", now + round(every * (1 + self.rng.random() * self.settings.health_jitter)))

    def _check_health(self, now: int) -> None:
        wait = max(self._per_minute.wait(now), self._budget(self._conn).wait(now))
        if wait:
            self._arm("health", now + wait)
            return
        self._arm_health(now)
        if HEALTH_TRACE not in self._questions and self.phase in ("live", "syncing"):
            self._per_minute.spend(now)
            self._ask(now, "health", health(self._session.reveal()), HEALTH_TRACE, self._healthy)

    def _healthy(self, now: int, answer: Health | Fault) -> None:
        if isinstance(answer, Health):
            self._on_timing(now, answer.expires_s)
        elif not answer.code:
            self._note(now, "ping.unanswered", "health")

    def _on_timing(self, now: int, expires_s: int) -> None:
        """The session's end as the server sees it (epoch seconds; 0: not said)."""
        left = expires_s * 10**9 - (now + self.context.wall_offset_ns)
        if expires_s and left < self.settings.expiry_warning and self._expiry_noted != self.label:
            self._expiry_noted = self.label
            self._note(now, "session.expiring")

    # ---------------------------------------------------------------- tabs
    def _open_tab(self, now: int) -> None:
        """Another tab of the same page: one more socket for the same session."""
        if self.phase != "live" or self.state != "chatting" or 1 + len(self._tabs) >= self.settings.tab_count:
            return
        base, path = self._socket_target()
        self._tabs[self._open(now, base, path, self.settings.connect_timeout)] = ""
        self._arm("tab", now + self.settings.tab_pause)

    def _on_open(self, now: int, conn: int) -> None:
        if conn not in self._tabs:
            super()._on_open(now, conn)
        elif not self.conversation_id or self.state == "leaving":
            del self._tabs[conn]
            self._close(conn, NORMAL, "not needed")
        else:
            self._tabs[conn] = self._uuid()
            self._act(now, conn, self._configure_frame(self._tabs[conn]))

    def _on_open_failed(self, now: int, conn: int, cause: str, response: HttpResponse | None) -> None:
        if self._tabs.pop(conn, None) is None:
            super()._on_open_failed(now, conn, cause, response)

    def _drop_tab(self, conn: int, reason: str) -> None:
        self._tabs.pop(conn, None)
        self._close(conn, NORMAL, reason)

    def _on_superseded(self, now: int, socket: Socket, reason: str) -> None:
        """The server wants this connection closed: close it, do not fight; another tab goes on, if there is one."""
        conn = socket.conn
        if not self._expects_end():
            self._note(now, "connection.superseded", reason)
        if conn != self._conn:
            self._drop_tab(conn, "superseded")
            return
        heir = next((tab for tab, state in reversed(self._tabs.items()) if state == "ready"), 0)
        if heir and self.phase == "live" and self.state == "chatting":
            del self._tabs[heir]
            self._lose_questions(now, conn)
            self._conn, self._address = heir, self.sockets[heir].address
            self._quiet()
            self._arm_ping(now)
            self._arm_health(now)
            self._close(conn, NORMAL, "superseded")
            self._pump(now)
            return
        self._lose_questions(now, conn)
        self._close(conn, NORMAL, "superseded")
        self._on_put_out(now, reason)

    # ---------------------------------------------------------------- down
    def _lose_questions(self, now: int, conn: int) -> None:
        for trace in [trace for trace, question in self._questions.items() if question.conn == conn]:
            self._unanswered(now, trace, ops.INFO, FailureCause.CONNECTION_CLOSED)

    def _controlled(self, now: int, measure: str, code: int, reason: str) -> None:
        if reason == "reload":
            self._deployment = None  # a page that is loaded asks for its files again; the session's token it has stored
        self._lose_questions(now, self._conn)
        super()._controlled(now, measure, code, reason)

    def _break_off(self, now: int, reason: str, cause: FailureCause, *, code: int = 4000, wait_ns: int = 0) -> None:
        self._lose_questions(now, self._conn)
        super()._break_off(now, reason, cause, code=code, wait_ns=wait_ns)

    def _on_closed(self, now: int, socket: Socket, end: SocketEnd) -> None:
        self._tabs.pop(socket.conn, None)
        self._budgets.pop(socket.conn, None)
        self._lose_questions(now, socket.conn)
        super()._on_closed(now, socket, end)

    def _cut_link(self, now: int, code: int, reason: str) -> None:
        self._tabs.clear()
        super()._cut_link(now, code, reason)

    # ---------------------------------------------------------------- leaving
    def _leave_frame(self) -> str:
        return request("closeSession", self._session.reveal(), self._uuid(), closeAllConnections=True)

    # ---------------------------------------------------------------- what the conversation provides
    @abstractmethod
    def _on_configured(self, now: int, event: Session) -> None:
        """The current socket has a session."""

    @abstractmethod
    def _on_session_closed(self, now: int) -> None:
        """The session is closed, at the guest's wish."""

    @abstractmethod
    def _expects_end(self) -> bool:
        """Whether the server was asked to close this session's connections."""

    @abstractmethod
    def _on_put_out(self, now: int, reason: str) -> None:
        """The current connection was taken away and there is no other."""

    @abstractmethod
    def _fatal(self, now: int, cause: FailureCause) -> None:
        """The session token is of no use any more."""
