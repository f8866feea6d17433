"""`summary.json`: the run in a stable, versioned shape. What is not known is null."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from harness.findings import Finding
from harness.report.calibrated import Calibrated
from harness.report.model import Anomaly, ClockLine, Guests, Measures, Model, OneWayLine, Reason, SteadyLoad
from harness.report.order_figures import OrderFigures
from harness.report.soak.summary import SeriesLine, SoakLine, series_lines, soak_line
from harness.report.truth import MAX_IDS, TruthRow
from harness.verdicts.lattice import RuleResult, WindowResult

SCHEMA: Literal["guestswarm.summary/1"] = "guestswarm.summary/1"

_Ids = Annotated[list[str], msgspec.Meta(max_length=MAX_IDS)]


class TruthLine(msgspec.Struct, forbid_unknown_fields=True):
    """One row of the truth table; `equal` null: not compared."""

    name: str
    expected: int | None
    measured: int | None
    low: int | None
    high: int | None
    equal: bool | None
    ids: _Ids


class HealthCell(msgspec.Struct, forbid_unknown_fields=True):
    """One sign of the generator's health."""

    name: str
    value: float | None
    limit: float | None
    unit: str
    ok: bool | None


class RuleWindow(msgspec.Struct, forbid_unknown_fields=True):
    """One window of a rule that must hold in every window; figures as in the rule."""

    at_s: float
    """Begin, in seconds since the run's start."""
    length_s: float
    verdict: Literal["PASS", "FAIL", "UNKNOWN"]
    observed: float | None
    low: float | None
    high: float | None
    samples: int | None
    note: str


class Rule(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One rule and what it came to. Times are in milliseconds, shares in percent, the rest as the rule counts it.

    `low` and `high`: the 95 % interval of a percentile or a rate, the bounds of a count, or the bracket that left it open.
    """

    rule: str
    observed: float | None
    low: float | None
    high: float | None
    samples: int | None
    verdict: Literal["PASS", "FAIL", "UNKNOWN"]
    windows: list[RuleWindow] | None = None
    """Of a rule that must hold in every window: all of them, and what is observed is the worst. Absent for other rules."""


class Summary(msgspec.Struct, forbid_unknown_fields=True):
    """The shape of `summary.json`, version 1."""

    schema: Literal["guestswarm.summary/1"]
    run: str
    verdict: Literal["PASS", "FAIL", "UNKNOWN"]
    exit_code: int
    reasons: list[Reason]
    simulated: bool
    complete: bool
    guests: Guests
    truth: list[TruthLine]
    measures: Measures
    anomalies: dict[str, Anomaly]
    findings: list[Finding]
    findings_complete: bool
    """False: not every row was kept or could be read, so that more may have happened than was found."""
    health: list[HealthCell]
    clocks: list[ClockLine]
    one_way: OneWayLine
    slo: list[Rule]
    failures: dict[str, int]
    censored: dict[str, int] = {}
    """By measure: what guests still awaited when they left by their own plan. It is in no rate and no percentile."""
    calibration: Calibrated | None = None
    """What the machine was found to drive, where it was calibrated."""
    order: OrderFigures | None = None
    """Order, duplication and loss by the standards; null in a summary that was written before they were."""
    load: SteadyLoad | None = None
    """The steady rate; null where there was no full load."""
    series: list[SeriesLine] | msgspec.UnsetType = msgspec.UNSET
    """Of a soak alone: every figure that was followed and what it came to, the gravest first."""
    soak: SoakLine | msgspec.UnsetType = msgspec.UNSET
    """Of a soak alone."""


def summary(model: Model) -> Summary:
    """The summary of a model."""
    return Summary(
        SCHEMA,
        model.id,
        model.verdict.value,
        model.exit_code,
        model.reasons,
        model.simulated,
        model.figures.complete,
        model.figures.guests,
        [_truth(row) for row in model.truth],
        model.figures.measures,
        model.figures.anomalies,
        model.findings,
        model.findings_complete,
        [HealthCell(line.name, line.value, line.limit, line.unit, line.ok) for line in model.health],
        model.figures.clocks,
        model.figures.one_way,
        [_rule(result) for result in model.rules],
        model.figures.failures,
        censored=model.figures.censored,
        calibration=model.calibration,
        order=model.order,
        load=model.load,
        series=msgspec.UNSET if model.soak is None else series_lines(model.soak),
        soak=msgspec.UNSET if model.soak is None else soak_line(model.soak),
    )


def _rule(result: RuleResult) -> Rule:
    seen = result.observed
    windows = None if result.windows is None else [_window(one) for one in result.windows]
    return Rule(result.rule, seen.value, seen.low, seen.high, result.samples, result.verdict.value, windows)


def _window(one: WindowResult) -> RuleWindow:
    length_s = round((one.t1_ns - one.t0_ns) / 1e9, 3)
    seen = one.observed
    at_s = round(one.t0_ns / 1e9, 3)
    return RuleWindow(at_s, length_s, one.verdict.value, seen.value, seen.low, seen.high, one.samples, one.note)


def _truth(row: TruthRow) -> TruthLine:
    return TruthLine(row.name, row.expected, row.measured, row.low, row.high, row.equal, row.ids)


def summary_json(model: Model) -> bytes:
    """The bytes of `summary.json`: sorted keys, the same for the same run. Checked against its own shape."""
    raw = msgspec.json.encode(summary(model), order="sorted")
    read_summary(raw)
    return msgspec.json.format(raw, indent=1) + b"\n"


def read_summary(raw: bytes) -> Summary:
    """The summary in these bytes. Raises msgspec.ValidationError where they have another shape."""
    return msgspec.json.decode(raw, type=Summary)


def summary_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of `summary.json`."""
    (body,), definitions = msgspec.json.schema_components([Summary], ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        **body,
        "$defs": definitions,
    }
