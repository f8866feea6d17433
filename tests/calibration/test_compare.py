"""Truth is formed from the server's stamps and the plan: what a guest gets wrong must show, and in its size."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.calibration.compare import compare_schedule, compare_waiting, compared, kept, off_grid
from harness.calibration.timings import Joined, Timing, Timings, join_timings, read_timings
from harness.core import ops
from harness.metrics.histogram import Histogram
from harness.simulator.truth import TruthBuffer, TruthLog

MS = 1_000_000
PERIOD = 100 * MS
S = 1000 * MS


def answered(received: int) -> int:
    """When a server hands over what came in then: 50 ms later; but it stands still for 2 s of every 10, first after 3."""
    phase = (received - 3 * S) % (10 * S)
    if received >= 3 * S and phase < 2 * S:
        return received - phase + 2 * S + 50 * MS
    due_in = 10 * S - phase
    return received + due_in + 2 * S if due_in <= 50 * MS else received + 50 * MS


def schedule(label: str = "1-1", messages: int = 100, *, wire: int = 0, first: int = 7 * MS) -> list[Joined]:
    """A guest who keeps its schedule; `wire`: how long bytes take either way."""
    rows = []
    for seq in range(1, messages + 1):
        due = first + (seq - 1) * PERIOD
        received = due + wire
        handed = answered(received)
        rows.append(Joined("echo", label, seq, due, due, handed + wire, received, handed))
    return rows


def test_a_right_measurement_is_without_error_but_for_the_buckets() -> None:
    found = compare_schedule([*schedule("1-1"), *schedule("2-1", first=31 * MS)])["echo"]["response"]
    assert found.n == 200
    assert found.percentiles["p50"].truth_ms == 50
    assert found.percentiles["p90"].truth_ms > 1000
    assert all(abs(error.error or 0) <= 0.001 for error in found.percentiles.values())
    assert "p99" not in found.percentiles  # too few samples beyond it
    assert found.percentiles["max"].truth_ms == pytest.approx(2043)


def test_coordinated_omission_shows() -> None:
    """One message in flight, timed from the actual send: p90 of the very same server is thirty times too low."""
    rows: list[Joined] = []
    now, seq = 7 * MS, 0
    while now < 20_000 * MS:
        seq += 1
        handed = answered(now)
        rows.append(Joined("reply", "1-1", seq, now, now, handed, now, handed))
        now = max(handed, now + PERIOD)  # what it missed it does not make up for
    truth = compare_schedule(schedule(messages=200))["echo"]["response"].percentiles["p90"].truth_ms
    naive = compare_schedule(rows)["reply"]["response"].percentiles["p90"].measured_ms
    assert truth / naive > 16
    assert kept(rows, PERIOD, 20_007 * MS, "reply").share < 0.95
    assert off_grid(rows, PERIOD) > 0


def test_a_guest_who_moves_its_schedule_is_off_the_grid() -> None:
    rows = schedule()
    assert off_grid(rows, PERIOD) == 0
    moved = [
        Joined(
            r.measure,
            r.label,
            r.seq,
            r.intended_ns + (r.seq > 50),
            *[getattr(r, n) for n in ("start_ns", "end_ns", "received_ns", "handed_ns")],
        )
        for r in rows
    ]
    assert off_grid(moved, PERIOD) == 50


def test_a_guest_who_claims_to_have_been_due_later_is_found_out() -> None:
    """Intended instants that are all 30 ms late stay on the grid; but the server had the messages before."""
    rows = [
        Joined(r.measure, r.label, r.seq, r.intended_ns + 30 * MS, r.start_ns, r.end_ns, r.received_ns, r.handed_ns)
        for r in schedule()
    ]
    error = compare_schedule(rows)["echo"]["response"].percentiles["p50"]
    assert error.truth_ms == 50
    assert error.error_ms == pytest.approx(-30, abs=0.1)


def test_the_way_over_the_wire_is_no_error_of_the_schedule() -> None:
    error = compare_schedule(schedule(wire=MS // 2))["echo"]["response"].percentiles["p50"]
    assert error.truth_ms == 50
    assert error.error_ms == pytest.approx(1, abs=0.05)  # both ways


def test_a_schedule_is_kept_by_what_came_in_time() -> None:
    rows = schedule()
    found = kept(rows, PERIOD, 7 * MS + 100 * PERIOD)
    assert (found.due, found.came, found.late) == (100, 100, 0)
    assert found.in_flight == 21  # twenty of the standstill, and the one before
    late = Joined("echo", "1-1", 60, rows[59].intended_ns, 0, 1, rows[59].received_ns + 120 * MS, 9_000 * MS)
    found = kept([*rows[:59], late, *rows[60:90]], PERIOD, 7 * MS + 100 * PERIOD)
    assert (found.due, found.came, found.late) == (100, 89, 1)
    assert found.share == 0.89
    assert found.latest_ms == 120


def test_guests_who_wait() -> None:
    rows, now = [], 7 * MS
    for seq in range(1, 60):
        handed = answered(now)
        rows.append(Joined("reply", "1-1", seq, now, now, handed, now, handed))
        now = handed + PERIOD
    found = compare_waiting(rows, PERIOD)["reply"]
    assert found["service"].n == found["response"].n == 58  # nothing came before the first
    for part in found.values():
        assert all(abs(error.error or 0) <= 0.001 for error in part.percentiles.values())
        assert part.percentiles["max"].truth_ms > 1900


def test_percentiles_are_nearest_rank() -> None:
    found = compared([MS * value for value in range(1, 1001)], Histogram.of([value * 1000 for value in range(1, 1001)]))
    assert {name: error.truth_ms for name, error in found.percentiles.items()} == {
        "p50": 500,
        "p90": 900,
        "p95": 950,
        "p99": 990,
        "max": 1000,
    }


def test_truth_rows_are_joined_by_id(tmp_path: Path) -> None:
    buffer = TruthBuffer()
    log = TruthLog(buffer.write)
    log.timing(60, "run.1-1.g.1", "echo", 10)
    log.timing(70, "run.1-1.g.1", "reply", 10)
    log.timing(75, "run.1-1.g.1", "reply", 10)
    log.timing(90, "req-5", "http", 20)
    log.row(91, "messages.sent", "run.1-1.g.1")
    log.seal(99)
    path = tmp_path / "truth.jsonl"
    path.write_bytes(buffer.take())
    timings = read_timings(path)
    assert timings == Timings(
        {"echo": {"run.1-1.g.1": Timing(10, 60)}, "reply": {"run.1-1.g.1": Timing(10, 70)}, "http": {"req-5": Timing(20, 90)}}
    )
    samples = [
        ops.Sample(61, "1-1", "echo", ops.OK, "", 8, 9, 61, 0, "1", ""),
        ops.Sample(71, "1-1", "reply", ops.OK, "", 8, 9, 71, 0, "1", ""),
        ops.Sample(71, "1-1", "reply", ops.FAIL, "reply_timeout", 8, 9, 71, 0, "2", ""),
        ops.Sample(91, "1-1", "ack", ops.OK, "", 8, 9, 91, 0, "req-5", "POST /x"),
        ops.Sample(92, "1-1", "ack", ops.OK, "", 8, 9, 92, 0, "req-6", "POST /x"),
        ops.Sample(92, "1-1", "token", ops.OK, "", 8, 9, 92, 0, "req-7", "POST /x"),
        ops.Noted(93, "1-1", "something"),
    ]
    join = join_timings(samples, timings, "run")
    assert [(row.measure, row.seq, row.received_ns, row.handed_ns) for row in join.rows] == [
        ("echo", 1, 10, 60),
        ("reply", 1, 10, 70),
        ("ack", 0, 20, 90),
    ]
    assert join.unknown == {"ack": 1}
