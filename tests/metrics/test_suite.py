from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics.classify import Classifier
from harness.metrics.density import ReorderDensity
from harness.metrics.figures import rounded, stream_figures
from harness.metrics.loss import bootstrap, bounds, unstable
from harness.metrics.numbers import Numbers
from harness.metrics.ordering import Ordering, Params
from harness.metrics.overtaken import Overtaken
from harness.metrics.pooled import Pooled
from harness.metrics.suite import Suite
from tests.metrics.full_reference import Arrival, Sent, measure

VECTORS = [json.loads(line) for line in (Path(__file__).parent.parent / "data" / "a10_vectors.jsonl").read_text().splitlines()]
MS = 1_000_000
NULL = {"noticeable_rate", "mean_free_run", "run_variation", "mean_displacement_late"}
EMPTY = {
    "lost",
    "push_missed",
    "recovered_unknown_outcome",
    "aborted_delivery",
    "loss_distance",
    "loss_period_lengths",
    "inter_loss_period_lengths",
    "sequence_discontinuities",
    "reordered",
    "reordering_discontinuities",
    "gaps",
    "gap_times_ms",
    "free_runs",
}


def stream(sent: list[Sent], arrivals: list[Arrival], wait: int, dt: int, bt: int, n_max: int, delta: int) -> Suite:
    suite = Suite(Params(wait * MS, dt, bt, n_max, delta))
    for seq, t, size, outcome in sent:
        suite.send(seq, t * MS, outcome, size)
    for seq, t, channel, epoch, mid in arrivals:
        suite.arrive(seq, t * MS, channel == "push", epoch, hash(mid) or 1)
    suite.close()
    return suite


def run(*given: Any) -> dict[str, Any]:
    return stream_figures(stream(*given))


def judged(*given: Any) -> dict[str, Any]:
    return {name: rounded(value) for name, value in measure(*given).items()}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
@pytest.mark.parametrize("by", [run, judged])
def test_worked_vectors_in_every_key(vector: dict[str, Any], by: Any) -> None:
    p = vector["params"]
    sent = [tuple(row) for row in vector["sent"]]
    found = by(sent, [tuple(row) for row in vector["arrivals"]], p["dT_ms"], p["DT"], p["BT"], p["n_max"], p["delta"])
    assert set(vector["expected"]) <= set(found)
    for name, value in found.items():
        default: Any = None if name in NULL else [] if name in EMPTY else 0
        if name == "n_reordering_degree":
            default = {"1": 0, "2": 0, "3": 0}
        assert value == vector["expected"].get(name, default), name


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Sent], list[Arrival], int, int, int, int, int]:
    count = draw(st.integers(0, 25))
    numbers = sorted(draw(st.sets(st.integers(1, 30), min_size=count, max_size=count)))
    sent: list[Sent] = [
        (seq, 10 * seq, draw(st.integers(0, 300)), draw(st.sampled_from(["ok", "ok", "ok", "info", "fail"]))) for seq in numbers
    ]
    shape = draw(st.sampled_from(["near", "far"]))
    arrivals: list[Arrival] = []
    for seq, t, _, _ in sent:
        for _ in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 3]))):
            at = t + draw(st.integers(0, 45 if shape == "near" else 400))
            channel = draw(st.sampled_from(["push", "push", "push", "resync"]))
            mid = f"m{seq}" + draw(st.sampled_from(["", "", "", "b"]))
            arrivals.append((seq, at, channel, draw(st.integers(1, 3)), mid))
    if draw(st.booleans()):
        arrivals.append((99, draw(st.integers(0, 200)), "push", 1, "x"))
    arrivals.sort(key=lambda row: row[1])
    wait = draw(st.sampled_from([30, 100, 1000]))
    return sent, arrivals, wait, draw(st.integers(1, 9)), draw(st.integers(1, 9)), 3, draw(st.integers(1, 6))


@settings(max_examples=1500, deadline=None)
@given(streams())
def test_random_streams_equal_the_reference(given_: Any) -> None:
    assert run(*given_) == judged(*given_)


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(1, 61)), st.integers(1, 70), st.integers(1, 70), st.sets(st.integers(1, 60), max_size=20))
def test_any_permutation_with_holes_equals_the_reference(order: list[int], dt: int, bt: int, holes: set[int]) -> None:
    sent: list[Sent] = [(seq, 0, seq, "ok") for seq in range(1, 61)]
    arrivals: list[Arrival] = [(seq, at, "push", 1, "m") for at, seq in enumerate(order) if seq not in holes]
    assert run(sent, arrivals, 1000, dt, bt, 4, 5) == judged(sent, arrivals, 1000, dt, bt, 4, 5)


@given(st.permutations(range(1, 40)))
def test_wide_displacement_has_a_closed_form(order: list[int]) -> None:
    density = ReorderDensity(40)
    for seq in order:
        density.take(seq)
    density.finish()
    assert density.counts == Counter(due - seq for due, seq in zip(sorted(order), order, strict=True))


@given(streams(), st.integers(-1000, 10**9))
def test_a_shift_of_time_changes_nothing(given_: Any, shift: int) -> None:
    sent, arrivals, *rest = given_
    moved = [(s, t + shift, *more) for s, t, *more in sent], [(s, t + shift, *more) for s, t, *more in arrivals]
    assert run(*moved, *rest) == run(*given_)


@given(streams(), st.data())
def test_one_more_copy_changes_only_the_duplicates(given_: Any, data: st.DataObject) -> None:
    sent, arrivals, *rest = given_
    if not arrivals:
        return
    n = data.draw(st.integers(0, len(arrivals) - 1))
    once, more = run(*given_), run(sent, [*arrivals[: n + 1], arrivals[n], *arrivals[n + 1 :]], *rest)
    for found in (once, more):
        for name in ("classes", "duplication_fraction", "replicated_rate"):
            del found[name]
    assert more == once


