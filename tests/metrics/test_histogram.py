from __future__ import annotations

from fractions import Fraction
from random import Random

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.metrics.histogram import (
    HIGHEST,
    SIZES,
    Histogram,
    highest_of,
    index_of,
    indexes_of,
    lowest_of,
    merge_sparse,
    sparse_of,
)

values = st.one_of(st.integers(0, 5000), st.integers(0, HIGHEST))


@pytest.mark.parametrize(
    ("digits", "value", "index", "lowest", "highest"),
    [
        (3, 0, 0, 0, 0),
        (3, 1, 1, 1, 1),
        (3, 2047, 2047, 2047, 2047),
        (3, 2048, 2048, 2048, 2049),
        (3, 4095, 3071, 4094, 4095),
        (3, 4096, 3072, 4096, 4099),
        (3, 80_000, 7394, 80_000, 80_063),
        (3, 3_600_000_000, 23_220, 3_598_712_832, 3_600_809_983),
        (2, 255, 255, 255, 255),
        (2, 256, 256, 256, 257),
        (2, 80_000, 1308, 79_872, 80_383),
    ],
)
def test_layout(digits: int, value: int, index: int, lowest: int, highest: int) -> None:
    assert index_of(value, digits) == index
    assert (lowest_of(index, digits), highest_of(index, digits)) == (lowest, highest)


def test_size_is_that_of_the_other_tool() -> None:
    for digits, size in SIZES.items():
        assert HdrHistogram(1, HIGHEST, digits).counts_len == size
        assert index_of(HIGHEST, digits) < size


@given(values, st.sampled_from([2, 3]))
def test_a_value_lies_in_its_bucket_and_the_bucket_is_narrow(value: int, digits: int) -> None:
    index = index_of(value, digits)
    assert lowest_of(index, digits) <= value <= highest_of(index, digits)
    width = highest_of(index, digits) - lowest_of(index, digits) + 1
    assert width == 1 or width * {3: 1024, 2: 128}[digits] <= value
    assert HdrHistogram(1, HIGHEST, digits)._counts_index_for(value) == index


@given(st.lists(values, min_size=1), st.sampled_from([2, 3]))
def test_vectorised_index(many: list[int], digits: int) -> None:
    import numpy as np

    assert indexes_of(np.array(many), digits).tolist() == [index_of(value, digits) for value in many]


@given(st.lists(values, min_size=1, max_size=80), st.fractions(0, 1), st.sampled_from([2, 3]))
def test_percentile_is_the_nearest_rank_of_the_sorted_list(many: list[int], share: Fraction, digits: int) -> None:
    histogram = Histogram.of(many, digits)
    ordered = sorted(many)
    rank = max(1, -((-share * len(many)) // 1))
    expected = ordered[int(rank) - 1]
    index = index_of(expected, digits)
    assert histogram.percentile(share) == (highest_of(index, digits) if share else lowest_of(index, digits))
    assert histogram.mean == pytest.approx(sum(many) / len(many))
    assert (histogram.low, histogram.high) == (ordered[0], ordered[-1])


def test_percentile_takes_no_float_product() -> None:
    histogram = Histogram.of([100 * n for n in range(1, 11)])
    assert histogram.percentile("0.91") == 1000
    assert histogram.percentile("0.9") == 900
    assert histogram.percentile(Fraction(1)) == histogram.top == 1000
    assert histogram.percentile("0") == 100
    assert Histogram().percentile("0.5") is None
    assert Histogram().top is None
    assert Histogram().mean is None
    with pytest.raises(ValueError, match="share"):
        histogram.percentile("1.01")


@given(st.lists(values), st.lists(values))
def test_merge_is_the_whole(one: list[int], other: list[int]) -> None:
    whole = Histogram.of(one + other)
    merged = Histogram.of(one)
    merged.merge(Histogram.of(other))
    assert merged == whole
    assert merge_sparse(sparse_of(one), sparse_of(other)) == sparse_of(one + other) == whole.sparse()
    back = Histogram()
    back.add_sparse(whole.sparse())
    assert back == whole


@given(st.lists(st.integers(-5, 2 * HIGHEST)))
def test_out_of_range_is_counted(many: list[int]) -> None:
    histogram, one_by_one = Histogram.of(many), Histogram()
    for value in many:
        one_by_one.record(value)
    assert histogram == one_by_one
    assert histogram.overflow == sum(value > HIGHEST for value in many)
    assert histogram.negative == sum(value < 0 for value in many)
    assert histogram.count == sum(value >= 0 for value in many) == int(histogram.counts.sum())


def test_large_batches_count_like_small_ones() -> None:
    many = [n * n % 1_000_003 for n in range(3000)]
    merged = sparse_of(many[:100])
    for at in range(100, 3000, 100):
        merged = merge_sparse(merged, sparse_of(many[at : at + 100]))
    assert sparse_of(many) == merged


@given(st.lists(values))
def test_two_digits_from_three_is_exact(many: list[int]) -> None:
    assert Histogram.of(many).coarse() == Histogram.of(many, 2)


def test_unlike_layouts_do_not_merge() -> None:
    with pytest.raises(ValueError, match="digits"):
        Histogram(3).merge(Histogram(2))


@given(st.lists(values, min_size=1), values)
def test_at_or_below(many: list[int], limit: int) -> None:
    assert Histogram.of(many).at_or_below(limit) == sum(index_of(value) <= index_of(limit) for value in many)


def test_divisor_floors() -> None:
    assert sparse_of([999, 1000, 1999, -1], 1000) == sparse_of([0, 1, 1, -1])


@settings(deadline=None)
@given(st.lists(values, min_size=1, max_size=60), st.lists(values, max_size=60), st.sampled_from([2, 3]))
def test_counts_totals_and_merging_are_those_of_the_other_tool(one: list[int], other: list[int], digits: int) -> None:
    theirs, more = HdrHistogram(1, HIGHEST, digits), HdrHistogram(1, HIGHEST, digits)
    for histogram, many in ((theirs, one), (more, other)):
        for value in many:
            assert histogram.record_value(value)
    theirs.add(more)
    ours = Histogram.of(one, digits)
    ours.merge(Histogram.of(other, digits))
    assert [theirs.get_count_at_index(index) for index in range(theirs.counts_len)] == ours.counts.tolist()
    assert theirs.total_count == ours.count
    assert theirs.get_value_at_percentile(100) == ours.top
    for share in range(1, 100):  # its rank is rounded, ours is rounded up: ask it for the middle of our rank
        rank = -(-share * ours.count // 100)
        assert theirs.get_value_at_percentile(100 * rank / ours.count) == ours.percentile(Fraction(share, 100))


@given(st.lists(st.lists(st.integers(-3, 2 * HIGHEST), max_size=20), max_size=8), st.randoms(use_true_random=False))
def test_merging_in_any_order_loses_nothing(parts: list[list[int]], rng: Random) -> None:
    whole = Histogram.of([value for part in parts for value in part])
    rng.shuffle(parts)
    merged = Histogram()
    for part in parts:
        merged.add_sparse(sparse_of(part))
    assert merged == whole
    assert whole.overflow == sum(value > HIGHEST for part in parts for value in part)
