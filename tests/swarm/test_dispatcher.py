from __future__ import annotations

import locust
import pytest
from locust.runners import WorkerNode

from harness.swarm.dispatcher import Dispatch


class One(locust.User):
    weight = 2


class Two(locust.User):
    weight = 1


@pytest.fixture
def told() -> list[object]:
    return []


@pytest.fixture
def dispatch(told: list[object]) -> Dispatch:
    return Dispatch(told.append, lambda users, per_s: told.append((users, per_s)))


def nodes(count: int) -> list[WorkerNode]:
    return [WorkerNode(f"host_{number}") for number in range(count)]


def spread_of(dispatcher: object) -> list[dict[str, dict[str, int]]]:
    return list(dispatcher)  # type: ignore[call-overload,no-any-return]


def test_all_places_at_once_whatever_the_rate(dispatch: Dispatch, told: list[object]) -> None:
    dispatch.begin()
    dispatcher = dispatch.dispatcher_class()(nodes(2), [One, Two])
    dispatcher.new_dispatch(30, 3.0)
    steps = spread_of(dispatcher)
    assert len(steps) == 1
    assert sum(sum(counts.values()) for counts in steps[0].values()) == 30
    assert sum(counts["One"] for counts in steps[0].values()) == 20
    assert told == [(30, 3.0)]
    dispatcher.new_dispatch(12, 1.0)
    assert sum(sum(counts.values()) for counts in spread_of(dispatcher)[-1].values()) == 12


def test_a_lost_worker_is_never_made_up_for(dispatch: Dispatch, told: list[object]) -> None:
    dispatch.begin()
    workers = nodes(3)
    make = dispatch.dispatcher_class()
    dispatcher = make(workers, [One, Two])
    dispatcher.new_dispatch(30, 10.0)
    (before,) = spread_of(dispatcher)
    dispatcher.remove_worker(workers[1])
    assert told[-1] == "host_1"
    survivors = {worker: counts for worker, counts in before.items() if worker != "host_1"}
    # Locust asks again: when rebalancing, when a worker comes (back), and with a new dispatcher a minute later.
    dispatcher.new_dispatch(30, 10.0)
    assert spread_of(dispatcher) == [survivors]
    dispatcher.add_worker(WorkerNode("host_9"))
    dispatcher.new_dispatch(30, 10.0)
    assert spread_of(dispatcher) == [survivors]
    late = make([workers[0], workers[2]], [One, Two])
    late.new_dispatch(30, 10.0)
    assert spread_of(late) == [survivors]
    assert told == [(30, 10.0), "host_1"]
    # all lost: still something to hand to Locust, and nobody to send it to that would start guests
    late.remove_worker(workers[0])
    late.remove_worker(workers[2])
    late.new_dispatch(30, 10.0)
    (left,) = spread_of(late)
    assert all(count == 0 for counts in left.values() for count in counts.values())


def test_the_next_run_starts_afresh(dispatch: Dispatch) -> None:
    dispatch.begin()
    workers = nodes(2)
    make = dispatch.dispatcher_class()
    dispatcher = make(workers, [One, Two])
    dispatcher.new_dispatch(4, 1.0)
    spread_of(dispatcher)
    dispatcher.remove_worker(workers[0])
    dispatch.end()
    dispatch.begin()
    again = make(workers[1:], [One, Two])
    again.new_dispatch(6, 1.0)
    assert sum(sum(counts.values()) for counts in spread_of(again)[-1].values()) == 6


def test_a_worker_that_leaves_between_runs_is_no_loss(dispatch: Dispatch, told: list[object]) -> None:
    workers = nodes(2)
    dispatcher = dispatch.dispatcher_class()(workers, [One, Two])
    dispatcher.remove_worker(workers[0])
    assert told == []
