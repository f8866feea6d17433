from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import gevent
from locust.env import Environment
from locust.event import Events

from harness.core.ops import Noted, Sample
from harness.swarm.statistics import KEPT_POINTS, GuestFailure, Statistics, trim
from tests.swarm.kit import Rows

MS = 1_000_000


def sample(measure: str, outcome: str = "ok", cause: str = "") -> Sample:
    return Sample(30 * MS, "1-1", measure, outcome, cause, 10 * MS, 12 * MS, 30 * MS, 0, "r", "")


def test_one_event_for_each_finished_operation_and_never_within_the_call() -> None:
    environment = Environment(events=Events())  # type: ignore[no-untyped-call]
    heard: list[dict[str, Any]] = []

    def listener(**event: Any) -> None:
        gevent.sleep(0)  # somebody's listener may well wait
        heard.append(event)

    environment.events.request.add_listener(listener)  # type: ignore[no-untyped-call]
    statistics = Statistics(environment)
    rows = Rows()
    tee = statistics.tee(rows)
    tee.record(sample("echo"))
    tee.record(Noted(1, "1-1", "frame.unknown"))
    tee.record(sample("reply", "fail", "reply_timeout"))
    tee.record(sample("reply", "info", "reply_timeout"))
    tee.record(sample("reply", "info", "interrupted"))  # its guest had left: neither a success nor a failure
    assert len(rows.rows) == 5
    assert heard == []
    statistics.stop()
    assert [(event["name"], event["response_time"], event["request_type"]) for event in heard] == [
        ("echo", 20.0, "GUEST"),
        ("reply", 20.0, "GUEST"),
        ("reply", 20.0, "GUEST"),
    ]
    assert heard[0]["exception"] is None
    assert isinstance(heard[1]["exception"], GuestFailure)
    assert heard[1]["exception"] is heard[2]["exception"], "errors are classes, not occurrences"


def test_events_are_fired_while_the_run_goes_on() -> None:
    environment = Environment(events=Events())  # type: ignore[no-untyped-call]
    environment.create_local_runner()
    statistics = Statistics(environment)
    tee = statistics.tee(Rows())
    for _ in range(10):
        tee.record(sample("ack"))
    gevent.sleep(0.4)
    assert environment.stats.get("ack", "GUEST").num_requests == 10
    statistics.stop()


def test_locusts_history_is_bounded() -> None:
    history: list[Any] = list(range(5000))
    now = 1_000_000
    entry = SimpleNamespace(
        num_reqs_per_sec=defaultdict(int, dict.fromkeys(range(now - 9000, now), 1)),
        num_fail_per_sec=defaultdict(int, {now - 9000: 1, now - 1: 1}),
    )
    trim(history, [entry], now)
    assert len(history) == KEPT_POINTS
    assert history[-1] == 4999
    assert len(entry.num_reqs_per_sec) == 3600
    assert list(entry.num_fail_per_sec) == [now - 1]
