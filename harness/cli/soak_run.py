"""The processes of a soak: load children one after the other, a simulator that is started anew, the target's own figures."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.run import LOAD_LOG, RunProcesses, simulator_process_table
from harness.config import Scenario
from harness.core.spread import show_duration
from harness.errors import ExitCode, GuestswarmError, RunFolderError
from harness.runs.events import EVENTS, TARGET, Lines
from harness.runs.folder import read_manifest, update_manifest
from harness.runs.manifest import LoadOrder, Session, SimulatorAddress
from harness.runs.process import first_line
from harness.runs.simulated import SIM_SECRET_ENV, SimulatorControl, SimulatorProcess

if TYPE_CHECKING:
    from harness.cli.progress import Progress

_S = 10**9
_ASK_S = 2.0
"""How long the target may take to tell its figures."""
_AGAIN_S = 10.0
"""After a simulator that could not be started anew, and a target that did not answer: when to try again."""
_PAUSE_S = 0.25
_QUICK_S = 5.0
_QUICK_LOSSES = 5
"""So many load children in a row that did not last so long are not followed by another."""
SHORTEST_NS = 2 * _S
"""A lost load child is not started anew for less than that."""
_REFUSED = {ExitCode.NOT_AUTHORISED: "window_shut", ExitCode.UNREACHABLE: "unreachable", ExitCode.USAGE: "failed"}
"""How a soak has ended whose next load child did not begin, by that one's exit status."""


def next_session(folder: Path, scenario: Scenario, number: int) -> Session:
    """Where a further session begins: behind everything that the journal holds, and the guests that its last interval may lack."""
    from harness.journal.reader import JournalReader
    from harness.journal.segments import journals, segment_of

    index, arrived, segment = -1, 0, 0
    for path in journals(folder):
        segment = max(segment, segment_of(path)[1])
        for interval in JournalReader(path).intervals():
            index = max(index, interval.index)
            arrived += interval.counters.get("guests.arrived", 0)
    first_slot = 1 + arrived + number * scenario.guests.planned
    return with_segments(Session(number, first_slot, index + 1, segment + 1), scenario)


def put_truth_aside(folder: Path) -> None:
    """A simulator that is started anew knows nothing of what the one before it did: its truth is another's."""
    path = folder / "truth.jsonl"
    number = 1
    while (aside := folder / f"truth.{number}.jsonl").exists():
        number += 1
    try:
        path.rename(aside)
    except OSError:
        return


def with_segments(session: Session, scenario: Scenario) -> Session:
    """The session with the scenario's sizes of journal files."""
    table = scenario.document.soak
    return replaced(session, segment_bytes=table.segment_bytes, segment_ns=table.segment_time)


