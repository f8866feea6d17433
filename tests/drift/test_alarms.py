"""CUSUM and Page-Hinkley: the reference vector of metrics.md F4."""

from __future__ import annotations

import random

import pytest

from harness.drift.alarms import Cusum, PageHinkley, cusum, first_alarm, page_hinkley

Z = [0.2, -0.5, 0.1, 0.9, 1.4, 0.8, 1.9, 1.2]


def test_the_reference_vector() -> None:
    assert cusum(Z, 0, 1) == pytest.approx([0, 0, 0, 0.4, 1.3, 1.6, 3.0, 3.7])
    assert page_hinkley(Z, 0.05) == pytest.approx([0, 0, 0.1167, 0.7917, 1.7217, 1.9883, 3.1526, 3.5526], abs=5e-5)


def test_the_alarm_is_on_beyond_the_threshold() -> None:
    watch = Cusum(0, 1, threshold=3.5)
    assert [watch.take(value) for value in Z] == [False] * 7 + [True]
    other = PageHinkley(delta=0.05, threshold=3.5)
    assert [other.take(value) for value in Z] == [False] * 7 + [True]


def test_a_shift_is_found_soon_and_a_calm_series_is_left_alone() -> None:
    noise = random.Random(3)
    calm = [noise.gauss(100, 2) for _ in range(60)]
    assert first_alarm(calm) is None
    found = first_alarm([*calm, *(noise.gauss(108, 2) for _ in range(20))])
    assert found is not None
    assert 60 <= found <= 63


def test_gaps_constants_and_short_series() -> None:
    assert first_alarm([1.0] * 50) is None
    assert first_alarm([1.0] * 20 + [2.0]) == 20
    assert first_alarm([1.0, None, float("nan")]) is None
    assert first_alarm([1.0] * 20 + [None, 1.04, 1.05, 1.06], least=0.05) is None


def test_without_spread_there_is_no_cusum() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Cusum(1, 0)
