"""The record of a calibration: found by later runs, cited with what differs, and never trusted blindly."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.runs.calibration import CALIBRATION, cite, machine, read_calibration, write_calibration

RECORD: dict[str, Any] = {
    "made_utc": "2026-11-21T08:00:00Z",
    "machine": {
        "processor": "x",
        "cpus": 2,
        "memory_gib": 8,
        "system": "Linux",
        "python": "3.11.7",
        "versions": {"gevent": "26.9.0"},
    },
    "engine": "greenlet",
    "mix": {"webchat": 1.0},
    "guests": 500,
    "messages_per_s": 501.5,
    "worst": 0.02,
}


def test_what_was_written_is_found(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
    assert cite(tmp_path) is None
    write_calibration(tmp_path, RECORD)
    assert read_calibration(tmp_path) == {"schema": "guestswarm.calibration/1", **RECORD}
    cited = cite(tmp_path, RECORD["machine"])
    assert cited is not None
    assert (cited["guests"], cited["messages_per_s"], cited["differs"]) == (500, 501.5, [])


def test_another_machine_is_named(tmp_path: Path) -> None:
    write_calibration(tmp_path, RECORD)
    here = {**RECORD["machine"], "cpus": 4, "memory_gib": 16, "versions": {"gevent": "27.1.0"}}
    cited = cite(tmp_path, here)
    assert cited is not None
    assert cited["differs"] == ["cpus", "memory gib", "gevent"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": "guestswarm.calibration/2"}', json.dumps({"schema": "guestswarm.calibration/1", "machine": {}})],
)
def test_what_is_no_calibration_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / CALIBRATION).write_text(text)
    assert cite(tmp_path) is None


def test_a_machine_is_without_a_name_or_a_path() -> None:
    import os
    import platform

    here = machine()
    assert here["cpus"] == os.cpu_count()
    assert platform.node() not in json.dumps(here) or platform.node() in ("", "localhost")
    assert str(Path.home()) not in json.dumps(here)
