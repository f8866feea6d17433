"""PASS, FAIL, UNKNOWN and how they compose: FAIL > UNKNOWN > PASS.

A broken rule is broken whatever else is unknown; what is unknown is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """What a checker, a rule, or a whole run came to."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    UNKNOWN = "UNKNOWN"


_GRAVITY = {Verdict.PASS: 0, Verdict.UNKNOWN: 1, Verdict.FAIL: 2}


def compose(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of them. Of none at all: UNKNOWN, since nothing was judged."""
    return max(verdicts, key=_GRAVITY.__getitem__, default=Verdict.UNKNOWN)


class Bound(msgspec.Struct, frozen=True):
    """A figure with its interval; `None` where it is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


class WindowResult(msgspec.Struct, frozen=True):
    """What one window of a rule that must hold in every window came to."""

    t0_ns: int
    t1_ns: int
    """Begin and end, counted from the run's start."""
    verdict: Verdict
    observed: Bound = Bound()
    """In the unit of the rule's result."""
    samples: int | None = None
    sentence: str = ""
    note: str = ""


class RuleResult(msgspec.Struct, frozen=True):
    """What one rule of the scenario came to, as the checkers hand it to the report."""

    rule: str
    """The rule as it was written."""
    verdict: Verdict
    observed: Bound = Bound()
    unit: str = ""
    """`ms` for times, empty for counts and ratios."""
    samples: int | None = None
    sentence: str = ""
    """What was measured and its value; what was asked."""
    note: str = ""
    """Short remark in a table: missed by, samples needed."""
    limit: float | None = None
    """What is asked for, in `unit`."""
    what: str = ""
    """The rule's subject, such as `echo.response p99`."""
    windows: tuple[WindowResult, ...] | None = None
    """Of a rule that must hold in every window; what is observed is then the worst of them. None: it is none."""
