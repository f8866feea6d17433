from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli import run
from harness.cli.main import main
from harness.errors import ExitCode
from harness.runs import simulated
from harness.runs.folder import find_run, read_manifest

HERE = Path(__file__).parent
SIMULATOR = str(HERE.parent / "runs" / "fake_simulator.py")


class Stage:
    """The children of a run, played by others."""

    def __init__(self, patch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self._patch, self._root = patch, tmp_path / "reports"
        self.children()

    def children(self, load: str = "well", report: int | str = 0, simulator: str = "well") -> None:
        self._patch.setattr(simulated, "COMMAND", (sys.executable, SIMULATOR, simulator))
        self._patch.setattr(run, "LOAD_COMMAND", (sys.executable, str(HERE / "fake_child.py"), load))
        self._patch.setattr(run, "REPORT_COMMAND", (sys.executable, str(HERE / "fake_report.py"), str(report)))

    @property
    def folder(self) -> Path:
        return find_run(self._root, "latest")

    @property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.folder)

    def seen(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "seen.json").read_text())
        return value


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    return Stage(monkeypatch, tmp_path)


def test_a_run_ends_with_the_code_of_its_report(stage: Stage, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for code in (ExitCode.PASS, ExitCode.FAIL, ExitCode.UNKNOWN):
        stage.children(report=code)
        assert main(["run", str(scenario)]) == code
    out, err = capfd.readouterr()
    assert json.loads(out.splitlines()[-1])["ended"] == "finished"
    assert "Quick · talk · simulated · 3 guests" in err
    assert "00:00 phase load" in err
    assert "guests=3/3 sent=2/s echo_p50=77ms echo_p99=3710ms failed=1 lost=0-2 generator=ok left=0:0" in err


def test_the_folder_says_what_was_run_and_holds_no_secret(stage: Stage, scenario: Path) -> None:
    assert main(["run", str(scenario), "-u", "7", "-t", "4s", "-r", "2", "--seed", "9", "--set", "dialects.talk.attempts=3"]) == 0
    manifest = stage.manifest
    assert manifest["simulated"] is True
    assert manifest["guests_planned"] == 7
    assert manifest["planned"] == {"ramp_ns": 3_500_000_000, "duration_ns": 4_000_000_000}
    assert manifest["scenario"]["dialects"]["talk"]["attempts"] == 3
    assert manifest["seed"] == 9
    order = stage.seen()["order"]
    assert order["simulator"] == {"port": 4711, "control": "http://127.0.0.1:4712", "ca": ""}
    assert json.loads(Path(order["scenario"]).read_text()) == manifest["scenario"]
    assert stage.seen()["secret"] is True
    assert stage.seen()["token"] == "t0ken"
    for name in ("manifest.json", "load.json", "scenario.json", "simulator.json"):
        assert "t0ken" not in (stage.folder / name).read_text()
        assert "secret" not in (stage.folder / name).read_text().replace("credentials", "")


def test_the_folder_says_that_the_target_spoke_tls(stage: Stage, scenario: Path) -> None:
    """Two runs of which only one did are not held against each other."""
    for more, wanted in (((), None), (("--tls",), True)):
        main(["run", str(scenario), *more, "--quiet"])
        assert read_manifest(find_run(Path("reports"), "latest")).get("tls") is wanted


def test_json_and_color_are_passed_to_the_report(stage: Stage, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    main(["run", str(scenario), "--json", "--quiet"])
    out, err = capfd.readouterr()
    assert json.loads(out)["args"] == ["--runs", "reports", "--json", "--no-color"]
    assert err == ""


def test_a_child_that_cannot_begin_says_why(stage: Stage, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stage.children(load="unreachable")
    assert main(["run", str(scenario)]) == ExitCode.UNREACHABLE
    assert "guestswarm: https://api.example.com: nobody listens\n  is it up?" in capfd.readouterr().err
    assert stage.manifest["ended"] == "unreachable"


@pytest.mark.parametrize(("how", "ended"), [("crashes", "failed"), ("shoots itself", "killed")])
def test_a_child_that_falls_is_told_and_judged(
    stage: Stage, scenario: Path, how: str, ended: str, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.children(load=how, report=3)
    assert main(["run", str(scenario)]) == ExitCode.UNKNOWN
    err = capfd.readouterr().err
    assert "The load child ended with status" in err
    assert "load.log" in err
    assert "Traceback" not in err
    assert stage.manifest["ended"] == ended


def test_a_simulator_that_does_not_start(stage: Stage, scenario: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stage.children(simulator="dies")
    assert main(["run", str(scenario)]) == ExitCode.INTERNAL
    assert "the simulator did not start: guestswarm simulator: no such fault 'flood'" in capfd.readouterr().err
    assert stage.manifest["ended"] == "failed"


@pytest.mark.parametrize(
    ("number", "word", "code"),
    [(signal.SIGINT, "interrupted", ExitCode.INTERRUPTED), (signal.SIGTERM, "terminated", ExitCode.TERMINATED)],
)
def test_the_first_signal_drains_and_is_reported(
    stage: Stage, scenario: Path, tmp_path: Path, number: int, word: str, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.children(load="waits")
    send_when(tmp_path, number)
    assert main(["run", str(scenario)]) == code
    out, err = capfd.readouterr()
    assert json.loads(out.splitlines()[-1])["ended"] == word
    assert "Draining, up to 27 s." in err
    assert (stage.folder / "signals").read_text() == f"{signal.Signals(number).name}\n"


def test_the_second_signal_ends_a_deaf_child(
    stage: Stage, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "_SECOND_SIGNAL_S", 0.5)
    stage.children(load="deaf")
    send_when(tmp_path, signal.SIGINT, times=2)
    began = time.monotonic()
    assert main(["run", str(scenario)]) == ExitCode.INTERRUPTED
    assert time.monotonic() - began < 15
    assert "ended from outside" in capfd.readouterr().err
    assert stage.manifest["ended"] == "interrupted"


def test_a_signal_while_the_report_is_made_leaves_it_for_later(
    stage: Stage, scenario: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stage.children(report="hangs")
    send_when(tmp_path, signal.SIGTERM, file="reporting")
    assert main(["run", str(scenario)]) == ExitCode.TERMINATED
    assert "guestswarm report" in capfd.readouterr().err
    assert stage.manifest["ended"] == "finished"


def send_when(tmp_path: Path, number: int, times: int = 1, file: str = "journal-0.bin") -> None:
    """Signal ourselves once the load has begun."""

    def send() -> None:
        for _ in range(1000):
            if list(tmp_path.glob(f"reports/*/{file}")):
                break
            time.sleep(0.01)
        for _ in range(times):
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    threading.Thread(target=send, daemon=True).start()
