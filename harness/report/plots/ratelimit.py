"""Plot G: requests accepted in total under the fit's ceiling; below, what the fitted limit held at each moment, with a rug."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator

from harness.report.plots.style import BLUE, DASH, MUTED, ORANGE, TEAL, Sheet, counts_axis, heading, time_axis, word
from harness.search.limits.firstwindow import begins
from harness.search.limits.trace import Asked

MOST_POINTS = {False: 360, True: 120}
_RUG = {False: 400, True: 160}


@dataclass(frozen=True, slots=True)
class Traced:
    """Answers in order: seconds since the first request, and whether each was accepted."""

    at: np.ndarray
    accepted: np.ndarray


def traced(rows: Sequence[Asked]) -> Traced:
    """Those that were answered yes or no, by the middle of sending and answer."""
    known = sorted((row.middle_ns, row.accepted is True) for row in rows if row.accepted is not None and row.received_ns)
    first = min((row.sent_ns for row in rows), default=0)
    return Traced(np.array([(at - first) / 1e9 for at, _ in known]), np.array([yes for _, yes in known], dtype=bool))


def boundary_s(trace: Traced, window_s: float) -> float:
    """Where windows begin, as seconds into one: the earliest that anything was accepted after a refusal."""
    back = [at for before, at, yes in zip(trace.accepted, trace.at[1:], trace.accepted[1:], strict=False) if yes and not before]
    return float(min((at % window_s for at in back), default=0.0, key=lambda at: at))


def ceiling(finding: Mapping[str, Any], at: np.ndarray, rate: float) -> np.ndarray:
    """The most that a limit of this rate lets through until then, counted from the first request."""
    once = finding.get("burst") or finding.get("limit") or 0
    return once + rate * at


def levels(finding: Mapping[str, Any], trace: Traced) -> tuple[np.ndarray, np.ndarray, float]:
    """The bucket's tokens, or the count in the window, over time; and the most that there can be."""
    kind, rate = finding["kind"], finding.get("rate_per_s") or 0.0
    if kind == "token_bucket":
        return _bucket(trace, rate, float(finding["burst"]))
    window, limit = float(finding["window_s"]), float(finding["limit"])
    spent = trace.at[trace.accepted]
    end = float(trace.at[-1]) if len(trace.at) else 1.0
    at = np.unique(np.concatenate([np.linspace(0, end, 1500), spent]))
    if kind == "sliding_log":
        count = np.searchsorted(spent, at, "right") - np.searchsorted(spent, at - window, "right")
        return at, count.astype(float), limit
    if finding.get("anchor") == "first_request":
        began = begins(spent, window)
        if not len(began):
            return at, np.zeros(len(at)), limit
        since = began[np.maximum(np.searchsorted(began, at, "right") - 1, 0)]
        count = np.searchsorted(spent, at, "right") - np.searchsorted(spent, since, "left")
        return at, np.where((at >= since) & (at < since + window), count, 0).astype(float), limit
    phase = boundary_s(trace, window)
    starts = np.floor((at - phase) / window) * window + phase
    this = np.searchsorted(spent, at, "right") - np.searchsorted(spent, starts, "left")
    if kind == "fixed_window":
        return at, this.astype(float), limit
    last = np.searchsorted(spent, starts, "left") - np.searchsorted(spent, starts - window, "left")
    return at, this + last * (1 - (at - starts) / window), limit


def _bucket(trace: Traced, rate: float, burst: float) -> tuple[np.ndarray, np.ndarray, float]:
    at, level = [0.0], [burst]
    tokens, stamp = burst, 0.0
    for moment, yes in zip(trace.at, trace.accepted, strict=True):
        full_at = stamp + (burst - tokens) / rate if rate else moment
        if stamp < full_at < moment:
            at.append(full_at)
            level.append(burst)
        tokens = min(burst, tokens + (moment - stamp) * rate)
        stamp = float(moment)
        at.append(stamp)
        level.append(max(tokens, 0.0))
        if yes:
            tokens = max(tokens - 1, 0.0)
            at.append(stamp)
            level.append(tokens)
    return np.array(at), np.array(level), burst


