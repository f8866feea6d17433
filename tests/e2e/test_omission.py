"""A server that stands still must show in the figures of guests on a schedule: the short form of `make prove PART=omission`."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.calibration.compare import compare_schedule, compare_waiting, kept, off_grid
from harness.calibration.outcome import judge_step
from tests.proofs.omission import PERIOD_NS, THINK_NS, drive, near, whole

pytestmark = pytest.mark.e2e
GUESTS = 4


def test_a_standing_server_shows_in_the_response_of_guests_on_a_schedule(tmp_path: Path) -> None:
    run = drive(tmp_path, guests=GUESTS, seconds=10, seed=5, waiting=False, first="5s")
    rows = run.join.rows
    assert whole(run), run.model.truth
    assert off_grid(rows, PERIOD_NS) == 0
    schedule = kept(rows, PERIOD_NS, run.settle_ns)
    assert abs(schedule.came + schedule.late - schedule.due) <= GUESTS  # nothing was left out, late or not
    step = judge_step(run.model, GUESTS, run.simulator)
    if not step.healthy or schedule.latest_ms > 50:
        pytest.skip(f"the generator was not healthy: {step.over}, a message was {schedule.latest_ms:.0f} ms late")
    assert schedule.in_flight >= 10
    echo = compare_schedule(rows)["echo"]["response"]
    assert echo.percentiles["p90"].truth_ms > 10 * echo.percentiles["p50"].truth_ms
    assert near(echo, ("p90", "p95"), share=0.05, p50_ms=10), echo


def test_guests_who_wait_are_timed_right_for_their_model(tmp_path: Path) -> None:
    run = drive(tmp_path, guests=GUESTS, seconds=7, seed=6, waiting=True, first="4s")
    assert whole(run), run.model.truth
    step = judge_step(run.model, GUESTS, run.simulator)
    if not step.healthy:
        pytest.skip(f"the generator was not healthy: {step.over}")
    reply = compare_waiting(run.join.rows, THINK_NS)["reply"]
    for part in ("service", "response"):
        assert near(reply[part], ("p90",), share=0.25, p50_ms=10), reply[part]
        assert reply[part].percentiles["max"].truth_ms > 1500
