"""The shape of a rate-limit job's `summary.json`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from harness.report.jobs.ratelimit_folder import Job, Probed
from harness.report.jobs.ratelimit_words import scope_of
from harness.report.model import Reason

SCHEMA: Literal["guestswarm.ratelimit/1"] = "guestswarm.ratelimit/1"
Span = tuple[float, float] | None


class Intervals(msgspec.Struct, forbid_unknown_fields=True):
    """What lies between agrees with every answer seen; null where the kind has no such figure."""

    rate_per_s: Span = None
    burst: Span = None
    limit: Span = None
    window_s: Span = None


class Limit(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One thing that was probed."""

    dialect: str
    endpoint: str
    kind: str
    """`token_bucket`, `fixed_window`, `sliding_log`, `sliding_counter`, `concurrency`, `none`, or `unknown`."""
    scope: str
    """`client`, `ip`, `session`, `deployment`, `organisation`; `unknown` where it was not varied."""
    rate_per_s: float | None
    burst: float | None
    limit: int | None
    window_s: float | None
    anchor: str | None
    """Where a fixed window begins: `clock`, or `first_request` after the last one's end; null: another kind, or not known."""
    intervals: Intervals
    retry_after: dict[str, Any] | None
    """`sent`, `form` (seconds, date, mixed, none), `verdict` (whether it is true), `tested`, `broken`, `low_s`, `high_s`."""
    counts_refused: bool | None
    confirmed: bool
    available_per_s: float | None
    """Where somebody else uses the same count: what was left to us, which is not the limit."""
    requests: int
    recommendation: dict[str, Any] | None
    """`rate_per_s`, `burst`, `back_off_s`, `jitter_s`, `typing_debounce_s`, `reconnect_spread_s` for `guests`, and more."""
    verification: dict[str, Any]
    """`at` the setting and `over` the limit: `n`, `refused`, `bound` (3/n), `ok`, `sent_per_s`, `sentence`, and more."""
    skipped: str
    """Why it was not probed; empty: it was."""


class RatelimitSummary(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The whole."""

    schema: Literal["guestswarm.ratelimit/1"]
    run: str
    verdict: Literal["PASS", "FAIL", "UNKNOWN"]
    exit_code: int
    reasons: list[Reason]
    simulated: bool
    complete: bool
    limits: list[Limit]
    unprobed: list[str]
    """Dialects that do not say what of them can be limited."""
    recommendation: str
    """The settings as TOML, as in `recommended.toml`; empty: none."""
    verification: dict[str, Any]
    """How many recommendations held (`proven`), met a refusal (`refused`), were tried for too short or too slowly (`not_proven`),
    were not tried (`not_tried`)."""


def limit_of(one: Probed) -> Limit:
    """What is said of one thing."""
    found: dict[str, Any] = one.finding or {"kind": "unknown"}
    retry = found.get("retry_after")
    return Limit(
        dialect=one.dialect,
        endpoint=one.endpoint,
        kind=str(found["kind"]),
        scope=scope_of(one),
        rate_per_s=found.get("rate_per_s"),
        burst=found.get("burst"),
        limit=found.get("limit"),
        window_s=found.get("window_s"),
        anchor=found.get("anchor"),
        intervals=Intervals(*(_span(found.get(name)) for name in _INTERVALS)),
        retry_after=dict(retry) if retry else None,
        counts_refused=found.get("counts_refused"),
        confirmed=bool(found.get("confirmed")),
        available_per_s=found.get("available_per_s"),
        requests=one.requests,
        recommendation=one.recommendation,
        verification=one.verification,
        skipped=one.skipped,
    )


_INTERVALS = ("rate_interval", "burst_interval", "limit_interval", "window_interval")


def _span(value: Any) -> Span:
    return (float(value["low"]), float(value["high"])) if value else None


def proofs(job: Job) -> dict[str, int]:
    """How many recommendations held, were refused, were tried too little, and were not tried."""
    found = {"proven": 0, "refused": 0, "not_proven": 0, "not_tried": 0}
    for one in job.probed:
        if one.recommendation:
            at = one.verification.get("at")
            held = "not_tried" if at is None else "refused" if at.get("refused") else "proven" if at.get("ok") else "not_proven"
            found[held] += 1
    return found


def ratelimit_schema() -> dict[str, Any]:
    """JSON Schema of it."""
    (body,), definitions = msgspec.json.schema_components([RatelimitSummary], ref_template="#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": SCHEMA, **body, "$defs": definitions}


def encode(summary: RatelimitSummary) -> bytes:
    """As it is written: keys sorted."""
    return msgspec.json.format(msgspec.json.encode(summary, order="sorted"), indent=1) + b"\n"
