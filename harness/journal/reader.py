"""Reading a journal as a stream, whatever happened to it: a torn end is reported, a spoilt chunk is skipped and counted."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from harness.errors import JournalError
from harness.journal.codec import (
    HEAD_BYTES,
    HEADER,
    INTERVAL,
    MAGIC,
    ROWS,
    VERSION,
    ChunkHead,
    decode_header,
    decode_records,
    read_head,
)
from harness.journal.records import Interval, Record

_BLOCK = 1 << 20


class JournalReader:
    """Records of one file, in order. The attributes are final once an iteration has come to its end.

    `chunks(rows=False)` seeks over chunks of op rows without reading them, so their checksums are not tested.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.run = self.worker = ""
        self._reset()

    def _reset(self) -> None:
        self.bytes_lost = 0
        """Bytes that belong to no whole chunk."""
        self.corrupt = 0
        """Places in the middle where chunks were unreadable."""
        self.missing = 0
        """Chunks that must have been there by their numbers."""
        self.torn = False
        """The file ends in the middle of a chunk: the writer was killed, or is at work."""
        self._next = 0

    @property
    def complete(self) -> bool:
        """Nothing of the file is lost (whether the *run* came to its end, `Interval.final` tells)."""
        return not (self.torn or self.corrupt or self.missing or self.bytes_lost)

    def records(self) -> Iterator[Record]:
        """Every record, rows and intervals."""
        for _, payload in self.chunks():
            yield from decode_records(payload)

    def intervals(self) -> Iterator[Interval]:
        """Interval records alone: cheap, whatever the number of rows."""
        for kind, payload in self.chunks(rows=False):
            if kind == INTERVAL:
                for record in decode_records(payload):
                    if isinstance(record, Interval):
                        yield record

    def chunks(self, *, rows: bool = True) -> Iterator[tuple[int, bytes]]:
        """Kind and payload of every whole chunk but headers. Raises JournalError for a file that is no journal of ours."""
        self._reset()
        try:
            source = self.path.open("rb")
        except OSError as error:
            raise JournalError(f"cannot read the journal: {error.strerror}", where=str(self.path)) from None
        with source:
            size = source.seek(0, 2)
            at, good = 0, 0
            while at < size:
                head, payload = self._chunk_at(source, at, size, rows)
                if head is None:
                    found = self._resync(source, at + 1, size)
                    self.bytes_lost += found - at
                    if found < size:
                        self.corrupt += 1
                    else:
                        self._judge_tail(source, at, good)
                    at = found
                    continue
                if head.version != VERSION:
                    raise JournalError(
                        f"journal of version {head.version}, this guestswarm reads {VERSION}",
                        where=str(self.path),
                    )
                good += 1
                at += HEAD_BYTES + head.length
                self._count(head)
                if head.kind == HEADER:
                    self.run, self.worker = decode_header(payload)
                elif rows or head.kind != ROWS:
                    yield head.kind, payload
            if not good:
                self.torn = True

    def _chunk_at(self, source: BinaryIO, at: int, size: int, rows: bool) -> tuple[ChunkHead | None, bytes]:
        source.seek(at)
        head = read_head(source.read(HEAD_BYTES))
        if head is None or at + HEAD_BYTES + head.length > size:
            return None, b""
        if head.kind == ROWS and not rows:
            return head, b""
        payload = source.read(head.length)
        return (head, payload) if zlib.crc32(payload) == head.crc else (None, b"")

    def _count(self, head: ChunkHead) -> None:
        if head.kind == HEADER:
            self._next = head.number + 1
            return
        self.missing += max(head.number - self._next, 0)
        self._next = head.number + 1

    def _judge_tail(self, source: BinaryIO, at: int, good: int) -> None:
        """What is left at the end is the beginning of a chunk, or else rubbish."""
        source.seek(at)
        start = source.read(HEAD_BYTES)
        if not good and not MAGIC.startswith(start[:4]):
            raise JournalError("not a journal", where=str(self.path))
        if read_head(start) is not None or len(start) < HEAD_BYTES:
            self.torn = True
        else:
            self.corrupt += 1

    @staticmethod
    def _resync(source: BinaryIO, start: int, size: int) -> int:
        """Where the next readable head lies (the file's end: nowhere)."""
        at = start
        while at < size:
            source.seek(at)
            block = source.read(_BLOCK + HEAD_BYTES)
            found = block.find(MAGIC)
            while 0 <= found < _BLOCK:
                head = read_head(block[found : found + HEAD_BYTES])
                if head is not None and at + found + HEAD_BYTES + head.length <= size:
                    return at + found
                found = block.find(MAGIC, found + 1)
            at += _BLOCK
        return size


def read_records(paths: Iterable[Path]) -> Iterator[Record]:
    """Records of several files, one file after the other."""
    for path in paths:
        yield from JournalReader(path).records()
