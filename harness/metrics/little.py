"""Little's law as a check of our own books: what is in flight on average is the rate times the time that each takes. Pure.

Two roads lead to the same number. `area_ns` adds up how many were under way at every instant (from the rows that begin and end
things), `spent_ns` how long each took (from what was timed, at its end). Lost samples and wrong clocks make them differ, and so
do guests who are stuck unseen and a load that was not steady. The law holds for any distribution, and says nothing about
percentiles.

A message that a row says was sent before it was invoked counts from there: that is how a wrong clock shows.

What is under way at the edges of a window belongs to it in part. `aged_ns` is by how much the ages of all that were under way
have grown from one edge to the other, so `spent + aged = area` holds exactly and needs no tolerance; a load that was not steady
shows by `spent` and `area` alone, and there the edges are excused for half a stay, and for some long ones beside.

| name | in flight | each takes |
| --- | --- | --- |
| `messages` | messages that were invoked and have no outcome yet | from the first attempt to the row of the outcome |
| `replies` | messages that were invoked and may still be answered | from the first attempt to the end of the `reply` sample |
| `guests` | guests who chat, or have lost their connection | response time of `reply`; the think time is added |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

GUESTS, MESSAGES, REPLIES = "guests", "messages", "replies"
FEWEST = 200
"""Without so many ends in the window, those under way at its edges weigh too much."""
EDGES = 0.5
"""What the edges may cost, in parts of one stay over the length of the window."""
STEADY = 0.10
"""What a few very long stays at the edges may cost beside: a fault's, say."""


class Stock:
    """How many there are, exactly, whatever the order in which rows of an interval come."""

    __slots__ = ("_aged", "_ages", "_at_begin", "_begun", "_done", "_moments", "_spent", "present")

    def __init__(self, *, ages: bool = True) -> None:
        self._ages = ages
        self.present = self._at_begin = self._moments = self._spent = self._done = self._begun = self._aged = 0

    def enter(self, at: int, count: int = 1) -> None:
        """So many more, each from its own instant on; `at` is the sum of those."""
        self.present += count
        self._moments -= at
        self._begun += at

    def leave(self, at: int, began: int = 0) -> None:
        """One less from now on, who came when `began`."""
        self.present -= 1
        self._moments += at
        self._begun -= began

    def took(self, ns: int, count: int = 1) -> None:
        """So many have ended that took so long together."""
        self._spent += ns
        self._done += count

    def ended(self, at: int, began: int, count: int = 1) -> None:
        """So many less from now on, who took from `began` to `at` (sums, if several): `leave` and `took` in one."""
        self.present -= count
        self._moments += at
        self._begun -= began
        self._spent += at - began
        self._done += count

    def close(self, t0_ns: int, t1_ns: int, name: str) -> dict[str, float]:
        """Figures of an interval that ends now; nothing where nothing was there."""
        area = self._moments + self.present * t1_ns - self._at_begin * t0_ns
        age = self.present * t1_ns - self._begun
        found: dict[str, float] = {}
        if area or self._spent or self._done:
            values = {"area_ns": area, "spent_ns": self._spent, "done": self._done}
            if self._ages:
                values["aged_ns"] = age - self._aged
            found = {f"little.{name}.{part}": value for part, value in values.items()}
        self._aged = age
        self._at_begin, self._moments, self._spent, self._done = self.present, 0, 0, 0
        return found


class Balance(NamedTuple):
    """What the law came to."""

    ratio: float
    """Rate times time over what was in flight."""
    tolerance: float
    """What the edges of the window may cost; the limit comes on top of it."""
    books: float
    """How far the two roads are apart once the edges are taken into account, as a share of what was in flight."""

    @property
    def off(self) -> float:
        """How far it is off beyond what the edges explain."""
        return max(abs(self.ratio - 1) - self.tolerance, self.books, 0.0)


def balance(health: Mapping[str, float], name: str, window_ns: int) -> Balance | None:
    """The law for messages or replies within a window; None: too little happened to say."""
    area, spent, done = _figures(health, name)
    if done < FEWEST or window_ns <= 0 or area <= 0:
        return None
    aged = health.get(f"little.{name}.aged_ns", 0.0)
    return Balance(spent / area, EDGES * (spent / done) / window_ns + STEADY, abs((spent + aged) / area - 1))


def population(health: Mapping[str, float], window_ns: int, *, think_ns: float, stay_ns: float) -> Balance | None:
    """The law for guests who think, speak and wait: as many as there are answers a second times the time from answer to answer.

    `think_ns` is their mean think time, `stay_ns` the mean length of a conversation, whose edges count as a window's do.
    """
    area, spent, done = _figures(health, GUESTS)
    if done < FEWEST or window_ns <= 0 or area <= 0:
        return None
    whole = spent + done * think_ns
    length = min(window_ns, stay_ns) if stay_ns > 0 else window_ns
    return Balance(whole / area, EDGES * (whole / done) / length, 0.0)


def _figures(health: Mapping[str, float], name: str) -> tuple[float, float, float]:
    area, spent, done = (health.get(f"little.{name}.{part}", 0.0) for part in ("area_ns", "spent_ns", "done"))
    return area, spent, done
