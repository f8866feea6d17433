"""A fitted curve and how sure it is, as plots take it. Only data: who fits it need not load what draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Band:
    """A curve with its 95 % band, at the same places."""

    at: Sequence[float]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
