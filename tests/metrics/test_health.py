from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.health import (
    Health,
    HostTicks,
    LoopWatch,
    PauseWatch,
    Readings,
    merge_health,
    parse_pressure,
    parse_schedstat,
    parse_stat,
    shares,
)
from harness.metrics.histogram import sparse_of

STAT = "cpu  10 2 3 100 5 0 1 9 4 0\ncpu0 1 1 1 1 1 1 1 1 1 1\nintr 5\n"
PRESSURE = "some avg10=12.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"


def test_parsing_what_the_kernel_says() -> None:
    assert parse_stat(STAT) == HostTicks(130, 9)
    assert parse_schedstat("123 456 7\n") == 456
    assert parse_pressure(PRESSURE) == 12.5


@pytest.mark.parametrize(
    "text", ["", "\n", "cpu", "cpu x", "cpu  1 2 3", "some", "some avg10=", "some avg10=x", "1", "a b c", "\0"]
)
def test_what_it_may_also_say(text: str) -> None:
    assert parse_stat(text) is None
    assert parse_schedstat(text) is None
    assert parse_pressure(text) is None


def test_the_loop_watch_brackets_each_turn() -> None:
    watch = LoopWatch()
    watch.prepare(5)
    assert watch.check(1_000_000) == 0
    watch.prepare(1_300_000)
    assert watch.check(2_000_000) == 1_000_000
    watch.prepare(202_000_000)
    assert watch.check(203_000_000) == 2_000_000
    assert watch.previous_ns == 2_000_000
    found, histogram = watch.close()
    assert found == {"loop.turns": 3, "loop.busy_ns": 200_300_000, "loop.blocked": 1, "loop.interval_ns.max": 201_000_000}
    assert histogram == sparse_of([1000, 201_000])
    assert watch.close()[1] is None


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=30))
def test_many_turns_need_no_memory(steps: list[int]) -> None:
    from harness.metrics import health

    small, health._FLUSH = health._FLUSH, 7
    try:
        watch, now = LoopWatch(), 1
        watch.check(now)
        for step in steps:
            now += step
            watch.check(now)
        assert len(watch._intervals) < 7
        assert watch.close()[1] == sparse_of(steps, 1000)
    finally:
        health._FLUSH = small


def test_pauses() -> None:
    watch = PauseWatch()
    watch.on_gc("stop", 5)
    for began, ended, generation in ((10, 1010, 0), (10**9, 10**9 + 30_000_000, 2)):
        watch.on_gc("start", began, generation)
        watch.on_gc("stop", ended, generation)
    found, histogram = watch.close()
    assert found == {"gc.pauses": 2, "gc.pause_ns": 30_001_000, "gc.long": 1, "gc.pause_ns.max": 30_000_000} | {
        "gc.g0.pauses": 1,
        "gc.g0.pause_ns": 1000,
        "gc.g0.pause_ns.max": 1000,
        "gc.g2.pauses": 1,
        "gc.g2.pause_ns": 30_000_000,
        "gc.g2.pause_ns.max": 30_000_000,
    }
    assert histogram == sparse_of([1, 30_000])


def test_health_of_a_process() -> None:
    health = Health(Readings(0, 0, STAT, "0 100 1", PRESSURE))
    health.count("actions.planned", 4)
    health.count("actions.started", 3)
    health.loop.check(1)
    health.loop.prepare(250_000_001)
    later = "cpu  60 2 3 140 5 0 1 19 4 0\n"
    found, histograms = health.close(Readings(10**9, 4 * 10**8, later, "0 50000100 2", "some avg10=3.00", 20, 1 << 20))
    assert histograms == {}
    assert found["pressure.max"] == 3.0
    assert found["rss_bytes.last"] == found["rss_bytes.max"] == 1 << 20
    assert found["open_files.max"] == 20
    assert shares(found) == (0.25, 0.4, 0.05, 0.0, 0.1, 0.75, None, None, None)
    found, _ = health.close(Readings(2 * 10**9, 4 * 10**8))
    assert "host.ticks" not in found
    assert shares(found) == (None, 0.0, None, 0.0, *(None,) * 5)
    assert shares({}) == (None,) * 9


def test_merging() -> None:
    whole: dict[str, float] = {}
    for one in ({"a.max": 3.0, "b.last": 1.0, "c": 2.0}, {"a.max": 2.0, "b.last": 5.0, "c": 3.0}):
        merge_health(whole, one)
    assert whole == {"a.max": 3.0, "b.last": 5.0, "c": 5.0}
