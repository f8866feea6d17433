"""A guest whose server keeps a listing: pending messages and their echoes, checked re-sends, the render buffer, resync.

A dialect says what its frames and its listing's pages look like; when the listing is asked and what follows from it is here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import msgspec

from harness.core import ops
from harness.core.backoff import Backoff
from harness.core.events import Delivered, Listing
from harness.core.link import GOING_AWAY, LinkedGuest, LinkSettings
from harness.core.marker import read_marker
from harness.core.sequence import Item, RenderBuffer
from harness.core.session import Context, Op
from harness.core.spread import Duration, Share, seconds
from harness.core.wire import HttpResponse
from harness.errors import FailureCause


@dataclass(frozen=True, slots=True)
class ListedSettings(LinkSettings):
    """Settings that dialects with a listing share. Durations in nanoseconds."""

    max_pages: int = 200
    """Pages of one reading after which the guest does without the rest."""
    poll_every: Duration = seconds(5)
    """Pause before the listing is asked again, where asking failed."""
    poll_jitter: Share = 0.1
    start_pause: Duration = seconds(5)
    start_pause_cap: Duration = seconds(60)
    """Pause before another try where no conversation came about: doubled each time up to the cap (ours)."""
    start_jitter: float = 0.5
    sequence_timeout: Duration = seconds(2)
    """How long a missing agent message holds back the later ones before the listing is asked (ours)."""
    seen_limit: int = 4096
    typing_frames: int = 1
    """Typing frames for each message that is announced; more than one is a flood."""
    typing_every: Duration = seconds(3)
    """Typing frames are not repeated sooner (ours)."""
    retry_after_default: Duration = seconds(1)
    """Pause after a rate-limit frame that names none."""
    resync: bool = True
    """False: after a reconnect the stream goes on without asking the listing for what was missed."""
    resend: Literal["checked", "never", "blind"] = "checked"
    """`checked`: what the listing does not hold after a reconnect is sent again. `never`: it is not. `blind`: whatever has no
    echo is, unchecked."""
    max_resends: int = 2
    leave_timeout: Duration = seconds(5)
    leave_reconnect: Duration = seconds(15)
    """A guest whose socket is down when it leaves tries so long to get back before it reads back by REST alone."""
    leave_limit: Duration = seconds(60)
    """Leaving takes no longer, whatever happens."""
    read_back_attempts: int = 3

    def start_backoff(self) -> Backoff:
        """Pauses between failed starts."""
        return Backoff(self.start_pause, self.start_pause_cap, proportional=self.start_jitter)


class Paging(Protocol):
    """Which page of the listing is next, and whether there is one."""

    complete: bool
    """False once something may have been skipped."""

    def feed(self, page: Listing) -> bool:
        """Take one page; True if another has to be asked for."""


class Sync(msgspec.Struct):
    """One reading of the listing, from its first page to its last."""

    pager: Paging
    checkable: list[int]
    """Messages of which the answer will tell for certain whether the server holds them."""
    hole: int
    done: Callable[[int, bool], None]
    attempts: int
    may_end: bool
    """Whether a 404 ends the conversation (it does not where it is ending anyway)."""
    renewed: bool = False
    """Whether the credential of this reading was replaced already."""


class ListedGuest(LinkedGuest):
    """The part of such a guest that says and hears something."""

    def __init__(self, context: Context, settings: ListedSettings) -> None:
        super().__init__(context, settings)
        self._listed_settings = settings
        self.renderer: Callable[[int, Item], None] | None = None
        """Told of each message when a page would show it."""
        self._server_ns = 0
        """The latest server time that the guest knows, wall clock."""
        self._forget_talk()

    def _forget_talk(self) -> None:
        """A new conversation: nothing said, nothing heard."""
        self.render = RenderBuffer(self._listed_settings.sequence_timeout, self._listed_settings.seen_limit)
        self._typed_ns = 0
        self._floor_ns = 0
        """Server time before which nothing of an agent can be missing."""
        self._registry: dict[str, Op] = {}
        self._written: dict[int, list[int]] = {}
        """By seq: the sockets on which a message was handed to the shell."""
        self._op_floor: dict[int, int] = {}
        """By seq: the latest server time known when the message left; it cannot be stored before that."""
        self._echo_missed: set[int] = set()
        self._to_resend: list[int] = []
        self._sync: Sync | None = None
        self._sync_again = False

    # ---------------------------------------------------------------- hearing
    def _message(self, now: int, event: Delivered, channel: str, epoch: int, via: str) -> None:
        """One copy of a message, by whatever way."""
        if event.flaw:
            self._note(now, "message.flawed", event.flaw)
        mid = f"{event.message_id}@{event.stamp}" if event.message_id or event.stamp else ""
        known = self._arrive(now, event.text, channel, epoch, mid, event.server_ns, via)
        if known is None:
            marker = read_marker(event.text)
            if marker is not None and marker.run == self.context.run:
                return  # of an earlier conversation
            known = (ops.GUEST if self._is_own(event) else ops.AGENT), 0
        if not self.conversation_id or event.conversation_id not in ("", self.conversation_id):
            return
        direction, seq = known
        mine = direction == ops.GUEST
        self._server_ns = max(self._server_ns, event.server_ns)
        if mine:
            op = self._registry.get(event.trace or event.message_id) or self.ops.get(seq)
            if op is not None:
                self._on_own(now, op, channel)
        else:
            self._agent_arrived(now)
        key = event.key or event.message_id or (f"{direction}.{seq}" if seq else "")
        item = Item(f"{self.conversation_id}/{key}" if key else "", event.server_ns, 0 if mine else seq, mine, event.message_id)
        self._shown(now, self.render.offer(now, item))

    def _is_own(self, event: Delivered) -> bool:
        """Whether a message without marker is the guest's own."""
        return event.sender == "guest" or event.message_id.startswith(f"{self.context.run}-{self.label}-")

    def _on_own(self, now: int, op: Op, channel: str) -> None:
        """The guest's own message came back: the server has it."""
        if op.closed:
            return
        if channel == ops.PUSH:
            self._confirm(now, op, "echo", "" if op.seq in self._echo_missed else "echo")
        else:
            self._miss_echo(now, op, FailureCause.CONNECTION_CLOSED, ops.FAIL)
            self._confirm(now, op, "listing")
        self._settled(now, op)

    def _settled(self, now: int, op: Op) -> None:
        self._registry.pop(op.message_id, None)
        self._written.pop(op.seq, None)
        self._op_floor.pop(op.seq, None)
        self._echo_missed.discard(op.seq)
        self._disarm(f"confirm:{op.seq}")
        self._on_settled(now)

    def _miss_echo(self, now: int, op: Op, cause: FailureCause, outcome: str) -> None:
        """The echo did not come by push; recorded once for each message."""
        if op.sent_ns and op.seq not in self._echo_missed:
            self._echo_missed.add(op.seq)
            self.context.observer.record(
                ops.Sample(
                    now, op.label, "echo", outcome, cause.value, op.intended_ns, op.sent_ns, now, op.free_ns, str(op.seq), ""
                )
            )

    def _asked_to_wait(self, retry_after_ns: int) -> int:
        """How long a rate-limit frame holds the guest back (-1: it names no time)."""
        settings = self._listed_settings
        asked = retry_after_ns if retry_after_ns >= 0 else settings.retry_after_default
        return min(asked, settings.retry_after_cap) + round(self.rng.random() * settings.retry_jitter)

    def _hold(self, now: int, wait_ns: int) -> None:
        """Send nothing for so long."""
        if self.conversation_id:
            self._arm("limited", max(self._timers.get("limited", 0), now + wait_ns))

    def _refuse(self, now: int, message_id: str, cause: FailureCause) -> None:
        """The server says that it did not take this message."""
        op = self._registry.get(message_id)
        if op is None or op.closed:
            return
        if op.attempts > 1:
            # Only this attempt was refused: an earlier one may still be on its way through a socket that was given up.
            self._note(now, "resend.refused", cause.value)
        else:
            self._fail(now, op, cause, "" if op.seq in self._echo_missed else "echo")
            self._settled(now, op)

    # ---------------------------------------------------------------- saying
    def _way_free(self) -> bool:
        """Whether a frame may leave now."""
        return self.phase == "live" and "limited" not in self._timers

    def _can_speak(self) -> bool:
        return super()._can_speak() and self._way_free()

    def _on_send_due(self, now: int, due: int) -> None:
        if not self.stopping and self._can_speak() and self.behaviour.reload and self.rng.random() < self.behaviour.reload:
            if self.behaviour.pacing == "schedule":
                self._arm("send", self._pacer.next(due))
            self._held_send = self._held_send or due
            self._note(now, "reload")
            self.credential = None  # the page stored what names the conversation; a token was in memory only
            self._controlled(now, "", GOING_AWAY, "reload")
            return
        super()._on_send_due(now, due)

    def _transmit(self, now: int, op: Op) -> None:
        self._registry[op.message_id] = op
        self._arm(f"confirm:{op.seq}", now + self.behaviour.confirm_timeout)
        if self._way_free():  # else `_pump` hands it over once it is
            self._hand_over(now, op)

    def _hand_over(self, now: int, op: Op) -> None:
        """Give a message to the shell."""
        if op.attempts == 1:
            self._announce(now)
        self._written.setdefault(op.seq, []).append(self._conn)
        self._op_floor.setdefault(op.seq, self._server_ns)
        self._send(self._conn, self._message_frame(op), op.key)

    def _announce(self, now: int) -> None:
        """Say for a share of messages that the guest is typing."""
        settings = self._listed_settings
        quiet = not self._typed_ns or now - self._typed_ns >= settings.typing_every
        if quiet and self.rng.random() < self.behaviour.typing:
            self._typed_ns = now
            for _ in range(settings.typing_frames):
                self._send(self._conn, self._typing_frame())

    def _pump(self, now: int) -> None:
        """The way is free: hand over what never left, what has to go again, and what was due meanwhile."""
        if not self._way_free() or self.state == "leaving":
            return
        again, self._to_resend = self._to_resend, []
        for op in sorted(self.ops.values(), key=lambda op: op.seq):
            if op.closed:
                continue
            written = self._written.get(op.seq)
            if not written or (not op.sent_ns and written[-1] != self._conn):
                self._transmit(now, op)
            elif (op.seq in again or self._is_blind(written)) and op.attempts <= self._listed_settings.max_resends:
                self._note(now, "message.resent")
                self._attempt(now, op)
        self._on_pumped(now)
        if self._can_speak():
            self._resume_sending(now)

    def _is_blind(self, written: list[int]) -> bool:
        """Whether a message that was written on an earlier socket is sent again without looking."""
        return self._listed_settings.resend == "blind" and written[-1] != self._conn

    def _outstanding(self) -> bool:
        """Whether echoes are still due on this socket."""
        return any(not op.closed and self._conn in self._written.get(op.seq, ()) for op in self.ops.values())

    def _confirm_overdue(self, now: int, seq: int) -> None:
        op = self.ops.get(seq)
        if op is None or op.closed:
            return
        if not op.sent_ns:
            self._arm(f"confirm:{seq}", now + self.behaviour.confirm_timeout)
            return
        self._miss_echo(now, op, FailureCause.CONFIRM_TIMEOUT, ops.FAIL)
        if self.phase == "live" and self.state != "leaving" and self._listed_settings.resync:
            self._check(now)

    # ---------------------------------------------------------------- rendering
    def _shown(self, now: int, items: list[Item]) -> None:
        for item in items:
            if not item.mine:
                self._floor_ns = max(self._floor_ns, item.stamp_ns)
                self._on_shown(now, item)
            if self.renderer is not None:
                self.renderer(now, item)
        deadline = self.render.deadline
        if deadline is None:
            self._disarm("gap")
        else:
            self._arm("gap", deadline)

    def _gap_overdue(self, now: int) -> None:
        """An agent's message is missing for too long: ask the listing once, then do without."""
        if not self.render.hole or not self.conversation_id or self.phase == "reading":
            return
        if self._listed_settings.resync:
            self._note(now, "gap.resync")
            self._check(now)
        else:
            self._note(now, "gap.given_up", str(self.render.hole))
            self._shown(now, self.render.give_up(now))

    # ---------------------------------------------------------------- resync
    def _check(self, now: int) -> None:
        """Ask the listing while the stream goes on."""
        if self._sync is not None:
            self._sync_again = True
            return
        self._start_sync(now, self._checked)

    def _start_sync(self, now: int, done: Callable[[int, bool], None], *, from_start: bool = False) -> None:
        since = 0
        if not from_start:
            floors = [self._op_floor[op.seq] for op in self.ops.values() if not op.closed and op.seq in self._op_floor]
            since = min([self._floor_ns, *floors])
        settings = self._listed_settings
        attempts = settings.read_back_attempts if from_start else settings.rest_attempts
        self._sync = sync = Sync(self._new_pager(since), self._checkable(), self.render.hole, done, attempts, not from_start)
        self._sync_again = False
        self.render.freeze()
        self._disarm("gap")
        self._ask_page(now, sync)

    def _checkable(self) -> list[int]:
        """Messages that no socket can still bring to the server: each one they were written on is over for both ends."""
        return [
            op.seq
            for op in self.ops.values()
            if not op.closed
            and op.sent_ns
            and not any(conn in self.sockets or conn in self._doubtful for conn in self._written.get(op.seq, ()))
        ]

    def _take_page(self, now: int, request_id: str, outcome: HttpResponse) -> Listing | None:
        """Write down what a page lists."""
        page = self._read_page(outcome.body) if outcome.status == 200 else None
        for row in page.rows if page else ():
            self._message(now, row, ops.RESYNC, self._conn, request_id)
        return page

    def _stale_page(self, now: int, request_id: str, outcome: HttpResponse) -> None:
        """Listed is listed, even if nobody waits for it any more: the rows are written down."""
        self._take_page(now, request_id, outcome)

    def _page_answered(self, sync: Sync, now: int, request_id: str, outcome: HttpResponse | None) -> None:
        if outcome is None:
            if self._sync is sync:
                sync.done(now, False)
            return
        page = self._take_page(now, request_id, outcome)
        if self._sync is not sync:
            return
        if outcome.status == 404 and sync.may_end:
            self._sync = None
            self._conversation_lost(now, FailureCause.NOT_FOUND.value)
        elif page is None:
            self._note(now, "listing.unusable", str(outcome.status))
            sync.done(now, False)
        else:
            if page.flawed:
                self._note(now, "listing.flawed")
            if sync.pager.feed(page):
                self._ask_page(now, sync)
            else:
                sync.done(now, True)

    def _caught_up(self, now: int, ok: bool) -> None:
        """After a reconnect: the listing is in (or out of reach), the stream goes on."""
        again = self._merge(now, ok)
        self._live(now)
        self._after_sync(now, ok, again)

    def _live(self, now: int) -> None:
        """The stream goes on: the socket is bound and what was missed has been read."""
        self.phase = "live"
        self._tries = 0
        self._end_gap(now, ops.OK, "")
        self._on_live(now)

    def _checked(self, now: int, ok: bool) -> None:
        """After a check beside the stream, or a poll without one."""
        again = self._merge(now, ok)
        if self.phase == "live":
            self._pump(now)
            self._after_sync(now, ok, again)

    def _after_sync(self, now: int, ok: bool, again: bool) -> None:
        if self.phase != "live":
            return
        if not ok:
            self._note(now, "resync.failed")
            settings = self._listed_settings
            self._arm("catchup", now + self._jittered(settings.poll_every, settings.poll_jitter))
        elif again:
            self._check(now)
        else:
            self._on_synced(now)

    def _merge(self, now: int, ok: bool) -> bool:
        """Put what was listed where it belongs; whether something asked for another look meanwhile."""
        sync, self._sync = self._sync, None
        again, self._sync_again = self._sync_again, False
        items = self.render.thaw(now)
        if sync is not None and sync.hole and self.render.hole == sync.hole:
            self._note(now, "gap.given_up", str(sync.hole))
            items += self.render.give_up(now)
        self._shown(now, items)
        if ok and sync is not None and sync.pager.complete and self._listed_settings.resend == "checked":
            self._to_resend = [seq for seq in sync.checkable if seq in self.ops and not self.ops[seq].closed]
        return again

    def _forget_sync(self) -> None:
        """The socket is gone: what the running listing was for is void (its rows are still written down)."""
        self._sync = None
        self._sync_again = False
        self._to_resend = []
        self.render.freeze()
        self._disarm("gap")
        self._disarm("catchup")

    def _jittered(self, duration: int, share: float) -> int:
        return round(duration * (1 + self.rng.uniform(-share, share)))

    def _on_old_socket_over(self, now: int, conn: int) -> None:
        """Now it can be known what became of the messages that were written on it."""
        if self.state == "leaving" or not any(not op.closed and conn in self._written.get(op.seq, ()) for op in self.ops.values()):
            return
        if self.phase == "syncing":
            self._sync_again = True
        elif self.phase == "live":
            self._check(now)

    # ---------------------------------------------------------------- what a dialect provides
    @abstractmethod
    def _message_frame(self, op: Op) -> str:
        """A message on the wire."""

    @abstractmethod
    def _typing_frame(self) -> str:
        """A typing indicator."""

    @abstractmethod
    def _new_pager(self, since_ns: int) -> Paging:
        """How to read the listing from this server time on (0: all of it)."""

    @abstractmethod
    def _ask_page(self, now: int, sync: Sync) -> None:
        """Ask for the page that `sync.pager` wants; answers go to `_page_answered`, stale ones to `_stale_page`."""

    @abstractmethod
    def _read_page(self, body: bytes) -> Listing | None:
        """A page of the listing; None where the answer has another shape. Total."""

    @abstractmethod
    def _on_live(self, now: int) -> None:
        """Frames can be sent (again)."""

    @abstractmethod
    def _on_settled(self, now: int) -> None:
        """A message is no longer pending."""

    @abstractmethod
    def _conversation_lost(self, now: int, cause: str) -> None:
        """The server does not know the conversation (any more)."""

    def _agent_arrived(self, now: int) -> None:
        """Something of an agent came."""

    def _on_shown(self, now: int, item: Item) -> None:
        """An agent's message would be shown now."""

    def _on_pumped(self, now: int) -> None:
        """What waited for a free way has left."""

    def _on_synced(self, now: int) -> None:
        """Nothing more has to be asked of the listing for now."""
