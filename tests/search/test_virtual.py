"""Queues: what is played agrees with what is computed, and a few whole searches (the long form is in `make prove`)."""

from __future__ import annotations

import numpy as np
import pytest

from tests.proofs.capacity import judge, trial
from tests.search.queues import exact, played
from tests.search.queues.exact import Station


def test_known_values() -> None:
    assert exact.largest_rate(lambda x: exact.opened(Station(8, 0.04), x, 0.25) >= 0.95, 200) == pytest.approx(185.75, abs=0.005)
    one = exact.opened(Station(1, 0.1), 5.0, 0.3)
    assert one == pytest.approx(1 - np.exp(-5 * 0.3))
    alone = exact.closed(Station(3, 0.1), 1, 2.0, 0.2).within
    assert alone == pytest.approx(1 - np.exp(-2))


def test_load_dependent_rates_without_a_slowdown_are_the_plain_queue() -> None:
    plain = exact.closed(Station(3, 0.1), 60, 2.0, 0.4)
    nearly = exact.closed(Station(3, 0.1, slowdown=1e-12), 60, 2.0, 0.4)
    assert nearly.within == pytest.approx(plain.within, abs=1e-8)


@pytest.mark.parametrize("think", [played.exponential, played.uniform, played.fixed])
def test_closed_played_as_computed(think: played.Draw) -> None:
    station, rng = Station(4, 0.1), np.random.default_rng(1)
    one = played.closed(station, 120, 4.0, 4000, rng, think=think)
    within = ((one.ended - one.began)[one.began > 50] <= 0.3).mean()
    assert within == pytest.approx(exact.closed(station, 120, 4.0, 0.3).within, abs=0.01)


def test_refusals_and_stalls_played_as_computed() -> None:
    station, rng = Station(4, 0.1, room=12), np.random.default_rng(2)
    one = played.closed(station, 150, 4.0, 4000, rng)
    truth = exact.closed(station, 150, 4.0, 0.3)
    assert one.refused.mean() == pytest.approx(truth.refused, abs=0.004)
    late = played.closed(station, 150, 4.0, 4000, rng, stall_s=2.0)
    assert not late.refused.any()
    assert ((late.ended - late.began) <= 0.3).mean() == pytest.approx(exact.stalled(station, 150, 4.0, 0.3, 2.0), abs=0.01)


def test_slow_saturation_and_the_open_queue_played_as_computed() -> None:
    station, rng = Station(4, 0.1, slowdown=0.01), np.random.default_rng(3)
    one = played.closed(station, 110, 4.0, 4000, rng)
    within = ((one.ended - one.began)[(one.began > 50) & (one.began < 3990)] <= 0.4).mean()
    assert within == pytest.approx(exact.closed(station, 110, 4.0, 0.4).within, abs=0.012)
    some = played.opened(Station(8, 0.04), 150.0, 600, rng)
    assert ((some.ended - some.began) <= 0.15).mean() == pytest.approx(exact.opened(Station(8, 0.04), 150.0, 0.15), abs=0.01)


def test_searches_find_the_capacity() -> None:
    """One of two hundred: of every kind, a weak generator, and a first step that is too much."""
    rows = [trial(seed) for seed in (1,)]
    assert all(row["ok"] for row in rows)
    assert judge(rows)["ok"]
