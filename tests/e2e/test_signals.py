"""Ctrl-C and SIGTERM: drain, judge, report. Again: at once."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from harness.errors import ExitCode
from harness.report.fold import fold, journals
from tests.e2e.kit import LOAD, Run, until

pytestmark = pytest.mark.e2e
BOTH = pytest.mark.parametrize(
    ("number", "word", "code"),
    [(signal.SIGINT, "interrupted", ExitCode.INTERRUPTED), (signal.SIGTERM, "terminated", ExitCode.TERMINATED)],
)


@BOTH
def test_the_first_signal_drains_and_reports(tmp_path: Path, number: int, word: str, code: int) -> None:
    with Run(tmp_path, "-t", "60s") as run:
        run.until_loaded()
        run.process.send_signal(number)
        assert run.end(20) == code, run.said
        run.assert_gone()
        run.assert_clean_words()
        assert "Draining, up to" in run.err
        assert run.manifest["ended"] == word
        assert list(run.manifest["phases"]) == ["ramp", "load", "settle", "loss_wait", "leave", "end"]
        summary = run.summary
        assert (summary["verdict"], summary["exit_code"], summary["complete"]) == ("UNKNOWN", code, False)
        assert run.codes[0] == word
        assert all(row["equal"] for row in summary["truth"]), summary["truth"]  # drained to the end, and sealed
        assert not fold(journals(run.folder)).damage.any
        assert run.folder.name in run.out.splitlines()[-1]


@BOTH
def test_the_second_signal_writes_what_there_is_at_once(tmp_path: Path, number: int, word: str, code: int) -> None:
    with Run(tmp_path, "-t", "60s", "--set", "load.loss_wait=60s") as run:
        run.until_loaded()
        run.process.send_signal(number)
        run.until_said("phase loss_wait")
        began = time.monotonic()
        run.process.send_signal(number)
        assert run.end(10) == code, run.said
        assert time.monotonic() - began < 6
        run.assert_gone()
        run.assert_clean_words()
        assert "Stopping at once." in run.err
        assert run.codes[0] == word
        assert not fold(journals(run.folder)).damage.any


def test_the_second_signal_also_ends_a_load_child_that_hangs(tmp_path: Path) -> None:
    with Run(tmp_path, "-t", "60s") as run:
        run.until_loaded()
        os.kill(run.pid(LOAD), signal.SIGSTOP)
        run.process.send_signal(signal.SIGTERM)
        run.until_said("Draining")
        began = time.monotonic()
        run.process.send_signal(signal.SIGTERM)
        assert run.end(25) == ExitCode.TERMINATED, run.said
        assert time.monotonic() - began < 15
        run.assert_gone()
        assert run.manifest["ended"] == "terminated"
        assert run.codes[0] == "terminated"


def test_a_signal_before_there_is_any_load(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        until(lambda: list(run.runs.glob("*/manifest.json")), 10, lambda: run.said)
        run.process.send_signal(signal.SIGTERM)
        assert run.end(15) == ExitCode.TERMINATED, run.said
        run.assert_clean_words()
        until(lambda: not run.alive(), 2, "processes end")
        assert run.manifest["ended"] == "terminated"
