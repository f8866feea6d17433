"""`guestswarm soak SCENARIO`: hours of the same load, which outlive a lost load child, a restarted target and a full disk.

It is one run in one folder, of one or more sessions: each load child that is lost, and each `--resume`, begins another, whose
numbers go on where the one before it ended. The target's own figures are asked for every interval.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace as replaced
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.cli.options import add_scenario_options, judge_simulator, read_scenario, read_target
from harness.cli.plan import objections, run_plan, tell
from harness.cli.run import Signals, authorise, client_secret, live_rules, run_folder
from harness.cli.soak_plan import SoakPlan, job_of, make_plan, mapping, rows_of
from harness.cli.soak_run import SHORTEST_NS, SoakProcesses, next_session, put_truth_aside
from harness.cli.terminal import Terminal
from harness.config import Scenario
from harness.core.spread import show_duration
from harness.errors import GuestswarmError, RunFolderError, UsageError
from harness.runs.folder import find_run, read_manifest, update_manifest
from harness.runs.manifest import RESOLVED

_S = 10**9
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_BEGUN_WITH = ("simulate", "simulator", "include", "seed", "set", "tls")
"""Options that say what a soak is; one that is resumed is so already."""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("soak", parents=[common], help="hours of the same load: leaks, drifts, bad hours")
    add_scenario_options(parser, needed=False)
    parser.add_argument("--for", dest="length", metavar="DURATION", help='full load, such as "5min" or "8h" ([soak] duration)')
    parser.add_argument("--until", metavar="TIME", help='when full load ends: "06:30", or "2026-11-22T06:30"')
    parser.add_argument("--resume", metavar="RUN", help="go on with an interrupted soak, in its own folder")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run it; the exit code is the verdict's."""
    with Signals() as signals:
        if args.resume is not None:
            return _resume(args, terminal, signals)
        if args.scenario is None:
            raise UsageError("name a scenario, or an interrupted soak with --resume", where="soak")
        scenario, simulated, plan = _planned(args)
        if args.dry_run:
            told = run_plan("soak", scenario, simulated=simulated)
            told = replaced(told, rows=[*told.rows, *rows_of(plan)], more={**told.more, **mapping(plan)})
            return tell(told, scenario, terminal, simulated=simulated)
        authorise(scenario, simulated=simulated)
        secret = client_secret(scenario, simulated)
        job = {**job_of(plan, scenario.document.soak, scenario.load.ramp), "boot": _boot(), "tls": args.tls}
        folder = args.folder = run_folder(scenario, args.runs, simulated=simulated, more={"job": job})
        for text in (*plan.remarks, *(_said(scenario) if not simulated else ())):
            terminal.note(text)
        run = SoakProcesses(scenario, folder, terminal, signals, secret, live_rules(scenario), tls=args.tls)
        run.truth = plan.rows == "all"
        return run.carry_out(simulated=simulated, tls=args.tls, resolved=folder / RESOLVED, runs=args.runs)


def _planned(args: argparse.Namespace) -> tuple[Scenario, bool, SoakPlan]:
    """The scenario as a soak runs it, whether its guests go to the embedded simulator, and the plan."""
    first, simulated = read_target(args)
    plan = make_plan(first, length=args.length, until=args.until, now=datetime.now(UTC), free=_free(args.runs))
    return read_scenario(args, plan.overrides()), simulated, plan


def _free(runs: Path) -> int:
    """Bytes on the disk that the runs lie on."""
    place = Path(runs).absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        return shutil.disk_usage(place).free
    except OSError as error:
        raise RunFolderError(f"cannot tell how much is free: {error.strerror or error}", where=str(runs)) from None


def _said(scenario: Scenario) -> list[str]:
    """What the approval does to a soak that may begin: as sentences."""
    return [
        f"{text[0].upper()}{text[1:]}."
        for text in objections(run_plan("soak", scenario, simulated=False), scenario, simulated=False)
    ]


