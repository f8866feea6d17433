"""`guestswarm capacity` with steps that are made up: what it asks for, writes down, tells, and how it ends."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.cli import run
from harness.cli.main import main
from harness.config import Scenario
from harness.errors import ExitCode, UnreachableError
from harness.report.jobs.capacity_step import MeasuredStep
from harness.runs.folder import create_run, find_run, read_manifest
from tests.report.jobs.searches import RULE, world

CAPACITY = '[capacity]\nfirst = 40\nmost = 640\nstep_min = "10s"\nramp_per_s = 20\n'


class Target:
    """A target that keeps its rule up to `limit`; remembers the steps that were driven."""

    def __init__(self, limit: float = 130.0) -> None:
        self.limit = limit
        self.healthy_to = 1e9
        self.driven: list[Scenario] = []
        self.seen: list[dict[str, Any]] = []
        self.before: Callable[[int, Any], object] = lambda number, signals: None
        self.ended = "finished"
        self.beyond: list[str] = []

    def drive(self, scenario: Scenario, runs: Path, terminal: Any, signals: Any, **more: Any) -> tuple[Path, run.Driven]:
        self.driven.append(scenario)
        self.seen.append(more)
        self.before(len(self.driven), signals)
        folder = create_run(runs, scenario.name, {"scenario": scenario.resolved(), "started_utc": "", **(more["more"] or {})})
        return folder, run.Driven(0, {})

    def measure(self, folder: Path, load: float, **_: Any) -> MeasuredStep:
        result = world(load, self.limit, healthy=load <= self.healthy_to)
        named = Path(folder).name
        return MeasuredStep(replace_reference(result, named), self.ended, 99.0, self.beyond if load > self.limit else [])


def replace_reference(result: Any, name: str) -> Any:
    import msgspec

    return msgspec.structs.replace(result, reference=name)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Target:
    found = Target()
    monkeypatch.setattr("harness.cli.run.drive", found.drive)
    monkeypatch.setattr("harness.report.jobs.capacity_step.measure_step", found.measure)
    monkeypatch.setattr("harness.cli.capacity._Search._page", lambda self, name: True)
    return found


@pytest.fixture
def scenario(scenario: Path) -> Path:
    scenario.write_text(scenario.read_text() + f'[slo]\nrules = ["{RULE}"]\n' + CAPACITY)
    return scenario


def summary() -> dict[str, Any]:
    value: dict[str, Any] = json.loads((find_run(Path("reports"), "latest") / "summary.json").read_text())
    return value


def test_it_finds_the_limit_and_says_it(target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", str(scenario), "--json", "--plan", "100"]) == ExitCode.PASS
    out, err = capfd.readouterr()
    answer = json.loads(out)
    assert answer == summary()
    assert 123 <= answer["low"] <= 130 <= answer["high"] + 4
    assert (answer["unit"], answer["first_broken_slo"], answer["verdict"]) == ("guests", RULE, "PASS")
    assert answer["head_room"]["plan"] == 100
    assert answer["reasons"][0]["text"].endswith("to spare.")
    assert "step 1: explore, 40 guests, 2s ramp and " in err
    assert "40 guests held  reply.response p95 " in err
    folder = find_run(Path("reports"), "latest")
    assert len((folder / "steps.jsonl").read_text().splitlines()) == len(answer["steps"]) == len(target.driven)
    assert all((folder / "steps" / step["run"] / "manifest.json").is_file() for step in answer["steps"])
    assert not list((folder / "steps").glob("*/.reserve"))  # 8 MiB of each step
    assert read_manifest(folder)["ended"] == "finished"


def test_each_step_is_a_run_of_its_own(target: Target, scenario: Path) -> None:
    main(["capacity", str(scenario), "--quiet"])
    steps = summary()["steps"]
    assert [one.guests.count for one in target.driven] == [step["load"] for step in steps]
    assert all(one.load.ramp == one.guests.count / 20 * 10**9 for one in target.driven)  # as many a second, whatever the load
    assert all(one.load.duration >= 10**10 for one in target.driven)
    assert all(one.load.interval <= one.load.duration / 99 for one in target.driven)
    assert len({one.seed for one in target.driven}) == len(steps)  # repeats must not be copies
    confirm = [one for one, step in zip(target.driven, steps, strict=True) if step["kind"] == "confirm"]
    assert confirm[0].load.duration >= 3 * 10**10
    more = target.seen[0]["more"]["step"]
    assert (more["number"], more["load"], more["kind"]) == (1, 40.0, "explore")
    assert target.seen[0]["calibrations"] == Path("reports")


def test_a_generator_that_is_the_limit_is_never_an_answer(
    target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target.healthy_to = 100
    assert main(["capacity", str(scenario), "--quiet"]) == ExitCode.UNKNOWN
    assert "At least 80 guests; beyond that the generator is the limit." in capfd.readouterr().out
    assert (summary()["generator_bound"], summary()["estimate"]) == (True, None)
    assert [one.guests.count for one in target.driven][-2:] == [160, 160]  # repeated once


def test_beyond_the_calibrated_load_is_said(target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target.beyond = ["160 guests, calibrated to 150"]
    main(["capacity", str(scenario)])
    out, err = capfd.readouterr()
    assert "beyond the calibrated load of this machine: 160 guests, calibrated to 150" in err
    assert "beyond the calibrated load of this machine (160 guests, calibrated to 150" in out


@pytest.mark.parametrize(
    ("number", "code", "ended"),
    [(signal.SIGINT, ExitCode.INTERRUPTED, "interrupted"), (signal.SIGTERM, ExitCode.TERMINATED, "terminated")],
)
def test_interrupted_it_reports_what_is_known(
    target: Target, scenario: Path, number: int, code: int, ended: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def interrupt(step: int, signals: Any) -> None:
        if step == 3:
            signal.raise_signal(number)

    target.before = interrupt
    assert main(["capacity", str(scenario), "--quiet"]) == code
    assert "after 2 steps. Until then: at least 80 guests." in capfd.readouterr().out
    assert len(target.driven) == 3
    assert len(summary()["steps"]) == 2
    assert read_manifest(find_run(Path("reports"), "latest"))["ended"] == ended


def test_a_step_that_cannot_be_carried_out_loses_nothing(target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(step: int, signals: Any) -> None:
        if step == 4:
            raise UnreachableError("nobody listens", where="https://api.example.com")

    target.before = fail
    assert main(["capacity", str(scenario), "--quiet"]) == ExitCode.UNREACHABLE
    out, err = capfd.readouterr()
    assert "https://api.example.com: nobody listens" in err
    assert "step 4 could not be carried out: nobody listens. Until then: " in out
    assert len(summary()["steps"]) == 3


def test_the_first_step_fails_like_a_run(target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fail(step: int, signals: Any) -> None:
        raise UnreachableError("nobody listens", where="https://api.example.com")

    target.before = fail
    assert main(["capacity", str(scenario), "--quiet"]) == ExitCode.UNREACHABLE
    assert "nobody listens" in capfd.readouterr().err
    assert read_manifest(find_run(Path("reports"), "latest"))["ended"] == "stopped"


@pytest.mark.parametrize(("ended", "said"), [("simulator_lost", "the simulator has ended"), ("killed", "it was killed")])
def test_a_step_that_did_not_come_to_its_end_does_not_count(
    target: Target, scenario: Path, ended: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    def lose(step: int, signals: Any) -> None:
        target.ended = ended if step == 3 else "finished"

    target.before = lose
    assert main(["capacity", str(scenario), "--quiet"]) == ExitCode.INTERNAL
    out, err = capfd.readouterr()
    assert f"step 3 (160 guests) did not come to its end: {said}" in err
    assert "Until then: at least 80 guests." in out
    assert f"exit {int(ExitCode.INTERNAL)}" in out.splitlines()
    assert summary()["exit_code"] == ExitCode.INTERNAL


def test_within_ends_the_search_in_time(target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", str(scenario), "--within", "1s"]) == ExitCode.UNKNOWN
    out, err = capfd.readouterr()
    assert "would end later than 1s after the start" in err
    assert len(target.driven) == 1  # one is always run
    assert "Until then: at least 40 guests." in out


REAL = """
[target]
domain = "cloud.example"
org = "tenant"
client_id = "tester"
credentials = "env:SECRET"
[authorisation]
hosts = ["*.cloud.example"]
ticket = "CHG-1"
window = "00:00-23:59"
timezone = "UTC"
max_guests = {guests}
max_requests_per_s = 1000
"""


def test_a_target_elsewhere_is_held_to_its_window(
    target: Target, scenario: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(scenario.read_text() + REAL.format(guests=1000))
    monkeypatch.setenv("SECRET", "s3cret")
    left = iter([timedelta(hours=1)] * 2 + [timedelta(seconds=20)] * 9)
    monkeypatch.setattr("harness.config.scenario.window_left", lambda approval, now: timedelta(hours=1))
    monkeypatch.setattr("harness.config.window_left", lambda approval, now: next(left))
    assert main(["capacity", str(scenario)]) == ExitCode.UNKNOWN
    out, err = capfd.readouterr()
    assert len(target.driven) == 2
    assert "the window 00:00-23:59 (UTC) is open for 20 s more" in err
    assert "is open for 20 s more. Until then: at least 80 guests." in out


def test_a_target_elsewhere_is_held_to_its_ceiling(
    target: Target, scenario: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scenario.write_text(scenario.read_text() + REAL.format(guests=100))
    monkeypatch.setenv("SECRET", "s3cret")
    assert main(["capacity", str(scenario)]) == ExitCode.NOT_AUTHORISED
    assert "up to 640 guests are asked for, the approval allows 100" in capfd.readouterr().err
    assert not target.driven


def test_a_dry_run_says_what_would_be_done(target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["capacity", str(scenario), "--dry-run", "--json", "--within", "2h", "--most", "320"]) == ExitCode.PASS
    plan = json.loads(capfd.readouterr().out)
    assert plan["command"] == "capacity"
    assert plan["guests"] == 320
    assert plan["longest_s"] == 7200
    assert plan["allowed"] is True
    found = plan["capacity"]
    assert (found["first"], found["most"], found["ended_by"], found["within_s"]) == (40.0, 320.0, "within", 7200)
    assert found["steps_s"] > 7200
    assert not target.driven
    assert not Path("reports").exists()


@pytest.mark.parametrize("limit", [1.0, 30.0, 130.0, 311.0, 1e9])
def test_no_search_takes_longer_than_its_dry_run_says(
    target: Target, scenario: Path, limit: float, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each step at the length that it was driven with; the plan binds, not the time that is allowed."""
    short = [str(scenario), "--set", "capacity.step_max=20s", "--set", "capacity.extra=0", "--within", "8h", "--most", "320"]
    assert main(["capacity", *short, "--dry-run", "--json"]) == ExitCode.PASS
    plan = json.loads(capfd.readouterr().out)
    assert plan["capacity"]["ended_by"] == "steps"
    assert plan["longest_s"] >= plan["capacity"]["steps_s"]
    target.limit = limit
    main(["capacity", *short, "--quiet"])
    driven = [one.load for one in target.driven]
    assert 0 < len(driven) <= plan["capacity"]["steps"]
    took = sum(load.ramp + load.duration + load.settle + load.drain for load in driven) + sum(
        one.loss_wait_ns for one in target.driven
    )
    assert took / 1e9 <= plan["longest_s"]


