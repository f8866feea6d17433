"""True capacity of queues, from theory alone: no simulation. Times in seconds, rates per second.

Closed: N guests think (mean Z, any distribution) and queue first come, first served for c servers. An arriving guest sees the
others as though they were alone (arrival theorem), which gives the distribution of the response time. Open: M/M/c.
Survival functions are computed by uniformisation: a chain of rate L is at its k-th jump by time t with probability Poisson(L t).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve

Vector = NDArray[np.float64]


class Station(NamedTuple):
    """Servers behind one queue."""

    servers: int
    service_s: float
    """Mean, exponential."""
    slowdown: float = 0.0
    """Each server's time grows by that share for each one in the system beyond `servers`."""
    room: int = 0
    """No more than so many in the system; 0: any number."""

    def rate(self, n: int) -> float:
        """Of each busy server with n in the system."""
        return 1 / self.service_s / (1 + self.slowdown * max(0, n - self.servers))


def _poisson(mean: float) -> list[float]:
    """Probabilities from 0 until the rest is nothing."""
    last = int(mean + 12 * math.sqrt(mean) + 30)
    return [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) if mean else float(k == 0) for k in range(last + 1)]


def in_system(station: Station, guests: int, think_s: float) -> Vector:
    """Distribution of the number in the system with so many guests; those who find no room go back to thinking."""
    last = min(guests, station.room) if station.room else guests
    logs = [0.0]
    for n in range(1, last + 1):
        logs.append(logs[-1] + math.log((guests - n + 1) / think_s) - math.log(min(n, station.servers) * station.rate(n)))
    weights = np.exp(np.array(logs) - max(logs))
    return weights / weights.sum()


def _slower(station: Station, found: int, t: float) -> Vector:
    """P(response > t) of one who finds n = 0..found in the system; plain servers, who mind nobody behind."""
    c, rate = station.servers, 1 / station.service_s
    value = np.ones(max(0, found - c + 1) + 1)  # [0]: in service; [j]: j departures before service begins
    total = np.zeros_like(value)
    for weight in _poisson(c * rate * t):
        total += weight * value
        value = np.concatenate(([value[0] * (1 - 1 / c)], value[:-1]))
    return np.array([total[max(0, n - c + 1)] for n in range(found + 1)])


def _slower_loaded(station: Station, guests: int, think_s: float, t: float) -> Vector:
    """The same where those behind slow the servers down: ahead and behind are both followed."""
    c, others = station.servers, guests - 1
    each = np.array([station.rate(n) for n in range(guests + 1)])
    jump = c / station.service_s + guests / think_s
    a, b = np.meshgrid(np.arange(c, max(others, c) + 1), np.arange(others + 1), indexing="ij")
    used = a + b <= others
    n = np.where(used, a + b + 1, 1)
    done, come = np.where(used, c * each[n] / jump, 0.0), np.where(used, (guests - n) / think_s / jump, 0.0)
    stay = np.where(used, 1 - done - come, 0.0)
    waits = used.astype(np.float64)  # [a - c, b]: a ahead (c of them in service), b behind
    starts = np.minimum(c - 1 + np.arange(others + 1), others)  # of a = c: the one before it leaves, and service begins
    served = np.ones(others + 1)  # [m]: in service, m others in the system
    m = np.arange(others + 1)
    own, came = each[m + 1] / jump, (others - m) / think_s / jump
    left = (np.minimum(m + 1, c) - 1) * each[m + 1] / jump
    total_served, total_waits = np.zeros_like(served), np.zeros_like(waits)
    ahead, behind = np.zeros_like(waits), np.zeros_like(waits)
    for weight in _poisson(jump * t):
        total_served += weight * served
        total_waits += weight * waits
        ahead[1:], ahead[0], behind[:, :-1] = waits[:-1], served[starts], waits[:, 1:]
        waits = done * ahead + come * behind + stay * waits
        fewer = np.concatenate((served[:1], served[:-1]))
        more = np.concatenate((served[1:], served[-1:]))
        served = left * fewer + came * more + (1 - own - left - came) * served
    return np.array([total_served[k] if k < c else total_waits[k - c, 0] for k in range(guests)])


