"""Virtual trials of the capacity search: queues drawn at random, whose true capacity is computed, searched step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import numpy as np

from harness.search.capacity import CapacityController, CapacityPlan, StepLimits, StepOrder, StepResult
from tests.search.measured import measured
from tests.search.queues import exact, played
from tests.search.queues.exact import Station

KINDS = ("closed", "cliff", "slow", "open")
REFUSED = 0.001
"""What share may fail, as the plan's default has it."""


class Target(NamedTuple):
    """A queue with a known capacity."""

    kind: str
    station: Station
    think_s: float | None
    share: float
    limit_s: float
    capacity: float
    think: played.Draw = played.exponential
    stall_s: float = 0.0
    service: played.Draw = played.exponential
    noise: float = 0.0
    """By how much the speed of the target differs from step to step (sd of its logarithm)."""

    def play(self, load: float, length_s: float, rng: np.random.Generator) -> tuple[played.Played, float]:
        """Requests, and when all guests had come."""
        station = self.station._replace(service_s=self.station.service_s * math.exp(self.noise * float(rng.standard_normal())))
        if self.think_s is None:
            return played.opened(station, load, length_s, rng), 0.0
        begin = (played.RAMP + 1) * self.think_s
        one = played.closed(
            station,
            round(load),
            self.think_s,
            begin + length_s,
            rng,
            think=self.think,
            service=self.service,
            stall_s=self.stall_s,
        )
        return one, begin

    def step(self, order: StepOrder, rng: np.random.Generator) -> tuple[StepResult, int]:
        """What a step measures, and how many requests it took."""
        requests, begin = self.play(order.load, order.length_s, rng)
        result = measured(
            requests,
            order.load,
            share=self.share,
            limit_s=self.limit_s,
            begin_s=begin,
            end_s=begin + order.length_s,
            think_s=self.think_s,
        )
        return result, requests.began.size


def draw(kind: str, rng: np.random.Generator) -> Target:
    """One whose capacity is neither tiny nor too long to simulate."""
    while True:
        target = _draw(kind, rng)
        if target is not None:
            return target


def _draw(kind: str, rng: np.random.Generator) -> Target | None:
    servers = int(rng.choice([1, 2, 3, 4, 6, 8, 12, 16]))
    per_s = float(np.exp(rng.uniform(math.log(40), math.log(250))))
    service = servers / per_s
    share = float(rng.choice([0.90, 0.95, 0.99]))
    limit = service * math.log(1 / (1 - share)) * float(rng.uniform(1.3, 3.0))
    think = float(rng.uniform(1.0, 6.0))
    noise = float(rng.choice([0.0, 0.0, 0.005]))
    draws = (played.exponential, played.uniform, played.log_normal(0.8))
    shape = draws[int(rng.integers(3))]
    station = Station(servers, service)
    most = 1500
    if kind == "open":
        truth = exact.largest_rate(lambda x: exact.opened(station, x, limit) >= share, per_s)
        return Target(kind, station, None, share, limit, truth, noise=noise)
    if kind == "closed":
        truth = exact.largest(lambda n: exact.closed(station, n, think, limit).within >= share, most)
        return Target(kind, station, think, share, limit, truth, shape, noise=noise) if 20 <= truth < most else None
    if kind == "slow":
        station = station._replace(slowdown=float(rng.uniform(0.002, 0.03)))
        think = min(think, 150 / per_s)  # both ahead and behind are followed: what is computed grows with the square of the guests
        truth = exact.largest(lambda n: exact.closed(station, n, think, limit).within >= share, 300)
        if not (20 <= truth < 300 and all(_one_state(station, round(truth * f), think) for f in (0.97, 1.0, 1.05, 1.1))):
            return None
        return Target(kind, station, think, share, limit, truth, noise=noise)
    room = servers + int(rng.integers(3, 30))
    station = station._replace(room=room)
    if rng.random() < 0.5:
        return _stalling(station, think, share, limit, noise)

    def holds(n: int) -> bool:
        at = exact.closed(station, n, think, limit)
        return at.within >= share and at.refused <= REFUSED

    truth = exact.largest(holds, most)
    return Target(kind, station, think, share, limit, truth, shape, noise=noise) if 20 <= truth < most else None


