"""One conversation for each kind of anomaly that occurred, message by message, read back from the op rows.

The ids are those that the interval records keep; a second look at the journal gathers the rows of a few candidates, never
more than a fixed number of each. Nothing here is a figure: the examples show what the figures have counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core import ops
from harness.journal.reader import JournalReader
from harness.journal.records import Interval
from harness.report.fold import Measured
from harness.report.wording import capital, clock, many, ms, shown

KINDS: tuple[tuple[str, str], ...] = (
    ("lost.definite", "Lost"),
    ("unlisted", "Confirmed, but missing from the read-back"),
    ("lost.unread", "Possibly lost"),
    ("dup_same_connection", "Duplicate on the same connection"),
    ("dup_resend", "Stored twice"),
    ("dup_cross_connection", "Duplicate after a reconnect"),
    ("reordered", "Out of order"),
    ("late", "Late"),
    ("unexpected", "Unexpected copy"),
    ("after_end", "Copy after the end"),
    ("aborted", "Failed, and yet returned"),
    ("undetermined", "Outcome never known"),
    ("recovered", "Recovered by a listing"),
    ("refused", "Refused"),
    ("disconnect", "Disconnected by the server"),
)
"""Kinds by gravity, and their titles."""
_LOSSES = ("lost.definite", "unlisted", "lost.unread")
_CANDIDATES = 6
_MAX_ROWS = 800
_AROUND_NS = 5_000_000_000
_MAX_MESSAGES = 40
_S = 1_000_000_000
_MS = 1_000_000


@dataclass(slots=True)
class Arrow:
    """One message on its way. Seconds from the begin of the window; `end_s` None: it never arrived."""

    by_guest: bool
    start_s: float
    end_s: float | None
    text: str
    role: str
    """`plain`, `echo`, `anomaly`, or `repair`."""
    call: int = 0
    """Number of its callout; 0: none."""


@dataclass(slots=True)
class Socket:
    """A connection within the window. `broken`: the server ended it."""

    low_s: float
    high_s: float
    epoch: int
    broken: bool


@dataclass(slots=True)
class Example:
    """An anomaly in the conversation where it happened."""

    kind: str
    title: str
    ref: str
    label: str
    begin_s: float
    """Begin of the window, in seconds of the run."""
    length_s: float
    arrows: list[Arrow]
    sockets: list[Socket]
    calls: list[str]
    notes: list[str]
    """What is known beyond the picture."""
    omitted: int = 0
    """Messages in the window that are left out."""


@dataclass(slots=True)
class _Candidate:
    kind: str
    at_ns: int
    ref: str
    label: str = ""
    direction: str = ""
    seq: int = 0
    rows: deque[ops.Row] = field(default_factory=lambda: deque(maxlen=_MAX_ROWS))
    own: list[ops.Row] = field(default_factory=list)


def examples(files: Sequence[Path], measured: Measured, *, start_ns: int, anchor: dict[str, Any]) -> list[Example]:
    """One example of each kind that occurred and whose rows were kept, the gravest kind first."""
    candidates = _candidates(files, measured)
    by_label: dict[str, list[_Candidate]] = {}
    for one in candidates:
        by_label.setdefault(one.label, []).append(one)
    if by_label:
        for row in _rows(files):
            for one in by_label.get(row.label, ()):
                _gather(one, row)
    offset = _offset(anchor)
    found = []
    for kind, title in KINDS:
        mine = [one for one in candidates if one.kind == kind and (one.rows or one.own)]
        told = [pair for one in mine if (pair := _tell(one, title, start_ns, offset)) is not None]
        if told:
            found.append(min(told, key=lambda example: (len(example.arrows) + example.omitted, example.ref)))
    return found


def _offset(anchor: dict[str, Any]) -> int | None:
    """What a server's wall-clock stamp exceeds our monotonic clock by."""
    wall, monotonic = anchor.get("wall_ns"), anchor.get("monotonic_ns")
    return wall - monotonic if isinstance(wall, int) and isinstance(monotonic, int) else None


def _rows(files: Iterable[Path]) -> Iterator[ops.Row]:
    for path in files:
        for record in JournalReader(path).records():
            if not isinstance(record, Interval):
                yield record