class Exact(NamedTuple):
    """What one asks of a queue at one load."""

    within: float
    """Share of the answered requests whose response time is within the limit."""
    refused: float
    """Share of all requests that found no room."""


def closed(station: Station, guests: int, think_s: float, limit_s: float) -> Exact:
    """Guests who think and ask."""
    found = in_system(station, guests - 1, think_s)
    if station.slowdown:
        slower = _slower_loaded(station, guests, think_s, limit_s)[: found.size]
    else:
        slower = _slower(station, found.size - 1, limit_s)
    if not station.room or found.size <= station.room:
        return Exact(1 - float(found @ slower), 0.0)
    refused = float(found[-1])
    return Exact(1 - float(found[:-1] @ slower[:-1]) / (1 - refused), refused)


def stalled(station: Station, guests: int, think_s: float, limit_s: float, stall_s: float) -> float:
    """Share within the limit where those who find no room are answered late, after a time with mean `stall_s` (exponential).

    Number in the system and number stalled are followed together; an arrival is weighted by how often it comes, so the arrival
    theorem, which does not hold here, is not needed.
    """
    room = station.room
    width = guests + 1
    rows, cols, rates = [], [], []
    states = [(n, m) for n in range(min(room, guests) + 1) for m in range(guests - n + 1)]
    index = {state: i for i, state in enumerate(states)}
    for (n, m), i in index.items():
        come = (guests - n - m) / think_s
        moves = [((n - 1, m), min(n, station.servers) / station.service_s), ((n, m - 1), m / stall_s)]
        moves.append(((n + 1, m) if n < room else (n, m + 1), come))
        for state, rate in moves:
            if rate > 0:
                rows += [index[state], i]
                cols += [i, i]
                rates += [rate, -rate]
    size = len(states)
    keep = [k for k, row in enumerate(rows) if row != 0]  # one equation is replaced: probabilities add up to 1
    matrix = coo_matrix(
        (
            [rates[k] for k in keep] + [1.0] * size,
            ([rows[k] for k in keep] + [0] * size, [cols[k] for k in keep] + list(range(size))),
        ),
        shape=(size, size),
    ).tocsc()
    right = np.zeros(size)
    right[0] = 1
    stationary = spsolve(matrix, right)
    slower = _slower(station, min(room, width), limit_s)
    late = math.exp(-limit_s / stall_s)
    above = total = 0.0
    for (n, m), share in zip(states, stationary, strict=True):
        weight = share * (guests - n - m)
        total += weight
        above += weight * (slower[n] if n < room else late)
    return 1 - above / total


def opened(station: Station, per_s: float, limit_s: float) -> float:
    """Share within the limit of an M/M/c queue; 0 when there is no steady state."""
    c, rate = station.servers, 1 / station.service_s
    offered = per_s / rate
    if offered >= c:
        return 0.0
    term = total = 1.0
    for k in range(1, c):
        term *= offered / k
        total += term
    last = term * offered / c / (1 - offered / c)
    waits = last / (total + last)
    spare = c * rate - per_s
    if abs(spare - rate) < 1e-9 * rate:
        above = math.exp(-rate * limit_s) * (1 + waits * rate * limit_s)
    else:
        late = (math.exp(-spare * limit_s) - math.exp(-rate * limit_s)) * rate / (rate - spare)
        above = math.exp(-rate * limit_s) + waits * late
    return 1 - above


def largest(holds: Callable[[int], bool], most: int) -> int:
    """The largest whole number up to `most` that holds, if all below it do; 0: none."""
    low, high = 0, 1
    while high <= most and holds(high):
        low, high = high, high * 2
    high = min(high, most + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def largest_rate(holds: Callable[[float], bool], most: float) -> float:
    """The same for a rate that is not a whole number."""
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
