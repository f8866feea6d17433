"""The render buffer and the stamps."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from harness.core.sequence import Item, RenderBuffer
from harness.core.stamps import read_iso, show_iso

S = 10**9


def agent(seq: int, stamp: int = 0) -> Item:
    return Item(f"a{seq}", stamp or seq * 10, seq)


def seqs(items: list[Item]) -> list[int]:
    return [item.agent_seq for item in items]


def test_in_order_passes_through_and_copies_do_not() -> None:
    buffer = RenderBuffer(2 * S)
    assert [seqs(buffer.offer(1, agent(n))) for n in (1, 2, 2, 3, 1)] == [[1], [2], [], [3], []]
    assert (buffer.shown, buffer.duplicates, buffer.late, buffer.deadline) == (3, 2, 0, None)


def test_a_hole_holds_back_everything_in_both_directions() -> None:
    buffer = RenderBuffer(2 * S)
    buffer.offer(S, agent(1))
    assert buffer.offer(2 * S, agent(3)) == []
    assert buffer.offer(3 * S, Item("g1", 25, mine=True)) == []
    assert (buffer.hole, buffer.deadline) == (2, 4 * S)
    assert [item.key for item in buffer.offer(3 * S, agent(2))] == ["a2", "g1", "a3"]
    assert (buffer.hole, buffer.deadline) == (0, None)


def test_each_hole_is_given_up_by_itself() -> None:
    buffer = RenderBuffer(2 * S)
    for seq in (3, 6):
        buffer.offer(S, agent(seq))
    assert buffer.hole == 1
    assert buffer.give_up(3 * S) == []
    assert (buffer.hole, buffer.deadline, buffer.abandoned) == (4, 5 * S, 2)
    assert seqs(buffer.give_up(5 * S)) == [3, 6]
    assert buffer.abandoned == 4
    assert seqs(buffer.offer(6 * S, agent(2))) == [2], "late, but shown"
    assert buffer.late == 1


def test_a_frozen_buffer_merges_by_stamp() -> None:
    buffer = RenderBuffer(2 * S)
    buffer.freeze()
    for seq in (3, 1, 2):
        assert buffer.offer(S, agent(seq)) == []
    assert buffer.deadline is None
    assert seqs(buffer.thaw(2 * S)) == [1, 2, 3]


def test_without_key_and_stamp_arrival_counts() -> None:
    buffer = RenderBuffer(2 * S)
    assert len(buffer.offer(1, Item("", 100))) == 1
    assert len(buffer.offer(1, Item("", 0))) == 1
    assert buffer.late == 0


def test_what_was_seen_is_forgotten_at_the_limit() -> None:
    buffer = RenderBuffer(2 * S, seen_limit=3)
    for n in range(10):
        buffer.offer(1, Item(f"k{n}", n + 1))
    assert buffer.offer(1, Item("k0", 1)) != []
    assert buffer.offer(1, Item("k9", 1)) == []


@given(st.permutations(list(range(1, 12))), st.lists(st.integers(1, 11), max_size=5))
def test_any_permutation_is_shown_in_order(order: list[int], copies: list[int]) -> None:
    buffer = RenderBuffer(2 * S)
    shown = [seq for n in [*order, *copies] for seq in seqs(buffer.offer(1, agent(n)))]
    assert shown == sorted(order)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=80))
def test_nothing_is_lost_or_shown_twice(steps: list[tuple[int, int]]) -> None:
    buffer = RenderBuffer(5)
    offered: set[str] = set()
    shown: list[str] = []
    for now, (what, n) in enumerate(steps):
        if what < 2:
            item = agent(n) if what else Item(f"g{n}", n * 7, mine=True)
            offered.add(item.key)
            out = buffer.offer(now, item)
        elif what == 2:
            buffer.freeze()
            out = []
        else:
            out = buffer.thaw(now) + buffer.give_up(now)
        shown += [item.key for item in out]
    shown += [item.key for item in buffer.thaw(99)]
    while buffer.hole:
        shown += [item.key for item in buffer.give_up(100)]
    assert sorted(shown) == sorted(offered)


@given(st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)))
def test_stamps_go_both_ways(moment: datetime) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    text = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    assert show_iso(read_iso(text)) == text


@given(st.text(max_size=50))
def test_reading_a_stamp_is_total(text: str) -> None:
    assert read_iso(text) >= 0


def test_stamps_of_other_zones() -> None:
    assert read_iso("2024-05-12T16:30:00.5+02:00") == read_iso("2024-05-12T14:30:00.500Z")
    assert read_iso("2024-05-12T14:30:00") == read_iso("2024-05-12T14:30:00Z")
    assert read_iso("0001-01-01T00:00:00+23:00") == 0
    assert read_iso("yesterday") == 0
