"""A server's capacity: one queue before a number of servers, first come first served, each piece of work taking a drawn time.

With exponential service times this is M/M/c, whose waiting times are known exactly (Erlang C; for N guests who think between their
messages the machine-repair model), also with a cliff and with `slowdown`: the number in the system is then still a birth-death
process. So the load at which a rule breaks can be computed, and an answer to "how many guests?" compared with the truth.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from harness.simulator import spelling
from harness.simulator.spelling import SECOND, Spread
from harness.simulator.tables import length, setting

REFUSE, SILENCE = "refuse", "silence"


@dataclass(frozen=True, slots=True)
class CapacityTable:
    """`[simulator.capacity]`."""

    servers: int = setting(spelling.whole, 0)
    """How many pieces of work are done at a time; 0: everything is done at once, there is no queue."""
    service: Spread = setting(spelling.spread, Spread())
    """How long one takes."""
    cliff: int = setting(spelling.whole, 0)
    """Most pieces of work in the system, waiting or being done; what comes beyond is turned away. 0: no end to the queue."""
    cliff_answer: str = setting(spelling.choice(REFUSE, SILENCE), REFUSE)
    """How it is turned away: by 503 or the dialect's error frame, or by no answer at all."""
    silence: int = setting(length, 120 * SECOND)
    """A request that is not answered is cut after that, where the guest has not given up."""
    slowdown: float = setting(spelling.number, 0.0)
    """Each one that waits makes the servers slower: they work at 1 / (1 + slowdown * waiting) of their speed."""
    also: tuple[str, ...] = setting(spelling.texts, ())
    """What needs a server besides guests' messages: endpoints such as `POST /oauth/token` or `frame typing`; `*`: every request."""


class ServiceQueue:
    """The queue and its servers. Instants are ns; what was drawn is done exactly, however late anybody looks.

    Time is counted in work: `slowdown` stretches all that is being done alike, so that what is done first stays first.
    """

    def __init__(self, servers: int, draw: Callable[[int], int], *, slowdown: float = 0.0, room: int = 0) -> None:
        """`draw(at)` gives the time of the piece of work that is begun at that instant; `room`: 0 for any number."""
        self._servers, self._draw, self._slowdown, self._room = servers, draw, slowdown, room
        self._waiting: deque[Any] = deque()
        self._doing: list[tuple[float, int, Any]] = []
        self._order = 0
        self._at = 0
        """Up to when it is known what happened."""
        self._work: float = 0
        """How much each server could have done by then, had it always had something to do."""
        self.served = 0

    @property
    def in_system(self) -> int:
        """Pieces of work that wait or are being done."""
        return len(self._waiting) + len(self._doing)

    @property
    def waiting(self) -> int:
        """Those that wait."""
        return len(self._waiting)

    @property
    def busy(self) -> int:
        """Servers that have something to do."""
        return len(self._doing)

    @property
    def full(self) -> bool:
        """Is there no room? Ask `advance` first."""
        return 0 < self._room <= self.in_system

    def advance(self, now: int) -> list[Any]:
        """What was finished until now, in the order in which it was. What waited for it was begun at those instants."""
        finished: list[Any] = []
        while self._doing:
            due = self._due()
            if due > now:
                break
            self._work, _, job = heapq.heappop(self._doing)
            self._at = due
            finished.append(job)
            if self._waiting:
                self._begin(self._waiting.popleft())
        if now > self._at:
            self._work += self._progress(now - self._at)
            self._at = now
        self.served += len(finished)
        return finished

    def enter(self, now: int, job: Any) -> None:
        """One more piece of work. Call `advance(now)` first."""
        if not self._doing:
            self._at, self._work = now, 0  # nobody remembers: keeps the numbers small over days
        if len(self._doing) < self._servers:
            self._begin(job)
        else:
            self._waiting.append(job)

    def next(self) -> int | None:
        """When the next one is finished, as far as is known now."""
        return self._due() if self._doing else None

    def pause(self, ns: int) -> None:
        """Nothing was done for so long."""
        self._at += ns

    def _begin(self, job: Any) -> None:
        self._order += 1
        heapq.heappush(self._doing, (self._work + max(0, self._draw(self._at)), self._order, job))

    def _stretch(self) -> float:
        return 1.0 + self._slowdown * len(self._waiting)

    def _progress(self, ns: int) -> float:
        return ns / self._stretch() if self._slowdown else ns

    def _due(self) -> int:
        left = self._doing[0][0] - self._work
        return self._at + math.ceil(left * self._stretch() if self._slowdown else left)
