"""What is said about one limit: kind, figures with intervals, `Retry-After`, and what else was thought of (metrics.md E)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Kind = Literal["token_bucket", "fixed_window", "sliding_log", "sliding_counter", "concurrency", "none", "unknown"]
"""`none`: no refusal below the ceiling. `unknown`: refusals that no model explains, or not enough evidence."""

Anchor = Literal["clock", "first_request"]
"""Where a fixed window begins: at moments of a clock, one after the other, or with the first request after the last one's end."""
Model = Literal["token_bucket", "fixed_window", "first_window", "sliding_log", "sliding_counter"]
"""What is held against a trace: both anchors of a fixed window are models of their own."""
WINDOWS: tuple[Kind, ...] = ("fixed_window", "sliding_log", "sliding_counter")


@dataclass(frozen=True, slots=True)
class Interval:
    """Both ends; what lies between agrees with every answer seen."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Half way."""
        return (self.low + self.high) / 2

    @property
    def width(self) -> float:
        """Distance of the ends."""
        return self.high - self.low

    def holds(self, value: float, slack: float = 0.0) -> bool:
        """Does it hold the value (`slack` in the value's unit)?"""
        return self.low - slack <= value <= self.high + slack


@dataclass(frozen=True, slots=True)
class RetryAfterFinding:
    """What `Retry-After` was worth (RFC 9110 §10.2.3)."""

    sent: bool
    """On every refusal that could have had it."""
    form: Literal["seconds", "date", "mixed", "none"]
    verdict: Literal["true", "too short", "too long", "not tested", "not sent"]
    """`too short`: refused although the wait was kept; `too long`: accepted more than the 1-s grid earlier than told."""
    tested: int
    """Refusals whose promise could be tested by a later request of this probe."""
    broken: int
    """Promises that were not kept (too short) or clearly too long."""
    low_s: float | None = None
    high_s: float | None = None
    """Least and greatest wait that was told, s."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model held against the whole trace (replay)."""

    kind: Kind
    counts_refused: bool
    wrong: int
    """Answers that the model contradicts however the jitter is resolved."""
    asked: int
    rate_per_s: Interval | None = None
    burst: Interval | None = None
    limit: Interval | None = None
    window_s: Interval | None = None
    why_rejected: str = ""
    """Empty for the model that was kept."""
    anchor: Anchor | None = None
    """Of a fixed window."""

    @property
    def model(self) -> Model:
        """Which of the models it is."""
        if self.kind == "concurrency" or self.kind == "none" or self.kind == "unknown":
            raise ValueError(f"{self.kind} is held against no trace")
        return "first_window" if self.anchor == "first_request" else self.kind

    @property
    def wrong_share(self) -> float:
        """Share of the answers contradicted."""
        return self.wrong / self.asked if self.asked else 0.0

    def rejected(self, why: str) -> Candidate:
        """The same, with the reason."""
        return replace(self, why_rejected=why)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer for one endpoint and one identity. Figures are of the kind: a bucket has `burst`, a window `limit` and `window_s`.

    `rate_per_s` is the long-run rate of any kind (L/W for windows). With a shared credential all figures of the limit are
    None, and only
    `available_per_s` is given: what was left to us, which is not the limit.
    """

    kind: Kind
    confirmed: bool
    """Did the fitted model explain at least 98 % of the answers?"""
    reasons: tuple[str, ...] = ()
    """In words: why not confirmed, why unknown, what else was noticed."""
    rate_per_s: float | None = None
    rate_interval: Interval | None = None
    burst: float | None = None
    burst_interval: Interval | None = None
    limit: int | None = None
    limit_interval: Interval | None = None
    window_s: float | None = None
    window_interval: Interval | None = None
    anchor: Anchor | None = None
    """Where a fixed window begins; None: of another kind, or both agree with every answer."""
    retry_after: RetryAfterFinding | None = None
    counts_refused: bool | None = None
    """Do refused requests count too? None: could not be told."""
    shared: bool = False
    """Somebody else spends the same count."""
    available_per_s: float | None = None
    available_interval: Interval | None = None
    several: bool = False
    """More than one limit at work, as far as it was noticed."""
    requests: int = 0
    refused: int = 0
    lost: int = 0
    """Requests without an answer that could be read as yes or no."""
    took_s: float = 0.0
    highest_per_s: float | None = None
    """For `none`: the highest rate that was tried, requests/s."""
    safe_per_s: float | None = None
    """Observed: what was accepted over the time the probe was saturated, requests/s; a client without a model should stay
    below it."""
    alternatives: tuple[Candidate, ...] = field(default=())
    stopped: str = ""
    """Why the probe ended: answered, budget, window longer than planned, interrupted …"""

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
