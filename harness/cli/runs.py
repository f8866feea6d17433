"""`guestswarm runs`: list the runs, newest first, or drop old ones."""

from __future__ import annotations

import argparse
from typing import Any

from harness.cli.terminal import Terminal, table
from harness.errors import ExitCode
from harness.runs.folder import list_runs, prune


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("runs", parents=[common], help="list runs, or drop old ones")
    parser.add_argument("--keep", type=_count, metavar="N", help="remove all finished runs but the newest N")
    parser.set_defaults(execute=execute)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs, such as 20")
    return int(text)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """List, after pruning if asked."""
    removed = prune(args.runs, args.keep) if args.keep is not None else []
    found = list_runs(args.runs)
    if args.json:
        listed = [
            {
                "id": run.id,
                "path": str(run.path),
                "scenario": run.scenario,
                "started_utc": run.started_utc,
                "ended": run.ended,
                "verdict": run.verdict,
                "guests": run.guests,
            }
            for run in found
        ]
        terminal.value({"runs": listed, "removed": [path.name for path in removed]})
        return int(ExitCode.PASS)
    if removed:
        terminal.note(f"removed {len(removed)} run{'s' if len(removed) != 1 else ''}")
    if not found:
        terminal.note(f"no runs in {args.runs}; begin with: guestswarm run SCENARIO")
        return int(ExitCode.PASS)
    rows = [[run.id, run.verdict or "-", run.ended or "-", "-" if run.guests is None else str(run.guests)] for run in found]
    terminal.result(table(rows, ["run", "verdict", "ended", "guests"]))
    return int(ExitCode.PASS)
