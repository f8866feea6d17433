"""Descriptions of a difference: the vector of metrics.md F5, scipy as the other opinion, and what the bootstrap holds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.drift.effect import a12, hodges_lehmann, quantile_ratios, sample_of

A, B = [100, 104, 98, 110, 103], [109, 112, 101, 120, 115]


def test_the_vector() -> None:
    assert hodges_lehmann(A, B) == 9
    assert a12(A, B) == 0.84
    found = stats.mannwhitneyu(B, A, alternative="two-sided", method="exact")
    assert found.statistic == 21
    assert found.pvalue == pytest.approx(0.095238, abs=1e-6)


numbers = st.lists(st.integers(-50, 50).map(float), min_size=1, max_size=30)


@given(numbers, numbers)
def test_a12_is_mann_whitney_u(a: list[float], b: list[float]) -> None:
    u = stats.mannwhitneyu(b, a, method="asymptotic").statistic if len(set(a + b)) > 1 else len(a) * len(b) / 2
    assert a12(a, b) == pytest.approx(u / (len(a) * len(b)))
    assert a12(a, b) + a12(b, a) == pytest.approx(1)


@given(numbers, numbers, st.integers(-20, 20))
def test_the_shift_moves_with_the_sample(a: list[float], b: list[float], by: int) -> None:
    assert hodges_lehmann(a, [x + by for x in b]) == pytest.approx(hodges_lehmann(a, b) + by)
    assert hodges_lehmann(a, b) == pytest.approx(-hodges_lehmann(b, a))


@pytest.mark.parametrize("function", [hodges_lehmann, a12])
def test_an_empty_side_is_an_error(function) -> None:
    with pytest.raises(ValueError, match="empty"):
        function([], [1.0])


@given(st.lists(st.integers(0, 300), min_size=1, max_size=20).filter(any))
def test_a_sample_has_the_histogram_s_quantiles(counts: list[int]) -> None:
    values = np.arange(1.0, len(counts) + 1)
    every = np.repeat(values, counts)
    sample = sample_of(values, counts, most=5000)
    assert sorted(sample) == list(sample)
    if len(every) <= 5000:
        assert list(sample) == list(every)


def _blocks(rng: np.random.Generator, blocks: int, each: int, level: float) -> np.ndarray:
    edges = np.arange(0, 401)
    rows = []
    for _ in range(blocks):
        scale = level * np.exp(rng.normal(0, 0.1))  # a block hangs together
        rows.append(np.histogram(np.minimum(rng.exponential(scale, each), 399.5), edges)[0])
    return np.array(rows)


VALUES = np.arange(400) + 0.5


def test_equal_runs_have_a_ratio_of_one_and_few_blocks_no_interval() -> None:
    side = _blocks(np.random.default_rng(1), 4, 500, 50)
    (found,) = quantile_ratios(VALUES, side, side, [0.5], np.random.default_rng(1))
    assert (found.ratio, found.low, found.high) == (1.0, None, None)


def test_a_percentile_without_ten_samples_beyond_is_withheld() -> None:
    side = _blocks(np.random.default_rng(1), 6, 30, 50)  # 180 samples
    fifty, nine, ninety_nine = quantile_ratios(VALUES, side, side, [0.5, 0.9, 0.99], np.random.default_rng(1))
    assert fifty.a is not None
    assert nine.a is not None
    assert (ninety_nine.a, ninety_nine.ratio) == (None, None)


def test_the_interval_holds_the_true_ratio_where_blocks_hang_together() -> None:
    held = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        a, b = _blocks(rng, 24, 300, 50), _blocks(rng, 24, 300, 60)
        (found,) = quantile_ratios(VALUES, a, b, [0.9], rng, resamples=300)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 1.2 <= found.high
    assert held >= 104  # 95 % of 120 are 114; 104 or fewer of them have p < 0.001 even at 92 %
