"""`guestswarm ratelimit` with real processes: its answer is what the simulator was told; an interrupted one says what it knows."""

from __future__ import annotations

import json
import os
import signal
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.kit import ROOT, SIMULATOR, Run, call, until

pytestmark = pytest.mark.e2e
SHIPPED = ROOT / "locustfiles" / "scenarios" / "ratelimit.toml"
ALIASES = {"sliding_window": "sliding_log"}

SHORT = """
[scenario]
name = "short"
dialect = "webchat"
[guests]
count = 10
[dialects.webchat]
reconnect_base = "50ms"
reconnect_jitter = "50ms"
reconnect_cap = "300ms"
[ratelimit]
guests = 30
endpoints = ["POST /oauth/token"]
suspected_window = "1s"
credentials = [{ client_id = "second" }]
addresses = ["127.0.0.1", "127.0.0.2"]
verify_n = 40
over_n = 40
[simulator]
limits = [{ endpoint = "POST /oauth/token", kind = "token_bucket", rate = "8/s", burst = 10, scope = "client" }]
"""
TARGET = """[target]
credentials = "env:GUESTSWARM_TEST_SET"
client_id = "app"
domain = "chat.example.com"
"""


def rate(text: str) -> float:
    number, _, unit = text.partition("/")
    return float(number) / {"s": 1, "min": 60}[unit]


def compare(limit: dict[str, Any], truth: dict[str, Any]) -> None:
    """One answer with what the simulator was told."""
    kind = ALIASES.get(truth["kind"], truth["kind"])
    assert (limit["kind"], limit["scope"]) == (kind, truth["scope"])
    assert limit["confirmed"]
    if kind == "token_bucket":
        low, high = limit["intervals"]["rate_per_s"]
        assert low * 0.999 <= rate(truth["rate"]) <= high * 1.001
        assert limit["rate_per_s"] == pytest.approx(rate(truth["rate"]), rel=0.02)
        assert limit["burst"] == pytest.approx(truth["burst"], abs=1)
    else:
        assert limit["limit"] == truth["limit"]
        assert f"{limit['window_s']:g}s" == truth["window"]


def answers(path: Path, runs: Path, timeout_s: float) -> dict[str, Any]:
    done = call("ratelimit", path, "--json", "--quiet", "--runs", runs, timeout_s=timeout_s)
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def test_one_limit_from_the_command_line_to_the_settings_that_keep_to_it(tmp_path: Path) -> None:
    path, runs = tmp_path / "short.toml", tmp_path / "runs"
    path.write_text(SHORT)
    summary = answers(path, runs, 150)
    (truth,) = tomllib.loads(SHORT)["simulator"]["limits"]
    (limit,) = summary["limits"]
    compare(limit, truth)
    assert limit["recommendation"]["rate_per_s"] >= 0.95 * limit["rate_per_s"]
    assert limit["verification"]["at"]["refused"] == 0
    folder = (runs / "latest").resolve()
    assert {file.name for file in folder.iterdir()} >= {"report.html", "report.md", "junit.xml", "summary.json", "probes.jsonl"}
    again = call("report", folder, "--json", "--runs", runs)
    assert json.loads(again.stdout) == summary
    refused = {}
    for name, include in (("plain", ()), ("included", ("--include", folder / "recommended.toml"))):
        rush = ["--set", "guests.count=30", "--set", "load.duration=2s", "--set", "load.settle=0s"]
        rush += ["--set", "load.loss_wait=25s"] if include else ["--set", "load.ramp=0s", "--set", "load.loss_wait=6s"]
        done = call("run", path, *include, *rush, "--json", "--quiet", "--runs", runs, timeout_s=120)
        assert done.returncode in (0, 3), done.stderr
        refused[name] = sum(1 for line in (runs / "latest" / "truth.jsonl").read_text().splitlines() if '"refused"' in line)
    assert refused["plain"] > 0
    assert refused["included"] == 0, refused


def test_a_dry_run_says_what_it_may_cost_and_sends_nothing(tmp_path: Path) -> None:
    path, runs = tmp_path / "short.toml", tmp_path / "runs"
    path.write_text(SHORT)
    done = call("ratelimit", path, "--dry-run", "--json", "--runs", runs)
    plan = json.loads(done.stdout)
    assert plan["probes"] == ["webchat: POST /oauth/token"]
    assert plan["peak_requests_per_s"] == 100
    assert plan["longest_s"] > 0
    assert not runs.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--endpoint", "POST /elsewhere"], "no dialect in use has"), (["--set", "ratelimit.max_per_s=0"], "must be above 0")],
)
def test_what_cannot_be_probed_is_said_before_anything_is_sent(tmp_path: Path, more: list[str], said: str) -> None:
    path, runs = tmp_path / "short.toml", tmp_path / "runs"
    path.write_text(SHORT)
    done = call("ratelimit", path, *more, "--runs", runs)
    assert done.returncode == 2
    assert said in done.stderr
    assert not runs.exists()


