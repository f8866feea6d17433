"""A whole delivery log measured: rows are brought into order (on disk if need be), streams come one after another, each is
judged as it would be live, and only sums are kept. So memory depends neither on the log's length nor on its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from harness.analysis.columns import (
    EPOCH,
    LAST,
    NAME,
    NONE,
    OK,
    ONLY,
    OUTCOME,
    PLACE,
    PUSH,
    RANK,
    RECEIVED,
    SENT,
    SEQ,
    SIZE,
    STATE,
    STREAM,
)
from harness.analysis.messages import BY_MESSAGE, BY_RANK, BY_RECEIPT, Messages, Timeline, ranked
from harness.analysis.spool import RUN_ROWS, Block, in_order
from harness.metrics.classify import OUTCOMES
from harness.metrics.duplicates import FIRST_PUSH, FIRST_RESYNC
from harness.metrics.histogram import Histogram
from harness.metrics.ordering import Ordering, Params
from harness.metrics.pooled import Pooled, PooledOrder
from harness.metrics.suite import Suite

_BATCH = 50_000


class Survey:
    """Everything that one log says. Read it after `run`."""

    def __init__(
        self,
        params: Params,
        columns: Callable[[], frozenset[str]],
        name_of: Callable[[int], str],
        until_ns: int | None = None,
        each: Callable[[str, Suite], None] | None = None,
    ) -> None:
        """`columns`: those that the log has, known once it is read; `name_of` tells a stream's name by its number.

        `until_ns`: when the receiver stopped listening. `each` gets every closed stream with all of its rows.
        """
        self.params = params
        self._columns, self._name_of, self._until, self._each = columns, name_of, until_ns, each
        self.pooled = Pooled()
        self.ingest: PooledOrder | None = None
        self.delivery: PooledOrder | None = None
        self.delays = Histogram()
        """Of first copies that came by push, in microseconds."""
        self.listed_delays = Histogram()
        self.timeline = Timeline(0, 0)
        self.messages: Messages | None = None
        self.unranked = 0
        """Messages by push whose place in the listing is not known."""
        self._pushed_ns: list[int] = []
        self._listed_ns: list[int] = []
        self._suite: Suite | None = None
        self._ordering: Ordering | None = None
        """Of the delivery, where ranks are known."""
        self._sized = self._ranked = False
        self._stream = -1

    def run(self, blocks: Iterable[Block], run_rows: int = RUN_ROWS, folder: str | None = None) -> None:
        """Take all rows. `folder`: where temporary files go."""
        span = _Span()
        by_message = in_order(span.seen(blocks), BY_MESSAGE, run_rows, folder)
        first = next(by_message, None)  # so everything has been read
        self._sized = "bytes" in self._columns()
        self._ranked = "rank" in self._columns()
        self.timeline = Timeline(span.first_sent, span.last_sent)
        self.messages = Messages(self.params.wait_ns, self.timeline, self._until, span.last)
        if first is None:
            return
        joined = self.messages.joined(_after(first, by_message))
        if self._ranked:
            self.ingest, self.delivery = PooledOrder(), PooledOrder()
            joined = self._stored(in_order(joined, BY_RANK, run_rows, folder))
        for block in in_order(joined, BY_RECEIPT, run_rows, folder):
            self._take(block)
        self._close()
        self._count_delays()

    # ---------------------------------------------------------------- server order
    def _stored(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """Measure the order in which the server stored the messages, on the way."""
        pooled = self.ingest
        assert pooled is not None
        ordering: Ordering | None = None
        current = -1
        for rows, listed in ranked(blocks):
            for stream, seq in listed.tolist():
                if stream != current or ordering is None:
                    if ordering is not None:
                        ordering.close()
                        pooled.take(self._name_of(current), ordering)
                    ordering, current = Ordering(self.params, pooled.take_rows, sized=False), stream
                ordering.pushed(seq, 0)
            yield rows
        if ordering is not None:
            ordering.close()
            pooled.take(self._name_of(current), ordering)

    # ---------------------------------------------------------------- streams, one after another
    def _open(self, stream: int) -> Suite:
        self._close()
        self._stream = stream
        keep = self._each is not None
        self._suite = Suite(
            self.params,
            sized=self._sized,
            sink=None if keep else self.pooled.order.take_rows,
            delays=self._pushed_ns,
            listed_delays=self._listed_ns,
        )
        if self.delivery is not None:
            self._ordering = Ordering(self.params, self.delivery.take_rows, sized=self._sized)
        return self._suite

    def _close(self) -> None:
        suite = self._suite
        if suite is None:
            return
        name = self._name_of(self._stream)
        suite.close()
        self.pooled.take(name, suite)
        if self._each is not None:
            self._each(name, suite)
            self.pooled.order.take_rows(suite.ordering.rows)
        if self.delivery is not None and self._ordering is not None:
            self._ordering.close()
            self.delivery.take(name, self._ordering)
        self._suite = self._ordering = None
        if len(self._pushed_ns) + len(self._listed_ns) > _BATCH:
            self._count_delays()

    def _count_delays(self) -> None:
        for values, histogram in ((self._pushed_ns, self.delays), (self._listed_ns, self.listed_delays)):
            histogram.record_many(values, 1000)
            values.clear()

    def _take(self, rows: Block) -> None:
        """Rows sorted by stream and time of receipt. Stretches where nothing is amiss are taken at once."""
        for start in range(0, len(rows), _BATCH):
            part = rows[start : start + _BATCH]
            delays, goes_on = self._plain(part)
            columns = [part[:, c].tolist() for c in (STREAM, SEQ, SENT, RECEIVED, STATE, SIZE, EPOCH, NAME, PLACE, RANK)]
            every = list(zip(*columns, strict=True))
            bounds = np.flatnonzero(~goes_on).tolist()
            sizes = np.concatenate(([0], np.cumsum(part[:, SIZE])))
            waits = delays.tolist()
            for at, end in zip(bounds, [*bounds[1:], len(part)], strict=True):
                stream = every[at][0]
                suite = self._suite if stream == self._stream else None
                if suite is None:
                    suite = self._open(stream)
                if end - at > 1:
                    ordering = suite.ordering
                    while at < end and every[at][1] != ordering.due:
                        self._one(suite, every[at])
                        at += 1
                    if at < end:
                        suite.straight(waits[at:end], int(sizes[end] - sizes[at]))
                else:
                    self._one(suite, every[at])
            if len(self._pushed_ns) > _BATCH:
                self._count_delays()

    def _plain(self, part: Block) -> tuple[Block, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        """Delays, and whether each row goes on from the one before, both of them as plain as can be."""
        known = (part[:, SENT] != NONE) & (part[:, RECEIVED] != NONE)
        delays = np.where(known, part[:, RECEIVED] - part[:, SENT], 0)
        wanted = OUTCOME | PUSH | LAST | ONLY
        plain = known & (2 * delays <= self.params.wait_ns) & ((part[:, STATE] & wanted) == OK | PUSH | LAST | ONLY)
        goes_on = np.zeros(len(part), dtype=bool)
        if not self._ranked:
            goes_on[1:] = plain[1:] & plain[:-1] & (part[1:, STREAM] == part[:-1, STREAM]) & (part[1:, SEQ] == part[:-1, SEQ] + 1)
        return delays, goes_on

    def _one(self, suite: Suite, row: tuple[int, ...]) -> None:
        _, seq, sent, received, state, size, epoch, name, place, rank = row
        if sent != NONE:
            suite.send(seq, sent, OUTCOMES[state & OUTCOME], size, place)
        if received == NONE:
            return
        kind = suite.arrive(seq, received, state & PUSH != 0, epoch, name, state & LAST != 0)
        ordering = self._ordering
        if ordering is not None:
            if rank == NONE:
                self.unranked += kind is FIRST_PUSH
            elif kind is FIRST_PUSH:
                ordering.pushed(rank, received, size)
            elif kind is FIRST_RESYNC:
                ordering.resynced(rank)


class _Span:
    """First and last times of a log, noted as its rows go by."""

    def __init__(self) -> None:
        self.first_sent = self.last_sent = self.last = 0
        self._any = False

    def seen(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """The same blocks."""
        for block in blocks:
            sent = block[:, SENT]
            sent = sent[sent != NONE]
            if len(sent):
                low, high = int(sent.min()), int(sent.max())
                self.first_sent = min(self.first_sent, low) if self._any else low
                self.last_sent = max(self.last_sent, high) if self._any else high
                self._any = True
                self.last = max(self.last_sent, self.last)
            self.last = max(self.last, int(block[:, RECEIVED].max()))
            yield block


def _after(first: Block, rest: Iterator[Block]) -> Iterator[Block]:
    yield first
    yield from rest
