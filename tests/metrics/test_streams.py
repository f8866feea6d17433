from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics.duplicates import CLASSES, duplication_fraction, replicated_rate
from harness.metrics.loss import Losses, ratio, upper_bound_of_none
from harness.metrics.reorder import Jump, Order, Reordered
from harness.metrics.streams import MAX_JUMP, StreamStats
from tests.metrics.reference import Arrival, Sent, judge

VECTORS = [json.loads(line) for line in (Path(__file__).parent.parent / "data" / "a10_vectors.jsonl").read_text().splitlines()]


def run(sent: list[Sent] | None, arrivals: list[Arrival], cut: int | None = None) -> dict[str, Any]:
    """The streaming implementation asked for what the reference tells."""
    stream = StreamStats(own=sent is not None, cut_ns=cut)
    for seq, t, _ in sent or ():
        stream.invoke(seq, t)
    late_outcomes = [(seq, outcome) for seq, _, outcome in sent or ()]
    classes, reordered, jumps, odd = [], [], [], []
    push = Counter[int]()
    for n, (seq, t, channel, epoch, mid) in enumerate(arrivals):
        if n == len(arrivals) // 2:  # outcomes become known somewhere on the way
            for done, outcome in late_outcomes:
                stream.close(done, outcome)
                odd += [(done, stream.oddity)] if stream.oddity else []
            late_outcomes = []
        classes.append(stream.arrive(seq, t, channel, epoch, mid))
        odd += [(seq, stream.oddity)] if stream.oddity else []
        if stream.pushes:
            push[seq] += 1
            assert push[seq] == stream.pushes
        if isinstance(stream.event, Jump):
            jumps.append(list(stream.event))
        elif stream.event:
            reordered.append(list(msgspec.structs.astuple(stream.event))[:6])
    for done, outcome in late_outcomes:
        stream.close(done, outcome)
        odd += [(done, stream.oddity)] if stream.oddity else []
    acknowledged = sum(outcome == "ok" for _, _, outcome in sent or ())
    length = stream.order.length
    assert sorted(seq for seq, what in odd if what == "recovered") == stream.recovered()
    assert sorted(seq for seq, what in odd if what == "aborted") == stream.aborted()
    return {
        "classes": dict(Counter(classes)),
        "class_of_each": classes,
        "L": length,
        "lost": stream.lost(),
        "push_missed": stream.push_missed(),
        "loss_ratio_e2e": ratio(len(stream.lost()), acknowledged),
        "loss_ratio_push": ratio(len(stream.push_missed()), acknowledged),
        "recovered_unknown_outcome": stream.recovered(),
        "aborted_delivery": stream.aborted(),
        "reordered": reordered,
        "reordered_ratio": len(reordered) / length if length else None,
        "sequence_discontinuities": jumps,
        "duplication_fraction": duplication_fraction(sum(push.values()), len(push)),
        "replicated_rate": replicated_rate(sum(n > 1 for n in push.values()), len(push)),
        "unseen": stream.order.unseen_numbers(1000, stream),
    }


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
@pytest.mark.parametrize("judged_by", [run, judge])
def test_worked_vectors(vector: dict[str, Any], judged_by: Any) -> None:
    expected = vector["expected"]
    measured = judged_by(
        [(seq, t, outcome) for seq, t, _, outcome in vector["sent"]],
        [tuple(row) for row in vector["arrivals"]],
        vector["params"]["dT_ms"],
    )
    for name in ("lost", "push_missed", "recovered_unknown_outcome", "aborted_delivery", "sequence_discontinuities"):
        assert measured[name] == expected.get(name, []), name
    for name in ("loss_ratio_e2e", "loss_ratio_push", "reordered_ratio", "duplication_fraction", "replicated_rate"):
        value = measured[name]
        assert (None if value is None else round(value, 6)) == expected.get(name, 0), name
    assert measured["classes"] == expected["classes"]
    assert measured["L"] == expected["L"]
    # byte_offset (column 4) is not measured: rows of arrivals carry no size
    wanted = [[*row[:4], *row[5:]] for row in expected.get("reordered", [])]
    assert measured["reordered"] == wanted
    for n in (1, 2, 3):
        degree = expected.get("n_reordering_degree", {}).get(str(n), 0)
        if degree is not None:
            assert round(sum(row[4] >= n for row in measured["reordered"]) / measured["L"], 6) == degree


