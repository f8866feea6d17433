"""Whole numbers where they are whole: windows snap to what people set, limits to integers."""

from __future__ import annotations

import math

from harness.search.limits.finding import Interval

USUAL_S = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 60.0, 120.0, 300.0)
WITHIN = 0.05


def wholes(interval: Interval) -> list[int]:
    """The whole numbers in it (at most the first thousand)."""
    first, last = math.ceil(interval.low - 1e-9), math.floor(interval.high + 1e-9)
    return list(range(first, min(last, first + 999) + 1))


def known_well(window: Interval, tolerance: float) -> bool:
    """Is a window known: narrow for its size, and with no more than one whole number of seconds in it?"""
    return (window.width <= max(tolerance * window.middle, 0.02) and len(wholes(window)) <= 1) or (
        window.width <= 0.004 * window.middle
    )


def snap_window(window: Interval) -> float:
    """The one whole number of seconds in the interval; else the usual length in it (or within 5 % of its middle if it is
    wide); else its middle."""
    inside = [one for one in wholes(window) if one >= 1]
    if len(inside) == 1:
        return float(inside[0])
    usual = [one for one in USUAL_S if window.holds(one)]
    if len(usual) == 1:
        return usual[0]
    if inside:
        return float(min(inside, key=lambda one: abs(one - window.middle)))
    return window.middle


def snap_count(limit: Interval) -> int:
    """The whole number nearest to the middle of the interval."""
    inside = wholes(limit)
    return min(inside, key=lambda one: abs(one - limit.middle)) if inside else round(limit.middle)
