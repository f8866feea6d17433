"""Plot D: one lane for every kind of anomaly, a bar for every bin in which it occurred."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.report.fold import Point
from harness.report.plots.marks import backdrop
from harness.report.plots.style import BLUE, INK, LINE, MUTED, ORANGE, Sheet, word
from harness.report.series import LANES, Timeline, counts_over_time, step_for
from harness.report.windows import Windows

_BARS = {False: 180, True: 60}


def anomalies(sheet: Sheet, points: Sequence[Point], line: Timeline, windows: Windows) -> None:
    """Draw it."""
    axes = sheet.axes(40, sheet.height - 26, 10 if sheet.narrow else 190, 52 if sheet.narrow else 70)
    axes.set_ylim(len(LANES) - 0.3, -0.62)
    axes.set_yticks([])
    backdrop(sheet, axes, line, windows, names=True)
    step = step_for(line.end_s, _BARS[sheet.narrow])
    counts = counts_over_time(points, line, step, {name: names for name, names, _ in LANES})
    word(axes, (1, 1), "events", coords="axes fraction", by=(8, -2), color=MUTED, fontsize=9.5)
    for number, (name, _, noticed) in enumerate(LANES):
        axes.axhline(number + 0.34, color=LINE, lw=0.8)
        values = np.nan_to_num(counts[name].to_numpy())
        total = int(values.sum())
        hue = ORANGE if noticed else BLUE
        busy = np.flatnonzero(values)
        if len(busy):
            heights = np.minimum(0.62, 0.2 + 0.24 * np.log10(values[busy]))
            width = max(step * 0.8, line.end_s / 260)
            axes.bar(counts.index.to_numpy()[busy] + step / 2, heights, width, number + 0.34 - heights, color=hue, lw=0)
        ink = INK if total else MUTED
        place = {"coords": axes.get_yaxis_transform(), "va": "center", "fontsize": 10}
        if sheet.narrow:
            word(axes, (0, number - 0.18), name, by=(0, 0), color=ink, **{**place, "fontsize": 9.5})
        else:
            word(axes, (0, number + 0.1), name, by=(-12, 0), ha="right", color=ink, **place)
        word(axes, (1, number + 0.1), f"{total:,}", by=(8, 0), color=ink, fontweight="bold" if total else "normal", **place)
