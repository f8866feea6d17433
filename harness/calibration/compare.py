"""Percentiles as we report them beside those of the server's own record.

How the truth is formed, so that nothing is compared with itself:

- *service*: from the server's stamp at receipt to its stamp at hand-over. No stamp of ours is in it.
- *response* under a schedule: hand-over minus the instant at which the message was due. When it was due follows from the plan,
  a grid of one fixed period. That the guests kept to such a grid is checked here (`off_grid`). Where the grid lies is told by the
  server's stamps alone: no message can come in before it is sent, so the least of (received − place on the grid) over a
  conversation fixes the grid to within the shortest send.
- *response* of guests who wait: a message is due a fixed think time after the answer before it was handed over, by the
  server's stamp of that.

Our side is the histogram that reports are made of, with its rounding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from fractions import Fraction

import msgspec

from harness.calibration.timings import Joined
from harness.metrics.histogram import Histogram

SHARES = {
    "p50": Fraction(1, 2),
    "p90": Fraction(9, 10),
    "p95": Fraction(95, 100),
    "p99": Fraction(99, 100),
    "p99.9": Fraction(999, 1000),
    "max": Fraction(1),
}
_BEYOND = 10
"""As in reports: a percentile with fewer samples beyond it is left out (the greatest never)."""


class Error(msgspec.Struct, frozen=True):
    """One percentile: what it is, what we say, and how far off that is."""

    truth_ms: float
    measured_ms: float
    error_ms: float
    error: float | None
    """As a share of the truth; None where that is 0."""


class Compared(msgspec.Struct, frozen=True):
    """One measure: `n` samples and the error of each percentile that so many can tell."""

    n: int
    percentiles: dict[str, Error]


def compared(truth_ns: Sequence[int], measured: Histogram) -> Compared:
    """Truth is exact, by nearest rank; ours is a histogram of microseconds."""
    ranked = sorted(truth_ns)
    found = {}
    for name, share in SHARES.items():
        ours = measured.percentile(share)
        if not ranked or ours is None or (share < 1 and len(ranked) * (1 - share) < _BEYOND):
            continue
        rank = max(1, -(-share.numerator * len(ranked) // share.denominator))
        truth = ranked[rank - 1] / 1e6
        off = ours / 1e3 - truth
        found[name] = Error(round(truth, 6), ours / 1e3, round(off, 6), round(off / truth, 6) if truth > 0 else None)
    return Compared(measured.count, found)


def scheduled_dues(rows: Iterable[Joined]) -> dict[str, int]:
    """By conversation: how much later its schedule lies by the server's clock than by ours; never below 0 if both are right."""
    least: dict[str, int] = {}
    for row in rows:
        late = row.received_ns - row.intended_ns
        least[row.label] = min(least.get(row.label, late), late)
    return least


def off_grid(rows: Iterable[Joined], period_ns: int) -> int:
    """How many messages were not due a whole number of periods after the first of their conversation."""
    first: dict[str, int] = {}
    off = 0
    for row in rows:
        begin = first.setdefault(row.label, row.intended_ns)
        off += (row.intended_ns - begin) % period_ns != 0
    return off


def compare_schedule(rows: Sequence[Joined]) -> dict[str, dict[str, Compared]]:
    """measure -> `service` | `response`, for guests on a schedule. `off_grid` must have found nothing."""
    shift = scheduled_dues(rows)
    return _compare(rows, {id(row): row.intended_ns + shift[row.label] for row in rows})


def compare_waiting(rows: Sequence[Joined], think_ns: int, after: str = "reply") -> dict[str, dict[str, Compared]]:
    """The same for guests who speak a fixed time after the answer (`after`) to their message before. Its first has no due."""
    handed = {(row.label, row.seq): row.handed_ns for row in rows if row.measure == after}
    due = {}
    for row in rows:
        before = handed.get((row.label, row.seq - 1))
        if before is not None:
            due[id(row)] = before + think_ns
    return _compare([row for row in rows if id(row) in due], due)


def _compare(rows: Sequence[Joined], due: dict[int, int]) -> dict[str, dict[str, Compared]]:
    by_measure: defaultdict[str, list[Joined]] = defaultdict(list)
    for row in rows:
        by_measure[row.measure].append(row)
    found = {}
    for measure, those in sorted(by_measure.items()):
        found[measure] = {
            "service": compared(
                [row.handed_ns - row.received_ns for row in those], _histogram(row.end_ns - row.start_ns for row in those)
            ),
            "response": compared(
                [row.handed_ns - due[id(row)] for row in those], _histogram(row.end_ns - row.intended_ns for row in those)
            ),
        }
    return found


def _histogram(values: Iterable[int]) -> Histogram:
    histogram = Histogram()
    histogram.record_many(list(values), 1000)
    return histogram


class Kept(msgspec.Struct, frozen=True):
    """How a schedule was kept, by the server's stamps."""

    due: int
    """Sends that the schedule had room for."""
    came: int
    """That many of them the server received, each less than one period after its due."""
    late: int
    """Received later than that."""
    latest_ms: float
    """How long after its due the most belated one came in."""
    in_flight: int
    """The most messages of one conversation that the server had at once without having answered."""

    @property
    def share(self) -> float:
        """Of the scheduled sends, those that happened in time."""
        return self.came / self.due if self.due else 0.0


def kept(rows: Sequence[Joined], period_ns: int, until_ns: int, measure: str = "echo") -> Kept:
    """Whether every send of the schedules happened, from the first one of each conversation to `until_ns`."""
    shift = scheduled_dues(rows)
    talks: defaultdict[str, list[Joined]] = defaultdict(list)
    for row in rows:
        if row.measure == measure:
            talks[row.label].append(row)
    due = came = late = deepest = 0
    latest = 0
    for label, those in talks.items():
        first = min(row.intended_ns for row in those) + shift[label]
        due += max(0, -(-(until_ns - first) // period_ns))
        for row in those:
            after = row.received_ns - row.intended_ns - shift[label]
            latest = max(latest, after)
            if after < period_ns:
                came += 1
            else:
                late += 1
        deepest = max(deepest, _deepest(those))
    return Kept(due, came, late, round(latest / 1e6, 3), deepest)


def _deepest(rows: Iterable[Joined]) -> int:
    steps = sorted([(row.received_ns, 1) for row in rows] + [(row.handed_ns, -1) for row in rows])
    now = deepest = 0
    for _, step in steps:
        now += step
        deepest = max(deepest, now)
    return deepest