@dataclass
class SoakProcesses(RunProcesses):
    """A run whose load child and simulator are started anew where they are lost."""

    tls: bool = False
    truth: bool = field(default=True, init=False)
    """Whether the simulator's truth is kept."""
    session: Session = field(default_factory=Session, init=False)
    duration_ns: int = field(default=0, init=False)
    """Full load of the session at hand; 0: the scenario's."""
    events: Lines = field(init=False)
    figures: Lines = field(init=False)
    _resolved: Path = field(init=False)
    _address: SimulatorAddress | None = field(default=None, init=False)
    _ask_at: float = field(default=0.0, init=False)
    _start_at: float = field(default=0.0, init=False)
    _until_ns: int = field(default=0, init=False)
    """When full load is to end."""

    def __post_init__(self) -> None:
        self.events, self.figures = Lines(self.folder / EVENTS), Lines(self.folder / TARGET)
        self.session = with_segments(Session(), self.scenario)

    @property
    def load_s(self) -> float:
        """Ramp and full load of the session at hand."""
        return (self.scenario.load.ramp + (self.duration_ns or self.scenario.load.duration)) / _S

    def order(self, resolved: Path, address: SimulatorAddress | None) -> LoadOrder:
        """What the load child is told: the session's numbers, and its length."""
        self._resolved, self._address = resolved, address
        self._until_ns = self._until_ns or time.monotonic_ns() + round(self.load_s * _S)
        overrides = {"load.duration": show_duration(self.duration_ns)} if self.duration_ns else {}
        return LoadOrder(str(resolved), overrides, address, self.session)

    def load(self, progress: Progress) -> int:
        """Load children, one after the other, until the end; not one that is lost as soon as it begins, again and again."""
        quick = 0
        first = self.session.number
        while True:
            self._note_session()
            began = time.monotonic()
            status = super().load(progress)
            self.ask(time.monotonic())
            if self.session.number > first and status in _REFUSED:
                status = self._refused(status, progress)
            quick = quick + 1 if time.monotonic() - began < _QUICK_S else 0
            if status >= 0 and status != ExitCode.INTERNAL:
                return status
            said = first_line(self.folder / LOAD_LOG)
            self.events.add(what="worker_lost", status=status, said=said[:200])
            left = self._until_ns - time.monotonic_ns() - self.scenario.load.ramp
            if quick >= _QUICK_LOSSES or self.signals.told or left < SHORTEST_NS or not list(self.folder.glob("journal-*.bin")):
                return status
            progress.say(f"The load child was lost (status {status}); another one goes on.")
            following = next_session(self.folder, self.scenario, self.session.number + 1)
            self.session = replaced(following, begins=False)
            self.duration_ns = left // _S * _S
            self.order(self._resolved, self._address).write(self.folder)

    def _refused(self, status: int, progress: Progress) -> int:
        """A load child that was to go on did not begin. Asked again while the target does not answer; else it ends here.

        Returns the exit status of one that began after all, or 0: what was gathered is judged.
        """
        while status == ExitCode.UNREACHABLE and not self.signals.told:
            error = progress.error or {}
            progress.say(f"The target does not answer: {error.get('what') or 'nobody is there'}. Asked again in {_AGAIN_S:.0f} s.")
            self._pause(_AGAIN_S, progress)
            self.duration_ns = (self._until_ns - time.monotonic_ns() - self.scenario.load.ramp) // _S * _S
            if self.signals.told or self.duration_ns < SHORTEST_NS:
                break
            self.order(self._resolved, self._address).write(self.folder)
            status = super().load(progress)
        if status not in _REFUSED:
            return status
        if not self.signals.told:
            self._note_end(_REFUSED[ExitCode(status)])
            progress.say(f"No load child went on: {(progress.error or {}).get('what') or first_line(self.folder / LOAD_LOG)}")
        return int(ExitCode.PASS)

    def _pause(self, for_s: float, progress: Progress) -> None:
        """No load child is there: mind the simulator and the target's figures meanwhile."""
        end_s = time.monotonic() + for_s
        while (now_s := time.monotonic()) < end_s and not self.signals.told:
            if self.simulator is not None and not self.simulator.running:
                self.simulator_ended(progress, now_s)
            progress.tick(now_s)
            self.tick(now_s)
            time.sleep(_PAUSE_S)

    def _note_session(self) -> None:
        began = {"number": self.session.number, "began_ns": time.monotonic_ns(), "first_interval": self.session.first_interval}
        try:
            before = read_manifest(self.folder).get("sessions")
            update_manifest(self.folder, {"sessions": [*(before if isinstance(before, list) else []), began]})
        except RunFolderError as error:  # a full disk: the intervals say of which session they are
            self.terminal.note(f"guestswarm: {error}")

    def start_simulator(self, tls: bool) -> SimulatorProcess:
        """Start it, or another one on the same ports."""
        return self._start(tls, like=self.simulator, truth=self.truth)

    def _start(self, tls: bool, *, like: SimulatorProcess | None, truth: bool) -> SimulatorProcess:
        further = like is not None or self.session.number > 1
        return SimulatorProcess.start(
            simulator_process_table(self.scenario),
            self.folder,
            seed=self.scenario.seed,
            tls=tls,
            secret_env={SIM_SECRET_ENV: self.secret.reveal()},
            like=like,
            truth=truth,
            # A target's clock does not jump because ours was set: it goes on as it was when the soak began.
            wall_offset_ns=self._first_offset_ns() if further else None,
        )

    def _first_offset_ns(self) -> int:
        anchor = read_manifest(self.folder)["anchor"]
        return int(anchor["wall_ns"]) - int(anchor["monotonic_ns"])

    def simulator_ended(self, progress: Progress, now_s: float) -> bool:
        """Start another one on its ports; the guests find their way back by themselves."""
        if now_s < self._start_at:
            return False
        if not self._start_at:
            self.events.add(what="target_lost")
            progress.say("The simulator has ended; another one takes its place.")
            put_truth_aside(self.folder)
        gone = self.simulator
        assert gone is not None
        self._start_at = now_s + _AGAIN_S
        try:
            self.simulator = self._start(self.tls, like=gone, truth=False)
            SimulatorControl(self.simulator.control, self.simulator.token, _ASK_S).begin()
        except GuestswarmError as error:
            progress.say(f"It could not be started anew: {error.what}")
            return False
        self._start_at = 0.0
        gone.stop()
        self.events.add(what="target_restarted")
        return False

    def take(self, line: Mapping[str, Any]) -> None:
        """What the load child says of its journal belongs to what befell the run."""
        if line["kind"] == "rotated":
            self.events.add(what="rotated", file=str(line.get("file", "")))
        elif line["kind"] == "fault" and line.get("name") == "journal":
            what = "journal_written" if line.get("on") is False else "journal_failed"
            self.events.add(what=what, said=str(line.get("text", "")))

    def tick(self, now_s: float) -> None:
        """Ask the target how it does, every interval."""
        if now_s >= self._ask_at:
            self._ask_at = max(self._ask_at + self.scenario.load.interval / _S, now_s)
            self.ask(now_s)

    def ask(self, now_s: float) -> None:  # noqa: ARG002
        """One line of the target's own figures."""
        simulator = self.simulator
        if simulator is None:
            return
        at_ns = time.monotonic_ns()
        try:
            health = SimulatorControl(simulator.control, simulator.token, _ASK_S).health()
        except GuestswarmError:
            self.figures.add(at_ns, up=False)
            return
        self.figures.add(at_ns, up=True, **target_figures(health, simulator.pid))


def target_figures(health: Mapping[str, Any], pid: int) -> dict[str, float]:
    """What of a simulator's health is followed. Its memory is what it says it needs, else what its process holds."""
    shell = health.get("shell")
    shell = shell if isinstance(shell, Mapping) else {}
    resident = _resident(pid)
    named = {
        "memory_bytes": health.get("memory_bytes", resident),
        "rss_bytes": resident,
        "undelivered": health.get("undelivered"),
        "sockets": health.get("sockets", shell.get("sockets")),
        "connections": shell.get("connections"),
        "cpu_s": shell.get("cpu_s"),
    }
    return {name: value for name, value in named.items() if isinstance(value, int | float)}


def _resident(pid: int) -> int | None:
    """Bytes that a process holds; None where the system does not say."""
    import resource

    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return None
