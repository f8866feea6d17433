"""`make prove PART="capacity-virtual capacity-service"`: the capacity search against queues whose true capacity is computed.

One trial is one search of each kind of queue, drawn at random by the trial's number, one whose generator gives out below the
true capacity, and one whose first step breaks already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tests.proofs.frame import at_least
from tests.search.trials import KINDS, Target, draw, draw_service, plan_of, search

HOLDS = 0.90
"""The interval holds the truth in that share of trials."""
MEDIAN, NINETIETH = 0.03, 0.07


def trial(seed: int) -> dict[str, Any]:
    """Search closed (M/M/c//N), sudden cliff, slow saturation, open (M/M/c); generator too weak; first step too much."""
    found: dict[str, Any] = {}
    for number, kind in enumerate(KINDS):
        rng = np.random.default_rng([seed, number])
        target = draw(kind, rng)
        found[kind] = searched(target, rng, float(rng.uniform(0.05, 0.5)))
    kind = KINDS[seed % len(KINDS)]
    rng = np.random.default_rng([seed, len(KINDS)])
    target = draw(kind, rng)
    found["weak generator"] = searched(target, rng, 0.1, weak=float(rng.uniform(0.15, 0.85)))
    found["first too much"] = searched(target, rng, float(rng.uniform(1.3, 3.0)))
    found["ok"] = all(one["ok"] for name, one in found.items())
    return found


def service_trial(seed: int) -> dict[str, Any]:
    """Search closed queues whose service time is fixed or log-normal; the truth is played for long, not computed."""
    rng = np.random.default_rng([seed, len(KINDS) + 1])
    target = draw_service(rng)
    found = {"service": searched(target, rng, float(rng.uniform(0.05, 0.5)))}
    return {**found, "ok": found["service"]["ok"]}


def searched(target: Target, rng: np.random.Generator, first: float, *, weak: float = math.inf) -> dict[str, Any]:
    """One search, and whether what it said is admissible: that is all a single trial can show."""
    load = first * target.capacity
    if target.think_s is not None:
        load = float(max(1, round(load)))
    found = search(target, plan_of(target, load), rng, generator_limit=weak * target.capacity)
    if math.isfinite(weak):
        bound = found["low"]
        right = found["estimate"] is None and found["high"] is None and found["generator_bound"]
        found["ok"] = right and found["verdict"] == "UNKNOWN" and found["reason"] == "generator_bound" and bound <= target.capacity
        found["of_limit"] = bound / (weak * target.capacity) if bound else None
    else:
        found["ok"] = found["estimate"] is not None and found["verdict"] in ("PASS", "UNKNOWN") and not found["generator_bound"]
    return found


def judge(trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By kind: the interval holds the truth in 90 % of trials, the median error is at most 3 %, nine of ten are within 7 %."""
    found: dict[str, Any] = {}
    for kind in (*KINDS, "service", "first too much"):
        rows = [one[kind] for one in trials if kind in one]
        known = [row for row in rows if "error" in row]
        if not known:
            continue
        errors = np.array([row["error"] for row in known])
        inside = sum(bool(row["inside"]) for row in known)
        median, ninetieth = float(np.median(errors)), float(np.quantile(errors, 0.9))
        found[kind] = {
            "inside": f"{inside} of {len(rows)}",
            "median_error": round(median, 4),
            "p90_error": round(ninetieth, 4),
            "half_width": round(float(np.median([(row["high"] - row["low"]) / 2 / row["truth"] for row in known])), 4),
            "steps": round(float(np.mean([row["steps"] for row in rows])), 1),
            "requests": round(float(np.mean([row["requests"] for row in rows]))),
            "minutes": round(float(np.mean([row["minutes"] for row in rows])), 1),
            "confirmed": f"{sum(bool(row['confirmed']) for row in rows)} of {len(rows)}",
            "ok": at_least(inside, len(rows), HOLDS) and median <= MEDIAN and ninetieth <= NINETIETH,
        }
    weak = [one["weak generator"] for one in trials if "weak generator" in one]
    bound = sum(bool(row["ok"]) for row in weak)
    if weak:
        found["weak generator"] = {"at least, never more": f"{bound} of {len(weak)}", "ok": bound == len(weak)}
    wrong = sum(not one["ok"] for one in trials)
    found["inadmissible"] = wrong
    found["ok"] = not wrong and all(one["ok"] for one in found.values() if isinstance(one, dict))
    return found
