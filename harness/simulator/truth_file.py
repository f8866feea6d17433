"""`truth.jsonl` on disk: appended by a thread of its own, so that a slow or full disk never holds up a guest."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


class TruthFile:
    """Appends in order; after the first failure nothing more is written, and the truth stays without its seal."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.failure = ""
        self.written = 0
        self._file = path.open("wb", buffering=0)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="truth")

    def append(self, data: bytes) -> None:
        """Hand bytes to the writing thread."""
        if data:
            self._thread.submit(self._write, data)

    async def flush(self) -> None:
        """Wait until all that was appended is in the file, or has failed."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._nothing)

    def close(self) -> None:
        """Write what is left and close."""
        self._thread.shutdown(wait=True)
        self._file.close()

    def _write(self, data: bytes) -> None:
        if self.failure:
            return
        try:
            view = memoryview(data)
            while view:
                done = self._file.write(view) or 0
                self.written += done
                view = view[done:]
        except OSError as error:
            self.failure = f"{self.path.name} cannot be written: {error.strerror or error}"

    def _nothing(self) -> None:
        return
