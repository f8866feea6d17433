"""Error budget: how much is spent, when nothing is left, and the alarms of two windows."""

from __future__ import annotations

import pytest

from harness.drift.budget import BurnWindow, burn

STEPS, STEP_S, NIGHT = 960, 30.0, 28_800.0


def test_a_rate_of_one_spends_it_exactly() -> None:
    found = burn([1] * STEPS, [1000] * STEPS, allowed=0.001, step_s=STEP_S, planned_s=NIGHT)
    assert found.rate == pytest.approx(1)
    assert found.spent == pytest.approx(1)
    assert found.alarms == ()


def test_a_first_hour_is_held_against_the_whole_night() -> None:
    found = burn([2] * 120, [1000] * 120, allowed=0.001, step_s=STEP_S, planned_s=NIGHT, what="replies")
    assert found.rate == pytest.approx(2)
    assert found.spent == pytest.approx(0.25)
    assert found.exhausted_s == pytest.approx(4 * 3600)
    assert "25 % of the error budget for 8 h is spent after 1 h" in found.sentence
    assert "nothing is left from 4:00:00 on" in found.sentence


def test_a_bad_spell_raises_the_alarm_while_it_lasts() -> None:
    bad = [30 if 400 <= n < 440 else 0 for n in range(STEPS)]
    found = burn(bad, [1000] * STEPS, allowed=0.001, step_s=STEP_S, planned_s=NIGHT, start_s=100.0)
    assert found.spent == pytest.approx(40 * 30 / 960)
    assert found.exhausted_s == 100 + 432 * STEP_S
    assert {alarm.window_s for alarm in found.alarms} == {600.0, 3600.0}
    for alarm in found.alarms:
        assert 100 + 400 * STEP_S <= alarm.begin_s < alarm.end_s <= 100 + 450 * STEP_S
    assert found.series[399] == 0
    assert found.series[-1] == found.spent


def test_windows_are_settings() -> None:
    bad = [1 if 400 <= n < 410 else 0 for n in range(STEPS)]
    usual = burn(bad, [1000] * STEPS, allowed=0.001, step_s=STEP_S, planned_s=NIGHT)
    tight = burn(bad, [1000] * STEPS, allowed=0.001, step_s=STEP_S, planned_s=NIGHT, windows=[BurnWindow(1 / 96, 0.01)])
    assert (usual.alarms, len(tight.alarms)) == ((), 1)


def test_nothing_asked_and_wrong_settings() -> None:
    assert burn([None], [None], allowed=0.1, step_s=1, planned_s=1).spent is None
    with pytest.raises(ValueError, match="between 0 and 1"):
        burn([0], [1], allowed=0, step_s=1, planned_s=1)
