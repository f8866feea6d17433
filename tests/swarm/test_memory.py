"""Freed memory goes back to the system, where its C library can do that."""

from __future__ import annotations

import ctypes

import pytest

from harness.swarm import memory


def test_a_release_returns_what_was_freed() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("no such call in this C library")
    blocks = [bytearray(4000) for _ in range(20_000)]
    kept = blocks[::200]  # so that the heap's top cannot simply be cut off
    before = _resident()
    del blocks
    memory.releaser()()
    assert _resident() < before - 20_000_000
    assert len(kept) == 100


def test_without_the_call_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: object())
    memory.releaser()()


def _resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096
