"""What guests still waited for when a step's load ended: whom nobody answers leaves no sample in it, and is no proof of speed.

A reply that is awaited longer than its limit has missed it, whatever becomes of it: one that comes in the drain tells by how long
it took how long it had been awaited when the load ended; one that never comes was awaited until it was given up or cut off. Of
the others nobody knows on which side they lie. Their samples are found in the intervals after the load, in which nobody speaks.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.errors import FailureCause
from harness.journal.records import Interval, SparseHistogram, merge_counts
from harness.metrics.censored import censored, outwaited
from harness.metrics.histogram import lowest_of
from harness.report.jobs.capacity_stretch import Stretch
from harness.verdicts.check import TIMEOUTS
from harness.verdicts.slo import Rule

SPOKEN = frozenset({"ack", "echo", "reply"})
"""Measures that begin with a guest's message, so that none begins after the load."""
_QUEUED = "guests|queued"
_SERVED = "queue|ok|service"


class StillOpen:
    """Everything that was under way at the end of the load."""

    def __init__(self, records: Sequence[Interval], end_ns: int) -> None:
        """All of a run's interval records; `end_ns`: when its load ended."""
        self._end_ns = end_ns
        self._after = [record for record in records if record.t1_ns > end_ns]
        self._whole = Stretch(self._after)
        self._here: dict[str, int] = {}
        for record in records:
            if record.t1_ns <= end_ns:
                merge_counts(self._here, record.gauges)

    def late(self, rule: Rule) -> int:
        """How many had certainly missed the limit of a percentile rule."""
        if rule.subject not in SPOKEN:
            return 0
        limit_us = int(rule.limit / 1000)
        answered = self._aged(f"{rule.subject}|ok|{rule.part}", limit_us)
        return answered + missed(self._whole, rule.subject, rule.part, limit_us)

    def undecided(self, rule: Rule) -> int:
        """How many nobody can tell on which side of the limit of a percentile rule they lie."""
        if rule.subject not in SPOKEN:
            return 0
        answered = self._whole.histograms.get(f"{rule.subject}|ok|{rule.part}")
        unanswered = sum(self._whole.failed(rule.subject).values()) + censored(self._whole.counters).get(rule.subject, 0)
        return max((answered.count if answered is not None else 0) + unanswered - self.late(rule), 0)

    def failed(self, subject: str) -> int:
        """How many failed later on, for another reason than that their guest left."""
        if subject not in SPOKEN:
            return 0
        return sum(count for cause, count in self._whole.failed(subject).items() if cause != FailureCause.INTERRUPTED.value)

    def unserved(self, span: Stretch, rules: Sequence[Rule]) -> int:
        """Guests who were there and said nothing in `span`, the steady part.

        They waited for one reply all the time and longer than the rules allow, or stand in line for an agent, beyond as many as
        were served in it.
        """
        allowed = [int(rule.limit / 1000) for rule in rules if rule.kind == "percentile" and rule.subject == "reply"]
        whole_us = max((self._end_ns - span.begin_ns) // 1000, *allowed, 0)
        waited = sum(self._aged(f"reply|{outcome}|response", whole_us) for outcome in ("ok", "fail", "info"))
        served = span.histograms.get(_SERVED)
        return waited + max(self._here.get(_QUEUED, 0) - (served.count if served is not None else 0), 0)

    def _aged(self, name: str, us: int) -> int:
        """How many, of those that ended later, had certainly been under way for longer than that when the load ended."""
        aged = 0
        for record in self._after:
            found = record.histograms.get(name)
            passed_us = -(-(record.t1_ns - self._end_ns) // 1000)
            aged += over(found, us + passed_us) if found is not None else 0
        return aged


def missed(span: Stretch, subject: str, part: str, limit_us: int) -> int:
    """Samples without success that have certainly missed a limit: they timed out, or had waited longer when their guest left.

    What failed for another reason has another fault than being late. Of a confirmation that was cut off the journal has no waiting
    times of its own: the slow ones may be those that failed otherwise.
    """
    causes = span.failed(subject)
    timed_out = sum(count for cause, count in causes.items() if cause in TIMEOUTS)
    cut = outwaited(span.histograms, subject, part, limit_us)
    if FailureCause.INTERRUPTED.value in causes:
        ends = [span.histograms.get(f"{subject}|{outcome}|{part}") for outcome in ("fail", "info")]
        slow = sum(found.count - found.at_or_below(limit_us) for found in ends if found is not None)
        cut += max(slow - sum(causes.values()) + causes[FailureCause.INTERRUPTED.value], 0)
    return timed_out + cut


def over(found: SparseHistogram, limit_us: int) -> int:
    """Values that are certainly greater."""
    pairs = zip(found.indexes, found.counts, strict=True)
    return found.overflow + sum(count for index, count in pairs if lowest_of(index) > limit_us)
