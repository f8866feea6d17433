"""`report.html`: the whole run on one page, in one file. No network, no clock, no chance: the same run gives the same bytes.

Only this module and `report.plots` load matplotlib and pandas; the load process, which needs others of this room, never does.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from markupsafe import Markup

from harness.core.ops import AGENT, GUEST, MEASURES
from harness.journal.records import ONE_WAY, SPANS
from harness.metrics.censored import failures
from harness.metrics.histogram import Histogram
from harness.report import order_words, saw, sentences, wording
from harness.report.calibrated import calibration_words
from harness.report.clocks import HEAD as CLOCKS
from harness.report.clocks import clock_rows, clock_words
from harness.report.examples import Example, examples
from harness.report.fold import journals
from harness.report.model import Model, Percentiles
from harness.report.page import health_strip, page
from harness.report.plots.anomalies import anomalies as draw_anomalies
from harness.report.plots.conversation import conversation as draw_conversation
from harness.report.plots.distribution import distribution as draw_distribution
from harness.report.plots.latency import latency as draw_latency
from harness.report.plots.load import load as draw_load
from harness.report.plots.marks import letter
from harness.report.plots.reorder import reorder as draw_reorder
from harness.report.plots.svg import picture
from harness.report.series import Timeline, quantile_of, timeline
from harness.report.soak.page import soak_context
from harness.report.windows import Windows, fault_windows
from harness.verdicts.lattice import RuleResult, Verdict

PAGE = "report.html"
TRUTH = "truth.jsonl"
_EXAMPLES_BYTES = 260_000
"""Pictures of conversations beyond this are left out; their words stay."""
_GRAVITY = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.PASS: 2}
_MOST_WINDOWS = 100
"""Windows of one rule on the page; `summary.json` has them all."""
_NEEDS = {"p50": 20, "p90": 100, "p95": 200, "p99": 1_000, "p99.9": 10_000}


def render(model: Model, folder: Path) -> str:
    """The page of a run folder whose model this is."""
    return page("run.html.j2", _context(model, Path(folder)))


def _context(model: Model, folder: Path) -> dict[str, Any]:
    files = journals(folder)
    names = sentences.plotted(model)
    line = timeline(files, model.manifest, names, planned_ns=model.planned_ns)
    windows = _windows(model, folder, line)
    told = _examples(model, files, line)
    verdict, *more = model.reasons
    return {
        "model": model,
        "soak": soak_context(model),
        "verdict": model.verdict.value,
        "word": verdict.text,
        "facts": _facts(model, [reason.text for reason in more]),
        "key": _key_figures(model),
        "heading": _heading(model),
        "incomplete": not model.figures.complete,
        "health": health_strip(model.health),
        "clocks": (CLOCKS, list(clock_rows(model.figures))),
        "truth": sorted(model.truth, key=lambda row: row.equal is not False),
        "rules": _rules(model.rules),
        "findings": _findings(model),
        "say": {
            "saw": saw.saw_words(model),
            "health": sentences.health_words(model),
            "calibration": calibration_words(model.calibration) if model.calibration is not None else "",
            "clock": clock_words(model.figures) if model.figures.clocks else "",
            "truth": sentences.truth_words(model),
            "rules": sentences.rules_words(model.rules),
            "latency": sentences.latencies_words(model),
            "added": sentences.added_words(model),
            "range": sentences.range_words(model),
            "load": sentences.load_words(model),
            "order": sentences.order_words(model),
            "failures": sentences.failures_words(model),
            "censored": sentences.censored_words(model.figures),
            "examples": sentences.examples_words(told, model),
            "faults": sentences.faults_words(windows, [letter(n) for n in range(len(windows.spells))]),
        },
        "latencies": _latencies(model, names, line, windows),
        "stages": _stages(model),
        "load": _load(model, line, windows),
        "guests": _guests(model),
        "order": _order(model),
        "anomalies": _anomalies(model, line, windows),
        "standards": _standards(model),
        "other": _other(model),
        "failures": _failures(model),
        "examples": _drawn(told),
        "about": _about(model, files, folder),
    }


def _windows(model: Model, folder: Path, line: Timeline | None) -> Windows:
    if not model.simulated or line is None:
        return Windows([], [], 0)
    edges = {name: at for at, name in line.edges}
    return fault_windows(folder / TRUTH, line.start_ns, line.end_s, edges.get("settle", line.measured_s))


# ---------------------------------------------------------------- head


def _heading(model: Model) -> list[str]:
    target = model.manifest.get("target") or ""
    where = "simulated target" if model.simulated else f"target {wording.shown(target)}" if target else "real target"
    stamp = wording.shown(model.started_utc, 40).replace("T", ", ").replace("Z", " UTC")
    return [wording.shown(model.scenario or "run", 60), stamp, where]


def _facts(model: Model, more: list[str]) -> list[str]:
    """At most three facts beside the sentence: other reasons, then whether it can be believed."""
    facts = more[:2]
    if len(more) > 2:
        facts[1] = f"{more[1]} And {len(more) - 2} more, see below."
    believed = sentences.health_words(model)
    if model.reasons[0].code != "generator":
        facts.append(believed)
    if len(facts) < 3 and model.reasons[0].code not in ("harness_mismatch", "truth_equal"):
        facts.append(sentences.truth_words(model))
    if len(facts) < 3:
        facts.append(sentences.order_words(model))
    return facts[:3]


def _key_figures(model: Model) -> list[tuple[str, str]]:
    found, figures = model.figures.anomalies, model.figures
    guests = figures.guests
    copies = sum(found[f"duplicated.{kind}"].low for kind in ("same_connection", "cross_connection", "resend"))
    length = wording.clock(model.at_ns / 1e9) if model.at_ns is not None else wording.DASH
    plan = f" of {guests.planned:,}" if guests.planned is not None and guests.peak != guests.planned else ""
    return [
        ("guests", f"{wording.count(guests.peak)}{plan}"),
        ("messages sent", wording.count(figures.messages["invoked"])),
        ("of these failed", wording.count(figures.messages["fail"])),
        ("outcome unknown", wording.count(figures.messages["info"])),
        ("length", length),
        ("lost", wording.span(found["lost"].low, found["lost"].high)),
        ("duplicated", wording.count(copies)),
        ("reordered", wording.count(found["reordered"].low)),
        ("exit code", str(model.exit_code)),
    ]


def _rules(rules: list[RuleResult]) -> list[dict[str, Any]]:
    order = sorted(rules, key=lambda rule: _GRAVITY[rule.verdict])
    return [
        {
            "verdict": rule.verdict.value,
            "rule": wording.shown(rule.rule),
            "observed": _bound(rule.observed.value, rule.unit),
            "interval": _interval(rule),
            "samples": wording.count(rule.samples),
            "windows": _windows_over(rule),
            "note": wording.shown(rule.note or ("" if rule.verdict is Verdict.PASS else rule.sentence), 240),
        }
        for rule in order
    ]


def _bound(value: float | None, unit: str) -> str:
    if value is None:
        return wording.DASH
    return wording.ms(value) if unit == "ms" else f"{value:,.4g}{' ' + wording.shown(unit, 20) if unit else ''}"


def _windows_over(rule: RuleResult) -> list[tuple[str, str, str, str, str]]:
    """Of a rule that must hold in every window those that are over or could not be judged."""
    over = sorted((one for one in rule.windows or () if one.verdict is not Verdict.PASS), key=lambda one: _GRAVITY[one.verdict])
    return [
        (
            one.verdict.value,
            f"{wording.clock(one.t0_ns / 1e9)} – {wording.clock(one.t1_ns / 1e9)}",
            _bound(one.observed.value, rule.unit),
            wording.count(one.samples),
            wording.shown(one.note, 240),
        )
        for one in over[:_MOST_WINDOWS]
    ]


def _interval(rule: RuleResult) -> str:
    low, high = rule.observed.low, rule.observed.high
    if low is None or high is None:
        return wording.DASH
    return f"{_bound(low, rule.unit)} – {_bound(high, rule.unit)}"


# ---------------------------------------------------------------- latency


def _merged(model: Model, measure: str, kind: str) -> Histogram | None:
    found = model.measured.histograms.get(f"{measure}|ok|{kind}")
    return found if found is not None and found.count else None


def _latencies(model: Model, names: list[str], line: Timeline | None, windows: Windows) -> list[dict[str, Any]]:
    found = []
    for measure in names:
        response = _merged(model, measure, "middle" if measure in ONE_WAY else "span" if measure in SPANS else "response")
        if response is None:
            continue
        limits = [
            (limit[1], f"rule: {wording.shown(rule.rule, 60)}")
            for rule in model.rules
            if (limit := sentences.latency_limit(rule.rule)) is not None and limit[0] == measure
        ]
        words = sentences.latency_words(model, measure)
        over_time = None
        if line is not None and measure in line.latencies:
            wide, narrow = line.latencies[measure], line.narrow_latencies[measure]
            over_time = {
                "picture": picture(
                    f"a-{measure.replace('.', '-')}",
                    f"{measure} over time. {words}",
                    lambda sheet, w=wide, n=narrow, at=limits: draw_latency(sheet, w, n, line, windows, at),  # type: ignore[misc]
                    wide=270,
                    narrow=280,
                ),
                "width": wide.width_s,
                "band": bool(wide.p90),
                "tail": wide.tail_width_s if wide.p99 else None,
                "withheld": max(int(line.end_s // wide.width_s) + 1 - len(wide.p50), 0),
                "table": _over_time_table(wide),
            }
        service = _merged(model, measure, "service")
        spread = picture(
            f"b-{measure.replace('.', '-')}",
            f"Distribution of {measure}. {words}",
            lambda sheet, s=service, r=response, at=limits: draw_distribution(sheet, s, r, [limit for limit, _ in at]),  # type: ignore[misc]
            wide=290,
            narrow=480,
        )
        found.append(
            {
                "measure": measure,
                "words": words,
                "time": over_time,
                "spread": spread,
                "points": _points(response),
                "both": service is not None,
            }
        )
    return found


def _over_time_table(found: Any) -> list[tuple[str, str, str]]:
    upper = {one.at_s: one.value for one in found.p90}
    step = -(-len(found.p50) // 60) or 1  # the folded table: at most 60 lines
    return [(wording.clock(one.at_s), wording.ms(one.value), wording.ms(upper.get(one.at_s))) for one in found.p50[::step]]


def _points(histogram: Histogram) -> list[dict[str, str]]:
    found = []
    for name, needed in _NEEDS.items():
        value = quantile_of(histogram, Fraction(name[1:]) / 100)
        if value is None:
            found.append({"name": name, "value": wording.DASH, "interval": f"needs {needed:,} samples, has {histogram.count:,}"})
        else:
            found.append(
                {"name": name, "value": wording.ms(value[0]), "interval": f"{wording.ms(value[1])} – {wording.ms(value[2])}"}
            )
    return found


_LINES = ("response", "service", "delay", "span", "low", "middle", "high", "spread")


def _stages(model: Model) -> list[dict[str, Any]]:
    """All measures in their order; outcomes apart, service and response as lines of one group."""
    groups = []
    for measure in MEASURES:
        for outcome in ("ok", "failed"):
            cells = model.figures.measures.get(measure, {}).get(outcome)
            if cells:
                lines = [_stage_line(kind, cells[kind]) for kind in _LINES if kind in cells]
                groups.append({"measure": measure, "outcome": outcome, "lines": lines})
    return groups


def _stage_line(kind: str, cell: Percentiles) -> dict[str, Any]:
    named = {"p50": cell.p50_ms, "p90": cell.p90_ms, "p95": cell.p95_ms, "p99": cell.p99_ms, "p999": cell.p999_ms}
    values = []
    for name, value in named.items():
        low, high = cell.ci_ms.get(name, (None, None))
        both = value is not None and low is not None and high is not None
        values.append((wording.ms(value), f"{wording.ms(low)} – {wording.ms(high)}" if both else ""))
    values += [(wording.ms(cell.max_ms), ""), (wording.ms(cell.added_most_ms), "")]
    return {"kind": kind, "n": wording.count(cell.n), "values": values}


# ---------------------------------------------------------------- load, order, failures


def _load(model: Model, line: Timeline | None, windows: Windows) -> Markup | None:
    if line is None:
        return None
    points, planned = model.measured.series, model.figures.guests.planned
    return picture(
        "c", sentences.load_words(model), lambda sheet: draw_load(sheet, points, line, windows, planned), wide=430, narrow=440
    )


def _guests(model: Model) -> list[tuple[str, str]]:
    guests, sent, measured = model.figures.guests, model.figures.messages, model.measured
    return [
        ("guests planned", wording.count(guests.planned)),
        ("guests at once, most", wording.count(guests.peak)),
        ("guests that finished in good order", wording.count(guests.finished)),
        ("guests that did not", wording.count(guests.failed)),
        ("messages", wording.count(sent["invoked"])),
        ("attempts at them", wording.count(sent["attempts"])),
        ("not sent though planned", wording.count(measured.count("noted|send.dropped"))),
        ("conversations begun", wording.count(measured.count("conversations|begun"))),
        ("conversations ended", wording.count(measured.count("conversations|ended"))),
    ]


def _order(model: Model) -> list[dict[str, str]]:
    measured, sent = model.measured, model.figures.messages
    rows = []
    for direction, name in ((GUEST, "guest to agent"), (AGENT, "agent to guest")):
        copies = {
            kind: measured.count(f"copies|{direction}|dup_{kind}") for kind in ("same_connection", "cross_connection", "resend")
        }
        lost = measured.count(f"lost.definite|{direction}") + (measured.count("unlisted|g") if direction == GUEST else 0)
        possible = lost + measured.count(f"lost.unread|{direction}")
        guest = direction == GUEST
        rows.append(
            {
                "name": name,
                "sent": wording.count(sent["invoked"]) if guest else wording.DASH,
                "confirmed": wording.count(sent["ok"]) if guest else wording.DASH,
                "failed": wording.count(sent["fail"]) if guest else wording.DASH,
                "unknown": wording.count(sent["info"]) if guest else wording.DASH,
                "arrived": wording.count(measured.count(f"push.messages|{direction}")),
                "same": wording.count(copies["same_connection"]),
                "cross": wording.count(copies["cross_connection"]),
                "resend": wording.count(copies["resend"]),
                "reordered": wording.count(measured.count(f"reordered|{direction}")),
                "late": wording.count(measured.count(f"late|{direction}")),
                "lost": wording.span(lost, possible),
                "recovered": wording.count(measured.count("recovered|g")) if guest else wording.DASH,
            }
        )
    return rows


def _anomalies(model: Model, line: Timeline | None, windows: Windows) -> Markup | None:
    if line is None:
        return None
    points = model.measured.series
    return picture(
        "d", sentences.order_words(model), lambda sheet: draw_anomalies(sheet, points, line, windows), wide=330, narrow=380
    )


def _standards(model: Model) -> dict[str, Any] | None:
    """Order and loss by the standards; drawn only where there is something to see."""
    figures, found = model.order, model.measured.order
    if figures is None:
        return None
    words = order_words.standards_words(figures)
    drawing = None
    if found is not None and order_words.reordered(figures):
        pools = found.pooled()
        pools.guest.merge(pools.agent)
        order = pools.guest.e2e.order
        displaced, late = order.places.displacements, order.spreads().get("late_ms")
        drawing = picture("f", words, lambda sheet: draw_reorder(sheet, displaced, late), wide=190, narrow=340)
    return {
        "words": words,
        "conditions": order_words.statement_words(figures),
        "untold": order_words.untold_words(figures),
        "head": order_words.HEAD,
        "lines": order_words.table(figures),
        "picture": drawing,
    }


_OTHER = {
    "aborted": "Failed, and yet returned",
    "undetermined": "Outcome unknown and never seen",
    "after_end": "Copies after a conversation's end",
    "unexpected": "Unexpected copies",
    "refused": "Refused by the server (429 and the like)",
    "disconnects": "Ready sockets that the server ended",
}


def _other(model: Model) -> list[tuple[str, str]]:
    return [
        (words, wording.span(model.figures.anomalies[name].low, model.figures.anomalies[name].high))
        for name, words in _OTHER.items()
    ]


def _failures(model: Model) -> list[dict[str, Any]]:
    causes = sorted(model.figures.failures.items(), key=lambda one: (-one[1], one[0]))
    total = sum(number for _, number in causes)
    where: dict[str, dict[str, int]] = {}
    for measure, by_cause in failures(model.measured.counters).items():
        for cause, number in by_cause.items():
            where.setdefault(cause, {})[measure] = number
    return [
        {
            "cause": wording.shown(cause),
            "count": wording.count(number),
            "share": wording.percent(number, total),
            "bar": round(100 * number / max(causes[0][1], 1), 1),
            "where": wording.shown(
                ", ".join(
                    f"{measure} {n:,}" for measure, n in sorted(where.get(cause, {}).items(), key=lambda one: (-one[1], one[0]))[:4]
                )
            ),
        }
        for cause, number in causes[:60]
    ]


# ---------------------------------------------------------------- findings, examples, about


def _findings(model: Model) -> list[dict[str, Any]]:
    return [
        {
            "id": one.id,
            "title": one.title,
            "severity": one.severity,
            "times": saw.times(one),
            "evidence": saw.evidence_words(one),
            "cause": one.cause,
            "advice": one.advice,
            "certainty": one.certainty,
            "label": wording.shown(one.example.label),
            "timeline": [(at, wording.shown(what)) for at, what in saw.moments(one)],
        }
        for one in model.findings
    ]


def _examples(model: Model, files: list[Path], line: Timeline | None) -> list[Example]:
    if line is None:
        return []
    return examples(files, model.measured, start_ns=line.start_ns, anchor=_table(model.manifest, "anchor"))


def _drawn(told: list[Example]) -> list[dict[str, Any]]:
    found, spent = [], 0
    for number, one in enumerate(told):
        name = f"e{number}"
        height = min(140 + int(one.length_s * 44), 620)
        drawing: Markup | None = picture(
            name,
            f"{one.title}: {' '.join([*one.calls, *one.notes])}",
            lambda sheet, example=one: draw_conversation(sheet, example),  # type: ignore[misc]
            wide=230,
            narrow=height,
        )
        spent += len(drawing or "")
        if spent > _EXAMPLES_BYTES:
            drawing = None
        found.append(
            {
                "title": one.title,
                "ref": wording.shown(one.ref),
                "label": wording.shown(one.label),
                "at": wording.clock(one.begin_s),
                "picture": drawing,
                "calls": one.calls,
                "notes": one.notes,
                "omitted": one.omitted,
            }
        )
    return found


def _table(manifest: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, dict) else {}


def _pairs(table: Mapping[str, Any]) -> str:
    return wording.shown(
        ", ".join(f"{wording.shown(k, 40)} {wording.shown(v, 60)}" for k, v in sorted(table.items(), key=str)), 600
    )


def _about(model: Model, files: list[Path], folder: Path) -> list[tuple[str, str]]:
    manifest, measured = model.manifest, model.measured
    approved = _table(manifest, "authorisation")
    anchor, plan = _table(manifest, "anchor"), _table(manifest, "planned")
    host = _table(manifest, "host")
    mix = _table(_table(_table(manifest, "scenario"), "guests"), "mix")
    wait = manifest.get("loss_wait_ns")
    shares = [f"{wording.shown(n, 40)} {_share(mix.get(n))}".strip() for n in model.dialects]
    names = sorted({path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")} & _FILES)
    names = [*(path.name for path in files), *names]
    return [
        ("run", wording.shown(model.id)),
        ("seed", wording.shown(manifest.get("seed", wording.DASH))),
        ("dialects", wording.shown(", ".join(shares), 200) or wording.DASH),
        (
            "target",
            "embedded simulator on loopback"
            if model.simulated
            else wording.shown(manifest.get("target") or "a real one, see the scenario"),
        ),
        ("authorisation", _pairs(approved) if approved else "none needed: loopback" if model.simulated else "none on record"),
        ("planned", _plan(plan)),
        ("how it ended", wording.shown(manifest.get("ended") or "it did not get to say")),
        ("clock anchor", _pairs(anchor) or wording.DASH),
        ("loss waiting time ΔT", wording.ms(wait / 1e6) if isinstance(wait, int) else wording.DASH),
        ("workers", wording.shown(", ".join(wording.shown(w, 40) for w in measured.workers[:20])) or wording.DASH),
        ("rows kept", {"all": "all", "anomalies": "those about anomalies", "none": "none"}.get(measured.rows_kept, wording.DASH)),
        ("versions", _pairs(_table(manifest, "versions")) or wording.DASH),
        ("host", _pairs(host) or wording.DASH),
        ("files beside this page", wording.shown(", ".join(names), 400)),
    ]


_FILES = {"manifest.json", "truth.jsonl", "latency.hlog", "load.log", "simulator.log", "report.md", "junit.xml"}


def _share(value: Any) -> str:
    return f"{value * 100:g} %" if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _plan(plan: Mapping[str, Any]) -> str:
    ramp, length = plan.get("ramp_ns"), plan.get("duration_ns")
    if not isinstance(length, int):
        return wording.DASH
    ramped = f"ramp {wording.clock(ramp / 1e9)}, then " if isinstance(ramp, int) and ramp else ""
    return f"{ramped}load {wording.clock(length / 1e9)}"
