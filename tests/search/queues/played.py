"""The same queues, played event by event. Fast enough for hundreds of trials: about a microsecond a request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush, heapreplace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.search.queues.exact import Station

Vector = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Vector]
"""So many values with mean 1."""


def exponential(rng: np.random.Generator, size: int) -> Vector:
    return rng.exponential(1.0, size)


def fixed(rng: np.random.Generator, size: int) -> Vector:
    return np.ones(size)


def uniform(rng: np.random.Generator, size: int) -> Vector:
    """Half to one and a half."""
    return rng.uniform(0.5, 1.5, size)


def log_normal(sigma: float) -> Draw:
    def draw(rng: np.random.Generator, size: int) -> Vector:
        return rng.lognormal(-sigma * sigma / 2, sigma, size)

    return draw


RAMP = 2.0
"""Guests who speak as they come are a load on top of those who are there; these think first, and come slowly."""


class Played(NamedTuple):
    """Every request that began within the time, in the order of their beginning."""

    began: Vector
    ended: Vector
    refused: NDArray[np.bool_]


def _ramp(guests: int, think_s: float, rng: np.random.Generator) -> list[float]:
    """When guests come: evenly, without lock-step."""
    return [RAMP * think_s * (k + u) / guests for k, u in enumerate(rng.random(guests).tolist())]


def _values(draw: Draw, mean: float, rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from (draw(rng, 4096) * mean).tolist()


def closed(
    station: Station,
    guests: int,
    think_s: float,
    length_s: float,
    rng: np.random.Generator,
    *,
    think: Draw = exponential,
    service: Draw = exponential,
    stall_s: float = 0.0,
) -> Played:
    """Guests come evenly over `RAMP` think times; each thinks, asks, waits for the answer, and again."""
    if station.slowdown:
        return _slowed(station, guests, think_s, length_s, rng)
    thinks, serves = _values(think, think_s, rng), _values(service, station.service_s, rng)
    stalls = _values(exponential, stall_s, rng)
    arrivals = [came + next(thinks) for came in _ramp(guests, think_s, rng)]
    heapify(arrivals)
    free = [0.0] * station.servers
    inside: list[float] = []
    began, ended, refused = [], [], []
    room = station.room
    while arrivals[0] < length_s:
        now = arrivals[0]
        began.append(now)
        if room:
            while inside and inside[0] <= now:
                heappop(inside)
            if len(inside) >= room:
                done = now + (next(stalls) if stall_s else 0.0)
                ended.append(done)
                if not stall_s:  # a stalled one is answered, only late
                    refused.append(len(began) - 1)
                heapreplace(arrivals, done + next(thinks))
                continue
        start = free[0]
        done = (start if start > now else now) + next(serves)
        heapreplace(free, done)
        if room:
            heappush(inside, done)
        ended.append(done)
        heapreplace(arrivals, done + next(thinks))
    return _played(began, ended, refused)


def _slowed(station: Station, guests: int, think_s: float, length_s: float, rng: np.random.Generator) -> Played:
    """Service slows with the number in the system, at once and for all: only rates matter, times are exponential."""
    clock, coins = _values(exponential, 1.0, rng), iter(_coins(rng))
    began: list[float] = []
    ended: dict[int, float] = {}
    queue: deque[int] = deque()
    served: list[int] = []
    new = [came + next(clock) * think_s for came in _ramp(guests, think_s, rng)]
    new.sort(reverse=True)
    rates = [station.rate(n) for n in range(guests + 1)]
    now, thinking, inside = 0.0, 0, 0
    while True:
        come = thinking / think_s
        leave = len(served) * rates[inside]
        both = come + leave
        step = next(clock) / both if both else float("inf")
        if new and new[-1] <= now + step:  # one who has not been here yet; what is left of the step is drawn anew
            now = new.pop()
            arrives = True
        else:
            now += step
            arrives = next(coins) * both < come
            thinking -= arrives
        if now >= length_s:
            break
        if arrives:
            inside += 1
            (served if len(served) < station.servers else queue).append(len(began))
            began.append(now)
        else:
            at = int(next(coins) * len(served))
            ended[served[at]] = now
            inside -= 1
            thinking += 1
            if queue:
                served[at] = queue.popleft()
            else:
                served[at] = served[-1]
                served.pop()
    late = [ended.get(k, float("inf")) for k in range(len(began))]
    return _played(began, late, [])


def _coins(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.random(4096).tolist()


def opened(station: Station, per_s: float, length_s: float, rng: np.random.Generator, *, service: Draw = exponential) -> Played:
    """Arrivals at random, whatever happens."""
    count = rng.poisson(per_s * length_s)
    arrivals = np.sort(rng.uniform(0, length_s, count))
    serves = (service(rng, count) * station.service_s).tolist()
    free = [0.0] * station.servers
    ended = []
    for now, takes in zip(arrivals.tolist(), serves, strict=True):
        start = free[0]
        done = (start if start > now else now) + takes
        heapreplace(free, done)
        ended.append(done)
    return _played(arrivals.tolist(), ended, [])


def _played(began: list[float], ended: list[float], refused: list[int]) -> Played:
    marks = np.zeros(len(began), dtype=bool)
    marks[refused] = True
    return Played(np.array(began), np.array(ended), marks)
