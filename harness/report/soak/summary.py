"""What `summary.json` says of a soak. Instants and lengths in seconds, amounts in the series' unit; what is not known is null."""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.drift.model import SeriesVerdict
from harness.report.soak.model import Budget, Happening, SoakFigures, Storm


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """Where the level of a series changed; 95 of 100 such intervals hold the instant."""

    at_s: float | None
    first_s: float | None
    last_s: float | None
    before: float
    after: float


class SeriesLine(msgspec.Struct, forbid_unknown_fields=True):
    """One figure over time and what it came to. `change` is over the judged part, with its 95 % interval."""

    name: str
    verdict: Literal["LEAK", "STEP", "SUSPECT", "INCONCLUSIVE", "STABLE", "NOT JUDGED"]
    sentence: str
    note: str
    unit: str
    median: float | None
    change: float | None
    change_low: float | None
    change_high: float | None
    slope_per_h: float | None
    budget: float | None
    p: float | None
    q: float | None
    """`p` adjusted for all series that were judged together."""
    limit: float | None
    limit_at_s: float | None
    """When the limit is met at this slope, since the start."""
    begin_s: float | None
    end_s: float | None
    """The judged part."""
    changes: list[Change]


class SoakLine(msgspec.Struct, forbid_unknown_fields=True):
    """The run as a soak."""

    planned_s: float
    load_s: float
    interval_s: float
    least_s: float
    """Planned length from which on trends are judged."""
    trends_judged: bool
    sessions: int
    target_restarts: int
    journal_files: int
    budget: Budget | None
    storms: list[Storm]
    happenings: list[Happening]
    remarks: list[str]


def series_lines(soak: SoakFigures) -> list[SeriesLine]:
    """All series, the gravest first."""
    return [
        _line(one.verdict, [Change(c.at_s, c.first_s, c.last_s, _short(c.before), _short(c.after)) for c in one.changes])
        for one in soak.series
    ]


def _line(one: SeriesVerdict, changes: list[Change]) -> SeriesLine:
    return SeriesLine(
        one.name,
        one.state.value,
        one.sentence,
        one.note,
        one.unit,
        _rounded(one.median),
        _rounded(one.change),
        _rounded(one.change_low),
        _rounded(one.change_high),
        _rounded(one.slope_per_h),
        _rounded(one.budget),
        _rounded(one.p),
        _rounded(one.q),
        _rounded(one.limit),
        _rounded(one.limit_at_s),
        _rounded(one.begin_s),
        _rounded(one.end_s),
        changes,
    )


def soak_line(soak: SoakFigures) -> SoakLine:
    """The rest."""
    return SoakLine(
        soak.planned_s,
        round(soak.load_s, 3),
        soak.interval_s,
        soak.least_s,
        soak.planned,
        soak.sessions,
        soak.restarts,
        soak.segments,
        soak.budget,
        soak.storms,
        soak.happenings,
        soak.remarks,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else _short(value)


def _short(value: float) -> float:
    """Ten digits: what differs beyond is rounding of the machine that built it."""
    return float(f"{value:.10g}")
