"""No packet and no question to a name server leaves this machine without an approval: every connect() and look-up is recorded."""

from __future__ import annotations

import ast
import http.client
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode
from harness.report.fold import fold, journals
from tests.e2e.kit import ROOT, TINY, Run, Simulator, call, scenario_for

pytestmark = pytest.mark.e2e
FOREIGN = 'domain = "chat.example.com"\nclient_id = "x"\ncredentials = "env:S3"'
HERE = {"127.0.0.1", "::1", "localhost", "", None}


class Recorder:
    """What the processes that were started with `env` wanted of the network."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "network.log"
        self.env = {
            "PYTHONPATH": str(Path(__file__).with_name("recorder")),
            "RECORDER_FILE": str(self._file),
            "S3": "s3cret",
        }

    def seen(self) -> list[tuple[str, Any]]:
        try:
            lines = self._file.read_text().splitlines()
        except FileNotFoundError:
            return []
        return [(event, ast.literal_eval(what)) for event, _, what in (line.partition(" ") for line in lines)]

    def away(self) -> list[tuple[str, Any]]:
        """Whatever was not this machine; a socket of the file system is."""
        found = []
        for event, what in self.seen():
            host = what[0] if isinstance(what, tuple) else what if event != "socket.connect" else ""
            if (host.decode() if isinstance(host, bytes) else host) not in HERE:
                found.append((event, what))
        return found


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return Recorder(tmp_path)


def approval(**changes: str) -> str:
    table = {
        "hosts": '["*.chat.example.com"]',
        "ticket": '"T-1"',
        "window": '"00:00-23:59"',
        "timezone": '"UTC"',
        "max_guests": "100",
        "max_requests_per_s": "100",
        **changes,
    }
    return "[authorisation]\n" + "".join(f"{key} = {value}\n" for key, value in table.items())


def shut_window() -> str:
    now = datetime.now(UTC)
    return f'"{now + timedelta(hours=2):%H:%M}-{now + timedelta(hours=3):%H:%M}"'


CASES: dict[str, tuple[str, Callable[[], str], str]] = {
    "a domain": (FOREIGN, str, "has no [authorisation]"),
    "an address": (FOREIGN.replace("chat.example.com", "203.0.113.7.test"), str, "has no [authorisation]"),
    "a literal address": (
        'client_id = "x"\ncredentials = "env:S3"\n[target.urls]\n'
        + "".join(f'{base} = "http://203.0.113.7:8080"\n' for base in ("api", "login", "webchat", "files")),
        str,
        "has no [authorisation]",
    ),
    "another host": (FOREIGN, lambda: approval(hosts='["*.other.example.com"]'), "does not name this host"),
    "too many guests": (FOREIGN, lambda: approval(max_guests="2"), "6 guests are planned, the approval allows 2"),
    "a shut window": (FOREIGN, lambda: approval(window=shut_window()), "is shut now"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_not_approved_is_refused_before_the_first_packet(tmp_path: Path, recorder: Recorder, case: str) -> None:
    target, more, words = CASES[case]
    done = call("run", scenario_for(tmp_path, target=target, more=more()), "--runs", tmp_path / "runs", env=recorder.env)
    assert done.returncode == ExitCode.NOT_AUTHORISED, done
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert recorder.away() == []
    assert not (tmp_path / "runs").exists()


def test_the_load_child_judges_for_itself(tmp_path: Path, recorder: Recorder) -> None:
    """Whatever the parent thought: the guard sits where sockets are opened."""
    from harness.config import load_scenario
    from harness.runs.folder import create_run, write_json
    from harness.runs.manifest import LoadOrder, take_anchor

    scenario = load_scenario(scenario_for(tmp_path, target=FOREIGN))
    folder = create_run(tmp_path / "runs", "stray", {"anchor": take_anchor()})
    write_json(folder / "scenario.json", scenario.resolved())
    LoadOrder(str(folder / "scenario.json"), {}, None).write(folder)
    done = subprocess.run(
        [sys.executable, "-m", "harness.swarm.child", str(folder)],
        cwd=ROOT,
        env={**os.environ, **recorder.env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == ExitCode.NOT_AUTHORISED, done
    assert json.loads(done.stdout.splitlines()[-1])["kind"] == "error"
    assert recorder.away() == []
    assert not list(folder.glob("journal-*"))


@pytest.mark.parametrize("given", [("--host", "https://chat.example.com"), ()])
def test_plain_locust_is_guarded_as_well(tmp_path: Path, recorder: Recorder, given: tuple[str, ...]) -> None:
    scenario = TINY if given else scenario_for(tmp_path, target=FOREIGN)
    argv = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / "webchat.py"), "--headless", "-u", "2", "-t", "5s"]
    argv += [*given, "--scenario", str(scenario), "--runs", str(tmp_path / "runs")]
    env = {**os.environ, **recorder.env}
    if given:
        env.update({"GUESTSWARM_TARGET_CLIENT_ID": "x", "GUESTSWARM_TARGET_CREDENTIALS": "env:S3"})
    done = subprocess.run(
        argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == ExitCode.NOT_AUTHORISED, done
    assert "has no [authorisation]" in done.stderr
    assert recorder.away() == []


@pytest.mark.parametrize("patch", ["", "import gevent.monkey; gevent.monkey.patch_all(); "])
def test_the_recorder_records(recorder: Recorder, patch: str) -> None:
    code = f"{patch}import socket; socket.getaddrinfo('127.0.0.2', 80); socket.socket().connect_ex(('127.0.0.3', 9))"
    subprocess.run([sys.executable, "-c", code], env={**os.environ, **recorder.env}, timeout=30, check=True)
    assert recorder.away() == [("socket.getaddrinfo", "127.0.0.2"), ("socket.connect", ("127.0.0.3", 9))]


class Twister(BaseHTTPRequestHandler):
    """Stands before a simulator; leads every URL that it hands out to another host, and answers some requests by a redirect."""

    protocol_version = "HTTP/1.1"
    port = 0

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            status, kind, data = answer.status, answer.getheader("Content-Type", ""), answer.read()
        finally:
            connection.close()
        if self.path.endswith("/typing"):
            self._answer(307, "text/plain", b"", {"Location": "https://elsewhere.example.com/typing"})
            return
        self._answer(status, kind, twist(data))

    def _answer(self, status: int, kind: str, data: bytes, more: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(more or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _pass_on

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            pass


TWISTED = [0]


def twist(data: bytes) -> bytes:
    try:
        value = json.loads(data)
    except ValueError:
        return data

    def walk(inner: Any) -> Any:
        if isinstance(inner, dict):
            return {key: walk(one) for key, one in inner.items()}
        if isinstance(inner, list):
            return [walk(one) for one in inner]
        if isinstance(inner, str) and inner.startswith(("http://127.0.0.1", "/")):
            TWISTED[0] += 1
            return "https://files.example.com/stolen"
        return inner

    return json.dumps(walk(value)).encode()


@pytest.fixture
def twisted(tmp_path: Path) -> Iterator[int]:
    with Simulator(tmp_path / "sim", env={"GUESTSWARM_SIM_SECRET": "s3cret"}) as simulator:
        handler = type("Handler", (Twister,), {"port": simulator.port})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def test_addresses_and_redirects_of_a_server_lead_nowhere_else(tmp_path: Path, recorder: Recorder, twisted: int) -> None:
    TWISTED[0] = 0
    urls = "".join(f'{base} = "http://127.0.0.1:{twisted}"\n' for base in ("api", "login", "webchat", "files"))
    scenario = scenario_for(
        tmp_path,
        dialect="longpoll",
        target=f'queue = "support"\nclient_id = "guestswarm"\ncredentials = "env:S3"\n[target.urls]\n{urls}',
    )
    changes = ("--set", "guests.attachments=1.0", "--set", "guests.typing=1.0", "--set", "dialects.longpoll.download=1.0")
    with Run(tmp_path, *changes, scenario=scenario, env=recorder.env) as run:
        assert run.end(40) in (ExitCode.UNKNOWN, ExitCode.FAIL), run.said
        run.assert_clean_words()
        assert TWISTED[0] > 0, run.said
        counters = fold(journals(run.folder)).counters
        assert counters.get("noted|download.refused", 0) > 0, counters
    assert recorder.away() == []
    hosts = {what[0] for event, what in recorder.seen() if event == "socket.connect" and isinstance(what, tuple)}
    assert hosts == {"127.0.0.1"}  # and the recorder does record
