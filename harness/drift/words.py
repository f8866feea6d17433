"""How figures of a long run are written: amounts with their unit, lengths, and the sentence of a series. Pure."""

from __future__ import annotations

from collections.abc import Callable

_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_MANY = 1e15
"""From there on figures are written with an exponent."""


def digits(value: float) -> str:
    """Three significant digits, whole numbers in full."""
    size = abs(value)
    if size >= _MANY or 0 < size < 1e-4:
        return f"{value:.2e}"
    if size >= 99.95:
        return f"{value:,.0f}"
    if value == int(value):
        return f"{int(value)}"
    return f"{value:.1f}" if size >= 9.995 else f"{value:.2f}" if size >= 0.9995 else f"{value:.3g}"


def writer(unit: str, largest: float) -> Callable[[float], str]:
    """Writes amounts of a unit, all in the scale that fits the largest: `104 MB`, `31.0 ms`, `1.2 %`."""
    if unit == "bytes":
        scale, name = next(((scale, name) for scale, name in _BYTES if abs(largest) >= scale), (1.0, "bytes"))
        return lambda value: f"{digits(value / scale)} {name}"
    if unit == "share":
        return lambda value: f"{digits(100 * value)} %"
    if unit == "ms" and abs(largest) >= 10_000:
        return lambda value: f"{digits(value / 1000)} s"
    return lambda value: f"{digits(value)} {unit}".rstrip()


def between(write: Callable[[float], str], low: float, high: float) -> str:
    """`7.5 to 10.3 MB`: the unit once."""
    first, last = write(low), write(high)
    head, _, unit = first.rpartition(" ")
    return f"{head} to {last}" if head and last.endswith(f" {unit}") else f"{first} to {last}"


def length(seconds: float) -> str:
    """`45 s`, `5 min`, `6 h 48 min`, `3 d 4 h`: the two largest parts."""
    left = round(seconds)
    if left < 1:
        return f"{digits(seconds)} s"
    parts: list[tuple[int, str]] = []
    for size, name in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size or parts:
            parts.append((left // size, name))
            left %= size
        if len(parts) == 2:
            break
    return " ".join(f"{count:,} {name}" for count, name in parts if count)


def clock(seconds: float) -> str:
    """An instant of a run: `3:12`, and `1:02:03` past an hour."""
    whole = int(max(seconds, 0) + 1e-9)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def chance(p: float) -> str:
    """`p < 0.001`, `p = 0.03`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def capital(text: str) -> str:
    """With a capital first letter."""
    return text[:1].upper() + text[1:]
