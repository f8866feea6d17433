"""What an HTTP status and a `Retry-After` mean to a guest (RFC 9110 §10.2.3, §15). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from harness.core.stamps import read_http_date
from harness.errors import FailureCause

_CAUSES = {
    400: FailureCause.BAD_REQUEST,
    401: FailureCause.UNAUTHORISED,
    403: FailureCause.FORBIDDEN,
    404: FailureCause.NOT_FOUND,
    409: FailureCause.CONFLICT,
    413: FailureCause.TOO_LARGE,
    429: FailureCause.RATE_LIMITED,
}


def cause_of_status(status: int) -> FailureCause | None:
    """None for a 2xx, else the failure's name."""
    if 200 <= status < 300:
        return None
    if status >= 500:
        return FailureCause.SERVER_ERROR
    return _CAUSES.get(status, FailureCause.HTTP_STATUS)


def date_ns(headers: Mapping[str, str]) -> int:
    """Wall-clock nanoseconds of an answer's `Date` (RFC 9110 §6.6.1, whole seconds); 0: none, or a cache's (it has an `Age`)."""
    text = headers.get("date")
    if not text or "age" in headers:
        return 0
    return read_http_date(text)


def retry_after_ns(value: str | None, now_wall_ns: int, *, default_ns: int, cap_ns: int) -> int:
    """Nanoseconds that a `Retry-After` (whole seconds or an HTTP date) asks to wait; bounded, and total for any text."""
    if not value:
        return min(default_ns, cap_ns)
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(int(text) * 10**9, cap_ns)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):
        return min(default_ns, cap_ns)
    return max(0, min(round(moment.timestamp() * 1e9) - now_wall_ns, cap_ns))
