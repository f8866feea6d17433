"""`guestswarm trend`: tonight in the row of its scenario's nights, as page, summary, Markdown and JUnit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec

from harness.drift.history import Night, Shift, Trend, trend
from harness.drift.nights import FEWEST, CountVerdict, Metric, NightState, NightVerdict
from harness.errors import ExitCode
from harness.report import wording
from harness.report.jobs import JobReport
from harness.report.junit import Case, junit_suite
from harness.report.markdown import code, escaped, markdown_table
from harness.report.model import Reason
from harness.report.nights import COUNTS, metrics_of, nights_of, read_summary, scenario_name
from harness.report.text import clean
from harness.runs.folder import read_manifest
from harness.verdicts.lattice import Verdict

SCHEMA: Literal["guestswarm.trend/1"] = "guestswarm.trend/1"
PLOTTED = 4
_TABLE_NIGHTS = 60
_JUDGED = (NightState.UNCHANGED, NightState.IMPROVED)
_BADGES = {
    NightState.REGRESSION: "over",
    NightState.NOISY: "warns",
    NightState.IMPROVED: "ok",
    NightState.UNCHANGED: "ok",
}
_TAGS = {
    NightState.REGRESSION: "failure",
    NightState.NOISY: "error",
    NightState.NO_BASELINE: "error",
    NightState.NO_VALUE: "skipped",
}


class TrendSummary(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The shape of a trend's `summary.json`."""

    schema: Literal["guestswarm.trend/1"]
    run: str
    scenario: str
    verdict: Literal["PASS", "FAIL", "UNKNOWN"]
    exit_code: int
    reasons: list[Reason]
    simulated: bool
    complete: bool
    metrics: list[NightVerdict]
    counts: list[CountVerdict]
    shifts: list[Shift]
    repeated: list[str]
    standing: list[Shift]
    nights: list[Night]
    baseline: dict[str, list[str]]
    """By metric, the nights that tonight was held against."""


def build(runs: Path, tonight: Path, *, fewest: int = FEWEST) -> JobReport:
    """Judge the run in `tonight` against the earlier ones under `runs`. Nothing is written. Raises RunFolderError."""
    found = nights_of(runs, tonight)
    summary = read_summary(tonight) or {}
    nights = [night for _, night in found]
    metrics = metrics_of(summary, nights[:-1])
    result = trend(metrics, COUNTS, nights, fewest=fewest)
    manifest = read_manifest(tonight)
    name = scenario_name(manifest)
    verdict, exit_code, reasons = judge(result, fewest)
    shape = TrendSummary(
        schema=SCHEMA,
        run=result.nights[-1].id,
        scenario=name,
        verdict=verdict.value,
        exit_code=exit_code,
        reasons=reasons,
        simulated=bool(manifest.get("simulated")),
        complete=result.nights[-1].believable,
        metrics=result.verdicts,
        counts=result.counts,
        shifts=result.shifts,
        repeated=result.repeated,
        standing=result.standing,
        nights=result.nights,
        baseline={key: [result.nights[place].id for place in places] for key, places in result.baseline.items()},
    )
    context = _context(shape, result, metrics, manifest)
    facts = [context["say"]["counts"], context["say"]["nights"], f"Tonight: {clean(shape.run)}"]
    return JobReport(
        kind="trend",
        verdict=verdict,
        exit_code=exit_code,
        reasons=reasons,
        facts=facts,
        summary=msgspec.json.format(msgspec.json.encode(shape, order="sorted"), indent=1) + b"\n",
        page=_page(context),
        markdown=_markdown(shape, context),
        junit=_junit(shape),
        rows=[_line(one) for one in result.verdicts if one.state is not NightState.UNCHANGED][:5],
    )


