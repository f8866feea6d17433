"""`guestswarm soak` with children that others play: what follows a load child that is lost."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli import run, soak_run
from harness.cli.main import main
from harness.errors import ExitCode
from harness.runs import simulated
from harness.runs.folder import find_run, read_manifest, update_manifest

HERE = Path(__file__).parent


class Stage:
    def __init__(self, patch: pytest.MonkeyPatch, root: Path) -> None:
        self.root = root
        patch.setattr(simulated, "COMMAND", (sys.executable, str(HERE.parent / "runs" / "fake_simulator.py"), "well"))
        patch.setattr(run, "LOAD_COMMAND", (sys.executable, str(HERE / "fake_soak_child.py")))
        patch.setattr(run, "REPORT_COMMAND", (sys.executable, str(HERE / "fake_report.py"), "3"))
        patch.setattr(soak_run, "_AGAIN_S", 0.01)
        patch.setattr(soak_run, "_ASK_S", 0.01)

    def soak(self, plan: str, *arguments: str) -> int:
        (self.root / "plan").write_text(plan)
        return main(["soak", *arguments, "--runs", str(self.root / "runs")])

    def orders(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / "orders").read_text().splitlines()]

    @property
    def folder(self) -> Path:
        return find_run(self.root / "runs", "latest")

    @property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.folder)

    @property
    def left(self) -> str:
        return (self.root / "plan").read_text()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Stage:
    return Stage(monkeypatch, tmp_path)


def test_a_target_that_is_away_when_another_child_is_to_go_on_is_asked_again(
    stage: Stage, scenario: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert stage.soak("lost 4 4 finished", str(scenario), "--for", "30s") == ExitCode.UNKNOWN
    assert stage.left == ""
    assert stage.manifest["ended"] == "finished"
    first, *others = stage.orders()
    assert [order["session"]["number"] for order in others] == [2, 2, 2]
    assert first["overrides"] == {}
    assert all(order["overrides"]["load.duration"] < "30s" for order in others)
    said = capfd.readouterr().err
    assert said.count("The target does not answer: refused with 4.") == 2


@pytest.mark.parametrize(("status", "word"), [("5", "window_shut"), ("2", "failed")])
def test_a_child_that_may_not_go_on_ends_it_with_a_report(
    stage: Stage, scenario: Path, status: str, word: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Hours were gathered: they are judged, whatever the one that was to go on was refused for."""
    assert stage.soak(f"lost {status} finished", str(scenario), "--for", "30s") == ExitCode.UNKNOWN
    assert stage.manifest["ended"] == word
    assert stage.left == "finished"
    captured = capfd.readouterr()
    assert f"No load child went on: refused with {status}" in captured.err
    assert json.loads(captured.out.splitlines()[-1])["ended"] == word


def test_a_target_that_stays_away_ends_it_at_the_planned_end(stage: Stage, scenario: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak_run, "SHORTEST_NS", 28_500_000_000)
    assert stage.soak("lost " + "4 " * 50, str(scenario), "--for", "30s") == ExitCode.UNKNOWN
    assert stage.manifest["ended"] == "unreachable"
    assert stage.left


@pytest.mark.parametrize("status", [ExitCode.UNREACHABLE, ExitCode.NOT_AUTHORISED])
def test_a_resumed_soak_that_does_not_begin_stands_as_it_stood(stage: Stage, scenario: Path, status: ExitCode) -> None:
    assert stage.soak("finished", str(scenario), "--for", "30s") == ExitCode.UNKNOWN
    update_manifest(stage.folder, {"ended": "interrupted"})
    before = stage.manifest
    assert stage.soak(str(int(status)), "--resume", str(stage.folder), "--for", "90s") == status
    assert stage.manifest == before
    assert stage.soak("finished", "--resume", str(stage.folder), "--for", "90s") == ExitCode.UNKNOWN
    assert [session["number"] for session in stage.manifest["sessions"]] == [1, 2]
    assert stage.manifest["job"]["planned_s"] > before["job"]["planned_s"]


def test_trends_are_planned_once_a_resumed_soak_is_to_be_long_enough(stage: Stage, scenario: Path) -> None:
    assert stage.soak("finished", str(scenario), "--for", "30s") == ExitCode.UNKNOWN
    update_manifest(stage.folder, {"ended": "interrupted"})
    assert stage.manifest["job"]["judged"] is False
    assert stage.soak("finished", "--resume", str(stage.folder), "--for", "90s") == ExitCode.UNKNOWN
    assert stage.manifest["job"]["judged"] is False
    update_manifest(stage.folder, {"ended": "interrupted"})
    assert stage.soak("finished", "--resume", str(stage.folder), "--for", "6h") == ExitCode.UNKNOWN
    assert stage.manifest["job"]["judged"] is True
