"""A client's own token bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.pace import Pace

S = 10**9


def test_a_burst_then_the_rate() -> None:
    pace = Pace(2.0, 3, late_ns=0)
    for _ in range(3):
        assert pace.wait(0) == 0
        pace.spend(0)
    assert pace.wait(0) == S // 2
    assert pace.wait(S // 2) == 0


def test_a_refusal_takes_the_rest_of_the_burst() -> None:
    pace = Pace(2.0, 3, late_ns=0)
    pace.empty(0)
    assert pace.wait(0) == S // 2


def test_being_woken_late_costs_no_rate_but_a_long_silence_saves_nothing_up() -> None:
    pace, now, sent = Pace(10.0, 1), 0, 0
    while now < 10 * S:
        wait = pace.wait(now)
        if wait:
            now += wait + 5_000_000  # woken 5 ms late each time
            continue
        pace.spend(now)
        sent += 1
    assert sent == pytest.approx(100, abs=1)
    pace.wait(now + 100 * S)
    pace.spend(now + 100 * S)
    assert pace.wait(now + 100 * S) >= S // 10 - 20_000_000


@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1), (-1.0, 1), (1.0, 0)])
def test_senseless_figures_are_refused(rate: float, burst: int) -> None:
    with pytest.raises(ValueError, match="a pace needs"):
        Pace(rate, burst)


@given(st.floats(0.1, 200), st.integers(1, 30), st.lists(st.integers(0, 2 * S), min_size=1, max_size=60))
def test_no_stretch_of_time_holds_more_than_burst_and_rate(rate: float, burst: int, gaps: list[int]) -> None:
    late = 20_000_000
    pace, now, left = Pace(rate, burst, late_ns=late), 0, []
    for gap in gaps:
        now += gap
        while pace.wait(now) == 0:
            pace.spend(now)
            left.append(now)
    for first in range(len(left)):
        for last in range(first, len(left)):
            span = (left[last] - left[first]) / S
            assert last - first + 1 <= burst + rate * (span + late / S) + 1e-6
