"""Each wrong input gives one message with what, where and what to do, the right exit code, and no traceback."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import ExitCode
from tests.e2e.kit import TINY, call, processes, scenario_for

pytestmark = pytest.mark.e2e
USAGE = ExitCode.USAGE


def wrong(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return change


SCENARIOS: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "key": (wrong("think_time", "thinktime"), ("wrong.toml:", "guests.thinktime", "did you mean `think_time`?")),
    "table": (wrong("[load]", "[laod]"), ("wrong.toml:", "did you mean `load`?")),
    "type": (wrong("count = 6", 'count = "six"'), ("wrong.toml:", "guests.count", "needs a whole number")),
    "unit": (wrong('duration = "2s"', 'duration = "2 parsecs"'), ("wrong.toml:", "load.duration", "parsecs")),
    "no unit": (wrong('duration = "2s"', "duration = 2"), ("wrong.toml:", "load.duration")),
    "distribution": (wrong('"400ms±50%"', "{ gamma = { k = 2 } }"), ("wrong.toml:", "guests.think_time", "gamma")),
    "dialect": (wrong("webchat = 0.5", "webchta = 0.5"), ("wrong.toml:", "webchta", "did you mean `webchat`?")),
    "simulator's key": (wrong("accept =", "acept ="), ("wrong.toml:", "acept", "accept")),
    "fault": (lambda text: text + '\n[[simulator.faults]]\nname = "duplicat"\n', ("wrong.toml", "duplicat", "duplicate")),
    "not TOML": (wrong('"tiny"', "tiny"), ("wrong.toml:4", "not TOML", "Text stands in quotes")),
    "missing secret": (
        wrong("[target]", '[target]\ndomain = "localhost"\nclient_id = "x"\ncredentials = "env:NOWHERE_SET"'),
        ("NOWHERE_SET", "is not set", "target.credentials", "export NOWHERE_SET="),
    ),
    "missing secret's file": (
        wrong("[target]", '[target]\ndomain = "localhost"\nclient_id = "x"\ncredentials = "file:nowhere"'),
        ("target.credentials", "nowhere", "No such file"),
    ),
    "missing certificate": (
        wrong("[target]", '[target]\ndomain = "localhost"\nclient_id = "x"\ncredentials = "env:HOME"\ntls = { ca = "no.pem" }'),
        ("target.tls.ca", "no such file"),
    ),
}


@pytest.mark.parametrize("case", SCENARIOS)
def test_a_wrong_scenario(tmp_path: Path, case: str) -> None:
    change, words = SCENARIOS[case]
    path = tmp_path / "wrong.toml"
    path.write_text(change(TINY.read_text()))
    done = call("run", path, "--runs", tmp_path / "runs")
    check(done.returncode, done.stdout, done.stderr, USAGE, *words)
    assert not (tmp_path / "runs").exists()


FLAGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no such file": (("run", "tests/e2e/tinny.toml"), ("no such file", "did you mean tests/e2e/tiny.toml?")),
    "users": (("run", str(TINY), "-u", "many"), ("guests.count", "whole number")),
    "rate": (("run", str(TINY), "-r", "0"), ("-r", "not a number above 0")),
    "time": (("run", str(TINY), "-t", "60"), ("load.duration",)),
    "set": (("run", str(TINY), "--set", "load.duration"), ("--set", "KEY=VALUE")),
    "tls": (("run", str(TINY), "--tls", "--set", "target.domain=localhost"), ("target",)),
    "a run that is none": (("report", "nowhere"), ("nowhere", "guestswarm runs")),
    "a command that is none": (("fly",), ("fly", "choose from")),
    "a port that is none": (("simulate", "--port", "http"), ("--port", "http")),
    "a dialect that is none": (("simulate", "--dialects", "telex"), ("no dialect 'telex'", "webchat")),
    "a config that is not there": (("simulate", "--config", "nowhere.toml"), ("nowhere.toml",)),
}


@pytest.mark.parametrize("case", FLAGS)
def test_a_wrong_command_line(tmp_path: Path, case: str) -> None:
    arguments, words = FLAGS[case]
    done = call(*arguments, *(("--runs", tmp_path / "runs") if arguments[0] in ("run", "report") else ()))
    check(done.returncode, done.stdout, done.stderr, USAGE, *words)


def test_with_json_the_trouble_is_json_as_well(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(TINY.read_text().replace("think_time", "thinktime"))
    done = call("run", path, "--json", "--runs", tmp_path / "runs")
    error = json.loads(done.stdout)["error"]
    assert (error["exit_code"], error["problems"][0]["key"]) == (2, "guests.thinktime")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = call("simulate", "--port", port, "--folder", tmp_path)
    check(done.returncode, done.stdout, done.stderr, USAGE, f"port {port} on 127.0.0.1 cannot be opened", "in use", "--port 0")


# ------------------------------------------------------------------ targets
class Target:
    """Takes connections on loopback and treats each as told."""

    def __init__(self, treat: Callable[[socket.socket], object]) -> None:
        self._treat = treat
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            try:
                sock.settimeout(1)
                self.heard.append(sock.recv(65536))
                self._treat(sock)
            except OSError:
                pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)
        for sock in self._open:
            sock.close()


def nobody(_: socket.socket) -> None:
    raise AssertionError


def silent(_: socket.socket) -> None:
    pass


def garbage(sock: socket.socket) -> None:
    sock.sendall(b"SSH-2.0-OpenSSH_9.6\r\n" * 3)


def hangs_up(sock: socket.socket) -> None:
    sock.shutdown(socket.SHUT_RDWR)


def drips(sock: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-" + b"y" * 100:
        sock.sendall(bytes([byte]))
        time.sleep(0.1)


@contextmanager
def target(treat: Callable[[socket.socket], object]) -> Iterator[tuple[int, list[bytes]]]:
    if treat is nobody:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        yield port, []
        return
    server = Target(treat)
    try:
        yield server.port, server.heard
    finally:
        server.close()


TARGETS: dict[str, tuple[Callable[[socket.socket], object], str, tuple[str, ...]]] = {
    "refuses": (nobody, "http", ("no connection: connect_refused", "Is it running")),
    "answers garbage": (garbage, "http", ("what it answers is not HTTP", "Is the port right")),
    "never answers": (silent, "http", ("has not answered within 2 s", "answer_within")),
    "answers too slowly": (drips, "http", ("has not answered within 2 s", "answer_within")),
    "hangs up": (hangs_up, "http", ("without an answer", "Is it running")),
    "never speaks TLS": (silent, "https", ("no connection within 2 s",)),
    "speaks no TLS": (garbage, "https", ("no connection: tls", "Does it speak TLS")),
}


@pytest.mark.parametrize("case", TARGETS)
def test_a_target_that_is_none(tmp_path: Path, case: str) -> None:
    treat, scheme, words = TARGETS[case]
    with target(treat) as (port, heard):
        urls = "".join(f'{base} = "{scheme}://127.0.0.1:{port}"\n' for base in ("api", "login", "webchat", "files"))
        scenario = scenario_for(
            tmp_path,
            target=f'queue = "q"\nclient_id = "x"\ncredentials = "env:S3"\nanswer_within = "2s"\n[target.urls]\n{urls}',
        )
        began = time.monotonic()
        done = call("run", scenario, "--runs", tmp_path / "runs", env={"S3": "s3cret"}, timeout_s=30)
        assert time.monotonic() - began < 10
    check(done.returncode, done.stdout, done.stderr, ExitCode.UNREACHABLE, f"127.0.0.1:{port}", *words)
    assert not any(b"s3cret" in data or b"Basic" in data for data in heard)
    assert len(heard) <= 1  # knocked once, then gave up
    assert not processes(tmp_path)
    folder = next((tmp_path / "runs").glob("*/manifest.json")).parent
    assert json.loads((folder / "manifest.json").read_text())["ended"] == "unreachable"
    assert not list(folder.glob("journal-*"))


def check(code: int, out: str, err: str, expected: int, *words: str) -> None:
    said = f"{out}\n{err}"
    assert code == expected, said
    for word in words:
        assert word in err, said
    for never in ("Traceback", "Error:", "pydantic", os.sep + "site-packages"):
        assert never not in said
