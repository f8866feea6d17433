"""Settings of a probe, and what it may ask its caller to do (all times ns of one monotonic clock)."""

from __future__ import annotations

from dataclasses import dataclass

SECOND = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """Ceilings first: a probe never passes them, whatever it has left to learn. Defaults: metrics.md E3."""

    max_per_s: float = 100.0
    """Requests/s that are never passed."""
    max_requests: int = 3000
    """Budget of the whole probe."""
    max_s: float = 1800.0
    """Longest probe, s; the idle time at the start included."""
    spacing_s: float = 0.01
    """Distance of requests within a burst, s; wider when `max_per_s` asks for it."""
    burst_cap: int = 1000
    """A burst without refusal ends here: no limit below the ceiling."""
    idle_s: float = 120.0
    """At the start, so that whatever there is has surely refilled."""
    longest_window_s: float = 120.0
    """Longest window (or dead time) that is waited for."""
    ping_s: float = 0.25
    """Least distance of pings while waiting for recovery."""
    ping_share: float = 0.05
    """Their distance as a share of the time since the burst began."""
    tolerance: float = 0.05
    """(r_hi - r_lo)/r at which a rate is known well enough."""
    window_tolerance: float = 0.02
    """Relative width at which a window is known well enough (and it must hold no more than one whole number of seconds)."""
    wrong_share: float = 0.02
    """More wrong answers in the replay: model not confirmed."""
    accidents: int = 2
    """So many answers may be left out of the fit as accidents, within `wrong_share`, each standing alone."""
    rival_events: float = 3.5
    """Requests of a second user at `rival_share` that must be expected within the probe, so that their absence says something."""
    rival_share: float = 0.05
    watch_s: float = 10.0
    """A bucket is watched for so long at the least, s: a sliding counter looks like one until its next boundary."""
    second_look: int = 70
    """A bucket up to this size is drained a second time, which a sliding counter does not survive unnoticed."""
    most_cycles: int = 8
    """Windows looked at after the first two."""
    most_rounds: int = 60
    """Rounds of the trickle family."""
    answer_timeout_s: float = 30.0
    """A request without an answer after this counts as lost."""
    use_retry_after: bool = True
    """May pings be placed by it?"""

    def spare(self, answers: int) -> int:
        """Of so many answers, how many may be left out."""
        return min(self.accidents, int(self.wrong_share * answers))

    @property
    def spacing_ns(self) -> int:
        """Of a burst, within the ceiling."""
        return round(max(self.spacing_s, 1.0 / self.max_per_s) * SECOND)

    @property
    def floor_ns(self) -> int:
        """Least distance of any two requests: rounded up, so that the ceiling holds in every second."""
        return -int(-SECOND // self.max_per_s)

    def most(self) -> dict[str, float]:
        """For a dry run: what this probe can cost at the most."""
        return {"requests": float(self.max_requests), "seconds": self.max_s, "per_s": SECOND / self.spacing_ns}


@dataclass(frozen=True, slots=True)
class Send:
    """Send request number `n` now, and call `on_sent` with the moment before its first byte."""

    n: int
    phase: str


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Nothing to do before `at_ns`; ask again then, or after the next answer if that comes first."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class Done:
    """The probe is over; `finding()` has the answer."""

    reason: str


@dataclass(frozen=True, slots=True)
class Open:
    """Open (and hold) number `n`: a socket, or a request that stays unanswered; call `on_opened` with yes or no."""

    n: int


@dataclass(frozen=True, slots=True)
class Close:
    """Close number `n`; call `on_closed` when it is gone."""

    n: int


Action = Send | WaitUntil | Done
HoldAction = Open | Close | WaitUntil | Done
