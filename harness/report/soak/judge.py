"""What a soak's series come to, and what that does to the run's verdict.

LEAK breaks the soak; a series that cannot be told, or that was to be judged and could not be, is no pass; a step, or one that
levels off, is said and decides nothing: of one night it may be chance. What is too short for trends is judged by its rules alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.drift.budget import burn
from harness.drift.change import change_points_in_run
from harness.drift.leak import judge_all
from harness.drift.model import RANK, LeakRule, Series, SeriesVerdict, State
from harness.drift.storms import storms
from harness.drift.words import capital, length
from harness.report.model import Reason
from harness.report.soak.model import Alarms, Budget, Followed, Happening, SoakFigures, Storm
from harness.report.soak.series import STANDARD, Gathered, Values, gather
from harness.runs.events import EVENTS, TARGET, read_lines
from harness.verdicts.lattice import Verdict, compose

RAW = 500
"""Points of a series that are kept for its picture."""
THIN = 240
"""The same of counts over time."""
_COARSEST = 30.0
_JUDGE_NAMES = {
    "generator_memory": "generator memory",
    "generator_files": "generator open files",
    "generator_loop": "generator loop busy",
    "machine_ports": "local ports in use",
    "target_memory": "target memory",
    "target_undelivered": "target undelivered",
    "target_sockets": "target sockets",
}
_HAPPENINGS = {
    "resumed": "resumed",
    "worker_lost": "load child lost",
    "target_lost": "target lost",
    "target_restarted": "target restarted",
    "rotated": "journal file closed",
    "journal_failed": "journal not writable",
    "journal_written": "journal writable again",
}


def soak_figures(folder: Path, files: Sequence[Path], manifest: Mapping[str, Any], measures: Sequence[str]) -> SoakFigures:
    """Everything of a soak's folder that a run's report does not have. `measures`: those with a rule on a percentile."""
    job: Mapping[str, Any] = manifest["job"]
    phases = manifest.get("phases") or {}
    plan = manifest.get("planned") or {}
    planned_s, ramp_s = float(job["planned_s"]), plan.get("ramp_ns", 0) / 1e9
    interval_s = float(job["interval_s"])
    rule = msgspec.convert(job["rule"], LeakRule)
    rule = msgspec.structs.replace(rule, drop=max(rule.drop, min(ramp_s / planned_s, 0.5) if planned_s else 0.0))
    found = gather(
        files,
        read_lines(Path(folder) / TARGET),
        interval_s=interval_s,
        planned_s=planned_s,
        end_ns=phases.get("settle"),
        measures=list(dict.fromkeys((*STANDARD, *measures))),
    )
    figures = SoakFigures(
        planned_s,
        0.0,
        planned_s - ramp_s,
        interval_s,
        rule.least_s,
        bool(job["judged"]),
        [],
        None,
        [],
        [],
        1,
        0,
        len(files),
        [str(text) for text in job.get("remarks") or ()],
        rule.false_discoveries,
        0.0,
    )
    if found is None:
        return figures
    figures.load_s = found.steps * found.step_s
    figures.left_out_s = rule.drop * figures.load_s
    figures.series = _followed(found, job, rule, figures)
    figures.budget = _budget(found, float(job["objective"]), planned_s)
    figures.storms = _storms(found, ramp_s)
    figures.happenings = _happenings(folder, found)
    figures.sessions = 1 + len(found.sessions)
    figures.restarts = sum(one.kind == "target_restarted" for one in figures.happenings)
    return figures


# ------------------------------------------------------------------ series
def _followed(found: Gathered, job: Mapping[str, Any], rule: LeakRule, figures: SoakFigures) -> list[Followed]:
    named: list[tuple[str, str, Values, int]] = [
        (name, "reply" if name.startswith("reply ") else "latency", values, window)
        for name, (values, window) in found.latencies.items()
    ]
    named.append(("failed messages", "errors", _shares(found), 1))
    for name, values in [*found.generator.items(), *found.target.items()]:
        named.append((_JUDGE_NAMES[name], name, values, 1))
    named = [one for one in named if any(value is not None for value in one[2])]
    series = [
        _series(name, job["resources"].get(resource) or job["resources"]["latency"], values, found.step_s)
        for name, resource, values, _ in named
    ]
    verdicts = judge_all(series, rule)
    if not figures.planned:
        why = f"not judged: {length(figures.full_s)} < {length(rule.least_s)}"
        verdicts = [_unjudged(one, why) for one in verdicts]
    asked = set(job.get("plots") or ())
    made = []
    for (name, resource, values, window), verdict in zip(named, verdicts, strict=True):
        step_s = window * found.step_s
        points = values[::window]
        changes = change_points_in_run(points, step_s=step_s) if figures.planned and verdict.state is not State.NOT_JUDGED else []
        made.append(Followed(verdict, resource, _thinned(points, step_s), changes, name in asked))
    order = {name: number for number, (name, *_) in enumerate(named)}
    return sorted(made, key=lambda one: (RANK[one.verdict.state], order[one.verdict.name]))


def _series(name: str, resource: Mapping[str, Any], values: Values, step_s: float) -> Series:
    return Series(
        name,
        values,
        step_s,
        unit=resource["unit"],
        keep=resource["keep"],
        floor=float(resource["floor"]),
        limit=resource.get("limit"),
        uptime_s=resource.get("uptime_s"),
    )


def _shares(found: Gathered) -> Values:
    """Share of the messages that failed, in steps of half a minute: of a few messages there is none."""
    width = max(1, round(_COARSEST / found.step_s))
    values: Values = []
    for at in range(0, found.steps, width):
        asked = [count for count in found.asked[at : at + width] if count is not None]
        failed = [count for count in found.failed[at : at + width] if count is not None]
        share = sum(failed) / sum(asked) if sum(asked) else None
        values += [share] * min(width, found.steps - at)
    return values


def _unjudged(one: SeriesVerdict, why: str) -> SeriesVerdict:
    """One that was not to be judged, whatever it looks like."""
    return msgspec.structs.replace(one, state=State.NOT_JUDGED, note=why, sentence=f"{capital(one.name)} was {why}.", step=None)


def _thinned(values: Values, step_s: float) -> list[tuple[float, float]]:
    stride = max(1, -(-len(values) // RAW))
    return [
        (round((number + 0.5) * step_s, 3), float(value))
        for number, value in enumerate(values)
        if value is not None and number % stride == 0
    ]


# ------------------------------------------------------------------ budget, storms, what befell the run
def _budget(found: Gathered, objective: float, planned_s: float) -> Budget | None:
    allowed = 1 - objective
    if not 0 < allowed < 1:
        return None
    made = burn(found.failed, found.asked, allowed=allowed, step_s=found.step_s, planned_s=planned_s, what="messages")
    alarms = [Alarms(round(one.begin_s, 3), round(one.end_s, 3), round(one.rate, 3)) for one in made.alarms]
    stride = max(1, -(-len(made.series) // THIN))
    gone = [round(share, 6) for share in made.series[stride - 1 :: stride]]
    rate = None if made.rate is None else round(made.rate, 6)
    spent = None if made.spent is None else round(made.spent, 6)
    return Budget(made.sentence, round(allowed, 9), made.bad, made.total, rate, spent, made.exhausted_s, alarms, gone)


def _storms(found: Gathered, ramp_s: float) -> list[Storm]:
    """Of the full load: that guests arrive together is planned."""
    first = min(-(-int(ramp_s) // max(int(found.step_s), 1)), found.steps)
    kinds = (("token fetches", found.refreshes), ("reconnects", found.reconnects), ("refusals", found.refusals))
    made = []
    for what, counts in kinds:
        steady = counts[first:]
        one = storms(steady, step_s=found.step_s, start_s=first * found.step_s, what=what)
        width = max(1, -(-len(counts) // THIN))
        thin = [sum(count or 0 for count in counts[at : at + width]) for at in range(0, len(counts), width)]
        peak = None if one.peak_to_mean is None else round(one.peak_to_mean, 3)
        made.append(Storm(what, one.sentence, one.events, len(one.bursts), round(one.share, 6), one.period_s, peak, thin))
    return made


def _happenings(folder: Path, found: Gathered) -> list[Happening]:
    made = []
    for line in read_lines(Path(folder) / EVENTS):
        kind = str(line.get("what"))
        if kind in _HAPPENINGS:
            said = str(line.get("said") or line.get("file") or "")
            text = _HAPPENINGS[kind] + (f" ({said[:120]})" if said else "")
            made.append(Happening(round((line["at_ns"] - found.start_ns) / 1e9, 3), kind, text))
    made += [Happening(at_s, "session", f"session {number} begins") for at_s, number in found.sessions]
    for at_s, times in found.wall_steps:
        made.append(Happening(round(at_s, 3), "clock_step", f"the wall clock was set{f' {times:.0f} times' if times > 1 else ''}"))
    if found.waits and not any(one.kind == "journal_failed" for one in made):
        made.append(Happening(round(found.waits[0], 3), "journal_failed", _HAPPENINGS["journal_failed"]))
    return sorted(made, key=lambda one: (one.at_s, one.kind))


# ------------------------------------------------------------------ verdict
def judged(soak: SoakFigures, verdict: Verdict, reasons: Sequence[Reason], *, mismatch: bool) -> tuple[Verdict, list[Reason]]:
    """The run's verdict and reasons with what the series say."""
    reasons = list(reasons)
    if not soak.planned:
        return verdict, _not_judged(soak, verdict, reasons)
    leaks = [one for one in soak.verdicts if one.state is State.LEAK]
    unknown = [one for one in soak.verdicts if one.state in (State.INCONCLUSIVE, State.NOT_JUDGED)]
    held = [reason for reason in reasons if reason.code in ("rules_held", "truth_equal")]
    others = [reason for reason in reasons if reason not in held]
    found = [Reason("leak", one.sentence) for one in leaks]
    if found and len(soak.series) > 1:
        found[0].text += f" {len(leaks)} of {len(soak.series)} series {'leaks' if len(leaks) == 1 else 'leak'}."
    doubts = _doubts(soak, unknown)
    if mismatch:
        return verdict, [*reasons, *found, *doubts]
    parts = [verdict, *([Verdict.FAIL] if leaks else []), *([Verdict.UNKNOWN] if doubts else [])]
    broken = [reason for reason in others if reason.code == "rule_broken"]
    rest = [reason for reason in others if reason.code != "rule_broken"]
    made = [*broken, *found, *rest, *doubts]
    if not made:
        return compose(parts), [Reason(held[0].code, _with_series(soak, held[0].text)) if held else Reason("stable", _calm(soak))]
    return compose(parts), [*made, *held]


