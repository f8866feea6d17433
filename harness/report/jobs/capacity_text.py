"""A capacity search as `report.md` and `junit.xml`. What others wrote is escaped. Pure."""

from __future__ import annotations

from harness.report import wording
from harness.report.jobs import capacity_words as words
from harness.report.jobs.capacity_curve import Curve
from harness.report.jobs.capacity_model import CapacityModel
from harness.report.jobs.capacity_summary import CapacitySummary, StepCell
from harness.report.junit import Case, junit_suite
from harness.report.markdown import code, escaped, markdown_table
from harness.verdicts.lattice import Verdict

_GLYPHS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.UNKNOWN: "?"}
_TAGS = {Verdict.PASS: "", Verdict.FAIL: "failure", Verdict.UNKNOWN: "error"}
STATES = {"held": "✓ held", "broke": "✕ broke", "invalid": "– not counted", "undecided": "? open"}
HEAD = (
    "step",
    "load",
    "kind",
    "length",
    "samples",
    "percentile",
    "95 % interval",
    "per second",
    "achieved",
    "errors",
    "Little's ρ",
)


def step_cells(model: CapacityModel, step: StepCell) -> list[str]:
    """What the tables say of a step, in the order of `HEAD`."""
    interval = wording.DASH
    if step.low_ms is not None and step.high_ms is not None:
        interval = f"{wording.ms(step.low_ms)} – {wording.ms(step.high_ms)}"
    little = wording.DASH
    if step.little is not None:
        little = f"{step.little.ratio:.3f}{'' if step.little.ok else ' (off)'}"
    return [
        STATES[step.verdict],
        words.load_words(step.load, model.plan, unit=False),
        f"{step.kind}{', again' if step.attempt > 1 else ''}",
        f"{step.length_s:,.0f}\u00a0s",
        wording.count(step.samples),
        wording.ms(step.percentile_ms),
        interval,
        wording.DASH if step.throughput_per_s is None else wording.digits(step.throughput_per_s),
        wording.DASH if step.achieved is None else f"{100 * step.achieved:.1f}\u00a0%",
        wording.percent(step.errors, step.operations),
        little,
    ]


def capacity_markdown(model: CapacityModel, curve: Curve, found: CapacitySummary) -> str:
    """The whole `report.md`."""
    answer = model.answer
    more = [reason.text for reason in found.reasons[1:]]
    blocks = [
        f"# {_GLYPHS[answer.verdict]} {answer.verdict.value}: capacity of {escaped(model.scenario or model.id)}",
        escaped(found.reasons[0].text),
        *(["\n".join(f"- {escaped(text)}" for text in more)] if more else []),
        escaped(words.confirm_words(answer, model.plan)),
        "## Steps",
        escaped(words.steps_words(model.steps, model.plan)),
        markdown_table(HEAD, ([escaped(cell) for cell in step_cells(model, step)] for step in found.steps), "lrlrrrrrrrr"),
        *_not_counted(found),
        "## What more load costs",
        *(escaped(text) for text in (curve.cost_words, curve.law_words, curve.little_words)),
        f"Search {code(model.id)}, {escaped(str(model.manifest.get('started_utc') or ''))}, "
        f"{escaped(', '.join(str(name) for name in model.manifest.get('dialects') or ()))}, "
        f"{'simulated target' if model.simulated else 'real target'}. Exit code {model.exit_code}.",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _not_counted(found: CapacitySummary) -> list[str]:
    lines = [f"- step {step.number}: {escaped(step.sentence)}" for step in found.steps if step.verdict == "invalid"]
    return ["Not counted:", "\n".join(lines)] if lines else []


def capacity_junit(model: CapacityModel, found: CapacitySummary) -> str:
    """The whole `junit.xml`: the answer, the confirmation, the plan."""
    answer, texts = model.answer, [reason.text for reason in found.reasons]
    cases = [Case("capacity", "answer", _TAGS[answer.verdict], texts[0], "\n".join(texts))]
    confirm = Case("capacity", "the longer run holds all rules")
    if answer.confirmed is None:
        confirm.tag, confirm.message = "skipped", words.confirm_words(answer, model.plan)
    elif not answer.confirmed:
        confirm.tag, confirm.message = "failure", words.confirm_words(answer, model.plan)
    cases.append(confirm)
    if answer.head_room is not None:
        room = answer.head_room
        cases.append(Case("capacity", "the planned load fits", _TAGS[room.verdict], words.planned_words(room, model.plan)))
    invalid = [step for step in found.steps if step.verdict == "invalid"]
    health = Case("capacity", "the generator can be believed", body="\n".join(step.sentence for step in invalid))
    if answer.generator_bound:
        health.tag, health.message = "error", invalid[-1].sentence if invalid else "the generator is the limit"
    cases.append(health)
    for case in cases:
        if not case.tag:
            case.message = case.body = ""
    seconds = sum(step.length_s for step in found.steps)
    properties = {"run": model.id, "verdict": answer.verdict.value, "exit_code": str(model.exit_code), "unit": found.unit}
    properties |= {
        name: f"{value:g}"
        for name, value in (("estimate", found.estimate), ("low", found.low), ("high", found.high))
        if value is not None
    }
    return junit_suite(model.scenario or "guestswarm", cases, properties, seconds, str(model.manifest.get("started_utc") or ""))
