"""`guestswarm trend`: the newest run of a scenario against the nights before it."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.cli.finishing import finish
from harness.cli.terminal import Terminal
from harness.errors import RunFolderError, UsageError
from harness.runs.folder import find_run, list_runs, read_manifest


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("trend", parents=[common], help="tonight against the nights before: regressions, changes of level")
    parser.add_argument(
        "run", metavar="SCENARIO|RUN", nargs="?", default="latest", help="a scenario's name, or the run that is tonight"
    )
    parser.add_argument(
        "--nights", type=_nights, default=7, metavar="N", help="fewest good nights that are a baseline (default: 7)"
    )
    parser.add_argument("--accept", metavar="RUN", help="from now on the level of this run is the one to hold")
    parser.add_argument("--reason", default="", metavar="TEXT", help="why it is accepted")
    parser.add_argument("--to", type=Path, metavar="DIR", help="where the page goes (default: trend/ among the runs)")
    parser.set_defaults(execute=execute)


def _nights(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= 3):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 3")
    return int(text)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Build it; 0 nothing regressed, 1 something did, 3 there is no baseline yet."""
    from harness.report.jobs.trend import build
    from harness.report.nights import accept, scenario_name

    if args.accept:
        night = find_run(args.runs, args.accept)
        if night.parent.resolve() != Path(args.runs).resolve():
            raise UsageError("is not among the runs of this folder", where=str(night), hint="Name its folder with --runs DIR.")
        path = accept(args.runs, night.name, args.reason, datetime.now(UTC).isoformat(timespec="seconds"))
        terminal.note(f"Accepted: {night.name} ({path})")
    elif args.reason:
        raise UsageError("goes with --accept", where="--reason")
    tonight = _tonight(args.runs, args.run)
    name = re.sub(r"[^a-z0-9]+", "-", scenario_name(read_manifest(tonight)).lower()).strip("-") or "run"
    return finish(build(args.runs, tonight, fewest=args.nights), args.to or args.runs / "trend" / name, terminal)


def _tonight(runs: Path, which: str) -> Path:
    """The newest run of a scenario of this name, else the run that is called so."""
    named = [run for run in list_runs(runs) if run.scenario == which]
    if named:
        return max(named, key=lambda run: (run.started_utc, run.id)).path
    try:
        return find_run(runs, which)
    except RunFolderError:
        names = sorted({run.scenario for run in list_runs(runs) if run.scenario})
        if not names:
            raise
        raise RunFolderError(
            f"no run and no scenario {which!r}", where=str(runs), hint=f"Scenarios there: {', '.join(names[:8])}."
        ) from None
