"""What recording costs, in units of one `json.loads` of a 100-byte frame in the same process: `python -m tests.metrics.costs`.

The hot path is what must be done in the load process when a message comes in: sort the copy, judge its order (expected
number, missing numbers), take its latencies. In rows of the recorder: one `Arrived` and its `Sample`. What else a row is good
for comes on top of that (evidence of the server's clock, Little's books, the bytes of the journal, its share of the interval's
end); with all of it no row may cost more than one and a half. The whole set is every metric of RFC 4737, 5236, 5560, 7680 and
3357 of one message, sent and received.

Times are CPU time of the thread, and each is the least of many rounds in which all take turns: what disturbs a round can only
add to it.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from harness.core import ops
from harness.metrics.ordering import Params
from harness.metrics.recorder import Recorder
from harness.metrics.suite import Suite

MS = 1_000_000
NOW = 10**15
LABELS = 100
FRAME = json.dumps({"type": "message", "id": "abcdef0123456789", "conv": "c-1", "seq": 123, "text": "hello world, hi"})
HOT, ROW, WHOLE = 1.0, 1.5, 4.0


Work = Callable[[], None]


class Case(NamedTuple):
    """Something that is timed: `prepare` gives the work over so many messages, made anew for each round."""

    name: str
    limit: float
    prepare: Callable[[int], Work]


def ratios(cases: Iterable[Case], messages: int = 3000, rounds: int = 40, enough: float = 0.0) -> dict[str, float]:
    """The least cost of each so far, after every round; ends early once all are within `enough` times their limits."""
    cases = list(cases)
    parsed = float("inf")
    least = dict.fromkeys((case.name for case in cases), float("inf"))
    for _ in range(rounds):
        for case in cases:
            parsed = min(parsed, _seconds(_parse(messages)))
            least[case.name] = min(least[case.name], _seconds(case.prepare(messages)))
        if all(least[case.name] <= enough * case.limit * parsed for case in cases):
            break
    return {name: seconds / parsed for name, seconds in least.items()}


def _seconds(work: Work) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def _parse(messages: int) -> Work:
    def work() -> None:
        for _ in range(messages):
            json.loads(FRAME)

    return work


# ---------------------------------------------------------------- the recorder
def _labels(count: int) -> Iterator[tuple[str, int]]:
    """Conversations that take turns, and the number of each one's message."""
    names = [f"{n}-1" for n in range(LABELS)]
    return ((names[n % LABELS], n // LABELS + 1) for n in range(count))


def _stamp(seq: int) -> int:
    return 1_700_000_000_123_000_000 + seq * MS


def _row(kind: str, label: str, seq: int) -> ops.Row:
    """One row as a run has it: stamped by the server, bracketed by the loop watcher."""
    at = NOW + seq * MS
    if kind == "Invoked":
        return ops.Invoked(at, label, seq, 1, at, 90)
    if kind == "Closed":
        return ops.Closed(at, label, seq, "ok", "", at, at, 1, "ack")
    if kind == "Arrived own":
        return ops.Arrived(at, label, "g", seq, 0, "push", 1, f"7f3c0a52-{label}-{seq}", _stamp(seq), "127.0.0.1:5", "f", at - 9)
    if kind == "Arrived":
        return ops.Arrived(at, label, "a", seq, seq, "push", 1, f"7f3c0a52-{label}-{seq}", _stamp(seq), "127.0.0.1:5", "f")
    measure = kind.rpartition(" ")[2]
    return ops.Sample(at, label, measure, "ok", "", at - 9 * MS, at - 8 * MS, at, 0, str(seq), "", "", at - MS)


BEFORE = {"Closed": ("Invoked",), "Arrived own": ("Invoked",), "Arrived": ("Invoked",), "Sample reply": ("Invoked",)}
"""Rows that must have been before."""
ROWS = ("Invoked", "Closed", "Arrived own", "Arrived", "Sample ack", "Sample echo", "Sample reply")


def recorded(rows: list[ops.Row], before: Iterable[ops.Row], emit: Callable[[bytes], object] | None, *, close: bool) -> Work:
    """The work of taking these rows, and with `close` of ending the interval."""
    recorder = Recorder("ab12", "w0", emit, start_ns=NOW)
    for n in range(LABELS):
        recorder.record(ops.State(NOW, f"{n}-1", "", "chatting"))
    for row in before:
        recorder.record(row)

    def work() -> None:
        take = recorder.record
        for row in rows:
            take(row)
        if close:
            recorder.close_interval(NOW + 10**9)
        assert recorder.fault == ""

    return work


def _one_row(kind: str) -> Case:
    def prepare(messages: int) -> Work:
        rows = [_row(kind, *one) for one in _labels(messages)]
        before = [_row(name, *one) for name in BEFORE.get(kind, ()) for one in _labels(messages)]
        return recorded(rows, before, lambda _: None, close=True)

    return Case(f"{kind} row with all it is good for", ROW, prepare)


def _arrival(name: str, direction: str, measure: str) -> Case:
    """Copy and latency, without what the journal, the clock's evidence and Little's books cost."""

    def prepare(messages: int) -> Work:
        before = [_row("Invoked", *one) for one in _labels(messages + LABELS)] if direction == "g" else []
        before += [_row("Arrived own" if direction == "g" else "Arrived", *one) for one in _labels(LABELS)]  # the books are open
        rows: list[ops.Row] = []
        for label, seq in islice(_labels(messages + LABELS), LABELS, None):
            at = NOW + seq * MS
            rows.append(ops.Arrived(at, label, direction, seq, 0, "push", 1, f"7f3c0a52-{label}-{seq}", 0, "127.0.0.1:5"))
            rows.append(_row(f"Sample {measure}", label, seq))
        return recorded(rows, before, None, close=False)

    return Case(name, HOT, prepare)


# ---------------------------------------------------------------- the whole set
def _in_order(messages: int) -> Work:
    suite = Suite(Params(1000 * MS), forget=True, sink=lambda rows: None)

    def work() -> None:
        send, arrive = suite.send, suite.arrive
        for seq in range(1, messages + 1):
            send(seq, seq * MS, "ok", 100)
            arrive(seq, seq * MS + 5, True, 1, 77)

    return work


def disturbed(messages: int, late: float, by: float, lost: float, copied: float, listed: float) -> list[tuple[int, int, int, bool]]:
    """What is sent and what arrives at each step, 0 for nothing: (sent, time, arrived, by push)."""
    draw = random.Random(4).random
    events = []
    for seq in range(1, messages + 1):
        if draw() < lost:
            continue
        at = seq + (draw() * by if draw() < late else 0.0)
        events.append((at, seq, draw() >= listed))
        if draw() < copied:
            events.append((at + draw() * 3, seq, True))
    events.sort()
    found = [(seq, seq, 0, True) for seq in range(1, 9)]
    sent = 8
    for at, seq, push in events:
        while sent < min(messages, int(at) + 8):
            sent += 1
            found.append((sent, int(at), 0, True))
        if found[-1][2]:
            found.append((0, int(at), seq, push))
        else:
            found[-1] = (found[-1][0], int(at), seq, push)
    return found


def _whole(name: str, late: float, by: float, lost: float = 0.0, copied: float = 0.0, listed: float = 0.0) -> Case:
    def prepare(messages: int) -> Work:
        steps = disturbed(messages, late, by, lost, copied, listed)
        suite = Suite(Params(10_000 * MS), forget=True, sink=lambda rows: None)

        def work() -> None:
            send, arrive = suite.send, suite.arrive
            for sent, at, seq, push in steps:
                if sent:
                    send(sent, at * MS, "ok", 100)
                if seq:
                    arrive(seq, at * MS + 20 * MS, push, 1, 77)
            suite.close()

        return work

    return Case(name, WHOLE, prepare)


CASES = (
    _arrival("an agent's message and its latency", "a", "reply"),
    _arrival("an echo and its latency", "g", "echo"),
    Case("suite, in order", HOT, _in_order),
    *(_one_row(kind) for kind in ROWS),
    _whole("whole set, 10 % late", 0.1, 4),
    _whole("whole set, 40 % late", 0.4, 16),
    _whole("whole set, 40 % late, 5 % lost, 10 % twice, 5 % listed", 0.4, 16, 0.05, 0.1, 0.05),
    _whole("whole set, 40 % late, 20 % lost, 10 % twice, 10 % listed", 0.4, 16, 0.2, 0.1, 0.1),
    _whole("whole set, all late by up to 30 places", 1.0, 30),
    _whole("whole set, all late by up to 200 places", 1.0, 200),
)


def main() -> None:
    """Print what each costs."""
    found = ratios(CASES)
    width = max(map(len, found))
    print("in units of one json.loads".ljust(width), "cost", "limit")
    for case in CASES:
        print(case.name.ljust(width), f"{found[case.name]:4.2f} {case.limit:5.1f}")


if __name__ == "__main__":
    main()
