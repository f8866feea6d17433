"""`python -m harness.simulator` as whoever starts it sees it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PATIENCE = 30.0
pytestmark = pytest.mark.e2e


def command(*options: str) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "harness.simulator", *options]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "GUESTSWARM_SIM_SECRET"}
    return {**kept, **more}


class Process:
    """A simulator, started."""

    def __init__(self, *options: str, **env: str) -> None:
        self.child = subprocess.Popen(
            command(*options),
            cwd=ROOT,
            env=environment(**env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        if not line:
            raise AssertionError(self.child.communicate(timeout=PATIENCE)[1].decode())
        self.ready: dict[str, Any] = json.loads(line)

    def control(self, method: str, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ready["control"], timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, f"/__sim__/{path}", headers={"Authorization": f"Bearer {self.ready['token']}"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def end(self, how: int = signal.SIGTERM) -> tuple[int, str, str]:
        """Exit code, the rest of stdout, stderr."""
        if self.child.poll() is None:
            self.child.send_signal(how)
        out, err = self.child.communicate(timeout=PATIENCE)
        return self.child.returncode, out.decode(), err.decode()


@contextlib.contextmanager
def simulator(*options: str, **env: str) -> Iterator[Process]:
    process = Process(*options, **env)
    try:
        yield process
    finally:
        process.end(signal.SIGKILL)


def token(
    process: Process, secret: str, context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> tuple[int, dict[str, Any]]:
    port = process.ready["port"]
    connection = (
        http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)
        if context
        else http.client.HTTPConnection(host, port, timeout=PATIENCE)
    )
    with contextlib.closing(connection):
        basic = base64.b64encode(f"guestswarm:{secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded", "X-Request-Id": "tok-1"}
        connection.request("POST", "/api/v2/oauth2/token", body=b"grant_type=client_credentials", headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def test_one_ready_line_then_silence(tmp_path):
    with simulator("--folder", str(tmp_path)) as process:
        assert {"port", "ca", "control", "token"} <= set(process.ready)
        assert process.ready["ca"] is None
        assert process.control("GET", "health")[0] == 200
        code, out, err = process.end()
        assert (code, out, err) == (0, "", "")


def test_health_shows_the_process_and_what_a_leak_adds(tmp_path: Path) -> None:
    plan = {
        "faults": [
            {"name": "leak", "size": "512MiB", "over": "1ms", "hold": True},
            {"name": "backlog", "over": "1ms", "hold": True},
        ]
    }
    table = tmp_path / "table.json"
    table.write_text(json.dumps({"simulator": {"capacity": {"servers": 3}, **plan}}))
    with simulator("--folder", str(tmp_path), "--config", str(table)) as process:
        quiet = json.loads(process.control("GET", "health")[1])
        assert 10 * 2**20 < quiet["memory_bytes"] < 512 * 2**20
        assert (quiet["undelivered"], quiet["in_system"], quiet["open_sockets"]) == (0, 0, 0)
        assert quiet["cpu_s"] > 0
        assert process.control("POST", "begin")[0] == 200
        health = json.loads(process.control("GET", "health")[1])
        while health["planted_bytes"] < 512 * 2**20:  # a ms later
            health = json.loads(process.control("GET", "health")[1])
        assert health["memory_bytes"] > 512 * 2**20
        assert health["undelivered"] == 1000


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_signal_flushes_the_truth(tmp_path, how: int, loop: str):
    with simulator("--folder", str(tmp_path), "--loop", loop, GUESTSWARM_SIM_SECRET="from-env") as process:
        assert token(process, "from-env")[0] == 200
        assert process.end(how)[0] == 0
        rows = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
        assert [(row["row"], row["id"]) for row in rows] == [("tokens.client_credentials", "tok-1")]


def test_a_secret_nobody_gave_is_in_a_file_of_its_owner(tmp_path):
    with simulator("--folder", str(tmp_path)) as process:
        path = Path(process.ready["secret_file"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert token(process, path.read_text())[0] == 200
        assert token(process, "wrong")[0] == 401


def test_a_secret_from_the_environment_or_a_file_is_never_shown(tmp_path):
    (tmp_path / "secret").write_text("from-file\n")
    config = tmp_path / "sim.toml"
    config.write_text(f'[simulator.credentials]\nclient_secret = "file:{tmp_path / "secret"}"\n')
    with simulator("--folder", str(tmp_path), "--config", str(config)) as process:
        assert process.ready["secret_file"] is None
        assert token(process, "from-file")[0] == 200
    with simulator("--folder", str(tmp_path), GUESTSWARM_SIM_SECRET="from-env") as process:
        assert process.ready["secret_file"] is None
        shown = Path(f"/proc/{process.child.pid}/cmdline")
        if shown.exists():
            assert process.ready["token"].encode() not in shown.read_bytes()
        assert process.ready["token"] not in process.end()[2]


def test_it_ends_when_its_parents_pipe_does(tmp_path):
    with simulator("--folder", str(tmp_path), "--parent-pipe") as process:
        assert process.child.stdin is not None
        process.child.stdin.write(b"words are ignored\n")
        process.child.stdin.flush()
        assert process.control("GET", "health")[0] == 200
        process.child.stdin.close()
        assert process.child.wait(PATIENCE) == 0
        process.child.stdin = None


def test_it_ends_when_its_parent_is_killed(tmp_path):
    """The parent holds the pipe's only end; SIGKILL gives it no chance to say anything."""
    code = (
        "import subprocess,sys,time;"
        f"p=subprocess.Popen({command('--folder', str(tmp_path), '--parent-pipe')!r},cwd={str(ROOT)!r},"
        "stdin=subprocess.PIPE,start_new_session=True);time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment())
    assert parent.stdout is not None
    ready = json.loads(parent.stdout.readline())
    parent.kill()
    parent.wait(PATIENCE)
    assert parent.stdout.read() == b""  # end of file: the simulator, which has it too, is gone
    parent.stdout.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", ready["port"]), 5)


def test_a_port_in_use_is_one_clear_message(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            command("--folder", str(tmp_path), "--port", str(port)),
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            timeout=PATIENCE,
        )
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"port {port} on 127.0.0.1" in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--bind", "0.0.0.0"], "not a loopback address"),
        (["--dialects", "webchat,longpol"], "no dialect 'longpol'"),
        (["--config", "nowhere.toml"], "cannot be read"),
        (["--folder", "/proc/nowhere"], "cannot be used"),
    ],
)
def test_a_wrong_option_is_one_clear_message(tmp_path, options: list[str], said: str):
    arguments = options if "--folder" in options else ["--folder", str(tmp_path), *options]
    done = subprocess.run(command(*arguments), cwd=ROOT, env=environment(), capture_output=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()


@pytest.mark.parametrize(
    ("name", "content"), [("a.toml", "[simulator]\nagentz = 1\n"), ("a.json", '{"simulator": {"agentz": 1}}'), ("b.json", "{")]
)
def test_a_wrong_configuration_is_one_clear_message(tmp_path, name: str, content: str):
    (tmp_path / name).write_text(content)
    done = subprocess.run(
        command("--folder", str(tmp_path), "--config", str(tmp_path / name)),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert "Traceback" not in done.stderr.decode()
    if "agentz" in content:
        assert "agents" in done.stderr.decode()


def test_tls_with_further_names(tmp_path):
    with simulator("--folder", str(tmp_path), "--tls", "--name", "api.sim.test", GUESTSWARM_SIM_SECRET="s") as process:
        assert process.ready["ca"] == str(tmp_path / "ca.pem")
        context = ssl.create_default_context(cafile=process.ready["ca"])
        assert token(process, "s", context)[0] == 200
        with socket.create_connection(("127.0.0.1", process.ready["port"]), PATIENCE) as raw:
            context.wrap_socket(raw, server_hostname="api.sim.test").close()


def test_one_that_takes_anothers_place_is_trusted_as_that_one_was(tmp_path):
    options = ("--folder", str(tmp_path), "--tls", "--parent-pipe")
    with simulator(*options, "--hand-over", GUESTSWARM_SIM_SECRET="s") as first:
        ca, identity = Path(first.ready["ca"]), first.ready["identity"]
        authority = ca.read_text()
        context = ssl.create_default_context(cafile=str(ca))
        assert token(first, "s", context)[0] == 200
        port = str(first.ready["port"])
        first.end(signal.SIGKILL)
    assert "PRIVATE KEY" in identity
    assert not [path.name for path in tmp_path.iterdir() if "PRIVATE KEY" in path.read_text()]
    ca.chmod(0o400)  # and is not written again
    with simulator(*options, "--port", port, GUESTSWARM_SIM_SECRET="s", GUESTSWARM_SIM_IDENTITY=identity) as second:
        assert "identity" not in second.ready
        assert token(second, "s", context)[0] == 200
        assert ca.read_text() == authority


@pytest.mark.parametrize("identity", ["nothing of the kind", "-----BEGIN PRIVATE KEY-----\n-----BEGIN CERTIFICATE-----\nx\n" * 2])
def test_a_broken_identity_is_refused_and_not_repeated(tmp_path, identity):
    options = ("--folder", str(tmp_path), "--tls", "--parent-pipe")
    done = subprocess.run(
        command(*options), cwd=ROOT, env=environment(GUESTSWARM_SIM_IDENTITY=identity), capture_output=True, timeout=PATIENCE
    )
    assert done.returncode == 2
    assert b"handed over" in done.stderr
    assert identity.splitlines()[0].encode() not in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_key_is_told_to_a_parent_alone(tmp_path):
    done = subprocess.run(
        command("--folder", str(tmp_path), "--tls", "--hand-over"),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--parent-pipe" in done.stderr
    with simulator("--folder", str(tmp_path), "--tls", "--parent-pipe") as process:
        assert "identity" not in process.ready


def test_all_that_it_says_of_the_time_of_day_is_by_one_clock(tmp_path):
    year_2000 = 946_684_800 * 10**9
    with simulator("--folder", str(tmp_path), "--wall-offset", str(year_2000 - time.monotonic_ns())) as process:
        connection = http.client.HTTPConnection("127.0.0.1", process.ready["port"], timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request("GET", "/nowhere")
            said = connection.getresponse().headers.get_all("Date")
        assert said is not None
        assert [text[:16] for text in said] == ["Sat, 01 Jan 2000"]


def test_seal_then_stop_leaves_a_sealed_file(tmp_path):
    with simulator("--folder", str(tmp_path), GUESTSWARM_SIM_SECRET="s") as process:
        token(process, "s")
        status, body = process.control("POST", "seal")
        assert (status, json.loads(body)["sealed"]) == (200, True)
        sealed = (tmp_path / "truth.jsonl").read_bytes()
        assert process.control("GET", "truth")[1] == sealed
        process.end()
        assert (tmp_path / "truth.jsonl").read_bytes() == sealed
        import hashlib

        last = json.loads(sealed.splitlines()[-1])
        assert last["row"] == "seal"
        assert last["counts"] == {"tokens.client_credentials": 1}
        assert last["sha256"] == hashlib.sha256(sealed[: sealed.rindex(b"\n", 0, -1) + 1]).hexdigest()
