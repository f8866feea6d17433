"""What lies behind every plot over time: phases, fault windows, and stretches without data."""

from __future__ import annotations

from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from harness.report.plots.style import DOTS, MUTED, Sheet, time_axis, word
from harness.report.series import Timeline
from harness.report.windows import Windows

_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_PER_LETTER = 6.6
"""Pixels that a character of a name takes at most."""


def letter(number: int) -> str:
    """The name of the n-th fault window: a to z, then numbers."""
    return _LETTERS[number] if number < len(_LETTERS) else str(number + 1)


def backdrop(sheet: Sheet, axes: Axes, line: Timeline, windows: Windows, *, names: bool = False, gap_words: bool = False) -> None:
    """Time axis, phases, faults and gaps. `names`: above the axes stand the faults' letters, and their names where they fit."""
    time_axis(axes, line.end_s, ticks=5 if sheet.narrow else 9)
    pixels = axes.get_position().width * sheet.width / max(line.end_s, 1)
    least = 2 / pixels
    for low, high, _ in windows.spells:
        axes.axvspan(low, max(high, low + least), color=MUTED, alpha=0.16, lw=0, zorder=0)
    for low, high in line.gaps:
        axes.axvspan(low, high, facecolor="none", edgecolor=MUTED, alpha=0.35, hatch="////", lw=0, zorder=0)
        if gap_words and (high - low) * pixels > 60:
            word(
                axes, ((low + high) / 2, 0.5), "no data", coords=axes.get_xaxis_transform(), ha="center", color=MUTED, fontsize=9.5
            )
    for at, _ in line.edges:
        if at > least:
            axes.axvline(at, color=MUTED, lw=0.8, ls=DOTS, zorder=0)
    if names:
        _names(axes, windows, pixels, least, narrow=sheet.narrow)


def phase_words(axes: Axes, line: Timeline, *, narrow: bool) -> None:
    """`ramp` and `drain`, low in their stretches."""
    pixels = axes.get_position().width * (360 if narrow else 880) / max(line.end_s, 1)
    starts = {name: at for at, name in line.edges}
    spans = [
        ("ramp", starts.get("ramp", 0.0), starts.get("load", 0.0)),
        ("drain", starts.get("settle", line.end_s), line.measured_s),
    ]
    for text, low, high in spans:
        if (high - low) * pixels > 34:
            place = ((low + high) / 2, 0.0)
            word(axes, place, text, coords=axes.get_xaxis_transform(), by=(0, 4), ha="center", color=MUTED, fontsize=9.5)


def _names(axes: Axes, windows: Windows, pixels: float, least: float, *, narrow: bool) -> None:
    across = axes.get_xaxis_transform()
    for low, high, _ in windows.spells:
        width = max(high, low + least) - low
        axes.add_patch(Rectangle((low, 1.012), width, 0.014, transform=across, color=MUTED, clip_on=False, lw=0))
    centres = [(low + high) / 2 * pixels for low, high, _ in windows.spells]
    full = [f"{letter(number)}  {name.replace('_', ' ')}" for number, (_, _, name) in enumerate(windows.spells)]
    fits = not narrow and all(
        after - before > _PER_LETTER * (len(full[n]) + len(full[n + 1])) / 2 + 8
        for n, (before, after) in enumerate(pairwise(centres))
    )
    last = -99.0
    for number, centre in enumerate(centres):
        if centre - last < 9:
            continue
        last = centre
        text = full[number] if fits else letter(number)
        word(axes, (centre / pixels, 1.026), text, coords=across, by=(0, 3), ha="center", color=MUTED, fontsize=9.5)