def _boot() -> str:
    """Which start of the machine this is: its monotonic clock counts from there."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


# ------------------------------------------------------------------ going on
def _resume(args: argparse.Namespace, terminal: Terminal, signals: Signals) -> int:
    from harness.config import load_scenario

    if args.scenario is not None:
        raise UsageError("an interrupted soak has its scenario in its folder; leave SCENARIO out", where="--resume")
    for name in _BEGUN_WITH:
        if getattr(args, name):
            raise UsageError("an interrupted soak goes on as it began", where=f"--{name}", hint="Begin a new one to change that.")
    folder = find_run(args.runs, args.resume)
    args.folder = folder
    manifest = read_manifest(folder)
    job = manifest.get("job")
    if not isinstance(job, dict) or job.get("kind") != "soak":
        raise UsageError("is not a soak", where=str(folder), hint="--resume goes on with what `guestswarm soak` began.")
    if manifest.get("ended") == "finished":
        raise UsageError("has come to its end already", where=str(folder), hint="Begin a new one.")
    if job.get("boot", "") != _boot():
        raise UsageError(
            "the machine was started anew since, so its clock counts from elsewhere",
            where=str(folder),
            hint="What was gathered stands: guestswarm report. Begin a new soak.",
        )
    simulated = bool(manifest.get("simulated"))
    scenario = load_scenario(folder / RESOLVED, {}, simulate=simulated, validate_simulator=judge_simulator)
    if not args.dry_run:
        authorise(scenario, simulated=simulated)
    duration = _left(args, scenario, manifest)
    if args.dry_run:
        scenario = load_scenario(folder / RESOLVED, {"load.duration": show_duration(duration)}, simulate=simulated)
        return tell(run_plan("soak", scenario, simulated=simulated), scenario, terminal, simulated=simulated)
    session = next_session(folder, scenario, _number(manifest) + 1)
    planned_s = job["planned_s"] if args.length is None and args.until is None else _elapsed_s(manifest) + duration / _S
    planned_s = max(planned_s, job["planned_s"])
    judged = bool(job["judged"]) or planned_s >= job["rule"]["least_s"]  # it may go on for long enough now
    update_manifest(folder, {"ended": None, "job": {"planned_s": planned_s, "judged": judged}})
    secret = client_secret(scenario, simulated)
    tls = bool(job.get("tls"))
    run = SoakProcesses(scenario, folder, terminal, signals, secret, live_rules(scenario), tls=tls)
    run.truth = False
    run.session, run.duration_ns = session, duration
    put_truth_aside(folder)
    run.events.add(what="resumed", session=session.number)
    try:
        return run.carry_out(simulated=simulated, tls=tls, resolved=folder / RESOLVED, runs=folder.parent)
    except GuestswarmError:  # it did not begin: the soak stands as it stood
        update_manifest(folder, {name: manifest.get(name) for name in ("ended", "job", "sessions")})
        raise


def _number(manifest: Mapping[str, Any]) -> int:
    sessions = manifest.get("sessions")
    return len(sessions) if isinstance(sessions, list) else 1


def _elapsed_s(manifest: Mapping[str, Any]) -> float:
    """Since the soak first began; its folder is of this start of the machine."""
    began: int = manifest["anchor"]["monotonic_ns"]
    return (time.monotonic_ns() - began) / _S


def _left(args: argparse.Namespace, scenario: Scenario, manifest: Mapping[str, Any]) -> int:
    """Full load that is still to come: what was planned ends when it was to end."""
    if args.length is not None or args.until is not None:
        plan = make_plan(scenario, length=args.length, until=args.until, now=datetime.now(UTC), free=_free(args.runs))
        return plan.duration_ns
    left: int = round((manifest["job"]["planned_s"] - _elapsed_s(manifest)) * _S) - scenario.load.ramp
    if left < SHORTEST_NS:
        raise UsageError("its planned end has passed", where=str(args.folder), hint="Say for how long to go on with --for.")
    return left // _S * _S
