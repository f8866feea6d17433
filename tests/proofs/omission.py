"""Coordinated omission: a server that answers in 50 ms and stands still for 2 s of every 10, and guests who do not wait for it.

All truth is the server's own (see `harness.calibration.compare`). The same code serves the long proof and the short form in tests.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from harness.calibration.compare import Compared, compare_schedule, compare_waiting, kept, off_grid
from harness.calibration.outcome import judge_step
from harness.calibration.scenarios import STANDSTILL, calibration_scenario
from harness.cli.driving import Measured, drive_measured
from harness.cli.run import Signals

PERIOD_NS = THINK_NS = 100_000_000
NAMES = ("p90", "p95", "p99", "p99.9")


def drive(folder: Path, *, guests: int, seconds: float, seed: int, waiting: bool, first: str = "10s") -> Measured:
    """One run of webchat guests. Answers to a message: its echo after 50 ms; for guests who wait, the agent's reply after 50 ms."""
    document = calibration_scenario(
        "waiting" if waiting else "schedule",
        guests=guests,
        mix={"webchat": 1.0},
        period_ns=PERIOD_NS,
        ramp_ns=1_000_000_000,
        hold_ns=round(seconds * 1e9),
        reply=None if waiting else "300ms",
        faults=({**STANDSTILL, "at": first},),
        think_ns=THINK_NS if waiting else 0,
        seed=seed,
    )
    return drive_measured(document, folder, Signals())  # not entered: signals stay whose they are


def figures(found: Compared) -> dict[str, list[float | None]]:
    """Percentile -> truth and ours in ms, error as a share."""
    return {name: [round(e.truth_ms, 3), e.measured_ms, e.error] for name, e in found.percentiles.items()}


def near(found: Compared, names: tuple[str, ...], *, share: float = 0.01, p50_ms: float = 2.0) -> bool:
    """p50 within so many ms, the others within a share of the truth; those that so few samples cannot tell do not count."""
    cells = found.percentiles
    return abs(cells["p50"].error_ms) <= p50_ms and all(abs(cells[name].error or 0.0) <= share for name in names if name in cells)


def near_waiting(found: Compared) -> bool:
    """The same for guests who wait. There p90 and p95 are, as p50, the 50 ms of a plain answer: so many ms, or a share."""
    return all(
        abs(cell.error_ms) <= 2.0 or abs(cell.error or 0.0) <= 0.01 for name, cell in found.percentiles.items() if name != "max"
    )


def whole(run: Measured) -> bool:
    """Everything that guests timed is in the server's record, and every row of truth is equal."""
    return not run.join.unknown and bool(run.model.truth) and all(row.equal for row in run.model.truth)


def trial(seed: int) -> dict[str, Any]:
    """Guests on a schedule of 100 ms, then guests who wait; the server answers in 50 ms and stands still 2 s of every 10."""
    with tempfile.TemporaryDirectory() as folder:
        run = drive(Path(folder), guests=10, seconds=112, seed=seed, waiting=False)
        closed = drive(Path(folder), guests=10, seconds=52, seed=seed, waiting=True)
    rows = run.join.rows
    schedule = kept(rows, PERIOD_NS, run.settle_ns)
    echo = compare_schedule(rows)["echo"]["response"]
    reply = compare_waiting(closed.join.rows, THINK_NS)["reply"]
    checks = {
        "on the grid": off_grid(rows, PERIOD_NS) == 0,
        "sends": schedule.share >= 0.995,
        "several in flight": schedule.in_flight >= 10,
        "schedule: response": near(echo, NAMES) and set(NAMES) <= set(echo.percentiles),
        "waiting: service": near_waiting(reply["service"]),
        "waiting: response": near_waiting(reply["response"]),
        "whole": whole(run) and whole(closed),
    }
    health = judge_step(run.model, 10, run.simulator)
    return {
        "ok": all(checks.values()),
        "unequal": [name for name, fine in checks.items() if not fine],
        "schedule": {
            "due": schedule.due,
            "came": schedule.came,
            "late": schedule.late,
            "latest_ms": schedule.latest_ms,
            "in_flight": schedule.in_flight,
            "n": echo.n,
            "response_truth_ours_error": figures(echo),
        },
        "waiting": {
            "n": reply["response"].n,
            "service_truth_ours_error": figures(reply["service"]),
            "response_truth_ours_error": figures(reply["response"]),
        },
        "too_low_by_waiting": {
            name: round(echo.percentiles[name].truth_ms / reply["service"].percentiles[name].measured_ms, 1)
            for name in ("p90", "p95")
        },
        "health": {"over": health.over, "send_delay_p99_ms": health.figures["send delay p99"], "busy": health.figures["loop busy"]},
    }
