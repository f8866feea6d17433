"""`guestswarm calibrate`: what this machine can drive within its health limits, and how far its figures are from known truth.

Each step is a run of its own: real processes against the embedded simulator. First the greatest healthy load is looked for, then
at that load one run for each kind of latency, one with a server that stands still, and one with faults that are counted.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.terminal import Terminal, table
from harness.core.spread import parse_duration, show_duration
from harness.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from harness.calibration.outcome import Step
    from harness.calibration.search import Search
    from harness.cli.driving import Measured
    from harness.cli.run import Signals

ENGINE = "greenlet"
ARRIVALS_PER_S = 100
_DRAIN_S = 8
"""What settling, loss wait and leaving take, about: to know whether another step still fits."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much time is spent."""

    hold_ns: int
    accuracy_ns: int
    tolerance: float
    tries: int
    within_ns: int


_S = 10**9
FULL = Effort(10 * _S, 24 * _S, 0.1, 2, 720 * _S)
QUICK = Effort(4 * _S, 12 * _S, 0.25, 1, 240 * _S)


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "calibrate", parents=[common], help="what this machine can drive, and how far its figures are from known truth"
    )
    parser.add_argument("--quick", action="store_true", help="shorter steps and a coarser answer")
    parser.add_argument("--mix", default="", metavar="SHARES", help='such as "webchat=0.7,longpoll=0.3" (default: half and half)')
    parser.add_argument("--period", default="1s", metavar="DURATION", help="each guest sends a message so often (default: 1s)")
    parser.add_argument("--first", type=_whole, default=50, metavar="N", help="guests of the first step (default: 50)")
    parser.add_argument("--most", type=_whole, default=8000, metavar="N", help="try no more guests than that (default: 8000)")
    parser.add_argument("--hold", metavar="DURATION", help="full load of a step (default: 10s, with --quick 4s)")
    parser.add_argument("--within", metavar="DURATION", help="begin no step past that (default: 12min, with --quick 4min)")
    parser.add_argument("--keep", action="store_true", help="keep the runs of the steps, under calibration/")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(execute=execute)


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def _duration(text: str, where: str) -> int:
    try:
        value = parse_duration(text)
    except ValueError as error:
        raise UsageError(str(error), where=where) from None
    if value <= 0:
        raise UsageError("must be above 0s", where=where)
    return value


