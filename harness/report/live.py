"""What a load process says of an interval while the run goes on. `live_view` adds it up, `live_text` writes it.

A load process prints one JSON object a line. Of kind `interval` it is a `LiveInterval`, made by `live_line`; of kind `phase`
it has `phase`; of kind `fault` `name` and `on`; of kind `note` `text`. Figures of a line are totals since the run's begin
(so a line that was dropped does no harm), except for `hist`, which holds the samples of its own interval alone.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from harness.journal.records import SEND_DELAY, Interval, SparseHistogram, merge_counts
from harness.metrics.censored import failed_messages
from harness.metrics.health import merge_health
from harness.metrics.histogram import SUB_BUCKET_BITS, Histogram, indexes_of
from harness.report.health import signs
from harness.report.model import HealthLine
from harness.report.text import clean
from harness.report.verdict import COUNTED

MEASURES = ("ack", "echo", "reply")
"""What guests wait for, in the order in which it happens."""
WINDOW_S = 5.0
"""How far back "now" reaches."""
MAX_LINE = 3_800
"""Bytes of a line: a pipe takes one whole or not at all only up to 4,096."""

DIGITS = 2
"""Of its histograms."""


# ------------------------------------------------------------------ the line
class LiveGenerator(msgspec.Struct):
    """Whether this load process is to be believed, by the limits that the verdict will use."""

    ok: bool | None = None
    """None: nothing was measured."""
    send_delay_p99_ms: float | None = None
    send_delay_limit_ms: float | None = None
    loop_busy: float | None = None
    """Share of the time."""
    loop_busy_limit: float | None = None
    warn: list[str] = []
    """What else is over its limit, as `steal 2.6 of 2 %`: name, value, limit."""


class LiveInterval(msgspec.Struct):
    """One line of kind `interval`. Everything may be missing: what is not known is shown as `–`, never as 0."""

    kind: Literal["interval"] = "interval"
    worker: str = "0"
    """Lines of several workers are added up."""
    at_s: float | None = None
    """End of the interval, counted from the run's begin."""
    left_s: float | None = None
    phase: str = ""
    planned: int | None = None
    """Guests of this worker when all are there."""
    guests: dict[str, int] | int | None = None
    """By state (`core.ops.STATES`), or how many there are."""
    sent: int | None = None
    """Messages of guests."""
    sent_per_s: float | None = None
    answered: int | None = None
    """Those that an agent has answered."""
    answered_per_s: float | None = None
    failed: int | None = None
    """Messages and requests that did not succeed."""
    hist: dict[str, list[int]] = {}
    """Response times (µs) of the interval's successes by measure: `[index, count, index, count, …]` in the histogram layout of
    two digits, neighbours thrown together where the line would be too long."""
    p50_ms: dict[str, float] = {}
    """By measure, for a sender without histograms: shown as "now"."""
    p99_ms: dict[str, float] = {}
    lost: tuple[int, int] | None = None
    """Certainly, and possibly."""
    duplicated: int | None = None
    reordered: int | None = None
    refused: int | None = None
    disconnected: int | None = None
    """Ready sockets that the server ended."""
    generator: LiveGenerator | str | None = None
    """Its state, or one word for it (`ok`, `busy`, or what is wrong)."""
    journal_error: str = ""


class LiveTotals:
    """What `live_line` remembers of one load process from call to call."""

    def __init__(self) -> None:
        self.start_ns: int | None = None
        self.counters: dict[str, int] = {}
        self.guests: dict[str, int] = {}
        self.answered = 0
        self.health: dict[str, float] = {}
        self.delays = Histogram()
        self.recent: deque[Interval] = deque()

    def add(self, interval: Interval) -> None:
        """One more interval, in order."""
        if self.start_ns is None:
            self.start_ns = interval.t0_ns
        merge_counts(self.counters, interval.counters)
        for name, change in interval.gauges.items():
            family, _, state = name.partition("|")
            if family == "guests":
                self.guests[state] = self.guests.get(state, 0) + change
        self.answered += _answered(interval)
        merge_health(self.health, interval.health)
        if (delays := interval.histograms.get(SEND_DELAY)) is not None:
            self.delays.add_sparse(delays)
        self.recent.append(interval)
        while self.recent[0].t1_ns <= interval.t1_ns - WINDOW_S * 1e9:
            self.recent.popleft()

    def count(self, *names: str) -> int:
        """Sum of counters by their full names."""
        return sum(self.counters.get(name, 0) for name in names)

    def family(self, *heads: str) -> int:
        """Sum of all counters of these families."""
        return sum(count for name, count in self.counters.items() if name.partition("|")[0] in heads)

    def failed(self) -> int:
        """Each failure once: a message by its final outcome, so not again by its measures."""
        own = tuple(f"failed|{measure}|" for measure in MEASURES)
        others = sum(count for name, count in self.counters.items() if name.startswith("failed|") and not name.startswith(own))
        return failed_messages(self.counters) + others

    def per_s(self, number: Callable[[Interval], int]) -> float | None:
        """Rate over the last 5 s of what is counted so in an interval."""
        seconds = sum(interval.t1_ns - interval.t0_ns for interval in self.recent) / 1e9
        return round(sum(map(number, self.recent)) / seconds, 1) if seconds > 0 else None


