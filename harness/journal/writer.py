"""Appending to a journal file: one `write(2)` for each chunk, and no exception while a run goes on.

What cannot be written (disk full, quota, folder gone) becomes the state `error`, which the caller shows and judges. The
chunk waits, in order, and is tried again with the next; a half-written one is cut off again, so that the file stays whole.
Past `MAX_WAITING` bytes, chunks of rows are dropped (and counted) before any interval is.
"""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

from harness.errors import JournalError
from harness.journal.codec import HEAD_BYTES, ROWS, header_chunk, read_head

MAX_WAITING = 32 << 20


class JournalWriter:
    """One worker's journal file. `write` is the `emit` of a `Recorder`."""

    def __init__(self, path: Path, run: str, worker: str, *, sync: bool = False, number: int = 0) -> None:
        """`number`: of the last chunk in the file that this one goes on from."""
        self.path = path
        self.error: JournalError | None = None
        """The last failure; stays set once anything was dropped, else until a write succeeds."""
        self.written = 0
        """Bytes in the file that are known to be whole."""
        self.dropped = 0
        """Chunks given up."""
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._sync = sync
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self.written = os.fstat(self._fd).st_size
        except OSError as error:
            raise JournalError(f"cannot open the journal: {error.strerror}", where=str(path)) from None
        if not self.write(header_chunk(run, worker, number)):
            os.close(self._fd)
            self._fd = -1
            raise self.failure()

    def failure(self) -> JournalError:
        """`error`, where there is one."""
        return self.error or JournalError("nothing failed", where=str(self.path))

    @property
    def waiting(self) -> int:
        """Bytes that could not be written yet."""
        return self._waiting_bytes

    def write(self, data: bytes) -> bool:
        """Append one chunk. False: it waits or was dropped, and `error` says why. Never raises."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        while self._waiting:
            if not self._append(self._waiting[0]):
                self._shed()
                return False
            self._waiting_bytes -= len(self._waiting.popleft())
        if not self.dropped:
            self.error = None
        return True

    def close(self) -> None:
        """Try once more what waits, then close. `error` tells if anything is missing."""
        if self._fd < 0:
            return
        while self._waiting and self._append(self._waiting[0]):
            self._waiting_bytes -= len(self._waiting.popleft())
        try:
            if self._sync:
                os.fsync(self._fd)
            os.close(self._fd)
            if not self._waiting and not self.dropped:
                self.error = None
        except OSError as error:
            self._fail(error)
        self._fd = -1
        self.dropped += len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _append(self, data: bytes) -> bool:
        if self._fd < 0:
            self._fail(OSError(0, "the journal is closed"))
            return False
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:] if done else data)
        except OSError as error:
            self._fail(error)
            if done:
                try:
                    os.ftruncate(self._fd, self.written)
                except OSError:
                    self.written += done  # the torn chunk stays; readers skip it
            return False
        self.written += done
        return True

    def _fail(self, error: OSError) -> None:
        self.error = JournalError(
            f"cannot write the journal: {error.strerror or error}",
            where=str(self.path),
            hint="free some space: what was gathered so far is kept, and writing is tried again with every interval",
        )

    def _shed(self) -> None:
        if self._waiting_bytes <= MAX_WAITING:
            return
        kept: deque[bytes] = deque()
        for data in self._waiting:
            head = read_head(data[:HEAD_BYTES])
            if self._waiting_bytes > MAX_WAITING and head is not None and head.kind == ROWS:
                self._waiting_bytes -= len(data)
                self.dropped += 1
            else:
                kept.append(data)
        while kept and self._waiting_bytes > 2 * MAX_WAITING:
            self._waiting_bytes -= len(kept.popleft())
            self.dropped += 1
        self._waiting = kept
