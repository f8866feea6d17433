"""`report.html` of a capacity search: the answer, whether it can be believed, the curve, the steps, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.errors import GuestswarmError
from harness.report import sentences, wording
from harness.report.build import build_model
from harness.report.jobs import capacity_words as words
from harness.report.jobs.capacity_curve import Curve, rate_half
from harness.report.jobs.capacity_model import CapacityModel
from harness.report.jobs.capacity_summary import CapacitySummary
from harness.report.jobs.capacity_text import HEAD, STATES, step_cells
from harness.report.page import health_strip, page
from harness.report.plots.capacity import Chart, Dot
from harness.report.plots.capacity import capacity as draw_capacity
from harness.report.plots.svg import picture
from harness.search.steps import Step

_BADGES = {"held": "ok", "broke": "over", "invalid": "unmeasured", "undecided": "warns"}


def render(model: CapacityModel, curve: Curve, found: CapacitySummary) -> str:
    """The page."""
    answer, plan = model.answer, model.plan
    beyond = [line.step.order.load for line in model.lines if line.beyond]
    sentence = found.reasons[0].text
    facts = [*(reason.text for reason in found.reasons[1:]), words.confirm_words(answer, plan), *_beside(model, curve)]
    return page(
        "capacity.html.j2",
        {
            "verdict": answer.verdict.value,
            "heading": _heading(model),
            "word": _unbroken(sentence),
            "facts": [_unbroken(text) for text in facts][:3],
            "key": _key(model, found),
            "incomplete": not answer.complete,
            "believed": _believed(model),
            "calibrated": words.calibrated_words(model.beyond, words.load_words(max(beyond, default=None), plan)) if beyond else "",
            "picture": _picture(model, curve, sentence),
            "rule": wording.shown(model.rule.show()) if model.rule is not None else "",
            "curve": curve,
            "closed": plan.whole,
            "steps": _rows(model, found),
            "head": HEAD,
            "steps_words": words.steps_words(model.steps, plan),
            "room": words.planned_words(answer.head_room, plan) if answer.head_room is not None else "",
            "settings": _settings(model),
            "about": _about(model),
            "made": found,
        },
    )


def _unbroken(text: str) -> str:
    """With no line break between a number and its sign."""
    return text.replace(" %", "\u00a0%")


def _heading(model: CapacityModel) -> list[str]:
    where = "simulated target" if model.simulated else "real target"
    stamp = wording.shown(model.manifest.get("started_utc") or "", 40).replace("T", ", ").replace("Z", " UTC")
    return [wording.shown(model.scenario or "capacity", 60), "capacity", stamp, where]


def _beside(model: CapacityModel, curve: Curve) -> list[str]:
    """Facts of the card: how many steps, whether some were not to be believed, what more load costs."""
    invalid = sum(step.judgement.verdict == "invalid" for step in model.steps)
    said = "in every one the generator kept up" if not invalid else f"in {invalid} of them the generator was not to be believed"
    cost = [curve.cost_words] if curve.cost is not None else []
    return [f"{wording.many(len(model.steps), 'step')}; {said}.", *cost] if model.steps else []


def _key(model: CapacityModel, found: CapacitySummary) -> list[tuple[str, str]]:
    plan = model.plan
    rate = next((step.throughput_per_s for step in reversed(found.steps) if step.kind == "confirm"), None)
    return [
        (plan.unit, words.load_words(found.estimate, plan, unit=False)),
        ("95 % interval" if found.method == "fit" else "between", _span(model, found)),
        ("breaks first", words.rule_words(found.first_broken_slo) if found.first_broken_slo else wording.DASH),
        ("highest that held", words.load_words(found.held, plan, unit=False)),
        ("lowest that broke", words.load_words(found.broke, plan, unit=False)),
        ("confirmed at", words.load_words(found.confirmed_load, plan, unit=False) if found.confirmed else "no"),
        ("throughput there", wording.DASH if rate is None else f"{wording.digits(rate)} /s"),
        ("steps", wording.count(len(found.steps))),
        ("exit code", str(found.exit_code)),
    ]


def _span(model: CapacityModel, found: CapacitySummary) -> str:
    low, high = (words.load_words(value, model.plan, unit=False) for value in (found.low, found.high))
    return wording.DASH if low == high == wording.DASH else f"{low} – {high}"


def _believed(model: CapacityModel) -> dict[str, Any]:
    """Signs of health of the run that speaks for the answer, and of which steps none counts."""
    invalid = [step for step in model.steps if step.judgement.verdict == "invalid"]
    not_counted = [f"Step {step.order.number} does not count: {step.judgement.sentence}." for step in invalid]
    folder = model.last_run
    if folder is None:
        return {"words": "Whether the generator kept up is not known.", "strip": [], "what": "", "not_counted": not_counted}
    try:
        run = build_model(folder)
    except GuestswarmError:
        return {"words": "The step's run cannot be read any more.", "strip": [], "what": "", "not_counted": not_counted}
    step = next(step for step in model.steps if step.result.reference == folder.name)
    what = f"Of step {step.order.number}: {words.load_words(step.order.load, model.plan)}."
    return {"words": sentences.health_words(run), "strip": health_strip(run.health), "what": what, "not_counted": not_counted}


# ---------------------------------------------------------------- the picture
def _picture(model: CapacityModel, curve: Curve, sentence: str) -> Any:
    if not model.steps:
        return None
    answer, rule = model.answer, model.rule
    chart = Chart(
        [_dot(step) for step in model.steps],
        model.plan.unit,
        words.rule_words(rule.show()) if rule is not None else "",
        float(rule.limit) / 1e6 if rule is not None else None,
        answer.estimate,
        answer.low if answer.estimate is not None else None,
        answer.high if answer.estimate is not None else None,
        f"holds {words.load_words(answer.estimate, model.plan, unit=False)}" if answer.estimate is not None else "",
        curve.band,
        curve.ideal,
        curve.knee,
        model.plan.planned,
    )
    return picture(
        "f", f"Throughput and latency against load. {sentence}", lambda sheet: draw_capacity(sheet, chart), wide=430, narrow=440
    )


def _dot(step: Step) -> Dot:
    result = step.result
    rate = None
    if result.throughput is not None:
        half = rate_half(step)
        rate = (result.throughput, max(result.throughput - half, 0.0), result.throughput + half)
    middle, low, high = result.percentile_s, result.percentile_low_s, result.percentile_high_s
    latency = None
    if middle is not None:
        latency = (1000 * middle, 1000 * (middle if low is None else low), 1000 * (middle if high is None else high))
    return Dot(step.order.load, step.judgement.verdict, rate, latency, step.order.kind == "confirm")


# ---------------------------------------------------------------- tables
def _rows(model: CapacityModel, found: CapacitySummary) -> list[dict[str, Any]]:
    rows = []
    for step, cell in zip(model.steps, found.steps, strict=True):
        cells = step_cells(model, cell)
        rows.append(
            {
                "badge": _BADGES[cell.verdict],
                "state": STATES[cell.verdict].partition(" ")[2],
                "cells": cells[1:],
                "generator": "fine" if cell.generator_healthy else "over",
                "why": wording.shown(cell.sentence, 200),
                "page": model.page_of(step),
                "number": cell.number,
                "confirms": cell.kind == "confirm",
            }
        )
    return rows


def _settings(model: CapacityModel) -> list[tuple[str, str]]:
    plan, limits = model.plan, model.plan.limits
    return [
        ("first and most", f"{words.load_words(plan.first, plan, unit=False)} and {words.load_words(plan.most, plan)}"),
        ("growth while nothing breaks", f"{plan.growth:g} times"),
        ("bisection ends at", f"{100 * plan.tolerance:g} % of the load that broke"),
        ("runs at the edge", f"up to {plan.repeats}, of which {plan.needed} decide"),
        ("interval asked for", f"within {100 * plan.precision:g} % to either side, {plan.extra} repeats more for that at most"),
        ("step", f"{limits.step_min_s:g} s to {limits.step_max_s:g} s, {limits.samples:,} samples, {limits.cycles:g} × (R + Z)"),
        ("confirmation", f"{plan.confirm_factor:g} times as long" if plan.confirm else "not asked for"),
        ("a step breaks by more errors than", f"{100 * limits.errors:g} %"),
        ("and by less of the planned load than", f"{100 * limits.achieved:g} %"),
        ("planned load", words.load_words(plan.planned, plan) if plan.planned is not None else "none was given"),
    ]


def _about(model: CapacityModel) -> list[tuple[str, str]]:
    manifest = model.manifest
    approved, host = (manifest.get(name) for name in ("authorisation", "host"))
    return [
        ("search", wording.shown(model.id)),
        ("seed", f"{wording.shown(manifest.get('seed', wording.DASH))}; each step adds its number"),
        ("dialects", wording.shown(", ".join(str(name) for name in manifest.get("dialects") or ()), 200) or wording.DASH),
        ("rules", wording.shown("; ".join(str(rule) for rule in manifest.get("slo") or ()), 600)),
        ("target", "embedded simulator on loopback" if model.simulated else "a real one, see the scenario"),
        ("authorisation", _pairs(approved) if approved else "none needed: this machine"),
        ("how it ended", wording.shown(model.ended or "it did not get to say")),
        ("stopped", wording.shown(model.stopped, 300) or "at its own end" if model.answer.complete else "before its own end"),
        ("host", _pairs(host) or wording.DASH),
        ("versions", _pairs(manifest.get("versions")) or wording.DASH),
        ("files beside this page", "manifest.json, scenario.json, steps.jsonl, summary.json, report.md, junit.xml, steps/"),
    ]


def _pairs(table: Any) -> str:
    if not isinstance(table, Mapping):
        return ""
    return wording.shown(
        ", ".join(f"{wording.shown(k, 40)} {wording.shown(v, 60)}" for k, v in sorted(table.items(), key=str)), 600
    )
