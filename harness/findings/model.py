"""A finding as the report and `summary.json` have it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MAX_MOMENTS = 20
"""Lines of an example's timeline."""

Severity = Literal["high", "medium", "low"]
"""`high`: a user loses something or is shut out. `medium`: a user would notice. `low`: a cost, or a risk."""


class Moment(msgspec.Struct, forbid_unknown_fields=True):
    """One line of a timeline."""

    t_ms: float
    """Since the run's beginning."""
    what: str


class Example(msgspec.Struct, forbid_unknown_fields=True):
    """One conversation in which it was seen."""

    label: str
    timeline: Annotated[list[Moment], msgspec.Meta(max_length=MAX_MOMENTS)]


class Finding(msgspec.Struct, forbid_unknown_fields=True):
    """Something that a run saw, with its evidence, its likely cause, and what to change."""

    id: str
    title: str
    severity: Severity
    count: int
    guests: int
    """Guest slots concerned."""
    evidence: dict[str, int | float]
    example: Example
    cause: str
    advice: str
    certainty: str = ""
    """Empty: the rows leave no other reading. Else which two matters look alike here, and what speaks for this one."""
