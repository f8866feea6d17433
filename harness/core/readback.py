"""How a guest leaves a server that keeps a listing: settle what is pending, say good-bye, read everything back, close the books."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

from harness.core import ops
from harness.core.link import NORMAL
from harness.core.listed import ListedGuest, ListedSettings
from harness.core.session import Context, Op
from harness.errors import FailureCause

_LEAVING = ("leave", "leave.reconnect", "leave.limit")


class ReadBackGuest(ListedGuest):
    """The part of such a guest that begins and ends conversations."""

    _busy: ClassVar[tuple[str, ...]] = ("gap", "catchup", "limited", "send", "length")
    """Timers that a guest who leaves does without."""
    _ends_storing: ClassVar[bool] = True
    """Whether nothing is stored any more after the good-bye, by whatever socket it may still come."""

    def __init__(self, context: Context, settings: ListedSettings) -> None:
        super().__init__(context, settings)
        self._start_failures = 0
        self._start_backoff = settings.start_backoff()
        self._forget_conversation()

    def _forget_conversation(self) -> None:
        """A new conversation: nothing is known of it yet."""
        self._forget_talk()
        self._server_ns = self._tries = 0
        self._chat_begun = False
        self._barrier = False
        """The server has said that nothing will be stored any more."""
        self._leave_step = ""
        self._forced_cause = ""

    # ---------------------------------------------------------------- beginning
    def _start_failed(self, now: int, cause: FailureCause) -> None:
        """No conversation came about: pause, longer each time."""
        pause = self._not_before(now, self._start_backoff.delay(self._start_failures, self.rng))
        self._start_failures += 1
        self._note(now, "start.failed", cause.value)
        self._finish_conversation(now, False, cause.value, pause)

    def _chat(self, now: int) -> None:
        """There is somebody to talk to and the socket is live."""
        if self.state == "leaving":
            return
        if self._chat_begun:
            self._go(now, "chatting")
        else:
            self._chat_begun = True
            self._start_chatting(now)
        self._pump(now)

    def _abandon(self, now: int) -> None:
        """There is no conversation to leave."""
        self._finish_conversation(now, False, FailureCause.INTERRUPTED.value)

    # ---------------------------------------------------------------- link up and down
    def _on_live(self, now: int) -> None:
        self._disarm("leave.reconnect")
        if self.state == "leaving":
            self._leave_on(now)
        else:
            self._chat(now)

    def _on_down(self, now: int) -> None:
        self._forget_sync()
        if self.state == "leaving":
            if self._leave_step == "closing":
                self._answered(now, "leave", ops.INFO, FailureCause.CONNECTION_CLOSED.value)
                self._leave_step = "confirm"
            self._disarm("leave")
            self._arm("leave.reconnect", now + self._listed_settings.leave_reconnect)
        elif self.state in ("chatting", "queued"):
            self._go(now, "reconnecting")

    def _may_reconnect(self, now: int) -> bool:
        if self.state in ("between", "finished") or self._leave_step == "readback":
            return False
        if self.stopping and not self.conversation_id:
            self._abandon(now)
            return False
        if self.state == "leaving":
            self._tries = min(self._tries, self._listed_settings.reconnect_attempts - 1)
        return True

    def _on_settled(self, now: int) -> None:
        if self.state == "leaving":
            self._leave_on(now)

    def _conversation_lost(self, now: int, cause: str) -> None:
        """The server does not know the conversation (any more): who is leaving reads back what there is, others begin anew."""
        if self._leave_step == "readback":
            return
        if self.state == "leaving":
            self._read_back(now)
            return
        self._note(now, "conversation.lost", cause)
        self._finish_conversation(now, False, cause, self._backoff.delay(0, self.rng))

    # ---------------------------------------------------------------- leaving
    def _begin_leaving(self, now: int) -> None:
        self._go(now, "leaving")
        for name in self._busy:
            self._disarm(name)
        self._held_send = 0
        if "leave.limit" not in self._timers:
            self._arm("leave.limit", now + self._listed_settings.leave_limit)

    def _leave(self, now: int) -> None:
        if self.state in ("leaving", "finished"):
            return
        if not self.conversation_id:
            self._disarm("between")
            if self.state == "between":
                self._finish_if_done(now)
            else:
                self._abandon(now)
            return
        self._begin_leaving(now)
        self._leave_step = "confirm"
        if self.phase == "live":
            self._leave_on(now)
            return
        self._arm("leave.reconnect", now + self._listed_settings.leave_reconnect)
        if self.phase == "idle":
            self._tries = 0
            self._establish(now)

    def _leave_on(self, now: int) -> None:
        """Once nothing is outstanding: say good-bye."""
        if self.phase != "live" or self._leave_step != "confirm":
            return
        if not self._outstanding():
            self._say_good_bye(now)
        elif "leave" not in self._timers:
            self._arm("leave", now + self.behaviour.confirm_timeout)

    def _say_good_bye(self, now: int) -> None:
        self._leave_step = "closing"
        self._arm("leave", now + self._listed_settings.leave_timeout)
        self._send_timed(now, self._leave_frame())

    def _leave_overdue(self, now: int) -> None:
        if self._leave_step == "confirm" and self.phase == "live":
            self._say_good_bye(now)
        elif self._leave_step == "closing":
            self._answered(now, "leave", ops.FAIL, FailureCause.TIMEOUT.value)
            self._read_back(now)

    def _read_back(self, now: int) -> None:
        """Read the whole conversation once more: what the server holds of it is then certain, if the barrier was seen."""
        self._leave_step = "readback"
        if not self._barrier:  # nor will it be seen any more, whether the guest gets to the end of this or is given up
            self._broken_off(FailureCause.TIMEOUT)
        self._quiet()
        self._disarm("leave")
        self._disarm("leave.reconnect")
        self.phase = "reading"
        self._start_sync(now, self._read_back_done, from_start=True)

    def _read_back_done(self, now: int, ok: bool) -> None:
        sync, self._sync = self._sync, None
        whole = ok and sync is not None and sync.pager.complete
        self._shown(now, self.render.thaw(now))
        while self.render.hole:
            self._note(now, "gap.given_up", str(self.render.hole))
            self._shown(now, self.render.give_up(now))
        if not whole:
            self._note(now, "read_back.failed")
        if not self._barrier:
            self._note(now, "leave.unanswered")
        self._after_read_back(now, whole and self._barrier)

    def _after_read_back(self, now: int, complete: bool) -> None:
        """The listing is in, or out of reach."""
        self._finish_conversation(now, complete, self._forced_cause)

    def _leave_took_too_long(self, now: int) -> None:
        self._note(now, "leave.limit")
        self._finish_conversation(now, False, FailureCause.TIMEOUT.value)

    def _finish_conversation(self, now: int, complete: bool, cause: str, pause_ns: int | None = None) -> None:
        """Close the books, end the sockets, go on to the next conversation or to the end."""
        self._close_books(now, complete, cause, cut=True)
        self._next_or_finish(now, pause_ns)

    def _close_books(self, now: int, complete: bool, cause: str, *, cut: bool) -> None:
        """The conversation is over; `cut` ends its sockets as well."""
        self._life += 1
        self._sync, self._leave_step = None, ""
        if not self._ends_storing:
            for op in self._under_way():
                self._miss_echo(now, op, FailureCause.INTERRUPTED, ops.INFO)
                self._fail(now, op, FailureCause.INTERRUPTED, outcome=ops.INFO, via="end")
        for op in self.ops.values():
            if not op.closed:
                self._miss_echo(now, op, FailureCause.INTERRUPTED, ops.INFO)
        self._forget_later()
        for name in [name for name in self._timers if name in self._busy or name in _LEAVING or name.startswith("confirm:")]:
            self._disarm(name)
        if cut:
            self._cut_link(now, NORMAL, "guest left")
        self._registry.clear()
        self._end_conversation(now, complete, cause)
        self._doubtful.clear()

    def _under_way(self) -> list[Op]:
        """Messages that left by an older socket: even after its close, what was held up behind it may still be stored."""
        return [
            op
            for op in self.ops.values()
            if not op.closed and op.sent_ns and any(conn != self._conn for conn in self._written.get(op.seq, ()))
        ]

    # ---------------------------------------------------------------- timers
    def _on_timer(self, name: str, now: int, due: int) -> None:
        act = _TIMERS.get(name)
        if act is not None:
            act(self, now)
        elif name.startswith("confirm:"):
            self._confirm_overdue(now, int(name[8:]))
        elif not self._on_link_timer(name, now):
            self._on_shared_timer(name, now, due)

    # ---------------------------------------------------------------- what a dialect provides
    @abstractmethod
    def _leave_frame(self) -> str:
        """The guest's good-bye."""


_TIMERS: dict[str, Callable[[ReadBackGuest, int], None]] = {
    "gap": lambda guest, now: guest._gap_overdue(now),
    "limited": lambda guest, now: guest._pump(now),
    "catchup": lambda guest, now: guest._check(now),
    "leave": lambda guest, now: guest._leave_overdue(now),
    "leave.reconnect": lambda guest, now: guest._read_back(now),
    "leave.limit": lambda guest, now: guest._leave_took_too_long(now),
}
"""By name, through the guest, so that a dialect may override what they do."""
