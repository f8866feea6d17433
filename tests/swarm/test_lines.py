from __future__ import annotations

from typing import Any

from harness.journal.records import SEND_DELAY, Interval
from harness.metrics.histogram import sparse_of
from harness.swarm.lines import Telling

SECOND = 1_000_000_000


def interval(index: int, **changes: Any) -> Interval:
    fields: dict[str, Any] = {"counters": {}, "gauges": {}, "histograms": {}, "health": {}}
    fields.update(changes)
    return Interval(
        index * SECOND,
        (index + 1) * SECOND,
        "1",
        index,
        False,
        "all",
        0,
        fields["counters"],
        fields["gauges"],
        fields["histograms"],
        {},
        fields["health"],
    )


def test_figures_add_up_over_intervals() -> None:
    telling = Telling(10)
    first = telling.line(
        interval(0, counters={"messages|attempts": 4, "failed|reply|fail|reply_timeout": 2}, gauges={"guests|arriving": 3})
    )
    assert first["kind"] == "interval"
    assert (first["guests"], first["planned"], first["sent_per_s"], first["failed"], first["lost"]) == (3, 10, 4.0, 2, [0, 0])
    second = telling.line(
        interval(
            1,
            counters={"lost.definite|a": 1, "lost.unread|g": 2, "unlisted|g": 1, "messages.failed|fail|refused": 1},
            gauges={"guests|arriving": -2, "guests|chatting": 1, "guests|finished": 1},
        )
    )
    assert (second["guests"], second["failed"], second["lost"]) == (2, 3, [2, 4])


def test_percentiles_come_from_the_last_few_intervals() -> None:
    telling = Telling(1)
    for index in range(5):
        line = telling.line(interval(index, histograms={"echo|ok|response": sparse_of([20_000_000] * 10, 1000)}))
    assert 19.9 < line["p50_ms"]["echo"] < 20.1
    assert "reply" not in line["p99_ms"]
    for index in range(5, 10):
        line = telling.line(interval(index, histograms={"reply|ok|response": sparse_of([1_000_000_000] * 10, 1000)}))
    assert "echo" not in line["p50_ms"]
    assert 999 < line["p99_ms"]["reply"] < 1001


def test_the_generators_state_in_a_word() -> None:
    def state(health: dict[str, float], **more: Any) -> str:
        telling = Telling(1)
        line: dict[str, Any] = {}
        for index in range(5):
            line = telling.line(interval(index, health={"wall_ns": SECOND, "loop.turns": 1, **health}, **more))
        return str(line["generator"])

    assert state({"loop.busy_ns": 0.1 * SECOND}) == "ok"
    assert state({"loop.busy_ns": 0.8 * SECOND}) == "busy"
    assert state({"loop.busy_ns": 0.95 * SECOND}) == "saturated"
    assert state({"loop.busy_ns": 0, "journal.errors": 1}) == "journal"
    assert state({"loop.busy_ns": 0, "ports.exhausted": 1}) == "exhausted"
    assert state({"loop.busy_ns": 0}, histograms={SEND_DELAY: sparse_of([80_000_000] * 10, 1000)}) == "late"
