"""Whether the generator is to be believed: loop, garbage collector, CPU, and what the kernel says of the machine.

Pure. The shell stamps and reads (`/proc` texts included) and hands in what it found; here it is added up per interval.
Names of figures, and how they merge over intervals and workers: `*.max` the greater, `*.last` the later, others add.

| name | meaning |
| --- | --- |
| `wall_ns` | length of the watched time |
| `loop.turns`, `loop.busy_ns` | turns of the loop; time between a poll's return and the next poll |
| `loop.blocked` | turns whose work took over 100 ms |
| `loop.interval_ns.max` | longest time between two returns of the poll |
| `gc.pauses`, `gc.pause_ns`, `gc.long`, `gc.pause_ns.max` | collector's pauses, those over 20 ms, the longest |
| `gc.gN.pauses`, `gc.gN.pause_ns`, `gc.gN.pause_ns.max` | the same of the generations 0, 1 and 2, where there were any |
| `cpu_ns` | CPU time of the process |
| `runqueue_ns` | time runnable but without a core |
| `host.ticks`, `host.steal_ticks` | CPU ticks of the machine, and those stolen from it |
| `pressure.max` | greatest `some avg10` of `/proc/pressure/cpu`, in percent |
| `cgroup.periods`, `cgroup.throttled`, `cgroup.throttled_ns` | of the control group: periods, those it was stopped in, how long |
| `net.listen_drops`, `net.receive_drops` | of the machine: what full queues of listeners and sockets threw away |
| `open_files.max`, `open_files.limit.max` | descriptors of the process, and how many it may have |
| `ports.used.max`, `ports.range.max` | TCP sockets of the machine (those in TIME_WAIT too), and local ports that there are |
| `rss_bytes.max`, `rss_bytes.last` | of the process |
| `clock.wall_steps`, `clock.wall_step_ns.max` | times that the wall clock was set by over 50 ms, and the farthest |
| `clock.suspensions`, `clock.suspended_ns` | times that the machine slept (our clock stood still), and how long |
| `little.NAME.area_ns`, `.spent_ns`, `.aged_ns`, `.done` | by the recorder, for Little's law: see `metrics.little` |
| others | counted by the shell: `open_files.refused`, `ports.exhausted`, `journal.errors`, `actions.planned`, `actions.started` |

Histograms (microseconds): `health|loop.interval`, `health|gc.pause`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from harness.journal.records import HEALTH, SparseHistogram
from harness.metrics.histogram import merge_sparse, sparse_of
from harness.metrics.kernel import parse_cpu_stat, parse_drops, parse_port_range, parse_sockets

BLOCKED_NS = 100_000_000
LONG_PAUSE_NS = 20_000_000
STEP_NS = 50_000_000
"""A wall clock that is only slewed does not move so far against the monotonic one within an interval."""
_FLUSH = 20_000


class HostTicks(NamedTuple):
    """CPU ticks of all cores together since boot."""

    total: int
    steal: int


def parse_stat(text: str) -> HostTicks | None:
    """From `/proc/stat`. Guest time is part of user time there, so it is not added again. None: not that format."""
    for line in text.splitlines():
        if line.startswith("cpu "):
            fields = line.split()[1:9]
            if len(fields) == 8 and all(field.isdecimal() for field in fields):
                ticks = [int(field) for field in fields]
                return HostTicks(sum(ticks), ticks[7])
    return None


def parse_schedstat(text: str) -> int | None:
    """Nanoseconds spent runnable but not running, from `/proc/self/schedstat` (second field)."""
    fields = text.split()
    return int(fields[1]) if len(fields) >= 3 and all(field.isdecimal() for field in fields) else None


def parse_pressure(text: str) -> float | None:
    """Percent of the last 10 s in which some task waited for a CPU, from `/proc/pressure/cpu`."""
    for line in text.splitlines():
        head, *fields = line.split() or [""]
        if head == "some":
            for field in fields:
                name, _, value = field.partition("=")
                if name == "avg10":
                    try:
                        return float(value)
                    except ValueError:
                        return None
    return None


class LoopWatch:
    """Brackets of an event loop: `check` at each return from the poll, `prepare` before each next poll.

    A message read in a turn became readable after `previous_ns`, the return of the poll before.
    """

    __slots__ = ("_intervals", "_lost", "blocked", "busy_ns", "current_ns", "longest_ns", "previous_ns", "turns")

    def __init__(self) -> None:
        self.previous_ns = self.current_ns = 0
        self._intervals: list[int] = []
        self._lost: list[SparseHistogram] = []
        self._reset()

    def _reset(self) -> None:
        self.turns = self.busy_ns = self.blocked = self.longest_ns = 0

    def check(self, now: int) -> int:
        """The poll returned at `now`. Returns when it did so before (0: never)."""
        previous = self.previous_ns = self.current_ns
        self.current_ns = now
        if previous:
            interval = now - previous
            self._intervals.append(interval)
            if interval > self.longest_ns:
                self.longest_ns = interval
            if len(self._intervals) >= _FLUSH:
                self._condense()
        self.turns += 1
        return previous

    def prepare(self, now: int) -> None:
        """The loop is about to poll: this turn's work is done."""
        if self.current_ns:
            busy = now - self.current_ns
            self.busy_ns += busy
            if busy > BLOCKED_NS:
                self.blocked += 1

    def _condense(self) -> None:
        self._lost.append(sparse_of(self._intervals, 1000))
        self._intervals.clear()

    def close(self) -> tuple[dict[str, float], SparseHistogram | None]:
        """Figures since the last call, and the histogram of the intervals."""
        found: dict[str, float] = {
            "loop.turns": self.turns,
            "loop.busy_ns": self.busy_ns,
            "loop.blocked": self.blocked,
            "loop.interval_ns.max": self.longest_ns,
        }
        if self._intervals:
            self._condense()
        whole: SparseHistogram | None = None
        for part in self._lost:
            whole = merge_sparse(whole, part) if whole else part
        self._lost.clear()
        self._reset()
        return found, whole


