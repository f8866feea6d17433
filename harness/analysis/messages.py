"""Rows of one message brought together: whatever one copy's row knows of the sending holds for all copies.

Comes in sorted by stream, number and time of receipt; goes out with the same columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from harness.analysis.columns import (
    LAST,
    LINE,
    NONE,
    OK,
    ONLY,
    OUTCOME,
    PLACE,
    RANK,
    RECEIVED,
    SENT,
    SEQ,
    SIZE,
    STATE,
    STREAM,
    UNSTATED,
)
from harness.analysis.spool import Block

BY_MESSAGE = (STREAM, SEQ, RECEIVED, LINE)
BY_RECEIPT = (STREAM, RECEIVED, LINE)
BY_RANK = (STREAM, RANK, SEQ, RECEIVED, LINE)
_MOST = np.iinfo(np.int64).max
TIME_BINS = 60


class Timeline:
    """Messages sent and lost along the log, in bins of equal time."""

    def __init__(self, first_ns: int, last_ns: int) -> None:
        self.first_ns, self.last_ns = first_ns, last_ns
        self.sent = np.zeros(TIME_BINS, dtype=np.int64)
        self.lost = np.zeros(TIME_BINS, dtype=np.int64)

    def count(self, sent_ns: Block, lost: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> None:
        """Acknowledged messages, each with whether it was lost."""
        span = max(1, self.last_ns - self.first_ns)
        width = -(-span // TIME_BINS) or 1
        at = np.minimum((sent_ns - self.first_ns) // width, TIME_BINS - 1)
        self.sent += np.bincount(at, minlength=TIME_BINS)
        self.lost += np.bincount(at[lost], minlength=TIME_BINS)


class Messages:
    """Joins the rows of each message, and counts what only then can be counted."""

    def __init__(self, wait_ns: int, timeline: Timeline, until_ns: int | None, last_ns: int) -> None:
        """`until_ns`: when the receiver stopped listening; what was sent too late to be judged is left out.

        `last_ns` is the last time in the log.
        """
        self._wait, self._timeline = wait_ns, timeline
        self._until = None if until_ns is None else until_ns - wait_ns
        self._young = last_ns - wait_ns
        self.censored = 0
        """Messages left out."""
        self.young_losses = 0
        """Lost ones that were sent within the waiting time of the log's end: had it gone on, they might have come."""
        self.inconsistent_ranks = 0
        """Messages with several ranks."""
        self._place = 0
        self._stream = -1

    def joined(self, blocks: Iterable[Block]) -> Iterator[Block]:
        """All rows, but for superfluous ones of messages that were never received."""
        held: Block | None = None
        for block in blocks:
            rows = block if held is None else np.concatenate((held, block))
            # the last message may go on in the next block
            same = (rows[:, STREAM] == rows[-1, STREAM]) & (rows[:, SEQ] == rows[-1, SEQ])
            cut = len(rows) - int(same.sum())
            held = rows[cut:].copy()
            if cut:
                yield self._join(rows[:cut])
        if held is not None:
            yield self._join(held)

    def _join(self, rows: Block) -> Block:
        rows = rows.copy()
        stream, seq, received = rows[:, STREAM], rows[:, SEQ], rows[:, RECEIVED]
        new = np.ones(len(rows), dtype=bool)
        new[1:] = (stream[1:] != stream[:-1]) | (seq[1:] != seq[:-1])
        starts = np.flatnonzero(new)
        group = np.cumsum(new) - 1
        ends = np.append(starts[1:], len(rows)) - 1
        came = received != NONE

        sent = np.minimum.reduceat(np.where(rows[:, SENT] == NONE, _MOST, rows[:, SENT]), starts)
        known = sent != _MOST
        outcome = np.minimum.reduceat(rows[:, STATE] & OUTCOME, starts)
        outcome[outcome == UNSTATED] = OK
        size = np.maximum.reduceat(rows[:, SIZE], starts)
        rank = np.maximum.reduceat(rows[:, RANK], starts)
        lowest_rank = np.minimum.reduceat(np.where(rows[:, RANK] == NONE, _MOST, rows[:, RANK]), starts)
        self.inconsistent_ranks += int(((rank != NONE) & (lowest_rank != rank)).sum())
        copies = np.add.reduceat(came.astype(np.int64), starts)

        state = (rows[:, STATE] & ~OUTCOME) | outcome[group]
        state[ends] |= LAST
        state[(copies == 1)[group]] |= ONLY
        rows[:, STATE] = state
        rows[:, SENT] = np.where(known, sent, NONE)[group]
        rows[:, SIZE] = np.maximum(size, 0)[group]
        rows[:, RANK] = lowest_rank[group]
        rows[rows[:, RANK] == _MOST, RANK] = NONE
        rows[:, PLACE] = self._places(stream[starts], known)[group]

        keep = came | (new & (copies == 0)[group])
        if self._until is not None:
            late = known & (sent > self._until)
            self.censored += int(late.sum())
            keep &= ~late[group]
            known &= ~late
        first = np.minimum.reduceat(np.where(came, received, _MOST), starts)
        judged = known & (outcome == OK)
        lost = (copies == 0) | (first - np.where(known, sent, 0) > self._wait)
        self.young_losses += int((judged & lost & (sent > self._young)).sum())
        self._timeline.count(sent[judged], lost[judged])
        kept: Block = rows[keep]
        return kept

    def _places(self, stream: Block, known: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Block:
        """Each message's place among those sent in its stream; numbers follow one another as they were sent."""
        before: Block = np.cumsum(known) - known
        new = np.ones(len(stream), dtype=bool)
        new[1:] = stream[1:] != stream[:-1]
        starts = np.flatnonzero(new)
        base: Block = before[starts]
        if stream[0] == self._stream:
            base[0] -= self._place
        places: Block = before - base[np.cumsum(new) - 1]
        self._stream, self._place = int(stream[-1]), int(places[-1]) + int(known[-1])
        return places


def ranked(blocks: Iterable[Block]) -> Iterator[tuple[Block, Block]]:
    """Rows sorted by rank, each message's rank made its place in its stream's listing (from 1).

    Beside each block: the (stream, number) of the messages that are ranked, in the listing's order.
    """
    last_stream = last_seq = -1
    last_rank = place = 0
    for block in blocks:
        rows = block.copy()
        has = rows[:, RANK] != NONE
        listed = rows[has]
        if not len(listed):
            yield rows, listed[:, (STREAM, SEQ)]
            continue
        stream, rank, seq = listed[:, STREAM], listed[:, RANK].copy(), listed[:, SEQ]
        new = np.ones(len(listed), dtype=bool)
        new[1:] = (stream[1:] != stream[:-1]) | (rank[1:] != rank[:-1]) | (seq[1:] != seq[:-1])
        new[0] = (int(stream[0]), int(rank[0]), int(seq[0])) != (last_stream, last_rank, last_seq)
        other = np.ones(len(listed), dtype=bool)
        other[1:] = stream[1:] != stream[:-1]
        count = np.cumsum(new)
        starts = np.flatnonzero(other)
        base = (count - new)[starts]
        if int(stream[0]) == last_stream:
            base[0] -= place
        places = count - base[np.cumsum(other) - 1]
        rows[has, RANK] = places
        last_stream, last_rank, last_seq, place = int(stream[-1]), int(rank[-1]), int(seq[-1]), int(places[-1])
        yield rows, listed[new][:, (STREAM, SEQ)]
