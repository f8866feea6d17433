"""The arithmetic of metrics.md E2: what pairs of refusals say about r, and the first drain about b."""

from __future__ import annotations

from collections.abc import Sequence

from harness.search.limits.finding import Interval


def rate_from_pairs(
    times_s: Sequence[float], accepted: Sequence[bool], *, jitter_s: float = 0.0, size: float | None = None
) -> Interval | None:
    """Intersection over all pairs of refusals: (n-1)/(D + J) < r < (n+1)/(D - J); None without a pair, low > high if they disagree.

    With `size` (b), pairs are skipped that span a gap between neighbouring refusals in which at least 0.9·b were
    accepted: the bucket
    may have been full in there.
    """
    refusals = [at for at, ok in enumerate(accepted) if not ok]
    sums = [0]
    for ok in accepted:
        sums.append(sums[-1] + ok)
    low, high, any_pair = 0.0, float("inf"), False
    for place, first in enumerate(refusals):
        for before, last in zip(refusals[place:], refusals[place + 1 :], strict=False):
            if size is not None and sums[last] - sums[before] >= 0.9 * size:
                break
            count, span = sums[last] - sums[first], times_s[last] - times_s[first]
            any_pair = True
            low = max(low, (count - 1) / (span + jitter_s)) if span + jitter_s > 0 else low
            if span > jitter_s:
                high = min(high, (count + 1) / (span - jitter_s))
    return Interval(low, high) if any_pair else None


def size_from_drain(accepted: int, rate_per_s: float, span_s: float) -> Interval:
    """From idle, so many accepted and then the first refusal after `span_s`: n0 - r·s <= b < n0 - r·s + 1."""
    return Interval(accepted - rate_per_s * span_s, accepted - rate_per_s * span_s + 1)
