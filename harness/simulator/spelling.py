"""How durations, spreads, shares and rates are written in the `[simulator]` table. The simulator's own reader."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from harness.errors import UsageError

UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "min": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
}
SECOND = UNITS["s"]
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(ns|us|µs|ms|s|min|h|d)\s*\Z")
_AROUND = re.compile(r"\s*(.+?)\s*(?:±|\+-|\+/-)\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*\Z")
_RATE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*(s|min|h)\s*\Z")
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(B|kB|MB|GB|KiB|MiB|GiB)\s*\Z")
SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_PERCENT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*\Z")
_Z95 = 1.6448536269514722


class SimConfigError(UsageError, ValueError):
    """A `[simulator]` table that cannot be used; `where` is the key's path."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of durations.

    `fixed`, `uniform` (mean ± part), `lognormal` (median, sigma), `exponential` (mean), `bimodal` (`most`, and for the share
    `extent` of the draws `far`), `pareto` (least, 1/alpha, and `far` as the most).
    """

    kind: str = "fixed"
    centre: int = 0
    extent: float = 0.0
    far: int = 0

    def sample(self, rng: Random) -> int:
        """Draw one duration in ns. A fixed one draws nothing from the generator."""
        kind = self.kind
        if kind == "fixed":
            return self.centre
        if kind == "uniform":
            return round(self.centre * (1.0 + self.extent * (2.0 * rng.random() - 1.0)))
        if kind == "lognormal":
            return round(self.centre * math.exp(self.extent * rng.gauss(0.0, 1.0)))
        if kind == "bimodal":
            return self.far if rng.random() < self.extent else self.centre
        if kind == "pareto":
            return min(round(self.centre * math.pow(1.0 - rng.random(), -self.extent)), self.far)
        return round(-self.centre * math.log(1.0 - rng.random()))


def wrong(where: str, what: str, hint: str = "") -> SimConfigError:
    """Make the error for one key."""
    return SimConfigError(what, where=where, hint=hint)


def unknown_key(name: str, known: Iterable[str], where: str) -> SimConfigError:
    """Make the error for a key that does not exist: it names the nearest one that does."""
    near = difflib.get_close_matches(name, sorted(known), 1, 0.0)
    return wrong(f"{where}.{name}", f"unknown key {name!r}", f"Did you mean {near[0]!r}?" if near else "")


def duration(value: Any, where: str) -> int:
    """Read `"8s"`, `"250ms"`, `"5min"`; 0 needs no unit."""
    if value == 0 and not isinstance(value, bool):
        return 0
    found = _DURATION.match(value) if isinstance(value, str) else None
    if not found:
        raise wrong(where, f"{value!r} is no duration", 'Write a number and a unit: "250ms", "8s", "5min", "1h".')
    return round(float(found[1]) * UNITS[found[2]])


def spread(value: Any, where: str) -> Spread:
    """Read `"8s"`, `"8s±20%"` or a table of one distribution, such as `{lognormal = {median, p95}}`."""
    if isinstance(value, str) and (found := _AROUND.match(value)):
        part = float(found[2]) / 100.0
        if part > 1.0:
            raise wrong(where, f"{value!r} reaches below zero", "Use at most ±100%.")
        return Spread("uniform", duration(found[1], where), part)
    if isinstance(value, dict) and len(value) == 1:
        kind, inner = next(iter(value.items()))
        if kind in ("poisson", "exponential"):
            return Spread(
                "exponential",
                duration(inner["mean"] if isinstance(inner, dict) and set(inner) == {"mean"} else inner, f"{where}.{kind}"),
            )
        if kind == "lognormal" and isinstance(inner, dict) and set(inner) == {"median", "p95"}:
            median, p95 = duration(inner["median"], f"{where}.lognormal.median"), duration(inner["p95"], f"{where}.lognormal.p95")
            if not 0 < median <= p95:
                raise wrong(where, "a lognormal needs 0 < median <= p95")
            return Spread("lognormal", median, math.log(p95 / median) / _Z95)
        if kind == "uniform" and isinstance(inner, dict) and set(inner) == {"min", "max"}:
            low, high = duration(inner["min"], f"{where}.uniform.min"), duration(inner["max"], f"{where}.uniform.max")
            if high < low:
                raise wrong(where, "a uniform needs min <= max")
            return Spread("uniform", (low + high) // 2, (high - low) / (high + low) if high else 0.0)
        if kind in ("bimodal", "pareto") and isinstance(inner, dict):
            return _tailed(kind, inner, f"{where}.{kind}")
    if isinstance(value, dict):
        raise wrong(
            where,
            f"{value!r} is no distribution",
            "Known: {lognormal = {median, p95}}, {uniform = {min, max}}, {poisson = {mean}}, {bimodal = {most, rest, share}}, "
            "{pareto = {min, p99, max}}.",
        )
    return Spread("fixed", duration(value, where))


def _tailed(kind: str, inner: dict[Any, Any], where: str) -> Spread:
    """Read `{bimodal = {most, rest, share}}` (two values) or `{pareto = {min, p99, max}}` (a heavy tail, cut at `max`)."""
    names = ("most", "rest", "share") if kind == "bimodal" else ("min", "p99", "max")
    if set(inner) != set(names):
        raise wrong(where, f"it takes exactly {', '.join(names)}")
    if kind == "bimodal":
        most, rest = (duration(inner[name], f"{where}.{name}") for name in ("most", "rest"))
        return Spread("bimodal", most, share(inner["share"], f"{where}.share"), rest)
    low, p99, high = (duration(inner[name], f"{where}.{name}") for name in names)
    if not 0 < low <= p99 <= high:
        raise wrong(where, "a pareto needs 0 < min <= p99 <= max")
    return Spread("pareto", low, math.log(p99 / low) / math.log(100.0), high)


def share(value: Any, where: str) -> float:
    """Read a share: 0.05 or `"5%"`."""
    if isinstance(value, str) and (found := _PERCENT.match(value)):
        value = float(found[1]) / 100.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise wrong(where, f"{value!r} is no share", 'Write 0.05 or "5%".')
    return float(value)


def growth(value: Any, where: str) -> float:
    """Read by how much something grows, as a part of itself: 0.1, `"10%"`, `"250%"`."""
    if isinstance(value, str) and (found := _PERCENT.match(value)):
        return float(found[1]) / 100.0
    if isinstance(value, str):
        raise wrong(where, f"{value!r} is no part of anything", 'Write 0.1 or "10%".')
    return number(value, where)


def size(value: Any, where: str) -> int:
    """Read `"64MiB"`, `"10MB"`; 0 needs no unit."""
    if value == 0 and not isinstance(value, bool):
        return 0
    found = _SIZE.match(value) if isinstance(value, str) else None
    if not found:
        raise wrong(where, f"{value!r} is no size", f'Write a number and a unit, such as "64MiB": {", ".join(SIZES)}.')
    return round(float(found[1]) * SIZES[found[2]])


def rate(value: Any, where: str) -> float:
    """Read a rate, `"5/s"` or `"300/min"`, as events per nanosecond."""
    found = _RATE.match(value) if isinstance(value, str) else None
    if not found or float(found[1]) <= 0:
        raise wrong(where, f"{value!r} is no rate", 'Write "5/s", "300/min" or "1000/h".')
    return float(found[1]) / UNITS[found[2]]


def whole(value: Any, where: str, *, low: int = 0) -> int:
    """Read a whole number."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise wrong(where, f"{value!r} is no whole number of at least {low}")
    return value


def signed(value: Any, where: str) -> float:
    """Read a number of either sign."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong(where, f"{value!r} is no number")
    return float(value)


def number(value: Any, where: str) -> float:
    """Read a number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise wrong(where, f"{value!r} is no number of at least 0")
    return float(value)


def text(value: Any, where: str) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise wrong(where, f"{value!r} is no text")
    return value


def flag(value: Any, where: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise wrong(where, f"{value!r} is neither true nor false")
    return value


def texts(value: Any, where: str) -> tuple[str, ...]:
    """Read a list of texts."""
    if not isinstance(value, list | tuple):
        raise wrong(where, f"{value!r} is no list")
    return tuple(text(item, f"{where}[{place}]") for place, item in enumerate(value))


def choice(*allowed: str) -> Any:
    """Make a reader of one of a few words."""

    def read(value: Any, where: str) -> str:
        if value not in allowed:
            raise wrong(where, f"{value!r} is not known", f"Known: {', '.join(allowed)}.")
        return str(value)

    return read
