"""Storms: bursts, their period, and what must not be taken for one."""

from __future__ import annotations

import random
import re

import numpy as np
import pytest

from harness.drift.storms import storms

STEPS, STEP_S = 960, 30.0


def counts(seed: int, usual: float, bursts: list[float], size: int, spread: float = 0.7) -> list[int | None]:
    noise = np.random.default_rng(seed)
    found = noise.poisson(usual, STEPS)
    for at in bursts:
        for step in noise.normal(at, spread, size):
            if 0 <= step < STEPS:
                found[int(step)] += 1
    return [int(count) for count in found]


def test_tokens_that_expire_together_every_half_hour() -> None:
    found = storms(counts(1, 0.5, [60.0 * k for k in range(1, 16)], 80), step_s=STEP_S, what="refreshes")
    assert len(found.bursts) == 15
    assert found.period_s == pytest.approx(1800, rel=0.01)
    assert found.p is not None
    assert found.p < 0.01
    assert found.share == pytest.approx(1200 / (1200 + 480), abs=0.05)
    assert found.peak_to_mean is not None
    assert found.peak_to_mean > 10
    assert re.search(r"came in 15 bursts, one every (30 min|29 min 5)", found.sentence)


@pytest.mark.parametrize("seed", range(5))
def test_a_beat_without_a_burst_does_not_hide_the_period(seed: int) -> None:
    found = storms(counts(seed, 2, [60.0 * k for k in range(1, 16) if k not in (4, 9, 10)], 80, 1.5), step_s=STEP_S)
    assert found.period_s == pytest.approx(1800, rel=0.02)


def test_one_storm_has_no_period() -> None:
    found = storms(counts(2, 3, [500.0], 200), step_s=STEP_S, what="reconnects")
    assert (len(found.bursts), found.period_s, found.p) == (1, None, None)
    assert found.bursts[0].at_s == pytest.approx(500 * STEP_S, abs=60)
    assert "one burst at 4:" in found.sentence


def test_bursts_at_random_have_no_period() -> None:
    noise = random.Random(1)
    series = [counts(seed, 2, [noise.uniform(5, 950) for _ in range(noise.randint(3, 15))], 60) for seed in range(40)]
    assert sum(storms(one, step_s=STEP_S, draws=300).period_s is not None for one in series) <= 3


@pytest.mark.parametrize("usual", [0.02, 1.0, 40.0])
def test_an_even_rate_has_no_bursts(usual: float) -> None:
    assert storms(counts(3, usual, [], 0), step_s=STEP_S).bursts == ()


def test_nothing_and_gaps() -> None:
    assert storms([0] * 50, step_s=1.0).sentence == "No events."
    assert storms([], step_s=1.0).events == 0
    holed = [None if n % 7 == 0 else count for n, count in enumerate(counts(1, 0.5, [60.0 * k for k in range(1, 16)], 80))]
    assert storms(holed, step_s=STEP_S).period_s == pytest.approx(1800, rel=0.02)