def judge(found: Trend, fewest: int = FEWEST) -> tuple[Verdict, int, list[Reason]]:
    """Verdict, exit code and reasons, the gravest first."""
    tonight = found.nights[-1]
    reasons: list[Reason] = []
    if not tonight.believable:
        text = f"Tonight's run came to {tonight.verdict or 'no verdict'} or is not whole: it says nothing about a change."
        return Verdict.UNKNOWN, int(ExitCode.UNKNOWN), [Reason("night_not_judged", text)]
    worse = [one for one in found.counts if one.worse]
    for count in worse:
        grew = f"{count.tonight:,} tonight, {count.accepted:,} accepted"
        text = f"{wording.capital(_called(count.name))}: {grew}. Any increase fails."
        reasons.append(Reason("correctness", text))
    regressed = [one for one in found.verdicts if one.state is NightState.REGRESSION]
    if regressed:
        worst, *others = sorted(regressed, key=lambda one: -abs(one.change or 0.0))
        reasons.append(Reason("regression", regression_words(worst)))
        if others:
            names = wording.listed([one.metric.name for one in others[:3]]) if len(others) <= 3 else ""
            listed = names or f"{', '.join(one.metric.name for one in others[:3])} and {len(others) - 3} more"
            reasons.append(Reason("regression_others", f"So did {listed}."))
    said = {one.metric.name for one in regressed}
    reasons += [Reason("standing", standing_words(shift)) for shift in found.standing if shift.metric not in said]
    if found.repeated:
        names = wording.listed(found.repeated)
        reasons.append(Reason("repeated", f"{wording.capital(names)} moved in two of the last three nights: as bad as a leak."))
    if reasons:
        return Verdict.FAIL, int(ExitCode.FAIL), reasons
    unseen = _unseen(found, fewest)
    if unseen:
        return Verdict.UNKNOWN, int(ExitCode.UNKNOWN), unseen
    judged = [one for one in found.verdicts if one.state in _JUDGED]
    if judged:
        return Verdict.PASS, int(ExitCode.PASS), [Reason("no_regression", _fine(found, judged))]
    return Verdict.UNKNOWN, int(ExitCode.UNKNOWN), [Reason("no_baseline", _why_open(found, fewest))]


def _unseen(found: Trend, fewest: int) -> list[Reason]:
    """Of a measure that has a baseline and still says nothing tonight in any of its percentiles: that is no pass."""
    groups: dict[str, list[NightVerdict]] = {}
    for one in found.verdicts:
        groups.setdefault(one.metric.name.rpartition(" ")[0] or one.metric.name, []).append(one)
    reasons = []
    for name, group in groups.items():
        gone = [one for one in group if one.state is NightState.NO_VALUE and one.nights >= fewest]
        noisy = [one for one in group if one.state is NightState.NOISY]
        if any(one.state in _JUDGED for one in group):
            continue
        if gone:
            text = f"Tonight has no figures of {name}; {gone[0].nights} good nights before had them."
            reasons.append(Reason("no_value", text))
        elif noisy:
            text = f"NOISY. The nights before differ by {100 * (noisy[0].sd or 0):.0f} % (sd) in {noisy[0].metric.name}: "
            reasons.append(Reason("noisy", f"{text}a change would not be seen."))
    return sorted(reasons, key=lambda reason: reason.code != "no_value")


def _fine(found: Trend, judged: Sequence[NightVerdict]) -> str:
    better = [one for one in judged if one.state is NightState.IMPROVED]
    nearest = min(judged, key=lambda one: one.p if one.p is not None else 1.0)
    opened = len(found.verdicts) - len(judged)
    text = f"No regression: {wording.many(len(judged), 'metric')} within what the nights before allow."
    if better:
        text = f"{regression_words(better[0])} No metric is worse."
    elif nearest.change is not None:
        text += f" The nearest is {nearest.metric.name}, {_percent(nearest.change)} against the median."
    return text + (f" {wording.many(opened, 'metric')} could not be judged." if opened else "")


def _why_open(found: Trend, fewest: int) -> str:
    most = max((one.nights for one in found.verdicts), default=0)
    missing = max(fewest - most, 0)
    before = wording.many(most, "good night") if most else "no good night"
    are = "is" if most <= 1 else "are"
    return f"NO BASELINE. There {are} {before} before tonight; {missing} more {'is' if missing == 1 else 'are'} needed."


