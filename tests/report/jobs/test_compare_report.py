"""`guestswarm compare A B`: figures, refusals, correctness, and journals that are gone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.cli.main import main
from tests.report.jobs.night_folders import journal, night


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    made = night(tmp_path, 1), night(tmp_path, 2)
    journal(made[0], seed=1)
    journal(made[1], seed=2, slower=1.2)
    return made


def compare(runs: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict]:
    code = main(["compare", "0001", "0002", "--runs", str(runs), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_ratio_is_that_of_the_runs_and_its_interval_holds_it(
    tmp_path: Path, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = compare(tmp_path, capsys)
    assert (code, told["verdict"]) == (0, "PASS")
    assert "with two nights this says nothing about a change" in told["reasons"][0]["text"]
    (echo,) = told["measures"]
    assert (echo["n_a"], echo["n_b"]) == (6000, 6000)  # full load only: 10 s to 610 s
    for quantile in echo["quantiles"]:
        assert quantile["low"] <= 1.2 <= quantile["high"]
        assert quantile["ratio"] == pytest.approx(1.2, rel=0.1)
    assert echo["a12"] == pytest.approx(0.60, abs=0.02)  # Phi(ln 1.2 / (0.5 sqrt 2))
    assert echo["shift_ms"] > 5


def test_a_count_that_grew_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night(tmp_path, 1, anomalies={"lost": 3})
    night(tmp_path, 2, anomalies={"lost": 4, "unexpected": 0})
    code, told = compare(tmp_path, capsys)
    assert (code, told["reasons"][0]["text"]) == (1, "B has 4 lost, A has 3. Any increase fails.")


def test_what_matters_refuses_and_what_does_not_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night(tmp_path, 1)
    night(tmp_path, 2, changes={"scenario.guests.count": 7, "scenario.scenario.seed": 5})
    code, told = compare(tmp_path, capsys)
    assert (code, told["verdict"], told["measures"]) == (3, "UNKNOWN", [])
    assert [(one["key"], one["matters"]) for one in told["differences"]] == [("guests.count", True), ("scenario.seed", False)]


def test_without_journals_only_correctness_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night(tmp_path, 1)
    night(tmp_path, 2)
    code, told = compare(tmp_path, capsys)
    assert (code, told["verdict"]) == (3, "UNKNOWN")
    assert told["measures"][0]["quantiles"][0]["ratio"] is None
    assert "Of A and B no journal can be read" in told["reasons"][0]["text"]


def test_a_run_that_is_not_whole_passes_for_nothing(
    tmp_path: Path, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    told = json.loads((pair[1] / "summary.json").read_text()) | {"complete": False}
    (pair[1] / "summary.json").write_text(json.dumps(told))
    code, told = compare(tmp_path, capsys)
    assert (code, told["reasons"][0]["code"]) == (3, "not_whole")


def test_a_run_against_itself_and_a_search_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night(tmp_path, 1)
    night(tmp_path, 2, changes={"job": {"kind": "ratelimit"}})
    assert main(["compare", "0001", "0001", "--runs", str(tmp_path)]) == 2
    assert main(["compare", "0001", "0002", "--runs", str(tmp_path)]) == 2
    assert "ratelimit" in capsys.readouterr().err


def test_a_run_without_a_summary_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    night(tmp_path, 1)
    (night(tmp_path, 2) / "summary.json").unlink()
    assert main(["compare", "0001", "0002", "--runs", str(tmp_path)]) != 0
    assert "no summary" in capsys.readouterr().err


def test_the_page_draws_both_tails_and_is_the_same_again(
    tmp_path: Path, pair: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", "0001", "0002", "--runs", str(tmp_path)]) == 0
    (page,) = (tmp_path / "compare").glob("*/report.html")
    first = page.read_bytes()
    assert b'aria-label="echo.response: p99' in first
    assert main(["compare", "0001", "0002", "--runs", str(tmp_path)]) == 0
    assert page.read_bytes() == first
