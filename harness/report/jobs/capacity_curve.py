"""Throughput and latency against load, as the report tells them: knee, scalability law, Little's law, the cost of more guests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.report import wording
from harness.report.jobs import capacity_words as words
from harness.report.jobs.capacity_model import CapacityModel, nearest_share
from harness.report.jobs.capacity_summary import Cost, Parameter, Scalability
from harness.report.plots.bands import Band
from harness.search import usl
from harness.search.bracket import counted
from harness.search.cost import latency_cost
from harness.search.knee import knee
from harness.search.little import Little, little
from harness.search.steps import Step

_POINTS = 60
_NOTHING = 1e-9
"""What a fit leaves of a parameter that is 0."""
_MEANING = {"alpha": "contention", "beta": "coherency", "gamma": "completed per second by one guest alone"}
_NOT_TELLING = Scalability(False, "no step was measured", None, None, None, None, None)


@dataclass(frozen=True, slots=True)
class Curve:
    """What follows from all steps together."""

    lead: str
    knee: float | None
    scalability: Scalability
    cost: Cost | None
    cost_words: str
    law_words: str
    little_words: str
    parameters: Sequence[tuple[str, str, str, str]]
    """Of the law: name, value, interval, meaning."""
    band: Band | None
    ideal: float | None
    """Throughput per guest at the least load (closed model)."""


def little_of(model: CapacityModel, step: Step) -> Little | None:
    """Little's law of one step; None where it was not measured."""
    return little(step.result, closed=model.plan.whole)


def curve_of(model: CapacityModel) -> Curve:
    """Everything that follows from the steps together."""
    steps = [step for step in counted(model.steps) if step.result.throughput]
    loads = [step.order.load for step in steps]
    rates = [step.result.throughput or 0.0 for step in steps]
    law, band = _scalability(model, steps, loads, rates)
    cost = _cost(model)
    return Curve(
        _lead(model),
        knee(loads, rates, shape="throughput") if steps else None,
        law,
        cost,
        _cost_words(model, cost),
        _law_words(model, law),
        _little_words(model),
        [] if not law.valid else _parameters(law),
        band,
        min((load, rate / load) for load, rate in zip(loads, rates, strict=True))[1] if steps and model.plan.whole else None,
    )


def rate_half(step: Step) -> float:
    """Half the width of the throughput's 95 % interval, from how it varied over blocks of time."""
    share = nearest_share(step)
    counts = [samples for _, samples in share.blocks] if share is not None else []
    if len(counts) < 2 or not step.result.length_s:
        return 0.0
    mean = sum(counts) / len(counts)
    spread = math.sqrt(sum((count - mean) ** 2 for count in counts) / (len(counts) - 1) / len(counts))
    return 1.96 * spread * len(counts) / step.result.length_s


# ---------------------------------------------------------------- the scalability law
def _scalability(
    model: CapacityModel, steps: Sequence[Step], loads: Sequence[float], rates: Sequence[float]
) -> tuple[Scalability, Band | None]:
    if not steps:
        return _NOT_TELLING, None
    limits = model.plan.limits
    refused = any(line.refused for line in model.lines)
    erring = any(step.result.errors > limits.errors * step.result.operations for step in steps)
    half = [rate_half(step) for step in steps]
    why = usl.invalid_because(loads, rates, half, closed=model.plan.whole, limited=refused, erring=erring)
    with np.errstate(over="ignore"):  # a trial step of the fit may go far astray
        found = None if why else usl.fit(loads, rates)
    if found is None:
        return Scalability(False, why or "too few steps had any throughput", None, None, None, None, None), None
    peak = None if found.peak is None else _parameter(found.peak)
    law = Scalability(
        True, "", _parameter(found.alpha), _parameter(found.beta), _parameter(found.gamma), peak, _parameter(found.most)
    )
    at = np.linspace(min(loads), usl.FURTHEST * found.largest, _POINTS)
    low, high = found.band(at)
    return law, Band(at.tolist(), found.throughput(at).tolist(), low.tolist(), high.tolist())


def _parameter(found: usl.Range) -> Parameter | None:
    if not math.isfinite(found.value):
        return None
    low, high = (value if math.isfinite(value) else None for value in (found.low, found.high))
    return Parameter(found.value, low, high)


