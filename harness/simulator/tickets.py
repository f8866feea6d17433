"""Opaque tokens of a short life, or for one use, bound to whatever a half wants to know again: upgrade tokens, presigned links."""

from __future__ import annotations

import heapq
from random import Random
from typing import Any

UNKNOWN, GOOD, USED, EXPIRED = "unknown", "good", "used", "expired"
KEPT = 100_000


class Ticket:
    """What a token stands for."""

    __slots__ = ("data", "expires", "revoked", "single_use", "token", "used")

    def __init__(self, token: str, expires: int, data: Any, *, single_use: bool) -> None:
        self.token, self.expires, self.data, self.single_use = token, expires, data, single_use
        self.used = self.revoked = False

    def state(self, now: int) -> str:
        """`good`, or `used` or `expired` (which one that was used stays `used`)."""
        if self.used:
            return USED
        return EXPIRED if self.revoked or now >= self.expires else GOOD

    def live(self, now: int) -> bool:
        """Is it good?"""
        return self.state(now) == GOOD


class Tickets:
    """The tokens of one kind. An old one is told from an unknown one for as long again as `remember` says, and within bounds."""

    def __init__(self, rng: Random, *, prefix: str = "", remember: int = 0, kept: int = KEPT) -> None:
        self._rng, self._prefix, self._remember, self._kept = rng, prefix, remember, kept
        self._tickets: dict[str, Ticket] = {}
        self._ends: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._tickets)

    def issue(self, now: int, life: int, data: Any = None, *, single_use: bool = False, token: str = "") -> str:
        """Make a token (or take the one given) that is good for `life` ns."""
        made = token or f"{self._prefix}{self._rng.getrandbits(128):032x}"
        if made not in self._tickets:
            heapq.heappush(self._ends, (now + life + self._remember, made))
        self._tickets[made] = Ticket(made, now + life, data, single_use=single_use)
        self._prune(now)
        return made

    def look(self, now: int, token: str) -> Ticket | None:
        """What a token stands for, whatever its state (`ticket.state(now)`); None: unknown. Looking does not use it up."""
        self._prune(now)
        return self._tickets.get(token)

    def state(self, now: int, token: str) -> str:
        """`unknown`, `good`, `used` or `expired`."""
        ticket = self.look(now, token)
        return UNKNOWN if ticket is None else ticket.state(now)

    def use(self, now: int, token: str) -> Ticket | None:
        """The ticket of a token that is good, and the end of it if it was for one use; None: it is not good."""
        ticket = self.look(now, token)
        if ticket is None or not ticket.live(now):
            return None
        ticket.used = ticket.single_use
        return ticket

    def renew(self, now: int, token: str, life: int) -> None:
        """Let one that is good live for `life` from now on."""
        ticket = self.look(now, token)
        if ticket is not None and ticket.live(now):
            ticket.expires = now + life

    def alive(self, now: int) -> list[Ticket]:
        """All that are good."""
        return [ticket for ticket in self._tickets.values() if ticket.live(now)]

    def _prune(self, now: int) -> None:
        """Forget what is long over; above the bound, what ends next. The heap has one entry for each, at or before its end."""
        ends = self._ends
        while ends and (ends[0][0] <= now or len(self._tickets) > self._kept):
            due, token = heapq.heappop(ends)
            end = self._tickets[token].expires + self._remember
            if end > due:  # it was renewed since
                heapq.heappush(ends, (end, token))
            else:
                del self._tickets[token]
