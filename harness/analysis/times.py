"""Times of a delivery log as whole nanoseconds, exactly: a float of seconds since 1970 would not keep the microseconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

Times = Callable[[object], int]
"""Text or number of one time to nanoseconds; raises ValueError."""

UNITS = {"s": 9, "ms": 6, "us": 3, "ns": 0}
"""Unit to the power of ten of its nanoseconds."""
INSTANT = "rfc3339"
LIMIT_NS = 1 << 62
"""Far beyond any time; what lies further is a mistake of the unit."""
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_KNOWN_SECONDS = 100_000


def times_in(unit: str) -> Times:
    """How to read times in that unit."""
    return _instants() if unit == INSTANT else _numbers(UNITS[unit])


def _numbers(digits: int) -> Times:
    zeros = ["0" * (digits - n) for n in range(digits + 1)]
    scale = 10**digits

    def read(value: object) -> int:
        if isinstance(value, str):
            whole, _, part = value.partition(".")
            try:
                ns = int(whole + part + zeros[len(part)]) if part.isdigit() or not part else _exactly(value, digits)
            except (ValueError, IndexError):
                ns = _exactly(value, digits)
        elif type(value) is int:
            ns = value * scale
        elif isinstance(value, float):
            ns = _exactly(repr(value), digits)
        else:
            raise ValueError("is no time")
        if not -LIMIT_NS < ns < LIMIT_NS:
            raise ValueError("is out of range; is the unit right?")
        return ns

    return read


def _exactly(text: str, digits: int) -> int:
    """The long way: exponents, many digits, blanks. Digits below a nanosecond are rounded."""
    try:
        value = Decimal(text.strip()).scaleb(digits)
        if not value.is_finite() or abs(value) >= LIMIT_NS:
            raise ValueError("is out of range; is the unit right?")
        return int(value.to_integral_value())
    except InvalidOperation:
        raise ValueError("is no time") from None


def _instants() -> Times:
    known: dict[str, int] = {}

    def read(value: object) -> int:
        found = _INSTANT.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ValueError("is no instant such as 2026-03-01T12:00:00.125Z")
        day, clock, part, zone = found.groups()
        key = f"{day}T{clock}{zone.upper()}"
        seconds = known.get(key)
        if seconds is None:
            if len(known) >= _KNOWN_SECONDS:
                known.clear()
            try:
                at = datetime.fromisoformat(key)
            except ValueError:
                raise ValueError("is no instant such as 2026-03-01T12:00:00.125Z") from None
            seconds = known[key] = int((at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
        return seconds * 10**9 + (int(part.ljust(9, "0")) if part else 0)

    return read
