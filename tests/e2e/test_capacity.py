"""`guestswarm capacity` with real processes, in short: what a search leaves behind, and how it ends when it is told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.errors import ExitCode
from harness.report.jobs.capacity_summary import capacity_schema
from harness.runs.folder import list_runs, read_manifest
from tests.e2e.kit import ROOT, TINY, call, guestswarm, processes, until

pytestmark = pytest.mark.e2e
SEARCH = """
[slo]
rules = ["reply p95 < 1 s"]
[capacity]
first = 4
most = 8
ramp_per_s = 20
step_min = "2s"
step_max = "3s"
samples = 100
cycles = 1
repeats = 1
needed = 1
[health]                      # what a search does is tested here, on whatever machine: not how quick that one is
send_delay_p99 = "2s"
bracket = "100%"
loop_busy = "100%"
achieved_rate = "50%"
arrivals = "50%"
"""


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "search.toml"
    path.write_text(
        TINY.read_text().replace('reply = "150ms±50%"', 'reply = "50ms"').replace('"400ms±50%"', '"100ms±50%"') + SEARCH
    )
    return path


def folder_of(runs: Path) -> Path:
    return list_runs(runs)[0].path


def test_a_search_that_meets_no_limit_says_so_and_can_be_reported_again(tmp_path: Path, scenario: Path) -> None:
    runs = tmp_path / "runs"
    done = call("capacity", scenario, "--runs", runs, "--json", "--set", "capacity.confirm=false", timeout_s=120)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == ExitCode.UNKNOWN, done.stderr
    jsonschema.validate(answer, capacity_schema())
    assert (answer["low"], answer["estimate"], answer["high"], answer["unit"]) == (8, None, None, "guests"), done.stderr
    folder = folder_of(runs)
    assert {step["load"] for step in answer["steps"]} == {4, 8}
    for step in answer["steps"]:
        assert step["generator_healthy"], step
        assert read_manifest(folder / "steps" / step["run"])["ended"] == "finished"
        assert step["little"]["ratio"] == pytest.approx(1, abs=0.1)
    assert (folder / "steps" / answer["steps"][-1]["run"] / "report.html").is_file()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".html", ".json", ".md", ".xml")}
    again = call("report", folder)
    assert again.returncode == ExitCode.UNKNOWN
    assert "At least 8 guests: no more was tried, and nothing broke." in again.stdout
    assert before == {path.name: path.read_bytes() for path in folder.iterdir() if path.name in before}
    assert not processes(runs)


def test_told_to_end_it_drains_and_reports_what_is_known(tmp_path: Path, scenario: Path) -> None:
    runs, err = tmp_path / "runs", tmp_path / "stderr"
    argv = guestswarm("capacity", scenario, "--runs", runs, "--set", "capacity.step_min=5s", "--set", "capacity.step_max=5s")
    with err.open("wb") as words:
        process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=words, text=True)
        try:
            until(lambda: "step 2: explore" in err.read_text() and err.read_text().count("phase load\n") == 2, 60, err.read_text)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        finally:
            for pid in [*processes(runs), *([process.pid] if process.poll() is None else [])]:
                os.kill(pid, signal.SIGKILL)
    assert process.returncode == ExitCode.INTERRUPTED, err.read_text()
    assert "Stopped by Ctrl-C after 1 step. Until then: at least 4 guests." in out
    folder = folder_of(runs)
    assert read_manifest(folder)["ended"] == "interrupted"
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["verdict"], summary["exit_code"], len(summary["steps"])) == ("UNKNOWN", 130, 1)