def mix_of(text: str) -> dict[str, float]:
    """`webchat=0.7,longpoll=0.3` as shares. Raises UsageError; whether the dialects exist is asked later."""
    shares: dict[str, float] = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        try:
            shares[name.strip()] = float(value) if equals else 1.0
        except ValueError:
            raise UsageError(f"{value!r} is no share", where="--mix") from None
    return shares


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Search, measure, write down, tell."""
    from harness.calibration.scenarios import MIX
    from harness.cli.run import Signals  # pydantic and the dialects take a while to load

    chosen = QUICK if args.quick else FULL
    effort = Effort(
        _duration(args.hold, "--hold") if args.hold else chosen.hold_ns,
        chosen.accuracy_ns,
        chosen.tolerance,
        chosen.tries,
        _duration(args.within, "--within") if args.within else chosen.within_ns,
    )
    period = _duration(args.period, "--period")
    mix = mix_of(args.mix) if args.mix else dict(MIX)
    folder = args.runs / "calibration"
    with Signals() as signals:
        work = _Calibration(folder, terminal, signals, mix, period, effort, keep=args.keep)
        try:
            return work.carry_out(args.first, args.most, args.runs)
        finally:
            if not args.keep:
                shutil.rmtree(folder, ignore_errors=True)


class _Calibration:
    def __init__(
        self,
        folder: Path,
        terminal: Terminal,
        signals: Signals,
        mix: Mapping[str, float],
        period_ns: int,
        effort: Effort,
        *,
        keep: bool,
    ) -> None:
        self._keep = keep
        self._folder, self._terminal, self._signals = folder, terminal, signals
        self._mix, self._period, self._effort = dict(mix), period_ns, effort
        self._began = time.monotonic()
        self._steps: list[Step] = []

    def carry_out(self, first: int, most: int, runs: Path) -> int:
        from harness.calibration.search import Search
        from harness.runs.calibration import write_calibration

        every = show_duration(self._period)
        self._terminal.note(
            f"Calibrating: {_shares(self._mix)}; from every guest a message each {every}; the simulator runs on this machine too."
        )
        search = Search(first, most, self._effort.tolerance, self._effort.tries)
        exhausted = self._search(search)
        if self._signals.count:
            return self._signals.exit_code
        if not search.holds:
            self._terminal.note("Not even the first step was healthy: nothing was written.")
            self._terminal.result(table(*_steps_table(self._steps)))
            return int(ExitCode.UNKNOWN)
        record = self._record(search, exhausted)
        accuracy = self._accuracy(search.holds)
        if self._signals.count > 0:
            return self._signals.exit_code
        record |= accuracy
        path = write_calibration(runs, record)
        if self._terminal.json:
            self._terminal.value(record)
        else:
            self._terminal.result(shown(record))
            self._terminal.result(str(path))
        return int(ExitCode.PASS)

    # ---------------------------------------------------------------- the search
    def _search(self, search: Search) -> bool:
        """Try loads until the limit is found. True: the time was up before."""
        while (guests := search.next()) is not None:
            if self._signals.told:
                return False
            if self._elapsed() + self._step_s(guests) > self._effort.within_ns / 1e9 and search.holds:
                return True
            step = self._step(guests)
            self._steps.append(step)
            search.update(guests, step.healthy)
        return False

    def _step(self, guests: int) -> Step:
        from harness.calibration.outcome import judge_step

        measured = self._drive(f"step-{len(self._steps) + 1}", guests, self._effort.hold_ns)
        step = judge_step(measured.model, guests, measured.simulator)
        delay, busy = step.figures.get("send delay p99"), step.figures.get("loop busy")
        said = "healthy" if step.healthy else f"too much ({step.limited_by})"
        self._terminal.note(
            f"{self._elapsed():5.0f} s  {guests:6,} guests  {step.messages_per_s:8,.0f} messages/s"
            f"  send delay p99 {_show(delay)} ms  loop busy {_show(busy)}  simulator {_show(step.simulator_cpu)} core  {said}"
        )
        return step

    # ---------------------------------------------------------------- the errors
    def _accuracy(self, guests: int) -> dict[str, Any]:
        from harness.calibration.compare import compare_schedule, kept, off_grid
        from harness.calibration.outcome import counts_of, worst
        from harness.calibration.scenarios import FAULTS, KINDS, STANDSTILL
        from harness.calibration.timings import ANSWERED

        errors: dict[str, Any] = {}
        counts: dict[str, Any] = {}
        schedules: dict[str, Any] = {}
        plans: dict[str, dict[str, Any]] = {name: {"latency": spelled} for name, spelled in KINDS.items()}
        plans["standstill"] = {"faults": (STANDSTILL,)}
        plans["faults"] = {"faults": FAULTS}
        least: float | None = None
        for name, more in plans.items():
            if self._signals.told:
                break
            measured = self._drive(name, guests, self._effort.accuracy_ns, **more)
            rows = measured.join.rows
            counts[name] = {row: _count(count) for row, count in counts_of(measured.model).items()}
            if name == "faults":
                off = sum(count["error"] for count in counts[name].values())
                self._terminal.note(f"{self._elapsed():5.0f} s  {name}: anomalies off by {off} in {len(counts[name])} counts")
                continue
            main = max(ANSWERED, key=lambda measure: sum(row.measure == measure for row in rows))
            schedule, astray = kept(rows, self._period, measured.settle_ns, main), off_grid(rows, self._period)
            schedules[name] = {
                "due": schedule.due,
                "came_in_time": schedule.came,
                "off_grid": astray,
                "latest_ms": schedule.latest_ms,
                "in_flight": schedule.in_flight,
                "not_in_truth": measured.join.unknown,
            }
            if astray or not rows:  # what truth is formed from does not hold
                self._terminal.note(f"{self._elapsed():5.0f} s  {name}: {astray} messages off the schedule; no error can be stated")
                continue
            compared = compare_schedule(rows)
            errors[name] = {
                measure: {part: _percentiles(found) for part, found in parts.items()} for measure, parts in compared.items()
            }
            found = worst(compared)
            least = found if least is None else max(least, found or 0.0)
            self._terminal.note(
                f"{self._elapsed():5.0f} s  {name}: percentiles within {_percent(found)} of the simulator's own record"
            )
        return {"errors": errors, "schedules": schedules, "anomalies": counts, "worst": least}

    def _drive(self, name: str, guests: int, hold_ns: int, **more: Any) -> Measured:
        from harness.calibration.scenarios import calibration_scenario
        from harness.cli.driving import drive_measured

        document = calibration_scenario(
            name, guests=guests, mix=self._mix, period_ns=self._period, ramp_ns=self._ramp_ns(guests), hold_ns=hold_ns, **more
        )
        measured = drive_measured(document, self._folder, self._signals)
        if not self._keep:
            shutil.rmtree(measured.folder, ignore_errors=True)
        return measured

    # ---------------------------------------------------------------- small
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    @staticmethod
    def _ramp_ns(guests: int) -> int:
        return max(_S, guests * _S // ARRIVALS_PER_S)

    def _step_s(self, guests: int) -> float:
        return (self._ramp_ns(guests) + self._effort.hold_ns) / 1e9 + _DRAIN_S

    def _record(self, search: Search, exhausted: bool) -> dict[str, Any]:
        from harness.runs.calibration import machine

        best = max((step for step in self._steps if step.healthy), key=lambda step: step.guests)
        failed = min((step for step in self._steps if not step.healthy), key=lambda step: step.guests, default=None)
        why = failed.limited_by if failed is not None and search.found else "time" if exhausted else "--most"
        busiest = max((step.simulator_cpu or 0.0 for step in self._steps), default=0.0)
        return {
            "made_utc": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
            "machine": machine(),
            "engine": ENGINE,
            "mix": self._mix,
            "period": show_duration(self._period),
            "guests": best.guests,
            "messages_per_s": best.messages_per_s,
            "limited_by": why,
            "too_much": search.fails or None,
            "simulator_cpu": round(busiest, 3),
            "hold": show_duration(self._effort.hold_ns),
            "steps": [
                {
                    "guests": step.guests,
                    "healthy": step.healthy,
                    "messages_per_s": step.messages_per_s,
                    "over": step.over,
                    "simulator_cpu": step.simulator_cpu,
                    "figures": step.figures,
                }
                for step in self._steps
            ],
        }


def _percentiles(found: Any) -> dict[str, Any]:
    table = {
        name: {"truth_ms": e.truth_ms, "measured_ms": e.measured_ms, "error_ms": e.error_ms, "error": e.error}
        for name, e in found.percentiles.items()
    }
    return {"n": found.n, **table}


def _count(count: Any) -> dict[str, Any]:
    return {"truth": count.truth, "low": count.low, "high": count.high, "equal": count.equal, "error": count.error}


def _shares(mix: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {100 * share:g} %" for name, share in mix.items())


def _show(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2g} %"


def _steps_table(steps: list[Step]) -> tuple[list[list[str]], list[str]]:
    rows = [[f"{step.guests:,}", f"{step.messages_per_s:,.0f}", "yes" if step.healthy else step.limited_by] for step in steps]
    return rows, ["guests", "messages/s", "healthy"]


def shown(record: Mapping[str, Any]) -> str:
    """The record for people."""
    lines = [
        f"{record['guests']:,} guests, {record['messages_per_s']:,.0f} messages/s (each confirmed and answered), "
        f"engine {record['engine']}, {_shares(record['mix'])}.",
        f"The next step was too much: {record['limited_by']}."
        if record["too_much"]
        else f"No limit was met; the search ended with {record['limited_by']}.",
    ]
    if record["simulator_cpu"] > 0.9:
        lines.append("The simulator used up a core of its own: the generator may be able to do more.")
    rows = []
    for kind, measures in record["errors"].items():
        for measure, parts in measures.items():
            found = parts["response"]
            cells = [
                _percent(found[name]["error"]) if name in found else "–" for name in ("p50", "p90", "p95", "p99", "p99.9", "max")
            ]
            rows.append([kind, measure, f"{found['n']:,}", *cells])
    lines += ["", "Error of the response against the simulator's own record, at that load:", ""]
    lines.append(table(rows, ["server", "measure", "n", "p50", "p90", "p95", "p99", "p99.9", "max"]))
    counts = record["anomalies"].get("faults", {})
    rows = [
        [
            name,
            f"{one['truth']:,}",
            _range(one["low"], one["high"]),
            f"{one['error']:,}",
            "–" if one["equal"] is None else "yes" if one["equal"] else "NO",
        ]
        for name, one in counts.items()
    ]
    lines += ["", "Counts with faults injected, at that load:", "", table(rows, ["what", "truth", "measured", "error", "same ids"])]
    return "\n".join(lines)


def _range(low: int, high: int) -> str:
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"
