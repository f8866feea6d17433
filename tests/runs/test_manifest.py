from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from harness.errors import RunFolderError
from harness.runs.folder import create_run, read_manifest
from harness.runs.manifest import LoadOrder, SimulatorAddress, new_manifest, take_anchor


def test_a_manifest_has_all_that_a_report_needs(tmp_path: Path) -> None:
    manifest = new_manifest(
        scenario={"scenario": {"name": "x"}},
        seed=4,
        dialects=["webchat"],
        simulated=True,
        guests_planned=3,
        ramp_ns=1,
        duration_ns=2,
        loss_wait_ns=3,
        slo=["a < 1 ms"],
        health={},
        authorisation=None,
    )
    read = read_manifest(create_run(tmp_path, "x", manifest))
    keys = (
        "schema run id scenario seed dialects simulated started_utc anchor versions host guests_planned loss_wait_ns planned phases"
    )
    assert read.keys() >= {*keys.split(), "ended", "slo", "health", "authorisation"}
    assert read["planned"] == {"ramp_ns": 1, "duration_ns": 2}
    assert read["versions"]["guestswarm"]
    assert set(read["host"]) == {"python", "platform", "cpus"}
    assert read["started_utc"].endswith("Z")


def test_the_anchor_is_one_instant_on_both_clocks() -> None:
    anchor = take_anchor()
    later = time.monotonic_ns() - anchor["monotonic_ns"], time.time_ns() - anchor["wall_ns"]
    assert abs(later[0] - later[1]) < 50_000_000


@pytest.mark.parametrize("simulator", [None, SimulatorAddress(1, "http://127.0.0.1:2", "ca.pem")])
def test_a_load_order_reads_back(tmp_path: Path, simulator: SimulatorAddress | None) -> None:
    order = LoadOrder("scenario.json", {"guests.count": 3}, simulator)
    order.write(tmp_path)
    assert LoadOrder.read(tmp_path) == order
    assert simulator is None or simulator.tls


@pytest.mark.parametrize("text", ["", "{}", "[]", json.dumps({"schema": "guestswarm.load/9"})])
def test_orders_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "load.json").write_text(text)
    with pytest.raises(RunFolderError):
        LoadOrder.read(tmp_path)
