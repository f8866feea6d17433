"""`junit.xml`: a test case for each rule, one for the truth, one for the generator's health, one for the run as a whole.

UNKNOWN is an error, FAIL a failure; what does not apply is skipped. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

import msgspec

from harness.report.model import Model
from harness.report.truth import TruthRow
from harness.report.verdict import amount, span
from harness.verdicts.lattice import RuleResult, Verdict

_INVALID = re.compile(r"[^\t\n\r\u0020-\u007e\u0085\u00a0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 does not allow, and what it discourages."""
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Case(msgspec.Struct):
    """One test case."""

    group: str
    name: str
    tag: str = ""
    """`failure`, `error`, `skipped`, or empty: passed."""
    message: str = ""
    body: str = ""


def junit_xml(model: Model) -> str:
    """The whole file of a run."""
    cases = [*(_rule(number, rule) for number, rule in enumerate(model.rules, 1)), _truth(model), _health(model), _run(model)]
    properties = {"run": model.id, "verdict": model.verdict.value, "exit_code": str(model.exit_code)}
    return junit_suite(model.scenario or "guestswarm", cases, properties, (model.at_ns or 0) / 1e9, model.started_utc)


def junit_suite(name: str, cases: Sequence[Case], properties: Mapping[str, str], seconds: float, started_utc: str) -> str:
    """A file with one suite of these cases."""
    tags = [case.tag for case in cases]
    counts = f'tests="{len(cases)}" failures="{tags.count("failure")}" errors="{tags.count("error")}"'
    counts += f' skipped="{tags.count("skipped")}" time="{seconds:.3f}"'
    head = f"<testsuite name={_attribute(name)} {counts}"
    if started_utc:
        head += f" timestamp={_attribute(started_utc.removesuffix('Z'))}"
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<testsuites name="guestswarm" {counts}>', f"  {head}>", "    <properties>"]
    lines += [f"      <property name={_attribute(key)} value={_attribute(value)}/>" for key, value in properties.items()]
    lines.append("    </properties>")
    for case in cases:
        lines += _lines(case)
    return "\n".join([*lines, "  </testsuite>", "</testsuites>", ""])


def _lines(case: Case) -> list[str]:
    head = f'    <testcase classname={_attribute(f"guestswarm.{case.group}")} name={_attribute(case.name)} time="0"'
    if not case.tag:
        return [f"{head}/>"]
    body = f"      <{case.tag} message={_attribute(case.message)}"
    body += f">{escape(valid(case.body))}</{case.tag}>" if case.body else "/>"
    return [f"{head}>", body, "    </testcase>"]


def _rule(number: int, rule: RuleResult) -> Case:
    tag = {Verdict.PASS: "", Verdict.FAIL: "failure", Verdict.UNKNOWN: "error"}[rule.verdict]
    seen = f"observed {amount(rule.observed.value, rule.unit)}"
    if rule.observed.low is not None and rule.observed.high is not None:
        seen += f", {amount(rule.observed.low, rule.unit)} to {amount(rule.observed.high, rule.unit)}"
    samples = f"samples {rule.samples:,}" if rule.samples is not None else ""
    body = "\n".join(part for part in (seen, samples, rule.note) if part)
    return Case("rules", f"{number}. {rule.rule}", tag, rule.sentence or rule.note or rule.verdict.value, body)


def _truth(model: Model) -> Case:
    case = Case("truth", "measured equals the simulator's truth")
    if not model.simulated:
        case.tag, case.message = "skipped", "a real target has no truth"
        return case
    unequal = [row for row in model.truth if row.equal is False]
    unknown = [row for row in model.truth if row.equal is None]
    if unequal:
        case.tag, case.message = "failure", f"{len(unequal)} of {len(model.truth)} rows are not equal"
        case.body = "\n".join(map(_unequal, unequal))
    elif unknown or not model.truth:
        case.tag, case.message = "error", model.truth_detail or "not compared"
    return case


def _unequal(row: TruthRow) -> str:
    expected = "–" if row.expected is None else f"{row.expected:,}"
    return f"{row.name}: {expected} in truth, {span(row.low, row.high)} measured ({', '.join(row.ids)})"


def _health(model: Model) -> Case:
    case = Case("health", "the generator can be believed")
    over = [line for line in model.health if line.ok is False]
    deciding = [line for line in over if line.decides]
    case.body = "\n".join(f"{line.name}: {amount(line.value, line.unit)}, limit {amount(line.limit, line.unit)}" for line in over)
    if deciding:
        case.tag, case.message = "error", f"over the limit: {', '.join(line.name for line in deciding)}"
    elif not any(line.ok is not None for line in model.health):
        case.tag, case.message = "skipped", "not measured"
    return case


def _run(model: Model) -> Case:
    tag = {Verdict.PASS: "", Verdict.FAIL: "failure", Verdict.UNKNOWN: "error"}[model.verdict]
    texts: Sequence[str] = [reason.text for reason in model.reasons]
    return Case("run", "verdict", tag, texts[0] if texts else model.verdict.value, "\n".join(texts))


def valid(text: str) -> str:
    """With everything that XML does not allow, or that turns text around, replaced."""
    return _BIDI.sub("\ufffd", _INVALID.sub("\ufffd", text))


def _attribute(text: str) -> str:
    return quoteattr(valid(text), {"\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
