"""Where a rule's share crosses its limit as load grows: estimate and 95 % interval from all steps near the limit. Pure.

Near the limit the odds of missing a rule grow as a power of the load: `logit(missed) = logit(allowed) + b·ln(load / edge)`. The
edge and the steepness b are weighed on a grid by quasi-likelihood, so that steps of any length count for what they are worth,
several may be run at one load, and a cliff (nothing missed, then everything) needs no other method: every edge between the two
is as likely.
Samples are not independent. The likelihood is divided by a dispersion: how much more the missed samples vary than independent
ones would, once between blocks of time within steps (neighbouring blocks hang together, which is taken into account), and
once between steps around the curve. The greater counts. Little is known about either, hence the long tails of Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

TAIL = 0.025
"""Left out on each side of a 95 % interval."""


class EdgeSettings(msgspec.Struct, frozen=True):
    """How the curve is fitted."""

    widest: float = 0.4
    """Steps within that distance of the edge count (in the logarithm of the load), the nearer the more ..."""
    narrowest: float = 0.05
    """... but on a steep curve only the near ones, down to this distance: far from its edge the curve is not the same ..."""
    odds: float = 3.0
    """... namely those for which the odds differ by no more than this (as a logarithm) from those at the edge ..."""
    fewest: float = 5.0
    """... unless that leaves fewer steps (by weight)."""
    steepness: float = 15.0
    """What is expected of b before anything is seen ..."""
    steepness_factor: float = 4.0
    """... give or take that factor (one standard deviation)."""
    within_degrees: float = 10.0
    """For how many degrees of freedom the dispersion within steps is taken."""
    dispersion: float = 5.0
    """Dispersion if no step near the edge missed anything."""
    longest_memory: float = 8.0
    """No more than so many times is the dispersion raised for blocks that hang together."""
    points: int = 161
    """Edges that are tried."""


class Seen(NamedTuple):
    """What one step saw of one rule."""

    load: float
    missed: float
    samples: float
    blocks: tuple[tuple[int, int], ...]
    """(kept, samples) by time."""


class Edge(NamedTuple):
    """Where the rule breaks."""

    estimate: float
    low: float
    high: float
    steepness: float
    """By how many per cent the odds of missing grow for one per cent more load."""
    dispersion: float
    """How many samples count for one."""
    loads: Vector
    """Edges that were tried, ..."""
    beyond: Vector
    """... and how likely the true one is at or beyond each."""


def find_edge(seen: Sequence[Seen], share: float, around: float, settings: EdgeSettings | None = None) -> Edge | None:
    """The edge near `around`; None where the steps there are all on one side."""
    settings = settings or EdgeSettings()
    edge = None
    centre, steepness = around, settings.steepness
    for _ in range(4):
        near = _near(seen, 1 - share, centre, steepness, settings)
        if not _both_sides(near, 1 - share):
            return edge
        edge = _fit(near, 1 - share, settings)
        settled = abs(math.log(edge.estimate / centre)) < 0.003 and abs(math.log(edge.steepness / steepness)) < 0.1
        centre, steepness = edge.estimate, edge.steepness
        if settled:
            break
    return edge


def first_of(edges: Sequence[Edge]) -> tuple[float, float, float]:
    """Estimate, low and high of whatever comes first of several edges."""
    loads = np.unique(np.concatenate([edge.loads for edge in edges]))
    beyond = np.ones_like(loads)
    for edge in edges:
        beyond *= np.interp(loads, edge.loads, edge.beyond, left=1.0, right=0.0)
    return _quantile(loads, beyond, 0.5), _quantile(loads, beyond, TAIL), _quantile(loads, beyond, 1 - TAIL)


def _near(
    seen: Sequence[Seen], allowed: float, centre: float, steepness: float, settings: EdgeSettings
) -> list[tuple[Seen, float]]:
    """Steps that count, with their weights."""
    usable = [one for one in seen if one.load > 0 and one.samples]
    far = np.array([abs(math.log(one.load / centre)) for one in usable])
    reach = min(max(settings.odds / steepness, settings.narrowest), settings.widest)
    weight = np.zeros_like(far)
    while True:
        weight = np.clip(1 - (far / reach) ** 3, 0, 1) ** 3
        near = [(one, float(w)) for one, w in zip(usable, weight, strict=True) if w > 0]
        if reach >= settings.widest or (weight.sum() >= settings.fewest and _both_sides(near, allowed)):
            return near
        reach = min(reach * 1.25, settings.widest)


def _both_sides(near: Sequence[tuple[Seen, float]], allowed: float) -> bool:
    shares = [one.missed / one.samples for one, _ in near]
    return any(share > allowed for share in shares) and any(share <= allowed for share in shares)


def _fit(near: Sequence[tuple[Seen, float]], allowed: float, settings: EdgeSettings) -> Edge:
    load, missed, samples = (np.array([one[k] for one, _ in near], dtype=np.float64) for k in range(3))
    weight = np.array([w for _, w in near])
    lowest, highest = math.log(load.min()), math.log(load.max())
    slack = 0.25 * (highest - lowest) + 0.02
    begin, end = lowest - slack, highest + slack
    flattest, steepest = math.log(0.5), math.log(3000)
    within = _within([one for one, _ in near], weight, settings)
    dispersion = degrees = 0.0
    for _ in range(3):  # the grid is drawn closer around what is likely
        edges = np.linspace(begin, end, settings.points)
        logs = np.linspace(flattest, steepest, settings.points // 3)
        steep, prior = np.exp(logs), -0.5 * ((logs - math.log(settings.steepness)) / math.log(settings.steepness_factor)) ** 2
        logit = math.log(allowed / (1 - allowed)) + steep[None, :, None] * (np.log(load)[None, None, :] - edges[:, None, None])
        logit = np.clip(logit, -20, 20)
        deviance = 2 * (float(weight @ _saturated(missed, samples)) - _likely(missed, samples, logit) @ weight)
        if not dispersion:
            dispersion, degrees = _dispersion(weight, missed, samples, logit, deviance, prior, within, settings)
        scaled = deviance / dispersion
        power = -(degrees + 1) / 2 * np.log1p((scaled - scaled.min()) / degrees) + prior[None, :]
        mass = np.exp(power - power.max())
        over_edges = mass.sum(axis=1)
        cumulative = np.cumsum(over_edges) / over_edges.sum()
        begin, end = _likely_part(edges, over_edges)
        flattest, steepest = _likely_part(logs, mass.sum(axis=0))
    half = over_edges / over_edges.sum() / 2
    beyond = 1 - cumulative + half
    loads = np.exp(edges)
    slope = float(np.exp((mass.sum(axis=0) * np.log(steep)).sum() / mass.sum()))
    estimate, low, high = _quantile(loads, beyond, 0.5), _quantile(loads, beyond, TAIL), _quantile(loads, beyond, 1 - TAIL)
    return Edge(estimate, low, high, slope, float(dispersion), loads, beyond)


def _likely_part(grid: Vector, mass: Vector) -> tuple[float, float]:
    """The part of a grid that holds nearly all of the mass, and a little more to each side."""
    cumulative = np.cumsum(mass) / mass.sum()
    first, last = int(np.searchsorted(cumulative, 1e-4)), int(np.searchsorted(cumulative, 1 - 1e-4))
    return float(grid[max(0, first - 2)]), float(grid[min(grid.size - 1, last + 2)])


def _likely(missed: Vector, samples: Vector, logit: Vector) -> Vector:
    found: Vector = missed * logit - samples * np.log1p(np.exp(logit))
    return found


def _saturated(missed: Vector, samples: Vector) -> Vector:
    share = np.clip(missed / samples, 1e-9, 1 - 1e-9)
    return _likely(missed, samples, np.log(share / (1 - share)))


def _dispersion(
    weight: Vector,
    missed: Vector,
    samples: Vector,
    logit: Vector,
    deviance: Vector,
    prior: Vector,
    within: float,
    settings: EdgeSettings,
) -> tuple[float, float]:
    """How many samples count for one, and for how many degrees of freedom that is known."""
    best = np.unravel_index(int(np.argmin(deviance / within - 2 * prior[None, :])), deviance.shape)
    mean = 1 / (1 + np.exp(-logit[best]))
    squares = (missed - samples * mean) ** 2 / np.maximum(samples * mean * (1 - mean), 0.5)
    degrees = max(float(weight.sum()) - 2, 0.0)
    between = float((weight * squares).sum())
    both = (settings.within_degrees * within + between) / (settings.within_degrees + degrees)
    return max(within, both), settings.within_degrees + degrees


def _within(near: Sequence[Seen], weight: Vector, settings: EdgeSettings) -> float:
    """Dispersion by the blocks of time within steps."""
    varied = independent = products = squares = 0.0
    pairs = 0.0
    for one, w in zip(near, weight, strict=True):
        share = one.missed / one.samples
        blocks = np.array(one.blocks, dtype=np.float64)
        if blocks.shape[0] < 2:
            continue
        off = blocks[:, 1] - blocks[:, 0] - share * blocks[:, 1]
        count = off.size
        varied += w * float(off @ off) * count / (count - 1)
        independent += w * one.samples * share * (1 - share)
        products += w * float(off[1:] @ off[:-1])
        squares += w * float(off @ off)
        pairs += w * float(off @ off) / count
    if independent <= 0:
        return settings.dispersion
    correlation = (products + pairs) / squares if squares > 0 else 0.0  # a mean taken off each step makes it too low by 1/blocks
    longest = settings.longest_memory
    memory = min(longest, (1 + correlation) / (1 - correlation)) if 0 < correlation < 1 else 1.0 if correlation <= 0 else longest
    return max(1.0, memory * varied / independent)


def _quantile(loads: Vector, beyond: Vector, share: float) -> float:
    """The load below which the edge lies with that probability."""
    return float(np.interp(share, 1 - beyond, loads))
