"""Plot C: guests by state, and messages a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.metrics.censored import CENSORED_MESSAGES
from harness.report.fold import Point
from harness.report.plots.marks import backdrop, phase_words
from harness.report.plots.style import BLUE, DASH, INK, ORANGE, TEAL, Sheet, counts_axis, heading, spread, word
from harness.report.series import MAX_POINTS, Timeline, counts_over_time, guests_over_time, step_for
from harness.report.windows import Windows

LAYERS: tuple[tuple[str, tuple[str, ...], str, float], ...] = (
    ("chatting", ("chatting",), BLUE, 0.28),
    ("arriving, in queue, leaving or between", ("arriving", "authenticating", "queued", "leaving", "between"), BLUE, 0.75),
    ("REST only", ("rest_only",), TEAL, 0.95),
    ("reconnecting", ("reconnecting",), ORANGE, 0.95),
)
"""Name, states, hue and its strength: calm below, trouble on top."""
SENT = ("messages|invoked",)
FAILED = ("messages|fail", "messages|info")


def load(sheet: Sheet, points: Sequence[Point], line: Timeline, windows: Windows, planned: int | None) -> None:
    """Draw it."""
    step = step_for(line.end_s, MAX_POINTS[sheet.narrow])
    upper, lower = sheet.axes(54, sheet.height * 0.56), sheet.axes(sheet.height * 0.56 + 36, sheet.height - 26)
    guests = guests_over_time(points, line, step)
    at = guests.index.to_numpy() + step / 2
    base = np.zeros(len(at))
    for _, states, hue, strength in LAYERS:
        layer = sum((guests[state].to_numpy() for state in states if state in guests), np.zeros(len(at)))
        upper.fill_between(at, base, base + layer, color=hue, alpha=strength, lw=0)
        base = base + np.nan_to_num(layer)
    top = max(float(base.max(initial=0)), planned or 0)
    starts = {name: begin for begin, name in line.edges}
    if planned and "load" in starts:
        stop = starts.get("settle", line.end_s)
        upper.plot((starts.get("ramp", 0), starts["load"], stop), (0, planned, planned), color=INK, lw=1.1, ls=DASH)
    counts_axis(upper, top)
    rates = counts_over_time(points, line, step, {"sent": SENT, "failed": FAILED, "censored": (CENSORED_MESSAGES,)}) / step
    rates["failed"] -= rates["censored"]
    counts_axis(lower, float(np.nanmax(rates.to_numpy(), initial=1)))
    names = []
    for name, hue in (("sent", BLUE), ("failed", ORANGE)):
        values = rates[name].to_numpy()
        lower.plot(rates.index.to_numpy() + step / 2, values, color=hue, lw=1.5)
        known = values[~np.isnan(values)]
        names.append((float(known[-1]) if len(known) else 0.0, name, hue))
    backdrop(sheet, upper, line, windows, names=True, gap_words=True)
    backdrop(sheet, lower, line, windows)
    phase_words(upper, line, narrow=sheet.narrow)
    upper.tick_params(labelbottom=False)
    heading(sheet, upper, "Guests", up=28)
    heading(sheet, lower, "Messages per second")
    scale = lower.get_position().height * sheet.height / lower.get_ylim()[1]
    names.sort(key=lambda one: (one[0], one[1]))
    places = spread([value * scale for value, _, _ in names], 12)
    for place, (_, name, hue) in zip(places, names, strict=True):
        there = (1, place / scale)
        word(lower, there, name, coords=lower.get_yaxis_transform(), by=(4, 0), va="center", color=hue, fontweight="bold")
