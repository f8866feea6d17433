"""Plot H, a series over hours; the heat strip of rules that hold in every window; error budget, storms, what befell the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.drift.model import State
from harness.drift.words import writer
from harness.report.plots.marks import letter
from harness.report.plots.style import (
    BLUE,
    DASH,
    DOTS,
    GREY,
    INK,
    MUTED,
    ORANGE,
    TEAL,
    Sheet,
    counts_axis,
    heading,
    time_axis,
    word,
)
from harness.report.soak.model import Budget, Followed, Happening, Storm
from harness.verdicts.lattice import Verdict, WindowResult

Array = npt.NDArray[Any]

_NARROW_POINTS = 120
_PER_LETTER = 12
"""Pixels between two letters above the axis, at least."""


def series(sheet: Sheet, found: Followed, end_s: float, left_out_s: float, marks: Sequence[Happening]) -> None:
    """Raw samples, block values, and the line, or the two levels of a step, with what the budget allows."""
    axes = sheet.axes(34, sheet.height - 26)
    verdict = found.verdict
    raw = found.raw if not sheet.narrow else found.raw[:: max(1, len(found.raw) // _NARROW_POINTS)]
    at, values = np.array([one[0] for one in raw]), np.array([one[1] for one in raw])
    early = at < left_out_s
    axes.plot(_broken(at, end_s)[0], _gapped(at, values, end_s), color=GREY, lw=0.8, alpha=0.9)
    if early.any():
        axes.axvspan(0, left_out_s, color=GREY, alpha=0.13, lw=0, zorder=0)
    blocks = [(s, value) for s, value in zip(verdict.blocks_s, verdict.blocks, strict=False) if value is not None]
    if blocks:
        axes.plot(*zip(*blocks, strict=True), "o", color=BLUE, ms=4 if not sheet.narrow else 3, zorder=4)
    _shape(axes, found)
    time_axis(axes, end_s, ticks=5 if sheet.narrow else 9)
    _level_axis(axes, verdict.unit, float(np.abs(values).max(initial=0.0)))
    _marks(sheet, axes, marks, end_s, letters=True)


def _broken(at: Array, end_s: float) -> tuple[Array, Array]:
    """Instants with a NaN wherever values are missing, so that the line breaks there."""
    if len(at) < 3:
        return at, np.zeros(len(at), dtype=bool)
    usual = float(np.median(np.diff(at)))
    holes = np.flatnonzero(np.diff(at) > 2.5 * max(usual, end_s / 2000)) + 1
    return np.insert(at, holes, np.nan), holes


def _gapped(at: Array, values: Array, end_s: float) -> Array:
    _, holes = _broken(at, end_s)
    return np.insert(values, holes, np.nan) if len(at) >= 3 else values


def _shape(axes: Axes, found: Followed) -> None:
    one = found.verdict
    if one.state is State.NOT_JUDGED or one.begin_s is None or one.end_s is None:
        return
    begin, end = one.begin_s, one.end_s
    if one.state is State.STEP and one.step is not None and one.step.at_s is not None:
        step, at_s = one.step, one.step.at_s
        for low, high, level in ((begin, at_s, step.before), (at_s, end, step.after)):
            axes.plot((low, high), (level, level), color=ORANGE, lw=1.8)
        first_s = at_s if step.first_s is None else step.first_s
        axes.axvspan(first_s, max(step.last_s or at_s, first_s), color=ORANGE, alpha=0.25, lw=0, zorder=0)
        base = step.before
    else:
        if one.now is None or one.slope_per_h is None:
            return
        hue = ORANGE if one.moved else TEAL
        base = one.now - one.slope_per_h * (end - begin) / 3600
        middle = (base + one.now) / 2
        axes.plot((begin, end), (base, one.now), color=hue, lw=1.8)
        if one.slope_low_per_h is not None and one.slope_high_per_h is not None:
            half = (end - begin) / 7200
            lows = [middle - slope * half for slope in (one.slope_low_per_h, one.slope_high_per_h)]
            highs = [middle + slope * half for slope in (one.slope_low_per_h, one.slope_high_per_h)]
            axes.fill_between(
                (begin, (begin + end) / 2, end),
                (min(lows), middle, min(highs)),
                (max(lows), middle, max(highs)),
                color=hue,
                alpha=0.2,
                lw=0,
            )
    if one.budget is not None:
        axes.plot((begin, end), (base + one.budget, base + one.budget), color=INK, lw=1.1, ls=DASH)
        word(axes, (end, base + one.budget), "budget", by=(4, 0), va="center", fontsize=9.5)


def _level_axis(axes: Axes, unit: str, largest: float) -> None:
    """A level, so the axis need not begin at 0."""
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(y=0.12)
    write = writer(unit, largest)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: write(value)))


def _marks(sheet: Sheet, axes: Axes, marks: Sequence[Happening], end_s: float, *, letters: bool) -> None:
    pixels = axes.get_position().width * sheet.width / max(end_s, 1)
    last = -99.0
    for number, one in enumerate(marks):
        if not 0 <= one.at_s <= end_s:
            continue
        axes.axvline(one.at_s, color=MUTED, lw=0.9, ls=DOTS, zorder=1)
        if letters and (one.at_s - last) * pixels >= _PER_LETTER:
            last = one.at_s
            across = axes.get_xaxis_transform()
            word(axes, (one.at_s, 1.0), letter(number), coords=across, by=(0, 4), ha="center", color=MUTED, fontsize=9.5)


# ------------------------------------------------------------------ windows
@dataclass(frozen=True, slots=True)
class Strip:
    """One rule's windows."""

    rule: str
    windows: Sequence[WindowResult]


