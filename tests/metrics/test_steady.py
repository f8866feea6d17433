"""MSER-5 against the reference vector of metrics.md F1."""

from __future__ import annotations

import math
import random

import pytest

from harness.metrics.steady import mser, mser_of_means

MEANS = [14.1, 9.9, 10.02, 9.98, 10, 10.04, 10, 10.04]


def test_the_reference_vector() -> None:
    cut, statistics = mser_of_means(MEANS)
    assert cut == 2
    assert statistics == pytest.approx((0.230362, 0.000285, 0.000081, 0.000115, 0.0001), abs=5e-7)


def test_a_cut_counts_values_and_an_incomplete_batch_is_left_out() -> None:
    values = [mean + shift for mean in MEANS for shift in (-1, -0.5, 0, 0.5, 1)]
    found = mser([*values, 10.0, 10.0])
    assert found is not None
    assert (found.cut, found.steady) == (10, True)


def test_a_ramp_is_not_steady() -> None:
    found = mser([float(n) for n in range(100)])
    assert found is not None
    assert not found.steady


def test_too_few_values_give_no_answer() -> None:
    assert mser([1.0] * 9) is None


@pytest.mark.parametrize("level", [0.0, 0.1, 1e9, 1e160])
def test_a_constant_series_has_no_warm_up(level: float) -> None:
    found = mser([level] * 40)
    assert found is not None
    assert (found.cut, found.steady) == (0, True)
    assert all(math.isfinite(value) for value in found.statistics)


def test_huge_values_stay_finite() -> None:
    noise = random.Random(1)
    found = mser([1e200 * (1 + noise.random()) for _ in range(50)])
    assert found is not None
    assert all(math.isfinite(value) for value in found.statistics)


def test_the_statistic_is_its_definition() -> None:
    noise = random.Random(7)
    means = [noise.gauss(100, 3) + 30 * math.exp(-i) for i in range(31)]
    _, statistics = mser_of_means(means)
    for d, found in enumerate(statistics):
        rest = means[d:]
        centre = sum(rest) / len(rest)
        assert found == pytest.approx(sum((z - centre) ** 2 for z in rest) / len(rest) ** 2, rel=1e-9)
