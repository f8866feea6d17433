"""The load child as a process: orders, news, signals, and its end when its parent is gone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode
from harness.report.build import build_report
from harness.runs.manifest import LoadOrder, SimulatorAddress
from tests.swarm.scenario import ROOT, Prepared

pytestmark = pytest.mark.e2e
Child = subprocess.Popen[bytes]


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Callable[..., Prepared]]:
    made: list[Prepared] = []

    def make(**changes: Any) -> Prepared:
        made.append(Prepared(tmp_path, **changes))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture
def children() -> Iterator[list[Child]]:
    started: list[Child] = []
    yield started
    for child in started:
        if child.poll() is None:
            child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


def start(prepared: Prepared, children: list[Child], *, stdin: int = subprocess.PIPE) -> Child:
    child = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "harness.swarm.child", str(prepared.folder)],
        cwd=ROOT,
        env=prepared.environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    children.append(child)
    return child


def finish(child: Child, timeout_s: float = 40) -> tuple[int, list[dict[str, Any]], str]:
    assert child.stdout is not None
    assert child.stderr is not None
    lines = [json.loads(line) for line in child.stdout.read().splitlines()]
    errors = child.stderr.read().decode()
    return child.wait(timeout_s), lines, errors


def wait_for(child: Child, phase: str) -> list[dict[str, Any]]:
    assert child.stdout is not None
    seen = []
    while True:
        line = child.stdout.readline()
        assert line, "it ended before that phase"
        seen.append(json.loads(line))
        if seen[-1]["kind"] == "phase" and seen[-1]["phase"] == phase:
            return seen


def test_a_run(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    one = prepared()
    status, lines, errors = finish(start(one, children))
    assert (status, errors) == (0, "")
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "phase"
    assert kinds[-1] == "end"
    intervals = [line for line in lines if line["kind"] == "interval"]
    assert len(intervals) > 15
    assert max(sum(n for state, n in line["guests"].items() if state != "finished") for line in intervals) == 8
    assert any("reply" in line["hist"] for line in intervals)
    assert one.manifest["ended"] == "finished"
    model = build_report(one.folder)
    assert {row.name for row in model.truth if not row.equal} == set()
    assert model.figures.complete


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_drains_first(prepared: Callable[..., Prepared], children: list[Child], number: signal.Signals, word: str) -> None:
    one = prepared(duration='"60s"')
    child = start(one, children)
    wait_for(child, "load")
    child.send_signal(number)
    status, lines, errors = finish(child)
    assert (status, errors) == (0, "")
    phases = [line["phase"] for line in lines if line["kind"] == "phase"]
    assert phases == ["settle", "loss_wait", "leave", "end"]
    assert one.manifest["ended"] == word
    model = build_report(one.folder)
    assert {row.name for row in model.truth if not row.equal} == set()
    assert not model.measured.damage.any


def test_the_second_signal_ends_it_at_once(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    one = prepared(duration='"60s"', loss_wait='"50s"', session_length='"50s"')
    child = start(one, children)
    wait_for(child, "load")
    child.send_signal(signal.SIGINT)
    wait_for(child, "loss_wait")
    began = time.monotonic()
    child.send_signal(signal.SIGINT)
    status, _, errors = finish(child, 5)
    assert time.monotonic() - began < 2
    assert (status, errors) == (0, "")
    assert one.manifest["ended"] == "interrupted"
    model = build_report(one.folder)
    assert not model.measured.damage.any, "the journal is whole all the same"
    assert {row.name for row in model.truth if row.equal is False} == set()


def test_a_signal_during_the_imports_is_not_lost(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    one = prepared(duration='"60s"')
    child = start(one, children)
    time.sleep(0.25)
    child.send_signal(signal.SIGTERM)
    status, _, errors = finish(child, 30)
    # At the very first lines no handler can be there yet: then the signal simply ends it.
    assert (status, errors) in ((0, ""), (-signal.SIGTERM, ""))


def test_it_ends_within_two_seconds_of_its_parent(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    one = prepared(duration='"60s"')
    child = start(one, children)
    wait_for(child, "load")
    assert child.stdin is not None
    began = time.monotonic()
    child.stdin.close()
    child.wait(5)
    assert time.monotonic() - began < 2
    assert one.manifest["ended"] == "orphaned"
    model = build_report(one.folder)
    assert not model.measured.damage.any
    assert model.verdict.value == "UNKNOWN"


def test_a_stuck_hub_does_not_outlive_its_parent_either(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    one = prepared(duration='"60s"')
    stuck = (
        "import sys; sys.argv = ['child', sys.argv[1]]\n"
        "from harness.swarm import child, load\n"
        "from gevent.monkey import get_original\n"
        "sleep = get_original('time', 'sleep')\n"
        "real = load.LoadRun._enter\n"
        "def enter(self, phase, now):\n"
        "    real(self, phase, now)\n"
        "    if phase == 'load': sleep(60)\n"
        "load.LoadRun._enter = enter\n"
        "raise SystemExit(child.main())\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", stuck, str(one.folder)],
        cwd=ROOT,
        env=one.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    children.append(child)
    wait_for(child, "load")
    time.sleep(1.5)
    assert child.stdin is not None
    began = time.monotonic()
    child.stdin.close()
    assert child.wait(5) == ExitCode.INTERNAL
    assert time.monotonic() - began < 2.2
    assert child.stderr is not None
    assert b"the loop has not turned" in child.stderr.read()


def test_without_a_pipe_it_minds_no_parent(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    one = prepared(duration='"1s"')
    status, _, errors = finish(start(one, children, stdin=subprocess.DEVNULL))
    assert (status, errors) == (0, "")


def test_a_parent_that_does_not_read_holds_up_nothing(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    one = prepared(interval='"100ms"')
    child = start(one, children)
    began = time.monotonic()
    assert child.wait(30) == 0
    assert time.monotonic() - began < 20
    assert build_report(one.folder).figures.complete


def test_nobody_listens(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    one = prepared()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert one.address is not None
        LoadOrder(LoadOrder.read(one.folder).scenario, {}, SimulatorAddress(taken.getsockname()[1], one.address.control)).write(
            one.folder
        )
        status, lines, _ = finish(start(one, children))
    assert status == ExitCode.UNREACHABLE
    assert lines[-1]["kind"] == "error"
    assert lines[-1]["hint"]
    assert list(one.folder.glob("journal-*")) == []


def test_a_foreign_target_without_approval(prepared: Callable[..., Prepared], children: list[Child], tmp_path: Path) -> None:
    one = prepared(simulate=False)
    path = tmp_path / "foreign.toml"
    text = (tmp_path / "brief.toml").read_text()
    path.write_text(
        text.replace("[target]", '[target]\ndomain = "example.com"\nclient_id = "me"\ncredentials = "env:GUESTSWARM_TEST_SECRET"')
    )
    LoadOrder(str(path), {}, None).write(one.folder)
    status, lines, _ = finish(start(one, children))
    assert status == ExitCode.NOT_AUTHORISED
    assert lines[-1]["kind"] == "error"
    assert "example.com" in lines[-1]["where"]


def test_no_orders(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness.swarm.child", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == ExitCode.USAGE
    assert json.loads(done.stdout.splitlines()[-1])["kind"] == "error"
    assert subprocess.run([sys.executable, "-m", "harness.swarm.child"], cwd=ROOT, capture_output=True, timeout=30).returncode == 2


def test_no_secret_is_passed_on(prepared: Callable[..., Prepared], children: list[Child]) -> None:
    from tests.swarm.scenario import SECRET

    one = prepared(duration='"1s"')
    child = start(one, children)
    status, lines, errors = finish(child)
    assert status == 0
    for text in (
        json.dumps(lines),
        errors,
        *(path.read_bytes().decode("latin-1") for path in one.folder.iterdir() if path.is_file()),
    ):
        assert SECRET not in text
    assert os.environ.get("GUESTSWARM_CLIENT_SECRET") is None
