from __future__ import annotations

import errno
import os
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import ops
from harness.errors import JournalError
from harness.journal import writer as writer_module
from harness.journal.codec import (
    HEAD_BYTES,
    HEADER,
    INTERVAL,
    MAGIC,
    ROWS,
    array_of,
    chunk,
    decode_header,
    decode_records,
    header_chunk,
    read_head,
)
from harness.journal.reader import JournalReader, read_records
from harness.journal.records import Interval, Record, SparseHistogram, key, merge_examples, parts
from harness.journal.writer import JournalWriter
from harness.metrics.recorder import Recorder
from harness.metrics.refold import intervals_from_rows
from tests.metrics.rows import MS, RUN, swarm_rows

ROW_SAMPLES: list[ops.Row] = [
    ops.Invoked(1, "1-1", 2, 3, 4, 5),
    ops.Closed(1, "1-1", 2, "ok", "", 3, 4, 5, "ack"),
    ops.Sample(1, "1-1", "reply", "ok", "", 2, 3, 4, 5, "6", "", "d", 7),
    ops.Arrived(1, "1-1", "a", 2, 3, "push", 4, "m", 5, "v"),
    ops.Connection(1, "1-1", 2, "a:1", 3, 4, 5, "guest", 1000, ""),
    ops.Refused(1, "1-1", "POST /x", "r", 2),
    ops.Ended(1, "1-1", "c", True, ""),
    ops.State(1, "1-1", "", "arriving"),
    ops.Noted(1, "1-1", "w", "ä\N{PILE OF POO}"),
]
INTERVAL_SAMPLE = Interval(
    1,
    2,
    "w",
    0,
    False,
    "all",
    0,
    {"a|b": 1},
    {"g": -1},
    {"h": SparseHistogram(1, 0, 0, 5, 5, 5, [5], [1])},
    {"k": [(1, "x")]},
    {"c": 0.5},
)


def encoded(records: list[Record]) -> bytes:
    import msgspec

    return array_of(len(records), b"".join(msgspec.msgpack.encode(record) for record in records))


def small_journal() -> tuple[bytes, list[int]]:
    """A file of four chunks, and where each ends."""
    chunks = [
        header_chunk(RUN, "w0"),
        chunk(ROWS, 1, encoded(list(ROW_SAMPLES[:2]))),
        chunk(INTERVAL, 2, encoded([INTERVAL_SAMPLE])),
        chunk(ROWS, 3, encoded(list(ROW_SAMPLES[2:4]))),
    ]
    ends = [sum(map(len, chunks[: n + 1])) for n in range(len(chunks))]
    return b"".join(chunks), ends


def test_every_record_comes_back() -> None:
    records: list[Record] = [*ROW_SAMPLES, INTERVAL_SAMPLE]
    assert decode_records(encoded(records)) == records


def test_chunk_layout() -> None:
    data = header_chunk("ab12", "w0")
    assert data[:4] == MAGIC
    head = read_head(data)
    assert head is not None
    assert (head.kind, head.version, head.number, head.length) == (HEADER, 1, 0, len(data) - HEAD_BYTES)
    assert decode_header(data[HEAD_BYTES:]) == ("ab12", "w0")
    assert read_head(data[:10]) is None
    assert read_head(bytes(HEAD_BYTES)) is None


def test_payloads_of_another_make_are_refused() -> None:
    with pytest.raises(JournalError, match="another make"):
        decode_records(b"\xc0")
    with pytest.raises(JournalError, match="another make"):
        decode_header(b"\xc0")


def test_a_journal_read_after_truncation_at_every_byte(tmp_path: Path) -> None:
    data, ends = small_journal()
    records = [*ROW_SAMPLES[:2], INTERVAL_SAMPLE, *ROW_SAMPLES[2:4]]
    whole = [0, 2, 3, 5]
    path = tmp_path / "journal-w0.bin"
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        reader = JournalReader(path)
        found = list(reader.records())
        chunks = sum(end <= size for end in ends)
        good = whole[chunks - 1] if chunks else 0
        assert found == records[:good]
        left = size - (ends[chunks - 1] if chunks else 0)
        assert reader.bytes_lost == left
        assert reader.torn == bool(left or not size)
        assert reader.complete == (size in ends)
        assert reader.corrupt == reader.missing == 0
        assert list(reader.intervals()) == [one for one in found if isinstance(one, Interval)]
        assert reader.run == (RUN if chunks else "")


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.randoms(use_true_random=False))
def test_a_journal_read_after_corruption_anywhere(
    tmp_path_factory: pytest.TempPathFactory, at: int, length: int, rng: Random
) -> None:
    data, ends = small_journal()
    at %= len(data)
    spoilt = bytearray(data)
    spoilt[at : at + length] = rng.randbytes(len(spoilt[at : at + length]))
    path = tmp_path_factory.getbasetemp() / "spoilt.bin"
    path.write_bytes(spoilt)
    reader = JournalReader(path)
    chunks = {0: [], 1: ROW_SAMPLES[:2], 2: [INTERVAL_SAMPLE], 3: ROW_SAMPLES[2:4]}
    starts = [0, *ends[:-1]]
    intact = [n for n in range(4) if spoilt[starts[n] : ends[n]] == data[starts[n] : ends[n]]]
    found = list(reader.records())
    assert found == [record for n in intact for record in chunks[n]]
    assert reader.complete == (len(intact) == 4)
    assert reader.bytes_lost == sum(ends[n] - starts[n] for n in range(4) if n not in intact)
    if 0 in intact and any(n > max(set(range(4)) - set(intact), default=4) for n in intact):
        assert reader.missing >= 1


