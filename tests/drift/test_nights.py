"""Tonight against the nights before: the vector of metrics.md F5, its edges, and the control over many metrics."""

from __future__ import annotations

import math
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.drift.nights import Metric, NightState, judge_counts, judge_metric, judge_night

P95 = Metric("echo.response p95", "ms", 10.0)
RATE = Metric("messages.rate", "/s", 0.0, higher_is_worse=False)
NIGHTS = [210, 205, 219, 214, 208, 222, 211, 216, 207, 213, 218, 209, 215, 212]


def test_the_vector() -> None:
    found = judge_metric(P95, NIGHTS, 236)
    logs = [math.log(value) for value in NIGHTS]
    assert sum(logs) / 14 == pytest.approx(5.360042, abs=1e-6)
    assert found.sd == pytest.approx(0.022911, abs=1e-6)
    assert found.t == pytest.approx(4.376569, abs=1e-6)
    assert found.p == pytest.approx(0.000375, abs=1e-6)
    assert found.change == pytest.approx(0.110591, abs=1e-6)
    assert found.state is NightState.REGRESSION


@pytest.mark.parametrize(("m", "sds"), [(7, 4.33), (14, 3.64)])
def test_the_smallest_change_that_is_found(m: int, sds: float) -> None:
    found = judge_metric(P95, NIGHTS[:m], 212)
    assert found.detectable is not None
    assert found.sd is not None
    assert math.log1p(found.detectable) / found.sd == pytest.approx(sds, abs=0.005)


def test_fewer_than_seven_nights_are_no_baseline() -> None:
    assert judge_metric(P95, NIGHTS[:6], 500).state is NightState.NO_BASELINE
    assert judge_metric(P95, NIGHTS[:7], 500).state is NightState.REGRESSION


def test_only_the_last_fourteen_count() -> None:
    assert judge_metric(P95, [1.0] * 50 + NIGHTS, 212).nights == 14
    assert judge_metric(P95, [1.0] * 50 + NIGHTS, 212).median == pytest.approx(math.exp(median(map(math.log, NIGHTS))))


def test_a_sure_change_that_is_small_says_nothing() -> None:
    steady = [200 + 0.1 * (n % 3) for n in range(14)]
    assert judge_metric(P95, steady, 209).state is NightState.UNCHANGED  # 4.5 %
    assert judge_metric(P95, [v / 10 for v in steady], 25).state is NightState.UNCHANGED  # 25 %, and 5 ms
    assert judge_metric(P95, steady, 215).state is NightState.REGRESSION


def test_better_is_symmetric_and_a_rate_is_worse_when_it_falls() -> None:
    assert judge_metric(P95, NIGHTS, 190).state is NightState.IMPROVED
    assert judge_metric(RATE, NIGHTS, 190).state is NightState.REGRESSION
    assert judge_metric(RATE, NIGHTS, 236).state is NightState.IMPROVED


def test_nights_that_differ_too_much_give_no_verdict() -> None:
    wild = [100 * (1.3 if n % 2 else 1.0) for n in range(14)]
    assert judge_metric(P95, wild, 400).state is NightState.NOISY


@pytest.mark.parametrize("value", [None, 0.0, -1.0, math.nan, math.inf])
def test_what_is_no_value_is_none(value: float | None) -> None:
    assert judge_metric(P95, NIGHTS, value).state is NightState.NO_VALUE
    held = judge_metric(P95, [*NIGHTS[:6], value, value], 212)
    assert (held.state, held.nights) == (NightState.NO_BASELINE, 6)


def test_nights_without_any_spread() -> None:
    assert judge_metric(P95, [200.0] * 14, 200.0).state is NightState.UNCHANGED
    found = judge_metric(P95, [200.0] * 14, 230.0)
    assert found.state is NightState.REGRESSION
    assert found.t is not None
    assert math.isfinite(found.t)


@given(st.floats(0.01, 1000.0), st.integers(0, 1000))
def test_the_unit_changes_nothing(scale: float, seed: int) -> None:
    rng = Random(seed)
    before = [200 * math.exp(rng.gauss(0, 0.03)) for _ in range(14)]
    tonight = 200 * math.exp(rng.gauss(0.1, 0.05))
    free = Metric("x", "ms", 0.0)
    one, other = judge_metric(free, before, tonight), judge_metric(free, [v * scale for v in before], tonight * scale)
    assert one.state is other.state
    assert one.p == pytest.approx(other.p, rel=1e-6, abs=1e-12)


def test_a_regression_must_survive_the_control_over_all_metrics() -> None:
    metrics = [Metric(f"m{n}", "ms", 0.0) for n in range(40)]
    before = {metric.name: NIGHTS for metric in metrics}
    tonight = dict.fromkeys(before, 212.0) | {"m0": 227.0}  # p = 0.006 alone
    assert judge_metric(metrics[0], NIGHTS, 227.0).state is NightState.REGRESSION
    assert all(one.state is NightState.UNCHANGED for one in judge_night(metrics, before, tonight))
    tonight["m0"] = 260.0
    worst, *others = judge_night(metrics, before, tonight)
    assert (worst.metric.name, worst.state) == ("m0", NightState.REGRESSION)
    assert all(one.state is NightState.UNCHANGED for one in others)


def test_counts_are_no_matter_of_statistics() -> None:
    found = judge_counts(
        ["lost", "unexpected", "aborted"], {"lost": 1, "unexpected": 3, "aborted": None}, {"lost": 0, "unexpected": 3}
    )
    assert [(one.name, one.worse) for one in found] == [("lost", True), ("unexpected", False), ("aborted", False)]
