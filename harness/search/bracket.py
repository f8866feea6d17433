"""What the steps of a search say together: which loads held, which broke, and where the edge lies between them. Pure.

Loads that were explored or bisected form the bracket, each by the majority of its runs. Further steps near the edge and the
confirmation run only tell the curve (`edge`) something: they must not open the bracket anew.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from harness.search.edge import Edge, EdgeSettings, Seen, find_edge, first_of
from harness.search.steps import Step


class Bracket(NamedTuple):
    """Between what held and what broke."""

    held: float | None
    """The highest load that held, below all that broke."""
    broke: float | None
    """The lowest load that broke."""


class Standing(NamedTuple):
    """How the runs at one load came out."""

    held: int = 0
    broke: int = 0

    @property
    def holds(self) -> bool:
        """Whether most of them held; a draw is not enough."""
        return self.held > self.broke

    def settled(self, needed: int, repeats: int) -> bool:
        """Whether so many agree, or there were enough runs."""
        return max(self.held, self.broke) >= needed or self.held + self.broke >= repeats


class Located(NamedTuple):
    """Where the edge is."""

    estimate: float
    low: float
    high: float
    rule: str
    """What breaks there first."""
    steepness: float
    """Of the rule that breaks first, see `Edge`."""


def counted(steps: Sequence[Step]) -> list[Step]:
    """Those whose generator was healthy."""
    return [step for step in steps if step.judgement.verdict != "invalid"]


def standings(steps: Sequence[Step]) -> dict[float, Standing]:
    """By load, over the loads that were explored or bisected."""
    loads = {step.order.load for step in steps if step.order.kind in ("explore", "bisect")}
    found: dict[float, Standing] = defaultdict(Standing)
    for step in steps:
        if step.order.load in loads and step.order.kind != "confirm" and not step.order.refines:
            held, broke = found[step.order.load]
            verdict = step.judgement.verdict
            found[step.order.load] = Standing(held + (verdict == "held"), broke + (verdict == "broke"))
    return {load: one for load, one in found.items() if one.held + one.broke}


def bracket(steps: Sequence[Step]) -> Bracket:
    """By the majority of runs at each load."""
    every = standings(steps)
    broke = min((load for load, one in every.items() if not one.holds), default=None)
    held = max((load for load, one in every.items() if one.holds and (broke is None or load < broke)), default=None)
    return Bracket(held, broke)


def locate(steps: Sequence[Step], settings: EdgeSettings | None = None) -> Located | None:
    """The edge by the curve through the steps; None where a curve says nothing: see the bracket then."""
    found = bracket(steps)
    if found.held is None or found.broke is None:
        return None
    around = math.sqrt(found.held * found.broke)
    edges: dict[str, Edge] = {}
    for name, (share, seen) in _by_rule(counted(steps)).items():
        edge = find_edge(seen, share, around, settings)
        if edge is not None:
            edges[name] = edge
    if not edges:
        return None
    estimate, low, high = first_of(list(edges.values()))
    if found.broke < low and _untold(counted(steps), found.broke):
        return None
    rule = min(edges, key=lambda name: edges[name].estimate)
    return Located(estimate, low, high, rule, edges[rule].steepness)


def breaks_first(steps: Sequence[Step], at: float | None) -> tuple[str, bool] | None:
    """What broke the steps at the lowest load that broke, by most of them; and whether that is a rule."""
    if at is None:
        return None
    by: dict[tuple[str, bool], int] = defaultdict(int)
    for step in counted(steps):
        if step.judgement.verdict == "broke" and step.order.load == at:
            by[step.judgement.broken_by, step.judgement.by_rule] += 1
    return max(by, key=lambda key: by[key], default=None)


def _by_rule(steps: Sequence[Step]) -> dict[str, tuple[float, list[Seen]]]:
    found: dict[str, tuple[float, list[Seen]]] = {}
    for step in steps:
        for rule in step.result.rules:
            seen = Seen(step.order.load, rule.samples - rule.kept, rule.samples, rule.blocks)
            found.setdefault(rule.rule, (rule.share, []))[1].append(seen)
    return found


def _untold(steps: Sequence[Step], load: float) -> bool:
    """Whether most runs that broke at this load were broken by something that no share tells of."""
    broke = [step for step in steps if step.order.load == load and step.judgement.verdict == "broke" and not step.order.refines]
    told = sum(any(rule.missed > 1 for rule in step.result.rules) for step in broke)
    return 2 * told < len(broke)