def test_rubbish_is_no_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal-w0.bin"
    path.write_bytes(b"something else altogether, and long enough")
    with pytest.raises(JournalError, match="not a journal"):
        list(JournalReader(path).records())
    with pytest.raises(JournalError, match="cannot read"):
        list(JournalReader(tmp_path / "none").records())
    path.write_bytes(header_chunk(RUN, "w")[:5] + b"\x07" + header_chunk(RUN, "w")[6:])
    assert list(JournalReader(path).records()) == []


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal-w0.bin"
    monkeypatch.setattr("harness.journal.codec.VERSION", 9)
    path.write_bytes(header_chunk(RUN, "w"))
    monkeypatch.undo()
    with pytest.raises(JournalError, match="version 9"):
        list(JournalReader(path).records())


def test_a_magic_inside_a_payload_misleads_nobody(tmp_path: Path) -> None:
    inner = chunk(ROWS, 7, encoded([ROW_SAMPLES[0]]))
    row = ops.Noted(1, "1-1", "w", MAGIC.decode("latin1") * 5)
    data = bytearray(header_chunk(RUN, "w") + chunk(ROWS, 1, encoded([row])) + chunk(ROWS, 2, encoded([ROW_SAMPLES[1]])))
    data[len(header_chunk(RUN, "w")) + 9] ^= 1
    path = tmp_path / "journal-w0.bin"
    path.write_bytes(bytes(data) + inner[:20])
    reader = JournalReader(path)
    assert list(reader.records()) == [ROW_SAMPLES[1]]
    assert (reader.corrupt, reader.torn, reader.missing) == (1, True, 1)


def test_damage_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "journal-w0.bin"
    tail = chunk(ROWS, 1, encoded([ROW_SAMPLES[0]]))
    for junk in ((1 << 20) - 2, (1 << 20) - HEAD_BYTES, (1 << 20) + 5):
        path.write_bytes(header_chunk(RUN, "w") + bytes(junk) + tail)
        reader = JournalReader(path)
        assert list(reader.records()) == [ROW_SAMPLES[0]]
        assert reader.bytes_lost == junk


# -------------------------------------------------------------------- writing
def rows_of(number: int, fill: int = 0) -> bytes:
    return chunk(ROWS, number, encoded([ops.Noted(number, "1-1", "x" * fill)]))


def test_a_writer_appends_and_a_second_sitting_too(tmp_path: Path) -> None:
    path = tmp_path / "journal-w0.bin"
    for worker in ("w0", "w1"):
        writer = JournalWriter(path, RUN, worker, sync=True)
        assert writer.write(rows_of(1))
        assert writer.write(rows_of(2))
        assert writer.written == path.stat().st_size
        writer.close()
        writer.close()
    reader = JournalReader(path)
    assert [record.at_ns for record in reader.records() if isinstance(record, ops.Noted)] == [1, 2, 1, 2]
    assert reader.complete
    assert (reader.run, reader.worker) == (RUN, "w1")
    assert len(list(read_records([path, path]))) == 8


def test_one_write_for_each_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = os.write
    monkeypatch.setattr(writer_module.os, "write", lambda fd, data: calls.append(len(data)) or real(fd, data))
    writer = JournalWriter(tmp_path / "j", RUN, "w")
    writer.write(rows_of(1, 200_000))
    writer.close()
    assert calls == [len(header_chunk(RUN, "w")), len(rows_of(1, 200_000))]


