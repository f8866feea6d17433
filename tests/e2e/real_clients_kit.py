"""Programs that others have written, run against a simulator of ours. Where they are installed is told by environment variables."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ROOT = Path(__file__).parents[2]
DRIVERS = Path(__file__).with_name("real_clients")
NODE_CLIENTS, PYTHON_CLIENTS = "GUESTSWARM_NODE_CLIENTS", "GUESTSWARM_PYTHON_CLIENTS"
"""A folder with a `node_modules`, and a Python that has the vendor's SDK."""
SECRET, DEPLOYMENT = "for-this-test-only", "11111111-2222-4333-8444-555555555555"
TESTERS = ("@makingchatbots/genesys-cloud-chatbot-tester", "@ovotech/genesys-web-messaging-tester")
TABLE = """
[agents]
accept = "50ms"
reply = "200ms"
typing = "50ms"
[webmessaging]
"""


@contextmanager
def simulator(folder: Path, *options: str, own: str = "") -> Iterator[dict[str, Any]]:
    """A simulator of webmessaging alone; what it said of itself."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "simulator.toml"
    config.write_text(TABLE + own)
    command = [sys.executable, "-m", "harness.cli.main", "simulate", "--config", str(config), "--folder", str(folder)]
    command += ["--dialects", "webmessaging", *options]
    environment = {**os.environ, "GUESTSWARM_SIM_SECRET": SECRET}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()
            process.wait(20)


def node_module(name: str) -> Path:
    """The folder where that package is installed; the test is skipped where it is not."""
    folder = os.environ.get(NODE_CLIENTS, "")
    if not folder or not shutil.which("node") or not (Path(folder) / "node_modules" / name).is_dir():
        pytest.skip(f"{NODE_CLIENTS} names no folder with {name}")
    return Path(folder)


def vendors_python() -> str:
    """The Python that has the vendor's SDK."""
    python = os.environ.get(PYTHON_CLIENTS, "")
    if not python:
        pytest.skip(f"{PYTHON_CLIENTS} names no Python")
    return python


def drive(*command: str, **environment: str) -> dict[str, Any]:
    """Run a driver to its end; what it printed as its last line."""
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=90, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def rows(folder: Path) -> list[dict[str, Any]]:
    """The truth so far."""
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]


def one_message(port: int) -> tuple[str, str]:
    """Say one thing by hand: the message's id, and a JWT for the history."""
    return asyncio.run(_one_message(port))


async def _one_message(port: int) -> tuple[str, str]:
    url, token = f"ws://127.0.0.1:{port}/v1?deploymentId={DEPLOYMENT}", "5b3fd1a0-0f0e-4c7a-8d2e-1a2b3c4d5e6f"
    headers = {"Origin": "https://shop.example"}
    async with aiohttp.ClientSession() as http, http.ws_connect(url, headers=headers) as ws:
        await ws.send_json({"action": "configureSession", "deploymentId": DEPLOYMENT, "token": token})
        await ws.send_json({"action": "onMessage", "token": token, "message": {"type": "Text", "text": "Hello [#real.hand.g.1]"}})
        await ws.send_json({"action": "getJwt", "token": token})
        found = [await ws.receive_json(timeout=10) for _ in range(3)]
    return found[1]["body"]["channel"]["messageId"], found[2]["body"]["jwt"]