@given(st.sets(st.integers(1, 200)), st.integers(1, 8), st.integers(1, 8))
def test_sorted_input_has_no_reordering(numbers: set[int], dt: int, bt: int) -> None:
    sent: list[Sent] = [(seq, seq, 1, "ok") for seq in sorted(numbers)]
    found = run(sent, [(seq, t + 1, "push", 1, "m") for seq, t, _, _ in sent], 1000, dt, bt, 3, 5)
    assert found["reordered"] == []
    assert found["FD"] == ({"0": len(numbers)} if numbers else {})
    assert found["free_run_open"] == len(numbers)


@settings(max_examples=60, deadline=None)
@given(st.lists(streams(), max_size=6), st.integers(0, 6))
def test_merging_equals_the_whole(several: list[Any], cut: int) -> None:
    def pool(part: list[Any], first: int) -> Pooled:
        pooled = Pooled()
        for n, one in enumerate(part, first):
            suite = stream(*one)
            pooled.take(f"s{n}", suite)
            pooled.order.take_rows(suite.ordering.rows)
        return pooled

    whole, merged = pool(several, 0), pool(several[:cut], 0)
    merged.merge(pool(several[cut:], cut))
    for name in Pooled.__slots__:
        if name != "order":
            assert getattr(merged, name) == getattr(whole, name), name
    assert merged.order.places == whole.order.places
    assert merged.order.worst == whole.order.worst
    assert merged.order.spreads() == whole.order.spreads()
    assert merged.order.with_reordered == sum(bool(run(*one)["x"]) for one in several)


@settings(max_examples=100, deadline=None)
@given(streams())
def test_a_known_last_copy_changes_nothing(given_: Any) -> None:
    sent, arrivals, wait, dt, bt, n_max, delta = given_
    suite = Suite(Params(wait * MS, dt, bt, n_max, delta))
    last = {row[0]: n for n, row in enumerate(arrivals)}
    for place, (seq, t, size, outcome) in enumerate(sent):
        if seq not in last:
            suite.send(seq, t * MS, outcome, size, place)
    by_seq = {row[0]: (place, row) for place, row in enumerate(sent)}
    for n, (seq, t, channel, epoch, mid) in enumerate(arrivals):
        if seq in by_seq:
            place, (_, at, size, outcome) = by_seq[seq]
            suite.send(seq, at * MS, outcome, size, place)
        suite.arrive(seq, t * MS, channel == "push", epoch, hash(mid) or 1, last[seq] == n)
    suite.close()
    assert stream_figures(suite) == run(*given_)


def test_overtaken_bytes_by_hand() -> None:
    books = Overtaken()
    books.opened(1, 4)
    books.came(10)  # 5
    assert books.fill(3, 7) == 10
    assert books.fill(1, 5) == 17
    assert books.fill(4, 1) == 10
    assert books.fill(2, 1) == 18
    books.came(3)
    assert books._above == []


@given(st.lists(st.integers(0, 40)))
def test_numbers_are_a_set(values: list[int]) -> None:
    numbers = Numbers()
    for value in values:
        numbers.add(value)
    assert [n for n in range(-1, 42) if n in numbers] == sorted(set(values))
    assert numbers.ranges == sum(n - 1 not in values for n in set(values))


def test_a_stream_joined_midway_has_no_reordering_before_its_first() -> None:
    ordering = Ordering(Params(joined=True))
    for at, seq in enumerate([50, 51, 53, 52, 49]):
        ordering.pushed(seq, at, 1)
    ordering.close()
    assert ordering.places.reordered == 2
    assert [(one.seq, one.extent, one.discontinuity) for one in ordering.rows.reordered] == [(52, 1, 53), (49, 4, 50)]
    assert ordering.rows.jumps == [(53, 1)]


def test_forgotten_messages_are_late_and_not_unexpected() -> None:
    copies = Classifier(10, forget=True)
    for seq in range(1, 5000):
        copies.send(seq, seq)
        assert copies.arrive(seq, seq) == "first_push"
    assert copies.kept < 1100
    assert copies.arrive(1, 5000) == "late"
    assert copies.arrive(9999, 5000) == "unexpected"
    copies.close()
    assert (copies.fates.sent, copies.fates.ok, copies.fates.lost) == (4999, 4999, 0)


def test_copies_under_another_name_are_all_resent() -> None:
    copies = Classifier(10)
    copies.send(1, 0)
    kinds = [copies.arrive(1, 1, True, epoch, name) for epoch, name in ((1, 7), (1, 8), (1, 8), (2, 7), (2, 7), (3, 0))]
    assert kinds == [
        "first_push",
        "dup_resend",
        "dup_resend",
        "dup_cross_connection",
        "dup_same_connection",
        "dup_cross_connection",
    ]


def test_loss_threshold() -> None:
    assert not unstable(0, 0, 0)
    assert unstable(0, 1, 0)
    assert unstable(5, 6, 5)
    assert not unstable(20, 21, 20)
    assert unstable(100, 102, 100)
    assert bounds(1, 9, 1) == (1 / 9, 2 / 10)
    assert bounds(0, 0, 0) == (None, None)


def test_bootstrap_widens_with_bursts_and_is_repeatable() -> None:
    even = bootstrap({(1, 100): 100})
    burst = bootstrap({(10, 100): 10, (0, 100): 90})
    assert even == (0.01, 0.01)
    assert burst is not None
    assert burst == bootstrap({(0, 100): 90, (10, 100): 10})
    assert burst[0] < 0.008 < 0.012 < burst[1]
    assert bootstrap({(1, 100): 1}) is None
    assert bootstrap({}) is None
