"""Wall-clock instants as the wire shows them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from functools import lru_cache

_ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def iso(ms: int) -> str:
    """Milliseconds since 1970 as `2024-05-12T14:30:00.000Z`."""
    return f"{_second(ms // 1000)}{ms % 1000:03d}Z"


def iso_seconds(ms: int) -> str:
    """The same in whole seconds, `2024-05-12T14:30:00Z`; a part of a second is left out."""
    return f"{_second(ms // 1000)[:-1]}Z"


@lru_cache(maxsize=256)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")


def parse(text: str) -> int | None:
    """The other way; None for what is no instant."""
    found = _ISO.match(text)
    if not found:
        return None
    try:
        whole = datetime(*(int(part) for part in found.groups()[:6]), tzinfo=UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        return None
    return (whole - _EPOCH) // _MILLISECOND + int(((found[7] or "") + "000")[:3])


@lru_cache(maxsize=256)
def http_date(ms: int) -> str:
    """As in a `Retry-After` that is a date, and in `Date`."""
    return formatdate(ms / 1000, usegmt=True)