def _parameters(law: Scalability) -> list[tuple[str, str, str, str]]:
    rows = []
    for symbol, name in (("α", "alpha"), ("β", "beta"), ("γ", "gamma")):
        found: Parameter | None = getattr(law, name)
        if found is not None:
            rows.append((symbol, _number(found.value), f"{_number(found.low)} – {_number(found.high)}", _MEANING[name]))
    return rows


def _number(value: float | None) -> str:
    return "∞" if value is None else "0" if abs(value) < _NOTHING else f"{value:.3g}"


def _law_words(model: CapacityModel, law: Scalability) -> str:
    if not law.valid:
        return words.law_words(law.why, "")
    if law.peak_load is None or law.peak_throughput is None:
        most = "" if law.peak_throughput is None else f" and tends to {wording.digits(law.peak_throughput.value)} per second"
        return words.law_words("", f"throughput has no peak{most}")
    at = words.load_words(law.peak_load.value, model.plan)
    return words.law_words("", f"throughput peaks at {at}, with {wording.digits(law.peak_throughput.value)} per second")


# ---------------------------------------------------------------- the cost of more load
def _cost(model: CapacityModel) -> Cost | None:
    answer, rule = model.answer, model.rule
    limit = answer.estimate or answer.held or answer.broke
    found = latency_cost(model.steps, limit) if limit else None
    if found is None or rule is None or not limit:
        return None
    more = _round_part(limit)
    extra = Parameter(*(round(1000 * value, 3) for value in found.per(more)))
    return Cost(more, extra, rule.show(), (found.least, found.most), found.steps)


def _round_part(limit: float) -> float:
    """About a tenth of the limit, as a power of ten: 100 guests of 2,460."""
    return 10.0 ** max(math.floor(math.log10(limit) - 0.7), 0 if limit >= 5 else -6)


def _cost_words(model: CapacityModel, cost: Cost | None) -> str:
    if cost is None:
        return words.cost_words("", "", None, "")
    near = f"{words.load_words(cost.near[0], model.plan, unit=False)} – {words.load_words(cost.near[1], model.plan)}"
    extra = (cost.extra_ms.value, cost.extra_ms.low or 0.0, cost.extra_ms.high or 0.0)
    return words.cost_words(cost.rule, f"{cost.more:,.6g}", extra, near)


def _lead(model: CapacityModel) -> str:
    """How the picture goes, in a sentence: what the percentile was far below the limit, and at it."""
    rule = model.rule
    known = [step for step in model.steps if step.result.percentile_s is not None and step.judgement.verdict != "invalid"]
    if rule is None or not known:
        return "There is no percentile to draw against load."
    name = wording.capital(words.rule_words(rule.show()))
    least, most = (pick(known, key=lambda step: step.order.load) for pick in (min, max))
    first = f"{name} was {wording.ms(1000 * (least.result.percentile_s or 0))} at {words.load_words(least.order.load, model.plan)}"
    if least is most:
        return f"{first}; the rule asks for less than {wording.ms(float(rule.limit) / 1e6)}."
    last = f"{wording.ms(1000 * (most.result.percentile_s or 0))} at {words.load_words(most.order.load, model.plan, unit=False)}"
    return f"{first} and {last}; the rule asks for less than {wording.ms(float(rule.limit) / 1e6)}."


def _little_words(model: CapacityModel) -> str:
    """Whether the books of the steps agree with Little's law."""
    found = [(step, law) for step in model.steps if (law := little_of(model, step)) is not None]
    if not found:
        return "Little's law says nothing about these steps: what it needs was not measured."
    off = [step for step, law in found if not law.holds]
    low, high = min(law.ratio for _, law in found), max(law.ratio for _, law in found)
    span = f"ρ lies between {low:.3f} and {high:.3f}"
    if not off:
        return f"Little's law holds in all {wording.many(len(found), 'step')}: {span}, where 1 is exact."
    names = wording.listed([f"{step.order.number}" for step in off])
    return f"Little's law is off in {wording.many(len(off), 'step')} ({names}) of {len(found)}: {span}, where 1 is exact."
