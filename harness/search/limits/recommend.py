"""From findings to client settings (metrics.md E4), and what sharing one credential means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.search.limits.finding import Finding

USE = 0.95
"""Least share of the allowed rate that a setting must use."""
MARGIN = 0.97
"""Share of the lower bound that is used where the interval leaves room above `USE`."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Client settings for one endpoint."""

    endpoint: str
    rate_per_s: float | None
    """Steady rate of all that share the count, requests/s; None: no figure can be given."""
    burst: int
    """Tokens of the client's bucket. One: requests are paced, never less than 1/rate apart."""
    allowed_per_s: float | None
    """What the limit allows in the long run."""
    share_of_allowed: float | None
    back_off_s: float
    """After a refusal: at the least, or `Retry-After` if that is longer."""
    jitter_s: float
    """Added at random, 0 to this, to every back-off."""
    per_worker_per_s: float | None
    """Each of the workers on one credential, if they do not share a bucket."""
    typing_debounce_s: float | None
    """Least distance of a guest's typing signals so that all guests together stay within half of the rate."""
    reconnect_spread_s: float | None
    """Over which all guests come back after a loss."""
    guests: int
    workers: int
    why: tuple[str, ...] = ()

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def paced_rate(limit: int, window_s: float, use: float = MARGIN) -> float:
    """Highest steady rate at which a client that paces (burst 1) never has more than L in any window: floor(rho·W) + 1 <= L.

    `use` leaves room for the jitter of the way, which moves requests into a window.
    """
    return use * limit / window_s  # use < 1: rho·W stays below L


def advise(
    endpoint: str,
    finding: Finding,
    *,
    guests: int = 1,
    workers: int = 1,
    signals_share: float = 0.5,
    jitter_s: float = 0.05,
) -> Advice:
    """Settings for one endpoint. `jitter_s`: how far the way may push two requests together (p95 - min of the round trip)."""
    why: list[str] = []
    rate, allowed, burst = _rate(finding, jitter_s, why)
    share = rate / allowed if rate and allowed else None
    if share is not None and share < USE - 1e-9:
        why.append(
            f"below {USE:.0%} of what is allowed: {finding.limit} per {finding.window_s:g} s cannot be used up safely"
            if finding.limit and finding.window_s
            else f"below {USE:.0%} of what is allowed: the rate is not known well enough"
        )
    back_off = 1.0 / rate if rate else 1.0
    retry = finding.retry_after
    if retry is not None and retry.sent and retry.verdict == "too short":
        why.append("Retry-After is too short: the back-off doubles after each refusal in a row")
        back_off = max(back_off, 2 * (retry.high_s or 0.0))
    if finding.counts_refused:
        why.append("refused requests count as well: whoever does not wait is kept out for longer")
    if workers > 1 and rate:
        why.append(f"{workers} workers on one credential share one count: one bucket for all, or {rate / workers:.4g}/s each")
    if finding.shared:
        why.append("somebody else spends the same count: the figure is what was available to us")
    per_guest = rate * signals_share / max(1, guests) if rate else None
    return Advice(
        endpoint,
        rate,
        burst,
        allowed,
        share,
        back_off,
        1.0 / rate if rate else 1.0,
        rate / workers if rate else None,
        1.0 / per_guest if per_guest else None,
        _spread(finding, rate, guests),
        guests,
        workers,
        tuple(why),
    )


def _rate(finding: Finding, jitter_s: float, why: list[str]) -> tuple[float | None, float | None, int]:
    if finding.kind == "token_bucket" and finding.rate_interval is not None and finding.rate_per_s and finding.confirmed:
        # never above the lower bound, which holds the truth; 95 % of the middle if the interval allows it
        rate = min(finding.rate_interval.low, max(MARGIN * finding.rate_interval.low, USE * finding.rate_interval.high))
        low = finding.burst_interval.low if finding.burst_interval else finding.burst or 1
        return rate, finding.rate_per_s, max(1, math.floor(0.8 * low))
    if finding.limit and finding.window_s and finding.confirmed and finding.kind != "concurrency":
        window = finding.window_s
        why.append(f"paced: never more than {finding.limit} in any {window:g} s, wherever the window begins")
        rate = min(paced_rate(finding.limit, window), 0.999 * finding.limit / (window + 2 * jitter_s))
        return rate, finding.limit / window, 1
    if finding.kind == "none":
        why.append("no limit was found below the ceiling of the probe")
        return None, None, 1
    if finding.kind == "concurrency":
        why.append(f"no more than {finding.limit} open at once")
        return None, None, 1
    observed = finding.available_per_s or finding.safe_per_s
    why.append("no model was confirmed: 80 % of what was seen to pass")
    return (0.8 * observed if observed else None), None, 1


def _spread(finding: Finding, rate: float | None, guests: int) -> float | None:
    """Time for all guests to come back once: what the bucket holds at once, the rest at the steady rate."""
    if not rate:
        return None
    at_once = finding.burst or 1.0
    return max(0.0, (guests - 0.8 * at_once) / rate)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """For all endpoints of a scenario."""

    advice: tuple[Advice, ...]

    def fragment(self) -> dict[str, Any]:
        """As data for a TOML fragment: `[pace."ENDPOINT"]` tables, rates per s and times in s."""
        tables = {}
        for one in self.advice:
            if one.rate_per_s is None:
                continue
            table = {
                "rate": f"{one.rate_per_s:.6g}/s",
                "burst": one.burst,
                "back_off": f"{one.back_off_s:.4g}s",
                "jitter": f"{one.jitter_s:.4g}s",
                "rate_per_worker": f"{one.per_worker_per_s or one.rate_per_s:.6g}/s",
            }
            if one.typing_debounce_s is not None:
                table["typing_debounce"] = f"{one.typing_debounce_s:.4g}s"
            if one.reconnect_spread_s is not None:
                table["reconnect_spread"] = f"{one.reconnect_spread_s:.4g}s"
            tables[one.endpoint] = table
        return {"pace": tables}


def recommend(
    findings: Sequence[tuple[str, Finding]], *, guests: int = 1, workers: int = 1, jitter_s: float = 0.05
) -> Recommendation:
    """For each endpoint with its finding."""
    return Recommendation(tuple(advise(name, one, guests=guests, workers=workers, jitter_s=jitter_s) for name, one in findings))
