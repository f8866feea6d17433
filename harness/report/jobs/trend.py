"""`guestswarm trend`: tonight in the row of its scenario's nights, as page, summary, Markdown and JUnit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from harness.drift.history import Night, Shift, Trend, trend
from harness.drift.nights import FEWEST, CountVerdict, NightState, NightVerdict
from harness.errors import ExitCode
from harness.report import wording
from harness.report.jobs import JobReport
from harness.report.jobs.trend_page import draw_page, page_context
from harness.report.jobs.trend_words import called, p_words, percent_words, regression_words, standing_words, value_words
from harness.report.junit import Case, junit_suite
from harness.report.markdown import code, escaped, markdown_table
from harness.report.model import Reason
from harness.report.nights import COUNTS, metrics_of, nights_of, read_summary, scenario_name
from harness.report.text import clean
from harness.runs.folder import read_manifest
from harness.verdicts.lattice import Verdict

SCHEMA: Literal["guestswarm.trend/1"] = "guestswarm.trend/1"
_JUDGED = (NightState.UNCHANGED, NightState.IMPROVED)
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
    context = page_context(shape, result, metrics, manifest)
    facts = [context["say"]["counts"], context["say"]["nights"], f"Tonight: {clean(shape.run)}"]
    return JobReport(
        kind="trend",
        verdict=verdict,
        exit_code=exit_code,
        reasons=reasons,
        facts=facts,
        summary=msgspec.json.format(msgspec.json.encode(shape, order="sorted"), indent=1) + b"\n",
        page=draw_page(context),
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
        text = f"{wording.capital(called(count.name))}: {grew}. Any increase fails."
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
        text += f" The nearest is {nearest.metric.name}, {percent_words(nearest.change)} against the median."
    return text + (f" {wording.many(opened, 'metric')} could not be judged." if opened else "")


def _why_open(found: Trend, fewest: int) -> str:
    most = max((one.nights for one in found.verdicts), default=0)
    missing = max(fewest - most, 0)
    before = wording.many(most, "good night") if most else "no good night"
    are = "is" if most <= 1 else "are"
    return f"NO BASELINE. There {are} {before} before tonight; {missing} more {'is' if missing == 1 else 'are'} needed."


def _line(one: NightVerdict) -> str:
    tonight, change = value_words(one.value, one.metric), percent_words(one.change)
    return f"{one.state.value:11} {one.metric.name}  {tonight}  {change}  p {p_words(one.p)}"


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
