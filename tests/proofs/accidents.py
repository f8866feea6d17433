"""Limits found although requests go wrong on the way: server errors and answers that never come, some counted and some not.

No share is asked of how many are found: the answer has to be right, or say that it is not known.
"""

from __future__ import annotations

import random
from typing import Any

from harness.search.limits import Finding, ProbePlan
from tests.proofs.limit_world import Accidents, walk
from tests.proofs.ratelimit import JITTERS_MS, drawn, model

KINDS = ("token_bucket", "fixed_window", "first_window", "sliding_log", "sliding_counter")
ERRORS, LOST = 0.05, 0.01


def right(finding: Finding, kind: str, truth: dict[str, float]) -> bool:
    """The kind, figures whose intervals hold the truth, and of a window that is called confirmed the exact ones."""
    if model(finding) != kind or finding.rate_interval is None:
        return False
    if kind == "token_bucket":
        size = finding.burst_interval
        return size is not None and size.holds(truth["burst"], 1e-6) and finding.rate_interval.holds(truth["rate"])
    limit, window = finding.limit_interval, finding.window_interval
    held = limit is not None and window is not None and limit.holds(truth["limit"]) and window.holds(truth["window"])
    exact = (finding.limit, finding.window_s) == (truth["limit"], truth["window"])
    return held and (exact or not finding.confirmed)


def trial(seed: int, errors: float = ERRORS, lost: float = LOST) -> dict[str, Any]:
    """Any of the five, one request in twenty answered by a server error and one in a hundred not at all: right, or unknown."""
    kind = KINDS[seed % len(KINDS)]
    rng = random.Random(f"accidents {kind} {seed}")
    jitter = rng.choice(JITTERS_MS)
    limiter, truth = drawn(kind, rng)
    finding = walk([limiter], ProbePlan(), rng, jitter, accidents=Accidents(errors, lost, seed=seed)).finding
    found = right(finding, kind, truth)
    return {
        "kind": kind,
        "named": model(finding),
        "right": found,
        "confirmed": finding.confirmed,
        "requests": finding.requests,
        "lost": finding.lost,
        "truth": truth,
        "jitter_ms": jitter,
        "ok": found or finding.kind == "unknown",
    }


def judge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Never wrong; how often right, for the reader."""
    by_kind = {
        kind: {
            "trials": sum(row["kind"] == kind for row in rows),
            "right": sum(row["right"] for row in rows if row["kind"] == kind),
            "confirmed": sum(row["confirmed"] for row in rows if row["kind"] == kind),
            "wrong": sum(not row["ok"] for row in rows if row["kind"] == kind),
        }
        for kind in KINDS
    }
    return {"ok": all(row["ok"] for row in rows), "trials": len(rows), "by_kind": by_kind}