def _candidates(files: Sequence[Path], measured: Measured) -> list[_Candidate]:
    found: list[_Candidate] = []
    addresses: dict[str, int] = {}
    for kind, _ in KINDS:
        for at_ns, ref in measured.anomalies.get(kind, [])[:_CANDIDATES]:
            if kind == "disconnect":
                addresses[ref] = at_ns
                continue
            parts = ref.split(".")
            if len(parts) == 4 and parts[3].isascii() and parts[3].isdigit():
                found.append(_Candidate(kind, at_ns, ref, parts[1], parts[2], int(parts[3])))
    refused = _CANDIDATES if any(name.startswith("refused|") for name in measured.counters) else 0
    if addresses or refused:
        for row in _rows(files):
            if isinstance(row, ops.Refused) and refused:
                refused -= 1
                found.append(_Candidate("refused", row.at_ns, row.ref, row.label))
            elif isinstance(row, ops.Connection) and addresses.get(row.address) == row.at_ns:
                found.append(_Candidate("disconnect", row.ended_ns or row.at_ns, row.address, row.label))
    return found


def _gather(one: _Candidate, row: ops.Row) -> None:
    if isinstance(row, ops.State | ops.Noted) or (isinstance(row, ops.Sample) and row.measure != "resync"):
        return
    if isinstance(row, ops.Ended | ops.Connection) or _is_own(one, row):
        if len(one.own) < _MAX_ROWS:
            one.own.append(row)
    elif row.at_ns <= one.at_ns + 2 * _AROUND_NS:
        one.rows.append(row)


def _is_own(one: _Candidate, row: ops.Row) -> bool:
    if isinstance(row, ops.Invoked | ops.Closed):
        return one.direction == "g" and row.seq == one.seq
    return isinstance(row, ops.Arrived) and row.direction == one.direction and row.seq == one.seq


# ---------------------------------------------------------------- one conversation


class _Story:
    """A candidate's rows by kind, around the moment of its anomaly."""

    def __init__(self, one: _Candidate, start_ns: int, offset: int | None) -> None:
        rows = sorted([*one.rows, *one.own], key=lambda row: row.at_ns)
        self.one, self.start_ns, self.offset = one, start_ns, offset
        self.invoked = [row for row in rows if isinstance(row, ops.Invoked)]
        self.closed = {row.seq: row for row in rows if isinstance(row, ops.Closed)}
        self.arrived = [row for row in rows if isinstance(row, ops.Arrived)]
        self.refused = [row for row in rows if isinstance(row, ops.Refused)]
        self.connections = sorted((row for row in rows if isinstance(row, ops.Connection)), key=lambda row: row.opened_ns)
        self.ended = next((row for row in rows if isinstance(row, ops.Ended)), None)
        self.mine = [row for row in self.arrived if (row.direction, row.seq) == (one.direction, one.seq)]
        self.sent = [row for row in self.invoked if one.direction == "g" and row.seq == one.seq]
        self.later = [
            row
            for row in self.arrived
            if one.direction == "a" and row.direction == "a" and row.channel == ops.PUSH and row.seq > one.seq
        ]

    def moment(self) -> int | None:
        """When it happened, as the guest could see it."""
        one = self.one
        if one.kind in _LOSSES or one.kind in ("aborted", "undetermined", "recovered"):
            if one.direction == "g":
                return self.sent[0].at_ns if self.sent else None
            return self.later[0].at_ns if self.later else self.mine[0].at_ns if self.mine else None
        return one.at_ns

    def at(self, ns: int) -> str:
        """An instant in words: `0:07.412`."""
        seconds = max(ns - self.start_ns, 0) / _S
        return f"{clock(seconds)}.{int(seconds * 1000) % 1000:03}"

    def stamped(self, row: ops.Arrived) -> int | None:
        """When the server says that it wrote a message down, on our clock, if that can be."""
        if not row.server_ns or self.offset is None:
            return None
        ns = row.server_ns - self.offset
        return ns if row.at_ns - 2 * _AROUND_NS <= ns <= row.at_ns else None


