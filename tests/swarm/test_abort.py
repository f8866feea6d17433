"""A rule that is broken for good ends the load early, and the run is drained and judged all the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.report.build import build_report
from harness.runs.folder import update_manifest
from harness.verdicts.lattice import Verdict
from tests.swarm.scenario import Prepared
from tests.swarm.test_load import live, load_of

pytestmark = pytest.mark.e2e


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Prepared]:
    made = Prepared(tmp_path, duration='"60s"')
    yield made
    made.stop()


def test_a_broken_rule_ends_the_load(prepared: Prepared) -> None:
    rules = ("messages.sent < 5", "echo p50 < 10 s")
    table = prepared.scenario.slo_table.model_copy(update={"rules": rules, "abort": True})
    prepared.scenario = dataclasses.replace(prepared.scenario, slo=rules, slo_table=table)
    update_manifest(prepared.folder, {"slo": list(rules)})
    said: list[dict[str, Any]] = []
    load = load_of(prepared, said)
    load.preflight()
    load.begin()
    users = live(load, 8)
    load.wait()
    load.drain()
    for user in users:
        user.kill()
    assert load.ended == "aborted"
    assert prepared.manifest["aborted"]["rule"] == "messages.sent < 5"
    states = [line["states"] for line in said if line["kind"] == "rules"]
    assert states[-1][0] is False
    model = build_report(prepared.folder)
    assert (model.verdict, model.exit_code) == (Verdict.FAIL, 1)
    assert [reason.code for reason in model.reasons][:1] == ["rule_broken"]
    assert "aborted" in [reason.code for reason in model.reasons]
    assert all(row.equal for row in model.truth)
