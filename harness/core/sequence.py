"""The render buffer: in which order, and how often, a guest's page would show what reached it.

Order is the server's stamp, over both directions. A gap shows only in the agent's numbers: while one is missing, all that
came later waits, up to a time-out. A message is shown once, however many copies come. Pure; the caller owns the clock.
"""

from __future__ import annotations

from heapq import heappop, heappush

import msgspec


class Item(msgspec.Struct, gc=False):
    """One message to be shown."""

    key: str
    """What copies of the same message share; empty: never taken for a copy."""
    stamp_ns: int
    """The server's stamp, wall clock; 0: none, shown by arrival."""
    agent_seq: int = 0
    """The agent's number; 0: not an agent's, or unknown."""
    mine: bool = False
    message_id: str = ""


class RenderBuffer:
    """Holds back what came too early; each method returns what can be shown now, in order."""

    __slots__ = (
        "_ahead",
        "_frozen",
        "_gap_since",
        "_held",
        "_last_stamp",
        "_next",
        "_order",
        "_seen",
        "_seen_limit",
        "_timeout_ns",
        "abandoned",
        "duplicates",
        "late",
        "shown",
    )

    def __init__(self, timeout_ns: int, seen_limit: int = 4096) -> None:
        self._timeout_ns, self._seen_limit = timeout_ns, seen_limit
        self._seen: dict[str, None] = {}
        self._held: list[tuple[int, int, Item]] = []
        self._ahead: set[int] = set()
        self._next = 1
        self._order = 0
        self._gap_since = 0
        self._last_stamp = 0
        self._frozen = False
        self.shown = self.duplicates = self.late = self.abandoned = 0

    def offer(self, now: int, item: Item) -> list[Item]:
        """Take one copy of a message."""
        if item.key:
            if item.key in self._seen:
                self.duplicates += 1
                return []
            self._seen[item.key] = None
            if len(self._seen) > self._seen_limit:
                del self._seen[next(iter(self._seen))]
        if item.agent_seq >= self._next:
            self._ahead.add(item.agent_seq)
            self._advance()
        self._order += 1
        stamp = item.stamp_ns or max(self._last_stamp, max((held for held, _, _ in self._held), default=0))
        heappush(self._held, (stamp, self._order, item))
        return self._flush(now)

    def freeze(self) -> None:
        """Show nothing until `thaw`: a listing is being merged in."""
        self._frozen = True

    def thaw(self, now: int) -> list[Item]:
        """The listing is in."""
        self._frozen = False
        return self._flush(now)

    @property
    def hole(self) -> int:
        """The lowest agent number that is missing although a later one is there; 0: none."""
        return self._next if self._ahead else 0

    @property
    def deadline(self) -> int | None:
        """When the oldest hole has been waited for long enough, or None."""
        return self._gap_since + self._timeout_ns if self._ahead and not self._frozen else None

    def give_up(self, now: int) -> list[Item]:
        """Wait no longer for the lowest hole; the next one gets its own time."""
        if self._ahead:
            lowest = min(self._ahead)
            self.abandoned += lowest - self._next
            self._next = lowest
            self._advance()
            self._gap_since = 0
        return self._flush(now)

    def _advance(self) -> None:
        while self._next in self._ahead:
            self._ahead.remove(self._next)
            self._next += 1

    def _flush(self, now: int) -> list[Item]:
        if self._ahead:
            self._gap_since = self._gap_since or now
        else:
            self._gap_since = 0
        if self._frozen or self._ahead:
            return []
        out: list[Item] = []
        while self._held:
            stamp, _, item = heappop(self._held)
            if stamp < self._last_stamp:
                self.late += 1
            self._last_stamp = max(self._last_stamp, stamp)
            out.append(item)
        self.shown += len(out)
        return out