def draw_service(rng: np.random.Generator) -> Target:
    """Service that is fixed or log-normal: no theory gives its percentiles, so the truth is played, over 4,000 s."""
    while True:
        target = draw("closed", rng)._replace(kind="service", noise=0.0)
        shape = (played.fixed, played.log_normal(0.5), played.log_normal(1.0))[int(rng.integers(3))]
        target = target._replace(service=shape)
        seed = int(rng.integers(2**32))
        if target.share > 0.95:
            continue

        def holds(guests: int, target: Target = target, seed: int = seed) -> bool:
            requests, begin = target.play(guests, 4000.0, np.random.default_rng(seed))
            takes = (requests.ended - requests.began)[requests.began > begin + 20]
            return bool((takes <= target.limit_s).mean() >= target.share)

        truth = exact.largest(holds, 1500)
        if 20 <= truth < 1500:
            return target._replace(capacity=truth)


def _one_state(station: Station, guests: int, think_s: float) -> bool:
    """Whether it does not dwell in two states, fluent and jammed: then what a minute shows says little about the long run."""
    rises = np.sign(np.diff(exact.in_system(station, guests, think_s)))
    return int((np.diff(rises[rises != 0]) != 0).sum()) <= 1


def _stalling(station: Station, think: float, share: float, limit: float, noise: float) -> Target | None:
    stall, most = 3 * limit, 250
    think = min(think, 0.6 * most * station.service_s / station.servers)

    def holds(n: int) -> bool:
        return exact.stalled(station, n, think, limit, stall) >= share

    truth = exact.largest(holds, most)
    return Target("cliff", station, think, share, limit, truth, stall_s=stall, noise=noise) if 20 <= truth < most else None


def plan_of(target: Target, first: float) -> CapacityPlan:
    """As the command would make it."""
    whole = target.think_s is not None
    return CapacityPlan(
        first=first,
        most=20 * target.capacity,
        least=1.0,
        whole=whole,
        share=target.share,
        cycle_s=(target.think_s or 0.0) + target.station.service_s,
        limits=StepLimits(),
    )


def search(
    target: Target,
    plan: CapacityPlan,
    rng: np.random.Generator,
    *,
    generator_limit: float = math.inf,
    watch: Callable[[CapacityController], None] | None = None,
) -> dict[str, Any]:
    """One search to its end; what it said beside the truth."""
    controller = CapacityController(plan)
    requests, seconds = 0, 0.0
    while (order := controller.next_step()) is not None:
        result, count = target.step(order, rng)
        if order.load > generator_limit:
            result = msgspec.structs.replace(result, generator_healthy=False, generator="achieved rate 0.93")
        controller.update(result)
        requests, seconds = requests + count, seconds + order.length_s
        if watch is not None:
            watch(controller)
    answer = controller.answer()
    found: dict[str, Any] = {
        "truth": round(target.capacity, 3),
        "estimate": answer.estimate,
        "low": answer.low,
        "high": answer.high,
        "verdict": answer.verdict.value,
        "reason": answer.reasons[0].code,
        "first_broken": answer.first_broken_slo,
        "method": answer.method,
        "generator_bound": answer.generator_bound,
        "confirmed": answer.confirmed,
        "steps": len(controller.steps),
        "requests": requests,
        "minutes": round(seconds / 60, 1),
        "target": _show(target),
    }
    if answer.estimate is not None and answer.low is not None and answer.high is not None:
        found["inside"] = answer.low <= target.capacity <= answer.high
        found["error"] = abs(answer.estimate - target.capacity) / target.capacity
    return found


def _show(target: Target) -> str:
    station = target.station
    parts = [
        f"c={station.servers}",
        f"s={station.service_s * 1000:.1f} ms",
        f"p{target.share * 100:g}<={target.limit_s * 1000:.0f} ms",
    ]
    parts += [f"Z={target.think_s:.2f} s"] if target.think_s else []
    parts += [f"room={station.room}"] if station.room else []
    parts += [f"stall={target.stall_s:.2f} s"] if target.stall_s else []
    parts += [f"slowdown={station.slowdown:.4f}"] if station.slowdown else []
    parts += [f"noise={target.noise:g}"] if target.noise else []
    return " ".join(parts)
