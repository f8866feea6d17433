"""Curves over the steps: scalability law, knee, cost of a guest."""

from __future__ import annotations

import numpy as np
import pytest

from harness.search.cost import latency_cost
from harness.search.knee import knee
from harness.search.steps import Judgement, Step, StepOrder, StepResult
from harness.search.usl import curve, fit, invalid_because

LOADS = [1.0, 8, 32, 64, 128]


def law(loads: list[float], alpha: float = 0.03, beta: float = 0.0002) -> list[float]:
    return [float(x) for x in curve(np.array(loads), 20, alpha, beta)]


def test_the_law_and_its_peak() -> None:
    assert law(LOADS) == pytest.approx([20, 131.0187, 300.6954, 346.2829, 317.5706], abs=1e-4)
    found = fit(LOADS, law(LOADS))
    assert found is not None
    assert found.gamma.value == pytest.approx(20, rel=1e-5)
    assert found.alpha.value == pytest.approx(0.03, rel=1e-4)
    assert found.beta.value == pytest.approx(0.0002, rel=1e-4)
    assert found.peak is not None
    assert found.peak.value == pytest.approx(69.642, abs=1e-2)
    assert found.most.value == pytest.approx(346.880, abs=1e-2)


def test_without_coherency_there_is_no_peak_but_a_limit() -> None:
    found = fit(LOADS, law(LOADS, beta=0.0))
    assert found is not None
    assert found.beta.value == pytest.approx(0, abs=1e-7)
    assert found.most.value == pytest.approx(20 / 0.03, rel=0.02)


def test_intervals_hold_the_truth_where_steps_go_past_the_peak() -> None:
    loads = [5.0, 10, 20, 40, 60, 80, 110, 140]
    inside, errors = 0, []
    for seed in range(30):
        noise = np.exp(np.random.default_rng(seed).normal(0, 0.03, len(loads)))
        found = fit(loads, list(np.array(law(loads)) * noise), draws=80)
        assert found is not None
        assert found.peak is not None
        inside += found.peak.low <= 69.642 <= found.peak.high
        errors.append(abs(found.most.value / 346.88 - 1))
    assert inside >= 24
    assert float(np.median(errors)) < 0.02


def test_the_curve_and_its_band_end_where_nothing_is_known() -> None:
    found = fit(LOADS, law(LOADS), draws=20)
    assert found is not None
    grid = np.array([64.0, 128, 191, 193])
    assert np.isnan(found.throughput(grid)).tolist() == [False, False, False, True]
    low, high = found.band(grid)
    assert np.isnan(low).tolist() == [False, False, False, True]
    assert (low[:3] <= high[:3]).all()
    assert fit([1.0, 2], [10, 20]) is None


@pytest.mark.parametrize(
    ("loads", "more", "says"),
    [
        ([5.0, 10, 20, 40, 80, 140], {"closed": True}, ""),
        ([5.0, 10, 20, 40, 50, 60], {"closed": True}, "past the peak"),
        ([5.0, 20, 40, 80, 140], {"closed": True}, "5 loads"),
        ([5.0, 10, 20, 40, 80, 140], {"closed": False}, "arrivals"),
        ([5.0, 10, 20, 40, 80, 140], {"closed": True, "limited": True}, "rate limit"),
        ([5.0, 10, 20, 40, 80, 140], {"closed": True, "erring": True}, "failed"),
    ],
)
def test_when_the_law_says_nothing(loads: list[float], more: dict[str, bool], says: str) -> None:
    found = invalid_because(loads, law(loads), [1.0] * len(loads), **more)  # type: ignore[arg-type]
    assert says in found
    assert bool(says) == bool(found)


def test_a_saturated_curve_is_flat_whatever_its_noise() -> None:
    """A server that is fully used serves as many a second however many wait: no step lies past a peak."""
    loads, rng = [40.0, 60, 80, 100, 120, 130, 140, 160, 240], np.random.default_rng(4)
    believed = 0
    for _ in range(200):
        rates = [min(load, 120.0) * (1 + 0.01 * rng.standard_normal()) for load in loads]
        believed += not invalid_because(loads, rates, [0.0196 * rate for rate in rates], closed=True)
    assert believed <= 10
    fallen = [*(min(load, 120.0) for load in loads[:-1]), 105.0]
    assert not invalid_because(loads, fallen, [0.0196 * rate for rate in fallen], closed=True)


def test_the_knee_is_drawn_where_there_is_one() -> None:
    loads = [float(x) for x in range(20, 301, 20)]
    assert knee(loads, [min(load, 200) for load in loads], shape="throughput") == 200
    assert knee(loads, [min(load, 500) for load in loads], shape="throughput") is None, "a straight line has none"
    assert knee([1, 2, 3], [1, 2, 3], shape="latency") is None
    bend = knee(loads, [0.1 + 0.05 / max(1 - load / 310, 0.01) for load in loads], shape="latency")
    assert bend is not None
    assert 200 <= bend <= 300


def test_what_a_guest_costs_near_the_limit() -> None:
    def at(load: float, p95: float | None) -> Step:
        return Step(StepOrder(1, load, "repeat", 60.0), StepResult(load, 60.0, percentile_s=p95), Judgement("held"))

    steps = [at(10, 0.1), at(95, 0.19), at(98, 0.196), at(100, 0.2), at(102, 0.204), at(200, 5.0), at(99, None)]
    cost = latency_cost(steps, 100)
    assert cost is not None
    assert cost.steps == 4
    assert cost.each_s == pytest.approx(0.002)
    assert cost.per(100)[0] == pytest.approx(0.2)
    assert cost.low_s <= cost.each_s <= cost.high_s
    assert latency_cost(steps[:3], 100) is None
