"""A guest's own pace: at most so many in a window, so that limits of the server's are not met in the first place. Pure."""

from __future__ import annotations

from collections import deque

SECOND, MINUTE = 1_030_000_000, 60_500_000_000
"""Windows a little wider than the server's: what leaves in time may arrive closer together."""


class Budget:
    """The instants of what was spent in the last window."""

    __slots__ = ("_limit", "_spent", "_window_ns")

    def __init__(self, limit: int, window_ns: int) -> None:
        self._limit, self._window_ns = limit, window_ns
        self._spent: deque[int] = deque(maxlen=max(limit, 1))

    def wait(self, now: int, reserve: int = 0) -> int:
        """How long until one more may be spent and `reserve` are left after it; 0: at once. No limit: always at once."""
        room = self._limit - reserve
        if self._limit <= 0 or len(self._spent) < max(room, 1):
            return 0
        oldest = self._spent[-max(room, 1)]
        return max(oldest + self._window_ns - now, 0)

    def spend(self, now: int) -> None:
        """One more."""
        if self._limit > 0:
            self._spent.append(now)