@st.composite
def streams(draw: st.DrawFn, own: bool = True) -> tuple[list[Sent] | None, list[Arrival]]:
    """A stream with losses, copies, resends, resyncs and shuffles, near to order but not in it."""
    count = draw(st.integers(0, 14))
    sent = [(seq, seq * 10, draw(st.sampled_from(["ok", "ok", "ok", "info", "fail"]))) for seq in range(1, count + 1)]
    rows: list[tuple[float, Arrival]] = []
    for seq in range(1, count + 1):
        for copy in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 3, 5]))):
            at = seq + draw(st.sampled_from([0, 0, 0, 0.5, 1.5, 3.5, 8, 20])) + copy / 100
            channel = draw(st.sampled_from(["push", "push", "push", "resync"]))
            rows.append((at, (seq, 0, channel, draw(st.integers(1, 3)), f"m{seq}{draw(st.sampled_from(['', '', '', 'b']))}")))
    if own and draw(st.booleans()):
        rows.append((draw(st.integers(0, 10)), (count + 5, 0, "push", 1, "x")))
    rows.sort(key=lambda row: row[0])
    arrivals = [(seq, int(at * 10) + 3, channel, epoch, mid) for at, (seq, _, channel, epoch, mid) in rows]
    return (sent if own else None), arrivals


@settings(max_examples=600)
@given(streams(), st.sampled_from([None, 0, 20, 60]))
def test_own_stream_equals_the_reference(stream: tuple[list[Sent], list[Arrival]], cut: int | None) -> None:
    assert run(*stream, cut) == judge(*stream, cut) | {"unseen": run(*stream, cut)["unseen"]}


@settings(max_examples=600)
@given(streams(own=False))
def test_agents_stream_equals_the_reference(stream: tuple[None, list[Arrival]]) -> None:
    measured = run(*stream)
    assert measured == judge(*stream)


@given(streams(), st.integers(-1000, 10**15), st.sampled_from([None, 0, 20, 60]))
def test_a_shift_of_time_changes_nothing(stream: tuple[list[Sent], list[Arrival]], shift: int, cut: int | None) -> None:
    sent, arrivals = stream
    later = [(s, t + shift, *rest) for s, t, *rest in arrivals]
    moved = run([(seq, t + shift, what) for seq, t, what in sent], later, cut)  # type: ignore[arg-type]
    assert moved == run(sent, arrivals, cut)


@given(streams(), st.data())
def test_one_more_copy_changes_only_the_duplicates(stream: tuple[list[Sent], list[Arrival]], data: st.DataObject) -> None:
    sent, arrivals = stream
    pushes = [n for n, row in enumerate(arrivals) if row[2] == "push"]
    if not pushes:
        return
    n = data.draw(st.sampled_from(pushes))
    more = run(sent, [*arrivals[: n + 1], arrivals[n], *arrivals[n + 1 :]])
    once = run(sent, arrivals)
    if arrivals[n][0] > len(sent):
        assert more["classes"]["unexpected"] == once["classes"]["unexpected"] + 1
        return
    same = {"classes": 0, "class_of_each": 0, "duplication_fraction": 0, "replicated_rate": 0}
    assert more | same == once | same
    added = Counter(more["classes"])
    added.subtract(once["classes"])
    assert sum(added.values()) == 1
    assert more["class_of_each"][n + 1] == "dup_same_connection"
    assert (more["duplication_fraction"] or 0) >= (once["duplication_fraction"] or 0)


@given(streams(own=False))
def test_in_order_nothing_is_reordered_whatever_is_lost(stream: tuple[None, list[Arrival]]) -> None:
    _, arrivals = stream
    seen = sorted({row[0] for row in arrivals})
    measured = run(None, [(seq, seq, "push", 1, f"m{seq}") for seq in seen])
    assert measured["reordered"] == []
    assert measured["duplication_fraction"] in (0, None)


@settings(max_examples=50)
@given(st.permutations(range(1, 80)))
def test_reordering_of_any_permutation_equals_the_reference(numbers: list[int]) -> None:
    arrivals: list[Arrival] = [(seq, at, "push", 1, f"m{seq}") for at, seq in enumerate(numbers)]
    assert run(None, arrivals) == judge(None, arrivals)


@pytest.mark.parametrize("seed", range(12))
def test_long_streams_have_the_same_n_although_most_is_forgotten(seed: int) -> None:
    draw = Random(seed).random
    far = draw() * 60
    sent = [seq for seq in range(1, 900) if draw() > 0.1]
    arrivals = sorted(sent, key=lambda seq: seq + (draw() * far if draw() < 0.4 else 0))
    order, found, wanted = Order(), [], []
    for at, seq in enumerate(arrivals):
        event = order.pushed(seq, at)
        if isinstance(event, Reordered):
            found.append((seq, event.n))
            n = 0
            while n < at and arrivals[at - n - 1] > seq:
                n += 1
            wanted.append((seq, n))
    assert found == wanted
    assert len(order._stack) <= 2 * len(order._gaps) + 20


