"""Did the setting hold? Zero refusals over n, and at 10 % more the share that the model says (metrics.md E4, A7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from harness.search.limits.finding import Finding

LEAST = 300
"""Requests at the setting, at the least: then zero refusals put the true share below 1 %."""
OVER = 1.1


@dataclass(frozen=True, slots=True)
class Expected:
    """What a client at `OVER` times the allowed rate should see."""

    share: float
    """Refused of what is sent once it has begun: 1 - 1/1.1, or by whole requests where each window begins with one."""
    after_s: float
    """From a fresh start until the first refusal, s at the most."""
    low: float
    high: float
    """Between these the share must lie for n requests after that (99.9 %, and 3 points for the grain of windows)."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Verdict on a finding and its setting."""

    verdict: Literal["PASS", "FAIL", "UNKNOWN"]
    requests: int
    refused: int
    bound: float | None
    """True share of refusals is below this at 95 %: 3/n when none was seen."""
    share_of_allowed: float | None
    over_requests: int
    over_refused: int
    over_share: float | None
    expected: Expected | None
    reasons: tuple[str, ...]


def expected_over(finding: Finding, rate_per_s: float, requests: int) -> Expected | None:
    """For a client that sends evenly at `rate_per_s` (above the allowed rate) with a fresh count."""
    allowed = finding.rate_per_s
    if not allowed or rate_per_s <= allowed:
        return None
    share = 1.0 - allowed / rate_per_s
    excess = rate_per_s - allowed
    if finding.kind == "token_bucket":
        after = (finding.burst or 1.0) / excess
    else:
        after = 2.0 * (finding.window_s or 1.0)
    least, most = share, share
    if finding.kind == "fixed_window" and finding.anchor != "clock" and finding.limit and finding.window_s:
        # each of its windows begins with a request and holds a whole number of them, or one more where the way pushes it in
        within = rate_per_s * finding.window_s
        least = min(share, 1.0 - finding.limit / max(finding.limit, math.floor(within)))
        most = max(share, 1.0 - finding.limit / (math.floor(within) + 1))
        share = share if finding.anchor is None else 1.0 - finding.limit / max(finding.limit, math.ceil(within - 1e-9))
    spread = 3.3 * math.sqrt(share * (1 - share) / max(1, requests)) + 0.03
    return Expected(share, after, max(0.0, least - spread), min(1.0, most + spread))


def verify(
    finding: Finding,
    *,
    requests: int,
    refused: int,
    achieved_per_s: float,
    over_requests: int = 0,
    over_refused: int = 0,
    over_per_s: float = 0.0,
    least: int = LEAST,
) -> Verification:
    """Judge a run at the setting and, if there was one, a run at 1.1 times the allowed rate.

    `over_requests` and `over_refused` count from `Expected.after_s` on. A sliding counter that was taken for a token
    bucket, a second
    limit, or somebody else on the same count shows here: as refusals at the setting, or as another share above it.
    """
    reasons = []
    allowed = finding.rate_per_s
    share = achieved_per_s / allowed if allowed else None
    bound = 3.0 / requests if requests and not refused else None
    verdict: Literal["PASS", "FAIL", "UNKNOWN"] = "PASS"
    if refused:
        verdict = "FAIL"
        reasons.append(
            f"{refused} of {requests} requests at the setting were refused: the limit is not where the probe put it, or not alone"
        )
    if requests < least and not refused:
        verdict = "UNKNOWN"
        reasons.append(f"{requests} requests, {least} are needed")
    if share is not None and share < 0.95 - 1e-9 and verdict == "PASS":
        verdict = "UNKNOWN"
        reasons.append(f"driven at {share:.1%} of the allowed rate, 95 % are needed")
    if allowed is None and verdict == "PASS":
        verdict = "UNKNOWN"
        reasons.append("no rate is known to be allowed")
    expected = expected_over(finding, over_per_s, over_requests) if over_per_s else None
    over = over_refused / over_requests if over_requests else None
    if expected is not None and over is not None and not expected.low <= over <= expected.high:
        verdict = "FAIL"
        reasons.append(
            f"{over:.1%} refused at {over_per_s:.4g}/s, {expected.share:.1%} expected: the limit is not where the probe put it"
        )
    return Verification(verdict, requests, refused, bound, share, over_requests, over_refused, over, expected, tuple(reasons))