def _tell(one: _Candidate, title: str, start_ns: int, offset: int | None) -> Example | None:
    story = _Story(one, start_ns, offset)
    moment = story.moment()
    if moment is None:
        return None
    low, high = max(moment - _AROUND_NS, start_ns), moment + _AROUND_NS
    if story.mine:  # the first copy belongs to the picture, if it is not too far
        low = max(min(low, story.mine[0].at_ns - _S), moment - 2 * _AROUND_NS)
    arrows, calls = _arrows(story, low, high)
    kept = _most_telling(arrows)
    omitted = len(arrows) - len(kept)
    ends = [end for arrow in kept for end in (arrow.start_s, arrow.end_s) if end is not None]
    if not ends:
        return None
    shift = max(min(ends) - 0.25, 0.0)
    for arrow in kept:
        arrow.start_s = max(arrow.start_s - shift, 0.0)
        arrow.end_s = None if arrow.end_s is None else arrow.end_s - shift
    begin = low + int(shift * _S)
    length = max(max(ends) - shift + 0.3, 0.6)
    sockets = [
        Socket(max(row.opened_ns - begin, 0) / _S, min((row.ended_ns - begin) / _S, length), row.epoch, row.begun != "guest")
        for row in story.connections
        if row.ended_ns > begin and row.opened_ns < begin + length * _S
    ]
    return Example(
        one.kind,
        title,
        one.ref,
        one.label,
        (begin - start_ns) / _S,
        length,
        kept,
        sockets,
        calls,
        _end_words(story),
        omitted,
    )


def _most_telling(arrows: list[Arrow]) -> list[Arrow]:
    """At most so many, by time; those with a callout stay, then those nearest to one."""
    if len(arrows) <= _MAX_MESSAGES:
        return arrows
    called = [arrow.start_s for arrow in arrows if arrow.call] or [arrows[0].start_s]
    near = sorted(arrows, key=lambda arrow: (not arrow.call, min(abs(arrow.start_s - at) for at in called)))[:_MAX_MESSAGES]
    return sorted(near, key=lambda arrow: (arrow.start_s, arrow.text))


