"""What is refused before any load for want of descriptors or ports, and that a master writes down who was to be there."""

from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gevent import socket as gsocket

from harness.core.credentials import Secret
from harness.errors import GuestswarmError, UsageError
from harness.runs.folder import read_manifest
from harness.runs.manifest import SimulatorAddress
from harness.swarm import load as load_module
from harness.swarm import master as master_module
from harness.swarm.load import LoadRun, Plan, network_of
from harness.swarm.master import MasterHost
from harness.swarm.watch import file_limit
from tests.swarm.scenario import Prepared

NOWHERE = SimulatorAddress("1", "1", "")
"""Addresses are all of this machine; nobody listens there, and nobody is to be asked."""


@pytest.fixture
def one(tmp_path: Path) -> Prepared:
    return Prepared(tmp_path, simulate=False)


def load_of(one: Prepared) -> LoadRun:
    return LoadRun(
        Plan(one.scenario, one.folder, one.manifest["run"], one.secret, 0),
        network_of(one.scenario, NOWHERE),
        control=None,
        say=None,
    )


@pytest.mark.parametrize(("short", "named"), [("file_limit", "open files"), ("local_ports", "local ports")])
def test_no_room_is_refused_before_a_word_is_sent(one: Prepared, monkeypatch: pytest.MonkeyPatch, short: str, named: str) -> None:
    acts: list[object] = []
    monkeypatch.setattr(gsocket.socket, "connect", lambda *args: acts.append(args))
    guests = one.scenario.guests.planned
    for name in ("file_limit", "local_ports"):
        monkeypatch.setattr(load_module, name, lambda: 10**6)
    monkeypatch.setattr(load_module, short, lambda: guests - 1)
    load = load_of(one)
    try:
        with pytest.raises(UsageError) as refused:
            load.preflight()
        assert named in str(refused.value)
        assert f"{guests - 1:,}" in str(refused.value)
        assert refused.value.hint
        assert acts == []
        monkeypatch.setattr(load_module, short, lambda: guests + 10_000)
        load._check_room()
        monkeypatch.setattr(load_module, "local_ports", lambda: None)  # no range is told: that is no reason to refuse
        monkeypatch.setattr(load_module, "file_limit", lambda: 0)
        load._check_room()
    finally:
        load.discard()


def test_the_limit_is_that_of_the_process() -> None:
    assert file_limit() in (resource.getrlimit(resource.RLIMIT_NOFILE)[0], 0)


class FakeRunner:
    """A Locust master with two workers; one of them never answers."""

    def __init__(self) -> None:
        ready = [SimpleNamespace(id="one"), SimpleNamespace(id="two")]
        self.clients = SimpleNamespace(ready=ready, spawning=[], running=[])
        self.sent: list[tuple[str, dict[str, Any], str]] = []
        self.host: Any = None

    def send_message(self, what: str, order: dict[str, Any], client_id: str) -> None:
        self.sent.append((what, order, client_id))
        if client_id == "one":
            self.host.on_ready(SimpleNamespace(node_id="one", data={"error": ""}))


def test_a_master_writes_down_its_workers_before_any_of_them_says_a_word(one: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_module, "_WORKERS_READY_S", 0.0)
    runner = FakeRunner()
    host = object.__new__(MasterHost)  # without what Locust would have to be there for
    runner.host = host
    host.runner, host.folder, host.scenario, host.simulator, host._secret_file = runner, one.folder, one.scenario, None, None
    assert "workers" not in one.manifest
    with pytest.raises(GuestswarmError, match="1 of 2 workers did not answer"):
        host._begin_load(Secret("s"), None)
    assert read_manifest(one.folder)["workers"] == 2
    assert [(what, order["number"], order["workers"], to) for what, order, to in runner.sent] == [
        (master_module.RUN, 1, 2, "one"),
        (master_module.RUN, 2, 2, "two"),
    ]
