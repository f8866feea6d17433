"""The leak judge: shapes, series of every kind, gaps, limits, and many series at once."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.drift.leak import block_values, judge, judge_all, judge_series, shape
from harness.drift.model import LeakRule, Series, SeriesVerdict, State, worst
from tests.drift.shapes import POINTS, SHAPES, STEP_S, series

HOUR = 3600.0


def memory(values: Any, **more: Any) -> SeriesVerdict:
    return judge(Series("process memory", values, STEP_S, "bytes", "minimum", **more))


def test_a_leak_says_how_much_and_when_the_limit_is_met() -> None:
    values = [100e6 + 10e6 * i / POINTS for i in range(POINTS)]
    found = memory(values, limit=150e6)
    assert found.state is State.LEAK
    assert found.slope_per_h == pytest.approx(1.25e6, rel=1e-6)
    assert found.change == pytest.approx(8.5e6, rel=1e-6)
    assert (found.begin_s, found.end_s) == (144 * STEP_S, 960 * STEP_S)
    # 100 MB + 1.25 MB an hour: 150 MB after 40 hours.
    assert found.limit_at_s == pytest.approx(40 * HOUR, rel=0.01)
    assert found.sentence.startswith("Process memory grew by 8.50 MB (")
    assert "1.25 MB an hour" in found.sentence
    assert "its budget is 2.11 MB" in found.sentence
    assert "its limit of 150 MB is met 1 d 1" in found.sentence
    assert found.note.startswith("meets 150 MB after 1 d 1")


def test_a_fall_of_what_should_stay_is_a_leak_downwards() -> None:
    values = [200 - 20 * i / POINTS for i in range(POINTS)]
    down = judge(Series("throughput", values, STEP_S, "/s", bad="down", limit=100))
    assert down.state is State.LEAK
    assert down.slope_per_h == pytest.approx(-2.5)
    assert down.limit_at_s == pytest.approx(40 * HOUR, rel=0.01)
    assert down.sentence.startswith("Throughput fell by 17")
    assert judge(Series("throughput", values, STEP_S, "/s")).state is State.STABLE


def test_a_step_is_placed_in_time() -> None:
    noise = random.Random(4)
    found = memory([100e6 + 20e6 * (i >= 500) + noise.gauss(0, 1e6) for i in range(POINTS)], start_s=60.0)
    assert found.state is State.STEP
    assert found.step is not None
    assert found.step.index == 500
    assert found.step.at_s == 60 + 500 * STEP_S
    assert found.step.before == pytest.approx(100e6, rel=0.01)
    assert "jumped from 100 MB to 120 MB at 4:11:00" in found.sentence


def test_a_short_run_is_not_judged_and_says_so() -> None:
    found = memory([1e8] * 10)
    assert (found.state, found.note) == (State.NOT_JUDGED, "not judged: 5 min < 6 h")
    assert found.p is None
    assert judge(Series("x", [1.0] * 400, 60.0)).note == "not judged: one value every 1 min, needs one every 30 s"


@pytest.mark.parametrize("level", [0.0, 7.0, 1e-9, 1e18, -3.0])
def test_a_constant_series_is_stable(level: float) -> None:
    found = judge_series([level] * POINTS, step_s=STEP_S)
    assert (found.state, found.change, found.trend, found.big) == (State.STABLE, 0, False, False)


def test_integer_counts_with_ties() -> None:
    noise = random.Random(2)
    still = [noise.choice((12, 12, 13)) for _ in range(POINTS)]
    assert judge_series(still, step_s=STEP_S, floor=3, name="open files").state is State.STABLE
    leak = [value + i // 96 for i, value in enumerate(still)]
    assert judge_series(leak, step_s=STEP_S, floor=3, name="open files").state is State.LEAK


def test_a_floor_lets_small_changes_pass() -> None:
    values = [1.0 + i / POINTS for i in range(POINTS)]
    assert judge_series(values, step_s=STEP_S).state is State.LEAK
    assert judge_series(values, step_s=STEP_S, floor=2.0).state is State.STABLE


def test_what_can_be_borne_is_the_budget_where_limit_and_uptime_are_known() -> None:
    values = [100e6 + 10e6 * i / POINTS for i in range(POINTS)]
    day = memory(values, limit=150e6, uptime_s=24 * HOUR)  # 40 MB left: 11 MB may go in the judged part
    month = memory(values, limit=150e6, uptime_s=720 * HOUR)
    assert (day.state, month.state) == (State.STABLE, State.LEAK)
    assert day.budget == pytest.approx(40e6 * 0.85 * 8 / 24, rel=0.01)
    over = memory(values, limit=90e6, uptime_s=24 * HOUR)
    assert (over.state, over.budget) == (State.LEAK, 0)
    assert "It is past its limit of 90 MB already." in over.sentence


def test_gaps_are_left_out_and_too_many_are_said() -> None:
    values: list[float | None] = list(series("leak +10 %", 1))
    holed = [None if i % 3 == 0 else value for i, value in enumerate(values)]
    assert judge_series(holed, step_s=STEP_S).state is State.LEAK
    lost = [None if 200 <= i < 260 else value for i, value in enumerate(values)]
    found = judge_series(lost, step_s=STEP_S)
    assert found.state is State.LEAK
    assert None in found.blocks
    mostly = [None if i < 600 else value for i, value in enumerate(values)]
    found = judge_series(mostly, step_s=STEP_S)
    assert (found.state, found.note) == (State.NOT_JUDGED, "not judged: 13 of 24 blocks have too many gaps")
    assert judge_series([None] * POINTS, step_s=STEP_S).note == "not judged: no values"


def test_a_block_is_the_minimum_or_the_median() -> None:
    x = np.array([3.0, 1.0, 2.0, 9.0, 7.0, 8.0, math.nan, math.nan, 5.0])
    assert block_values(x, 3, "minimum") == [1.0, 7.0, None]
    assert block_values(x, 3, "median", 0.3) == [2.0, 8.0, 5.0]


def test_levelling_off_is_suspect_and_a_straight_line_a_leak() -> None:
    assert shape([1 - 2.0**-i for i in range(24)])[0] in (State.SUSPECT, State.STEP)
    assert shape([math.sqrt(i) if i < 8 else 2.8 + 0.05 * (i - 8) for i in range(24)])[0] is State.SUSPECT
    assert shape([float(i) for i in range(24)])[0] is State.LEAK
    assert shape([float(i >= 10) for i in range(24)]) == (State.STEP, 10)


def test_pre_whitening_where_blocks_hang_together() -> None:
    found = judge_series(series("flat, AR 0.98", 3), step_s=STEP_S)
    assert found.whitened == (found.r1 is not None and found.r1 > 1.96 / math.sqrt(24))
    assert not judge_series(series("flat, white", 3), step_s=STEP_S).whitened


def test_many_series_need_more_to_be_called_a_leak() -> None:
    rule = LeakRule(share=0.001)
    weak = next(
        values
        for seed in range(300)
        if 0.002 < (judge_series(values := series("leak +3 %", seed), step_s=STEP_S, keep="minimum", rule=rule).p or 1) < 0.01
    )
    clean = [Series(str(seed), series("flat, white", seed), STEP_S, keep="minimum") for seed in range(40)]
    alone = judge(Series("weak", weak, STEP_S, keep="minimum"), rule)
    among = judge_all([*clean, Series("weak", weak, STEP_S, keep="minimum")], rule)[-1]
    assert alone.moved
    assert (among.p, among.big) == (alone.p, True)
    assert among.q is not None
    assert among.q > 0.05
    assert (among.trend, among.state) == (False, State.INCONCLUSIVE)
    # A leak beyond doubt is found among any number.
    sure = judge_all([*clean, Series("sure", series("leak +10 %", 1), STEP_S)], rule)
    assert sure[-1].state is State.LEAK


def test_significance_without_size_and_size_without_significance_are_no_leak() -> None:
    tiny = [100 + 0.5 * i / POINTS for i in range(POINTS)]
    found = judge_series(tiny, step_s=STEP_S)
    assert (found.trend, found.big, found.state) == (True, False, State.STABLE)
    rule = LeakRule(p=1e-12)
    large = judge_series(series("leak +10 %", 1), step_s=STEP_S, rule=rule)
    assert (large.trend, large.big, large.state) == (False, True, State.INCONCLUSIVE)
    assert "may be an accident" in large.sentence


def test_short_series_stay_out_of_the_many() -> None:
    found = judge_all([Series("short", [1.0] * 5, STEP_S), Series("leak", series("leak +10 %", 2), STEP_S)])
    assert [one.state for one in found] == [State.NOT_JUDGED, State.LEAK]
    assert found[1].q == found[1].p
    gravest = worst(found)
    assert gravest is not None
    assert gravest.name == "leak"
    assert worst([]) is None


@pytest.mark.parametrize("wrong", [{"blocks": 3}, {"drop": 1.0}, {"p": 0.0}, {"confidence": 1.0}])
def test_settings_that_judge_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"blocks|share|between"):
        LeakRule(**wrong)


def test_half_of_the_blocks_may_be_gaps_if_the_settings_allow_it() -> None:
    rule = LeakRule(known_blocks=0.4)
    values = [None if i < 560 else 100.0 + i / 20 for i in range(POINTS)]
    assert judge_series(values, step_s=STEP_S, rule=rule).state is State.LEAK


value = st.none() | st.floats(width=64) | st.integers(-5, 5).map(float)


@settings(max_examples=60, deadline=None)
@given(st.lists(value, min_size=24, max_size=60), st.booleans(), st.none() | st.floats(-1e9, 1e9))
def test_any_series_gives_finite_figures_or_none(values: list[float | None], down: bool, limit: float | None) -> None:
    rule = LeakRule(least_s=0.0)
    found = judge(Series("x", values, STEP_S, bad="down" if down else "up", limit=limit, uptime_s=HOUR), rule)
    assert found.sentence
    json.dumps(msgspec.to_builtins(found), allow_nan=False)


def test_equal_series_have_equal_answers_in_any_scale() -> None:
    values = series("leak +10 %", 5)
    small, large = judge_series(values, step_s=STEP_S), judge_series([1e12 * v for v in values], step_s=STEP_S)
    assert (small.state, small.p) == (large.state, large.p)
    assert large.change == pytest.approx(1e12 * (small.change or 0))


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_can_be_made(name: str) -> None:
    assert len(series(name, 1)) == POINTS
