"""`guestswarm capacity SCENARIO`: the highest load at which all rules hold.

Each step is a whole run of its own under `steps/`; what comes next follows from the steps so far (`harness.search.capacity`). What
was decided is written down step by step, so that a search that ends before its time is reported as far as it came.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.options import add_scenario_options, rate, read_target
from harness.cli.terminal import Terminal
from harness.core.spread import parse_duration, show_duration
from harness.errors import ExitCode, GuestswarmError, RunFolderError, UsageError

if TYPE_CHECKING:
    from harness.cli.run import Signals
    from harness.config import Scenario
    from harness.report.jobs.capacity_step import MeasuredStep
    from harness.search.capacity import CapacityController, Judgement, StepOrder

_PAGE_S = 300.0
"""How long the page of one step may take."""
_ENDS = {
    "simulator_lost": "the simulator has ended",
    "journal": "the journal could not be written",
    "killed": "it was killed",
    "failed": "its load process failed",
}
"""How a step ends that cannot be used, in words."""


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("capacity", parents=[common], help="the highest load at which all rules of a scenario hold")
    add_scenario_options(parser)
    parser.add_argument("--plan", type=rate, metavar="N", help="the load that is planned: how much room there is beside it")
    parser.add_argument("--first", type=rate, metavar="N", help="first load: guests, or arrivals/s (default: see [capacity])")
    parser.add_argument("--most", type=rate, metavar="N", help="try no more than that")
    parser.add_argument("--within", metavar="DURATION", help='begin no step that would end later, such as "2h" (default: 4h)')
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Search; the exit code is the verdict's, or says why there is none."""
    from harness.cli.capacity_plan import capacity_plan, dry_plan
    from harness.cli.plan import tell
    from harness.cli.run import Signals, authorise

    with Signals() as signals:
        scenario, simulated = read_target(args, _overrides(args))
        plan = capacity_plan(scenario, simulated=simulated)
        if args.dry_run:
            return tell(dry_plan(scenario, plan, simulated=simulated), scenario, terminal, simulated=simulated)
        authorise(scenario, simulated=simulated)
        from harness.search.capacity import CapacityController  # scipy takes a while to load

        search = _Search.begin(scenario, CapacityController(plan), args, terminal, signals, simulated=simulated)
        args.folder = search.folder
        return search.carry_out()


def _overrides(args: argparse.Namespace) -> dict[str, Any]:
    """What this command's own flags set in `[capacity]`."""
    found: dict[str, Any] = {f"capacity.{name}": getattr(args, name) for name in ("plan", "first", "most")}
    if args.within is not None:
        try:
            parse_duration(args.within)
        except ValueError as error:
            raise UsageError(str(error), where="--within") from None
        found["capacity.within"] = args.within
    return {key: value for key, value in found.items() if value is not None}


