"""`guestswarm calibrate` with runs that are made up: what it asks for, writes down, tells, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.calibration.outcome import Count, Step
from harness.calibration.timings import Joined
from harness.cli.main import main
from harness.runs.calibration import CALIBRATION, cite

MS = 1_000_000
Documents = list[dict[str, Any]]


def rows(late_ms: int) -> list[Joined]:
    """A guest on its schedule whom the server answers in 50 ms, and who is that much late to notice."""
    found = []
    for seq in range(1, 301):
        due = seq * 1000 * MS
        found.append(Joined("echo", "1-1", seq, due, due, due + (50 + late_ms) * MS, due, due + 50 * MS))
    return found


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Documents]:
    """A machine that holds so many guests; answers the scenarios that it was given."""

    def make(limit: int) -> Documents:
        asked: Documents = []

        def drive(document: dict[str, Any], runs: Path, signals: Any) -> Any:
            asked.append(document)
            folder = runs / f"run-{len(asked)}"
            folder.mkdir(parents=True)
            return SimpleNamespace(
                folder=folder,
                model=SimpleNamespace(name=document["scenario"]["name"]),
                join=SimpleNamespace(rows=rows(1), unknown={}),
                simulator={"shell": {"uptime_s": 10, "cpu_s": 4}},
                settle_ns=301_000 * MS,
            )

        def judge(model: Any, guests: int, simulator: Any) -> Step:
            over = ["loop busy"] if guests > limit else []
            return Step(guests, not over, guests * 0.5, over, {"send delay p99": 3.0, "loop busy": 0.5}, 0.4)

        monkeypatch.setattr("harness.cli.driving.drive_measured", drive)
        monkeypatch.setattr("harness.calibration.outcome.judge_step", judge)
        monkeypatch.setattr("harness.calibration.outcome.counts_of", lambda model: {"lost.agent": Count(9, 8, 8, False)})
        return asked

    return make


def test_it_finds_the_limit_measures_there_and_writes_it_down(
    machine: Callable[[int], Documents], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = machine(130)
    assert main(["calibrate", "--runs", str(tmp_path), "--mix", "webchat=1"]) == 0
    record = json.loads((tmp_path / CALIBRATION).read_text())
    assert 115 <= record["guests"] <= 130
    assert record["messages_per_s"] == record["guests"] * 0.5
    assert (record["limited_by"], record["mix"], record["period"]) == ("loop busy", {"webchat": 1.0}, "1s")
    after = [document for document in asked if not document["scenario"]["name"].startswith("step")]
    assert [document["scenario"]["name"] for document in after] == ["fixed", "bimodal", "heavy", "standstill", "faults"]
    assert {document["guests"]["count"] for document in after} == {record["guests"]}
    p50 = record["errors"]["fixed"]["echo"]["response"]["p50"]
    assert p50["truth_ms"] == 50
    assert p50["error_ms"] == pytest.approx(1, abs=0.05)
    assert record["worst"] == pytest.approx(0.02, abs=0.001)
    assert record["schedules"]["standstill"]["off_grid"] == 0
    assert record["anomalies"]["faults"]["lost.agent"] == {"truth": 9, "low": 8, "high": 8, "equal": False, "error": 1}
    assert list(tmp_path.iterdir()) == [tmp_path / CALIBRATION]  # the runs of the steps are gone
    cited = cite(tmp_path)
    assert cited is not None
    assert (cited["guests"], cited["differs"]) == (record["guests"], [])
    said = capsys.readouterr()
    assert f"{record['guests']} guests" in said.out
    assert "too much (loop busy)" in said.err


def test_as_json(machine: Callable[[int], Documents], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine(10_000)
    assert main(["calibrate", "--quick", "--quiet", "--json", "--most", "60", "--runs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    record = json.loads(said.out)
    assert (record["guests"], record["limited_by"], record["too_much"]) == (60, "--most", None)
    assert said.err == ""


def test_a_machine_that_can_do_nothing_gets_no_calibration(
    machine: Callable[[int], Documents], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine(0)
    assert main(["calibrate", "--quick", "--first", "4", "--runs", str(tmp_path)]) == 3
    assert not (tmp_path / CALIBRATION).exists()
    assert "nothing was written" in capsys.readouterr().err


def test_guests_off_their_schedule_give_no_errors(machine: Callable[[int], Documents], tmp_path: Path) -> None:
    machine(10)
    assert main(["calibrate", "--quick", "--quiet", "--first", "5", "--period", "2s", "--runs", str(tmp_path)]) == 0
    record = json.loads((tmp_path / CALIBRATION).read_text())
    assert (record["errors"], record["worst"]) == ({}, None)
    assert record["schedules"]["fixed"]["off_grid"] == 150


@pytest.mark.parametrize("words", [["--mix", "webchat=x"], ["--period", "5"], ["--hold", "0s"], ["--first", "0"]])
def test_what_cannot_be_read_is_refused(words: list[str], tmp_path: Path) -> None:
    assert main(["calibrate", "--runs", str(tmp_path), *words]) == 2