class _Calls:
    """Numbers callouts in the order in which they are made."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def add(self, text: str) -> int:
        self.texts.append(text)
        return len(self.texts)


def _arrows(story: _Story, low: int, high: int) -> tuple[list[Arrow], list[str]]:
    """Everything in the window by time, and the callouts in words."""
    one, calls = story.one, _Calls()
    events: list[tuple[int, int, Any]] = []
    events += [(row.at_ns, 0, row) for row in story.invoked]
    events += [(row.at_ns, 1, row) for row in story.arrived if row.channel == ops.PUSH]
    events += [(row.at_ns, 3, row) for row in story.refused]
    listings: dict[tuple[int, str], list[ops.Arrived]] = {}
    for row in story.arrived:
        if row.channel != ops.PUSH:
            listings.setdefault((row.at_ns, row.via), []).append(row)
    events += [(at, 2, rows) for (at, _), rows in listings.items()]
    if one.kind in _LOSSES and one.direction == "a" and story.later and not story.mine:
        events.append((story.later[0].at_ns - 1, 4, None))
    if one.kind == "disconnect":
        events += [(row.ended_ns, 5, row) for row in story.connections if row.address == one.ref and row.ended_ns == one.at_ns]
        events += [(row.ready_ns, 6, row) for row in story.connections if row.ready_ns > one.at_ns][:1]
    arrows = []
    for at, order, row in sorted(events, key=lambda event: (event[0], event[1])):
        if low <= at <= high:
            arrows.append(_arrow(story, calls, at, order, row, low))
    return arrows, calls.texts


def _arrow(story: _Story, calls: _Calls, at: int, order: int, row: Any, low: int) -> Arrow:
    one = story.one

    def s(ns: int) -> float:
        return max(ns - low, 0) / _S

    if order == 0:
        own = one.direction == "g" and row.seq == one.seq
        back = next((r for r in story.arrived if r.direction == "g" and r.seq == row.seq), None)
        taken = story.stamped(back) if back is not None else None
        end: float | None = s(max(taken if taken is not None else at + 15 * _MS, at))
        if own and back is None and one.kind in (*_LOSSES, "undetermined"):
            end = None
        again = f", attempt {row.attempt}" if row.attempt > 1 else ""
        call = calls.add(f"{story.at(at)} The guest sends its message {row.seq}{again}.") if own else 0
        return Arrow(True, s(at), end, f"g{row.seq}", "anomaly" if own and end is None else "plain", call)
    if order == 1:
        return _push(story, calls, at, row, low)
    if order == 2:
        holds = any((r.direction, r.seq) == (one.direction, one.seq) for r in row)
        words = f"{story.at(at)} A listing of {many(len(row), 'message')} holds {_name(one)}."
        call = calls.add(words) if holds and one.seq else 0
        return Arrow(False, s(at - 20 * _MS), s(at), "list", "repair", call)
    if order == 3:
        mine = row.ref == one.ref and row.at_ns == one.at_ns
        pause = f" and asks for a pause of {ms(row.retry_after_ns / _MS)}" if row.retry_after_ns else ""
        call = calls.add(f"{story.at(at)} The server refuses {shown(row.endpoint, 80) or 'a frame'}{pause}.") if mine else 0
        return Arrow(False, s(at - 15 * _MS), s(at), "refused", "anomaly" if mine else "plain", call)
    if order == 4:
        later = story.later[0]
        call = calls.add(f"{story.at(at)} Message {later.seq} of the agent arrives; {_name(one)} never did.")
        return Arrow(False, s(at - 60 * _MS), None, f"a{one.seq}", "anomaly", call)
    if order == 5:
        cause = f", {shown(row.cause, 60)}" if row.cause else ""
        lived = ms((row.ended_ns - row.opened_ns) / _MS)
        call = calls.add(f"{story.at(at)} The server ends socket {row.epoch} after {lived} (code {row.code}{cause}).")
        return Arrow(False, s(at - 15 * _MS), s(at), "end", "anomaly", call)
    gap = ms((row.ready_ns - one.at_ns) / _MS)
    call = calls.add(f"{story.at(at)} Socket {row.epoch} is ready: the guest was cut off for {gap}.")
    return Arrow(False, s(at - 15 * _MS), s(at), "ready", "repair", call)


def _push(story: _Story, calls: _Calls, at: int, row: ops.Arrived, low: int) -> Arrow:
    one = story.one
    stamp = story.stamped(row)
    start = max(stamp if stamp is not None else at - 15 * _MS, low)
    text = f"{row.direction}{row.seq}"
    own = (row.direction, row.seq) == (one.direction, one.seq)
    role, call = "echo" if row.direction == "g" else "plain", 0
    if own:
        where = f"socket {row.epoch}" if row.epoch else "a poll"
        first = story.mine[0]
        if row is first:
            comes = "comes back" if row.direction == "g" else "arrives"
            call = calls.add(f"{story.at(at)} {capital(_name(one))} {comes} ({where}).{_after(story, row)}")
            role = "anomaly" if one.kind in ("reordered", "late", "unexpected", "after_end", "aborted") else role
        else:
            stored = "the same stored message" if row.mid == first.mid else "stored a second time, under another name"
            same = "again on the same connection" if row.epoch == first.epoch else f"again, now on connection {row.epoch}"
            call = calls.add(f"{story.at(at)} It arrives {same}, {ms((at - first.at_ns) / _MS)} later: {stored}.")
            role = "anomaly"
        if role == "anomaly":
            start = max(start, at - 250 * _MS) if row is not first else start
    return Arrow(False, (start - low) / _S, (at - low) / _S, text, role, call)


def _after(story: _Story, row: ops.Arrived) -> str:
    before = [r.seq for r in story.arrived if r.direction == row.direction and r.channel == ops.PUSH and r.at_ns < row.at_ns]
    if story.one.kind == "reordered":
        higher = [seq for seq in before if seq > row.seq]
        if higher:
            return f" Message {max(higher)} was there before it."
        return " A message with a higher number was read before it in the same answer."
    return ""


def _end_words(story: _Story) -> list[str]:
    """What is known beyond the picture."""
    one = story.one
    words = []
    closed = story.closed.get(one.seq) if one.direction == "g" else None
    if closed is not None:
        if closed.outcome == ops.OK:
            words.append(f"{story.at(closed.at_ns)} The server has confirmed it ({shown(closed.via, 20)}).")
        else:
            known = "not taken" if closed.outcome == ops.FAIL else "unknown"
            words.append(f"{story.at(closed.at_ns)} Its outcome is {known}: {shown(closed.cause, 60) or 'no cause given'}.")
    if one.kind in _LOSSES and story.ended is not None:
        read = "everything stored was read back" if story.ended.complete else "not everything could be read back"
        missing = "; it was not there" if story.ended.complete else ", so it may have been there"
        words.append(f"{story.at(story.ended.at_ns)} The conversation has ended and {read}{missing}.")
    return words


def _name(one: _Candidate) -> str:
    return f"the guest's message {one.seq}" if one.direction == "g" else f"the agent's message {one.seq}"
