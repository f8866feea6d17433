"""The queue is M/M/c where it is told to be: waits, refusals and the tail of the response equal the exact ones."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from random import Random

import pytest

from harness.simulator.capacity import ServiceQueue
from tests.simulator import queue_theory as theory

S = 1_000_000_000


def exponential(rng: Random, mean: float) -> Callable[[int], int]:
    return lambda at: round(rng.expovariate(1.0 / mean) * S)


class ClosedRun:
    """Guests who think, send, wait for the answer, and think again."""

    def __init__(self, guests: int, think: float, queue: ServiceQueue, seed: int, *, messages: int) -> None:
        rng = Random(seed)
        heap = [(round(rng.expovariate(1 / think) * S), guest) for guest in range(guests)]
        heapq.heapify(heap)
        sent: dict[int, int] = {}
        self.responses: list[float] = []
        self.refused = 0
        self.offered = 0
        warm = messages // 10
        now = began = 0
        while len(self.responses) < messages + warm:
            due = queue.next()
            if due is not None and (not heap or due <= heap[0][0]):
                now = due
                for guest in queue.advance(now):
                    self.responses.append((now - sent.pop(guest)) / S)
                    heapq.heappush(heap, (now + round(rng.expovariate(1 / think) * S), guest))
                    if len(self.responses) == warm:
                        began, self.refused, self.offered = now, 0, 0
                continue
            now, guest = heapq.heappop(heap)
            assert not queue.advance(now)
            self.offered += 1
            if queue.full:
                self.refused += 1
                heapq.heappush(heap, (now + round(rng.expovariate(1 / think) * S), guest))
            else:
                sent[guest] = now
                queue.enter(now, guest)
        self.responses = self.responses[warm:]
        self.throughput = len(self.responses) / ((now - began) / S)
        self.mean = math.fsum(self.responses) / len(self.responses)


@pytest.mark.parametrize(("guests", "think", "servers"), [(20, 1.0, 2), (120, 4.0, 8), (400, 12.0, 8), (3, 0.2, 1)])
def test_guests_who_think_meet_the_machine_repair_model(guests: int, think: float, servers: int) -> None:
    service = 0.1
    exact = theory.Closed(guests, think, servers, service)
    rng = Random(f"{guests}/{servers}")
    got = ClosedRun(guests, think, ServiceQueue(servers, exponential(rng, service)), 7, messages=60_000)
    assert got.throughput == pytest.approx(exact.throughput, rel=0.02)
    assert got.mean == pytest.approx(exact.response, rel=0.04)
    limit = 2.0 * exact.response
    tail = sum(one > limit for one in got.responses) / len(got.responses)
    assert tail == pytest.approx(exact.slower_than(limit), rel=0.12, abs=0.002)


def test_arrivals_of_their_own_accord_wait_as_erlang_says() -> None:
    rate, servers, service, n = 70.0, 8, 0.1, 200_000
    rng = Random(3)
    queue = ServiceQueue(servers, exponential(Random(4), service))
    now, waited, total = 0, 0, 0.0
    came: dict[int, int] = {}
    for number in range(n):
        now += round(rng.expovariate(rate) * S)
        while (due := queue.next()) is not None and due <= now:
            for job in queue.advance(due):
                total += (due - came.pop(job)) / S
        queue.advance(now)
        waited += queue.busy == servers
        came[number] = now
        queue.enter(now, number)
    share = theory.erlang_c(rate, servers, service)
    assert waited / n == pytest.approx(share, rel=0.03)
    assert total / queue.served == pytest.approx(service + share * service / (servers - rate * service), rel=0.03)


def test_a_cliff_and_a_slowdown_are_computable_too() -> None:
    exact = theory.Closed(60, 1.0, 4, 0.1, room=12)
    queue = ServiceQueue(4, exponential(Random(5), 0.1), room=12)
    got = ClosedRun(60, 1.0, queue, 8, messages=60_000)
    assert got.refused / got.offered == pytest.approx(exact.refused, rel=0.03)
    assert got.mean == pytest.approx(exact.response, rel=0.02)

    slow = theory.Closed(60, 1.5, 4, 0.1, slowdown=0.05)
    plain = theory.Closed(60, 1.5, 4, 0.1)
    got = ClosedRun(60, 1.5, ServiceQueue(4, exponential(Random(6), 0.1), slowdown=0.05), 9, messages=60_000)
    assert slow.response > 1.5 * plain.response
    assert got.mean == pytest.approx(slow.response, rel=0.04)
    assert got.throughput == pytest.approx(slow.throughput, rel=0.02)


def test_the_load_at_which_a_rule_breaks_can_be_computed() -> None:
    """And simulating on both sides of it agrees."""
    limit, share = 0.4, 0.95
    guests = theory.capacity(2.0, 8, 0.1, limit=limit, share=share)
    held = theory.Closed(guests, 2.0, 8, 0.1).slower_than(limit)
    broke = theory.Closed(guests + 1, 2.0, 8, 0.1).slower_than(limit)
    assert held <= 0.05 < broke
    for number, expected in ((guests - 10, True), (guests + 10, False)):
        got = ClosedRun(number, 2.0, ServiceQueue(8, exponential(Random(number), 0.1)), 10, messages=80_000)
        assert (sum(one <= limit for one in got.responses) / len(got.responses) >= share) is expected


@pytest.mark.parametrize("servers", [1, 2, 5])
@pytest.mark.parametrize("found", [0, 1, 3, 9])
def test_the_tail_formula_against_drawn_sums(found: int, servers: int) -> None:
    exact = theory.Closed(10, 1.0, servers, 0.1)
    rng = Random(1)
    stages = max(0, found - servers + 1)
    draws = [sum(rng.expovariate(servers / 0.1) for _ in range(stages)) + rng.expovariate(1 / 0.1) for _ in range(20_000)]
    for limit in (0.05, 0.2, 0.5):
        share = sum(one > limit for one in draws) / len(draws)
        assert exact._tail(found, limit) == pytest.approx(share, abs=0.012)


# ---------------------------------------------------------------- to the nanosecond


def test_who_looks_late_costs_no_capacity() -> None:
    times = iter([10, 10, 10, 10])
    queue = ServiceQueue(1, lambda at: next(times))
    for name in "abc":
        queue.advance(0)
        queue.enter(0, name)
    assert queue.next() == 10
    assert queue.advance(25) == ["a", "b"]  # the second was begun at 10, not at 25
    assert (queue.next(), queue.in_system, queue.busy, queue.served) == (30, 1, 1, 2)
    assert queue.advance(29) == []
    assert queue.advance(30) == ["c"]
    assert queue.next() is None
    queue.enter(45, "d")
    assert queue.next() == 55


def test_first_come_first_served_over_several_servers() -> None:
    times = iter([50, 10, 10, 10])
    queue = ServiceQueue(2, lambda at: next(times), room=4)
    for name in "abcd":
        assert not queue.full
        queue.enter(0, name)
    assert queue.full
    assert queue.waiting == 2
    assert queue.advance(40) == ["b", "c", "d"]
    assert queue.advance(50) == ["a"]


def test_a_pause_stops_all_servers() -> None:
    queue = ServiceQueue(2, lambda at: 10)
    queue.enter(0, "a")
    queue.advance(4)
    queue.enter(4, "b")
    queue.pause(100)
    assert queue.next() == 110
    assert queue.advance(110) == ["a"]
    assert queue.advance(114) == ["b"]


def test_a_slowdown_stretches_what_is_being_done_as_long_as_somebody_waits() -> None:
    queue = ServiceQueue(1, lambda at: 100, slowdown=1.0)
    queue.enter(0, "a")
    queue.advance(50)
    queue.enter(50, "b")  # one waits: half speed
    assert queue.next() == 150
    assert queue.advance(150) == ["a"]
    assert queue.next() == 250
    queue.advance(200)
    queue.enter(200, "c")
    queue.enter(200, "d")  # two wait: a third of the speed for the other half
    assert queue.next() == 350


def test_work_that_takes_no_time_is_done_at_once_and_in_order() -> None:
    queue = ServiceQueue(1, lambda at: 0)
    for name in "abc":
        queue.enter(7, name)
    assert queue.next() == 7
    assert queue.advance(7) == ["a", "b", "c"]


def test_the_service_time_is_drawn_for_the_instant_at_which_work_begins() -> None:
    begun: list[int] = []

    def draw(at: int) -> int:
        begun.append(at)
        return 10

    queue = ServiceQueue(1, draw)
    queue.enter(5, "a")
    queue.enter(5, "b")
    queue.advance(1000)
    assert begun == [5, 15]
