"""Interval records once more from the op rows: the proof that they are a fold, and the way to recompute them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.journal.records import HEALTH, Interval, Record
from harness.metrics.recorder import LINGER_NS, LOSS_WAIT_NS, Recorder


def intervals_from_rows(
    records: Iterable[Record],
    *,
    run: str,
    worker: str = "",
    linger_ns: int = LINGER_NS,
    loss_wait_ns: int = LOSS_WAIT_NS,
) -> list[Interval]:
    """The intervals of one worker's journal, folded anew from its rows (kept with `rows = "all"`).

    Of recorded intervals only the bounds are taken, and what the shell put in (health). Rows after the last of them, all
    rows if there is none, make one more interval, in which every conversation's books are closed.
    """
    recorder = Recorder(run, worker, linger_ns=linger_ns, loss_wait_ns=loss_wait_ns)
    folded: list[Interval] = []
    last = 0
    pending = False
    for record in records:
        if isinstance(record, Interval):
            recorder.worker = record.worker
            if not folded and not record.index:
                recorder.start(record.t0_ns)
            health = {name: histogram for name, histogram in record.histograms.items() if name.startswith(HEALTH)}
            interval = recorder.close_interval(record.t1_ns, record.health, health, final=record.final)
            folded.append(msgspec.structs.replace(interval, rows=record.rows, suppressed=record.suppressed))
            pending = False
        else:
            last = max(last, record.at_ns)
            pending = True
            recorder.record(record)
    if pending or not folded:
        folded.append(recorder.close_interval(last, final=True))
    return folded
