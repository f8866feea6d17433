"""What a journal says by id: which messages, requests and connections were counted, so that truth can be joined to them.

A fold over op rows alone. Rows of one conversation come in order (they lie in one file); everything else is a set or a
multiset, so neither the order of the files nor how guests were spread over them matters.

For each row of the truth table there are two multisets of ids: `definite`, what the guests are sure of, and `possible`,
which adds what they cannot know (an outcome `info`, an answer that never came, a conversation that could not be read back).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import msgspec

from harness.core import ops
from harness.core.ops import AGENT, FAIL, GUEST, INFO, OK, PUSH, RESYNC

SENT, DELIVERED, RETURNED = "messages.sent", "messages.delivered", "messages.returned"
SAME, CROSS, RESEND = "duplicated.same_connection", "duplicated.cross_connection", "duplicated.resend"
REORDERED = "reordered"
LOST_INGEST, LOST_AGENT = "lost.ingest", "lost.agent"
REFUSED, DISCONNECTS, CUT = "refused", "disconnects", "cut"
TOKENS_CLIENT, TOKENS_REFRESH = "tokens.client_credentials", "tokens.refresh_token"

NAMES = (
    SENT,
    DELIVERED,
    RETURNED,
    SAME,
    CROSS,
    RESEND,
    REORDERED,
    LOST_INGEST,
    LOST_AGENT,
    REFUSED,
    DISCONNECTS,
    CUT,
    TOKENS_CLIENT,
    TOKENS_REFRESH,
)
"""Rows of the truth table, in their fixed order."""

BROKEN_OFF = frozenset({"connection_reset", "connection_closed"})
"""Causes of an exchange whose connection ended before its answer was whole."""
_UNANSWERED = BROKEN_OFF | {"timeout", "write_failed", "interrupted", "connect_timeout", "tls"}
_HOLES = frozenset({"event.malformed"})
"""Notes that a part of what can be read only once was unreadable."""
RACE_NS = 2_000_000_000
"""What is read by two ways within so long may have been let go of in the other order (a network's delay, either way)."""
_REFRESH = "#refresh_token"
"""How the endpoint of a token request tells its grant; without it the grant is `client_credentials`."""


class Pair(msgspec.Struct):
    """Ids that are sure, and ids that are at least possible (a superset)."""

    definite: Counter[str]
    possible: Counter[str]


class Identities(msgspec.Struct):
    """Everything that a journal says by id."""

    rows: dict[str, Pair]
    failed: set[str]
    """Messages that certainly did not get there: none of them may be stored."""
    unanswered: set[str]
    """Requests whose answer, if there was one, was not read whole."""
    unread: set[str]
    """Connections on which frames may have been handed over that nobody read."""
    raced: set[str]
    """Messages that came by a listing and by a push at nearly the same time: their place in the order is in doubt."""
    crossed: set[str]
    """Messages that were read one after the other over two sockets at nearly the same time: which was first is in doubt."""
    unexcused: set[str]
    """Conversations that were not read back whole, although nothing in the journal says why: no doubt may rest on them."""

    @property
    def blind(self) -> set[str]:
        """Hand-overs by which a message may have been given and yet not received."""
        return self.unanswered | self.unread


class _Stream:
    """One direction of one conversation."""

    __slots__ = ("came", "copies", "cross", "crossed", "evident", "pushed", "raced", "reordered", "resend", "same", "top")

    def __init__(self) -> None:
        self.copies: dict[int, dict[str, tuple[int, ...]]] = {}
        """seq -> stored copy (`mid`) -> epochs over which it was pushed."""
        self.top = 0
        self.came: dict[int, tuple[int, bool]] = {}
        """seq -> when its first copy was read, and whether that was a listed one; of late ones only."""
        self.raced: set[int] = set()
        self.crossed: set[int] = set()
        self.pushed = 0, 0, 0
        """The latest first copy that was pushed: when it was read, over which socket, and which it was."""
        self.evident: set[int] = set()
        """Surely in the server's storage: listed, in a poll's answer, or answered (an echo on a socket proves nothing)."""
        self.same: Counter[int] = Counter()
        self.cross: Counter[int] = Counter()
        self.resend: Counter[int] = Counter()
        self.reordered: set[int] = set()

    def take(self, row: ops.Arrived) -> None:
        pushed = row.channel == PUSH
        seq = row.seq
        if row.channel == RESYNC or ":" not in row.via:
            self.evident.add(seq)
        stored = self.copies.get(seq)
        self._race(row, pushed, first=stored is None)
        if stored is None:
            self.copies[seq] = {row.mid: (row.epoch,) if pushed else ()}
            if pushed:
                self._cross(row)
                if seq < self.top:
                    self.reordered.add(seq)
                else:
                    self.top = seq
            return
        if row.mid and "" in stored:  # a copy without a name counts as one of the first
            stored[row.mid] = stored.pop("")
        mid = row.mid or next(iter(stored))
        epochs = stored.get(mid)
        if epochs is None:
            self.resend[seq] += 1
            stored[mid] = (row.epoch,) if pushed else ()
        elif pushed:
            if row.epoch in epochs:
                self.same[seq] += 1
                return
            if epochs:
                self.cross[seq] += 1
            stored[mid] = (*epochs, row.epoch)

    def _race(self, row: ops.Arrived, pushed: bool, *, first: bool) -> None:
        """A listing and a push that cross on two connections: which was let go of first cannot be told from the reading."""
        came = self.came
        if first:
            while came and next(iter(came.values()))[0] < row.at_ns - RACE_NS:
                del came[next(iter(came))]
            came[row.seq] = row.at_ns, not pushed
        elif (earlier := came.get(row.seq)) is not None and earlier[1] is pushed and row.at_ns - earlier[0] <= RACE_NS:
            self.raced.add(row.seq)

    def _cross(self, row: ops.Arrived) -> None:
        """The same of two pushes, one after the other, over two sockets."""
        at, epoch, seq = self.pushed
        if seq and epoch != row.epoch and row.at_ns - at <= RACE_NS:
            self.crossed |= {seq, row.seq}
        self.pushed = row.at_ns, row.epoch, row.seq


class _Conversation:
    __slots__ = ("agent", "complete", "excused", "guest", "holed", "invoked", "listing", "outcomes")

    def __init__(self) -> None:
        self.guest, self.agent = _Stream(), _Stream()
        self.invoked = 0
        self.outcomes: dict[int, str] = {}
        self.complete = False
        self.listing = True
        """Is there anything to read back from?"""
        self.excused = False
        """Did anything go wrong, since the guest began to leave, that may have kept it from being read back?"""
        self.holed = False
        """Was part of the stream itself unreadable?"""


class _Address:
    """One WebSocket of an address, for its number by order of opening."""

    __slots__ = ("begun", "ended_ns", "label", "opened_ns", "ready")

    def __init__(self, row: ops.Connection) -> None:
        self.opened_ns, self.ended_ns, self.label = row.opened_ns, row.ended_ns, row.label
        self.begun, self.ready = row.begun, row.ready_ns > 0


class Collector:
    """Takes op rows, gives `Identities`. Several collectors over parts of a journal merge by feeding one collector all rows."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._conversations: dict[str, _Conversation] = {}
        self._addresses: dict[str, list[_Address]] = {}
        self._refused: list[tuple[int, str]] = []
        self._cut: Counter[str] = Counter()
        self._cut_possible: set[str] = set()
        self._unanswered: set[str] = set()
        self._tokens: dict[str, Counter[str]] = {TOKENS_CLIENT: Counter(), TOKENS_REFRESH: Counter()}
        self._tokens_open: dict[str, set[str]] = {TOKENS_CLIENT: set(), TOKENS_REFRESH: set()}

    def take(self, row: ops.Row) -> None:
        """Take one row; those of one conversation in the order in which they were written."""
        if isinstance(row, ops.Arrived):
            talk = self._talk(row.label)
            if row.direction == GUEST:
                talk.guest.take(row)
            else:
                talk.agent.take(row)
                if row.re:
                    talk.guest.evident.add(row.re)  # an agent read it
        elif isinstance(row, ops.Invoked):
            talk = self._talk(row.label)
            talk.invoked = max(talk.invoked, row.seq)
            talk.outcomes.setdefault(row.seq, INFO)  # until its outcome is read
        elif isinstance(row, ops.Closed):
            self._talk(row.label).outcomes[row.seq] = row.outcome
        elif isinstance(row, ops.Sample):
            self._sample(row)
        elif isinstance(row, ops.Connection):
            self._addresses.setdefault(row.address, []).append(_Address(row))
            if row.begun != GUEST_BEGUN:
                self._excuse(row.label)
        elif isinstance(row, ops.Refused):
            self._refused.append((row.at_ns, row.ref))
        elif isinstance(row, ops.Ended):
            talk = self._talk(row.label)
            talk.complete, talk.listing = row.complete, row.listing
            talk.excused = talk.excused or row.cause != ""
        elif isinstance(row, ops.Noted):
            self._excuse(row.label)
            if row.what in _HOLES and (holed := self._conversations.get(row.label)) is not None:
                holed.holed = True
        elif isinstance(row, ops.State) and row.after == "leaving" and (leaving := self._conversations.get(row.label)) is not None:
            leaving.excused = False  # what went wrong before keeps nothing from being read back now

    def _excuse(self, label: str) -> None:
        talk = self._conversations.get(label)
        if talk is not None:
            talk.excused = True

    def _talk(self, label: str) -> _Conversation:
        talk = self._conversations.get(label)
        if talk is None:
            talk = self._conversations[label] = _Conversation()
        return talk

    def _sample(self, row: ops.Sample) -> None:
        if row.outcome != OK:
            self._excuse(row.label)
        if row.measure == "connect":
            if row.outcome != OK and row.cause in _UNANSWERED:
                self._unanswered.add(row.ref)
            return
        if not row.endpoint or row.endpoint.startswith("WS "):  # a frame's answer, no exchange
            return
        if row.outcome == INFO:
            self._unanswered.add(row.ref)
        if row.outcome != OK and row.cause in BROKEN_OFF:
            if row.outcome == INFO:
                self._cut[row.ref] += 1
            else:
                self._cut_possible.add(row.ref)
        if row.measure == "token":
            kind = TOKENS_REFRESH if row.endpoint.endswith(_REFRESH) else TOKENS_CLIENT
            if row.outcome == OK:
                self._tokens[kind][row.ref] += 1
            elif row.outcome == INFO:
                self._tokens_open[kind].add(row.ref)

    def finish(self) -> Identities:
        """Everything by id."""
        rows = {name: Pair(Counter(), Counter()) for name in NAMES}
        failed: set[str] = set()
        for label, talk in self._conversations.items():
            self._finish_talk(label, talk, rows, failed)
        unread = self._finish_connections(rows)
        rows[CUT] = Pair(self._cut, _or_once(self._cut, self._cut_possible | self._unanswered))
        for kind, granted in self._tokens.items():
            rows[kind] = Pair(granted, _or_once(granted, self._tokens_open[kind]))
        unexcused = {
            f"{self._run}.{label}"
            for label, talk in self._conversations.items()
            if not (talk.complete or talk.excused or talk.holed or not talk.listing) and (talk.outcomes or talk.agent.copies)
        }
        raced, crossed = self._ids(lambda stream: stream.raced), self._ids(lambda stream: stream.crossed)
        return Identities(rows, failed, self._unanswered, unread, raced, crossed, unexcused)

    def _ids(self, pick: Callable[[_Stream], set[int]]) -> set[str]:
        return {
            f"{self._run}.{label}.{direction}.{seq}"
            for label, talk in self._conversations.items()
            for direction, stream in ((GUEST, talk.guest), (AGENT, talk.agent))
            for seq in pick(stream)
        }

    def _finish_talk(self, label: str, talk: _Conversation, rows: dict[str, Pair], failed: set[str]) -> None:
        for seq, outcome in talk.outcomes.items():
            nonce = f"{self._run}.{label}.g.{seq}"
            if outcome == FAIL:
                failed.add(nonce)
                continue
            _both(rows[SENT], nonce, sure=outcome == OK)
            if seq not in talk.guest.evident:
                if outcome == OK:
                    _both(rows[LOST_INGEST], nonce, sure=talk.complete)
                else:
                    rows[LOST_INGEST].possible[nonce] += 1
        for direction, stream, received in ((GUEST, talk.guest, RETURNED), (AGENT, talk.agent, DELIVERED)):
            head = f"{self._run}.{label}.{direction}."
            for seq in stream.copies:
                _both(rows[received], f"{head}{seq}")
            for name, counts in ((SAME, stream.same), (CROSS, stream.cross), (RESEND, stream.resend)):
                for seq, count in counts.items():
                    _both(rows[name], f"{head}{seq}", count)
            for seq in stream.reordered:
                _both(rows[REORDERED], f"{head}{seq}")
        copies = talk.agent.copies
        for seq in range(1, max(copies, default=0)):
            if seq not in copies:
                _both(rows[LOST_AGENT], f"{self._run}.{label}.a.{seq}", sure=talk.complete or not talk.listing)

    def _finish_connections(self, rows: dict[str, Pair]) -> set[str]:
        unread: set[str] = set()
        numbered: dict[str, list[tuple[int, str]]] = {}
        for address, sockets in self._addresses.items():
            sockets.sort(key=lambda one: (one.opened_ns, one.ended_ns, one.label))
            for number, one in enumerate(sockets, 1):
                name = f"{address}/{number}"
                numbered.setdefault(address, []).append((one.opened_ns, name))
                if one.begun == "contested":
                    unread.add(name)
                # What made a contested one ready may lie unread: it counts as possible.
                if one.begun == "contested" or (one.ready and one.begun != GUEST_BEGUN):
                    _both(rows[DISCONNECTS], name, sure=one.begun == "server")
        for at_ns, ref in self._refused:
            address, on_socket, which = ref.partition("#")
            if on_socket:
                opened = [name for since, name in numbered.get(address, ()) if since <= at_ns]
                ref = f"{opened[-1] if opened else address}#{which}"
            _both(rows[REFUSED], ref)
        rows[REFUSED].possible = _or_once(rows[REFUSED].definite, self._unanswered)
        return unread


GUEST_BEGUN = "guest"


def _both(pair: Pair, name: str, count: int = 1, *, sure: bool = True) -> None:
    pair.possible[name] += count
    if sure:
        pair.definite[name] += count


def _or_once(definite: Counter[str], more: set[str]) -> Counter[str]:
    """What is sure, and each of the others once at most."""
    return definite | Counter(dict.fromkeys(more, 1))
