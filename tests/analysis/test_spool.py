from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis import spool
from harness.analysis.spool import in_order

ROWS = st.lists(st.tuples(st.integers(-3, 3), st.integers(-(1 << 63), (1 << 63) - 1), st.integers(0, 2)), max_size=120)


@settings(max_examples=150, deadline=None)
@given(ROWS, st.integers(1, 30), st.integers(1, 40))
def test_runs_on_disk_give_what_sorting_gives(rows: list[tuple[int, int, int]], block: int, run_rows: int) -> None:
    table = np.array(rows, dtype=np.int64).reshape(-1, 3)
    blocks = (table[at : at + block] for at in range(0, len(table), block))
    found = [tuple(row) for part in in_order(blocks, (0, 2, 1), run_rows) for row in part.tolist()]
    assert found == sorted(rows, key=lambda row: (row[0], row[2], row[1]))


def test_many_runs_are_merged_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "MERGE_ROWS", 8000)
    monkeypatch.setattr(spool, "LEAST_PIECE", 64)
    numbers = np.random.default_rng(7).integers(0, 1000, size=(60_000, 2))
    blocks = (numbers[at : at + 500] for at in range(0, len(numbers), 500))
    parts = list(in_order(blocks, (0, 1), run_rows=2000))
    assert len(parts) > 3
    assert np.array_equal(np.concatenate(parts), numbers[np.lexsort((numbers[:, 1], numbers[:, 0]))])