class Disk:
    """A disk with so many bytes left; writes what fits, then says that it is full."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        self.real = os.write
        monkeypatch.setattr(writer_module.os, "write", self.write)

    def write(self, fd: int, data: bytes) -> int:
        fits = min(self.room, len(data))
        if not fits:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= fits
        return self.real(fd, data[:fits])


def test_a_full_disk_is_a_state_and_what_was_gathered_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "j"
    disk = Disk(monkeypatch, 400)
    writer = JournalWriter(path, RUN, "w")
    written = [n for n in range(1, 20) if writer.write(rows_of(n))]
    assert written
    assert isinstance(writer.error, JournalError)
    assert "No space left" in str(writer.error)
    assert writer.failure() is writer.error
    assert writer.waiting
    assert path.stat().st_size == writer.written
    reader = JournalReader(path)
    assert [row.at_ns for row in reader.records()] == written  # type: ignore[union-attr]
    assert reader.complete
    disk.room = 10**9
    assert writer.write(rows_of(20))
    assert writer.error is None
    assert writer.dropped == 0
    writer.close()
    assert [row.at_ns for row in JournalReader(path).records()] == list(range(1, 21))  # type: ignore[union-attr]


def test_what_waits_is_written_at_the_close_or_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, 400)
    for room, missing in ((10**6, 0), (0, 1)):
        disk.room = 400
        path = tmp_path / f"j{room}"
        writer = JournalWriter(path, RUN, "w")
        disk.room = 0
        assert not writer.write(rows_of(1))
        disk.room = room
        writer.close()
        assert (writer.dropped, writer.error is None) == (missing, not missing)
        assert len(list(JournalReader(path).records())) == 1 - missing
        assert not writer.write(rows_of(2))


def test_rows_are_given_up_before_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_WAITING", 1000)
    disk = Disk(monkeypatch, 100)
    writer = JournalWriter(tmp_path / "j", RUN, "w")
    disk.room = 0
    interval = chunk(INTERVAL, 99, encoded([INTERVAL_SAMPLE]))
    for n in range(1, 40):
        writer.write(rows_of(n))
        if n % 10 == 0:
            writer.write(interval)
    assert writer.waiting <= 1000
    assert writer.dropped > 0
    disk.room = 10**9
    writer.write(interval)
    writer.close()
    found = list(JournalReader(tmp_path / "j").records())
    assert sum(isinstance(one, Interval) for one in found) == 4
    assert writer.error is not None  # something is missing for good
    disk.room = 100
    writer = JournalWriter(tmp_path / "k", RUN, "w")
    disk.room = 0
    for _ in range(40):
        writer.write(interval)
    assert writer.waiting <= 2000
    writer.close()


def test_a_journal_that_cannot_be_opened_or_begun_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot open"):
        JournalWriter(tmp_path / "none" / "j", RUN, "w")
    with pytest.raises(JournalError, match="cannot write"):
        JournalWriter(Path("/dev/full"), RUN, "w")


def test_a_torn_chunk_that_cannot_be_cut_off_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, size: int) -> None:
        raise OSError(errno.EPERM, "no")

    monkeypatch.setattr(writer_module.os, "ftruncate", refuse)
    disk = Disk(monkeypatch, 100)
    writer = JournalWriter(tmp_path / "j", RUN, "w")
    assert not writer.write(rows_of(1, 200))
    disk.room = 10**6
    assert writer.write(rows_of(2))
    writer.close()
    reader = JournalReader(tmp_path / "j")
    assert [row.at_ns for row in reader.records()] == [1, 2]  # type: ignore[union-attr]
    assert reader.corrupt == 1


def test_recorder_writer_reader_and_fold_together(tmp_path: Path) -> None:
    path = tmp_path / "journal-w0.bin"
    writer = JournalWriter(path, RUN, "w0")
    recorder = Recorder(RUN, "w0", writer.write, start_ns=1)
    rows = swarm_rows(11, 6)
    intervals = []
    for n, row in enumerate(rows):
        recorder.record(row)
        if n % 50 == 49:
            intervals.append(recorder.close_interval(row.at_ns + 1))
    intervals.append(recorder.close_interval(rows[-1].at_ns + MS, final=True))
    writer.close()
    reader = JournalReader(path)
    assert list(reader.intervals()) == intervals
    assert reader.complete
    assert [one for one in reader.records() if not isinstance(one, Interval)] == rows
    assert intervals_from_rows(reader.records(), run=reader.run) == intervals


def test_keys_and_examples() -> None:
    assert parts(key("copies", "a", "late")) == ["copies", "a", "late"]
    many = [(n, str(n)) for n in range(40)]
    assert merge_examples(many[20:], many[:20]) == merge_examples(merge_examples(many[5:], []), many[:7]) == many[:20]
