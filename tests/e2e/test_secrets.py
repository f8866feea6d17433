"""A client secret is in no output, no argument list, no file of a run."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Set
from pathlib import Path
from urllib.parse import quote

import pytest

from harness.errors import ExitCode
from tests.e2e.kit import TINY, Run, Simulator, call, scenario_for

pytestmark = pytest.mark.e2e
SECRET = "Zk7+plover/Xyzzy=9Quux"
CLIENT = "guestswarm"
BASIC = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
ENCODED = base64.b64encode(f"{CLIENT}:{quote(SECRET, safe='')}".encode()).decode()
TRACES = tuple(
    text.encode() for text in (SECRET, BASIC, ENCODED, quote(SECRET, safe=""), base64.b64encode(SECRET.encode()).decode())
)
TOKEN = re.compile(rb"(?:sim|gt|wct|refresh)\.[0-9a-f]{8}|eyJhbGci|[?&](?:guestToken|webChatToken)=\w")
"""Of those that the simulator makes, what can be known by its look."""


def arguments() -> bytes:
    """Of every process there is."""
    found = b""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                found += (entry / "cmdline").read_bytes() + b"\n"
            except OSError:
                continue
    return found


def assert_untold(data: bytes, where: str) -> None:
    for trace in TRACES:
        assert trace not in data, where


MADE = frozenset({"journal-1.bin", "manifest.json", "summary.json", "load.log"})


def watch(run: Run, made: Set[str] = MADE) -> None:
    seen = 0
    while run.process.poll() is None:
        assert_untold(arguments(), "an argument list")
        seen += 1
        try:
            run.process.wait(0.1)
        except Exception:
            continue
    assert seen > 10
    assert_untold(run.said.encode(), "output")
    files = [path for path in run.runs.rglob("*") if path.is_file()]
    assert made <= {path.name for path in files}
    for path in files:
        assert_untold(path.read_bytes(), str(path))
        assert not TOKEN.search(path.read_bytes()), path
    if made is MADE:
        assert run.summary["measures"]["token"]["ok"]["service"]["n"] > 0  # it was used


@pytest.mark.parametrize("how", ["env", "file"])
def test_the_secret_of_a_target_stays_secret(tmp_path: Path, how: str) -> None:
    (tmp_path / "client.secret").write_text(SECRET + "\n")
    reference = "env:CHAT_SECRET" if how == "env" else "file:client.secret"
    with Simulator(tmp_path / "sim", env={"GUESTSWARM_SIM_SECRET": SECRET}) as simulator:
        urls = "".join(f'{base} = "http://127.0.0.1:{simulator.port}"\n' for base in ("api", "login", "webchat", "files"))
        scenario = scenario_for(
            tmp_path,
            target=f'queue = "support"\nclient_id = "{CLIENT}"\ncredentials = "{reference}"\n[target.urls]\n{urls}',
        )
        env = {"CHAT_SECRET": SECRET} if how == "env" else {}
        with Run(tmp_path / "run", "-t", "1s", scenario=scenario, env=env) as run:
            watch(run)
            assert run.process.returncode == ExitCode.UNKNOWN, run.said  # no rule was asked for


def test_the_secret_of_the_embedded_simulator_stays_secret_too(tmp_path: Path) -> None:
    scenario = tmp_path / "own.toml"
    scenario.write_text(f'{TINY.read_text()}\n[simulator.credentials]\nclient_secret = "env:CHAT_SECRET"\n')
    with Run(tmp_path / "run", "-t", "1s", scenario=scenario, env={"CHAT_SECRET": SECRET}) as run:
        watch(run)
        assert run.process.returncode == ExitCode.PASS, run.said


def test_all_dialects_keep_it_and_their_tokens_too(tmp_path: Path) -> None:
    names = ("webchat", "longpoll", "engagements", "guests", "messaging", "webmessaging")
    tiny = re.sub(r"(?m)^count = .*\nmix = .*$", f"count = {2 * len(names)}\nmix = {{ {shares(names)} }}", TINY.read_text())
    scenario = tmp_path / "all.toml"
    fast = 'reconnect_base = "50ms"\nreconnect_jitter = "50ms"\nreconnect_cap = "300ms"\n'
    tiny += "".join(f"\n[dialects.{name}]\n{fast}" for name in names[2:])
    scenario.write_text(f'{tiny}\n[simulator.credentials]\nclient_secret = "env:CHAT_SECRET"\n')
    with Run(tmp_path / "run", "-t", "2s", scenario=scenario, env={"CHAT_SECRET": SECRET}) as run:
        watch(run)
        assert all(run.summary["measures"][name]["ok"] for name in ("jwt", "ack", "echo", "session", "reply"))


def shares(names: tuple[str, ...]) -> str:
    """Even ones, which add up to one."""
    each = round(1 / len(names), 4)
    return ", ".join(f"{name} = {1 - each * (len(names) - 1):.4f}" if name == names[0] else f"{name} = {each}" for name in names)


@pytest.mark.parametrize("how", ["in the scenario", "as a flag"])
def test_a_secret_in_the_wrong_place_is_refused_and_not_repeated(tmp_path: Path, how: str) -> None:
    scenario, flags = TINY, ["--set", f"target.credentials={SECRET}"]
    if how == "in the scenario":
        scenario, flags = scenario_for(tmp_path, target=f'domain = "example.com"\nclient_id = "x"\ncredentials = "{SECRET}"'), []
    done = call("run", scenario, *flags, "--runs", tmp_path / "runs")
    assert done.returncode == ExitCode.USAGE
    assert "env:NAME" in done.stderr
    assert_untold((done.stdout + done.stderr).encode(), "output")


def test_a_search_for_rate_limits_keeps_the_secrets_of_both_clients(tmp_path: Path) -> None:
    config = '[credentials.clients]\nsecond = "env:GUESTSWARM_SIM_SECOND"\n'
    simulated = {"GUESTSWARM_SIM_SECRET": SECRET, "GUESTSWARM_SIM_SECOND": SECRET}
    with Simulator(tmp_path / "sim", config, env=simulated) as simulator:
        urls = "".join(f'{base} = "http://127.0.0.1:{simulator.port}"\n' for base in ("api", "login", "webchat", "files"))
        target = f'queue = "support"\nclient_id = "{CLIENT}"\ncredentials = "env:CHAT_SECRET"\n[target.urls]\n{urls}'
        scenario = tmp_path / "limits.toml"
        scenario.write_text(
            f'[scenario]\nname = "limits"\ndialect = "webchat"\n[target]\n{target}\n[guests]\ncount = 4\n[ratelimit]\n'
            'endpoints = ["POST /oauth/token", "frame message"]\nsuspected_window = "500ms"\nmax_requests = 100\n'
            'credentials = [{ client_id = "second", secret = "env:SECOND_SECRET" }]\n'
        )
        env = {"CHAT_SECRET": SECRET, "SECOND_SECRET": SECRET}
        with Run(tmp_path / "run", scenario=scenario, env=env, command="ratelimit") as run:
            watch(run, {"probes.jsonl", "manifest.json", "summary.json", "report.html", "probe.log"})
            assert run.process.returncode == ExitCode.PASS, run.said
