"""`guestswarm trend`: the newest run of a scenario against the nights before it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
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
    from harness.report.nights import accept, is_night, nights_of, scenario_name, slug_of
    from harness.report.remembered import place, remember

    tonight = _tonight(args.runs, args.run, is_night)
    scenario = scenario_name(read_manifest(tonight))
    if args.accept:
        night = find_run(args.runs, args.accept)
        if night.parent.resolve() != Path(args.runs).resolve():
            raise UsageError("is not among the runs of this folder", where=str(night), hint="Name its folder with --runs DIR.")
        told = read_manifest(night)
        if scenario_name(told) != scenario or not is_night(told):
            raise UsageError(f"is no night of {scenario!r}", where=str(night), hint="guestswarm runs lists them.")
        path = accept(args.runs, night.name, args.reason, datetime.now(UTC).isoformat(timespec="seconds"))
        terminal.note(f"Accepted: {night.name} ({path})")
    elif args.reason:
        raise UsageError("goes with --accept", where="--reason")
    name = slug_of(scenario)
    report = build(args.runs, tonight, fewest=args.nights)
    if Path(args.runs).resolve() == tonight.resolve().parent:
        nights = [night for _, night in nights_of(args.runs, tonight)]
        try:
            remember(place(args.runs, name), read_manifest(tonight), nights)
        except RunFolderError as error:  # a folder that only may be read: the verdict is said all the same
            terminal.note(f"guestswarm: {error}")
    return finish(report, args.to or args.runs / "trend" / name, terminal)


def _tonight(runs: Path, which: str, is_night: Callable[[Mapping[str, Any]], bool]) -> Path:
    """The newest night of a scenario of this name, else the run that is called so; `latest`: the newest night of all."""
    from harness.report.wording import shown

    known = list_runs(runs)
    for run in known:
        if (which == "latest" or run.scenario == which) and is_night(read_manifest(run.path)):
            return run.path
    try:
        return find_run(runs, which)
    except RunFolderError:
        names = sorted({run.scenario for run in known if run.scenario})
        if not names:
            raise
        raise RunFolderError(
            f"no run and no scenario {which!r}", where=str(runs), hint=f"Scenarios there: {', '.join(map(shown, names[:8]))}."
        ) from None
