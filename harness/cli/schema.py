"""`guestswarm schema`: JSON Schema of scenarios, or of `summary.json`."""

from __future__ import annotations

import argparse
from importlib import import_module
from typing import Any

from harness.cli.terminal import Terminal
from harness.config import scenario_schema
from harness.errors import ExitCode

_SUMMARIES = {
    "run": ("harness.report.summary", "summary_schema"),
    "capacity": ("harness.report.jobs.capacity_summary", "capacity_schema"),
    "ratelimit": ("harness.report.jobs.ratelimit_summary", "ratelimit_schema"),
}
"""Of what there is a schema, and what makes it."""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("schema", parents=[common], help="JSON Schema of a scenario (or of summary.json)")
    parser.add_argument(
        "--summary",
        nargs="?",
        const="run",
        choices=sorted(_SUMMARIES),
        help="of a summary.json instead: a run's (the default), a job's",
    )
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print it; it is JSON with and without `--json`."""
    if args.summary:
        module, name = _SUMMARIES[args.summary]
        terminal.value(getattr(import_module(module), name)())
    else:
        terminal.value(scenario_schema())
    return int(ExitCode.PASS)
