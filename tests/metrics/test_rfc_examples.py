"""Small examples in the manner of the RFCs, each worked out by hand from the definitions; the way is told beside the numbers.

The worked vectors P1 … P13 are in `test_suite.py`; here are arrivals that each RFC's own text uses to explain its metric.
"""

from __future__ import annotations

from typing import Any

import pytest

from harness.metrics.density import BufferDensity, ReorderDensity
from harness.metrics.figures import stream_figures
from harness.metrics.loss_pattern import loss_pattern
from harness.metrics.ordering import Params
from harness.metrics.suite import Suite

MS = 1_000_000


def figures(arrivals: list[int], sent: int, *, wait_ms: int = 60_000, dt: int = 8, bt: int = 8, delta: int = 5) -> dict[str, Any]:
    """Messages of 100 bytes sent each 20 ms; arrivals 1 ms apart, all after the last was sent."""
    suite = Suite(Params(wait_ms * MS, dt, bt, 3, delta))
    for seq in range(1, sent + 1):
        suite.send(seq, 20 * (seq - 1) * MS, "ok", 100)
    for place, seq in enumerate(arrivals):
        suite.arrive(seq, (20 * sent + place) * MS, True, 1, seq)
    suite.close()
    return stream_figures(suite)


@pytest.mark.parametrize(
    ("arrivals", "reordered", "jumps"),
    [
        # Sent each 20 ms, 68 ms on the way. 5 is expected at 148 and comes in order as 4 is left out; 4 comes at 210, when 5, 6, 7
        # and 8 have come: extent 4 (5 was the first of them), late 210 - 148, four times 100 bytes, n = 4.
        (
            [(1, 68), (2, 88), (3, 108), (5, 148), (6, 168), (7, 188), (8, 208), (4, 210), (9, 228), (10, 248)],
            [[4, 8, 4, 62, 400, 4, 5]],
            [[5, 1]],
        ),
        # 5 and 6 both come just after 7: 7 overtook both. Before 6 comes 5, which is not greater: so n = 0 there, 1 for 5.
        (
            [(1, 68), (2, 88), (3, 108), (4, 128), (7, 188), (5, 189), (6, 190), (8, 208), (9, 228), (10, 248)],
            [[5, 6, 1, 1, 100, 1, 7], [6, 7, 2, 2, 100, 0, 7]],
            [[7, 2]],
        ),
        # A block of three after the block of four that overtook it: all three are counted from 7, which came first.
        (
            [(1, 68), (2, 88), (3, 108), (7, 188), (8, 208), (9, 228), (10, 248), (4, 250), (5, 252), (6, 256), (11, 268)],
            [[4, 8, 4, 62, 400, 4, 7], [5, 9, 5, 64, 400, 0, 7], [6, 10, 6, 68, 400, 0, 7]],
            [[7, 3]],
        ),
    ],
)
def test_reordered_extent_late_time_offset_and_n(arrivals: list[tuple[int, int]], reordered: Any, jumps: Any) -> None:
    """RFC 4737, 3.3, 3.4, 4.2 to 4.4 and 5.3."""
    suite = Suite(Params(1000 * MS, 9, 9, 3, 5))
    for seq in range(1, max(seq for seq, _ in arrivals) + 1):
        suite.send(seq, 20 * (seq - 1) * MS, "ok", 100)
    for seq, at in arrivals:
        suite.arrive(seq, at * MS, True, 1, 1)
    suite.close()
    found = stream_figures(suite)
    assert found["reordered"] == reordered
    assert found["sequence_discontinuities"] == jumps


def test_degree_of_n_reordering() -> None:
    """RFC 4737, 5.3: the share with all of the n before it greater; who is 3-reordered is 2- and 1-reordered."""
    # before 4 come 7 6 5, greater, and 3, which is not: n = 3. Before 2 come 9 8 4 7 6 5 3, all greater, then 1: n = 7
    found = figures([1, 3, 5, 6, 7, 4, 8, 9, 2], 9)
    assert [row[5] for row in found["reordered"]] == [3, 7]
    assert found["n_reordering_degree"] == {"1": round(2 / 9, 6), "2": round(2 / 9, 6), "3": round(2 / 9, 6)}
    # one place late: each is 1-reordered, none 2-reordered
    assert figures([2, 1, 4, 3], 4)["n_reordering_degree"] == {"1": 0.5, "2": 0, "3": 0}


def test_reordering_free_runs() -> None:
    """RFC 4737, 4.6: arrivals in order between reordered ones; the open tail is in `a` and no run."""
    # in order: 1 2 3 5, then 4 (run of 4); 6 7 9, then 8 (run of 3); 10 is open. a = 8, x = 2, q = 16 + 9
    found = figures([1, 2, 3, 5, 4, 6, 7, 9, 8, 10], 10)
    assert (found["free_runs"], found["free_run_open"]) == ([4, 3], 1)
    assert (found["x"], found["a"], found["p"], found["q"], found["mean_free_run"]) == (2, 8, 10, 25, 4.0)
    assert found["run_variation"] == round(25 / 8 / 4, 6)
    # discontinuities: 5 at place 4 and 9 at place 8; a gap of 4 places, which are 4 ms here
    assert (found["reordering_discontinuities"], found["gaps"], found["gap_times_ms"]) == ([5, 9], [0, 4], [0, 4])


