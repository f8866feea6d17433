"""Durations and distributions of durations, as scenarios write them: `8s`, `"8s±20%"`, `{lognormal = {...}}`."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from random import Random
from typing import Annotated, Any

import msgspec

NS = {"ns": 1, "us": 1_000, "µs": 1_000, "ms": 1_000_000, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zµ]+)\s*\Z")
_AROUND = re.compile(r"\s*(.+?)\s*(?:±|\+-)\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*\Z")
_Z95 = 1.6448536269514722
"""The 95 % point of the standard normal distribution."""

Duration = Annotated[int, "duration"]
"""Nanoseconds in code, `"250ms"` in a scenario."""
Share = Annotated[float, "share"]
"""A fraction from 0 to 1."""


def ms(value: float) -> int:
    """Milliseconds as nanoseconds."""
    return round(value * 1e6)


def seconds(value: float) -> int:
    """Seconds as whole nanoseconds."""
    return round(value * 1e9)


def parse_duration(text: object) -> int:
    """Nanoseconds of `"1.5s"`. Raises ValueError naming the known units; a bare number has no unit and is refused."""
    if isinstance(text, str) and (found := _DURATION.match(text)) and found[2] in NS:
        return round(Decimal(found[1]) * NS[found[2]])
    raise ValueError(f'{text!r} is not a duration: write a number and a unit, such as "250ms" (ns us ms s min h d)')


def show_duration(ns: int) -> str:
    """The shortest spelling that `parse_duration` reads back to the same value."""
    for unit in ("h", "min", "s", "ms", "us"):
        if ns and ns % NS[unit] == 0:
            return f"{ns // NS[unit]}{unit}"
    return f"{ns}ns" if ns else "0s"


class Spread(msgspec.Struct, frozen=True, gc=False):
    """A distribution of durations.

    `fixed`: always `a`. `uniform`: from `a` to `b`. `lognormal`: median `a`, 95 % point `b`. `poisson`: exponential gaps
    with mean `a`, that is, a Poisson process.
    """

    kind: str
    a: int
    b: int = 0

    def sample(self, rng: Random) -> int:
        """One draw in nanoseconds, never negative."""
        if self.kind == "fixed":
            return self.a
        if self.kind == "uniform":
            return round(rng.uniform(self.a, self.b))
        if self.kind == "poisson":
            return round(rng.expovariate(1.0) * self.a)
        sigma = math.log(self.b / self.a) / _Z95
        return round(self.a * math.exp(sigma * rng.gauss(0.0, 1.0)))

    @property
    def mean(self) -> float:
        """Mean in nanoseconds."""
        if self.kind == "uniform":
            return (self.a + self.b) / 2
        if self.kind == "lognormal":
            return self.a * math.exp((math.log(self.b / self.a) / _Z95) ** 2 / 2)
        return float(self.a)

    def show(self) -> str:
        """A spelling for manifests and reports."""
        a = show_duration(self.a)
        if self.kind == "fixed":
            return a
        if self.kind == "uniform":
            return f"{a} to {show_duration(self.b)}"
        return f"lognormal, median {a}, p95 {show_duration(self.b)}" if self.kind == "lognormal" else f"poisson, mean {a}"


def fixed(value_s: float) -> Spread:
    """Always the same."""
    return Spread("fixed", seconds(value_s))


def around(value_s: float, share: float) -> Spread:
    """Uniform within ± a share of the value."""
    return Spread("uniform", seconds(value_s * (1 - share)), seconds(value_s * (1 + share)))


def parse_spread(value: object) -> Spread:
    """A distribution from its scenario spelling. Raises ValueError that says how to write one."""
    if isinstance(value, str):
        if found := _AROUND.match(value):
            share = float(found[2]) / 100
            if share > 1:
                raise ValueError(f"{value!r}: a spread of more than 100 % would be negative")
            middle = parse_duration(found[1])
            return Spread("uniform", round(middle * (1 - share)), round(middle * (1 + share)))
        return Spread("fixed", parse_duration(value))
    if isinstance(value, dict) and len(value) == 1:
        kind, inner = next(iter(value.items()))
        return _parse_table(str(kind), inner)
    raise ValueError(
        f'{value!r} is not a distribution: write "8s", "8s±20%", {{lognormal = {{median = "8s", p95 = "20s"}}}}, '
        '{uniform = {min = "1s", max = "3s"}} or {poisson = {mean = "2s"}}'
    )


def _parse_table(kind: str, inner: Any) -> Spread:
    names = {"lognormal": ("median", "p95"), "uniform": ("min", "max"), "poisson": ("mean",)}.get(kind)
    if names is None:
        raise ValueError(f"unknown distribution {kind!r}: lognormal, uniform or poisson")
    if not isinstance(inner, dict) or set(inner) != set(names):
        raise ValueError(f"{kind} takes exactly {' and '.join(names)}")
    values = [parse_duration(inner[name]) for name in names]
    if kind == "poisson":
        return Spread("poisson", values[0])
    if values[1] < values[0] or (kind == "lognormal" and values[0] <= 0):
        raise ValueError(f"{kind}: {names[1]} must not lie below {names[0]}, and a median must be above 0")
    return Spread(kind, values[0], values[1])
