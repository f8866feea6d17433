"""The leak judge on series of known shape, and change points on planted steps. The same code serves the short forms in tests.

A row of the table of metrics.md F3 counts as missed if its share of right answers is significantly worse (one-sided binomial,
p < 0.01); so does false LEAK on a clean series.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from harness.drift.change import change_points_in_run
from harness.drift.leak import judge_all, judge_series
from harness.drift.model import Series, SeriesVerdict, State
from tests.drift.shapes import CLEAN, LEVEL, POINTS, SHAPES, STEP_S, dependent, series, white
from tests.proofs.frame import at_least, at_most

SERIES = 200
"""Of each row and noise in a trial."""
NIGHTS, NIGHT = 40, 30
"""Nights in a trial, and series of a night that are judged together."""
MOST_FALSE = 0.01
PLANTED = {"+10 %, white": (10.0, white), "+10 %, AR 0.5": (10.0, dependent(0.5)), "-10 %, white": (-10.0, white)}


def answer(name: str, seed: int, noise: int = 0) -> SeriesVerdict:
    """What the judge says of one series, as memory."""
    return judge_series(series(name, seed, noise), step_s=STEP_S, keep="minimum", name=name)


def plain(row: str) -> str:
    """The row of the table, without the noise."""
    return row.removesuffix(" (dependent noise)")


def right(name: str, state: State) -> bool:
    """Whether that is what the table calls right for this row."""
    wanted = SHAPES[name][2]
    return state is not State.LEAK if wanted == "not LEAK" else state.value == wanted


def table(seeds: Iterable[int], names: Iterable[str] = tuple(SHAPES)) -> dict[str, dict[str, int]]:
    """How often each answer was given, by row and noise."""
    seeds = list(seeds)
    return {
        f"{name}{' (dependent noise)' if noise else ''}": dict(
            sorted(Counter(answer(name, seed, noise).state.value for seed in seeds).items())
        )
        for name in names
        for noise in range(len(SHAPES[name][1]))
    }


def missed(found: dict[str, dict[str, int]]) -> list[str]:
    """Rows that are significantly worse than the table, or cry LEAK too often."""
    rows = []
    for row, counts in found.items():
        name = plain(row)
        n = sum(counts.values())
        hits = sum(count for state, count in counts.items() if right(name, State(state)))
        if not at_least(hits, n, SHAPES[name][3]):
            rows.append(f"{row}: right in {hits} of {n}")
        leaks = counts.get("LEAK", 0)
        if name in CLEAN and not at_most(leaks, n, MOST_FALSE):
            rows.append(f"{row}: LEAK in {leaks} of {n}")
    return rows


def false_nights(seeds: Iterable[int]) -> int:
    """Nights of clean series, judged together, with any LEAK among them."""
    found = 0
    for seed in seeds:
        night = [
            Series(f"{number}", series(CLEAN[number % len(CLEAN)], NIGHT * seed + number), STEP_S, keep="minimum")
            for number in range(NIGHT)
        ]
        found += any(one.state is State.LEAK for one in judge_all(night))
    return found


def leak_trial(seed: int) -> dict[str, Any]:
    """200 series of each row of the leak table, and 40 nights of 30 clean series judged together."""
    return {
        "rows": table(range(SERIES * (seed - 1) + 1, SERIES * seed + 1)),
        "nights": NIGHTS,
        "nights with a false leak": false_nights(range(NIGHTS * (seed - 1) + 1, NIGHTS * seed + 1)),
    }


def leak_judge(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Every row at least as good as the table, a leak of 10 % found in 92 %, false LEAK on at most 1 % of the clean series."""
    rows: dict[str, Counter[str]] = {}
    for trial in trials:
        for row, counts in trial["rows"].items():
            rows.setdefault(row, Counter()).update(counts)
    found = {row: dict(sorted(counts.items())) for row, counts in rows.items()}
    clean = [counts for row, counts in found.items() if plain(row) in CLEAN]
    leaks, series_of = sum(counts.get("LEAK", 0) for counts in clean), sum(sum(counts.values()) for counts in clean)
    nights, false = sum(trial["nights"] for trial in trials), sum(trial["nights with a false leak"] for trial in trials)
    leak = found["leak +10 %"]
    unequal = missed(found)
    share = leak.get("LEAK", 0) / sum(leak.values())
    return {
        "ok": not unequal and share >= 0.92 and leaks <= MOST_FALSE * series_of and at_most(false, nights, 0.05),
        "unequal": unequal,
        "rows": found,
        "leak +10 % found": share,
        "false leaks": [leaks, series_of],
        "nights with a false leak": [false, nights],
    }


def located(kind: str, seed: int) -> tuple[int, int, int | None, bool]:
    """Points found, distance of the nearest in intervals, and whether its band holds the truth, of one planted step."""
    step, noise = PLANTED[kind]
    random = np.random.default_rng(seed)
    at = int(random.integers(POINTS // 8, POINTS - POINTS // 8))
    values = LEVEL + noise(random) + step * (np.arange(POINTS) >= at)
    found = change_points_in_run([float(value) for value in values], step_s=STEP_S)
    if not found:
        return at, 0, None, False
    near = min(found, key=lambda point: abs(point.index - at))
    return at, len(found), abs(near.index - at), near.first <= at <= near.last


def steps(seeds: Iterable[int]) -> dict[str, dict[str, int]]:
    """Of planted steps: how many were found, within two intervals, within their band, and as the only one."""
    seeds = list(seeds)
    found = {}
    for kind in PLANTED:
        results = [located(kind, seed) for seed in seeds]
        found[kind] = {
            "series": len(results),
            "found": sum(distance is not None for _, _, distance, _ in results),
            "within two intervals": sum(distance is not None and distance <= 2 for _, _, distance, _ in results),
            "band holds it": sum(held for *_, held in results),
            "further points": sum(max(number - 1, 0) for _, number, _, _ in results),
        }
    return found


def false_points(seeds: Iterable[int]) -> int:
    """Flat series in which a change point was found, of independent noise and of noise that hangs together."""
    return sum(
        bool(change_points_in_run(series(name, seed), step_s=STEP_S)) for seed in seeds for name in ("flat, white", "flat, AR 0.9")
    )


def change_trial(seed: int) -> dict[str, Any]:
    """200 planted steps of each kind at a random time, and 400 flat series without any."""
    seeds = range(SERIES * (seed - 1) + 1, SERIES * seed + 1)
    return {"rows": steps(seeds), "flat": 2 * SERIES, "flat with a point": false_points(seeds)}


def change_judge(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Every planted step found within two intervals, but for 1 of 100, and points in at most 1 % of the flat series."""
    rows = {kind: sum((Counter(trial["rows"][kind]) for trial in trials), Counter()) for kind in PLANTED}
    flat, false = sum(trial["flat"] for trial in trials), sum(trial["flat with a point"] for trial in trials)
    unequal = [kind for kind, one in rows.items() if one["within two intervals"] < 0.99 * one["series"]]
    return {
        "ok": not unequal and at_most(false, flat, MOST_FALSE),
        "unequal": unequal,
        "rows": {kind: dict(one) for kind, one in rows.items()},
        "flat with a point": [false, flat],
    }
