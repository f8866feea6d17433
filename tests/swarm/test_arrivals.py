from __future__ import annotations

from random import Random

from harness.swarm.arrivals import Arrivals, gap_of

MS = 1_000_000
SECOND = 1000 * MS


def test_one_guest_in_each_gap_and_never_a_burst() -> None:
    arrivals = Arrivals(5 * SECOND, 20 * MS, Random(1))
    instants = [arrivals.next(5 * SECOND) for _ in range(500)]
    assert [(at - 5 * SECOND) // (20 * MS) for at in instants] == list(range(500))
    within = {at % (20 * MS) // MS for at in instants}
    assert len(within) > 15, "spread within the gap: no lock-step"
    most_in_100_ms = max(sum(start <= at < start + 100 * MS for at in instants) for start in instants)
    assert most_in_100_ms <= 6


def test_the_same_seed_gives_the_same_arrivals() -> None:
    one, two = (Arrivals(0, 10 * MS, Random(7)) for _ in range(2))
    assert [one.next(0) for _ in range(50)] == [two.next(0) for _ in range(50)]


def test_a_closed_plan_is_moved_for_guests_who_are_added_late_and_an_open_one_never() -> None:
    closed, strict = Arrivals(0, 10 * MS, Random(1)), Arrivals(0, 10 * MS, Random(1), strict=True)
    for plan in (closed, strict):
        for _ in range(10):
            plan.next(0)
    assert 60 * SECOND <= closed.next(60 * SECOND) < 60 * SECOND + 10 * MS
    assert 60 * SECOND <= closed.next(60 * SECOND) < 60 * SECOND + 20 * MS
    assert strict.next(60 * SECOND) < SECOND
    fresh = Arrivals(0, 10 * MS, Random(1))
    assert fresh.next(SECOND // 2) < 10 * MS, "a little late is not moved: the ramp keeps its rate"


def test_gaps() -> None:
    assert gap_of(300, 15 * SECOND, 0) == 50 * MS
    assert gap_of(300, 0, 0) == 0
    assert gap_of(0, SECOND, 0) == SECOND
    assert gap_of(10, SECOND, 4.0) == 250 * MS
    arrivals = Arrivals(0, 0, Random(1))
    assert [arrivals.next(0) for _ in range(3)] == [0, 0, 0]
    arrivals.set_gap(SECOND)
    assert 0 <= arrivals.next(0) < SECOND <= arrivals.next(0) < 2 * SECOND