def live_line(
    interval: Interval,
    totals: LiveTotals,
    *,
    planned: int | None = None,
    phase: str = "",
    left_s: float | None = None,
    start_ns: int | None = None,
    limits: Mapping[str, Any] | None = None,
    journal_error: str = "",
    max_bytes: int = MAX_LINE,
) -> dict[str, Any]:
    """The JSON object that a load process prints for an interval of its recorder; `totals` is kept between the calls.

    `limits` is the scenario's `[health]`; `start_ns` the run's begin (else that of the first interval). The histograms lose
    resolution until the line fits into `max_bytes`.
    """
    totals.add(interval)
    begin_ns = start_ns if start_ns is not None else totals.start_ns or 0
    definite = totals.family("lost.definite", "unlisted")
    copies = (f"copies|{direction}|dup_{how}" for direction in "ga" for how in ("same_connection", "cross_connection", "resend"))
    line = LiveInterval(
        worker=interval.worker,
        at_s=round((interval.t1_ns - begin_ns) / 1e9, 3),
        left_s=left_s,
        phase=phase,
        planned=planned,
        guests={state: number for state, number in sorted(totals.guests.items()) if number},
        sent=totals.count("messages|invoked"),
        sent_per_s=totals.per_s(_sent),
        answered=totals.answered,
        answered_per_s=totals.per_s(_answered),
        failed=totals.failed(),
        lost=(definite, definite + totals.family("lost.unread")),
        duplicated=totals.count(*copies),
        reordered=totals.family("reordered"),
        refused=totals.family("refused"),
        disconnected=totals.count("disconnects|server"),
        generator=_generator(totals, limits or {}),
        journal_error=clean(journal_error)[:200],
    )
    found = {measure: one for measure in MEASURES if (one := interval.histograms.get(f"{measure}|ok|response")) is not None}
    made: dict[str, Any] = msgspec.to_builtins(line)
    for shift in range(SUB_BUCKET_BITS[DIGITS]):
        made["hist"] = {measure: _condensed(one, shift) for measure, one in found.items()}
        if len(json.dumps(made, separators=(",", ":"))) <= max_bytes:
            break
    return made


def _sent(interval: Interval) -> int:
    return interval.counters.get("messages|invoked", 0)


def _answered(interval: Interval) -> int:
    found = interval.histograms.get("reply|ok|response")
    return found.count if found is not None else 0


def _condensed(sparse: SparseHistogram, shift: int) -> list[int]:
    """Two digits, and 2**shift neighbouring counters thrown into the highest of them."""
    k = SUB_BUCKET_BITS[3]
    indexes = np.array(sparse.indexes, dtype=np.int64)
    bits = np.maximum((indexes >> (k - 1)) - 1, 0)
    coarse = indexes_of((indexes - (bits << (k - 1))) << bits, DIGITS) | ((1 << shift) - 1)
    filled, where = np.unique(coarse, return_inverse=True)
    counts = np.zeros(filled.size, dtype=np.int64)
    np.add.at(counts, where, np.array(sparse.counts, dtype=np.int64))
    flat: list[int] = np.column_stack((filled, counts)).ravel().tolist()
    return flat


def _generator(totals: LiveTotals, limits: Mapping[str, Any]) -> LiveGenerator:
    """Of the last 5 s; of the whole run where that is over a limit that the last 5 s keep."""
    health: dict[str, float] = {}
    delays = Histogram()
    for interval in totals.recent:
        merge_health(health, interval.health)
        if (sparse := interval.histograms.get(SEND_DELAY)) is not None:
            delays.add_sparse(sparse)
    sent, dropped = totals.count("messages|invoked"), totals.count("noted|send.dropped")
    arrivals = totals.count("guests.arrived"), totals.count("noted|arrival.dropped")
    now = signs(health, delays, sent, dropped, limits, rules=True, arrivals=arrivals)
    run = signs(totals.health, totals.delays, sent, dropped, limits, rules=True, arrivals=arrivals)
    shown = run if _over(run) and not _over(now) else now
    signed = {line.name: line for line in shown}
    delay, loop = signed["send delay p99"], signed["loop busy"]
    measured = any(line.value is not None for line in shown if line.decides)
    return LiveGenerator(
        ok=not _over(shown) if measured else None,
        send_delay_p99_ms=delay.value,
        send_delay_limit_ms=delay.limit,
        loop_busy=loop.value,
        loop_busy_limit=loop.limit,
        warn=[_warning(line) for line in shown if line.ok is False and line not in (delay, loop)],
    )


def _over(lines: Sequence[HealthLine]) -> bool:
    return any(line.decides and line.ok is False for line in lines)


def _warning(line: HealthLine) -> str:
    value, limit, unit = line.value or 0.0, line.limit or 0.0, line.unit
    if not unit and line.name not in COUNTED:
        value, limit, unit = 100 * value, 100 * limit, "%"
    return f"{line.name} {short(value)} of {short(limit)} {unit}".rstrip()


def short(value: float) -> str:
    """Two digits of a small number, all of a great one: `2.6`, `41`, `1,204`."""
    return f"{value:.1f}".removesuffix(".0") if abs(value) < 9.95 else f"{value:,.0f}"


def read_interval(line: Mapping[str, Any]) -> LiveInterval:
    """A line as what it should be; fields of another type count as missing."""
    try:
        return msgspec.convert(line, LiveInterval)
    except msgspec.ValidationError:
        sound = LiveInterval()
        for field in msgspec.structs.fields(LiveInterval):
            if field.name in line:
                try:
                    setattr(sound, field.name, msgspec.convert(line[field.name], field.type))
                except msgspec.ValidationError:
                    continue
        return sound
