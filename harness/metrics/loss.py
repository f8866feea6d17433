"""Loss as bounds. What the books of one conversation say at its end, and the ratio with its confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class Losses(NamedTuple):
    """Numbers of one stream that were not received, by how sure it is."""

    definite: Sequence[int] = ()
    """The server must have had them, and a complete read-back did not hold them."""
    unread: Sequence[int] = ()
    """The server must have had them, but it was not read back to the end."""
    undetermined: Sequence[int] = ()
    """Outcome unknown and never seen: in no numerator and no denominator."""
    unlisted: Sequence[int] = ()
    """Acknowledged and echoed, yet absent from a complete read-back: confirmed, but not stored."""
    unproven: Sequence[int] = ()
    """Acknowledged and echoed, without a complete read-back and without another proof that they were stored."""


def ratio(lost: int, acknowledged: int) -> float | None:
    """RFC 7680 §4.1. None where nothing was acknowledged."""
    return lost / acknowledged if acknowledged else None


def upper_bound_of_none(messages: int) -> float | None:
    """With no loss seen in so many messages, the true ratio lies below this at 95 %, were losses independent."""
    return float(1.0 - 0.05 ** (1.0 / messages)) if messages else None


def unstable(lost: int, at_half: int, at_double: int) -> bool:
    """RFC 7680 §2.6: whether half or twice the waiting time gives another answer, by a tenth of it or by several messages."""
    moves = [abs(other - lost) for other in (at_half, at_double)]
    return any(10 * moved > lost or moved > 1 for moved in moves)


def bounds(lost: int, acknowledged: int, undetermined: int) -> tuple[float | None, float | None]:
    """The ratio if none of the messages of unknown outcome was stored, and if all of them were, and then lost."""
    return ratio(lost, acknowledged), ratio(lost + undetermined, acknowledged + undetermined)


RESAMPLES = 1000


def bootstrap(streams: Mapping[tuple[int, int], int], seed: int = 1) -> tuple[float, float] | None:
    """95 % percentile interval of a pooled ratio, resampling whole streams, since events come in bursts.

    `streams` counts them by (events, messages). None where there are too few streams or no messages.
    """
    pairs = sorted(pair for pair in streams if pair[1])
    weights = np.array([streams[pair] for pair in pairs], dtype=np.int64)
    total = int(weights.sum())
    if total < 2:
        return None
    drawn = np.random.default_rng(seed).multinomial(total, weights / total, size=RESAMPLES)
    events = drawn @ np.array([pair[0] for pair in pairs], dtype=np.int64)
    messages = drawn @ np.array([pair[1] for pair in pairs], dtype=np.int64)
    low, high = np.quantile(events / messages, (0.025, 0.975))
    return float(low), float(high)
