"""`summary.json` of a capacity search, in a stable, versioned shape. What is not known is null; times are in milliseconds."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from harness.report.model import Reason

SCHEMA: Literal["guestswarm.capacity/1"] = "guestswarm.capacity/1"


class Ratio(msgspec.Struct, forbid_unknown_fields=True):
    """Little's law of one step: rate times (response and think time) over the guests who were there; 1 if the books are right."""

    ratio: float
    tolerance: float
    ok: bool


class StepCell(msgspec.Struct, forbid_unknown_fields=True):
    """One step of the search."""

    number: int
    load: float
    kind: Literal["explore", "bisect", "repeat", "confirm"]
    attempt: int
    verdict: Literal["held", "broke", "invalid", "undecided"]
    broken_by: str | None
    sentence: str
    length_s: float
    """Of the steady part, warm-up removed."""
    samples: int
    """Of the rule nearest to its limit."""
    kept: int
    """Those of them that kept to it."""
    percentile_ms: float | None
    low_ms: float | None
    high_ms: float | None
    throughput_per_s: float | None
    messages_per_s: float | None
    response_ms: float | None
    """Mean, from the intended instant of a message to its answer."""
    achieved: float | None
    errors: int
    operations: int
    little: Ratio | None
    generator_healthy: bool
    generator: str
    run: str
    """Name of its run folder under `steps/`."""


class Parameter(msgspec.Struct, forbid_unknown_fields=True):
    """A fitted parameter with its 95 % interval; an end that is beyond all bounds is null."""

    value: float
    low: float | None
    high: float | None


class Scalability(msgspec.Struct, forbid_unknown_fields=True):
    """The Universal Scalability Law's fit; parameters are null where it is not valid."""

    valid: bool
    why: str
    """Why it is not valid; empty if it is."""
    alpha: Parameter | None
    """Contention."""
    beta: Parameter | None
    """Coherency."""
    gamma: Parameter | None
    """Operations per second of one guest alone."""
    peak_load: Parameter | None
    """Where throughput is greatest; null: it has no peak, the law's limit is at any load."""
    peak_throughput: Parameter | None


class Cost(msgspec.Struct, forbid_unknown_fields=True):
    """What more load costs in latency, near the limit."""

    more: float
    """So much more load ..."""
    extra_ms: Parameter
    """... lengthens the rule's percentile by that."""
    rule: str
    near: tuple[float, float]
    """Loads between which that was seen."""
    steps: int
    """How many steps it rests on."""


class Room(msgspec.Struct, forbid_unknown_fields=True):
    """The planned load beside the answer; shares of the capacity, negative is too much."""

    plan: float
    room: float | None
    low: float | None
    high: float | None
    verdict: Literal["PASS", "FAIL", "UNKNOWN"]


class CapacitySummary(msgspec.Struct, forbid_unknown_fields=True):
    """The shape of `summary.json`, version 1. `estimate`, `low` and `high` are loads in `unit`."""

    schema: Literal["guestswarm.capacity/1"]
    run: str
    verdict: Literal["PASS", "FAIL", "UNKNOWN"]
    exit_code: int
    reasons: list[Reason]
    simulated: bool
    complete: bool
    """Whether the search came to its own end."""
    scenario: str
    estimate: float | None
    """The highest load at which all rules hold; null: not known, see `low` and `high`."""
    low: float | None
    """Lower end of the 95 % interval; without an estimate the highest load that held."""
    high: float | None
    """Upper end of it; without an estimate the lowest load that broke."""
    unit: Literal["guests", "arrivals/s"]
    first_broken_slo: str | None
    by_rule: bool
    """Whether that is a rule of the scenario; else what is always asked for: few errors, the planned rate, no growing queue."""
    generator_bound: bool
    """Whether the generator, not the target, ended the search: `low` is a bound then."""
    confirmed: bool | None
    confirmed_load: float | None
    method: Literal["fit", "bracket", "bound", "none"]
    held: float | None
    broke: float | None
    head_room: Room | None
    steps: list[StepCell]
    knee: float | None
    """Where the throughput bends in the picture: to look at, never for a verdict."""
    scalability: Scalability
    cost: Cost | None
    beyond_calibration: list[str]
    stopped: str
    """Why the search was ended before its own end; empty: it was not, or by a signal."""


def encode(summary: CapacitySummary) -> bytes:
    """The bytes of `summary.json`: keys sorted, the same for the same folder; checked against their own shape."""
    raw = msgspec.json.encode(summary, order="sorted")
    msgspec.json.decode(raw, type=CapacitySummary)
    return msgspec.json.format(raw, indent=1) + b"\n"


def capacity_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of it."""
    (body,), definitions = msgspec.json.schema_components([CapacitySummary], ref_template="#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **body, "$defs": definitions}
