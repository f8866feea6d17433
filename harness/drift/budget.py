"""Error budget: how much of what may fail has failed, how fast, and when nothing is left. Pure.

The budget is what the objective allows over the *planned* length, so a bad first hour of a night does not spend what the night
has. A burn rate of 1 spends exactly the budget by the end. It warns where a long window and the short one at its end both
burn fast: the long one says that it matters, the short one that it still goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from harness.drift.trend import Floats
from harness.drift.words import clock, digits, length


class BurnWindow(msgspec.Struct, frozen=True):
    """A pair of windows: warn where `spent` of the budget would be gone within the long one."""

    long: float
    """Share of the planned length."""
    spent: float
    """Share of the budget."""
    short: float = 1 / 12
    """Share of the long window."""

    @property
    def rate(self) -> float:
        """The burn rate that spends it."""
        return self.spent / self.long


WINDOWS = (BurnWindow(1 / 48, 0.10), BurnWindow(1 / 8, 0.25))
"""Ten minutes and an hour of an eight-hour night."""


class Alarm(msgspec.Struct, frozen=True):
    """A spell during which both windows burnt too fast."""

    begin_s: float
    end_s: float
    rate: float
    """Highest burn rate of the long window meanwhile."""
    window_s: float
    """Length of the long window."""


class Burn(msgspec.Struct, frozen=True):
    """How an error budget fared. Times are seconds since the run's start."""

    sentence: str
    allowed: float
    """Share that may fail."""
    bad: int
    total: int
    rate: float | None = None
    """Over all so far: 1 spends the budget exactly by the planned end."""
    spent: float | None = None
    """Share of the budget for the planned length that is gone; above 1 it is overspent. None: nothing was counted."""
    exhausted_s: float | None = None
    """When nothing was left, or will be at the rate so far; None: not before the planned end."""
    alarms: tuple[Alarm, ...] = ()
    series: tuple[float, ...] = ()
    """Share of the budget gone at the end of each step."""


def burn(
    bad: Sequence[int | None],
    total: Sequence[int | None],
    *,
    allowed: float,
    step_s: float,
    planned_s: float,
    start_s: float = 0.0,
    windows: Sequence[BurnWindow] = WINDOWS,
    what: str = "requests",
) -> Burn:
    """Of counts per equal step. The total over the planned length is what is to be expected by the rate so far.

    Raises ValueError unless 0 < allowed < 1 and step and planned length are above 0.
    """
    if not 0 < allowed < 1 or not step_s > 0 or not planned_s > 0:
        raise ValueError("an error budget needs a share between 0 and 1, and lengths above 0")
    failed = np.array([count or 0 for count in bad], dtype=float)
    asked = np.array([count or 0 for count in total], dtype=float)
    known = sum(count is not None for count in total)
    if not asked.sum():
        return Burn(f"No {what}, so no error budget was spent.", allowed, int(failed.sum()), 0)
    expected = float(asked.sum()) * max(planned_s / (known * step_s), 1.0)
    gone = np.cumsum(failed) / (allowed * expected)
    rate, spent = float(failed.sum() / asked.sum()) / allowed, float(gone[-1])
    exhausted = _exhausted(gone, spent, len(asked) * step_s, step_s, planned_s, start_s)
    found = Burn(
        "",
        allowed,
        int(failed.sum()),
        int(asked.sum()),
        rate,
        spent,
        exhausted,
        tuple(_alarms(failed, asked, allowed, step_s, planned_s, start_s, windows)),
        tuple(float(share) for share in gone),
    )
    return msgspec.structs.replace(found, sentence=_sentence(found, what, len(asked) * step_s, planned_s))


def _exhausted(gone: Floats, spent: float, elapsed_s: float, step_s: float, planned_s: float, start_s: float) -> float | None:
    if spent >= 1:
        return start_s + (int(np.argmax(gone >= 1)) + 1) * step_s
    per_s = spent / elapsed_s
    at_s = elapsed_s + (1 - spent) / per_s if per_s > 0 else None
    return start_s + at_s if at_s is not None and at_s < planned_s * (1 - 1e-9) else None


def _alarms(
    failed: Floats,
    asked: Floats,
    allowed: float,
    step_s: float,
    planned_s: float,
    start_s: float,
    windows: Sequence[BurnWindow],
) -> list[Alarm]:
    found: list[Alarm] = []
    for window in windows:
        long = max(1, round(window.long * planned_s / step_s))
        short = max(1, round(window.short * long))
        slow, fast = _rates(failed, asked, long, allowed), _rates(failed, asked, short, allowed)
        both = (slow >= window.rate) & (fast >= window.rate)
        edges = np.flatnonzero(np.diff(np.concatenate(([0], both.astype(int), [0]))))
        for begin, end in zip(edges[::2], edges[1::2], strict=True):
            peak = float(slow[begin:end].max())
            found.append(Alarm(start_s + float(begin) * step_s, start_s + float(end) * step_s, peak, long * step_s))
    return sorted(found, key=lambda alarm: (alarm.begin_s, alarm.window_s))


def _rates(failed: Floats, asked: Floats, width: int, allowed: float) -> Floats:
    """Burn rate of the window that ends with each step. A window that is not full yet counts as if what is missing were good."""
    first, more = np.concatenate((np.zeros(width), failed)), np.concatenate((np.full(width, asked.mean()), asked))
    sums = [np.cumsum(series) for series in (first, more)]
    recent = [series[width:] - series[:-width] for series in sums]
    shares: Floats = np.divide(recent[0], recent[1], out=np.zeros(len(failed)), where=recent[1] > 0) / allowed
    return shares


def _sentence(found: Burn, what: str, elapsed_s: float, planned_s: float) -> str:
    of = f"{found.bad:,} of {found.total:,} {what} failed where {digits(100 * found.allowed)} % may"
    gone = f"{digits(100 * (found.spent or 0.0))} % of the error budget for {length(planned_s)} is spent"
    pace = f"{digits(found.rate or 0.0)} times the rate that it allows"
    if found.spent is not None and found.spent >= 1:
        return f"{gone}: {of}; nothing was left from {clock(found.exhausted_s or 0.0)} on."
    if found.exhausted_s is not None:
        return f"{gone} after {length(elapsed_s)}: {of}, {pace}; nothing is left from {clock(found.exhausted_s)} on."
    return f"{gone}: {of}."
