"""Locust's own command as the host: real processes, judged by what they leave behind and how they end."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.errors import ExitCode
from harness.runs.folder import list_runs, read_manifest
from tests.swarm.scenario import ROOT, write_scenario

pytestmark = pytest.mark.e2e


class Hosted:
    """One `locust` process and where its runs land."""

    def __init__(self, folder: Path, *arguments: str, locustfile: str = "webchat.py", scenario: Path | None = None) -> None:
        self.runs = folder / "runs"
        self.log = folder / "locust.log"
        argv = [sys.executable, "-m", "locust", "-f", str(ROOT / "locustfiles" / locustfile), "--runs", str(self.runs)]
        if scenario is not None:
            argv += ["--scenario", str(scenario)]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*argv, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def end(self, timeout_s: float = 60) -> int:
        return self.process.wait(timeout_s)

    def said(self) -> str:
        return self.log.read_text()

    def until(self, condition: Any, timeout_s: float = 20) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(self.said())

    def until_said(self, text: str) -> None:
        self.until(lambda: text in self.said())

    def summaries(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return [json.loads((run.path / "summary.json").read_text()) for run in reversed(list_runs(self.runs))]

    def close(self) -> None:
        try:
            family = psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            family = []
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for one in family:
            if one.is_running():
                one.kill()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Any]:
    hosted: list[Hosted] = []

    def make(*arguments: str, scenario: bool = True, **more: Any) -> Hosted:
        changes = {key: more.pop(key) for key in list(more) if key != "locustfile"}
        path = write_scenario(tmp_path, **changes) if scenario else None
        hosted.append(Hosted(tmp_path, *arguments, scenario=path, **more))
        return hosted[-1]

    yield make
    for one in hosted:
        one.close()


def unequal(summary: dict[str, Any]) -> list[str]:
    return [row["name"] for row in summary["truth"] if not row["equal"]]


def test_headless_by_the_scenario(host: Any) -> None:
    one = host("--headless", "--only-summary")
    assert one.end() == 0, one.said()
    (summary,) = one.summaries()
    assert summary["verdict"] == "PASS"
    assert summary["guests"]["peak"] == 8
    assert summary["complete"]
    assert unequal(summary) == []
    assert "PASS" in one.said()
    for measure in ("echo", "reply", "connect"):
        assert f"GUEST    {measure}" in one.said()
    assert "no tasks left" not in one.said()


def test_flags_of_locust_beat_the_scenario(host: Any) -> None:
    one = host("--headless", "--only-summary", "-u", "3", "-r", "6", "-t", "3s")
    assert one.end() == 0, one.said()
    manifest = read_manifest(list_runs(one.runs)[0].path)
    assert manifest["guests_planned"] == 3
    assert manifest["planned"] == {"ramp_ns": 500_000_000, "duration_ns": 2_500_000_000}
    phases = manifest["phases"]
    assert phases["ramp"] < phases["settle"] < phases["ramp"] + 4_500_000_000


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
    ids=["SIGINT", "SIGTERM"],
)
def test_a_signal_drains_judges_and_is_told_in_the_exit_code(host: Any, number: signal.Signals, code: int, word: str) -> None:
    one = host("--headless", "--only-summary", duration='"60s"')
    one.until_said("phase load")
    one.process.send_signal(number)
    assert one.end() == code, one.said()
    run = list_runs(one.runs)[0]
    assert run.ended == word
    (summary,) = one.summaries()
    assert unequal(summary) == []


def test_the_second_signal_does_not_wait(host: Any) -> None:
    one = host("--headless", "--only-summary", duration='"60s"', loss_wait='"50s"', session_length='"50s"')
    one.until_said("phase load")
    one.process.send_signal(signal.SIGINT)
    one.until_said("phase loss_wait")
    began = time.monotonic()
    one.process.send_signal(signal.SIGINT)
    assert one.end(20) == 130, one.said()
    assert time.monotonic() - began < 10


def test_two_processes(host: Any) -> None:
    one = host("--headless", "--only-summary", "--processes", "2", *ports())
    assert one.end() == 0, one.said()
    (summary,) = one.summaries()
    assert summary["verdict"] == "PASS"
    assert summary["guests"]["peak"] == 8
    assert unequal(summary) == []
    folder = list_runs(one.runs)[0].path
    assert sorted(path.name for path in folder.glob("journal-*")) == ["journal-1.bin", "journal-2.bin"]
    assert not (folder / ".secret").exists()


def test_a_lost_worker_is_not_made_up_for_and_never_a_pass(host: Any) -> None:
    one = host("--headless", "--only-summary", "--processes", "2", *ports(), duration='"9s"')
    one.until(lambda: one.runs.exists() and list_runs(one.runs) and len(list(list_runs(one.runs)[0].path.glob("journal-*"))) == 2)
    time.sleep(3)
    workers = workers_of(one)
    assert len(workers) == 2
    workers[0].kill()
    assert one.end() == ExitCode.UNKNOWN, one.said()
    (summary,) = one.summaries()
    assert summary["verdict"] == "UNKNOWN"
    assert any(reason["code"] == "worker_lost" for reason in summary["reasons"]), summary["reasons"]
    assert summary["guests"]["peak"] == 8
    assert "is lost" in one.said()


def test_workers_do_not_outlive_a_killed_master(host: Any) -> None:
    one = host("--headless", "--only-summary", "--processes", "2", *ports(), duration='"60s"')
    one.until(lambda: one.runs.exists() and list_runs(one.runs) and len(list(list_runs(one.runs)[0].path.glob("journal-*"))) == 2)
    time.sleep(2)
    family = psutil.Process(one.process.pid).children(recursive=True)
    assert len(family) == 3  # two workers and the simulator
    one.process.kill()
    began = time.monotonic()
    gone, alive = psutil.wait_procs(family, timeout=4)
    assert not alive
    assert len(gone) == 3
    assert time.monotonic() - began < 2.3


def test_the_web_page_starts_one_run_after_the_other(host: Any) -> None:
    port = free_port()
    one = host("--web-port", str(port), loss_wait='"1s"')
    one.until_said("Starting web interface")
    url = f"http://127.0.0.1:{port}"

    def post(path: str, **fields: object) -> dict[str, Any]:
        data = urllib.parse.urlencode(fields).encode()
        with urllib.request.urlopen(f"{url}{path}", data, timeout=30) as answer:
            return json.loads(answer.read())  # type: ignore[no-any-return]

    def listening() -> bool:
        try:
            urllib.request.urlopen(f"{url}/stats/requests", timeout=5).close()
        except OSError:
            return False
        return True

    one.until(listening)
    (address,) = {each.laddr.ip for each in psutil.Process(one.process.pid).net_connections() if each.status == "LISTEN"}
    assert address == "127.0.0.1"
    for users in (2, 4):
        assert post("/swarm", user_count=users, spawn_rate=10)["success"]
        time.sleep(2.5)
        if users == 4:
            assert post("/swarm", user_count=3, spawn_rate=5)["success"]
        assert post("/stop")["success"]
    assert len(list_runs(one.runs)) == 2
    changes = [json.loads(path.read_text()).get("changes", []) for path in sorted(one.runs.glob("2*/manifest.json"))]
    assert [[change["users"] for change in each] for each in changes] == [[], [3]]
    summaries = one.summaries()
    assert sorted(summary["guests"]["peak"] for summary in summaries) == [2, 4]
    for summary in summaries:
        assert unequal(summary) == []
    one.process.send_signal(signal.SIGINT)
    assert one.end(20) == 0, one.said()


@pytest.mark.parametrize(
    ("arguments", "scenario", "code", "words"),
    [
        ((), False, ExitCode.USAGE, "--scenario"),
        (("--host", "https://api.example.com"), True, ExitCode.USAGE, "client_id"),
    ],
    ids=["no scenario", "a target without credentials"],
)
def test_what_cannot_be_run_is_said_before_anything_is_opened(
    host: Any, tmp_path: Path, arguments: tuple[str, ...], scenario: bool, code: int, words: str
) -> None:
    alone = tmp_path / "alone.py"  # no scenarios/alone.toml beside it
    alone.write_text((ROOT / "locustfiles" / "webchat.py").read_text())
    one = host("--headless", *arguments, scenario=scenario, locustfile=str(alone))
    assert one.end(20) == code, one.said()
    assert words in one.said()
    assert "Traceback" not in one.said()
    assert not one.runs.exists()


def test_the_scenario_beside_the_locustfile_is_the_default(host: Any) -> None:
    one = host("--headless", "-u", "4", "-r", "4", "-t", "7s", scenario=False)
    assert one.end() == 0, one.said()
    (summary,) = one.summaries()
    assert summary["guests"]["peak"] == 4
    assert unequal(summary) == []


def test_a_foreign_host_is_refused(host: Any, tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    text = path.read_text().replace("[target]", '[target]\nclient_id = "me"\ncredentials = "env:GUESTSWARM_TEST_SECRET"')
    path.write_text(text)
    one = Hosted(tmp_path, "--headless", "--host", "https://api.example.com", scenario=path)
    try:
        assert one.end(20) == ExitCode.NOT_AUTHORISED, one.said()
        assert "Traceback" not in one.said()
    finally:
        one.close()


def test_a_user_with_tasks_in_a_locustfile_of_ones_own(tmp_path: Path) -> None:
    own = tmp_path / "own.py"
    own.write_text(
        "from locust import constant, task\n"
        "from harness.swarm import hosting\n"
        "from harness.swarm.user import GuestUser\n\n\n"
        "class Asker(GuestUser):\n"
        "    dialect = 'webchat'\n"
        "    wait_time = constant(0.1)\n\n"
        "    @task\n"
        "    def ask(self):\n"
        "        if self.wait_until_chatting(5):\n"
        "            self.say('Where is my parcel?')\n"
    )
    one = Hosted(tmp_path, "--headless", "--only-summary", "-u", "3", locustfile=str(own), scenario=write_scenario(tmp_path))
    try:
        assert one.end() == 0, one.said()
        (summary,) = one.summaries()
        assert unequal(summary) == []
        assert summary["measures"]["reply"]["ok"]["response"]["n"] > 5
    finally:
        one.close()


def workers_of(one: Hosted) -> list[psutil.Process]:
    return [child for child in psutil.Process(one.process.pid).children() if "locust" in " ".join(child.cmdline())]


def ports() -> tuple[str, ...]:
    port = str(free_port())
    return "--master-bind-port", port, "--master-port", port


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_our_options_and_addresses_on_loopback() -> None:
    from locust.argument_parser import get_empty_argument_parser, setup_parser_arguments, ui_extra_args_dict

    from harness.swarm.hosting import add_options

    parser = get_empty_argument_parser()
    setup_parser_arguments(parser)
    add_options(parser)
    options = parser.parse_args(["--scenario", "x.toml"])
    assert (options.scenario, options.runs) == ("x.toml", "reports")
    assert (options.web_host, options.master_bind_host) == ("127.0.0.1", "127.0.0.1")
    assert parser.parse_args(["--web-host", "*"]).web_host == "*"
    assert not {"scenario", "runs"} & set(ui_extra_args_dict(["--scenario", "x.toml"]))
