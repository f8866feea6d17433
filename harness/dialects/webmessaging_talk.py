"""webmessaging's messages: the base's messages in its frames, buttons, typing, pace, the history and the token that opens it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from harness.core import ops
from harness.core.credentials import Secret
from harness.core.events import Listing
from harness.core.listed import Sync
from harness.core.session import Context, Op, Socket
from harness.core.wire import HttpResponse
from harness.dialects.webmessaging_frames import (
    Choice,
    Fault,
    HistoryToken,
    Said,
    answer_content,
    decode_history,
    message,
    request,
    typing,
)
from harness.dialects.webmessaging_history import Pager
from harness.dialects.webmessaging_link import WebmessagingLink
from harness.dialects.webmessaging_pace import MINUTE, Budget
from harness.dialects.webmessaging_settings import WebmessagingSettings
from harness.errors import FailureCause

Then = Callable[[int, bool], None]
_PICKERS = ("DatePicker", "ListPicker")
_TOO_LARGE = {4011: "message.too_long", 4013: "attributes.too_large"}
_FILE_CODES = (4000, 4001, 4002, 4003, 4004, 4005, 4008, 4009, 4010, 4102)


class WebmessagingTalk(WebmessagingLink):
    """The part of a webmessaging guest that says and hears something."""

    def __init__(self, context: Context, settings: WebmessagingSettings) -> None:
        super().__init__(context, settings)
        self._types = True
        """Whether typing indicators are taken."""
        self._typing_traces: list[str] = []
        self._history = Budget(settings.history_per_minute, MINUTE)
        self._jwt = Secret("")
        self._jwt_dies_ns = 0
        """When the guest will no longer use it; 0: not known."""
        self._jwt_waiters: list[Then] = []

    def _forget_talk(self) -> None:
        super()._forget_talk()
        self._offer: tuple[list[Choice], str] | None = None
        """What an agent's last message offers to press, and that message's id."""
        self._pressing: tuple[Choice, str] | None = None
        self._pressed: dict[int, tuple[Choice, str]] = {}
        """By seq: messages that are answers by a button."""
        self._delayed: list[int] = []
        """Messages that go again once the guest's own pace allows it."""

    # ---------------------------------------------------------------- hearing
    def _on_said(self, now: int, socket: Socket, said: Said) -> None:
        self._message(now, said.message, ops.PUSH, socket.conn, socket.address)
        if not said.inbound and said.choices and socket.conn == self._conn:
            self._offer = said.choices, said.message.message_id

    def _settled(self, now: int, op: Op) -> None:
        for trace in [trace for trace, known in self._registry.items() if known is op]:
            del self._registry[trace]
        self._pressed.pop(op.seq, None)
        super()._settled(now, op)

    def _on_limited(self, now: int, socket: Socket, fault: Fault) -> None:
        socket.refusals += 1
        self._refused(now, self._frame_endpoint(), f"{socket.address}#{socket.refusals}", fault.retry_after_ns)
        if fault.trace in self._typing_traces:
            self._note(now, "typing.limited")
        if socket.conn == self._conn and self.phase != "authenticating":
            self._hold(now, self._asked_to_wait(fault.retry_after_ns))

    def _on_message_refused(self, now: int, fault: Fault) -> None:
        """The server did not take one of our messages."""
        if fault.limited:
            cause = FailureCause.RATE_LIMITED
        elif fault.code in _TOO_LARGE:
            self._note(now, _TOO_LARGE[fault.code])
            cause = FailureCause.TOO_LARGE
        elif fault.code in _FILE_CODES:
            self._note(now, "attachment.refused", str(fault.code))
            cause = FailureCause.UPLOAD_FAILED
        elif fault.code == 409:
            self._note(now, "session.read_only")
            cause = FailureCause.SESSION_CLOSED
        else:
            if fault.code not in (4006, 4007):
                self._note(now, "error.frame", str(fault.code))
            cause = FailureCause.REFUSED
        self._refuse(now, fault.trace, cause)

    # ---------------------------------------------------------------- saying
    def _way_free(self) -> bool:
        return super()._way_free() and "paced" not in self._timers

    def _speak(self, now: int, intended: int, text: str = "") -> Op:
        settings = self.settings
        offer, self._offer = self._offer, None
        if not text and offer is not None and self.rng.random() < settings.answer_structured:
            self._pressing = self.rng.choice(offer[0]), offer[1]
            text = self._pressing[0].text
        elif not text and settings.long_text and self.rng.random() < settings.long_text:
            text = "x" * settings.long_text_bytes
        return super()._speak(now, intended, text)

    def _transmit(self, now: int, op: Op) -> None:
        if self._pressing is not None:
            self._pressed[op.seq], self._pressing = self._pressing, None
        super()._transmit(now, op)

    def _hand_over(self, now: int, op: Op) -> None:
        wait = self._must_wait(now)
        if wait:
            self._arm("paced", now + wait)
            if op.seq in self._written:
                self._delayed.append(op.seq)
            return
        op.message_id = self._uuid()  # one for each attempt, so that an answer tells which is meant
        self._registry[op.message_id] = op
        super()._hand_over(now, op)
        self._spend(now)

    def _must_wait(self, now: int, more: int = 0) -> int:
        """How long the guest's own pace holds a message back."""
        return max(self._per_second.wait(now, more), self._budget(self._conn).wait(now, self.settings.reserve + more))

    def _spend(self, now: int) -> None:
        self._per_second.spend(now)
        self._budget(self._conn).spend(now)

    def _announce(self, now: int) -> None:
        flood = self.settings.typing_frames > 1
        if self._types and (flood or not self._must_wait(now, 1)):
            before = self._typed_ns
            super()._announce(now)
            for _ in range(self.settings.typing_frames if self._typed_ns != before else 0):
                self._spend(now)

    def _typing_frame(self) -> str:
        trace = self._uuid()
        self._typing_traces = [*self._typing_traces[-63:], trace]
        return typing(self._session.reveal(), trace, self.settings.typing_duration // 1_000_000)

    def _on_pumped(self, now: int) -> None:
        delayed, self._delayed = self._delayed, []
        for seq in delayed:
            op = self.ops.get(seq)
            if op is not None and not op.closed:
                if self._way_free():
                    self._hand_over(now, op)
                else:
                    self._delayed.append(seq)

    def _message_frame(self, op: Op) -> str:
        choice, parent = self._pressed.get(op.seq, (None, ""))
        settings = self.settings
        return message(
            self._session.reveal(),
            op.message_id,
            op.text,
            content=answer_content(choice, parent) if choice else self._file_content(op),
            structured=choice is not None,
            metadata={"parentMessageId": parent} if choice and choice.kind in _PICKERS and parent else None,
            attributes=self._attributes(op),
            attributes_in=settings.attributes_in,
        )

    def _attributes(self, op: Op) -> dict[str, str]:
        settings = self.settings
        wanted = settings.attributes == "every" or (settings.attributes == "first" and op.seq == 1)
        chosen = dict(self.context.target.attributes) if wanted else {}
        if self._max_attributes and sum(len(f"{k}{v}".encode()) for k, v in chosen.items()) > self._max_attributes:
            chosen = {}  # a page checks that before it sends
        if settings.attribute_bytes:
            chosen["note"] = "x" * settings.attribute_bytes
        return chosen

    def _file_content(self, op: Op) -> list[dict[str, Any]] | None:  # noqa: ARG002
        """The file that a message names; None: it has none."""
        return None

    # ---------------------------------------------------------------- history
    def _forget_jwt(self) -> None:
        self._jwt, self._jwt_dies_ns = Secret(""), 0

    def _with_jwt(self, now: int, then: Then) -> None:
        """Go on as soon as there is a token for the history."""
        # A closed session may give no other: the one fetched for the read-back is tried, whatever the guest's clock makes of it.
        judged = self.settings.refresh_jwt and self._jwt_dies_ns and not self._barrier
        stale = judged and now + self.settings.jwt_margin >= self._jwt_dies_ns
        if self._jwt.reveal() and not stale:
            then(now, True)
            return
        self._jwt_waiters.append(then)
        socket = self.sockets.get(self._conn)
        if self._waiting_for("jwt"):
            return
        if socket is None or not socket.ready_ns or socket.begun_by_guest:
            self._tell_jwt(now, False)
            return
        trace = self._uuid()
        self._ask(now, "jwt", request("getJwt", self._session.reveal(), trace), trace, self._jwt_answered)

    def _jwt_answered(self, now: int, answer: HistoryToken | Fault) -> None:
        if isinstance(answer, HistoryToken):
            self._jwt = Secret(answer.value)
            self._jwt_dies_ns = max(answer.expires_s * 10**9 - self.context.wall_offset_ns, 1) if answer.expires_s else 0
        self._tell_jwt(now, isinstance(answer, HistoryToken))

    def _tell_jwt(self, now: int, ok: bool) -> None:
        waiting, self._jwt_waiters = self._jwt_waiters, []
        for then in waiting:
            then(now, ok)

    def _new_pager(self, since_ns: int) -> Pager:
        settings = self.settings
        size, pages = settings.page_size, settings.max_pages
        earlier_ns = self._earlier_ns
        return Pager(self.context.run, self.label, since_ns, size, pages, until_empty=settings.until_empty, earlier_ns=earlier_ns)

    def _ask_page(self, now: int, sync: Sync) -> None:
        wait = self._history.wait(now)
        if wait:
            self._after(now, wait, partial(self._page_allowed, sync))
        else:
            self._with_jwt(now, partial(self._get_page, sync))

    def _page_allowed(self, sync: Sync, now: int) -> None:
        if self._sync is sync:
            self._ask_page(now, sync)

    def _get_page(self, sync: Sync, now: int, ok: bool) -> None:
        if self._sync is not sync:
            return
        if not ok:
            sync.done(now, False)
            return
        self._history.spend(now)
        assert isinstance(sync.pager, Pager)
        path = self.settings.history_path
        self._call(
            now,
            "resync" if sync.may_end else "history",
            "GET " + path,
            f"{path}?{sync.pager.query()}",
            partial(self._history_answered, sync),
            stale=self._stale_page,
            attempts=sync.attempts,
            bearer=False,
            headers=(("Authorization", "bearer " + self._jwt.reveal()),),
        )

    def _history_answered(self, sync: Sync, now: int, request_id: str, answer: HttpResponse | None) -> None:
        if answer is not None and answer.status == 401 and self._sync is sync and not sync.renewed and self.settings.refresh_jwt:
            sync.renewed = True
            self._forget_jwt()
            self._ask_page(now, sync)
        else:
            self._page_answered(sync, now, request_id, answer)

    def _read_page(self, body: bytes) -> Listing | None:
        return decode_history(body)
