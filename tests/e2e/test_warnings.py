"""Every command, and every process that it starts, works with all warnings as errors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ExitCode
from tests.e2e.kit import ROOT, Run, Simulator, guestswarm

pytestmark = pytest.mark.e2e
STRICT = {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": ""}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        (("--version",), 0),
        (("run", "--help"), 0),
        (("runs",), 0),
        (("runs", "--json"), 0),
        (("dialects",), 0),
        (("dialects", "--json"), 0),
        (("schema",), 0),
        (("schema", "--summary"), 0),
        (("report",), ExitCode.USAGE),
    ],
)
def test_commands(tmp_path: Path, arguments: tuple[str, ...], code: int) -> None:
    env = {**os.environ, "GUESTSWARM_RUNS": str(tmp_path / "runs")}
    argv = guestswarm(*arguments, options=("-W", "error"))
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == code, done
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("module", ["harness.swarm.child", "harness.simulator"])
def test_children_alone(module: str) -> None:
    argv = [sys.executable, "-W", "error", "-m", module, "--nonsense", "x"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == ExitCode.USAGE, done
    assert "usage: " in done.stderr
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("tls", [(), ("--tls",)])
def test_a_whole_run_with_all_its_children(tmp_path: Path, tls: tuple[str, ...]) -> None:
    with Run(tmp_path, "-t", "1s", *tls, env=STRICT) as run:
        assert run.end(40) == ExitCode.PASS, run.said
        run.assert_clean_words()
        assert (run.folder / "load.log").read_text() == ""
        assert (run.folder / "simulator.log").read_text() == ""
        assert not (run.folder / ".reserve").exists()


def test_the_simulator_alone(tmp_path: Path) -> None:
    with Simulator(tmp_path, env=STRICT):
        pass
    assert (tmp_path / "log").read_text() == ""
