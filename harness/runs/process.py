"""Start a child that cannot outlive us: a pipe as its stdin (end of file tells it to end) and, on Linux, the kernel's death signal.

Each child gets a process session of its own, so that a terminal's Ctrl-C reaches only the parent, which passes it on once.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None

Child = subprocess.Popen[bytes]


def death_tie() -> Callable[[], None] | None:
    """For `preexec_fn`: the kernel kills the child when we are gone (on Linux; None elsewhere)."""
    if _LIBC is None:
        return None
    libc, parent = _LIBC, os.getpid()

    def tie() -> None:  # pragma: no cover - runs in the child between fork and exec
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return tie


def spawn(argv: Sequence[str], *, env: Mapping[str, str] | None = None, errors: Path | None = None) -> Child:
    """Exec `argv` with stdin and stdout as pipes; stderr goes to the file `errors` or stays the parent's."""
    stderr: IO[bytes] | None = errors.open("ab") if errors else None
    try:
        return subprocess.Popen(  # noqa: S603
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=None if env is None else dict(env),
            start_new_session=True,
            preexec_fn=death_tie(),
            bufsize=0,
        )
    finally:
        if stderr is not None:
            stderr.close()


def stop(child: Child, *, gentle_s: float = 3.0, firm_s: float = 2.0) -> int:
    """End of file, then SIGTERM, then SIGKILL; each with its own patience. Closes our ends and returns the exit status."""
    _close(child.stdin)
    try:
        for patience_s, firmer in ((gentle_s, child.terminate), (firm_s, child.kill)):
            try:
                return child.wait(patience_s)
            except subprocess.TimeoutExpired:
                firmer()
        return child.wait()
    finally:
        _close(child.stdout)


class ChildLines:
    """What a child says on its stdout, line by line, for a parent that has other things to mind meanwhile. Close it after use."""

    def __init__(self, child: Child) -> None:
        assert child.stdout is not None
        self._fd, self._rest = child.stdout.fileno(), b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(child.stdout, selectors.EVENT_READ)

    def read(self, most_s: float) -> list[bytes] | None:
        """Whole lines that have come, after `most_s` seconds at the latest (then often none); None: the child has ended."""
        if not self._selector.select(most_s):
            return []
        chunk = os.read(self._fd, 1 << 16)
        if not chunk:
            return None
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return lines

    def close(self) -> None:
        """Watch it no longer; the child's stdout stays open."""
        self._selector.close()


def _close(stream: IO[bytes] | None) -> None:
    if stream is not None:
        try:
            stream.close()
        except OSError:
            pass


def first_line(path: Path) -> str:
    """The first line of a child's error file that says something; for an exception the last, which names it."""
    try:
        lines = [line.strip() for line in path.read_text("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]
