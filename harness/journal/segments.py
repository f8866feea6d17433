"""A worker's journal in several files, one after the other: `journal-1.bin`, `journal-1.0002.bin`, … What is closed never changes.

Chunks are numbered through: the header of a later file carries the number of the last chunk before it, so that a chunk that got
lost between two files is missed as one within a file would be.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from harness.errors import JournalError
from harness.journal.codec import HEAD_BYTES, read_head
from harness.journal.writer import JournalWriter

_NAME = re.compile(r"journal-(?P<worker>.+?)(?:\.(?P<segment>\d{4,}))?\.bin\Z")


def segment_path(folder: Path, worker: str, segment: int) -> Path:
    """Where a worker's n-th file lies; the first has no number."""
    return Path(folder) / (f"journal-{worker}.bin" if segment == 1 else f"journal-{worker}.{segment:04}.bin")


def segment_of(path: Path) -> tuple[str, int]:
    """Worker and number of a journal file; its whole name and 1 where it is called otherwise."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        return path.name, 1
    return found["worker"], int(found["segment"] or 1)


def journals(folder: Path) -> list[Path]:
    """The journal files of a run folder: worker by worker, each in the order of its writing."""
    return sorted(Path(folder).glob("journal-*.bin"), key=segment_of)


def by_worker(files: Iterable[Path]) -> list[list[Path]]:
    """The files of each worker, in the order of their writing, whatever order they are given in."""
    found: dict[tuple[Path, str], list[Path]] = {}
    for path in files:
        found.setdefault((path.parent, segment_of(path)[0]), []).append(path)
    return [sorted(paths, key=segment_of) for paths in found.values()]


class SegmentedWriter:
    """Writes like a `JournalWriter`, and begins another file where `rotate` finds the current one large or old enough."""

    def __init__(
        self,
        folder: Path,
        run: str,
        worker: str,
        *,
        first: int = 1,
        max_bytes: int = 0,
        max_ns: int = 0,
        start_ns: int = 0,
    ) -> None:
        """`max_bytes`, `max_ns`: size and age (by the instants given to `rotate`) of a file that is closed; 0: any."""
        self._folder, self._run, self._worker = Path(folder), run, worker
        self._max_bytes, self._max_ns = max_bytes, max_ns
        self._began_ns = start_ns
        self._chunk = 0
        self._dropped = 0
        """Chunks given up in files that are closed."""
        self.segment = first
        self._writer = JournalWriter(segment_path(folder, worker, first), run, worker)

    @property
    def path(self) -> Path:
        """The file that is written now."""
        return self._writer.path

    @property
    def error(self) -> JournalError | None:
        """As a `JournalWriter`'s, over all files."""
        if self._writer.error is None and self._dropped:
            return JournalError(f"{self._dropped} chunks of the journal were given up", where=str(self._folder))
        return self._writer.error

    @property
    def waiting(self) -> int:
        """Bytes that could not be written yet."""
        return self._writer.waiting

    @property
    def dropped(self) -> int:
        """Chunks given up, over all files."""
        return self._dropped + self._writer.dropped

    def write(self, data: bytes) -> bool:
        """Append one chunk; see `JournalWriter.write`."""
        head = read_head(data[:HEAD_BYTES])
        if head is not None:
            self._chunk = head.number
        return self._writer.write(data)

    def rotate(self, now_ns: int) -> bool:
        """Begin the next file if it is time, and the disk takes it; else the current one goes on."""
        writer = self._writer
        large = 0 < self._max_bytes <= writer.written
        old = 0 < self._max_ns <= now_ns - self._began_ns
        if not (large or old) or writer.waiting:
            return False
        path = segment_path(self._folder, self._worker, self.segment + 1)
        try:
            following = JournalWriter(path, self._run, self._worker, number=self._chunk)
        except JournalError:
            with suppress(OSError):
                path.unlink()
            return False
        self._dropped += writer.dropped
        writer.close()
        with suppress(OSError):  # closed for good
            os.chmod(writer.path, 0o444)
        self._writer, self.segment, self._began_ns = following, self.segment + 1, now_ns
        return True

    def close(self) -> None:
        """Try once more what waits, then close."""
        self._writer.close()
