"""The report of a capacity search: page, summary, Markdown and JUnit, all from the files of its folder.

The same folder gives the same bytes, whenever and wherever it is built.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.report import wording
from harness.report.jobs import JobReport
from harness.report.jobs import capacity_words as words
from harness.report.jobs.capacity_curve import Curve, curve_of, little_of
from harness.report.jobs.capacity_model import CapacityModel, nearest_share, read_search
from harness.report.jobs.capacity_summary import SCHEMA, CapacitySummary, Ratio, Room, StepCell, encode
from harness.report.jobs.capacity_text import capacity_junit, capacity_markdown
from harness.report.model import Reason
from harness.report.text import clean

_GLYPHS = {"held": "✓", "broke": "✕"}


def build(folder: Path) -> JobReport:
    """Fold the folder of a search. Raises RunFolderError for what is not there."""
    model = read_search(Path(folder))
    curve = curve_of(model)
    found = summary(model, curve)
    return JobReport(
        "capacity",
        model.answer.verdict,
        model.exit_code,
        found.reasons,
        facts(model, curve),
        encode(found),
        _page(model, curve, found),
        capacity_markdown(model, curve, found),
        capacity_junit(model, found),
        rows(model),
    )


def summary(model: CapacityModel, curve: Curve) -> CapacitySummary:
    """`summary.json` as an object."""
    answer = model.answer
    room = answer.head_room
    return CapacitySummary(
        SCHEMA,
        model.id,
        answer.verdict.value,
        model.exit_code,
        reasons(model),
        model.simulated,
        answer.complete,
        model.scenario,
        answer.estimate,
        answer.low,
        answer.high,
        "guests" if model.plan.whole else "arrivals/s",
        answer.first_broken_slo,
        answer.by_rule,
        answer.generator_bound,
        answer.confirmed,
        answer.confirmed_load,
        answer.method,
        answer.held,
        answer.broke,
        None if room is None else Room(room.plan, room.room, room.low, room.high, room.verdict.value),
        [_cell(model, number) for number in range(len(model.lines))],
        curve.knee,
        curve.scalability,
        curve.cost,
        model.beyond,
        model.stopped,
    )


def reasons(model: CapacityModel) -> list[Reason]:
    """The answer's sentence first, then why it is no more than that."""
    first = model.answer.reasons[0].code if model.answer.reasons else "found"
    found = [Reason(first, words.headline(model.answer, model.plan, model.stopped, model.ended))]
    if model.answer.reasons and any(reason.code == "imprecise" for reason in model.answer.reasons):
        asked = f"within {100 * model.plan.precision:.2g} % to either side"
        found.append(Reason("imprecise", f"The interval is wider than was asked for ({asked})."))
    return found


def facts(model: CapacityModel, curve: Curve) -> list[str]:
    """What stands beside the answer: confirmation, steps, cost, calibration."""
    found = [words.confirm_words(model.answer, model.plan), words.steps_words(model.steps, model.plan)]
    if curve.cost is not None:
        found.append(curve.cost_words)
    beyond = [step.order.load for step, line in zip(model.steps, model.lines, strict=True) if line.beyond]
    if beyond:
        found.append(words.calibrated_words(model.beyond, words.load_words(max(beyond), model.plan)))
    if model.unreadable:
        found.append(f"{wording.many(model.unreadable, 'line')} of the steps could not be read.")
    return found


def rows(model: CapacityModel) -> list[str]:
    """Lines of the verdict box: the loads on either side of the limit."""
    found = []
    for load in (model.answer.held, model.answer.broke):
        step = next((step for step in reversed(model.steps) if step.order.load == load), None)
        if step is not None:
            shown = words.load_words(step.order.load, model.plan)
            found.append(clean(f"{_GLYPHS.get(step.judgement.verdict, '?')} {shown}: {step.judgement.sentence}"))
    return found


def _cell(model: CapacityModel, number: int) -> StepCell:
    line = model.lines[number]
    step, result, judged = line.step, line.step.result, line.step.judgement
    share = nearest_share(step)
    law = little_of(model, step)
    return StepCell(
        step.order.number,
        step.order.load,
        step.order.kind,
        step.order.attempt,
        judged.verdict,
        judged.broken_by or None,
        judged.sentence,
        round(result.length_s, 3),
        share.samples if share is not None else 0,
        share.kept if share is not None else 0,
        _ms(result.percentile_s),
        _ms(result.percentile_low_s),
        _ms(result.percentile_high_s),
        _rounded(result.throughput),
        _rounded(line.messages_per_s),
        _ms(result.response_s),
        _rounded(result.achieved, 5),
        result.errors,
        result.operations,
        None if law is None else Ratio(round(law.ratio, 5), round(law.tolerance, 5), law.holds),
        result.generator_healthy,
        result.generator,
        result.reference,
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _rounded(value: float | None, places: int = 3) -> float | None:
    return None if value is None else round(value, places)


def _page(model: CapacityModel, curve: Curve, found: CapacitySummary) -> str:
    """The page; empty where a picture cannot be drawn, which must not cost the answer."""
    try:
        from harness.report.jobs.capacity_page import render  # matplotlib

        return render(model, curve, found)
    except Exception as error:
        sys.stderr.write(f"guestswarm: report.html could not be made ({type(error).__name__}: {clean(str(error))[:200]})\n")
        return ""
