"""Histograms of fixed layout: the counters of HdrHistogram for 1 µs … 1 h, so that other tools can open our files.

Recording one value at a time is for tests and rare events. The hot path appends to plain lists, and `record_many` turns
a list into counters with numpy. Everything that can be asked of a histogram is exact given the layout: merging is adding,
and a percentile is an integer rank. Values are counted, never silently dropped: above the range they go to the top
counter *and* to `overflow`; below zero only to `negative`, since they are faults of a clock.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Self

import numpy as np
import numpy.typing as npt

from harness.journal.records import SparseHistogram

LOWEST, HIGHEST = 1, 3_600_000_000
"""Microseconds."""
SUB_BUCKET_BITS = {3: 11, 2: 8}
SIZES = {3: 23_552, 2: 3_328}
_SMALL_BATCH = 512

Counts = npt.NDArray[np.int64]


def index_of(value: int, digits: int = 3) -> int:
    """The counter of a value within the range."""
    k = SUB_BUCKET_BITS[digits]
    b = max(value.bit_length() - k, 0)
    return (b << (k - 1)) + (value >> b)


def lowest_of(index: int, digits: int = 3) -> int:
    """The least value that counter stands for."""
    k = SUB_BUCKET_BITS[digits]
    b = max((index >> (k - 1)) - 1, 0)
    return (index - (b << (k - 1))) << b


def highest_of(index: int, digits: int = 3) -> int:
    """The greatest value that counter stands for."""
    k = SUB_BUCKET_BITS[digits]
    b = max((index >> (k - 1)) - 1, 0)
    return ((index - (b << (k - 1))) << b) + (1 << b) - 1


def indexes_of(values: Counts, digits: int = 3) -> Counts:
    """`index_of` for an array of values within the range."""
    k = SUB_BUCKET_BITS[digits]
    # frexp's exponent is the bit length: exact, since the range ends far below 2**53
    b = np.maximum(np.frexp(values.astype(np.float64))[1].astype(np.int64) - k, 0)
    indexes: Counts = (b << (k - 1)) + (values >> b)
    return indexes


class Histogram:
    """Counts of values by HdrHistogram's index, for three or two significant digits."""

    __slots__ = ("count", "counts", "digits", "high", "low", "negative", "overflow", "total")

    def __init__(self, digits: int = 3) -> None:
        self.digits = digits
        self.counts: Counts = np.zeros(SIZES[digits], dtype=np.int64)
        self.count = self.overflow = self.negative = self.total = 0
        self.low = self.high = -1

    @classmethod
    def of(cls, values: list[int], digits: int = 3) -> Self:
        """A histogram of these values."""
        histogram = cls(digits)
        histogram.record_many(values)
        return histogram

    def record(self, value: int, times: int = 1) -> None:
        """Count one value."""
        if value < 0:
            self.negative += times
            return
        if value > HIGHEST:
            self.overflow += times
        self.counts[index_of(min(value, HIGHEST), self.digits)] += times
        self.count += times
        self.total += value * times
        self.low = value if self.low < 0 else min(self.low, value)
        self.high = max(self.high, value)

    def record_many(self, values: list[int], divisor: int = 1) -> None:
        """Count every value of a list, each floor-divided first (1,000 turns nanoseconds into microseconds)."""
        self.add_sparse(sparse_of(values, divisor, self.digits))

    def merge(self, other: Histogram) -> None:
        """Add another histogram of the same layout."""
        if other.digits != self.digits:
            raise ValueError(f"cannot merge a histogram of {other.digits} digits into one of {self.digits}")
        self.counts += other.counts
        self._add(other.count, other.overflow, other.negative, other.total, other.low, other.high)

    def add_sparse(self, sparse: SparseHistogram) -> None:
        """Add a histogram in sparse form (of the same layout, which it does not name)."""
        if sparse.indexes:
            self.counts[sparse.indexes] += sparse.counts
        self._add(sparse.count, sparse.overflow, sparse.negative, sparse.total, sparse.low, sparse.high)

    def _add(self, count: int, overflow: int, negative: int, total: int, low: int, high: int) -> None:
        self.count += count
        self.overflow += overflow
        self.negative += negative
        self.total += total
        if count:
            self.low = low if self.low < 0 else min(self.low, low)
            self.high = max(self.high, high)

    def sparse(self) -> SparseHistogram:
        """The same in sparse form."""
        filled = np.flatnonzero(self.counts)
        return SparseHistogram(
            self.count,
            self.overflow,
            self.negative,
            self.total,
            self.low,
            self.high,
            filled.tolist(),
            self.counts[filled].tolist(),
        )

    def coarse(self) -> Histogram:
        """The same with two digits: exact, since the buckets of three nest in those of two."""
        result = Histogram(2)
        filled = np.flatnonzero(self.counts)
        lowest = np.array([lowest_of(int(i), self.digits) for i in filled], dtype=np.int64)
        np.add.at(result.counts, indexes_of(lowest, 2), self.counts[filled])
        result._add(self.count, self.overflow, self.negative, self.total, self.low, self.high)
        return result

    def percentile(self, share: Fraction | str) -> int | None:
        """The value at a share of the samples (`Fraction(99, 100)` or `"0.99"`): nearest rank, upper end of its bucket.

        No floats: 0.99 is not 99/100. 0 answers the lower end of the least sample's bucket. None without samples.
        """
        p = Fraction(share)
        if not 0 <= p <= 1:
            raise ValueError(f"{share} is not a share from 0 to 1")
        if not self.count:
            return None
        rank = max(1, -(-p.numerator * self.count // p.denominator))
        index = int(np.searchsorted(np.cumsum(self.counts), rank))
        return highest_of(index, self.digits) if p else lowest_of(index, self.digits)

    def least(self, share: Fraction) -> int | None:
        """As `percentile`, but the lower end of its bucket: what the sample of that rank cannot be below."""
        value = self.percentile(share)
        return None if value is None else lowest_of(index_of(value, self.digits), self.digits)

    def at_or_below(self, value: int) -> int:
        """How many samples lie in the buckets up to that of a value: none is missed, those of the same bucket are in."""
        return int(self.counts[: index_of(max(min(value, HIGHEST), 0), self.digits) + 1].sum())

    @property
    def top(self) -> int | None:
        """Upper end of the bucket of the greatest sample."""
        return self.percentile(Fraction(1))

    @property
    def mean(self) -> float | None:
        """Mean of the values as they were, not of their buckets."""
        return self.total / self.count if self.count else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.digits == other.digits and self.sparse() == other.sparse()

    __hash__ = None  # type: ignore[assignment]


def sparse_of(values: list[int] | Counts, divisor: int = 1, digits: int = 3) -> SparseHistogram:
    """The sparse histogram of a list of values, each floor-divided first."""
    array = np.array(values, dtype=np.int64)
    if divisor != 1:
        array //= divisor
    kept = array[array >= 0]
    if not kept.size:
        return SparseHistogram(0, 0, len(values), 0, -1, -1, [], [])
    indexes = indexes_of(np.minimum(kept, HIGHEST), digits)
    if kept.size < _SMALL_BATCH:
        filled, counts = np.unique(indexes, return_counts=True)
    else:
        dense = np.bincount(indexes)
        filled = np.flatnonzero(dense)
        counts = dense[filled]
    return SparseHistogram(
        int(kept.size),
        int((kept > HIGHEST).sum()),
        len(values) - int(kept.size),
        int(kept.sum()),
        int(kept.min()),
        int(kept.max()),
        filled.tolist(),
        counts.tolist(),
    )


def merge_sparse(one: SparseHistogram, other: SparseHistogram) -> SparseHistogram:
    """Both together."""
    merged = dict(zip(one.indexes, one.counts, strict=True))
    for index, count in zip(other.indexes, other.counts, strict=True):
        merged[index] = merged.get(index, 0) + count
    indexes = sorted(merged)
    lows = [h.low for h in (one, other) if h.count]
    return SparseHistogram(
        one.count + other.count,
        one.overflow + other.overflow,
        one.negative + other.negative,
        one.total + other.total,
        min(lows, default=-1),
        max(one.high, other.high),
        indexes,
        [merged[i] for i in indexes],
    )
