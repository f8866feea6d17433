"""Samples that our own guests cut off: of unknown length, and so neither a success nor a failure. Pure.

A guest that leaves by its plan may still wait for a reply. That wait is right-censored: the reply would have come later than
that, or never, and nobody knows which. It is in no numerator and in no denominator of a share of failures, and its number is
told. It is known to have lasted longer than the guest waited, so a limit that the guest outwaited was missed for certain.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.errors import FailureCause
from harness.metrics.histogram import Histogram

_MEASURE, _OUTCOME, _CAUSE = "reply", "info", FailureCause.INTERRUPTED.value
"""What a session writes for a reply that it still awaited when it left (`core.talk`); of a reply nothing else is `info`."""
CENSORED_MESSAGES = f"messages.failed|info|{FailureCause.UNANSWERED.value}"
"""The same of a message that nothing but that reply would have confirmed (`core.chat`)."""
_FAILED = "failed|"


def is_censored(measure: str, outcome: str, cause: str) -> bool:
    """Whether such a sample was cut off by the guest's own plan."""
    return (measure, outcome, cause) == (_MEASURE, _OUTCOME, _CAUSE)


def failures(counters: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Samples that did not succeed, by measure and cause, the censored left out. Total: any name is taken."""
    found: dict[str, dict[str, int]] = {}
    for name, count in counters.items():
        if name.startswith(_FAILED):
            measure, _, rest = name.removeprefix(_FAILED).partition("|")
            outcome, _, cause = rest.rpartition("|")
            if not is_censored(measure, outcome, cause):
                causes = found.setdefault(measure, {})
                causes[cause] = causes.get(cause, 0) + count
    return found


def failed_messages(counters: Mapping[str, int]) -> int:
    """Messages that did not get there, or of which nobody knows, the censored left out."""
    return counters.get("messages|fail", 0) + counters.get("messages|info", 0) - counters.get(CENSORED_MESSAGES, 0)


def censored(counters: Mapping[str, int]) -> dict[str, int]:
    """How many were left out for that: samples by measure, and `messages`."""
    found = {_MEASURE: counters.get(f"{_FAILED}{_MEASURE}|{_OUTCOME}|{_CAUSE}", 0), "messages": counters.get(CENSORED_MESSAGES, 0)}
    return {name: count for name, count in found.items() if count}


def is_cut_wait(measure: str, outcome: str) -> bool:
    """Whether the histograms of that measure and outcome hold the waits that were cut off."""
    return (measure, outcome) == (_MEASURE, _OUTCOME)


def outwaited(histograms: Mapping[str, Histogram], measure: str, part: str, limit_us: int) -> int:
    """How many censored samples were waited for longer than a limit, which they have missed for certain."""
    waits = histograms.get(f"{_MEASURE}|{_OUTCOME}|{part}") if measure == _MEASURE else None
    return waits.count - waits.at_or_below(limit_us) if waits is not None else 0
