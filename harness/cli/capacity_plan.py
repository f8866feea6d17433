"""How a scenario's `[capacity]` becomes the plan of a search, and a step of it a scenario of its own."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

from harness.cli.plan import Plan, peak_per_s, where
from harness.config import Scenario, load_scenario
from harness.config.local import is_local
from harness.core.spread import seconds, show_duration
from harness.errors import NotAuthorisedError, ScenarioError
from harness.search.budget import longest_runs, most_steps
from harness.search.plan import CapacityPlan, StepLimits
from harness.search.steps import StepOrder
from harness.verdicts.slo import parse

MOST = 16.0
"""Times what `[guests]` says, where nobody says how far the search may go."""
_FIRST = 0.25
_INTERVALS = 100
"""Intervals of a step at least: blocks of time and warm-up are found from them."""
_SHORTEST = seconds(0.1)
_START = seconds(5)
"""What two processes need to start, and a journal to be read, about."""


def capacity_plan(scenario: Scenario, *, simulated: bool) -> CapacityPlan:
    """The plan of a search. Raises ScenarioError without a rule that load could break, NotAuthorisedError for too high a load."""
    table, guests = scenario.document.capacity, scenario.guests
    from harness.report.jobs.capacity_step import is_floor  # numpy takes a while to load

    whole = guests.count is not None
    said = float(guests.count or 0) if whole else float(guests.arrivals_per_s or 0)
    rules = [parse(text) for text in scenario.slo]
    if all(is_floor(rule) for rule in rules):
        none = "no rule that load could break: each asks for at least something" if rules else "no rule"
        raise ScenarioError(
            f"capacity is the highest load at which all rules hold, and there is {none}",
            where="[slo] rules",
            hint='Write one such as "reply p95 < 2 s".',
        )
    allowed = _approved(scenario, simulated=simulated) if whole else _places(scenario)
    far = max(MOST * said, table.first or 0.0, table.plan or 0.0)  # whether a plan fits is not known before it was tried
    most = table.most if table.most is not None else min(far, allowed)
    asked = max(most, table.first or 0.0)
    if asked > allowed and whole:
        raise NotAuthorisedError(f"up to {asked:,.0f} guests are asked for, the approval allows {allowed:,.0f}")
    if asked > allowed:
        stay = show_duration(round(guests.behaviour().session_length.mean))
        raise ScenarioError(
            f"up to {asked:,.6g} arrivals/s are asked for, but {guests.max_guests:,} guests who stay for {stay} each leave no place"
            f" for more than {allowed:,.3g} arrivals/s",
            where="[guests] max_guests",
            hint="Raise max_guests, shorten session_length, or search no further ([capacity] most, --most).",
        )
    first = table.first if table.first is not None else said * _FIRST
    least = 1.0 if whole else min(first, said) / 1000
    if whole:
        first, most = float(math.floor(first)), float(math.floor(most))
    percentiles = [rule for rule in rules if rule.kind == "percentile" and rule.upper]
    behaviour = guests.behaviour()
    think = behaviour.think_time if behaviour.pacing == "think" else behaviour.period
    return CapacityPlan(
        first=min(max(first, least), most),
        most=most,
        least=least,
        whole=whole,
        growth=table.growth,
        tolerance=table.tolerance,
        repeats=table.repeats,
        needed=table.needed,
        precision=table.precision,
        extra=table.extra,
        confirm=table.confirm,
        confirm_factor=table.confirm_factor,
        confirms=table.confirms,
        share=max((float(rule.share) for rule in percentiles), default=0.95),
        cycle_s=think.mean / 1e9,
        limit_s=max((float(rule.limit) / 1e9 for rule in percentiles), default=0.0),
        per_arrival=max(behaviour.session_length.mean / max(think.mean, 1.0), 1.0),
        planned=float(math.ceil(table.plan)) if whole and table.plan is not None else table.plan,
        limits=StepLimits(
            errors=table.errors,
            achieved=table.achieved,
            samples=table.samples,
            cycles=table.cycles,
            step_min_s=table.step_min / 1e9,
            step_max_s=table.step_max / 1e9,
        ),
    )


def _approved(scenario: Scenario, *, simulated: bool) -> float:
    """The most guests that may be; any number on this machine."""
    approval = scenario.authorisation
    if simulated or approval is None or all(is_local(host) for host in scenario.hosts()):
        return math.inf
    return float(approval.max_guests)


def _places(scenario: Scenario) -> float:
    """Arrivals per second that find a place among `max_guests`, with room for chance: three standard deviations of their number.

    Beyond that guests would be turned away by ourselves, which says nothing about the target.
    """
    most, stay_s = scenario.guests.planned, scenario.guests.behaviour().session_length.mean / 1e9
    present = ((math.sqrt(9 + 4 * most) - 3) / 2) ** 2  # present + 3·√present = most
    return present / stay_s if stay_s > 0 else math.inf


def ramp_ns(scenario: Scenario, load: float) -> int:
    """How long guests take to come: in proportion to how many (closed model), else until as many leave as come."""
    table, load_table, count = scenario.document.capacity, scenario.load, scenario.guests.count
    if count is None:
        return max(load_table.ramp, round(scenario.guests.behaviour().session_length.mean))
    if table.ramp_per_s is not None:
        return round(load / table.ramp_per_s * 1e9)
    return round(load_table.ramp * load / count)


def drain_ns(scenario: Scenario) -> int:
    """The longest that the end of a step takes."""
    return scenario.load.settle + scenario.loss_wait_ns + scenario.load.drain


def longest_ns(scenario: Scenario, order: StepOrder) -> int:
    """The longest that a step takes, from its start to its figures."""
    return ramp_ns(scenario, order.load) + round(order.length_s * 1e9) + drain_ns(scenario) + _START


def step_scenario(resolved: Path, scenario: Scenario, order: StepOrder, *, simulated: bool) -> Scenario:
    """The scenario of one step: another load and length, a seed of its own (else repeats would be copies)."""
    length = round(order.length_s * 1e9)
    interval = max(min(scenario.load.interval, length // _INTERVALS), _SHORTEST)
    load = {"guests.count": round(order.load)} if scenario.guests.count is not None else {"guests.arrivals_per_s": order.load}
    overrides = {
        **load,
        "scenario.name": f"{scenario.name[:64]} step {order.number}",
        "scenario.seed": (scenario.seed + order.number) % 2**63,
        "load.ramp": f"{ramp_ns(scenario, order.load) // 10**6}ms",
        "load.duration": f"{length // 10**6}ms",
        "load.interval": f"{interval // 10**6}ms",
    }
    found = load_scenario(resolved, overrides, simulate=simulated)
    return replace(found, folder=scenario.folder)  # relative paths count from where the scenario was


def dry_plan(scenario: Scenario, plan: CapacityPlan, *, simulated: bool) -> Plan:
    """What a search would do at most."""
    table = scenario.document.capacity
    orders = longest_runs(plan)
    each = sorted((longest_ns(scenario, order) for order in orders), reverse=True)
    steps = most_steps(plan)
    whole = sum(each[:steps])
    longest = min(whole, max(table.within, longest_ns(scenario, orders[0])))  # the first step is run however long it is
    binds = "steps" if whole <= longest else "within"
    most = scenario.guests.max_guests or round(plan.most)
    arriving = {} if plan.whole else {"arrivals_per_s": plan.most}
    peak_scenario = replace(scenario, guests=scenario.guests.model_copy(update=arriving))
    unit = plan.unit
    rows = [
        ("scenario", f"{scenario.name} ({', '.join(scenario.mix)})"),
        ("target", where(scenario, simulated=simulated)),
        ("rules", "; ".join(scenario.slo)),
        ("first load", f"{plan.first:,.6g} {unit}"),
        ("loads up to", f"{plan.most:,.6g} {unit}"),
        ("each load", f"{show_duration(table.step_min)} to {show_duration(table.step_max)}"),
        ("ramp, at most", show_duration(ramp_ns(scenario, plan.most))),
        ("drain, at most", show_duration(drain_ns(scenario))),
        ("steps, at most", f"{steps}, those that confirm {plan.confirm_factor:g} times as long"),
        ("all steps, at most", show_duration(_rounded_up(whole))),
        ("no step ends after", show_duration(table.within)),
        ("ended at last by", "its own end" if binds == "steps" else "[capacity] within, or --within"),
    ]
    if plan.planned is not None:
        rows.append(("planned load", f"{plan.planned:,.6g} {unit}"))
    peak = peak_per_s(peak_scenario, most, max(ramp_ns(scenario, plan.most), 1))
    more = {
        "first": plan.first,
        "most": plan.most,
        "steps": steps,
        "steps_s": round(whole / 1e9, 3),
        "within_s": table.within / 1e9,
    }
    return Plan("capacity", rows, _rounded_up(longest), most, peak, {"capacity": {**more, "ended_by": binds}})


def _rounded_up(ns: int) -> int:
    """To what a person reads: seconds, minutes from ten of them on, hours from ten of them on."""
    unit = seconds(1) if ns <= seconds(600) else seconds(60) if ns <= seconds(36000) else seconds(3600)
    return -(-ns // unit) * unit