class PauseWatch:
    """Pauses of the garbage collector, from its callbacks."""

    __slots__ = ("_began", "_generations", "_pauses")

    def __init__(self) -> None:
        self._began = 0
        self._pauses: list[int] = []
        self._generations: dict[int, list[int]] = {}

    def on_gc(self, phase: str, now: int, generation: int = 0) -> None:
        """`start` or `stop` of a collection of this generation and those below it."""
        if phase == "start":
            self._began = now
        elif self._began:
            pause = now - self._began
            self._pauses.append(pause)
            self._generations.setdefault(generation, []).append(pause)
            self._began = 0

    def close(self) -> tuple[dict[str, float], SparseHistogram | None]:
        """Figures since the last call, and the histogram of the pauses."""
        pauses = self._pauses
        found: dict[str, float] = {
            "gc.pauses": len(pauses),
            "gc.pause_ns": sum(pauses),
            "gc.long": sum(pause > LONG_PAUSE_NS for pause in pauses),
            "gc.pause_ns.max": max(pauses, default=0),
        }
        for generation, some in sorted(self._generations.items()):
            name = f"gc.g{generation}"
            found |= {f"{name}.pauses": len(some), f"{name}.pause_ns": sum(some), f"{name}.pause_ns.max": max(some)}
        self._generations.clear()
        whole = sparse_of(pauses, 1000) if pauses else None
        pauses.clear()
        return found, whole


class Readings(NamedTuple):
    """What the shell read at one instant; "" and 0 where the system does not tell."""

    now_ns: int
    cpu_ns: int
    stat: str = ""
    schedstat: str = ""
    pressure: str = ""
    open_files: int = 0
    rss_bytes: int = 0
    wall_offset_ns: int = 0
    """Wall clock minus monotonic clock."""
    asleep_ns: int = 0
    """How long the machine has slept since it was booted: CLOCK_BOOTTIME minus CLOCK_MONOTONIC."""
    cpu_stat: str = ""
    """Of the control group."""
    netstat: str = ""
    sockstat: str = ""
    port_range: str = ""
    file_limit: int = 0


class Health:
    """All of it for one process; `close` gives what `Recorder.close_interval` takes."""

    def __init__(self, first: Readings) -> None:
        self.loop = LoopWatch()
        self.pauses = PauseWatch()
        self._counts: defaultdict[str, float] = defaultdict(float)
        self._last = first

    def count(self, name: str, times: float = 1) -> None:
        """Something that the shell counts by name."""
        self._counts[name] += times

    def close(self, readings: Readings) -> tuple[dict[str, float], dict[str, SparseHistogram]]:
        """Figures and histograms since the last call."""
        before, self._last = self._last, readings
        loop, loop_histogram = self.loop.close()
        pauses, pause_histogram = self.pauses.close()
        found: dict[str, float] = {
            "wall_ns": readings.now_ns - before.now_ns,
            "cpu_ns": readings.cpu_ns - before.cpu_ns,
            **loop,
            **pauses,
            **self._counts,
        }
        self._counts.clear()
        waited, waited_before = parse_schedstat(readings.schedstat), parse_schedstat(before.schedstat)
        if waited is not None and waited_before is not None:
            found["runqueue_ns"] = waited - waited_before
        ticks, ticks_before = parse_stat(readings.stat), parse_stat(before.stat)
        if ticks and ticks_before:
            found["host.ticks"] = ticks.total - ticks_before.total
            found["host.steal_ticks"] = ticks.steal - ticks_before.steal
        pressure = parse_pressure(readings.pressure)
        if pressure is not None:
            found["pressure.max"] = pressure
        found.update(_clock_changes(before, readings))
        found.update(_kernel(before, readings))
        if readings.open_files:
            found["open_files.max"] = readings.open_files
        if readings.file_limit:
            found["open_files.limit.max"] = readings.file_limit
        if readings.rss_bytes:
            found["rss_bytes.max"] = found["rss_bytes.last"] = readings.rss_bytes
        histograms = {"loop.interval": loop_histogram, "gc.pause": pause_histogram}
        return found, {HEALTH + name: one for name, one in histograms.items() if one}


