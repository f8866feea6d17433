"""Which faults there are, when their windows open and close, and whom to ask at each hook."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from harness.simulator.faults.base import HOOKS, Fault
from harness.simulator.faults.catalogue import CATALOGUE
from harness.simulator.faults.spec import FaultSpec
from harness.simulator.timers import Timer

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class FaultBoard:
    """The plan in force. Each hook is a list of the active faults that have something to say there: empty costs nothing."""

    def __init__(self, engine: Engine, seed: str) -> None:
        self._engine, self._seed = engine, seed
        self._plan: list[tuple[str, Fault]] = []
        self._timers: list[Timer] = []
        self._generation = 0
        self.on_guest: list[Fault] = []
        self.on_agent: list[Fault] = []
        self.on_delivery: list[Fault] = []
        self.after_delivery: list[Fault] = []
        self.on_upgrade: list[Fault] = []
        self.on_open: list[Fault] = []
        self.on_request: list[Fault] = []
        self.on_answer: list[Fault] = []
        self.latency: list[Fault] = []
        self.service: list[Fault] = []
        self.fails: list[Fault] = []
        self.planted_bytes: list[Fault] = []
        self.planted_undelivered: list[Fault] = []
        self.refuses: list[Fault] = []
        self.skew_ns: list[Fault] = []

    def set_plan(self, now: int, specs: Iterable[FaultSpec], start: int) -> None:
        """Replace the plan; its times count from `start`, what is past is past."""
        self.stop(now)
        self._generation += 1
        self._plan = []
        for place, spec in enumerate(specs):
            rng = Random(f"{self._seed}/fault/{self._generation}/{place}/{spec.name}")
            self._plan.append((f"{spec.name}#{place}", CATALOGUE[spec.name](spec, rng)))
        self.arm(now, start)

    def arm(self, now: int, start: int) -> None:
        """Set the timers of all windows and impulses anew."""
        self.stop(now)
        for key, fault in self._plan:
            spec = fault.spec
            if fault.acts_at_moments:
                self._arm_moments(now, start, key, fault)
            else:
                self._arm_window(now, start + spec.at, key, fault)
        self._run_due(now)

    def stop(self, now: int) -> None:
        """End every window; no impulse comes any more."""
        for timer in self._timers:
            self._engine.timers.cancel(timer)
        self._timers.clear()
        for key, fault in self._plan:
            self._close(now, key, fault)

    # ------------------------------------------------------------ windows
    def _later(self, due: int, act: Any, *args: Any) -> None:
        if len(self._timers) > 64:
            self._timers = [timer for timer in self._timers if timer[2] is not None]
        self._timers.append(self._engine.timers.at(due, act, *args))

    def _arm_window(self, now: int, opens: int, key: str, fault: Fault) -> None:
        spec = fault.spec
        if spec.length is not None and spec.every:
            while opens + spec.length <= now:
                opens += spec.every
        elif spec.length is not None and opens + spec.length <= now:
            return
        self._later(max(now, opens), self._open, opens, key, fault)

    def _open(self, now: int, opens: int, key: str, fault: Fault) -> None:
        spec = fault.spec
        if not fault.active:
            fault.active = True
            self._sort()
            self._engine.truth.row(now, "fault", key, name=fault.name, on=True)
            fault.on_start(self._engine, now)
        if spec.length is not None:
            self._later(opens + spec.length, self._over, opens, key, fault)

    def _over(self, now: int, opens: int, key: str, fault: Fault) -> None:
        self._close(now, key, fault)
        if fault.spec.every:
            self._arm_window(now, opens + max(fault.spec.every, fault.spec.length or 0), key, fault)

    def _close(self, now: int, key: str, fault: Fault) -> None:
        if fault.active:
            fault.active = False
            self._sort()
            self._engine.truth.row(now, "fault", key, name=fault.name, on=False)
            fault.on_stop(self._engine, now)

    def _arm_moments(self, now: int, start: int, key: str, fault: Fault) -> None:
        spec = fault.spec
        due = start + spec.at + (spec.every if spec.every and not spec.at else 0)
        if spec.every and due < now:
            due += -(-(now - due) // spec.every) * spec.every
        if due >= now:
            self._later(due, self._moment, due, start, key, fault)

    def _moment(self, now: int, due: int, start: int, key: str, fault: Fault) -> None:
        spec = fault.spec
        if spec.length is not None and due > start + spec.at + spec.length:
            return
        self._engine.truth.row(now, "fault", key, name=fault.name, on=True)
        fault.on_moment(self._engine, now)
        self._engine.truth.row(now, "fault", key, name=fault.name, on=False)
        if spec.every:
            self._later(due + spec.every, self._moment, due + spec.every, start, key, fault)

    def _run_due(self, now: int) -> None:
        """Windows that begin right now are open before anything else happens."""
        for timer in list(self._timers):
            if timer[2] == self._open and timer[0] <= now:
                args = timer[3]
                self._engine.timers.cancel(timer)
                self._open(now, *args)

    def _sort(self) -> None:
        active = [fault for _, fault in self._plan if fault.active]
        for hook in HOOKS:
            plain = getattr(Fault, hook)
            setattr(self, hook, [fault for fault in active if getattr(type(fault), hook) is not plain])
