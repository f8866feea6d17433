from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.errors import GuestswarmError, UnreachableError
from harness.runs import process, simulated
from harness.runs.process import first_line, spawn
from harness.runs.simulated import SimulatorControl, SimulatorProcess

FAKE = str(Path(__file__).parent / "fake_simulator.py")


def behave(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(simulated, "COMMAND", (sys.executable, FAKE, how))


def wait_for(path: Path) -> Any:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError):
            time.sleep(0.01)
    raise AssertionError(path)


def test_it_starts_tells_its_addresses_and_ends_at_the_end_of_its_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(monkeypatch, "well")
    started = SimulatorProcess.start({"agents": {"number": 3}}, tmp_path, seed=7, secret_env={"GUESTSWARM_SIM_SECRET": "hunter2"})
    assert (started.port, started.control, started.ca, started.token) == (4711, "http://127.0.0.1:4712", "", "t0ken")
    seen = wait_for(tmp_path / "seen.json")
    assert seen == {"config": {"agents": {"number": 3}}, "seed": "7", "session": started.pid}
    assert os.getsid(0) != started.pid
    assert started.running
    assert "t0ken" not in repr(started)
    assert started.stop() == 0
    assert not started.running
    assert "hunter2" not in "".join(path.read_text() for path in tmp_path.iterdir())


def test_tls_gives_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(monkeypatch, "well")
    started = SimulatorProcess.start({}, tmp_path, seed=1, tls=True)
    assert started.ca == "ca.pem"
    started.stop()


def test_one_that_takes_anothers_place_is_given_its_ports_token_key_and_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behave(monkeypatch, "well")
    first = SimulatorProcess.start({}, tmp_path, seed=1, tls=True)
    assert "k3y" not in repr(first)
    first.stop()
    given: list[tuple[list[str], dict[str, str]]] = []

    def watched(argv: Any, *, env: Any, errors: Any) -> Any:
        given.append((list(argv), env))
        return spawn(argv, env=env, errors=errors)

    monkeypatch.setattr(simulated, "spawn", watched)
    second = SimulatorProcess.start({}, tmp_path, seed=1, tls=True, like=first, wall_offset_ns=-5)
    third = SimulatorProcess.start({}, tmp_path, seed=1, tls=True, like=second, wall_offset_ns=-5)
    for one in (second, third):
        one.stop()
    for argv, env in given:
        assert argv[argv.index("--port") + 1] == "4711"
        assert argv[argv.index("--control") + 1] == "4712"
        assert argv[argv.index("--wall-offset") + 1] == "-5"
        assert (env["GUESTSWARM_SIM_TOKEN"], env["GUESTSWARM_SIM_IDENTITY"]) == ("t0ken", "k3y")
        assert "k3y" not in argv


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("dies", "did not start: guestswarm simulator: no such fault 'flood'"),
        ("raises", "did not start: RuntimeError: deep inside"),
        ("silent", "no ready line within 1 s"),
        ("babbles", "its first line is not a ready line"),
    ],
)
def test_a_simulator_that_does_not_start_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    behave(monkeypatch, how)
    with pytest.raises(GuestswarmError) as caught:
        SimulatorProcess.start({}, tmp_path, seed=1, ready_s=1.0 if how == "silent" else 20.0)
    assert words in str(caught.value)
    assert "simulator.log" in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_stopping_is_bounded_whatever_it_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behave(monkeypatch, "stubborn")
    started = SimulatorProcess.start({}, tmp_path, seed=1)
    wait_for(tmp_path / "seen.json")
    began = time.monotonic()
    assert process.stop(started._child, gentle_s=0.2, firm_s=0.2) == -signal.SIGKILL
    assert time.monotonic() - began < 5


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_no_child_outlives_a_parent_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from harness.runs.process import spawn\n"
        "child = spawn([sys.executable, '-c', 'import time; time.sleep(60)']); print(child.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 2
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_child_is_no_target_of_the_terminals_signals() -> None:
    child = spawn([sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid())"])
    assert child.stdout is not None
    assert child.stdout.read() == b"True\n"
    assert process.stop(child) == 0
    child.stdout.close()


def test_the_first_words_of_a_log(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert first_line(path) == ""
    path.write_text("\n  one\ntwo\n")
    assert first_line(path) == "one"
    path.write_text("Traceback (most recent call last):\n  File\nValueError: x\n")
    assert first_line(path) == "ValueError: x"


# ------------------------------------------------------------------ control
class Handler(BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, str, str, bytes]]] = []

    def do_GET(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        Handler.seen.append((self.command, self.path, self.headers["Authorization"], body))
        status = 400 if b"bad" in body else 200
        text = (
            b"nonsense"
            if self.path.endswith("counts")
            else json.dumps({"error": "no such fault"} if status == 400 else {"t": 1}).encode()
        )
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def control() -> Iterator[SimulatorControl]:
    server = HTTPServer(("127.0.0.1", 0), Handler)
    Handler.seen = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield SimulatorControl(f"http://127.0.0.1:{server.server_port}", "t0ken")
    server.shutdown()
    server.server_close()
    thread.join()


def test_control_calls_carry_the_token(control: SimulatorControl) -> None:
    assert control.begin() == {"t": 1}
    control.health()
    control.settle()
    control.seal()
    control.faults([{"name": "drop"}])
    assert [(method, path) for method, path, _, _ in Handler.seen] == [
        ("POST", "/__sim__/begin"),
        ("GET", "/__sim__/health"),
        ("POST", "/__sim__/settle"),
        ("POST", "/__sim__/seal"),
        ("POST", "/__sim__/faults"),
    ]
    assert {token for _, _, token, _ in Handler.seen} == {"Bearer t0ken"}
    assert json.loads(Handler.seen[-1][3]) == [{"name": "drop"}]
    assert "t0ken" not in repr(control)


def test_control_trouble_is_one_error(control: SimulatorControl) -> None:
    with pytest.raises(GuestswarmError, match="answered 400 no such fault"):
        control.faults(["bad"])
    with pytest.raises(GuestswarmError, match="answered 200"):
        control.counts()
    with pytest.raises(UnreachableError):
        SimulatorControl("127.0.0.1:1", "x", timeout_s=1).health()
