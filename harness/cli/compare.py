"""`guestswarm compare A B`: two runs side by side, and whether they may be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness.cli.finishing import finish
from harness.cli.terminal import Terminal
from harness.errors import UsageError
from harness.runs.folder import find_run


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("compare", parents=[common], help="two runs side by side: latency, correctness, what differs")
    parser.add_argument("a", metavar="A", help="the run to hold against: a folder, an id, or latest")
    parser.add_argument("b", metavar="B", nargs="?", default="latest", help="the run that is held against it (default: latest)")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the page goes (default: compare/ among the runs)")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Build it; 0 comparable and nothing of correctness grew, 1 it grew, 3 refused."""
    from harness.report.jobs.compare import build

    a, b = find_run(args.runs, args.a), find_run(args.runs, args.b)
    if a.resolve() == b.resolve():
        raise UsageError("is A and B: two runs are compared", where=str(b), hint="B is the newest run where it is not named.")
    target = args.to or args.runs / "compare" / f"{a.name}--{b.name}"
    return finish(build(a, b), target, terminal)
