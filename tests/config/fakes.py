"""Two dialects of their own, so that these tests know every default; the real ones are read by `test_shipped.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from harness.config import tables
from harness.core.backoff import Backoff
from harness.core.spread import Duration, Share, Spread, fixed, seconds
from harness.dialects import registry
from harness.dialects.registry import Dialect


@dataclass(frozen=True, slots=True)
class Talk:
    """Settings of a made-up dialect."""

    ping_every: Duration = seconds(20)
    """How often it pings."""
    jitter: Share = 0.1
    pause: Spread = fixed(1)
    attempts: int = 5
    factor: float = 2.0
    resync: bool = True
    path: str = "/talk"
    scopes: tuple[str, ...] = ("talk:send",)
    steps: tuple[Duration, ...] = (seconds(1), seconds(2))
    cap: Duration = seconds(4)

    def reconnect_backoff(self) -> Backoff:
        return Backoff(seconds(1), self.cap)


@dataclass(frozen=True, slots=True)
class Poll:
    """Settings of another one."""

    wait: Duration = seconds(30)
    longest_wait_ns: int = seconds(2)
    resync_wait_ns: int = seconds(1)


def dialect(name: str, settings: type, bases: tuple[str, ...]) -> Dialect:
    def session(*_: Any) -> Any:
        raise AssertionError

    return Dialect(name, False, "websocket", "echo", bases, settings, session, ("seed 999",), "webchat.jsonl")


TALK = dialect("talk", Talk, ("login", "webchat", "api"))
POLL = dialect("poll", Poll, ("api", "org"))


@contextmanager
def only_fakes(patch: Any) -> Iterator[None]:
    def clear() -> None:
        registry.all_dialects.cache_clear()
        tables.document_model.cache_clear()

    patch.setattr(registry, "_BUILT_IN", {"talk": "tests.config.fakes:TALK", "poll": "tests.config.fakes:POLL"})
    patch.setattr(registry, "entry_points", lambda **_: ())
    clear()
    yield
    patch.undo()
    clear()
