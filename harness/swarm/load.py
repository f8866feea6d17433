"""One run in one load process: guests arrive, speak, are drained and leave; every interval is journalled on the way.

Whoever hosts it (the load child of `guestswarm run`, or Locust's own command) makes one `LoadRun` per run, calls `begin`,
lets Locust users take places, and calls `drain` when the load is over. The order of the end is fixed: nobody speaks any
more → the simulator settles → loss wait → guests leave → last interval → the journal is closed → truth is sealed.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import gc
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Protocol
from urllib.parse import urlsplit

import gevent
from gevent.event import Event
from gevent.hub import get_hub

from harness.config import Scenario
from harness.core import ops
from harness.core.credentials import Secret
from harness.core.ops import Observer
from harness.core.pace import Pace
from harness.core.pacing import Behaviour
from harness.core.session import Context, GuestSession
from harness.dialects.registry import all_dialects, drawn_faults
from harness.errors import GuestswarmError, NotAuthorisedError, RunFolderError, UnreachableError, UsageError
from harness.journal.records import Interval
from harness.journal.segments import SegmentedWriter
from harness.metrics.recorder import Recorder
from harness.report.health import rule_limits
from harness.report.live import LiveTotals, live_line
from harness.runs.folder import update_manifest
from harness.runs.manifest import Session, SimulatorAddress
from harness.swarm.arrivals import Arrivals, gap_of
from harness.swarm.closing import LOOK_S, Closing
from harness.swarm.engines.greenlet import GreenletGuest
from harness.swarm.guard import Guard
from harness.swarm.memory import RELEASE_EVERY_NS, releaser
from harness.swarm.network import Ceiling, Network
from harness.swarm.preflight import knock
from harness.swarm.tls import client_context
from harness.swarm.watch import Watch, file_limit, local_ports
from harness.verdicts.abort import Abort, RuleWatch
from harness.verdicts.check import readable

Say = Callable[[dict[str, Any]], object]
_POLL_S = 0.05
_LEAVES_PER_S = 200.0
_FAULTS_TOLD = 5
_OWN_FILES = 32
"""Descriptors of a load process beside those of its guests."""
_FREEZE = (50_000, 20, 100)
"""Thresholds of the collector during a run: what guests leave behind is freed by reference counts."""


class Control(Protocol):
    """The calls of a simulator's control listener that a run makes."""

    def begin(self) -> object:
        """The run starts now."""

    def settle(self) -> object:
        """Agents say nothing new."""

    def seal(self) -> object:
        """Close the truth."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a load process is told."""

    scenario: Scenario
    folder: Path
    run: str
    secret: Secret
    wall_offset_ns: int
    """Wall clock minus monotonic clock at the run's anchor."""
    worker: str = "1"
    first_slot: int = 1
    slot_step: int = 1
    """Slots of this process are `first_slot`, `first_slot + slot_step`, …: no two processes share one."""
    guests: int = 0
    """Places planned in this process (0: all of the scenario's)."""
    share: float = 1.0
    """Of the arrival rate that falls to this process."""
    timed: bool = True
    """Whether the load ends by the scenario's duration; else whoever hosts the run ends it."""
    last: bool = True
    """Whether this process settles and seals the simulator and writes the manifest (one of a run does)."""
    session: Session | None = None
    """Of a run that outlives its load child; None: of any other."""


class Place:
    """A Locust user's place in the run: it waits here until a guest arrives for it. `listen` may wrap the guest's observer."""

    __slots__ = ("arrived", "dialect", "guest", "listen", "scripted")

    def __init__(self, dialect: str, *, scripted: bool = True, listen: Callable[[Observer], Observer] | None = None) -> None:
        self.dialect, self.scripted, self.listen = dialect, scripted, listen
        self.arrived = Event()
        self.guest: GreenletGuest | None = None


