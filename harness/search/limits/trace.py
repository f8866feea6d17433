"""What a probe saw: one row per request, and the same as intervals of time in which the limiter must have decided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Form = Literal["seconds", "date"]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

SLACK_SHARE = 0.15
"""Of the least round trip: by so much the quickest request may have been quicker one way than back."""
SLACK_FLOOR_S = 0.001
BURST_SHARE = 0.45
BLUR = 4.0
"""A window is at least so many times the time in which one answer may have been given; else nothing contradicts it."""


@dataclass(slots=True)
class Asked:
    """One request. `accepted` is None while it is open, and for ever if no answer could be read as yes or no."""

    n: int
    phase: str
    sent_ns: int
    received_ns: int | None = None
    accepted: bool | None = None
    retry_after_s: float | None = None
    form: Form = "seconds"

    @property
    def middle_ns(self) -> int:
        """Half way between sending and answer."""
        return (self.sent_ns + (self.received_ns or self.sent_ns)) // 2


@dataclass(frozen=True)
class Evidence:
    """Answers in order of their middles, s since the first was sent. `low` and `up` bracket the moment of decision.

    The middle of send and receive is off by half of what this round trip took longer than the quickest, at the most.
    """

    low: Floats
    up: Floats
    ok: Flags
    origin_ns: int
    rows: tuple[Asked, ...]
    lost_low: Floats = field(default_factory=lambda: np.zeros(0))
    """Earliest moments, sorted, of requests without an answer that says yes or no: they may have been counted, or not."""
    lost_up: Floats = field(default_factory=lambda: np.zeros(0))
    """Latest moments, sorted."""

    @property
    def mid(self) -> Floats:
        """Most likely moments."""
        return (self.low + self.up) / 2

    def spent(self, counts_refused: bool, *, perhaps: bool = False) -> tuple[Floats, Floats]:
        """Bounds of what counts against the limit, each sorted by itself; with what counts `perhaps`, or without."""
        keep = np.ones_like(self.ok) if counts_refused else self.ok
        low, up = self.low[keep], self.up[keep]
        if perhaps:
            low, up = np.concatenate([low, self.lost_low]), np.concatenate([up, self.lost_up])
        return np.sort(low), np.sort(up)

    def orders(self, counts_refused: bool) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Per accepted answer, how many were spent before it at the least; per refused one, at the most.

        Of accepted requests whose order is unsure, whichever was last had all the others before it: so those with an earlier upper
        bound may be counted as before. Refused ones count only when they were surely before, unanswered ones only at the most.
        """
        accepted_up = np.sort(self.up[self.ok])
        low, _ = self.spent(counts_refused, perhaps=True)
        before = np.searchsorted(accepted_up, self.up[self.ok], side="left")
        if counts_refused:
            before = before + np.searchsorted(np.sort(self.up[~self.ok]), self.low[self.ok], side="left")
        at_most = np.searchsorted(low, self.up[~self.ok], side="right")
        if counts_refused:
            at_most = at_most - 1  # itself
        return before.astype(np.int64), at_most.astype(np.int64)


def evidence(rows: Iterable[Asked]) -> Evidence:
    """Of all rows that were sent."""
    known: list[Asked] = []
    lost: list[Asked] = []
    for row in rows:
        (known if row.accepted is not None and row.received_ns is not None else lost).append(row)
    answered = sorted(known, key=lambda row: row.middle_ns)
    origin = min((row.sent_ns for row in answered), default=0)
    sent = np.array([row.sent_ns - origin for row in answered], dtype=np.float64) / 1e9
    got = np.array([(row.received_ns or 0) - origin for row in answered], dtype=np.float64) / 1e9
    trip = got - sent
    least = float(trip.min()) if len(trip) else 0.0
    half = (trip - least) / 2 + max(SLACK_FLOOR_S, SLACK_SHARE * least)
    mid = (sent + got) / 2
    ok = np.array([bool(row.accepted) for row in answered], dtype=bool)
    # the way there of what was never answered took no longer than any there and back
    gone = np.sort(np.array([row.sent_ns - origin for row in lost], dtype=np.float64)) / 1e9
    return Evidence(mid - half, mid + half, ok, origin, tuple(answered), gone, gone + (float(trip.max()) if len(trip) else 0.0))


def round_trip_s(rows: Iterable[Asked]) -> float:
    """Median round trip, s; 0 before the first answer."""
    trips = [row.received_ns - row.sent_ns for row in rows if row.received_ns is not None and row.accepted is not None]
    return float(np.median(trips)) / 1e9 if trips else 0.0


def least_window(seen: Evidence) -> float:
    """The shortest window that can be told, s.

    No shorter than the jitter lets see; and a first burst that was let in for a while and then refused holds no whole window, or
    the windows after it, asked as fast, would have been let in as well.
    """
    if not len(seen.ok):
        return 0.0
    refused = np.flatnonzero(~seen.ok)
    first = seen.mid[: refused[0]] if len(refused) else seen.mid
    lasted = float(first[-1] - first[0]) if len(first) > 1 else 0.0
    return max(BLUR * float(np.percentile(seen.up - seen.low, 95)), BURST_SHARE * lasted)


def stand_alone(left_out: Flags) -> bool:
    """Is every answer that was left out an accident of its own: do the answers next to it agree?

    A second user or another limiter shows in rows of answers: once something is missing, it stays missing.
    """
    return not bool(np.any(left_out[1:] & left_out[:-1]))
