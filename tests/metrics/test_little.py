"""Little's law holds for books that are kept, and does not where a sample is lost, a clock is wrong or a guest is stuck."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import ops
from harness.metrics.health import merge_health
from harness.metrics.little import GUESTS, MESSAGES, REPLIES, Stock, balance, population
from harness.metrics.recorder import Recorder

S = 10**9
MS = 10**6
BEGIN, END = 100 * S, 160 * S


@given(
    st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), max_size=40),
    st.integers(0, 999),
    st.randoms(use_true_random=False),
)
def test_the_area_is_exact_whatever_the_order_of_the_rows(stays: list[tuple[int, int]], cut: int, rng: Random) -> None:
    stays = [(min(stay), max(stay)) for stay in stays]
    stock, whole = Stock(), 0.0
    for low, high in ((0, cut), (cut, 1000)):
        acts = [(begin, stock.enter) for begin, _ in stays if low <= begin < high or (begin == high == 1000)]
        acts += [(end, stock.leave) for _, end in stays if low <= end < high or (end == high == 1000)]
        rng.shuffle(acts)
        for at, act in acts:
            act(at)
        whole += stock.close(low, high, "x").get("little.x.area_ns", 0)
    assert whole == sum(end - begin for begin, end in stays)
    assert stock.present == 0


def run(
    *, guests: int = 40, think_ms: int = 4000, lose: float = 0.0, skew_ms: int = 0, stuck: int = 0, seed: int = 1
) -> dict[str, float]:
    """Health of a minute of the full load of guests who think, speak and wait; rows as sessions write them."""
    rng = Random(seed)
    rows: list[tuple[int, ops.Row]] = []
    for slot in range(1, guests + 1):
        label, at, seq = f"{slot}-1", 50 * S + round(rng.random() * think_ms * MS), 0
        rows.append((50 * S, ops.State(50 * S, label, "", "chatting")))
        while at < 200 * S:
            seq += 1
            sent, took = at, round(rng.expovariate(1 / 900) * MS)
            rows.append((sent, ops.Invoked(sent, label, seq, 1, sent, 60)))
            if slot <= stuck and sent > BEGIN:
                break
            done, answered = sent + 30 * MS, sent + 30 * MS + took
            rows.append((done, ops.Closed(done, label, seq, "ok", "", sent, sent + skew_ms * MS, 1, "echo")))
            if rng.random() >= lose:
                row = ops.Sample(answered, label, "reply", "ok", "", sent, sent + skew_ms * MS, answered, 0, str(seq), "")
                rows.append((answered, row))
            at = answered + round(rng.uniform(0.5, 1.5) * think_ms * MS)
    recorder = Recorder("ab12", "1", start_ns=50 * S)
    due, whole = 51 * S, {}
    for _, row in sorted(rows, key=lambda one: one[0]):
        while row.at_ns >= due:
            found = recorder.close_interval(due).health
            if BEGIN < due <= END:
                merge_health(whole, found)
            due += S
        recorder.record(row)
    assert recorder.fault == ""
    return whole


def off(health: dict[str, float], name: str, think_ms: int = 4000) -> float:
    if name == GUESTS:
        found = population(health, END - BEGIN, think_ns=think_ms * MS, stay_ns=0)
    else:
        found = balance(health, name, END - BEGIN)
    assert found is not None
    return found.off


@pytest.mark.parametrize("seed", range(5))
def test_it_holds_for_books_that_are_kept(seed: int) -> None:
    health = run(seed=seed)
    for name in (MESSAGES, REPLIES, GUESTS):
        assert off(health, name) <= 0.01, name


def test_lost_samples() -> None:
    health = run(lose=0.1)
    assert off(health, REPLIES) > 0.05
    found = balance(health, REPLIES, END - BEGIN)
    assert found is not None
    assert found.ratio < 0.95
    assert off(health, GUESTS) > 0.02


def test_a_wrong_clock() -> None:
    assert off(run(skew_ms=-20), MESSAGES) > 0.3
    assert off(run(skew_ms=-200), REPLIES) > 0.1
    assert off(run(skew_ms=20), MESSAGES) <= 0.01, "a message may be held back before it is sent"


def test_guests_who_are_stuck_unseen() -> None:
    health = run(stuck=10)
    assert off(health, MESSAGES) > 0.5
    assert off(health, REPLIES) > 0.3
    assert off(health, GUESTS) > 0.1


def test_too_little_happened_to_say() -> None:
    assert balance({}, MESSAGES, S) is None
    assert (
        balance({"little.messages.area_ns": 5.0, "little.messages.spent_ns": 5.0, "little.messages.done": 199.0}, MESSAGES, S)
        is None
    )
    assert (
        balance({"little.messages.area_ns": 5.0, "little.messages.spent_ns": 5.0, "little.messages.done": 200.0}, MESSAGES, 0)
        is None
    )


def test_a_message_that_was_sent_again_or_refused_takes_as_long_as_it_was_under_way() -> None:
    recorder = Recorder("ab12", "1", start_ns=S)
    for row in (
        ops.Invoked(S, "1-1", 1, 1, S, 60),
        ops.Invoked(3 * S, "1-1", 1, 2, S, 60),
        ops.Closed(4 * S, "1-1", 1, "ok", "", S, 3 * S, 2, "echo"),
        ops.Sample(5 * S, "1-1", "reply", "ok", "", S, 3 * S, 5 * S, 0, "1", ""),
        ops.Invoked(5 * S, "1-1", 2, 1, 5 * S, 60),
        ops.Closed(6 * S, "1-1", 2, "fail", "refused", 5 * S, 5 * S, 1, "refusal"),
    ):
        recorder.record(row)
    found = recorder.close_interval(7 * S).health
    for name, ns in ((MESSAGES, 4 * S), (REPLIES, 5 * S)):
        assert found[f"little.{name}.area_ns"] == found[f"little.{name}.spent_ns"] == ns