class LoadRun:
    """Owns the recorder, the journal, the clockwork and all guests of one run in this process."""

    def __init__(
        self,
        plan: Plan,
        network: Network,
        *,
        control: Control | None = None,
        say: Say | None = None,
        tee: Callable[[Observer], Observer] | None = None,
    ) -> None:
        scenario = plan.scenario
        self.plan, self.network, self.control = plan, network, control
        self.ended = "finished"
        """The manifest's word for how the run ended."""
        self.phase = ""
        self.phases: dict[str, int] = {}
        self.closed = False
        self.faults: list[str] = []
        """Tracebacks of the first sessions that failed by our fault."""
        self._say = say or _nobody
        session = plan.session or Session()
        self._writer = SegmentedWriter(
            plan.folder,
            plan.run,
            plan.worker,
            first=session.first_segment,
            max_bytes=session.segment_bytes,
            max_ns=session.segment_ns,
            start_ns=time.monotonic_ns(),
        )
        self._rows_before = ""
        """What was kept of rows before the journal could not be written any more; empty: it can."""
        self.recorder = Recorder(
            plan.run,
            plan.worker,
            self._writer.write,
            start_ns=time.monotonic_ns(),
            rows=scenario.report.rows,
            max_bytes=scenario.report.max_bytes,
            loss_wait_ns=scenario.loss_wait_ns,
            first_index=session.first_interval,
        )
        self._observer: Observer = tee(self.recorder) if tee else self.recorder
        self.watch = Watch(self.recorder)
        self._totals = LiveTotals()
        self._limits = {**rule_limits(readable(scenario.slo)), **scenario.health}
        self._planned = plan.guests or scenario.guests.planned
        self._target = replace(scenario.session_target(plan.secret), bases=network.bases)
        self._open_model = scenario.guests.count is None
        self._behaviour = self._behave(scenario.guests.behaviour())
        together = self._behaviour.send_rate_all * plan.share
        self._pace = Pace(together, self._behaviour.send_burst, time.monotonic_ns()) if together > 0 else None
        """What all guests of this process share; None: nothing."""
        self._settings = {name: scenario.settings(name) for name in scenario.mix}
        self._arrivals: Arrivals | None = None
        self._waiting: deque[Place] = deque()
        self._someone = Event()
        self._guests: set[GreenletGuest] = set()
        self._next_slot = plan.first_slot
        self._end = Event()
        self._hurry = Event()
        self._greenlets: list[gevent.Greenlet[..., Any]] = []
        self._hub: Any = get_hub()
        self._draining = False
        self._drained = Event()
        self._ports = self._files = self._told = self._dropped = 0
        self._fault_told = False
        self._rules = (
            RuleWatch(scenario.slo, grace_ns=scenario.slo_table.grace, abort=scenario.slo_table.abort) if scenario.slo else None
        )
        self._aborted: Abort | None = None
        self._closing: Closing | None = None
        """The approved window's close; None: the target needs no approval."""

    def _behave(self, behaviour: Behaviour) -> Behaviour:
        # In the open model a guest is one visit: it comes, chats, goes, and the next one is somebody else.
        return replace(behaviour, conversations=behaviour.conversations or 1) if self._open_model else behaviour

    # ---------------------------------------------------------------- before the load
    def preflight(self) -> None:
        """Judge every address, then knock at each once. Raises NotAuthorisedError or UnreachableError; sends no load."""
        scenario, network = self.plan.scenario, self.network
        origins = {network.origin(base): base for dialect in scenario.dialects.values() for base in dialect.bases}
        for origin in origins:
            network.guard.judge(origin.host)
        if any(not network.guard.is_local(origin.host) for origin in origins):
            self._check_window()
        self._check_room()
        for origin, base in origins.items():
            knock(network, origin, base, scenario.target.answer_within / 1e9)

    def _check_room(self) -> None:
        """Whether the system lets this process hold so many guests at all. Raises UsageError if it does not.

        A guest has one connection open at least. Local ports are shared by all workers of a machine, and needed to each address.
        """
        least = self._planned + _OWN_FILES
        if 0 < file_limit() < least:
            raise UsageError(
                f"{self._planned:,} guests need at least {least:,} open files and this process may have {file_limit():,}",
                hint="Raise the limit (ulimit -n), or use more workers.",
            )
        guests, ports = self.plan.scenario.guests.planned, local_ports()
        if ports is not None and ports < guests:
            raise UsageError(
                f"{guests:,} guests need as many local ports and there are {ports:,}",
                hint="Widen net.ipv4.ip_local_port_range, or spread the workers over more machines.",
            )

    def _check_window(self) -> None:
        """Arrange to be drained when the approved window shuts. Raises NotAuthorisedError if it is too short for that."""
        approval = self.plan.scenario.authorisation
        if approval is None:
            return
        session, unset = self.plan.session, None
        if session is not None and not session.begins:
            unset = datetime.fromtimestamp((time.monotonic_ns() + self.plan.wall_offset_ns) / 1e9, UTC)
        closing = Closing(approval, self._drain_s(), wall=lambda: datetime.now(UTC), monotonic=time.monotonic, unset=unset)
        if closing.left_s() <= 0:
            raise NotAuthorisedError(
                "the approved window shuts before the guests could be drained", hint=f"Window: {approval.window}"
            )
        self._closing = closing

    def _drain_s(self) -> float:
        scenario = self.plan.scenario
        return (scenario.load.settle + scenario.loss_wait_ns + scenario.load.drain) / 1e9

    # ---------------------------------------------------------------- the load
    def begin(self) -> None:
        """The clock starts: guests who have taken places arrive from now on."""
        plan, scenario = self.plan, self.plan.scenario
        guests = plan.guests or scenario.guests.planned
        gap = gap_of(guests, scenario.load.ramp, (scenario.guests.arrivals_per_s or 0) * plan.share)
        if self.control is not None and plan.last and (plan.session is None or plan.session.begins):
            self.control.begin()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*_FREEZE)
        now = time.monotonic_ns()
        self.recorder.start(now)
        self.watch.start()
        rng = Random(f"{scenario.seed}/arrivals/{plan.worker}")
        self._arrivals = Arrivals(now, gap, rng, strict=self._open_model)
        self._enter("ramp", now)
        for act in (self._close_intervals, self._admit, self._pass_phases, self._keep_window):
            self._greenlets.append(gevent.spawn(self._guarded, act))

    def end(self, word: str = "finished") -> None:
        """The load is over; the first word counts."""
        if not self._end.is_set():
            self.ended = word
            self._end.set()

    def told_to_stop(self, word: str) -> None:
        """A signal: the first one ends the load, the second one does not wait for the drain either."""
        self._told += 1
        if self._told > 1:
            self.hurry()
        else:
            self.end(word)

    def discard(self) -> None:
        """There is no load after all: leave no journal behind."""
        self.closed = True
        self._writer.close()
        self._writer.path.unlink(missing_ok=True)

    def hurry(self) -> None:
        """No more waiting: write down what there is."""
        self._end.set()
        self._hurry.set()

    def over_and_closed(self) -> bool:
        """Whether the journal is closed and nothing more will come."""
        return self._drained.is_set()

    def hurry_from_thread(self) -> None:
        """As `hurry`, from a thread outside the hub: whoever ran us is gone."""
        self._hub.loop.run_callback_threadsafe(self._orphaned)

    def _orphaned(self) -> None:
        if not self.over:
            self.ended = "orphaned"
        self.hurry()
        gevent.spawn(self.drain)

    def pace(self, guests: int, per_s: float) -> None:
        """Guests who are still to come, or are added, arrive at this rate from now on (closed model)."""
        if self._arrivals is not None and not self._open_model and guests and per_s > 0:
            self._arrivals.set_gap(round(1e9 / per_s))

    def wait(self) -> None:
        """Until the load is over."""
        self._end.wait()

    @property
    def over(self) -> bool:
        """Whether the load is over and guests must not speak any more."""
        return bool(self._end.is_set())

    # ---------------------------------------------------------------- places and guests
    @property
    def visits(self) -> bool:
        """Open model: a place is taken by one visitor after the other. Else by one guest for the whole run."""
        return self._open_model

    def take_place(self, place: Place) -> None:
        """A Locust user is there and waits for its guest."""
        self._waiting.append(place)
        self._someone.set()

    def give_up_place(self, place: Place) -> None:
        """The user was stopped before its guest arrived."""
        if place in self._waiting:
            self._waiting.remove(place)

    def gone(self, place: Place) -> None:
        """The place's guest has finished."""
        if place.guest is not None:
            self._guests.discard(place.guest)

    def leave(self, guest: GreenletGuest) -> None:
        """Make one guest leave, as long as `[load] drain` allows, and no longer."""
        if not guest.finished:
            guest.leave()
            guest.wait(0 if self._hurry.is_set() else self.plan.scenario.load.drain / 1e9)
            guest.abandon()

    def _admit(self) -> None:
        """Let guests arrive by the plan, one place after the other."""
        arrivals = self._arrivals
        assert arrivals is not None
        while not self._end.is_set():
            if not self._open_model:
                while not self._waiting:
                    self._someone.clear()
                    self._someone.wait()
                if self._end.is_set():
                    return
            now = time.monotonic_ns()
            at = arrivals.next(now)
            if at > now and self._end.wait((at - now) / 1e9):
                return
            if self._waiting:
                self._arrive(self._waiting.popleft())
            elif self._open_model:
                self._observer.record(ops.Noted(time.monotonic_ns(), "", "arrival.dropped"))

    def _arrive(self, place: Place) -> None:
        slot, self._next_slot = self._next_slot, self._next_slot + self.plan.slot_step
        scenario = self.plan.scenario
        dialect = all_dialects()[place.dialect]
        faults = tuple(
            name for name in drawn_faults(scenario.guests.client_faults, scenario.seed, slot) if name in dialect.client_faults
        )
        context = Context(
            self.plan.run,
            slot,
            self._target,
            self._behaviour,
            place.listen(self._observer) if place.listen else self._observer,
            Random(f"{scenario.seed}/{slot}"),
            self.plan.wall_offset_ns,
            faults,
        )
        session = dialect.session(context, dialect.settings_with(self._settings[place.dialect], faults))
        session.scripted = place.scripted
        if self._pace is not None:
            session.pace = self._pace
        guest = place.guest = GreenletGuest(session, self.network, self._on_fault)
        self._guests.add(guest)
        guest.start()
        place.arrived.set()

    def _on_fault(self, session: GuestSession, error: BaseException) -> None:
        """A session failed by our fault: counted, told, and the guest is no longer among those that live."""
        now = time.monotonic_ns()
        self._observer.record(ops.Noted(now, session.label, "internal", type(error).__name__))
        self._observer.record(ops.State(now, session.label, session.state, "finished"))
        if len(self.faults) < _FAULTS_TOLD:
            text = "".join(traceback.format_exception(error))
            self.faults.append(text)
            sys.stderr.write(text)
            self._say({"kind": "fault", "name": "internal", "text": f"guest {session.label}: {type(error).__name__}: {error}"})

    # ---------------------------------------------------------------- clockwork
    def _guarded(self, act: Callable[[], object]) -> None:
        """A defect in the clockwork ends the run in good order instead of letting it go on unwatched."""
        try:
            act()
        except Exception as error:
            text = "".join(traceback.format_exception(error))
            self.faults.append(text)
            sys.stderr.write(text)
            self._say({"kind": "error", "what": f"{type(error).__name__}: {error}", "where": act.__name__})
            self.end("failed")

    def _enter(self, phase: str, now: int) -> None:
        self.phase = phase
        self.phases[phase] = now
        self._say({"kind": "phase", "phase": phase, "at_ns": now})

    def _pass_phases(self) -> None:
        load = self.plan.scenario.load
        if self._end.wait(load.ramp / 1e9):
            return
        self._enter("load", time.monotonic_ns())
        gc.freeze()  # without a collection: one over a thousand guests would stop them all for 30 ms
        if self.plan.timed and not self._end.wait(load.duration / 1e9):
            self.end()

    def _keep_window(self) -> None:
        closing = self._closing
        while closing is not None and (left_s := closing.left_s()) > 0:
            if self._end.wait(min(left_s, LOOK_S)):
                return
        if closing is not None:
            self.end("window_shut")

    def _close_intervals(self) -> None:
        every, release = self.plan.scenario.load.interval, releaser()
        due = time.monotonic_ns() + every
        released = due
        while True:
            gevent.sleep(max(due - time.monotonic_ns(), 0) / 1e9)
            if self.closed:
                return
            self._close_interval()
            if due - released >= RELEASE_EVERY_NS:
                release()
                released = due
            due = max(due + every, time.monotonic_ns())

    def _close_interval(self, *, final: bool = False) -> None:
        guard, watch = self.network.guard, self.watch
        watch.count("ports.exhausted", guard.no_ports - self._ports)
        watch.count("open_files.refused", guard.no_files - self._files)
        self._ports, self._files = guard.no_ports, guard.no_files
        self._mind_the_journal()
        figures, histograms = watch.close()
        if self.plan.session is not None:
            figures["session.last"] = self.plan.session.number
        interval = self.recorder.close_interval(time.monotonic_ns(), figures, histograms, final=final)
        self._say(
            live_line(
                interval,
                self._totals,
                planned=self._planned,
                phase=self.phase,
                limits=self._limits,
                journal_error=str(self._writer.error or ""),
            )
        )
        self._watch_rules(interval)
        if self.recorder.fault and not self._fault_told:
            self._fault_told = True
            sys.stderr.write(self.recorder.fault)
            self._say({"kind": "fault", "name": "recorder", "text": self.recorder.fault.strip().rpartition("\n")[2]})

    def _mind_the_journal(self) -> None:
        """A journal that cannot be written ends the load. A run of sessions goes on, and what waits is written when there is room.

        Until then it does without op rows, which would soon be more than can be kept.
        """
        writer, watch, session = self._writer, self.watch, self.plan.session
        if session is None:
            watch.count("journal.errors", 1 if writer.error else 0)
            if writer.error is not None and not self.over:
                self._say({"kind": "fault", "name": "journal", "text": f"{writer.error.what}: the run ends here"})
                self.end("journal")
            return
        watch.count("journal.errors", writer.dropped - self._dropped)
        self._dropped = writer.dropped
        if writer.waiting:
            watch.count("journal.waits")
            if not self._rows_before:
                self._rows_before, self.recorder.rows = self.recorder.rows, "none"
                what = writer.error.what if writer.error else "the journal cannot be written"
                self._say({"kind": "fault", "name": "journal", "text": f"{what}: the run goes on without op rows"})
        elif self._rows_before:
            self.recorder.rows, self._rows_before = self._rows_before, ""
            self._say({"kind": "fault", "name": "journal", "text": "the journal can be written again", "on": False})
        if not self.over and writer.rotate(time.monotonic_ns()):
            self._say({"kind": "rotated", "file": writer.path.name})

    def _watch_rules(self, interval: Interval) -> None:
        """Say how the rules stand, and end the load where they ask for that. One process sees only its own share of the guests."""
        if self._rules is None or not self.plan.timed or self.over:
            return
        abort = self._rules.take(interval, self.phases.get("load"))
        self._say({"kind": "rules", "states": self._rules.states})
        if abort is not None:
            self._aborted = abort
            self._say({"kind": "note", "text": f"The load ends early: {abort.sentence}"})
            self.end("aborted")

    # ---------------------------------------------------------------- the end
    def drain(self) -> None:
        """Carry out the end of the run; returns when the journal is closed. Whoever comes second waits for the first."""
        self._end.set()
        if self._draining:
            self._drained.wait()
            return
        self._draining = True
        try:
            self._drain()
        finally:
            self._drained.set()

    def _drain(self) -> None:
        scenario = self.plan.scenario
        self._enter("settle", time.monotonic_ns())
        for guest in list(self._guests):
            guest.stop()
        self._tell_simulator("settle")
        self._wait_until(lambda: not any(guest.session.ops for guest in self._guests), scenario.load.settle)
        self._enter("loss_wait", time.monotonic_ns())
        self._wait_until(lambda: False, scenario.loss_wait_ns)
        self._enter("leave", time.monotonic_ns())
        self._leave_all()
        self._enter("end", time.monotonic_ns())
        self.closed = True
        self._close_interval(final=True)
        self.watch.stop()
        self._writer.close()
        current = gevent.getcurrent()
        gevent.killall([greenlet for greenlet in self._greenlets if greenlet is not current], block=False)
        gc.unfreeze()
        if not self._hurry.is_set():  # who does not wait cannot have read everything that was handed over
            self._tell_simulator("seal")
        if self._writer.error is not None and self.ended == "finished" and self.plan.session is None:
            self.ended = "journal"
        if self.plan.last:
            try:
                aborted = {"rule": self._aborted.rule, "at_ns": self._aborted.at_ns} if self._aborted else None
                update_manifest(self.plan.folder, {"phases": self._whole_phases(), "ended": self.ended, "aborted": aborted})
            except RunFolderError as error:  # what was gathered is in the journal all the same
                self._say({"kind": "note", "text": f"{error.where}: {error.what}"})
        self._say({"kind": "end", "ended": self.ended})

    def _whole_phases(self) -> dict[str, int]:
        """The phases as the whole run has them: it began with its first session."""
        if self.plan.session is None or self.plan.session.number == 1:
            return self.phases
        return {name: at for name, at in self.phases.items() if name not in ("ramp", "load")}

    def _wait_until(self, condition: Callable[[], bool], at_most_ns: int) -> None:
        deadline = time.monotonic_ns() + at_most_ns
        while not self._hurry.is_set() and not condition():
            left = deadline - time.monotonic_ns()
            if left <= 0 or not self._guests:
                return
            self._hurry.wait(min(left / 1e9, _POLL_S))

    def _leave_all(self) -> None:
        """Everybody leaves, spread a little, within `[load] drain`; who has not managed by then is given up."""
        drain_s = self.plan.scenario.load.drain / 1e9
        deadline = time.monotonic() + drain_s
        guests = [guest for guest in self._guests if not guest.finished]
        pause = min(1 / _LEAVES_PER_S, drain_s / 4 / max(len(guests), 1))
        for guest in guests:
            if self._hurry.is_set():
                break
            guest.leave()
            self._hurry.wait(pause)
        self._wait_until(lambda: all(guest.finished for guest in guests), max(round((deadline - time.monotonic()) * 1e9), 0))
        for guest in guests:
            guest.abandon()

    def _tell_simulator(self, what: str) -> None:
        """A simulator that does not answer any more must not keep the journal from being closed."""
        if self.control is None or not self.plan.last:
            return
        try:
            getattr(self.control, what)()
        except GuestswarmError as error:
            self._say({"kind": "note", "text": f"{what}: {error.what}"})
            sys.stderr.write(f"{what}: {error}\n")
            if isinstance(error, UnreachableError):  # nobody is there to wait for
                self.ended = "simulator_lost" if self.ended == "finished" else self.ended
                self.hurry()


def network_of(scenario: Scenario, simulator: SimulatorAddress | None, *, share: float = 1.0) -> Network:
    """How guests of this scenario reach the simulator, or else the scenario's target. Raises ScenarioError."""
    if simulator is not None:
        bases = scenario.target_bases(simulator.port, simulator.tls)
        return Network(Guard(), bases, client_context(Path(simulator.ca)) if simulator.tls else None, simulated=True)
    approval = scenario.authorisation
    bases = scenario.target_bases()
    guard = Guard(approval)
    context = client_context(scenario.ca_file(), verify=scenario.target.tls.verify)
    foreign = approval is not None and any(not guard.is_local(urlsplit(url).hostname or "") for url in bases.values())
    return Network(guard, bases, context, ceiling=Ceiling(approval.max_requests_per_s * share) if approval and foreign else None)


def _nobody(_line: dict[str, Any]) -> None:
    """Nobody listens."""