def test_reorder_density() -> None:
    """RFC 5236, 3.6: displacement is the receive index minus the number; the index skips what is lost, copies have none."""
    # index 1 to 8 against 1 4 2 5 3 6 7 8
    assert figures([1, 4, 2, 5, 3, 6, 7, 8], 8, dt=4)["FD"] == {"-2": 1, "-1": 1, "0": 4, "1": 1, "2": 1}
    # 2 is lost and 3 comes twice: the index goes 1 3 4 5 6 7 8 against 1 4 3 5 8 7 6
    found = figures([1, 4, 3, 5, 3, 8, 7, 6], 8, dt=4)
    assert found["FD"] == {"-2": 1, "-1": 1, "0": 3, "1": 1, "2": 1}
    assert found["RD_N"] == 7
    assert found["mean_displacement_late"] == 1.5
    # with DT = 1, 1 and then 3 (index 3: 2 is not among the next two) are in place; 2 is beyond, and in no count
    density = ReorderDensity(1)
    for seq in (1, 3, 4, 5, 2, 6):
        density.take(seq)
    density.finish()
    assert density.counts == {0: 5}


def test_buffer_density() -> None:
    """RFC 5236, 3.8 to 3.11: how many are held after each arrival."""
    buffer = BufferDensity(5)
    for seq in (1, 4, 2, 5, 3):
        buffer.push(seq)
    assert buffer.counts == {0: 2, 1: 2, 2: 1}  # 1: none; 4: 4; 2: 4; 5: 4 5; 3: none
    # 2 never comes: held are (after 4) 1, (3) 2, (5) 3, (8) 4, (7) 5 > 4: 2 is given up, 3 4 5 go, 2 are left; 6 frees all
    assert figures([1, 4, 3, 5, 3, 8, 7, 6], 8, bt=4)["FB"] == {"0": 2, "1": 1, "2": 2, "3": 1, "4": 1}
    # with room for five it is the 6 that overflows; then all can go
    assert figures([1, 4, 3, 5, 3, 8, 7, 6], 8, bt=5)["FB"] == {"0": 2, "1": 1, "2": 1, "3": 1, "4": 1, "5": 1}
    buffer = BufferDensity(1)  # the one that overflows is kept: 5 waits for 4, not for ever for itself
    for seq in (1, 3, 5):
        buffer.push(seq)
    assert buffer.counts == {0: 1, 1: 2}


@pytest.mark.parametrize(
    ("arrivals", "fraction", "rate"),
    [
        ([1, 2, 3, 4], 0.0, 0.0),
        ([1, 1, 2, 2, 3, 3, 4, 4], 1.0, 1.0),  # 8 copies of 4
        ([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4], 2.0, 1.0),  # 12 of 4: beyond 1
        ([1, 1, 1, 2, 3, 4], 0.5, 0.25),  # 6 of 4, one of them replicated
        ([1, 1, 1, 3], 1.0, 0.5),  # lost ones are not in the base: 4 copies of 2
        ([], None, None),
    ],
)
def test_duplication(arrivals: list[int], fraction: float | None, rate: float | None) -> None:
    """RFC 5560, 5.1 and 5.2."""
    found = figures(arrivals, 4)
    assert (found["duplication_fraction"], found["replicated_rate"]) == (fraction, rate)


def test_loss_singletons_and_the_waiting_time() -> None:
    """RFC 7680, 2.4 and 4.1: 1 if it did not come within the waiting time; the ratio is their mean."""
    # of ten, 2 never comes, and 1 (sent at 0, here at 207) comes 207 ms after it was sent
    found = figures([3, 4, 5, 6, 7, 8, 9, 1, 10], 10, wait_ms=206)
    assert (found["lost"], found["loss_ratio_e2e"], found["classes"]) == ([1, 2], 0.2, {"first_push": 8, "late": 1})
    assert figures([3, 4, 5, 6, 7, 8, 9, 1, 10], 10, wait_ms=207)["lost"] == [2]


def test_loss_distance_and_loss_periods() -> None:
    """RFC 3357, 5.4 and 6: of ten, those sent as 2, 5, 7, 9 and 10 are lost."""
    # distances: none before 2; 5-2, 7-5, 9-7, 10-9. Periods: 2 | 5 | 7 | 9 10, begun 3, 2 and 2 after the loss before
    found = figures([1, 3, 4, 6, 8], 10, delta=2)
    assert found["loss_distance"] == [0, 3, 2, 2, 1]
    assert found["loss_period_total"] == 4
    assert found["loss_period_lengths"] == [1, 1, 1, 2]
    assert found["inter_loss_period_lengths"] == [0, 3, 2, 2]
    assert found["noticeable_rate"] == 0.6  # 2, 2 and 1 are within 2; the first loss never is
    assert figures([1, 3, 4, 6, 8], 10, delta=1)["noticeable_rate"] == 0.2
    # a number that was never sent does not end a period, but is in the distance
    assert loss_pattern([(1, 2), (2, 9)], 7).lengths == [2]
    assert loss_pattern([(1, 2), (2, 9)], 7).distances == [0, 7]
