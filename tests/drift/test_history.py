"""The row of nights: what is a baseline, when a level is a new one, and whose word it takes."""

from __future__ import annotations

import math
from random import Random

import msgspec
import pytest

from harness.drift.history import Night, trend
from harness.drift.nights import Metric, NightState

P95 = Metric("p95", "ms", 10.0)
LOST = ("lost",)


def nights(levels: list[float], *, seed: int = 1, sd: float = 0.02, **more) -> list[Night]:
    rng = Random(seed)
    return [
        Night(
            id=f"n{place}",
            started_utc=f"{place:04}",
            verdict="PASS",
            values={"p95": level * math.exp(rng.gauss(0, sd))},
            counts={"lost": 0},
            **more,
        )
        for place, level in enumerate(levels)
    ]


def changed(row: list[Night], place: int, **more) -> list[Night]:
    row[place] = msgspec.structs.replace(row[place], **more)
    return row


def state(row: list[Night]) -> NightState:
    return trend([P95], LOST, row).verdicts[0].state


def test_a_steady_row_is_unchanged_and_a_jump_is_found_on_its_first_night() -> None:
    assert state(nights([200.0] * 15)) is NightState.UNCHANGED
    assert state(nights([200.0] * 14 + [240.0])) is NightState.REGRESSION


def test_a_worse_level_stays_a_regression_for_as_long_as_nobody_accepts_it() -> None:
    for length in (1, 2, 3, 5, 9, 20, 40):
        row = nights([200.0] * 20 + [250.0] * length)
        found = trend([P95], LOST, row)
        assert found.verdicts[0].state is NightState.REGRESSION, length
        assert max(found.baseline["p95"]) < 20
    assert [(shift.place, shift.worse, shift.rebases) for shift in found.shifts] == [(20, True, False)]


def test_an_accepted_level_is_the_one_to_hold() -> None:
    row = changed(nights([200.0] * 20 + [250.0] * 12), 21, accepted=True)
    found = trend([P95], LOST, row)
    assert found.verdicts[0].state is NightState.UNCHANGED
    assert set(found.baseline["p95"]) <= set(range(20, 31))
    assert found.shifts[0].accepted


def test_acceptance_holds_before_the_change_point_is_sure() -> None:
    row = changed(nights([200.0] * 20 + [250.0, 250.0]), 20, accepted=True)
    assert state(row) is NightState.NO_BASELINE  # one night at the accepted level is none yet


def test_acceptance_of_one_metric_s_change_leaves_the_others_their_baseline() -> None:
    other = Metric("other", "ms", 0.0)
    row = [
        msgspec.structs.replace(night, values={**night.values, "other": 50 * math.exp(0.02 * math.sin(place))})
        for place, night in enumerate(nights([200.0] * 20 + [250.0, 250.0]))
    ]
    found = trend([P95, other], LOST, changed(row, 20, accepted=True))
    assert {one.metric.name: one.state for one in found.verdicts} == {"p95": NightState.NO_BASELINE, "other": NightState.UNCHANGED}


def test_a_better_level_needs_nobody_s_word_and_losing_it_is_a_regression() -> None:
    row = nights([250.0] * 20 + [200.0] * 12)
    found = trend([P95], LOST, row)
    assert min(found.baseline["p95"]) >= 20
    assert found.verdicts[0].state is NightState.UNCHANGED
    assert state(nights([250.0] * 20 + [200.0] * 12 + [250.0])) is NightState.REGRESSION


def test_a_mended_regression_finds_its_old_baseline() -> None:
    assert state(nights([200.0] * 20 + [250.0] * 6 + [200.0])) is NightState.UNCHANGED


@pytest.mark.parametrize("why", [{"fit": "load.duration 1 h → 8 h"}, {"verdict": "FAIL"}, {"believable": False}])
def test_nights_that_are_not_good_are_no_baseline(why: dict) -> None:
    row = nights([200.0] * 15)
    for place in range(9):
        changed(row, place, **why)
    found = trend([P95], LOST, row)
    assert found.verdicts[0].state is NightState.NO_BASELINE
    assert found.baseline["p95"] == list(range(9, 14))


def test_a_night_that_cannot_be_compared_is_no_change_of_level() -> None:
    row = nights([200.0] * 12 + [900.0] * 6 + [200.0] * 12)
    for place in range(12, 18):
        changed(row, place, fit="another scenario")
    assert trend([P95], LOST, row).shifts == []


