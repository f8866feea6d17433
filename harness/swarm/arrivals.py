"""When guests arrive: evenly and jittered, whatever rhythm Locust makes its users in. Pure."""

from __future__ import annotations

from random import Random

_SLACK_NS = 1_000_000_000


class Arrivals:
    """Number k arrives at k gaps plus less than one gap: no bursts and no lock-step, and the rate is exact over any length.

    `strict`: the plan waits for nobody (open model). Otherwise it is moved when it has fallen behind, as for guests who are
    added later from a web page.
    """

    def __init__(self, start_ns: int, gap_ns: int, rng: Random, *, strict: bool = False) -> None:
        self._base_ns, self._gap_ns, self._rng, self._strict = start_ns, max(gap_ns, 0), rng, strict

    def set_gap(self, gap_ns: int) -> None:
        """Another rate from now on."""
        self._gap_ns = max(gap_ns, 0)

    def next(self, now_ns: int) -> int:
        """The next guest's instant; `now_ns` is when it is asked for."""
        if not self._strict and now_ns > self._base_ns + self._gap_ns + _SLACK_NS:
            self._base_ns = now_ns
        at = self._base_ns + int(self._rng.random() * self._gap_ns)
        self._base_ns += self._gap_ns
        return at


def gap_of(planned: int, ramp_ns: int, per_s: float) -> int:
    """Nanoseconds between two guests: `planned` of them within `ramp_ns` (closed model), or `per_s` of them a second (open)."""
    if per_s > 0:
        return round(1e9 / per_s)
    return ramp_ns // max(planned, 1)
