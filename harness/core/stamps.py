"""ISO 8601 instants and wall-clock nanoseconds, exact both ways; reading is total."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO = timedelta(microseconds=1)
LATEST_NS = 1 << 62
"""In the year 2116."""


def read_iso(text: str) -> int:
    """Nanoseconds since 1970 of `2024-05-12T14:30:00.000Z`; 0 for anything that is no instant. Without a zone it is UTC."""
    if len(text) > 40:
        return 0
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max((moment - _EPOCH) // _MICRO * 1000, 0)
    except (ValueError, OverflowError):
        return 0


def read_http_date(text: str) -> int:
    """The same of `Sun, 12 May 2024 14:30:00 GMT` (RFC 9110 §5.6.7), which is cut to whole seconds."""
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:  # `-0000`: UTC all the same
            moment = moment.replace(tzinfo=UTC)
        return max((moment - _EPOCH) // _MICRO * 1000, 0)
    except (TypeError, ValueError, OverflowError, IndexError):
        return 0


def believable(wall_ns: int) -> int:
    """The instant, or 0 where it is past `LATEST_NS`, which no journal could hold."""
    return wall_ns if wall_ns <= LATEST_NS else 0


def show_iso(wall_ns: int) -> str:
    """UTC with milliseconds, rounded down, and `Z`."""
    moment = _EPOCH + timedelta(milliseconds=max(wall_ns, 0) // 1_000_000)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"
