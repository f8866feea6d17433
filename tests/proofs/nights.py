"""Nights compared: how often an unchanged night is called a regression, and how often +20 % is found on its first night.

Every trial is a scenario of its own: 7 to 60 good nights with a night-to-night sd of 3 %, ten metrics that share part of their bad
luck, as percentiles of one service do. Then one more night, unchanged, and the same one with +10 % and with +20 % in three metrics.
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

from harness.drift.history import Night, trend
from harness.drift.nights import Metric, NightState
from tests.proofs.frame import at_least, at_most

SD = 0.03
SHARED = 0.6
"""Of the variance that all metrics of a night have in common."""
METRICS = [Metric(f"m{n}", "ms", 10.0) for n in range(9)] + [Metric("rate", "/s", 0.0, higher_is_worse=False)]
SLOWER = ("m0", "m1", "m2")


def _night(rng: Random, place: int, levels: dict[str, float]) -> Night:
    common = rng.gauss(0, SD * math.sqrt(SHARED))
    values = {name: level * math.exp(common + rng.gauss(0, SD * math.sqrt(1 - SHARED))) for name, level in levels.items()}
    return Night(id=str(place), started_utc=f"{place:04}", verdict="PASS", values=values, counts={})


def trial(seed: int) -> dict[str, Any]:
    """Regressions that were called on an unchanged night, and whether +10 % and +20 % were found on the first night."""
    rng = Random(f"nights/{seed}")
    length = rng.choice((7, 10, 14, 14, 14, 20, 30, 60))
    levels = {metric.name: 10 ** rng.uniform(2, 3.5) for metric in METRICS}
    before = [_night(rng, place, levels) for place in range(length)]
    tonight = _night(rng, length, levels)
    found: dict[str, Any] = {"nights": length, "false": _regressed(before, tonight)}
    for change in (0.10, 0.20):
        slower = {name: value * (1 + change * (name in SLOWER)) for name, value in tonight.values.items() if value}
        night = Night(id="x", started_utc=tonight.started_utc, verdict="PASS", values=slower, counts={})
        found[f"+{change:.0%}"] = bool(set(_regressed(before, night)) & set(SLOWER))
    return found


def _regressed(before: list[Night], tonight: Night) -> list[str]:
    """Whatever makes `guestswarm trend` fail: a regression of tonight, or a lasting change that still stands."""
    found = trend(METRICS, (), [*before, tonight])
    named = [one.metric.name for one in found.verdicts if one.state is NightState.REGRESSION]
    return sorted({*named, *(shift.metric for shift in found.standing)})


def judge(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """At most 2 % of unchanged nights are called a regression in any metric; +20 % is found in at least 95 % (14 nights on)."""
    false = sum(bool(one["false"]) for one in trials)
    full = [one for one in trials if one["nights"] >= 14]
    found = sum(one["+20%"] for one in full)
    short = [one for one in trials if one["nights"] < 14]
    return {
        "ok": at_most(false, len(trials), 0.02) and at_least(found, len(full), 0.95),
        "false_alarms": f"{false} of {len(trials)}",
        "found_20": f"{found} of {len(full)}",
        "found_20_under_14_nights": f"{sum(one['+20%'] for one in short)} of {len(short)}",
        "found_10": f"{sum(one['+10%'] for one in full)} of {len(full)}",
    }
