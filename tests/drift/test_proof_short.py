"""The proofs of the leak judge and of the change points, in short."""

from __future__ import annotations

from harness.drift.model import State
from tests.drift.shapes import CLEAN, SHAPES
from tests.proofs import drift

SEEDS = range(1, 26)


def test_the_table_holds_in_every_row() -> None:
    found = drift.table(SEEDS)
    assert drift.missed(found) == []
    assert found["leak +10 %"].get("LEAK", 0) >= 23
    assert sum(found[name].get("LEAK", 0) for name in CLEAN) <= 2


def test_a_night_of_clean_series_is_clean() -> None:
    assert drift.false_nights(range(1, 5)) <= 1


def test_planted_steps_are_found_within_two_intervals() -> None:
    for kind, found in drift.steps(SEEDS).items():
        assert found["within two intervals"] >= len(SEEDS) - 1, kind


def test_flat_series_have_no_change_points() -> None:
    assert drift.false_points(SEEDS) <= 1


def test_the_proof_can_fail() -> None:
    rows = {row: {"STABLE": 200} for row in SHAPES} | {"leak +10 %": {"LEAK": 180, "SUSPECT": 20}}
    found = drift.leak_judge([{"rows": rows, "nights": 40, "nights with a false leak": 9}])
    assert not found["ok"]
    assert "leak +3 %: right in 0 of 200" in found["unequal"]
    assert found["nights with a false leak"] == [9, 40]
    lost = {kind: {"series": 200, "within two intervals": 197} for kind in drift.PLANTED}
    assert not drift.change_judge([{"rows": lost, "flat": 400, "flat with a point": 0}])["ok"]
    worse = {"leak +10 %": {"LEAK": 150, "SUSPECT": 50}, "flat, white": {"LEAK": 12, "STABLE": 188}}
    assert drift.missed(worse) == ["leak +10 %: right in 150 of 200", "flat, white: LEAK in 12 of 200"]
    assert drift.right("warm-up, tau 10 %", State.SUSPECT)
    assert not drift.right("one step +5 %", State.LEAK)
