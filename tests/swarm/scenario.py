"""A scenario that is over in seconds, and a simulator for it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from harness.config import Scenario, load_scenario
from harness.core.credentials import Secret
from harness.runs.folder import create_run, read_manifest, write_json
from harness.runs.manifest import CLIENT_SECRET_ENV, CONTROL_TOKEN_ENV, RESOLVED, LoadOrder, SimulatorAddress, new_manifest
from harness.runs.simulated import SIM_SECRET_ENV, SimulatorControl, SimulatorProcess

ROOT = Path(__file__).parents[2]
SECRET = "s3cr3t-for-tests"

TOML = """
[scenario]
name = "brief"
seed = 3
dialect = "webchat"
[target]
queue = "support"
skills = ["Tier1_Support"]
[guests]
count = 8
think_time = "300ms±50%"
session_length = "2s±30%"
between = "300ms±50%"
reply_timeout = "4s"
confirm_timeout = "2s"
[load]
ramp = "1s"
duration = "3s"
settle = "2s"
loss_wait = "1s"
drain = "5s"
interval = "200ms"
[dialects.webchat]
reconnect_base = "50ms"
reconnect_jitter = "50ms"
reconnect_cap = "200ms"
[simulator.agents]
number = 20
concurrency = 4
accept = "50ms±50%"
reply = "150ms±50%"
"""


def write_scenario(folder: Path, **changes: str) -> Path:
    """The scenario's file; changes are `old="new"` by whole lines' beginnings."""
    lines = []
    for line in TOML.splitlines():
        key = line.partition(" = ")[0]
        lines.append(f"{key} = {changes[key]}" if key in changes else line)
    path = folder / "brief.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def manifest_of(scenario: Scenario, *, simulated: bool = True) -> dict[str, Any]:
    return new_manifest(
        scenario=scenario.resolved(),
        seed=scenario.seed,
        dialects=list(scenario.mix),
        simulated=simulated,
        guests_planned=scenario.guests.planned,
        ramp_ns=scenario.load.ramp,
        duration_ns=scenario.load.duration,
        loss_wait_ns=scenario.loss_wait_ns,
        slo=scenario.slo,
        health=scenario.health,
        authorisation=None,
    )


class Prepared:
    """A run folder with everything that `guestswarm run` puts into it, and its simulator."""

    def __init__(self, root: Path, *, tls: bool = False, simulate: bool = True, **changes: str) -> None:
        self.scenario = load_scenario(write_scenario(root, **changes))
        self.folder = create_run(root / "runs", self.scenario.name, manifest_of(self.scenario, simulated=simulate))
        write_json(self.folder / RESOLVED, self.scenario.resolved())
        self.simulator: SimulatorProcess | None = None
        self.address: SimulatorAddress | None = None
        if simulate:
            self.simulator = SimulatorProcess.start(
                self.scenario.simulator, self.folder, seed=self.scenario.seed, tls=tls, secret_env={SIM_SECRET_ENV: SECRET}
            )
            self.address = SimulatorAddress(self.simulator.port, self.simulator.control, self.simulator.ca)
        LoadOrder(str(self.folder / RESOLVED), {}, self.address).write(self.folder)

    @property
    def secret(self) -> Secret:
        return Secret(SECRET)

    @property
    def control(self) -> SimulatorControl:
        assert self.simulator is not None
        return SimulatorControl(self.simulator.control, self.simulator.token)

    @property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.folder)

    @property
    def environment(self) -> dict[str, str]:
        """For the load child."""
        found = {**os.environ, CLIENT_SECRET_ENV: SECRET, "PYTHONWARNINGS": "error"}
        if self.simulator is not None:
            found[CONTROL_TOKEN_ENV] = self.simulator.token
        return found

    def truth(self) -> list[dict[str, Any]]:
        """Rows of the truth table after the report was made."""
        return json.loads((self.folder / "summary.json").read_text())["truth"]  # type: ignore[no-any-return]

    def stop(self) -> None:
        if self.simulator is not None:
            self.simulator.stop()
