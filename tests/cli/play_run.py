"""`guestswarm` with its children played by others: argv[1] is how the load child behaves, the rest is the command line."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent))

import pytest  # noqa: E402

from harness.cli import run  # noqa: E402
from harness.cli.main import main  # noqa: E402
from harness.runs import simulated  # noqa: E402
from tests.config.fakes import only_fakes  # noqa: E402

simulated.COMMAND = (sys.executable, str(HERE.parent / "runs" / "fake_simulator.py"), "well")
run.LOAD_COMMAND = (sys.executable, str(HERE / "fake_child.py"), sys.argv[1])
run.REPORT_COMMAND = (sys.executable, str(HERE / "fake_report.py"), "0")
with pytest.MonkeyPatch.context() as patch, only_fakes(patch):
    code = main(sys.argv[2:])
sys.exit(code)
