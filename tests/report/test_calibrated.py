"""A run says what its machine was found to drive, and when it went beyond that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.report.build import build_report
from tests.report.history import leave, webchat, write_run

CITED: dict[str, Any] = {
    "made_utc": "2026-11-20T08:00:00Z",
    "engine": "greenlet",
    "mix": {"webchat": 0.5, "longpoll": 0.5},
    "guests": 500,
    "messages_per_s": 501.5,
    "worst": 0.021,
    "differs": [],
}


def told(folder: Path, **changes: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """The summary's words, and the texts that people read."""
    guests = [leave(webchat(slot), (1, 2, 3), (1, 2, 3)) for slot in range(1, 6)]
    model = build_report(write_run(folder, guests, **changes))
    from harness.report.text import verdict_text

    texts = [verdict_text(model, width=None), (folder / "report.md").read_text().replace("\\", "")]
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary["calibration"], texts


def test_a_run_within_it(tmp_path: Path) -> None:
    found, texts = told(tmp_path, calibration=CITED, dialects=["webchat"])
    assert found == {
        "made_utc": "2026-11-20T08:00:00Z",
        "guests": 500,
        "messages_per_s": 501.5,
        "worst": 0.021,
        "beyond": [],
        "differs": [],
    }
    for text in texts:
        assert "Calibrated on 2026-11-20: 500 guests, 502 messages/s, percentiles then within 2.1 % of truth." in text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"guests": 4}, "This run went beyond that: 5 guests, calibrated to 4."),
        ({"differs": ["cpus", "gevent"]}, "Not as calibrated: cpus, gevent."),
        ({"mix": {"longpoll": 1.0}}, "Not as calibrated: dialects (webchat not calibrated)."),
    ],
)
def test_a_run_beyond_it_or_on_another_machine_says_so(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    found, texts = told(tmp_path, calibration={**CITED, **changes}, dialects=["webchat"])
    assert found is not None
    assert found["beyond"] or found["differs"]
    for text in texts:
        assert says in text


def test_without_one_nothing_is_claimed(tmp_path: Path) -> None:
    found, texts = told(tmp_path)
    assert found is None
    assert not any("alibrated" in text for text in texts)