@given(streams(), st.sampled_from([None, 0, 20, 60]), st.booleans())
def test_the_short_way_is_the_long_way(stream: tuple[list[Sent], list[Arrival]], cut: int | None, own: bool) -> None:
    sent, arrivals = stream
    short, long = StreamStats(own=own, cut_ns=cut), StreamStats(own=own, cut_ns=cut)
    for seq, t, outcome in sent if own else ():
        for one in (short, long):
            one.invoke(seq, t)
            one.close(seq, outcome)
    for row in arrivals:
        if short.straight(*row):
            assert long.arrive(*row) == "first_push"
            assert (long.event, long.pushes, long.oddity, long.waited_ns) == (None, 1, "", short.waited_ns)
        else:
            assert short.arrive(*row) == long.arrive(*row)
            assert (short.event, short.pushes, short.oddity) == (long.event, long.pushes, long.oddity)
        assert (short.order.length, short.order.missing, short.received) == (long.order.length, long.order.missing, long.received)
    assert short.losses(complete=True) == long.losses(complete=True)


@given(st.permutations(range(1, 40)))
def test_memory_of_the_order_follows_the_gaps(numbers: list[int]) -> None:
    order = Order()
    for at, seq in enumerate(numbers):
        order.pushed(seq, at)
        assert sum(gap.missing for gap in order._gaps) == order.missing == order.expected - 1 - (at + 1)
    assert order._gaps == []
    order.pushed(40, 99)
    assert len(order._stack) == 1


def test_a_long_stream_with_one_loss_stays_small() -> None:
    order = Order()
    for at in range(20_000):
        if at != 6:
            order.pushed((at ^ 1) + 1 if at > 9 else at + 1, at)  # each two swapped
        assert order.missing <= 3
        assert len(order._gaps) <= 2
        assert len(order._stack) <= 13


def test_a_spoilt_number_of_an_agent_is_unexpected_and_costs_nothing() -> None:
    stream = StreamStats(own=False)
    assert stream.arrive(1, 1, "push", 1, "m") == "first_push"
    assert stream.arrive(999_999_999, 2, "push", 1, "m") == "unexpected"
    assert stream.arrive(MAX_JUMP, 2, "push", 1, "m") == "first_push"
    assert stream.order.unseen == MAX_JUMP - 2
    assert stream.losses(complete=True, limit=3).definite == [2, 3, 4]


def test_a_copy_without_a_name_is_no_resend() -> None:
    stream = StreamStats(own=False)
    kinds = [
        stream.arrive(1, n, "push", epoch, mid) for n, (epoch, mid) in enumerate([(1, ""), (1, "a"), (2, ""), (2, "b"), (2, "b")])
    ]
    assert kinds == ["first_push", "dup_same_connection", "dup_cross_connection", "dup_resend", "dup_same_connection"]
    assert stream.pushes == 0  # copies under the second name are not the first one's copies
    assert stream.received == 1


def test_losses_of_our_own_stream() -> None:
    stream = StreamStats(own=True)
    outcomes = ["ok", "ok", "ok", "ok", "info", "info", "fail"]
    for seq, outcome in enumerate(outcomes, 1):
        stream.invoke(seq, seq)
        stream.close(seq, outcome)
    stream.invoke(8, 8)
    stream.arrive(1, 20, "push", 1, "m1")
    stream.arrive(2, 20, "resync", 1, "m2")
    stream.proven(3)
    stream.proven(99)
    stream.close(99, "ok")
    assert stream.losses(complete=True) == Losses(definite=[4], undetermined=[5, 6, 8], unlisted=[1])
    assert stream.losses(complete=False) == Losses(unread=[4], undetermined=[5, 6, 8], unproven=[1])
    assert stream.lost() == [3, 4]


def test_classes_are_closed() -> None:
    assert len(set(CLASSES)) == 8


def test_how_sure_none_lost_is() -> None:
    assert [round(upper_bound_of_none(n) or 0, 6) for n in (100, 1000, 10_000)] == [0.029513, 0.002991, 0.0003]
    assert upper_bound_of_none(0) is None
    assert ratio(0, 0) is None


def test_a_number_told_twice_is_a_mistake_of_ours() -> None:
    order = Order()
    order.pushed(1, 1)
    with pytest.raises(Exception, match="twice"):
        order.pushed(1, 2)