def test_without_a_rule_there_is_nothing_to_look_for(target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scenario.write_text(scenario.read_text().replace(f'rules = ["{RULE}"]', "rules = []"))
    assert main(["capacity", str(scenario)]) == ExitCode.USAGE
    assert "there is no rule" in capfd.readouterr().err
    scenario.write_text(scenario.read_text().replace("rules = []", 'rules = ["messages.rate > 5 /s"]'))
    assert main(["capacity", str(scenario)]) == ExitCode.USAGE
    assert "there is no rule that load could break" in capfd.readouterr().err
    assert not target.driven


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--first", "700"], "most (640) cannot be less than first (700)"),
        (["--most", "20"], "most (20) cannot be less than first (40)"),
        (["--plan", "0"], "'0' is not a number above 0"),
        (["--within", "soon"], "--within: 'soon' is not a duration"),
    ],
)
def test_what_cannot_be_asked_for(
    target: Target, scenario: Path, capfd: pytest.CaptureFixture[str], flags: list[str], said: str
) -> None:
    assert main(["capacity", str(scenario), *flags]) == ExitCode.USAGE
    assert said in capfd.readouterr().err
    assert not Path("reports").exists()


def test_a_plan_of_part_of_a_guest_is_one_more(target: Target, scenario: Path) -> None:
    main(["capacity", str(scenario), "--quiet", "--plan", "99.5"])
    assert summary()["head_room"]["plan"] == 100


