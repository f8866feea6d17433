"""`python -m harness.swarm.probe_child FOLDER`: the process of `guestswarm ratelimit` that opens sockets.

Orders, secrets, news and the end are as in the load child (`child.py`); further clients' secrets come as a JSON list.
"""

from __future__ import annotations

import signal

_EARLY: list[int] = []
if __name__ == "__main__":  # from the first line: importing takes a while
    for _number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(_number, lambda number, _frame: _EARLY.append(number))

import locust  # noqa: F401 - before all others: it patches the standard library

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.config import load_scenario
from harness.config.scenario import SIMULATED_CLIENT
from harness.core.credentials import Secret
from harness.errors import ExitCode
from harness.runs.folder import read_manifest
from harness.runs.manifest import CLIENT_SECRET_ENV, FURTHER_SECRETS_ENV, LoadOrder
from harness.swarm.child import Outlet, mind_the_parent, obey, obey_signals
from harness.swarm.load import network_of
from harness.swarm.probe import ProbeOrder, ProbeRun


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the order of a job's folder."""
    return obey("harness.swarm.probe_child", arguments, _run)


def _run(folder: Path, say: Outlet) -> int:
    order, manifest = LoadOrder.read(folder), read_manifest(folder)
    scenario = load_scenario(order.scenario, order.overrides, simulate=order.simulator is not None)
    further = [Secret(text) for text in json.loads(os.environ.pop(FURTHER_SECRETS_ENV, "[]"))]
    clients = [(scenario.target.client_id or SIMULATED_CLIENT, Secret(os.environ.pop(CLIENT_SECRET_ENV, "")))]
    clients += [(one.client_id, secret) for one, secret in zip(scenario.document.ratelimit.credentials, further, strict=True)]
    anchor = manifest["anchor"]
    offset = int(anchor["wall_ns"]) - int(anchor["monotonic_ns"])
    job = ProbeRun(ProbeOrder(scenario, folder, str(manifest["run"]), clients, offset), network_of(scenario, order.simulator), say)
    obey_signals(job, _EARLY)
    mind_the_parent(job)
    job.preflight()
    job.carry_out()
    return int(ExitCode.PASS)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # the journal is closed; whatever greenlets there still are must not hold us up
