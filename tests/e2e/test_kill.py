"""`kill -9` of each process of a run and of all: no orphan, no packet, and a report from what is on disk."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.report.fold import fold, journals
from harness.runs.simulated import SimulatorControl
from tests.e2e.kit import GONE_S, LOAD, PARENT, REPORT, SIMULATOR, Run, Simulator, call, scenario_for, until

pytestmark = pytest.mark.e2e
LONG = ("-t", "60s")


@pytest.mark.parametrize("whom", ["parent", "all"])
def test_nothing_outlives_the_parent_and_the_report_can_be_rebuilt(tmp_path: Path, whom: str) -> None:
    with Run(tmp_path, *LONG) as run:
        run.until_loaded()
        alive = run.alive()
        assert [sum(f"-m {role}" in argv for argv in alive.values()) for role in (PARENT, LOAD, SIMULATOR)] == [1, 1, 1]
        killed_ns = time.monotonic_ns()
        for pid in [run.process.pid] if whom == "parent" else alive:
            os.kill(pid, signal.SIGKILL)
        assert run.end(2) == -signal.SIGKILL
        run.assert_gone()
        rebuilt = call("report", run.folder, "--runs", run.runs)
        assert rebuilt.returncode == ExitCode.UNKNOWN, rebuilt
        assert rebuilt.stderr == ""
        assert "UNKNOWN" in rebuilt.stdout
        # A load child whose parent alone is gone may have the time to close its journal, and to say why, before it ends.
        ways = ["(killed). Up to 1 s is missing."]
        if whom == "parent":
            ways += ["Whoever had started the run was gone", "before it could say how it ended; its journal is whole."]
        assert any(way in rebuilt.stdout for way in ways), rebuilt.stdout
        summary = run.summary
        assert (summary["verdict"], summary["exit_code"], summary["complete"]) == ("UNKNOWN", 3, False)
        assert summary["reasons"][0]["code"] == "incomplete"
        assert {row["equal"] for row in summary["truth"]} == {None}
        assert summary["guests"]["failed"] is None
        assert summary["measures"]["ack"]["ok"]["service"]["n"] > 0
        measured = fold(journals(run.folder))
        assert killed_ns - measured.last_ns < measured.interval_ns + 500_000_000  # the interval that was open, and no more
        first = (run.folder / "summary.json").read_bytes()
        call("report", run.folder, "--runs", run.runs)
        assert (run.folder / "summary.json").read_bytes() == first


def test_a_target_hears_nothing_more_two_seconds_after_the_parent_was_killed(tmp_path: Path) -> None:
    with Simulator(tmp_path / "sim", env={"GUESTSWARM_SIM_SECRET": "s3cret"}) as simulator:
        control = SimulatorControl(f"http://127.0.0.1:{simulator.ready['control']}", simulator.ready["token"])
        urls = "".join(f'{base} = "http://127.0.0.1:{simulator.port}"\n' for base in ("api", "login", "webchat", "files"))
        target = f'queue = "support"\nclient_id = "guestswarm"\ncredentials = "env:S3"\n[target.urls]\n{urls}'
        with Run(tmp_path / "run", *LONG, scenario=scenario_for(tmp_path, target=target), env={"S3": "s3cret"}) as run:
            run.until_loaded()
            assert control.health()["shell"]["connections"] > 0
            os.kill(run.process.pid, signal.SIGKILL)
            until(lambda: not run.alive(), GONE_S, "processes end")
            until(lambda: control.health()["shell"]["connections"] == 0, GONE_S, "connections end")
            heard = control.counts()
            time.sleep(0.3)
            after = control.counts()
            assert after.get("messages.sent", after) == heard.get("messages.sent", heard)


def test_a_killed_load_child_is_noticed_and_judged(tmp_path: Path) -> None:
    with Run(tmp_path, *LONG) as run:
        run.until_loaded()
        os.kill(run.pid(LOAD), signal.SIGKILL)
        assert run.end(20) == ExitCode.UNKNOWN, run.said
        run.assert_gone()
        run.assert_clean_words()
        assert "The load child ended with status -9" in run.err
        assert run.manifest["ended"] == "killed"
        assert not run.summary["complete"]
        assert run.codes[0] == "incomplete"
        assert "The load process was killed at 0:0" in run.out
        assert {row["equal"] for row in run.summary["truth"]} == {None}


def test_a_killed_simulator_ends_the_run_in_good_order(tmp_path: Path) -> None:
    with Run(tmp_path, *LONG, "--set", "load.loss_wait=30s") as run:
        run.until_loaded()
        os.kill(run.pid(SIMULATOR), signal.SIGKILL)
        assert run.end(15) == ExitCode.UNKNOWN, run.said  # nobody is there to wait thirty seconds for
        run.assert_gone()
        run.assert_clean_words()
        assert "The simulator has ended" in run.err
        assert run.manifest["ended"] == "simulator_lost"
        assert "The simulator ended before its time" in run.out
        assert run.codes[0] == "simulator_lost"
        assert {row["equal"] for row in run.summary["truth"]} == {None}
        measured = fold(journals(run.folder))
        assert not measured.damage.any  # the load child had time to close its journal


def test_a_report_that_is_killed_leaves_the_verdict_unknown(tmp_path: Path) -> None:
    with Run(tmp_path, "-t", "500ms") as run:
        os.kill(run.pid(REPORT), signal.SIGKILL)
        assert run.end(5) == ExitCode.UNKNOWN, run.said
        assert f"guestswarm report {run.folder}" in run.err
        assert not run.alive()
        assert call("report", run.folder).returncode == ExitCode.PASS  # nothing of the run itself is missing
        assert run.summary["complete"]


def test_a_report_dies_with_the_parent(tmp_path: Path) -> None:
    with Run(tmp_path, "-t", "500ms") as run:
        report = run.pid(REPORT)
        os.kill(report, signal.SIGSTOP)  # so that it cannot have finished by itself
        os.kill(run.process.pid, signal.SIGKILL)
        until(lambda: report not in run.alive(), GONE_S, "the report ends")
        run.assert_gone()


def test_a_run_killed_before_its_first_interval(tmp_path: Path) -> None:
    with Run(tmp_path, *LONG) as run:
        run.pid(LOAD)
        for pid in run.alive():
            os.kill(pid, signal.SIGKILL)
        run.end(2)
        until(lambda: not run.alive(), GONE_S, "processes end")
        rebuilt = call("report", run.folder, "--runs", run.runs, "--json")
        assert rebuilt.returncode == ExitCode.UNKNOWN, rebuilt
        summary = json.loads(rebuilt.stdout)
        assert not summary["complete"]
        assert "Nothing was journalled." in summary["reasons"][0]["text"]
