"""`guestswarm schema`: JSON Schema of scenarios, or of `summary.json`."""

from __future__ import annotations

import argparse
from typing import Any

from harness.cli.terminal import Terminal
from harness.config import scenario_schema
from harness.errors import ExitCode


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("schema", parents=[common], help="JSON Schema of a scenario (or of summary.json)")
    parser.add_argument("--summary", action="store_true", help="of a run's summary.json instead")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print it; it is JSON with and without `--json`."""
    if args.summary:
        from harness.report.summary import summary_schema

        terminal.value(summary_schema())
    else:
        terminal.value(scenario_schema())
    return int(ExitCode.PASS)
