"""`guestswarm soak`: what is decided before the start. The run itself is in tests/e2e."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.cli.soak_plan import make_plan, read_instant
from harness.cli.soak_run import next_session, put_truth_aside
from harness.config import Scenario, load_scenario
from harness.errors import ExitCode, RunFolderError, ScenarioError, UsageError
from tests.report.soak_kit import SCENARIO, Night, write_night

NOW = datetime(2026, 11, 21, 22, 15, tzinfo=UTC)
PLENTY = 1 << 40


def scenario(**overrides: Any) -> Scenario:
    return load_scenario(SCENARIO, {key.replace("__", "."): value for key, value in overrides.items()})


def plan(length: str | None = None, until: str | None = None, free: int = PLENTY, **overrides: Any) -> Any:
    return make_plan(scenario(**overrides), length=length, until=until, now=NOW, free=free)


def test_short_and_long_loads_differ_in_interval_and_rows() -> None:
    short, long = plan("5min"), plan("8h")
    assert (short.interval_ns, short.rows, short.judged) == (10**9, "all", False)
    assert (long.interval_ns, long.rows, long.judged) == (10 * 10**9, "anomalies", True)
    assert plan("5min", soak__interval="2s").interval_ns == 2 * 10**9
    assert plan("8h", soak__rows="all").rows == "all"


def test_trends_are_planned_by_the_planned_length() -> None:
    assert plan("6h").judged
    assert not plan("5h").judged
    assert plan("2h", soak__least="2h").judged


def test_until() -> None:
    assert read_instant("06:30", NOW, None).astimezone(UTC) > NOW
    found = plan(until="2026-11-22T06:15+00:00")
    assert found.duration_ns == (8 * 3600 - 10) * 10**9
    assert found.until == "2026-11-22T06:15:00+00:00"
    with pytest.raises(UsageError, match="before the guests would all be there"):
        plan(until="2026-11-21T22:15:05+00:00")
    with pytest.raises(UsageError, match="is no instant"):
        plan(until="tomorrow")
    with pytest.raises(UsageError, match="not both"):
        plan("5min", "06:30")
    with pytest.raises(UsageError, match="--for"):
        plan("soon")


def test_until_counts_in_the_zone_of_the_approval() -> None:
    zone = __import__("zoneinfo").ZoneInfo("Asia/Tokyo")
    assert read_instant("07:30", NOW, zone).astimezone(UTC) == datetime(2026, 11, 21, 22, 30, tzinfo=UTC)
    assert read_instant("07:00", NOW, zone).astimezone(UTC) == datetime(2026, 11, 22, 22, 0, tzinfo=UTC)


def test_the_disk_is_looked_at_before_the_start() -> None:
    assert plan("8h", free=200 << 20).rows == "anomalies"
    with pytest.raises(RunFolderError, match=r"about .* are needed .* an hour\), and 1.0 MiB are free"):
        plan("8h", free=1 << 20)
    with pytest.raises(RunFolderError, match=r"\[soak\] disk allows 1.0 MiB"):
        plan("8h", soak__disk="1MiB")
    tight = plan("50min", soak__disk="20MiB")
    assert tight.rows == "anomalies"
    assert "only anomalies are kept" in tight.remarks[0]
    with pytest.raises(RunFolderError, match="would not fit"):
        plan("50min", soak__disk="20MiB", soak__rows="all")
    assert plan("8h").overrides()["report.max_bytes"] == "1GiB"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("soak.floor", {"target_memry": "1MiB"}, "is no resource"),
        ("soak.floor", {"target_memory": 5}, "needs a size"),
        ("soak.limit", {"latency": "1MiB"}, "needs a duration"),
        ("soak.interval", "60s", "must lie between"),
        ("soak.duration", "0s", "must be above 0s"),
    ],
)
def test_a_wrong_table_is_refused(key: str, value: Any, said: str) -> None:
    with pytest.raises(ScenarioError) as error:
        load_scenario(SCENARIO, {key: value})
    assert said in str(error.value.problems if hasattr(error.value, "problems") else error.value)


def test_amounts_reach_the_manifest(tmp_path: Path) -> None:
    more = {"soak.floor": {"target_memory": "2MiB", "latency": "7ms"}, "soak.limit": {"target_memory": "1GiB"}}
    folder = write_night(tmp_path / "n", Night(hours=0.01, interval_s=1.0, more={**more, "soak.uptime": {"target_memory": "7d"}}))
    resources = json.loads((folder / "manifest.json").read_text())["job"]["resources"]
    assert resources["target_memory"] | {"floor": 2 << 20, "limit": 1 << 30, "uptime_s": 604800.0} == resources["target_memory"]
    assert resources["latency"]["floor"] == 7.0


def test_a_dry_run_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = tmp_path / "runs"
    assert main(["soak", str(SCENARIO), "--for", "8h", "--dry-run", "--json", "--runs", str(runs)]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["command"] == "soak"
    assert value["trends_judged"] is True
    assert value["rows"] == "anomalies"
    assert value["longest_s"] > 8 * 3600
    assert main(["soak", str(SCENARIO), "--for", "8h", "--dry-run", "--runs", str(runs)]) == 0
    assert "longest duration  8 h 1 min" in capsys.readouterr().out
    assert not runs.exists()


def test_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["soak"]) == ExitCode.USAGE
    assert "--resume" in capsys.readouterr().err
    assert main(["soak", str(SCENARIO), "--resume", "latest", "--runs", str(tmp_path)]) == ExitCode.USAGE
    assert main(["soak", "--resume", "latest", "--runs", str(tmp_path)]) == ExitCode.USAGE
    assert "there is no run yet" in capsys.readouterr().err


@pytest.mark.parametrize("more", [["--set", "guests.count=5"], ["--simulator", "other.toml"], ["--tls"], ["--seed", "3"]])
def test_a_soak_is_resumed_as_it_began(tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert main(["soak", "--resume", "latest", *more, "--runs", str(tmp_path)]) == ExitCode.USAGE
    assert f"{more[0]}: an interrupted soak goes on as it began" in capsys.readouterr().err


def test_a_soak_of_another_start_of_the_machine_is_not_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_night(tmp_path / "n", Night(hours=0.01, interval_s=1.0, ended="interrupted"))
    assert main(["soak", "--resume", str(folder), "--runs", str(tmp_path)]) == ExitCode.USAGE
    assert "started anew since" in capsys.readouterr().err


def test_outside_the_window_no_soak_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hour = (datetime.now(UTC).hour + 2) % 24
    path = tmp_path / "real.toml"
    path.write_text(
        f"""
