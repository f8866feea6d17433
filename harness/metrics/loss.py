"""Loss as bounds. What the books of one conversation say at its end, and the ratio with its confidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


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