def ratelimit(sheet: Sheet, rows: Sequence[Asked], finding: Mapping[str, Any]) -> None:
    """Draw it."""
    trace = traced(rows)
    end = float(trace.at[-1]) if len(trace.at) else 1.0
    split = sheet.height * 0.56
    upper, lower = sheet.axes(34, split), sheet.axes(split + 40, sheet.height - 26)
    _totals(upper, sheet, trace, finding, end)
    rate = finding.get("rate_per_s")
    known = finding["kind"] in ("token_bucket", "fixed_window", "sliding_log", "sliding_counter") and rate
    if known:
        _levels(lower, sheet, trace, finding)
    else:
        counts_axis(lower, 1)
        lower.yaxis.set_major_locator(FixedLocator([]))
        heading(sheet, lower, "Answers")
    _rug(lower, sheet, trace)
    for axes in (upper, lower):
        time_axis(axes, end * 1.01, ticks=5 if sheet.narrow else 8)
    upper.tick_params(labelbottom=False)


def _totals(axes: Axes, sheet: Sheet, trace: Traced, finding: Mapping[str, Any], end: float) -> None:
    spent = trace.at[trace.accepted]
    total = np.arange(1, len(spent) + 1)
    most = MOST_POINTS[sheet.narrow]
    kept = np.unique(np.linspace(0, max(len(spent) - 1, 0), min(len(spent), most)).astype(int))
    axes.step(np.append(spent[kept], end), np.append(total[kept], len(spent)), where="post", color=BLUE, lw=1.6)
    top = float(len(spent))
    rate, interval = finding.get("rate_per_s"), finding.get("rate_interval")
    if rate and not finding.get("shared"):
        at = np.array([0.0, end])
        line = ceiling(finding, at, rate)
        axes.plot(at, line, color=TEAL, lw=1.2, ls=DASH)
        if interval:
            low, high = (ceiling(finding, at, interval[end]) for end in ("low", "high"))
            axes.fill_between(at, low, high, color=TEAL, alpha=0.2, lw=0)
        top = max(top, float(line[-1]))
        style: dict[str, Any] = {"by": (4, 5), "va": "center", "color": TEAL, "fontweight": "bold"}
        word(axes, (1, float(line[-1])), "ceiling", coords=axes.get_yaxis_transform(), **style)
    counts_axis(axes, top)
    word(
        axes,
        (1, len(spent)),
        "accepted",
        coords=axes.get_yaxis_transform(),
        by=(4, -6),
        va="center",
        color=BLUE,
        fontweight="bold",
    )
    heading(sheet, axes, "Accepted in total")


def _levels(axes: Axes, sheet: Sheet, trace: Traced, finding: Mapping[str, Any]) -> None:
    at, level, most = levels(finding, trace)
    limit = MOST_POINTS[sheet.narrow] * 3
    if len(at) > limit:
        kept = np.unique(np.linspace(0, len(at) - 1, limit).astype(int))
        at, level = at[kept], level[kept]
    bucket = finding["kind"] == "token_bucket"
    axes.plot(at, level, color=TEAL, lw=1.2, drawstyle="default" if bucket else "steps-post")
    axes.axhline(most, color=MUTED, lw=0.8, ls=DASH)
    counts_axis(axes, max(most, float(level.max(initial=0.0))))
    heading(sheet, axes, "Tokens in the bucket" if bucket else "Counted in the window")
    if finding["kind"] in ("fixed_window", "sliding_counter"):
        window = float(finding["window_s"])
        phase = boundary_s(trace, window)
        for begin in np.arange(phase - window, float(at[-1]) + window, window):
            if 0 <= begin <= float(at[-1]):
                axes.axvline(begin, ymin=0.0, ymax=1.0, color=MUTED, lw=0.6, alpha=0.6)


def _rug(axes: Axes, sheet: Sheet, trace: Traced) -> None:
    """A stroke for each answer below the axis: accepted in blue, refused in orange and longer."""
    transform = axes.get_xaxis_transform()
    for yes, hue, low, high in ((True, BLUE, -0.06, -0.01), (False, ORANGE, -0.11, -0.01)):
        at = trace.at[trace.accepted == yes]
        if len(at) > _RUG[sheet.narrow]:
            at = at[np.unique(np.linspace(0, len(at) - 1, _RUG[sheet.narrow]).astype(int))]
        axes.vlines(at, low, high, transform=transform, color=hue, lw=0.8, clip_on=False)
