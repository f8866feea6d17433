"""Giving freed memory back: over hours the C library's heap keeps what short-lived buffers left between long-lived ones."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import ctypes
from collections.abc import Callable

RELEASE_EVERY_NS = 60 * 10**9


def releaser() -> Callable[[], None]:
    """What returns free pages to the system, in a fraction of a millisecond; does nothing where the C library has no such call."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return _nothing
    trim.argtypes, trim.restype = (ctypes.c_size_t,), ctypes.c_int
    return lambda: trim(0)


def _nothing() -> None:
    """There is no such call here."""