@pytest.mark.parametrize(
    ("moment", "number", "code", "word", "known"),
    [
        ('"kind":"begin"', signal.SIGTERM, 143, "terminated", False),
        ('"kind":"request"', signal.SIGINT, 130, "interrupted", False),
        ('"part":"at"', signal.SIGTERM, 143, "terminated", True),
    ],
)
def test_whoever_stops_it_is_told_what_is_known(
    tmp_path: Path, moment: str, number: int, code: int, word: str, known: bool
) -> None:
    path = tmp_path / "short.toml"
    path.write_text(SHORT)
    endless = ("--set", "ratelimit.verify_n=100000")  # it cannot end before it is told to
    with Run(tmp_path, *endless, scenario=path, command="ratelimit") as run:

        def there() -> bool:
            assert run.process.poll() is None, run.said
            return any(moment in file.read_text() for file in run.runs.glob("2*/probes.jsonl"))

        until(there, 120, lambda: f"{moment}\n{run.said}")
        run.process.send_signal(number)
        assert run.end(120) == code, run.said
        run.assert_clean_words()
        assert "UNKNOWN" in run.out
        summary = run.summary
        assert (summary["complete"], summary["exit_code"]) == (False, code)
        assert run.manifest["ended"] == word
        (limit,) = summary["limits"]
        assert limit["endpoint"] == "POST /oauth/token"
        if known:  # the advice is there as soon as the limit is
            assert (limit["kind"], limit["scope"]) == ("token_bucket", "client")
            assert limit["recommendation"]["rate_per_s"] >= 0.95 * limit["rate_per_s"]
            assert (run.folder / "recommended.toml").is_file()


def test_a_simulator_that_is_lost_is_unknown_and_no_signal(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text(SHORT)
    with Run(tmp_path, "--set", "ratelimit.verify_n=100000", scenario=path, command="ratelimit") as run:
        probes = lambda: [file.read_text() for file in run.runs.glob("2*/probes.jsonl")]  # noqa: E731
        until(lambda: any('"kind":"request"' in text for text in probes()), 60, lambda: run.said)
        os.kill(run.pid(SIMULATOR), signal.SIGKILL)
        assert run.end(60) == 3, run.said
        run.assert_clean_words()
        assert run.manifest["ended"] == "simulator_lost"
        assert run.codes[0] == "incomplete"
        assert "the simulator has ended" in run.out


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({'"127.0.0.1"': '"192.0.2.7"'}, 2, "ratelimit.addresses[0]: 192.0.2.7 is not an address of this machine"),
        ({'client_id = "second"': 'client_id = "second", secret = "written-out"'}, 2, "is not a reference to a secret"),
        ({"[simulator]": TARGET, "limits =": "# limits ="}, 5, "the scenario has no [authorisation]"),
    ],
)
def test_what_cannot_go_well_is_said_in_a_line(tmp_path: Path, changes: dict[str, str], code: int, said: str) -> None:
    text = SHORT
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path, runs = tmp_path / "short.toml", tmp_path / "runs"
    path.write_text(text)
    done = call("ratelimit", path, "--runs", runs, env={"GUESTSWARM_TEST_SET": "never-shown"})
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert "never-shown" not in done.stderr + done.stdout


@pytest.mark.prove
def test_the_shipped_scenario_finds_the_simulators_truth_and_proves_its_advice(tmp_path: Path) -> None:
    began = time.monotonic()
    summary = answers(SHIPPED, tmp_path / "runs", 600)
    assert time.monotonic() - began < 600
    truths = {one["endpoint"]: one for one in tomllib.loads(SHIPPED.read_text())["simulator"]["limits"]}
    assert len(truths) == 3
    assert {limit["endpoint"] for limit in summary["limits"]} == set(truths)
    for limit in summary["limits"]:
        compare(limit, truths[limit["endpoint"]])
        assert limit["verification"]["at"]["n"] >= 300
        assert limit["verification"]["at"]["refused"] == 0
        assert limit["verification"]["at"]["ok"]
        assert limit["verification"]["over"]["ok"]
    assert (summary["verdict"], summary["exit_code"]) == ("PASS", 0)