def regression_words(one: NightVerdict) -> str:
    """`REGRESSION. Tonight's echo.response p95 of 236 ms is 11 % above the median of the last 14 good nights.`"""
    change = one.change or 0.0
    side = "above" if change > 0 else "below"
    return (
        f"{one.state.value}. Tonight's {one.metric.name} of {_value(one.value, one.metric)} is {abs(100 * change):.0f} % {side} "
        f"the median of the last {one.nights} good nights."
    )


def standing_words(shift: Shift) -> str:
    """`A lasting change. echo.response p95 is 8 % above its level before 2026-… , and nobody has accepted it.`"""
    side = "above" if shift.change > 0 else "below"
    return (
        f"A lasting change. {shift.metric} is {abs(100 * shift.change):.0f} % {side} its level before {shift.night}, "
        f"and nobody has accepted it (p {_p(shift.p)})."
    )


def _called(name: str) -> str:
    return {"lost": "messages lost", "duplicated.same_connection": "messages doubled on one connection"}.get(
        name, f"{name} messages"
    )


def _value(value: float | None, metric: Metric) -> str:
    if value is None:
        return wording.DASH
    return wording.ms(value) if metric.unit == "ms" else f"{value:,.4g}\u00a0{metric.unit}"


def _percent(share: float | None) -> str:
    return wording.DASH if share is None else f"{'+' if share >= 0 else '−'}{abs(100 * share):.1f}\u00a0%"


def _p(p: float | None) -> str:
    return wording.DASH if p is None else "< 0.0001" if p < 1e-4 else f"{p:.1g}"


def _line(one: NightVerdict) -> str:
    return f"{one.state.value:11} {one.metric.name}  {_value(one.value, one.metric)}  {_percent(one.change)}  p {_p(one.p)}"


def _context(shape: TrendSummary, found: Trend, metrics: Sequence[Metric], manifest: Mapping[str, Any]) -> dict[str, Any]:
    tonight = found.nights[-1]
    refused = [night for night in found.nights if night.fit]
    first = shape.reasons[0]
    good = sum(night.good for night in found.nights[:-1])
    counted = [one for one in found.counts if one.worse]
    return {
        "verdict": shape.verdict,
        "word": first.text,
        "incomplete": not shape.complete,
        "heading": [
            wording.shown(shape.scenario, 60),
            tonight.started_utc.replace("T", ", ").replace("Z", " UTC"),
            "trend of nights",
        ],
        "facts": [reason.text for reason in shape.reasons[1:3]],
        "key": [
            ("nights", wording.count(len(found.nights))),
            ("good ones before", wording.count(good)),
            ("not comparable", wording.count(len(refused))),
            ("changes of level", wording.count(len(found.shifts))),
            ("exit code", str(shape.exit_code)),
        ],
        "say": {
            "metrics": _metrics_words(found.verdicts),
            "counts": "No count of correctness is above what was accepted."
            if not counted
            else f"{wording.listed([_called(one.name) for one in counted])} grew.",
            "shifts": _shifts_words(found.shifts),
            "nights": f"{wording.many(good, 'good night')} before tonight"
            + (f", {len(refused)} not comparable" if refused else "")
            + ".",
        },
        "rows": [
            {
                "state": one.state.value,
                "badge": _BADGES.get(one.state, "unmeasured"),
                "name": one.metric.name,
                "tonight": _value(one.value, one.metric),
                "median": _value(one.median, one.metric),
                "change": _percent(one.change),
                "band": f"{_value(one.low, one.metric)} – {_value(one.high, one.metric)}" if one.low is not None else wording.DASH,
                "p": _p(one.p),
                "nights": str(one.nights),
                "sd": wording.DASH if one.sd is None else f"{100 * one.sd:.1f}\u00a0%",
                "detectable": _percent(one.detectable),
            }
            for one in found.verdicts
        ],
        "counts": [
            {
                "name": _called(one.name),
                "tonight": wording.count(one.tonight),
                "accepted": wording.count(one.accepted),
                "worse": one.worse,
            }
            for one in found.counts
        ],
        "shifts": [
            {
                "metric": one.metric,
                "night": one.night,
                "change": _percent(one.change),
                "p": _p(one.p),
                "state": "worse, accepted" if one.worse and one.accepted else "worse, not accepted" if one.worse else "better",
            }
            for one in found.shifts
        ],
        "nights": [
            {
                "id": night.id,
                "verdict": night.verdict,
                "version": night.version,
                "note": night.fit or ("" if night.believable else "not whole, or its generator was not healthy"),
                "use": "tonight" if night is tonight else "refused" if night.fit else "good" if night.good else "left out",
            }
            for night in reversed(found.nights[-_TABLE_NIGHTS:])
        ],
        "pictures": [],
        "found": found,
        "metrics": metrics,
        "host": manifest.get("host") or {},
    }


