"""Trend tests against the reference vectors of metrics.md F2, and against independent implementations."""

from __future__ import annotations

import pymannkendall
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.drift.trend import adjusted, lag1, mann_kendall, theil_sen, whitened

RISING = [10.1, 10.4, 10.2, 10.8, 10.6, 11.0, 11.3, 10.9, 11.6, 11.4]
TIED = [5.0, 5.0, 6.0, 6.0, 6.0, 7.0, 5.0, 8.0, 8.0, 9.0]

series = st.lists(st.integers(-20, 20).map(float) | st.floats(-1e6, 1e6, allow_subnormal=False), min_size=4, max_size=40)


def test_the_reference_vectors() -> None:
    found = mann_kendall(RISING)
    assert (found.s, found.variance) == (35, 125)
    assert (found.z, found.p) == pytest.approx((3.041052, 0.002358), abs=5e-7)
    assert theil_sen(RISING)[:3] == pytest.approx((0.16, 0.10, 0.23333), abs=5e-6)
    tied = mann_kendall(TIED)
    assert tied.s == 30
    assert tied.variance == pytest.approx(116.6667, abs=5e-5)
    assert (tied.z, tied.p) == pytest.approx((2.684878, 0.007256), abs=5e-7)


@settings(deadline=None)
@given(series)
def test_mann_kendall_is_that_of_another_implementation(values: list[float]) -> None:
    found = mann_kendall(values)
    assert found.s == sum((b > a) - (b < a) for i, a in enumerate(values) for b in values[i + 1 :])
    if len(set(values)) == 1:
        assert (found.z, found.p, found.p_up) == (0, 1, 0.5)
        return
    other = pymannkendall.original_test(values)
    assert found.s == other.s
    assert found.variance == pytest.approx(other.var_s)
    assert (found.z, found.p) == pytest.approx((other.z, other.p), abs=1e-9)


@settings(deadline=None)
@given(series)
def test_theil_sen_is_that_of_scipy_and_of_its_definition(values: list[float]) -> None:
    found = theil_sen(values)
    other = stats.theilslopes(values, range(len(values)), 0.95)
    slopes = sorted((b - a) / (j - i) for i, a in enumerate(values) for j, b in enumerate(values[i + 1 :], i + 1))
    middle = (slopes[(len(slopes) - 1) // 2] + slopes[len(slopes) // 2]) / 2
    assert found.slope == pytest.approx(middle, abs=1e-9)
    if len(set(values)) > 1:
        assert found[:3] == pytest.approx((other.slope, other.low_slope, other.high_slope), abs=1e-12)
    assert found.low <= found.slope <= found.high


def test_gaps_make_no_pairs() -> None:
    assert lag1([1.0, 2.0, None, 1.0, 2.0]) == pytest.approx(-0.5)
    assert whitened([1.0, 2.0, None, 4.0, 6.0], 0.5) == [1.5, 4.0]


def test_what_does_not_vary_has_no_autocorrelation() -> None:
    assert lag1([3.1] * 20) == 0
    assert lag1([]) == 0


def test_benjamini_hochberg_by_hand() -> None:
    assert adjusted([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.02, 0.04, 0.04, 0.02])
    assert adjusted([]) == []
