"""A trend of nights in words: metrics, counts, changes of level, and their figures."""

from __future__ import annotations

from collections.abc import Sequence

from harness.drift.history import Shift
from harness.drift.nights import Metric, NightState, NightVerdict
from harness.report import wording


def regression_words(one: NightVerdict) -> str:
    """`REGRESSION. Tonight's echo.response p95 of 236 ms is 11 % above the median of the last 14 good nights.`"""
    change = one.change or 0.0
    side, tonight = "above" if change > 0 else "below", value_words(one.value, one.metric)
    return (
        f"{one.state.value}. Tonight's {one.metric.name} of {tonight} is {abs(100 * change):.0f} % {side} "
        f"the median of the last {one.nights} good nights."
    )


def standing_words(shift: Shift) -> str:
    """`A lasting change. echo.response p95 is 8 % above its level before 2026-… , and nobody has accepted it.`"""
    side = "above" if shift.change > 0 else "below"
    return (
        f"A lasting change. {shift.metric} is {abs(100 * shift.change):.0f} % {side} its level before {shift.night}, "
        f"and nobody has accepted it (p {p_words(shift.p)})."
    )


def called(name: str) -> str:
    """A count of correctness."""
    return {"lost": "messages lost", "duplicated.same_connection": "messages doubled on one connection"}.get(
        name, f"{name} messages"
    )


def value_words(value: float | None, metric: Metric) -> str:
    """A value in its metric's unit."""
    if value is None:
        return wording.DASH
    return wording.ms(value) if metric.unit == "ms" else f"{value:,.4g}\u00a0{metric.unit}"


def percent_words(share: float | None) -> str:
    """A change, with its sign."""
    return wording.DASH if share is None else f"{'+' if share >= 0 else '−'}{abs(100 * share):.1f}\u00a0%"


def p_words(p: float | None) -> str:
    """How likely so much is by chance."""
    return wording.DASH if p is None else "< 0.0001" if p < 1e-4 else f"{p:.1g}"


def metrics_words(verdicts: Sequence[NightVerdict]) -> str:
    """How many metrics came to what."""
    states = [one.state for one in verdicts]
    parts = [f"{states.count(state)} {state.value}" for state in NightState if state in states]
    return f"Of {wording.many(len(verdicts), 'metric')}: {', '.join(parts)}."


def shifts_words(shifts: Sequence[Shift]) -> str:
    """How many lasting changes there were."""
    if not shifts:
        return "No lasting change of level was found."
    open_ones = [shift for shift in shifts if not shift.rebases]
    text = f"{wording.many(len(shifts), 'lasting change')} of level."
    if open_ones:
        text += f" {len(open_ones)} to the worse nobody has accepted: what is since then is no baseline."
    return text
