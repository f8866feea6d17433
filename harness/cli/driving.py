"""One run against the embedded simulator for its figures alone: real processes, no verdict, no page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.calibration.timings import Join, join_timings, read_timings
from harness.cli.options import judge_simulator
from harness.cli.run import Signals, drive
from harness.cli.terminal import Terminal
from harness.config import load_scenario
from harness.report.build import TRUTH, build_model
from harness.report.fold import journals, op_rows
from harness.report.model import Model


@dataclass(frozen=True, slots=True)
class Measured:
    """What came of it."""

    folder: Path
    model: Model
    join: Join
    simulator: dict[str, Any]
    """The simulator's own figures at the end; empty if it was gone."""

    @property
    def settle_ns(self) -> int:
        """When guests began to say nothing more."""
        return int((self.model.manifest.get("phases") or {}).get("settle", self.model.measured.last_ns))


def drive_measured(document: Mapping[str, Any], runs: Path, signals: Signals) -> Measured:
    """Drive the scenario that `document` spells out, in a new run folder under `runs`, and read what it left."""
    runs.mkdir(parents=True, exist_ok=True)
    path = runs / f"{document['scenario']['name']}.json"
    path.write_text(json.dumps(document), "utf-8")
    scenario = load_scenario(path, {}, simulate=True, validate_simulator=judge_simulator)
    folder, driven = drive(scenario, runs, Terminal(quiet=True), signals)
    model = build_model(folder)
    join = join_timings(op_rows(journals(folder)), read_timings(folder / TRUTH), str(model.manifest.get("run", "")))
    return Measured(folder, model, join, driven.simulator)
