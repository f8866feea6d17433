"""Watching the generator itself: every turn of the loop, the garbage collector, the kernel's figures, and, from a thread
outside the hub, whether the hub turns at all.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import gc
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gevent.hub import get_hub
from gevent.monkey import get_original

from harness.journal.records import SparseHistogram
from harness.metrics.health import Health, Readings
from harness.metrics.kernel import cpu_groups, parse_cpu_stat, parse_port_range
from harness.metrics.recorder import Recorder

_sleep = get_original("time", "sleep")
_start_thread = get_original("_thread", "start_new_thread")
_TICK_S = 0.002
"""An idle loop turns at least so often: a message cannot have lain unread for longer without the bracket showing it."""
_STALL_NS = 1_000_000_000
_FILES_EVERY = 10
PORT_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Watch:
    """Started and stopped with a run; `close` gives an interval's figures."""

    def __init__(self, recorder: Recorder, on_stall: Callable[[str], object] | None = None) -> None:
        self._recorder = recorder
        self._on_stall = on_stall or _say
        self._health = Health(Readings(time.monotonic_ns(), time.process_time_ns()))
        self._closed = 0
        self._files = 0
        self._watchers: list[Any] = []
        self._running = False
        self._thread_id = 0
        self._group = cpu_stat_of(_text("/proc/self/cgroup"))
        self._file_limit = file_limit()

    def count(self, name: str, times: float = 1) -> None:
        """Something that is counted by name among the health figures."""
        self._health.count(name, times)

    def start(self) -> None:
        """From now on."""
        loop: Any = get_hub().loop
        check, prepare = loop.check(), loop.prepare()
        check.priority = loop.MAXPRI
        prepare.priority = -loop.MAXPRI
        ticker = loop.timer(_TICK_S, _TICK_S)
        check.start(self._check)
        prepare.start(self._prepare)
        ticker.start(_nothing)
        self._watchers = [check, prepare, ticker]
        for watcher in self._watchers:
            watcher.ref = False
        gc.callbacks.append(self._on_gc)
        self._health.close(self._read())
        self._running = True
        self._thread_id = get_original("threading", "get_ident")()
        _start_thread(self._outside, ())

    def stop(self) -> None:
        """No more; leaves nothing behind."""
        self._running = False
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        self._watchers = []

    def close(self) -> tuple[dict[str, float], dict[str, SparseHistogram]]:
        """Figures and histograms since the last call."""
        return self._health.close(self._read())

    def _check(self) -> None:
        self._recorder.poll_return_ns = self._health.loop.check(time.monotonic_ns())

    def _prepare(self) -> None:
        self._health.loop.prepare(time.monotonic_ns())

    def _on_gc(self, phase: str, info: dict[str, int]) -> None:
        self._health.pauses.on_gc(phase, time.monotonic_ns(), info.get("generation", 0))

    def _read(self) -> Readings:
        self._closed += 1
        if self._closed % _FILES_EVERY == 1:
            self._files = _count_files()
        return Readings(
            time.monotonic_ns(),
            time.process_time_ns(),
            _text("/proc/stat"),
            _text("/proc/self/schedstat"),
            _text("/proc/pressure/cpu"),
            self._files,
            _resident(),
            *_clocks(),
            _text(self._group) if self._group else "",
            _text("/proc/net/netstat"),
            _text("/proc/net/sockstat"),
            _text(PORT_RANGE),
            self._file_limit,
        )

    def _outside(self) -> None:
        """In a thread that gevent knows nothing of: say where a hub that does not turn is stuck, once for each stall."""
        told = 0
        while self._running:
            _sleep(0.25)
            turned = self._health.loop.current_ns
            if turned and turned != told and time.monotonic_ns() - turned > _STALL_NS and self._running:
                told = turned
                frame = sys._current_frames().get(self._thread_id)
                where = "".join(traceback.format_stack(frame, limit=12)) if frame is not None else ""
                self._on_stall(where)


def _say(where: str) -> None:
    os.write(2, f"guestswarm: the loop has not turned for over a second; it is here:\n{where}".encode())


def _nothing() -> None:
    """The turn itself is what the ticker is for."""


_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Goes on while the machine sleeps; where there is none, sleep is not noticed."""


def _clocks() -> tuple[int, int]:
    """Wall clock and boot clock, both minus the monotonic clock; the tightest of three readings."""
    best = (1 << 62, 0, 0)
    for _ in range(3):
        before = time.monotonic_ns()
        wall, boot = time.time_ns(), time.clock_gettime_ns(_BOOT)
        after = time.monotonic_ns()
        middle = (before + after) // 2
        best = min(best, (after - before, wall - middle, boot - middle))
    return best[1], best[2]


def cpu_stat_of(groups: str, mount: Path = Path("/sys/fs/cgroup")) -> str:
    """The `cpu.stat` of the control group that `/proc/self/cgroup` names, of either version; "": there is none to be read."""
    for folder, path in cpu_groups(groups):
        # Within a container the mount often begins at its own group, whatever path the outside knows it by.
        for place in (mount / folder / path.lstrip("/"), mount / folder):
            if (place / "cpu.stat").is_file() and parse_cpu_stat(_text(str(place / "cpu.stat"))) is not None:
                return str(place / "cpu.stat")
    return ""


def file_limit() -> int:
    """How many descriptors this process may have; 0: nobody says."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft, 0)


def local_ports() -> int | None:
    """How many local ports there are for connections to one address and port; None: nobody says."""
    return parse_port_range(_text(PORT_RANGE))


def _text(path: str) -> str:
    try:
        return Path(path).read_text("ascii", "replace")
    except OSError:
        return ""


def _count_files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0


def _resident() -> int:
    fields = _text("/proc/self/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0
