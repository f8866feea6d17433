"""Clients that others have written talk to the simulator as they are. docs/real-clients.md tells how to install them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.real_clients_kit import (
    DEPLOYMENT,
    DRIVERS,
    SECRET,
    TESTERS,
    drive,
    node_module,
    one_message,
    rows,
    simulator,
    vendors_python,
)

pytestmark = pytest.mark.e2e


def judge(found: dict[str, Any], folder: Path) -> None:
    """The tester has got two answers and its own words back, and so says the truth."""
    assert found["text"].endswith("re 1]")
    words = [body for body in found["bodies"] if body["type"] == "Text"]
    assert [body["direction"] for body in words] == ["Inbound", "Outbound"] * 2
    times = [body["channel"]["time"] for body in found["bodies"]]
    assert times == sorted(set(times))
    deadline = time.monotonic() + 10
    while True:
        ids = {name: [row["id"] for row in rows(folder) if row["row"] == name] for name in ("messages.sent", "messages.delivered")}
        if all(len(found) == 2 for found in ids.values()) or time.monotonic() > deadline:
            break
        time.sleep(0.1)
    assert ids == {
        "messages.sent": ["real.tester.g.1", "real.tester.g.2"],
        "messages.delivered": ["real.tester.a.1", "real.tester.a.2"],
    }


@pytest.mark.parametrize("name", TESTERS)
def test_a_community_tester_over_plain_websockets(name: str, tmp_path: Path) -> None:
    where = node_module(name)
    with simulator(tmp_path) as said:
        found = drive("node", str(DRIVERS / "tester.cjs"), str(where), name, DEPLOYMENT, f"ws://127.0.0.1:{said['port']}")
        judge(found, tmp_path)


@pytest.mark.parametrize("name", TESTERS)
def test_a_community_tester_by_its_own_url_over_tls(name: str, tmp_path: Path) -> None:
    where = node_module(name)
    with simulator(tmp_path, "--tls") as said:
        server = f"wss://127.0.0.1:{said['port']}"
        command = ("node", str(DRIVERS / "tester.cjs"), str(where), name, DEPLOYMENT, server)
        judge(drive(*command, NODE_EXTRA_CA_CERTS=str(said["ca"])), tmp_path)


def test_the_vendors_javascript_sdk(tmp_path: Path) -> None:
    where = node_module("purecloud-platform-client-v2")
    with simulator(tmp_path) as said:
        mid, jwt = one_message(said["port"])
        command = ("node", str(DRIVERS / "platform.cjs"), str(where), str(said["port"]), "guestswarm", SECRET, mid, jwt)
        found = drive(*command)
    assert found["queues"]["total"] == 1
    assert found["details"]["id"] == mid
    assert found["details"]["conversationId"]
    assert mid in [entity["channel"].get("messageId") for entity in found["history"]["entities"]]


def test_the_vendors_python_sdk(tmp_path: Path) -> None:
    python = vendors_python()
    with simulator(tmp_path) as said:
        _, jwt = one_message(said["port"])
        base = f"http://127.0.0.1:{said['port']}"
        found = drive(python, str(DRIVERS / "platform_sdk.py"), base, "guestswarm", SECRET, jwt)
    assert found["queues"] == 1
    assert len(found["history"]) >= 1
