"""The vectors of metrics.md E2, and the closed forms against hand-made traces."""

from __future__ import annotations

import pytest

from harness.search.limits.bucket import fit_bucket
from harness.search.limits.finding import Interval
from harness.search.limits.intervals import rate_from_pairs, size_from_drain
from harness.search.limits.snap import known_well, snap_count, snap_window
from harness.search.limits.trace import Asked, evidence

TIMES = [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 2.0, 2.1, 2.2, 2.3, 2.4, 2.5, 2.6, 4.0, 4.1, 4.2, 4.3, 4.4, 4.5]
ANSWERS = [bool(one) for one in (1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0, 0, 1)]


def test_pairs_of_refusals() -> None:
    found = rate_from_pairs(TIMES, ANSWERS)
    assert found is not None
    assert found.low == pytest.approx(1.6667, abs=5e-5)
    assert found.high == pytest.approx(2.1053, abs=5e-5)
    assert rate_from_pairs(TIMES[:6], ANSWERS[:6]) is None


def test_first_drain() -> None:
    size = size_from_drain(6, 2.0, 0.6)
    assert size.low == pytest.approx(4.8)
    assert size.high == pytest.approx(5.8)


def test_replay_leaves_the_true_bucket() -> None:
    rows = [
        Asked(n, "burst", round(at * 1e9), round(at * 1e9) + 1, ok) for n, (at, ok) in enumerate(zip(TIMES, ANSWERS, strict=True))
    ]
    found = fit_bucket(evidence(rows))
    assert found.wrong == 0
    assert found.burst == Interval(5.0, 5.0)
    assert found.rate_per_s is not None
    assert found.rate_per_s.low == pytest.approx(2.0, abs=0.01)
    assert found.rate_per_s.high == pytest.approx(2.04, abs=0.01)


def test_whole_where_whole() -> None:
    assert snap_window(Interval(9.8, 10.3)) == 10.0
    assert snap_window(Interval(56.0, 62.0)) == 60.0
    assert snap_window(Interval(7.2, 7.6)) == pytest.approx(7.4)
    assert snap_count(Interval(41.0, 41.0)) == 41
    assert known_well(Interval(12.95, 13.1), 0.02)
    assert not known_well(Interval(58.7, 60.2), 0.02)
