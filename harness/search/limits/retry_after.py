"""Was `Retry-After` true? Judged by the requests of the probe that came before and after what it promised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harness.search.limits.finding import RetryAfterFinding
from harness.search.limits.trace import Asked

GRID_S = 1.0
"""RFC 9110: whole seconds, usually rounded up; an acceptance so much earlier is no lie."""


def judge_retry_after(rows: Sequence[Asked]) -> RetryAfterFinding:
    """Every refusal's promise against the next request that tests it.

    Too short: the next request that was sent after the promised moment, with nothing accepted since, was refused. Too
    long: a request that
    surely came more than a second before the moment was accepted.
    """
    answered = [row for row in rows if row.accepted is not None and row.received_ns is not None]
    refused = [row for row in answered if not row.accepted]
    told = [row for row in refused if row.retry_after_s is not None]
    if not told:
        return RetryAfterFinding(False, "none", "not sent", 0, 0)
    forms = {row.form for row in told}
    waits = [row.retry_after_s for row in told if row.retry_after_s is not None]
    short = long = tested = 0
    for row in told:
        outcome = _test(row, answered)
        tested += outcome is not None
        short += outcome == "short"
        long += outcome == "long"
    verdict: Literal["true", "too short", "too long", "not tested"] = "true" if tested else "not tested"
    if long > 0.05 * tested:
        verdict = "too long"
    if short > long and short > 0.05 * tested:
        verdict = "too short"
    form: Literal["seconds", "date", "mixed"] = "mixed" if len(forms) > 1 else next(iter(forms))
    return RetryAfterFinding(len(told) == len(refused), form, verdict, tested, short + long, min(waits), max(waits))


def _test(promise: Asked, answered: Sequence[Asked]) -> str | None:
    """`kept`, `short`, `long`, or None when nothing tested it."""
    wait = round((promise.retry_after_s or 0.0) * 1e9)
    received = promise.received_ns or promise.sent_ns
    # the server counted from somewhere between our sending and receiving; a date is rounded down by up to a second as it is written
    earliest = promise.sent_ns + wait
    latest = received + wait + (round(GRID_S * 1e9) if promise.form == "date" else 0)
    for row in answered:
        if row.sent_ns <= received:
            continue
        if row.accepted:
            if (row.received_ns or row.sent_ns) < earliest - round(GRID_S * 1e9):
                return "long"
            return "kept" if row.sent_ns >= latest else None
        if row.sent_ns >= latest:
            return "short"
    return None
