"""Palette, type and axes shared by every picture.

Hues for data are fixed and read on light and on dark. Ink, muted text, hairlines and the words in a hue are drawn in
placeholder colours, which `plots.svg` turns into CSS variables, so that a picture follows the page's theme.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.report.wording import clock, ms

BLUE: Final = "#1f6fd0"
ORANGE: Final = "#e2700a"
TEAL: Final = "#008f6f"
GREY: Final = "#7c858f"

INK: Final = "#0a0001"
MUTED: Final = "#0a0002"
LINE: Final = "#0a0003"
PAPER: Final = "#0a0004"
WORD: Final = {BLUE: "#0a0005", ORANGE: "#0a0006", TEAL: "#0a0007"}
"""A word in a hue needs more contrast than an area: its own placeholder."""
THEME: Final = {
    INK: "currentColor",
    MUTED: "var(--muted,#59626d)",
    LINE: "var(--line,#dfe2e6)",
    PAPER: "var(--bg,#fcfcfb)",
    WORD[BLUE]: "var(--link,#1b5fa0)",
    WORD[ORANGE]: "var(--bad,#b0350a)",
    WORD[TEAL]: "var(--ok,#0a6b58)",
}

WIDE, NARROW = 880, 360
MARGINS: Final = {False: (56, 70), True: (46, 40)}
"""Left and right of every plot over time, by narrowness: one instant lies on one vertical down the page."""
DASH: Final = (0, (5, 3))
DOTS: Final = (0, (1, 3))

RC: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "guestswarm",
    "text.parse_math": False,
    "font.family": ["DejaVu Sans"],
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "path.simplify": True,
    "path.simplify_threshold": 0.3,
}


class Sheet:
    """One drawing under way: a figure, its size in pixels, and whether it is the phone's."""

    def __init__(self, width: int, height: int, *, narrow: bool) -> None:
        self.width, self.height, self.narrow = width, height, narrow
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)

    def axes(self, top: float, bottom: float, left: float | None = None, right: float | None = None) -> Axes:
        """Axes by distances in pixels: `top` and `bottom` from the upper edge, `left` and `right` from their own."""
        standard = MARGINS[self.narrow]
        x0 = standard[0] if left is None else left
        x1 = self.width - (standard[1] if right is None else right)
        return self.figure.add_axes(
            (x0 / self.width, 1 - bottom / self.height, (x1 - x0) / self.width, (bottom - top) / self.height)
        )


def word(axes: Axes, at: tuple[float, float], text: str, **more: Any) -> None:
    """Write at a point; a hue becomes the hue's word colour. `by` moves it, in pixels; `coords` as matplotlib's."""
    colour = more.pop("color", INK)
    coords = more.pop("coords", "data")
    style = {"fontsize": 10, "xytext": more.pop("by", (0, 0)), "textcoords": "offset points", **more}
    axes.annotate(text, at, xycoords=coords, annotation_clip=False, color=WORD.get(colour, colour), **style)


def heading(sheet: Sheet, axes: Axes, text: str, *, up: float = 10) -> None:
    """The name of a panel, flush with the page's left edge."""
    left = axes.get_position().x0 * sheet.width
    word(axes, (0, 1), text, coords="axes fraction", by=(-min(left, 60) + 3, up), fontsize=11, fontweight="bold")


def time_axis(axes: Axes, end_s: float, *, ticks: int = 8) -> None:
    """Time since the start, from 0 to `end_s`."""
    step = next((s for s in _STEPS if end_s / s <= ticks), _STEPS[-1])
    axes.set_xlim(0, max(end_s, 1))
    axes.xaxis.set_major_locator(FixedLocator([n * step for n in range(int(end_s / step) + 1)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: clock(at)))


_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)


def log_ms(axes: Axes, which: str, low: float, high: float, *, few: bool = False) -> None:
    """A logarithmic axis of milliseconds from `low` to `high`, with ticks at 1-3-10."""
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    (axes.set_xlim if which == "x" else axes.set_ylim)(low, high)
    axis = axes.xaxis if which == "x" else axes.yaxis
    factors = (1,) if few else (1, 3)
    ticks = [f * 10**d for d in range(-3, 9) for f in factors if low <= f * 10**d <= high]
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: ms(value, short=True)))


def counts_axis(axes: Axes, top: float) -> None:
    """A linear axis from 0 that holds `top`, with at most five round ticks."""
    top = max(top, 1)
    step = next(f * 10**d for d in range(12) for f in (1, 2, 5) if top / (f * 10**d) <= 4)
    axes.set_ylim(0, top * 1.06)
    axes.yaxis.set_major_locator(FixedLocator([n * step for n in range(int(top / step) + 1)]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def spread(places: Sequence[float], gap: float) -> list[float]:
    """The places, in their order, moved apart until neighbours are `gap` apart, as little as a single sweep can."""
    order = sorted(range(len(places)), key=lambda n: places[n])
    moved = list(places)
    for before, after in pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    return moved