def test_a_plan_is_tried_however_far_it_is(target: Target, scenario: Path) -> None:
    """Unless somebody says how far to go: whether it fits is not known before."""
    scenario.write_text(scenario.read_text().replace("most = 640\n", ""))
    target.limit = 5000
    assert main(["capacity", str(scenario), "--quiet", "--plan", "3000"]) == ExitCode.PASS
    assert max(found.guests.count or 0 for found in target.driven) == 3000
    assert summary()["head_room"]["verdict"] == "PASS"
    assert main(["capacity", str(scenario), "--quiet", "--plan", "3000", "--most", "640"]) == ExitCode.UNKNOWN


def test_open_model_loads_are_arrivals(target: Target, scenario: Path) -> None:
    text = scenario.read_text().replace("count = 3", 'arrivals_per_s = 2.0\nmax_guests = 500\nsession_length = "6s"')
    scenario.write_text(text.replace("first = 40\nmost = 640\n", "first = 1.5\nmost = 50\n"))
    target.limit = 12.0
    main(["capacity", str(scenario), "--quiet"])
    assert summary()["unit"] == "arrivals/s"
    assert 11 <= summary()["low"] <= summary()["estimate"] <= summary()["high"] <= 13
    assert target.driven[0].guests.arrivals_per_s == 1.5
    assert target.driven[0].load.ramp == 6 * 10**9  # until as many leave as come
    assert replace(target.driven[0]).guests.max_guests == 500


def test_arrivals_that_find_no_place_are_no_limit_of_the_target(
    target: Target, scenario: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text = scenario.read_text().replace("count = 3", 'arrivals_per_s = 2.0\nmax_guests = 100\nsession_length = "10s"')
    scenario.write_text(text.replace("first = 40\nmost = 640\n", ""))
    assert main(["capacity", str(scenario), "--most", "20"]) == ExitCode.USAGE
    assert "100 guests who stay for 10s each leave no place for more than 7.42 arrivals/s" in capfd.readouterr().err
    target.limit = 1e6
    assert main(["capacity", str(scenario), "--quiet", "--json"]) == ExitCode.UNKNOWN
    assert 7 < json.loads(capfd.readouterr().out)["low"] < 8
