"""The sections that a soak adds to its run's page: series, windows, error budget and storms, what befell the run."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from harness.drift.model import SeriesVerdict, State
from harness.drift.words import between, writer
from harness.report import wording
from harness.report.model import Model
from harness.report.plots.marks import letter
from harness.report.plots.soak import Strip, course, heat, series, spark
from harness.report.plots.svg import picture
from harness.report.soak.model import Followed, Happening, SoakFigures
from harness.report.soak.words import course_words, happenings_words, series_words, windows_words

MOST_PLOTS = 6
"""Series that are drawn large; the others have their small line in the table."""
MOST_STRIPS = 8
_STATES = {
    State.LEAK: "FAIL",
    State.STEP: "warns",
    State.SUSPECT: "warns",
    State.INCONCLUSIVE: "UNKNOWN",
    State.STABLE: "PASS",
    State.NOT_JUDGED: "unmeasured",
}
"""Whose glyph and colour each has."""
_MARKED = ("worker_lost", "session", "resumed", "target_lost", "target_restarted", "rotated", "clock_step", "journal_failed")
_MOST_HAPPENINGS = 40
_SPARK = Markup(
    '<svg class="spark" viewBox="0 0 90 22" width="90" height="22" aria-hidden="true">'
    '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="1.2"/></svg>'
)


def soak_context(model: Model) -> dict[str, Any] | None:
    """What the template needs; None where the run is no soak."""
    soak = model.soak
    if soak is None:
        return None
    end_s = max(soak.load_s, 1.0)
    marks = _marks(soak)
    strips = [Strip(wording.shown(rule.rule, 80), rule.windows) for rule in model.rules if rule.windows][:MOST_STRIPS]
    return {
        "lead": series_words(soak),
        "rows": [_row(one) for one in soak.series],
        "plots": [_plot(one, number, soak, marks) for number, one in enumerate(_drawn(soak))],
        "false_discoveries": f"{100 * soak.false_discoveries:g}\u00a0%",
        "left_out": wording.clock(soak.left_out_s),
        "planned": soak.planned,
        "windows": _windows(strips, end_s),
        "course": _course(soak, marks, end_s),
        "happenings": _happenings(soak),
        "remarks": [wording.shown(text, 300) for text in soak.remarks],
    }


def _drawn(soak: SoakFigures) -> list[Followed]:
    moved = [one for one in soak.series if one.verdict.moved]
    asked = [one for one in soak.series if one.asked and not one.verdict.moved]
    return [*moved, *asked][:MOST_PLOTS]


def _row(one: Followed) -> dict[str, Any]:
    found = one.verdict
    write = writer(found.unit, max(abs(found.median or 0.0), abs(found.change or 0.0), abs(found.budget or 0.0)))
    judged = found.change is not None
    points = spark(one.raw)
    return {
        "state": _STATES[found.state],
        "word": found.state.value,
        "name": found.name,
        "spark": _SPARK.format(points) if points else "",
        "level": _level(found, one),
        "change": write(found.change or 0.0) if judged else wording.DASH,
        "interval": _interval(found) if judged else wording.DASH,
        "budget": write(found.budget) if found.budget is not None and judged else wording.DASH,
        "note": _note(one),
    }


def _level(found: SeriesVerdict, one: Followed) -> str:
    if found.median is not None:
        return writer(found.unit, abs(found.median))(found.median)
    values = sorted(value for _, value in one.raw)
    if not values:
        return wording.DASH
    middle = values[len(values) // 2]
    return writer(found.unit, abs(middle))(middle)


def _interval(found: SeriesVerdict) -> str:
    low, high = found.change_low or 0.0, found.change_high or 0.0
    return between(writer(found.unit, max(abs(low), abs(high))), low, high)


def _note(one: Followed) -> str:
    parts = [one.verdict.note] if one.verdict.note else []
    if one.changes and one.verdict.step is None:
        times = ", ".join(wording.clock(point.at_s or 0.0) for point in one.changes[:3])
        more = f" and {len(one.changes) - 3} more" if len(one.changes) > 3 else ""
        parts.append(f"level changed at {times}{more}")
    return "; ".join(parts)


def _plot(one: Followed, number: int, soak: SoakFigures, marks: list[Happening]) -> dict[str, Any]:
    end_s = max(soak.load_s, 1.0)
    left_out = soak.left_out_s if soak.planned else 0.0
    drawn = picture(
        f"h-{number}",
        one.verdict.sentence,
        lambda sheet: series(sheet, one, end_s, left_out, marks),
        wide=250,
        narrow=250,
    )
    return {"name": one.verdict.name, "words": one.verdict.sentence, "picture": drawn, "step": one.verdict.state is State.STEP}


def _windows(strips: list[Strip], end_s: float) -> dict[str, Any] | None:
    if not strips:
        return None
    words = windows_words([(strip.rule, strip.windows) for strip in strips])
    end_s = max([end_s, *(strip.windows[-1].t1_ns / 1e9 for strip in strips if strip.windows)])
    height = 30 + 52 * len(strips)
    drawn = picture("heat", words, lambda sheet: heat(sheet, strips, end_s), wide=height, narrow=height)
    return {"words": words, "picture": drawn}


def _course(soak: SoakFigures, marks: list[Happening], end_s: float) -> dict[str, Any]:
    panels = sum(bool(storm.events) for storm in soak.storms) + (soak.budget is not None and bool(soak.budget.series))
    drawn = None
    if panels:
        height = 40 + 112 * panels
        drawn = picture(
            "course",
            course_words(soak),
            lambda sheet: course(sheet, soak.budget, soak.storms, marks, end_s),
            wide=height,
            narrow=height,
        )
    sentences = [soak.budget.sentence] if soak.budget is not None else []
    return {"words": course_words(soak), "picture": drawn, "more": [*sentences[1:], *(storm.sentence for storm in soak.storms)]}


def _marks(soak: SoakFigures) -> list[Happening]:
    return [one for one in soak.happenings if one.kind in _MARKED and one.at_s > 0][:_MOST_HAPPENINGS]


def _happenings(soak: SoakFigures) -> dict[str, Any]:
    names = {id(one): letter(number) for number, one in enumerate(_marks(soak))}
    rows = [
        (names.get(id(one), ""), wording.clock(one.at_s), wording.shown(one.text, 200))
        for one in soak.happenings[:_MOST_HAPPENINGS]
    ]
    counts = Counter(one.kind for one in soak.happenings)
    return {"words": happenings_words(soak, counts), "rows": rows, "more": max(len(soak.happenings) - _MOST_HAPPENINGS, 0)}