def _metrics_words(verdicts: Sequence[NightVerdict]) -> str:
    states = [one.state for one in verdicts]
    parts = [f"{states.count(state)} {state.value}" for state in NightState if state in states]
    return f"Of {wording.many(len(verdicts), 'metric')}: {', '.join(parts)}."


def _shifts_words(shifts: Sequence[Shift]) -> str:
    if not shifts:
        return "No lasting change of level was found."
    open_ones = [shift for shift in shifts if not shift.rebases]
    text = f"{wording.many(len(shifts), 'lasting change')} of level."
    if open_ones:
        text += f" {len(open_ones)} to the worse nobody has accepted: what is since then is no baseline."
    return text


def _page(context: dict[str, Any]) -> str:
    from harness.report.page import page
    from harness.report.plots.svg import picture
    from harness.report.plots.trend import trend as draw

    found: Trend = context["found"]
    pictures: list[dict[str, Any]] = []
    for one in found.verdicts[:PLOTTED]:
        finding = f"{one.metric.name}: {one.state.value}, {_value(one.value, one.metric)}"
        drawn = picture(f"trend{len(pictures)}", finding, partial(draw, found=found, one=one), wide=230, narrow=220)
        pictures.append({"name": one.metric.name, "state": one.state.value, "picture": drawn})
    return page("trend.html.j2", {**context, "pictures": pictures})


def _markdown(shape: TrendSummary, context: Mapping[str, Any]) -> str:
    rows = [
        [row["state"], code(row["name"]), row["tonight"], row["median"], row["change"], row["band"], row["p"], row["nights"]]
        for row in context["rows"]
    ]
    head = ["verdict", "metric", "tonight", "median", "change", "98 % band", "p", "nights"]
    counts = [["worse" if row["worse"] else "ok", row["name"], row["tonight"], row["accepted"]] for row in context["counts"]]
    blocks = [
        f"# {shape.verdict}: {escaped(shape.scenario)}, trend of nights",
        *[escaped(reason.text) for reason in shape.reasons],
        markdown_table(head, rows, "llrrrlrr"),
        markdown_table(["", "count", "tonight", "accepted"], counts, "llrr"),
        escaped(context["say"]["shifts"]),
        f"Run {code(shape.run)}. {escaped(context['say']['nights'])} Exit code {shape.exit_code}.",
    ]
    return "\n\n".join(blocks) + "\n"


def _junit(shape: TrendSummary) -> str:
    cases = []
    standing = {shift.metric: standing_words(shift) for shift in shape.standing}
    for one in shape.metrics:
        words = regression_words(one) if one.state is NightState.REGRESSION else one.state.value
        tag = _TAGS.get(one.state, "")
        if one.metric.name in standing and tag != "failure":
            tag, words = "failure", standing[one.metric.name]
        cases.append(Case("trend", one.metric.name, tag, words))
    cases += [
        Case("correctness", count.name, "failure" if count.worse else "", f"{count.tonight} against {count.accepted}")
        for count in shape.counts
    ]
    started = next((night.started_utc for night in shape.nights if night.id == shape.run), "")
    return junit_suite(shape.scenario or "guestswarm", cases, {"run": shape.run, "verdict": shape.verdict}, 0.0, started)
