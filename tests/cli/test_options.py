"""What all commands with a scenario share: `--simulator FILE`, `--dry-run`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.cli.plan import Plan, objections, peak_per_s, run_plan
from harness.config import load_scenario

SCENARIO = """
[scenario]
name = "s"
dialect = "talk"
[guests]
count = 100
think_time = "10s"
typing = 0.0
attachments = 0.0
session_length = "1000s"
between = "0s"
[load]
ramp = "10s"
duration = "60s"
settle = "1s"
loss_wait = "1min"
drain = "9s"
"""
APPROVED = (
    SCENARIO
    + """
[target]
domain = "example.invalid"
queue = "q"
skills = ["a"]
client_id = "me"
credentials = "env:NOT_READ_HERE"
[authorisation]
hosts = ["*.example.invalid"]
ticket = "T-1"
window = "23:00-05:00"
timezone = "UTC"
max_guests = 100
max_requests_per_s = 1000
"""
)


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "s.toml"
    path.write_text(SCENARIO)
    return path


@pytest.mark.parametrize("flag", ["--simulator", "--include"])
def test_a_file_that_is_no_table_is_refused_by_name(
    tmp_path: Path, scenario: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[")
    assert main(["run", str(scenario), flag, str(path), "--dry-run"]) == 2
    assert f"{path}: cannot be read" in capsys.readouterr().err


def test_what_the_file_says_is_judged_by_the_simulator(tmp_path: Path, scenario: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.toml"
    other.write_text("tokenlife = 3\n")
    assert main(["run", str(scenario), "--simulator", str(other), "--dry-run"]) == 2
    assert "tokenlife" in capsys.readouterr().err


def test_a_dry_run_says_how_long_and_how_much_and_makes_nothing(
    tmp_path: Path, scenario: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    assert main(["run", str(scenario), "--dry-run", "--json", "--runs", str(runs)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["longest_s"] == 10 + 60 + 1 + 60 + 9
    assert told["guests"] == 100
    assert told["allowed"] is True
    assert not runs.exists()


def test_the_peak_counts_those_who_speak_and_those_who_come(scenario: Path) -> None:
    read = load_scenario(scenario, {}, environ={})
    # 100 guests each 10 s, 10 arrivals/s with six requests each, one leaver each 10 s who comes anew
    assert peak_per_s(read, 100, 10 * 10**9) == pytest.approx(10 + 60 + 0.6)
    assert peak_per_s(read, 200, 10 * 10**9) == pytest.approx(2 * peak_per_s(read, 100, 10 * 10**9))


@pytest.fixture
def approved(tmp_path: Path):
    path = tmp_path / "approved.toml"
    path.write_text(APPROVED)
    return load_scenario(path, {}, environ={})


INSIDE = datetime(2026, 1, 5, 23, 30, tzinfo=UTC)


def test_within_the_approval_nothing_is_held_against_it(approved) -> None:
    plan = run_plan("run", approved, simulated=False)
    assert objections(plan, approved, simulated=False, now=INSIDE) == []
    assert objections(plan, approved, simulated=True, now=INSIDE) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"guests": 101}, "101 guests"),
        ({"peak_per_s": 1000.5}, "1,001 requests/s"),
        ({"longest_ns": 6 * 3600 * 10**9}, "drained at its close"),
    ],
)
def test_each_ceiling_is_held_against_the_plan(approved, change: dict, said: str) -> None:
    base = {"command": "run", "rows": [], "longest_ns": 10**9, "guests": 1, "peak_per_s": 1.0}
    (found,) = objections(Plan(**{**base, **change}), approved, simulated=False, now=INSIDE)
    assert said in found


def test_outside_the_window_it_is_refused(approved) -> None:
    plan = run_plan("run", approved, simulated=False)
    (found,) = objections(plan, approved, simulated=False, now=datetime(2026, 1, 5, 12, 0, tzinfo=UTC))
    assert "shut" in found
