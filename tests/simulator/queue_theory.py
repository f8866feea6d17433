"""Exact figures of M/M/c queues, open and closed, from the birth-death chain alone. Nothing here looks at the simulator."""

from __future__ import annotations

import math
from collections.abc import Callable


def stationary(births: Callable[[int], float], deaths: Callable[[int], float], most: int) -> list[float]:
    """Shares of time with 0 … `most` in the system."""
    weights = [1.0]
    for n in range(1, most + 1):
        weights.append(weights[-1] * births(n - 1) / deaths(n))
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def death_rate(servers: int, service: float, slowdown: float = 0.0) -> Callable[[int], float]:
    return lambda n: min(n, servers) / (service * (1.0 + slowdown * max(0, n - servers)))


class Closed:
    """N guests who think (exponential), c servers; `room`: none is taken beyond so many, the guest thinks again."""

    def __init__(self, guests: int, think: float, servers: int, service: float, *, slowdown: float = 0.0, room: int = 0) -> None:
        self.guests, self.think, self.servers, self.service = guests, think, servers, service
        most = min(guests, room) if room else guests
        deaths = death_rate(servers, service, slowdown)
        self.shares = stationary(lambda n: (guests - n) / think, deaths, most)
        self.in_system = math.fsum(n * share for n, share in enumerate(self.shares))
        self.throughput = math.fsum(deaths(n) * share for n, share in enumerate(self.shares) if n)
        offered = math.fsum((guests - n) / think * share for n, share in enumerate(self.shares))
        self.refused = 1.0 - self.throughput / offered
        self.response = self.in_system / self.throughput
        """Mean, by Little's law."""

    def slower_than(self, limit: float) -> float:
        """P(response > limit), first come first served, no slowdown, no room: what arrives finds the system without itself."""
        births = lambda n: (self.guests - 1 - n) / self.think  # noqa: E731
        found = stationary(births, death_rate(self.servers, self.service), self.guests - 1)
        return math.fsum(share * self._tail(n, limit) for n, share in enumerate(found))

    def _tail(self, found: int, limit: float) -> float:
        """Wait for (found - c + 1) departures at c/s, then a service: P(sum > limit)."""
        mu, c = 1.0 / self.service, self.servers
        own = math.exp(-mu * limit)
        stages = found - c + 1
        if stages <= 0:
            return own
        # P(wait + service > limit) = P(wait > limit) + integral of the wait's density times the service's tail, by stages
        rate = c * mu
        poisson, below = math.exp(-rate * limit), 0.0
        for k in range(stages):
            below += poisson
            poisson *= rate * limit / (k + 1)
        if c == 1:
            return below + poisson  # one stage more of the same rate
        ratio = rate / (rate - mu)
        poisson, under = math.exp(-(rate - mu) * limit), 0.0
        for k in range(stages):
            under += poisson
            poisson *= (rate - mu) * limit / (k + 1)
        return below + own * ratio**stages * (1.0 - under)


def erlang_c(rate: float, servers: int, service: float) -> float:
    """Share of arrivals that wait, open model."""
    load = rate * service
    idle = math.fsum(load**n / math.factorial(n) for n in range(servers))
    last = load**servers / math.factorial(servers) / (1.0 - load / servers)
    return last / (idle + last)


def capacity(think: float, servers: int, service: float, *, limit: float, share: float) -> int:
    """Most guests of whom at least `share` of the messages is answered within `limit`."""
    guests = 1
    while Closed(guests + 1, think, servers, service).slower_than(limit) <= 1.0 - share:
        guests += 1
    return guests
