from __future__ import annotations

import gc
import time
from pathlib import Path

import gevent
import pytest
from gevent.monkey import get_original

from harness.metrics.recorder import Recorder
from harness.swarm.watch import Watch, cpu_stat_of, file_limit, local_ports

block = get_original("time", "sleep")


def test_every_turn_is_watched_and_the_bracket_is_given_to_the_recorder() -> None:
    recorder = Recorder("ab12", "1")
    watch = Watch(recorder)
    watch.start()
    try:
        gevent.sleep(0.1)
        before = time.monotonic_ns()
        assert 0 < recorder.poll_return_ns < before
        assert before - recorder.poll_return_ns < 50_000_000, "an idle loop turns all the same"
        watch.count("ports.exhausted", 2)
        figures, histograms = watch.close()
        assert figures["loop.turns"] > 10
        assert figures["ports.exhausted"] == 2
        assert figures["rss_bytes.last"] > 1_000_000
        assert figures["open_files.max"] >= 3
        assert histograms["health|loop.interval"].count > 10
        block(0.15)
        gevent.sleep(0.01)
        gc.collect()
        figures, _ = watch.close()
        assert figures["loop.blocked"] >= 1
        assert figures["loop.interval_ns.max"] > 140_000_000
        assert figures["gc.pauses"] >= 1
    finally:
        watch.stop()
    assert watch._on_gc not in gc.callbacks
    turns = watch.close()[0]["loop.turns"]
    gevent.sleep(0.02)
    assert watch.close()[0]["loop.turns"] == 0 or turns == 0


def test_a_thread_outside_the_hub_tells_where_it_is_stuck() -> None:
    told: list[str] = []
    watch = Watch(Recorder("ab12", "1"), told.append)
    watch.start()
    try:
        gevent.sleep(0.05)
        block(1.7)
        gevent.sleep(0.05)
    finally:
        watch.stop()
    assert len(told) == 1
    assert "block(1.7)" in told[0]


def test_watching_costs_little() -> None:
    watch = Watch(Recorder("ab12", "1"))
    watch.start()
    try:
        gevent.sleep(0.05)
        began = time.process_time()
        gevent.sleep(1)
        spent = time.process_time() - began
    finally:
        watch.stop()
    assert spent < 0.1, f"{spent * 100:.1f} % of a core for an idle process"


@pytest.mark.parametrize(
    ("groups", "place"),
    [
        ("0::/user.slice/run\n", "user.slice/run"),
        ("0::/seen/from/outside\n", ""),
        ("4:memory:/x\n2:cpu,cpuacct:/job\n0::/\n", "cpu,cpuacct/job"),
        ("1:cpu:/elsewhere\n0::/\n", "cpu"),
    ],
)
def test_the_group_is_found_in_either_hierarchy_and_within_a_container(tmp_path: Path, groups: str, place: str) -> None:
    assert cpu_stat_of(groups, tmp_path) == ""
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    (tmp_path / place / "cpu.stat").write_text("nr_periods 100\nnr_throttled 7\nthrottled_time 2500000\n")
    assert cpu_stat_of(groups, tmp_path) == str(tmp_path / place / "cpu.stat")


def test_a_group_without_a_quota_is_not_the_one(tmp_path: Path) -> None:
    """The root of version 2 says nothing of throttling."""
    (tmp_path / "cpu.stat").write_text("usage_usec 5\n")
    assert cpu_stat_of("0::/\n", tmp_path) == ""


def test_room_is_read_from_the_system() -> None:
    assert file_limit() > 0
    ports = local_ports()
    assert ports is None or ports > 1000


def test_all_that_the_kernel_tells_is_in_the_figures() -> None:
    watch = Watch(Recorder("ab12", "1"))
    watch.start()
    try:
        gevent.sleep(0.02)
        gc.collect()
        figures, _ = watch.close()
    finally:
        watch.stop()
    assert figures["gc.g2.pauses"] >= 1
    assert figures["open_files.limit.max"] == file_limit()
    assert figures["open_files.max"] < figures["open_files.limit.max"]
