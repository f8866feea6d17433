"""The search sees loads and whether they were healthy; any machine with a limit is found, in few steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.calibration.search import Search


def run(search: Search, limit: int, disturbed: frozenset[int] = frozenset()) -> list[int]:
    """Steps until it is found; the `disturbed` ones (by number) fail whatever the load is."""
    tried: list[int] = []
    while (load := search.next()) is not None:
        assert len(tried) < 100
        search.update(load, load <= limit and len(tried) not in disturbed)
        tried.append(load)
    return tried


@given(st.integers(1, 20_000), st.integers(1, 400), st.sampled_from([0.02, 0.1, 0.25]))
def test_any_limit_is_found_to_within_the_tolerance(limit: int, first: int, tolerance: float) -> None:
    search = Search(first, 20_000, tolerance)
    tried = run(search, limit)
    assert search.holds <= limit
    assert search.holds in tried
    if search.found:
        assert limit < search.fails
        assert search.fails - search.holds <= max(1, round(tolerance * search.fails))
    else:
        assert search.holds == 20_000
    assert len(tried) <= 32


def test_it_ends_at_the_most() -> None:
    search = Search(50, 300)
    assert run(search, 10**6) == [50, 100, 200, 300]
    assert not search.found


def test_a_first_step_that_is_too_much_is_gone_below() -> None:
    search = Search(50, 1000)
    assert run(search, 7)[:3] == [50, 25, 12]
    assert search.holds == 7


def test_a_machine_that_can_do_nothing() -> None:
    search = Search(50, 1000)
    run(search, 0)
    assert search.holds == 0


@pytest.mark.parametrize("disturbed", range(6))
def test_one_disturbed_step_does_not_decide(disturbed: int) -> None:
    search = Search(50, 5000, 0.1, tries=2)
    run(search, 900, frozenset({disturbed}))
    assert 800 <= search.holds <= 900