[scenario]
name = "real"
dialect = "webchat"
[target]
domain = "example.com"
queue = "q"
client_id = "c"
credentials = "env:NO_SUCH_SECRET"
[guests]
count = 2
[authorisation]
hosts = ["*.example.com"]
ticket = "CHG-1"
window = "{hour:02}:00-{hour:02}:30"
timezone = "UTC"
max_guests = 10
max_requests_per_s = 10
"""
    )
    code = main(["soak", str(path), "--for", "5min", "--runs", str(tmp_path / "runs")])
    assert code in (ExitCode.NOT_AUTHORISED, ExitCode.USAGE), capsys.readouterr().err
    assert "is shut now" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_further_session_begins_behind_all_numbers(tmp_path: Path) -> None:
    folder = write_night(tmp_path / "n", Night(hours=0.05, interval_s=1.0, segment_bytes=40_000, ended="interrupted"))
    found = next_session(folder, scenario(), 2)
    assert (found.number, found.first_interval) == (2, 180)
    assert found.first_slot > 60 + 60
    assert found.first_segment > 2
    assert next_session(folder, scenario(), 3).first_slot > found.first_slot


def test_truth_of_a_simulator_that_is_gone_is_put_aside(tmp_path: Path) -> None:
    for text in ("a", "b"):
        (tmp_path / "truth.jsonl").write_text(text)
        put_truth_aside(tmp_path)
    put_truth_aside(tmp_path)
    assert [(tmp_path / f"truth.{n}.jsonl").read_text() for n in (1, 2)] == ["a", "b"]
    assert not (tmp_path / "truth.jsonl").exists()
