"""Plot I: a metric night by night. Dots are the baseline, rings what lies before an accepted change, the cross is tonight."""

from __future__ import annotations

from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.drift.history import Trend
from harness.drift.nights import NightVerdict
from harness.report.plots.style import BLUE, DASH, GREY, INK, MUTED, ORANGE, PAPER, TEAL, Sheet, heading, word
from harness.report.wording import ms

_MOST = {False: 120, True: 45}


def trend(sheet: Sheet, found: Trend, one: NightVerdict) -> None:
    """Draw it: the last nights of one metric, with the band in which 98 of 100 unchanged nights fall."""
    axes = sheet.axes(34, sheet.height - 28)
    nights = found.nights
    begin = max(len(nights) - _MOST[sheet.narrow], 0)
    values = [night.values.get(one.metric.name) for night in nights]
    used = set(found.baseline.get(one.metric.name, ()))
    heading(sheet, axes, f"{one.metric.name}, by night")
    last = len(nights) - 1
    if one.low is not None and one.high is not None and one.median is not None:
        since = min(used, default=last)
        axes.fill_between((max(since, begin) - 0.4, last + 0.4), one.low, one.high, color=BLUE, alpha=0.14, lw=0)
        axes.plot((max(since, begin) - 0.4, last + 0.4), (one.median, one.median), color=BLUE, lw=1.2)
    for place in range(begin, len(nights)):
        value, night = values[place], nights[place]
        if night.fit:
            axes.plot(place, 0.02, "|", color=MUTED, ms=7, transform=axes.get_xaxis_transform())
        elif value is None or place == last:
            continue
        elif place in used:
            axes.plot(place, value, "o", color=BLUE, ms=5, mew=0)
        elif night.good:
            axes.plot(place, value, "o", mfc=PAPER, mec=BLUE, ms=5, mew=1.2)
        else:
            axes.plot(place, value, "o", mfc=PAPER, mec=GREY, ms=4, mew=1)
    tonight = values[last]
    if tonight is not None:
        axes.plot(last, tonight, "X", color=ORANGE, ms=8, mew=0)
        shown = ms(tonight) if one.metric.unit == "ms" else f"{tonight:,.4g}"
        word(axes, (last, tonight), shown, by=(9, -3), fontweight="bold")
    for shift in found.shifts:
        if shift.metric == one.metric.name and shift.place >= begin:
            hue = ORANGE if shift.worse else TEAL
            axes.axvline(shift.place - 0.5, color=INK, lw=1.1, ls=DASH)
            text = f"{100 * shift.change:+.0f} %".replace("-", "−")
            word(axes, (shift.place - 0.5, 1), text, coords=axes.get_xaxis_transform(), by=(3, -4), color=hue, fontsize=9.5)
    axes.set_xlim(begin - 0.8, max(last, begin + 6) + 0.8)
    known = [value for value in values[begin:] if value is not None]
    edges = [*known, *(edge for edge in (one.low, one.high) if edge is not None)]
    if edges:
        pad = max(max(edges) - min(edges), 0.04 * max(edges)) * 0.18 or 1.0
        axes.set_ylim(max(min(edges) - pad, 0), max(edges) + pad)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda at, _: _ago(round(at) - last)))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if one.metric.unit == "ms":
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: ms(value, short=True)))


def _ago(nights: int) -> str:
    return "tonight" if nights == 0 else f"−{-nights}" if nights < 0 else ""
