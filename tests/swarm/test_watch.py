from __future__ import annotations

import gc
import time

import gevent
from gevent.monkey import get_original

from harness.metrics.recorder import Recorder
from harness.swarm.watch import Watch

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