def _clock_changes(before: Readings, now: Readings) -> dict[str, float]:
    """Whether the wall clock was set, or the machine slept, meanwhile; nothing where no clock was read."""
    if not before.wall_offset_ns or not now.wall_offset_ns:
        return {}
    slept = max(now.asleep_ns - before.asleep_ns, 0)
    # Our clock stands still in sleep and the wall clock does not: what is left after that was set by somebody.
    step = abs(now.wall_offset_ns - before.wall_offset_ns - slept)
    return {
        "clock.wall_steps": int(step > STEP_NS),
        "clock.wall_step_ns.max": step if step > STEP_NS else 0,
        "clock.suspensions": int(slept > STEP_NS),
        "clock.suspended_ns": slept if slept > STEP_NS else 0,
    }


def _kernel(before: Readings, now: Readings) -> dict[str, float]:
    """What control group and network counted meanwhile; nothing of what the system does not tell."""
    found: dict[str, float] = {}
    group, group_before = parse_cpu_stat(now.cpu_stat), parse_cpu_stat(before.cpu_stat)
    if group is not None and group_before is not None:
        found["cgroup.periods"] = group.periods - group_before.periods
        found["cgroup.throttled"] = group.throttled - group_before.throttled
        found["cgroup.throttled_ns"] = group.throttled_ns - group_before.throttled_ns
    drops, drops_before = parse_drops(now.netstat), parse_drops(before.netstat)
    if drops is not None and drops_before is not None:
        found["net.listen_drops"] = drops.listen - drops_before.listen
        found["net.receive_drops"] = drops.receive - drops_before.receive
    used, ports = parse_sockets(now.sockstat), parse_port_range(now.port_range)
    if used is not None and ports:
        found["ports.used.max"], found["ports.range.max"] = used, ports
    return found


def merge_health(into: dict[str, float], more: Mapping[str, float]) -> None:
    """Add a later interval's figures."""
    for name, value in more.items():
        if name not in into or name.endswith(".last"):
            into[name] = value
        elif name.endswith(".max"):
            into[name] = max(into[name], value)
        else:
            into[name] += value


class Shares(NamedTuple):
    """Health as shares of the watched time; None where it was not measured."""

    busy: float | None
    """Of the loop."""
    cpu: float | None
    """Of one core. Over several workers: their mean, since `wall_ns` adds up as well."""
    waiting: float | None
    """Runnable without a core."""
    paused: float | None
    """In the garbage collector."""
    steal: float | None
    """Of the machine's ticks."""
    started: float | None
    """Actions started out of those planned."""
    throttled: float | None = None
    """Periods in which the control group was stopped; 0 where it has no quota."""
    files: float | None = None
    """Descriptors in use out of those that there may be."""
    ports: float | None = None
    """TCP sockets of the machine out of its local ports: more than all that one address and port can be reached from."""


def shares(health: Mapping[str, float]) -> Shares:
    """The shares of one interval's figures, or of merged ones."""

    def share(part: str, whole: str) -> float | None:
        return health[part] / health[whole] if part in health and health.get(whole, 0) > 0 else None

    return Shares(
        share("loop.busy_ns", "wall_ns") if health.get("loop.turns") else None,
        share("cpu_ns", "wall_ns"),
        share("runqueue_ns", "wall_ns"),
        share("gc.pause_ns", "wall_ns"),
        share("host.steal_ticks", "host.ticks"),
        share("actions.started", "actions.planned"),
        0.0 if health.get("cgroup.periods") == 0 else share("cgroup.throttled", "cgroup.periods"),
        share("open_files.max", "open_files.limit.max"),
        share("ports.used.max", "ports.range.max"),
    )


def worst(several: Iterable[Mapping[str, float]]) -> Shares:
    """The gravest share of each kind: a worker, or a stretch of time, must not hide behind the mean of all."""
    found = [shares(one) for one in several]

    def gravest(name: str) -> float | None:
        known = [value for one in found if (value := getattr(one, name)) is not None]
        return (min if name == "started" else max)(known, default=None)

    return Shares(*map(gravest, Shares._fields))
