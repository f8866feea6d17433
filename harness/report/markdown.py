"""`report.md`: the run as text that forges and chats render. What others wrote is escaped. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.report import order_words, saw, sentences
from harness.report.calibrated import calibration_words
from harness.report.clocks import HEAD as CLOCKS
from harness.report.clocks import clock_rows, clock_words
from harness.report.model import HealthLine, Model, Percentiles
from harness.report.text import clean
from harness.report.verdict import amount, clock, quantity, span
from harness.verdicts.lattice import RuleResult, Verdict

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&$@-])")
_GLYPHS = {Verdict.PASS: "✓", Verdict.FAIL: "✕", Verdict.UNKNOWN: "?"}
_ORDER = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.PASS: 2}
_DASH = "–"
_ONE_WAY = frozenset({"low", "middle", "high", "spread"})
_MAX_FAILURES = 30


def report_markdown(model: Model) -> str:
    """The whole file."""
    blocks = [
        *_head(model),
        *_health(model.health),
        *_clocks(model),
        *([escaped(calibration_words(model.calibration))] if model.calibration is not None else []),
        *_truth(model),
        *_rules(model.rules),
        *_saw(model),
        *_latency(model),
        *_anomalies(model),
        *_failures(model),
    ]
    return "\n\n".join(blocks) + "\n"


def escaped(text: str) -> str:
    """Text as it is, whatever Markdown would make of it."""
    return _SPECIAL.sub(r"\\\1", clean(text).replace("\n", " "))


def code(text: str) -> str:
    """Text as code, also within a table."""
    body = clean(text).replace("\n", " ").replace("`", "'").replace("|", "\\|")
    return f"`{body}`" if body else _DASH


def _head(model: Model) -> list[str]:
    where = "simulated target" if model.simulated else "real target"
    at = f"{clock(model.at_ns)} long" if model.at_ns is not None else "nothing journalled"
    reasons = [reason.text for reason in model.reasons]
    found = model.figures
    guests = found.guests.peak if found.guests.peak is not None else found.guests.planned
    lost = found.anomalies["lost"]
    doubled = sum(anomaly.low for name, anomaly in found.anomalies.items() if name.startswith("duplicated."))
    facts = [
        f"{_DASH if guests is None else f'{guests:,}'} guests",
        f"{found.messages['invoked']:,} messages",
        f"lost {span(lost.low, lost.high)}",
        f"duplicated {doubled:,}",
        f"reordered {found.anomalies['reordered'].low:,}",
    ]
    return [
        f"# {_GLYPHS[model.verdict]} {model.verdict.value}: {escaped(model.scenario or model.id)}",
        escaped(reasons[0]) if reasons else model.verdict.value,
        *(["\n".join(f"- {escaped(text)}" for text in reasons[1:])] if reasons[1:] else []),
        f"{', '.join(facts)}. Exit code {model.exit_code}.",
        f"Run {code(model.id)}, {escaped(model.started_utc)}, {escaped(', '.join(model.dialects))}, {where}, {at}"
        + ("." if found.complete else ", **incomplete**."),
    ]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], right: str) -> str:
    """`right`: for each column `r` or `l`."""
    rules = ("---:" if side == "r" else "---" for side in right)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, list(rules), *rows))


def _health(lines: Sequence[HealthLine]) -> list[str]:
    rows = []
    for line in lines:
        state = "not measured" if line.ok is None else "ok" if line.ok else "over" if line.decides else "warns"
        limit = _quantity(line, line.limit)
        if line.default is not None:
            limit += f" (default {_quantity(line, line.default)})"
        rows.append([escaped(line.name), state, _quantity(line, line.value), limit, "yes" if line.decides else "no"])
    return ["## Can it be believed?", markdown_table(["sign", "state", "value", "limit", "decides"], rows, "llrrl")]


def _clocks(model: Model) -> list[str]:
    rows = [[escaped(cell) for cell in cells] for cells in clock_rows(model.figures)]
    return [escaped(clock_words(model.figures)), markdown_table(CLOCKS, rows, "llrrrrr")] if rows else []


def _quantity(line: HealthLine, value: float | None) -> str:
    return quantity(line, value)


def _truth(model: Model) -> list[str]:
    if not model.simulated:
        return ["## Truth", "A real target: there is no truth to compare with."]
    rows = []
    for row in sorted(model.truth, key=lambda row: (row.equal is not False, row.equal is not None)):
        equal = "not compared" if row.equal is None else "✓" if row.equal else "✕"
        expected = _DASH if row.expected is None else f"{row.expected:,}"
        ids = ", ".join(code(name) for name in row.ids) if row.equal is False else ""
        rows.append([equal, escaped(row.name), expected, span(row.low, row.high), ids])
    note = [escaped(model.truth_detail)] if model.truth_detail else []
    return ["## Truth", *note, markdown_table(["equal", "what", "truth", "measured", "ids that differ"], rows, "llrrl")]


def _rules(rules: Sequence[RuleResult]) -> list[str]:
    if not rules:
        return ["## Rules", "No rule was asked for."]
    rows = []
    for rule in sorted(rules, key=lambda rule: _ORDER[rule.verdict]):
        seen = rule.observed
        known = seen.low is not None or seen.high is not None
        interval = f"{amount(seen.low, '')} – {amount(seen.high, rule.unit)}" if known else _DASH
        samples = _DASH if rule.samples is None else f"{rule.samples:,}"
        word = f"{_GLYPHS[rule.verdict]} {rule.verdict.value}"
        rows.append([word, code(rule.rule), amount(seen.value, rule.unit), interval, samples, escaped(rule.note)])
    return ["## Rules", markdown_table(["verdict", "rule", "observed", "95 % interval", "samples", "note"], rows, "llrrrl")]


def _saw(model: Model) -> list[str]:
    blocks = ["## What we saw", escaped(saw.saw_words(model))]
    for one in model.findings:
        figures = [[escaped(name), escaped(value)] for name, value in saw.evidence_words(one)]
        doubt = f" {escaped(one.certainty)}" if one.certainty else ""
        blocks += [
            f"### {saw.GLYPHS[one.severity]} {escaped(one.title)}",
            f"{code(one.id)}, {one.severity}, {saw.times(one)}. {escaped(one.cause)}{doubt}",
            f"What to change: {escaped(one.advice)}",
            markdown_table(["evidence", "figure"], figures, "lr"),
        ]
        if one.example.timeline:
            lines = [[at, code(what)] for at, what in saw.moments(one)]
            blocks.append(markdown_table(["at", f"conversation {code(one.example.label)}"], lines, "rl"))
    return blocks


def _latency(model: Model) -> list[str]:
    rows = []
    for measure, outcomes in model.figures.measures.items():
        for outcome, kinds in outcomes.items():
            rows += [[escaped(measure), outcome, kind, *_cells(found)] for kind, found in kinds.items()]
    if not rows:
        return ["## Latency", "Nothing was timed."]
    head = ["measure", "outcome", "from", "n", "p50", "p90", "p95", "p99", "p99.9", "longest", "generator added at most"]
    note = "Milliseconds, with 95 % intervals by order statistics; – is withheld: fewer than ten samples lie beyond it."
    note += " `response` counts from the instant at which it was meant to begin, `service` from the actual one; `delay` is how late"
    note += " the generator sent. The last column: by how much it may have lengthened any percentile of the line."
    if any(kinds.keys() & _ONE_WAY for outcomes in model.figures.measures.values() for kinds in outcomes.values()):
        note += " `low`, `middle`, `high`: by the server's stamps, at either end and the middle of what its clock can be;"
        note += " `spread`: how much longer than the quickest of its interval."
    faults = sentences.range_words(model)
    words = escaped(sentences.added_words(model))
    return ["## Latency", words, note, markdown_table(head, rows, "lll" + 8 * "r"), *([faults] if faults else [])]


def _cells(found: Percentiles) -> list[str]:
    values = {"p50": found.p50_ms, "p90": found.p90_ms, "p95": found.p95_ms, "p99": found.p99_ms, "p999": found.p999_ms}
    cells = [f"{amount(value, '')}{_interval(found, name)}" for name, value in values.items()]
    return [f"{found.n:,}", *cells, amount(found.max_ms, ""), amount(found.added_most_ms, "")]


def _interval(found: Percentiles, name: str) -> str:
    low, high = found.ci_ms.get(name, (None, None))
    value = getattr(found, f"{name}_ms")
    return f" ({amount(low, '')} – {amount(high, '')})" if value is not None and low is not None and high is not None else ""


def _anomalies(model: Model) -> list[str]:
    rows = []
    for name, anomaly in model.figures.anomalies.items():
        rows.append([escaped(name), span(anomaly.low, anomaly.high), ", ".join(code(one) for one in anomaly.ids[:3])])
    return ["## Order, duplication, loss", markdown_table(["what", "number", "examples"], rows, "lrl"), *_standards(model)]


def _standards(model: Model) -> list[str]:
    figures = model.order
    if figures is None:
        return []
    lines = [[escaped(cell) for cell in line] for line in order_words.table(figures)]
    blocks = ["### By the standards", escaped(order_words.standards_words(figures))]
    if lines:
        blocks += [markdown_table(order_words.HEAD, lines, "ll" + 6 * "r")]
    if untold := order_words.untold_words(figures):
        blocks += ["\n".join(f"- {escaped(text)}" for text in untold)]
    return [*blocks, escaped(order_words.statement_words(figures))]


def _failures(model: Model) -> list[str]:
    causes = sorted(model.figures.failures.items(), key=lambda item: (-item[1], item[0]))
    told = [escaped(text)] if (text := sentences.censored_words(model.figures)) else []
    if not causes:
        return ["## Failures", "None.", *told]
    whole = sum(model.figures.failures.values())
    rows = [[escaped(cause), f"{number:,}", f"{100 * number / whole:.1f} %"] for cause, number in causes[:_MAX_FAILURES]]
    return ["## Failures", markdown_table(["cause", "number", "share"], rows, "lrr"), *told]
