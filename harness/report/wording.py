"""How figures and foreign text are written on the page. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

DASH = "–"
_LIMIT = 120
_BIDI = frozenset(
    "\u061c\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
)


def shown(text: object, limit: int = _LIMIT) -> str:
    """Text that others may have written: cut, and with every character visible that would control or reorder."""
    whole = text if isinstance(text, str) else str(text)
    cut = whole if len(whole) <= limit else whole[: limit - 1] + "…"
    return "".join(_visible(c) for c in cut)


def _visible(c: str) -> str:
    if c in _BIDI or "\ud800" <= c <= "\udfff":
        return f"\\u{ord(c):04x}"
    if unicodedata.category(c)[0] == "C":
        code = ord(c)
        return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"\\u{code:04x}"
    return c


def clock(seconds: float) -> str:
    """`3:12`, and `1:02:03` past an hour."""
    whole = int(max(seconds, 0) + 1e-9)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def ms(value: float | None, *, short: bool = False) -> str:
    """Milliseconds in three digits, seconds from a second on; `short` drops zeros that say nothing."""
    if value is None:
        return DASH
    if value >= 1000:
        return f"{value / 1000:g}\u00a0s" if short else f"{digits(value / 1000)}\u00a0s"
    return f"{value:g}\u00a0ms" if short else f"{digits(value)}\u00a0ms"


def digits(value: float) -> str:
    """Three significant digits, whole numbers from 100 on in full."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.9995 else f"{value:.3g}"


def count(value: int | None) -> str:
    """A count in full; what is not known is a dash."""
    return DASH if value is None else f"{value:,}"


def span(low: int | None, high: int | None) -> str:
    """A count with its bounds."""
    if low is None or high is None:
        return DASH
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"


def percent(part: float, whole: float) -> str:
    """A share in two digits."""
    if not whole:
        return DASH
    share = 100 * part / whole
    if share == 0:
        return "0\u00a0%"
    if share < 0.01:
        return "< 0.01\u00a0%"
    return f"{share:.2g}\u00a0%" if share < 10 else f"{share:.0f}\u00a0%"


def many(number: int, one: str, more: str = "") -> str:
    """`1 guest`, `2 guests`."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def listed(names: Sequence[str], last: str = "and") -> str:
    """`a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def capital(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]