def test_counts_are_held_against_the_most_of_the_good_nights_or_what_was_accepted() -> None:
    row = changed(nights([200.0] * 15), 3, counts={"lost": 2})
    changed(row, 14, counts={"lost": 2})
    assert not trend([P95], LOST, row).counts[0].worse
    changed(row, 14, counts={"lost": 3})
    assert trend([P95], LOST, row).counts[0].worse
    changed(row, 10, accepted=True, counts={"lost": 3})
    assert not trend([P95], LOST, row).counts[0].worse


def test_a_series_that_moves_in_two_of_three_nights_is_as_bad_as_a_leak() -> None:
    row = nights([200.0] * 5)
    changed(row, 2, changes=("STEP rss", "SUSPECT heap"))
    changed(row, 4, changes=("SUSPECT rss",))
    assert trend([P95], LOST, row).repeated == ["rss"]
    changed(row, 2, changes=())
    assert trend([P95], LOST, row).repeated == []


def test_no_night_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="no night"):
        trend([P95], LOST, [])


def test_a_loss_that_is_only_partly_taken_back_is_still_a_regression() -> None:
    found = trend([P95], LOST, nights([200.0] * 20 + [260.0] * 10 + [225.0] * 12))
    assert found.verdicts[0].state is NightState.REGRESSION
    assert max(found.baseline["p95"]) < 20


def test_a_second_loss_after_a_gain_is_no_baseline_either() -> None:
    found = trend([P95], LOST, nights([200.0] * 20 + [260.0] * 10 + [190.0] * 12 + [206.0] * 12, sd=0.01))
    assert set(found.baseline["p95"]) <= set(range(30, 42))


def test_a_lasting_loss_too_small_for_one_night_fails_by_itself_and_acceptance_ends_it() -> None:
    row = nights([200.0] * 20 + [215.0] * 12, sd=0.03, seed=5)
    found = trend([P95], LOST, row)
    assert found.verdicts[0].state is NightState.UNCHANGED
    (standing,) = found.standing
    assert standing.place == pytest.approx(20, abs=1)
    assert standing.worse
    assert standing.after == pytest.approx(215, rel=0.03)
    assert trend([P95], LOST, changed(row, 25, accepted=True)).standing == []
    assert trend([P95], LOST, nights([200.0] * 20 + [260.0] * 8 + [200.0] * 4)).standing == []


@pytest.mark.parametrize("sd", [0.02, 0.03])
def test_a_creep_of_one_percent_a_night_is_found_and_stays_found(sd: float) -> None:
    row = nights([200.0 * 1.01 ** max(0, place - 20) for place in range(90)], sd=sd)
    bad = []
    for end in range(45, 91, 5):
        found = trend([P95], LOST, row[:end])
        bad.append(found.verdicts[0].state is NightState.REGRESSION or bool(found.standing))
    assert all(bad)


def test_better_nights_are_no_noise_in_the_baseline_before_their_level_is_settled() -> None:
    for length in range(1, 8):
        found = trend([P95], LOST, nights([250.0] * 20 + [200.0] * length))
        assert found.verdicts[0].state is NightState.IMPROVED, length
        assert max(found.baseline["p95"]) < 20


def test_tonight_can_be_accepted_itself() -> None:
    row = nights([200.0] * 20 + [250.0])
    changed(row, 20, accepted=True, counts={"lost": 4})
    found = trend([P95], LOST, row)
    assert found.verdicts[0].state is NightState.NO_BASELINE
    assert not found.counts[0].worse


def test_acceptance_after_a_mended_loss_does_not_bring_the_loss_back() -> None:
    row = changed(nights([200.0] * 20 + [250.0] * 10 + [200.0] * 6), 33, accepted=True)
    found = trend([P95], LOST, row)
    assert not set(found.baseline["p95"]) & set(range(20, 30))


def test_a_count_that_grew_stays_worse_for_as_long_as_nobody_accepts_it() -> None:
    row = nights([200.0] * 25)
    for place in range(15, 25):
        changed(row, place, counts={"lost": 1})
    for end in range(16, 26):
        assert trend([P95], LOST, row[:end]).counts[0].worse, end
    changed(row, 16, accepted=True)
    assert not trend([P95], LOST, row).counts[0].worse


def test_what_was_accepted_for_another_load_is_not_accepted_here() -> None:
    row = changed(nights([200.0] * 15), 3, counts={"lost": 9}, accepted=True, fit="guests.count 1000 → 100")
    assert trend([P95], LOST, changed(row, 14, counts={"lost": 1})).counts[0].worse


def test_nights_open_only_by_their_own_trends_are_a_baseline() -> None:
    row = nights([200.0] * 15)
    for place in range(12):
        changed(row, place, verdict="UNKNOWN")
    assert state(row) is NightState.UNCHANGED
