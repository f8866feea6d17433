"""A journal in several files: closed by size and age, numbered through, read as one; a lost chunk between two files is missed."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from harness.core.ops import Noted
from harness.journal.reader import JournalReader
from harness.journal.segments import SegmentedWriter, by_worker, journals, segment_of, segment_path
from harness.metrics.recorder import Recorder
from harness.report.fold import fold

S = 10**9


def written(folder: Path, intervals: int, *, rotate_every: int, worker: str = "1", first_index: int = 0, first: int = 1) -> None:
    """So many intervals of one note each; a new file after each `rotate_every` of them."""
    writer = SegmentedWriter(folder, "ab12", worker, first=first, max_ns=rotate_every * S, start_ns=0)
    recorder = Recorder("ab12", worker, writer.write, first_index=first_index)
    for number in range(intervals):
        recorder.record(Noted(number * S, "", "seen"))
        recorder.close_interval((number + 1) * S, final=number == intervals - 1)
        writer.rotate((number + 1) * S)
    writer.close()


def test_names_and_their_order(tmp_path: Path) -> None:
    names = ["journal-1.bin", "journal-1.0002.bin", "journal-1.0010.bin", "journal-1.10000.bin", "journal-10.bin", "journal-2.bin"]
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in journals(tmp_path)] == names
    assert [segment_of(tmp_path / name) for name in names[:4]] == [("1", 1), ("1", 2), ("1", 10), ("1", 10_000)]
    assert segment_path(tmp_path, "1", 1).name == names[0]
    assert segment_path(tmp_path, "1", 10_000).name == names[3]
    assert [len(files) for files in by_worker(reversed(journals(tmp_path)))] == [1, 1, 4]


def test_several_files_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "many").mkdir()
    (tmp_path / "one").mkdir()
    written(tmp_path / "many", 12, rotate_every=3)
    written(tmp_path / "one", 12, rotate_every=1000)
    many, one = journals(tmp_path / "many"), journals(tmp_path / "one")
    assert (len(many), len(one)) == (5, 1)
    for files in (many, many[::-1]):
        found, whole = fold(files), fold(one)
        assert found.counters == whole.counters == {"noted|seen": 12}
        assert [point.at_ns for point in found.series] == [point.at_ns for point in whole.series]
        assert not found.damage.any


def test_closed_files_are_closed_for_good(tmp_path: Path) -> None:
    written(tmp_path, 7, rotate_every=3)
    *closed, last = journals(tmp_path)
    assert {stat.S_IMODE(path.stat().st_mode) for path in closed} == {0o444}
    assert stat.S_IMODE(last.stat().st_mode) == 0o644


def test_size_closes_a_file_too(tmp_path: Path) -> None:
    writer = SegmentedWriter(tmp_path, "ab12", "1", max_bytes=500)
    recorder = Recorder("ab12", "1", writer.write)
    for number in range(40):
        recorder.close_interval(number * S)
        writer.rotate(number * S)
    writer.close()
    assert len(journals(tmp_path)) > 3
    assert all(path.stat().st_size < 1500 for path in journals(tmp_path))


def test_numbers_go_on_across_files(tmp_path: Path) -> None:
    written(tmp_path, 9, rotate_every=3)
    numbers: list[int] = []
    for path in journals(tmp_path):
        reader = JournalReader(path)
        numbers += [interval.index for interval in reader.intervals()]
        assert reader.complete
    assert numbers == list(range(9))


def test_a_file_that_is_gone_is_missed(tmp_path: Path) -> None:
    written(tmp_path, 9, rotate_every=3)
    journals(tmp_path)[1].unlink()
    assert fold(journals(tmp_path)).damage.intervals == 3


def test_a_disk_that_takes_no_further_file_keeps_the_one_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentedWriter(tmp_path, "ab12", "1", max_ns=S, start_ns=0)
    import os as system

    real = system.write

    def full(descriptor: int, data: bytes) -> int:
        if b"ab12" in bytes(data):  # a header
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr("harness.journal.writer.os.write", full)
    assert not writer.rotate(2 * S)
    assert (writer.segment, writer.error) == (1, None)
    monkeypatch.undo()
    assert writer.rotate(3 * S)
    writer.close()
    assert [path.name for path in journals(tmp_path)] == ["journal-1.bin", "journal-1.0002.bin"]


def test_a_further_session_goes_on_in_numbers(tmp_path: Path) -> None:
    written(tmp_path, 4, rotate_every=100)
    written(tmp_path, 4, rotate_every=100, first_index=4, first=2)
    assert not fold(journals(tmp_path)).damage.any