@dataclass(slots=True)
class _Search:
    """One search: its folder, its steps, and why it ended."""

    scenario: Scenario
    controller: CapacityController
    runs: Path
    folder: Path
    terminal: Terminal
    signals: Signals
    simulated: bool
    tls: bool
    began_s: float = field(default_factory=time.monotonic)
    stopped: str = field(default="", init=False)
    """Why it was ended before its own end; empty: it was not, or by a signal."""
    error: GuestswarmError | None = field(default=None, init=False)
    """What a step could not be carried out for."""

    @classmethod
    def begin(
        cls,
        scenario: Scenario,
        controller: CapacityController,
        args: argparse.Namespace,
        terminal: Terminal,
        signals: Signals,
        *,
        simulated: bool,
    ) -> _Search:
        """Make the folder of the search."""
        import msgspec

        from harness.cli.run import run_folder

        job = {"kind": "capacity", "plan": msgspec.to_builtins(controller.plan), "stopped": "", "doomed": ""}
        folder = run_folder(scenario, args.runs, simulated=simulated, more={"job": job})
        return cls(scenario, controller, args.runs, folder, terminal, signals, simulated, args.tls)

    def carry_out(self) -> int:
        """All steps, then the report. Returns the exit code."""
        from harness.cli.run import report_child

        plan = self.controller.plan
        where = "simulated" if self.simulated else ", ".join(self.scenario.hosts())
        self.terminal.note(
            f"{self.scenario.name} · capacity · {', '.join(self.scenario.mix)} · {where} · from {plan.first:,.6g} {plan.unit}"
        )
        try:
            self._steps()
        except GuestswarmError as error:
            self.error, self.stopped = error, f"step {len(self.controller.steps) + 1} could not be carried out: {error.what}"
        self._note_end()
        if self.error is not None:
            if not self.controller.steps:
                raise self.error
            self.terminal.trouble(self.error)
        told = self.signals.told
        if self.controller.steps and self.signals.count < 2:
            self._pages()
        code = report_child(self.folder, self.runs, self.terminal, self.signals)
        if told and code != ExitCode.INTERNAL:
            return self.signals.exit_code
        return int(self.error.exit_code) if self.error is not None else code

    # ---------------------------------------------------------------- steps
    def _steps(self) -> None:
        from harness.report.jobs.capacity_folder import StepLine, append_step

        while not self.signals.told and (order := self.controller.next_step()) is not None:
            self.stopped = self._no_time(order)
            if self.stopped:
                self.terminal.note(self.stopped)
                return
            measured = self._step(order)
            if self.signals.told or measured is None:
                return
            judgement = self.controller.update(measured.result)
            step = self.controller.steps[-1]
            append_step(self.folder, StepLine(step, measured.messages_per_s, list(measured.beyond), measured.refused))
            self._tell(order, measured, judgement)

    def _no_time(self, order: StepOrder) -> str:
        """Why there is no time for another step; empty: there is."""
        from harness.cli.capacity_plan import longest_ns
        from harness.cli.run import foreign_hosts
        from harness.config import window_left

        longest, table = longest_ns(self.scenario, order), self.scenario.document.capacity
        what = f"step {order.number} ({self._load(order.load)}) may take {show_duration(_whole_s(longest))}"
        if self.controller.steps and (time.monotonic() - self.began_s) * 1e9 + longest > table.within:
            return f"{what} and would end later than {show_duration(table.within)} after the start"
        approval = self.scenario.authorisation
        if self.simulated or approval is None or not foreign_hosts(self.scenario):
            return ""
        left = window_left(approval, datetime.now(UTC)).total_seconds()
        if left * 1e9 < longest:
            return f"{what} and the window {approval.window} ({approval.timezone}) is open for {left:,.0f} s more"
        return ""

    def _step(self, order: StepOrder) -> MeasuredStep | None:
        """Run one step and read what it left. None: it did not come to its end, and `stopped` says why."""
        from harness.cli.capacity_plan import step_scenario
        from harness.cli.run import drive
        from harness.report.jobs.capacity_folder import RUNS
        from harness.report.jobs.capacity_step import measure_step
        from harness.runs.folder import free_reserve
        from harness.runs.manifest import RESOLVED

        scenario = step_scenario(self.folder / RESOLVED, self.scenario, order, simulated=self.simulated)
        again = ", once more" if order.attempt > 1 else ""
        self.terminal.note(
            f"{self._elapsed()}  step {order.number}: {order.kind}{again}, {self._load(order.load)},"
            f" {show_duration(_whole_s(scenario.load.ramp))} ramp and {show_duration(_whole_s(scenario.load.duration))} load"
        )
        more = {"step": {"of": self.folder.name, "number": order.number, "load": order.load, "kind": order.kind}}
        folder, driven = drive(
            scenario,
            self.folder / RUNS,
            replace(self.terminal, live=False),  # a screen for each step would leave all of them behind
            self.signals,
            simulated=self.simulated,
            tls=self.tls,
            more=more,
            calibrations=self.runs,
        )
        free_reserve(folder)
        if self.signals.told:
            return None
        plan, warm_up = self.controller.plan, self.scenario.document.capacity.warm_up
        measured = measure_step(folder, order.load, whole=plan.whole, warm_up_ns=warm_up, limits=plan.limits)
        if measured.complete:
            return measured
        said = _ENDS.get(measured.ended, f"it ended as {measured.ended!r}")
        self.stopped = f"step {order.number} ({self._load(order.load)}) did not come to its end: {said}"
        self.error = GuestswarmError(self.stopped, where=str(folder))
        if driven.status == ExitCode.PASS and measured.ended == "journal":
            self.error.exit_code = ExitCode.UNKNOWN
        return None

    def _tell(self, order: StepOrder, measured: MeasuredStep, judgement: Judgement) -> None:
        result = measured.result
        middle = "" if result.percentile_s is None else f"  {_first_rule(result.rules)} {result.percentile_s * 1000:,.0f} ms"
        rated = "" if result.throughput is None else f"  {result.throughput:,.1f}/s"
        self.terminal.note(
            f"{self._elapsed()}  step {order.number}: {self._load(order.load)} {judgement.verdict}{middle}{rated}"
            f"  {judgement.sentence}"
        )
        for text in measured.beyond:
            self.terminal.note(f"         beyond the calibrated load of this machine: {text}")

    def _load(self, load: float) -> str:
        return f"{load:,.0f} guests" if self.controller.plan.whole else f"{load:,.4g} arrivals/s"

    def _elapsed(self) -> str:
        passed = int(time.monotonic() - self.began_s)
        return f"{passed // 60:02d}:{passed % 60:02d}"

    # ---------------------------------------------------------------- the end
    def _note_end(self) -> None:
        """How the search ended; a full disk must not keep what is known from being told."""
        from harness.runs.folder import update_manifest

        ended = self.signals.word or ("stopped" if self.stopped else "finished")
        job: dict[str, Any] = {"stopped": self.stopped, "doomed": self.controller.doomed_reason}
        if self.error is not None:
            job["exit_code"] = int(self.error.exit_code)
        try:
            update_manifest(self.folder, {"ended": ended, "job": job})
        except RunFolderError as error:
            self.terminal.note(f"guestswarm: {error}")

    def _pages(self) -> None:
        """The page of each run that the answer hangs on: the confirmation, and the loads on either side of the limit."""
        answer = self.controller.answer()
        wanted = {answer.held, answer.broke}
        chosen = [step for step in self.controller.steps if step.order.kind == "confirm"]
        for load in sorted(load for load in wanted if load is not None):
            chosen += [step for step in self.controller.steps if step.order.load == load and step not in chosen][-1:]
        for step in chosen:
            if self.signals.count > 1 or not self._page(step.result.reference):
                return

    def _page(self, name: str) -> bool:
        """Let a child build it, so that what draws is not loaded here. False: we were told to hurry."""
        from harness.cli.run import REPORT_COMMAND
        from harness.report.jobs.capacity_folder import RUNS
        from harness.runs.process import death_tie

        argv: Sequence[str] = [*REPORT_COMMAND, str(self.folder / RUNS / name), "--runs", str(self.runs)]
        quiet: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        before, deadline = self.signals.count, time.monotonic() + _PAGE_S
        child = subprocess.Popen(argv, start_new_session=True, preexec_fn=death_tie(), **quiet)  # noqa: S603
        while True:
            try:
                child.wait(0.25)
                return True
            except subprocess.TimeoutExpired:
                if self.signals.count > before or time.monotonic() > deadline:
                    child.kill()
                    child.wait()
                    return False


def _whole_s(ns: int) -> int:
    """To the second: what a person reads."""
    return max(round(ns / 1e9), 1) * 10**9


def _first_rule(rules: Sequence[Any]) -> str:
    """What the percentile is of: the rule without its limit."""
    return str(rules[0].rule).partition(" <")[0] if rules else ""
