"""Sorting rows of numbers that may not fit into memory: sorted runs in a temporary file, merged block by block.

A row is a line of 64-bit integers. What fits into one run never touches the disk.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import IO

import numpy as np
import numpy.typing as npt

Block = npt.NDArray[np.int64]
"""Rows of integers."""

RUN_ROWS = 200_000
MERGE_ROWS = 200_000
"""Rows of all runs together that are in memory while they are merged."""
LEAST_PIECE = 1024
"""Rows read from a run at once, however many runs there are."""


def in_order(blocks: Iterable[Block], keys: Sequence[int], run_rows: int = RUN_ROWS, folder: str | None = None) -> Iterator[Block]:
    """The same rows in blocks, ordered by those columns, the first of them mattering most.

    `folder`: where the temporary file goes (None: where the system keeps such); it has no name and goes when it is closed.
    """
    waiting: list[Block] = []
    size = 0
    runs: list[tuple[int, int]] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for block in blocks:
            waiting.append(block)
            size += len(block)
            if size >= run_rows:
                _write(file, runs, _sorted(waiting, keys))
                waiting, size = [], 0
        if not runs:
            if waiting:
                yield _sorted(waiting, keys)
            return
        if waiting:
            width = waiting[0].shape[1]
            _write(file, runs, _sorted(waiting, keys))
        else:
            width = block.shape[1]
        del waiting, block
        yield from _merge(file, runs, width, keys)


def _sorted(blocks: list[Block], keys: Sequence[int]) -> Block:
    rows = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    order = np.lexsort([rows[:, key] for key in reversed(keys)])
    return rows[order]


def _write(file: IO[bytes], runs: list[tuple[int, int]], rows: Block) -> None:
    runs.append((file.tell(), len(rows)))
    file.write(np.ascontiguousarray(rows).data)


class _Run:
    """A sorted part of the file, read piece by piece."""

    def __init__(self, file: IO[bytes], at: int, rows: int, width: int, piece: int) -> None:
        self._file, self._at, self._left, self._width, self._piece = file, at, rows, width, piece
        self.rows: Block = np.empty((0, width), dtype=np.int64)

    def fill(self) -> bool:
        """Have rows at hand, if there are any left."""
        if not len(self.rows) and self._left:
            count = min(self._piece, self._left)
            self._file.seek(self._at)
            data = self._file.read(count * self._width * 8)
            self.rows = np.frombuffer(data, dtype=np.int64).reshape(-1, self._width)
            self._at += len(data)
            self._left -= count
        return len(self.rows) > 0

    @property
    def more(self) -> bool:
        """Whether rows of this run are still in the file."""
        return self._left > 0


def _merge(file: IO[bytes], runs: list[tuple[int, int]], width: int, keys: Sequence[int]) -> Iterator[Block]:
    piece = max(LEAST_PIECE, MERGE_ROWS // len(runs))
    parts = [_Run(file, at, rows, width, piece) for at, rows in runs]
    while parts := [part for part in parts if part.fill()]:
        # Nothing that is still in the file comes before the least of the last rows at hand
        lasts = [tuple(part.rows[-1, list(keys)].tolist()) for part in parts if part.more]
        if not lasts:
            yield _sorted([part.rows for part in parts], keys)
            return
        until = min(lasts)
        out = []
        for part in parts:
            count = _up_to(part.rows, keys, until)
            if count:
                out.append(part.rows[:count])
                part.rows = part.rows[count:]
        yield _sorted(out, keys)


def _up_to(rows: Block, keys: Sequence[int], until: tuple[int, ...]) -> int:
    """How many of these sorted rows do not come after that key."""
    low, high = 0, len(rows)
    for key, value in zip(keys, until, strict=True):
        column = rows[low:high, key]
        below = low + int(np.searchsorted(column, value, side="left"))
        high = low + int(np.searchsorted(column, value, side="right"))
        low = below
    return high
