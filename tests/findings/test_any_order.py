"""The same rows, in another order of guests, spread over other files, give the same findings."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from harness.conformance.runner import Plan, run
from harness.conformance.scenarios import every_fault
from harness.core import ops
from harness.journal.writer import JournalWriter
from harness.metrics.recorder import Recorder
from harness.report.build import build_model
from harness.report.fold import op_rows
from harness.report.summary import summary_json
from tests.findings.bench import by_guest, found_in, ids, played
from tests.findings.cases import CASES
from tests.report.history import RUN, write_run

_SAMPLE = [name for number, name in enumerate(CASES) if number % 3 == 0]


def _interleaved(rows: tuple[ops.Row, ...], rng: Random) -> list[ops.Row]:
    """Every guest's rows in order, the guests mixed by chance."""
    queues = [list(reversed(guest)) for guest in by_guest(rows)]
    mixed = []
    while queues:
        queue = rng.choice(queues)
        mixed += [queue.pop() for _ in range(min(rng.randrange(1, 50), len(queue)))]
        queues = [one for one in queues if one]
    return mixed


@pytest.mark.parametrize("name", _SAMPLE)
def test_guests_in_any_order(name: str) -> None:
    rows = played(name)
    expected = found_in(rows)
    rng = Random(name)
    assert found_in(_interleaved(rows, rng)) == expected
    guests = list(by_guest(rows))
    rng.shuffle(guests)
    assert found_in([row for guest in guests for row in guest]) == expected


@pytest.mark.parametrize("name", ["webchat mass reconnect", "longpoll race", "webchat queue overflow"])
def test_the_summary_is_the_same_bytes_however_guests_are_spread_over_files(name: str, tmp_path: Path) -> None:
    rows = played(name)
    guests = list(by_guest(rows))
    summaries = set()
    for number, split in enumerate((1, 2, 3)):
        folder = tmp_path / str(number)
        write_run(folder, [])
        for old in folder.glob("journal-*.bin"):
            old.unlink()
        Random(number).shuffle(guests)
        for worker in range(split):
            _journal(folder / f"journal-{worker}.bin", str(worker), guests[worker::split])
        model = build_model(folder)
        model.measured.workers = []  # how many there were is the one thing that may differ
        summaries.add(summary_json(model))
    assert len(summaries) == 1


def _journal(path: Path, worker: str, guests: list[list[ops.Row]]) -> None:
    rows = sorted((row for guest in guests for row in guest), key=lambda row: row.at_ns)
    writer = JournalWriter(path, RUN, worker)
    start = 1000 * 10**9
    recorder = Recorder(RUN, worker, writer.write, start_ns=start, loss_wait_ns=20 * 10**9)
    for row in rows:
        recorder.record(row)
    recorder.close_interval(2000 * 10**9, final=True)
    writer.close()


def test_everything_at_once_is_found_in_any_order(tmp_path: Path) -> None:
    plan = Plan(guests=24, seconds=600.0, simulator=every_fault(2.0), loss_wait=20.0, compare=False)
    outcome = run(plan, tmp_path)
    rows = tuple(op_rows([outcome.journal]))
    found = found_in(rows)
    assert {"duplicates-by-server", "out-of-order", "zombie-connection", "token-revoked-early"} <= ids(found)
    assert found_in(_interleaved(rows, Random(1))) == found
