"""How losses lie in a stream, after RFC 3357: distances between them and the periods that they form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class LossPattern(NamedTuple):
    """One stream's, in sent order."""

    distances: list[int]
    """§5.4.1: each lost number minus the lost one before; 0 for the first."""
    lengths: list[int]
    """§5.4.2, §6.3: messages of each period of losses that follow one another in sent order."""
    between: list[int]
    """§6.4: first number of each period minus the last lost one before; 0 for the first period."""
    noticeable: int
    """§6.1: losses other than the first that came at most delta after the one before."""


def loss_pattern(lost: Iterable[tuple[int, int]], delta: int) -> LossPattern:
    """The pattern of losses, each (place in sent order, number), in sent order."""
    distances: list[int] = []
    lengths: list[int] = []
    between: list[int] = []
    noticeable = 0
    before: tuple[int, int] | None = None
    for place, seq in lost:
        distance = seq - before[1] if before else 0
        distances.append(distance)
        if before:
            noticeable += distance <= delta
        if before and place == before[0] + 1:
            lengths[-1] += 1
        else:
            lengths.append(1)
            between.append(distance)
        before = (place, seq)
    return LossPattern(distances, lengths, between, noticeable)
