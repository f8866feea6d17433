"""Memory while many messages go through, traced at the thirds of the way: for the tests, and with a million for the proofs."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

from harness.core import ops
from harness.metrics.ordering import Params
from harness.metrics.recorder import Recorder
from harness.metrics.suite import Suite

MS = 1_000_000
GROWTH = 400_000
"""Bytes that memory may have grown by from a third of the way to its end."""


def traced(messages: int, step: Callable[[int], None], settle: Callable[[], None]) -> list[int]:
    """Bytes in use after each third; `settle` frees what is let go of in any case, from time to time."""
    sizes = []
    tracemalloc.start()
    try:
        for seq in range(1, messages + 1):
            step(seq)
            if seq % (messages // 3) == 0:
                settle()
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    return sizes


def suite_sizes(messages: int) -> tuple[list[int], Suite]:
    """The whole set over one stream: half of the messages reordered, one copy in ten, one second's waiting time."""
    suite = Suite(Params(1000 * MS), forget=True, sink=lambda rows: None)

    def step(seq: int) -> None:
        suite.send(seq, seq * MS)
        if seq % 2 == 0:
            suite.arrive(seq, seq * MS)
            suite.arrive(seq - 1, seq * MS)
            if seq % 10 == 0:
                suite.arrive(seq, seq * MS, True, 1)

    return traced(messages, step, suite.delays.clear), suite


def recorder_sizes(messages: int) -> tuple[list[int], Recorder]:
    """A worker's recorder: conversations of fifty messages, one after another; each is echoed, confirmed, answered and timed."""
    recorder = Recorder("ab12", "w0", lambda _: None, linger_ns=1000 * MS)
    recorder.record(ops.State(0, "1-0", "", "chatting"))
    now = [0]

    def step(n: int) -> None:
        now[0] = n * MS
        at, label, seq = n * MS, f"1-{1 + (n - 1) // 50}", 1 + (n - 1) % 50
        if seq == 1:
            recorder.record(ops.State(at, label, "between", "chatting"))
        recorder.record(ops.Invoked(at, label, seq, 1, at, 90))
        recorder.record(ops.Arrived(at, label, "g", seq, 0, "push", 1, f"g{n}", 0, "a:1"))
        recorder.record(ops.Closed(at, label, seq, "ok", "", at, at, 1, "echo"))
        recorder.record(ops.Arrived(at, label, "a", seq, seq, "push", 1, f"a{n}", 0, "a:1"))
        if seq % 9 == 0:  # once more, on another connection
            recorder.record(ops.Arrived(at, label, "a", seq, seq, "push", 2, f"a{n}", 0, "a:2"))
        recorder.record(ops.Sample(at, label, "reply", "ok", "", at, at, at + MS, 0, str(seq), ""))
        if seq == 50:
            recorder.record(ops.Ended(at, label, "c", True, ""))
        if n % 1000 == 0:
            recorder.close_interval(at)

    # Rows wait in a buffer for their interval's end: that is no growth, wherever in an interval a third ends.
    return traced(messages, step, lambda: recorder.close_interval(now[0])), recorder
