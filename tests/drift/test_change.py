"""Change points: the reference vector of metrics.md F6, planted steps, and what must not be found."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.drift.change import change_points, change_points_in_run, energy, locate


def noisy(levels: list[tuple[int, float]], sd: float, seed: int = 1) -> list[float]:
    noise = random.Random(seed)
    return [level + noise.gauss(0, sd) for count, level in levels for _ in range(count)]


def test_the_reference_vector() -> None:
    values = [1.0, 1.0, 2.0, 1.0, 5.0, 6.0, 5.0, 6.0]
    assert energy(values).tolist() == pytest.approx([5.8, 7.375, 14.666667, 9.125, 3.7], abs=5e-7)
    (point,) = change_points(values)
    assert (point.index, point.before, point.after, point.change) == (4, 1.25, 5.5, 3.4)


@settings(deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=4, max_size=12))
def test_q_is_its_definition(values: list[int]) -> None:
    def mean(one: list[int]) -> float:
        pairs = [abs(a - b) for i, a in enumerate(one) for b in one[i + 1 :]]
        return sum(pairs) / len(pairs)

    for split, found in enumerate(energy(values), 2):
        a, b = values[:split], values[split:]
        m, n = len(a), len(b)
        across = sum(abs(x - y) for x in a for y in b)
        assert found == pytest.approx(m * n / (m + n) * (2 / (m * n) * across - mean(a) - mean(b)), abs=1e-9)


def test_several_steps_over_many_windows() -> None:
    values = noisy([(130, 100), (7 * 30, 120), (160, 90), (300, 110)], 2)
    found = change_points_in_run(values, step_s=30.0, start_s=10.0)
    assert [point.index for point in found] == [130, 340, 500]
    assert found[0].at_s == 10 + 130 * 30
    assert [round(point.before) for point in found] == [100, 120, 90]
    assert all(point.first <= point.index <= point.last for point in found)


def test_gaps_keep_the_index_of_the_series() -> None:
    values: list[float | None] = list(noisy([(40, 100), (40, 130)], 1))
    values[38] = values[39] = values[10] = None
    (point,) = change_points(values)
    assert point.index == 40


def test_small_changes_are_none_and_the_least_is_a_setting() -> None:
    values = noisy([(60, 100), (60, 103)], 0.5)
    assert change_points(values) == []
    assert [point.index for point in change_points(values, least=0.02)] == [60]


@pytest.mark.parametrize("values", [[], [1.0], [5.0] * 100, [0.0] * 60, [None] * 50, [0.1 + 0.2] * 30 + [0.3] * 30])
def test_nothing_changes_where_nothing_changes(values: list[float | None]) -> None:
    assert change_points(values) == []
    assert change_points_in_run(values, step_s=1.0) == []


def test_from_zero_any_change_is_large() -> None:
    (point,) = change_points([0.0] * 20 + [3.0] * 20)
    assert (point.index, point.change) == (20, None)


def test_a_few_slow_intervals_are_no_new_level() -> None:
    values = noisy([(300, 100), (4, 300), (300, 100)], 1)
    assert change_points_in_run(values, step_s=30.0) == []


def test_a_night_is_not_mistaken_for_a_change() -> None:
    assert sum(bool(change_points(noisy([(60, 100)], 3, seed))) for seed in range(100)) <= 5


def test_thousands_of_points_in_less_than_a_second() -> None:
    values = noisy([(2500, 100), (2500, 140)], 5)
    began = time.process_time()
    assert [point.index for point in change_points_in_run(values, step_s=10.0)] == [2500]
    assert time.process_time() - began < 30, "linear in the length: it takes some 50 ms"


def test_a_known_step_is_located() -> None:
    values = noisy([(50, 10), (50, 12)], 0.5)
    point = locate(values, 0, 100, (30, 70), step_s=2.0)
    assert point is not None
    assert (point.index, point.at_s) == (50, 100.0)
    assert locate(values, 0, 3, (0, 3)) is None


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | st.floats() | st.sampled_from([0.0, 1.0, 1e300]), max_size=80))
def test_any_values_give_points_in_order(values: list[float | None]) -> None:
    found = change_points(values)
    indexes = [point.index for point in found]
    assert indexes == sorted(set(indexes))