_HUES = {Verdict.PASS: (TEAL, 0.55), Verdict.FAIL: (ORANGE, 1.0), Verdict.UNKNOWN: (GREY, 0.5)}
_GLYPHS = {Verdict.FAIL: "✕", Verdict.UNKNOWN: "?"}


def heat(sheet: Sheet, strips: Sequence[Strip], end_s: float) -> None:
    """A row for each rule, a cell for each window: held, over, or not judged."""
    row = (sheet.height - 30) / max(len(strips), 1)
    for number, strip in enumerate(strips):
        top = 4 + number * row
        axes = sheet.axes(top + 18, top + row - 8)
        axes.set_ylim(0, 1)
        axes.yaxis.set_visible(False)
        axes.grid(visible=False)
        time_axis(axes, end_s, ticks=5 if sheet.narrow else 9)
        pixels = axes.get_position().width * sheet.width / max(end_s, 1)
        last = -99.0
        for one in strip.windows:
            low, high = one.t0_ns / 1e9, one.t1_ns / 1e9
            hue, alpha = _HUES[one.verdict]
            gap = min((high - low) * 0.08, 1 / pixels)
            axes.add_patch(Rectangle((low + gap, 0), high - low - 2 * gap, 1, color=hue, alpha=alpha, lw=0))
            middle = (low + high) / 2
            if one.verdict is not Verdict.PASS and (middle - last) * pixels >= 9:
                last = middle
                word(axes, (middle, 0.5), _GLYPHS[one.verdict], ha="center", va="center", fontsize=9.5, fontweight="bold")
        if number < len(strips) - 1:
            axes.tick_params(labelbottom=False)
        word(axes, (0, 1), strip.rule, coords="axes fraction", by=(0, 4), fontsize=10)


# ------------------------------------------------------------------ budget, storms, what befell the run
def course(
    sheet: Sheet, budget: Budget | None, storms: Sequence[Storm], marks: Sequence[Happening], end_s: float, *, most: int = 4
) -> None:
    """Share of the error budget that is gone; below it a panel for each kind of event that came in bursts, or came at all."""
    panels = [storm for storm in storms if storm.events][: most - 1]
    rows = len(panels) + (budget is not None and bool(budget.series))
    height = (sheet.height - 34) / max(rows, 1)
    drawn = 0
    if budget is not None and budget.series:
        axes = sheet.axes(34, 34 + height - 34)
        gone = np.array([0.0, *budget.series]) * 100
        axes.plot(np.linspace(0, end_s, len(gone)), gone, color=ORANGE if gone[-1] >= 100 else BLUE, lw=1.7)
        axes.axhline(100, color=INK, lw=1.1, ls=DASH)
        top = max(float(gone.max()) * 1.1, 110.0)
        axes.set_ylim(0, top)
        axes.yaxis.set_major_locator(MaxNLocator(3))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        for alarm in budget.alarms:
            axes.axvspan(alarm.begin_s, alarm.end_s, color=ORANGE, alpha=0.18, lw=0, zorder=0)
        _panel(sheet, axes, marks, end_s, "Error budget gone", first=True, last=rows == 1)
        drawn = 1
    for number, storm in enumerate(panels, drawn):
        top_px = 34 + number * height
        axes = sheet.axes(top_px, top_px + height - 34)
        width = end_s / max(len(storm.counts), 1)
        at = (np.arange(len(storm.counts)) + 0.5) * width
        axes.bar(at, storm.counts, width=width * 0.92, color=BLUE, lw=0)
        counts_axis(axes, max(storm.counts, default=1))
        _panel(sheet, axes, marks, end_s, storm.what.capitalize(), first=number == 0, last=number == rows - 1)


def _panel(sheet: Sheet, axes: Axes, marks: Sequence[Happening], end_s: float, name: str, *, first: bool, last: bool) -> None:
    time_axis(axes, end_s, ticks=5 if sheet.narrow else 9)
    if not last:
        axes.tick_params(labelbottom=False)
    _marks(sheet, axes, marks, end_s, letters=first)
    heading(sheet, axes, name, up=14 if first else 6)


def spark(points: Sequence[tuple[float, float]], width: int = 90, height: int = 22, most: int = 45) -> str:
    """The points of a small polyline, as SVG has them; empty where there are too few."""
    if len(points) < 2:
        return ""
    stride = max(1, len(points) // most)
    kept = [
        (float(np.median([at for at, _ in group])), float(np.median([value for _, value in group])))
        for group in (points[n : n + stride] for n in range(0, len(points), stride))
    ]
    low, high = min(value for _, value in kept), max(value for _, value in kept)
    first, last = kept[0][0], kept[-1][0]
    across, up = (width - 2) / max(last - first, 1e-9), (height - 4) / max(high - low, 1e-12)
    flat = high - low <= 1e-9 * max(abs(high), abs(low))
    return " ".join(
        f"{1 + (at - first) * across:.1f},{height / 2 if flat else height - 2 - (value - low) * up:.1f}" for at, value in kept
    )