def _not_judged(soak: SoakFigures, verdict: Verdict, reasons: list[Reason]) -> list[Reason]:
    """The first sentence says that trends were not judged, and why."""
    why = f"{length(soak.full_s)} < {length(soak.least_s)}"
    if not reasons:
        return reasons
    first, *more = reasons
    text = first.text
    if verdict is Verdict.PASS and " held." in text:
        text = text.replace(" held.", f" held; trends were not judged ({why}).", 1)
    else:
        text = f"{text} Trends were not judged ({why})."
    return [Reason(first.code, text), *more]


def _doubts(soak: SoakFigures, unknown: Sequence[SeriesVerdict]) -> list[Reason]:
    if not soak.series:
        return [Reason("trend_unknown", "No series could be followed, so no trend was judged.")]
    if not unknown:
        return []
    first = min(unknown, key=lambda one: RANK[one.state])
    more = f" The same of {len(unknown) - 1} more of {len(soak.series)} series." if len(unknown) > 1 else ""
    return [Reason("trend_unknown", first.sentence + more)]


def _calm(soak: SoakFigures) -> str:
    moved = [one for one in soak.verdicts if one.state in (State.STEP, State.SUSPECT)]
    stable = sum(one.state is State.STABLE for one in soak.verdicts)
    if not moved:
        return f"All {stable} series are stable." if stable != 1 else "The one series is stable."
    return f"{stable} of {len(soak.series)} series are stable; {moved[0].sentence[:1].lower()}{moved[0].sentence[1:]}"


def _with_series(soak: SoakFigures, text: str) -> str:
    """`All 6 rules held and all 20 series are stable.`"""
    calm = _calm(soak)
    if " held." in text and calm.startswith("All "):
        return text.replace(" held.", f" held and a{calm[1:]}", 1)
    return f"{text} {calm}"
