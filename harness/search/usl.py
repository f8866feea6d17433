"""Universal Scalability Law, fitted to the steps of a closed model. Pure.

`X(N) = γN / (1 + α(N−1) + βN(N−1))`: X completions per second of N guests, γ what one guest alone would do, α contention (what is
done one at a time), β coherency (what grows with every pair). The peak is at `N* = √((1−α)/β)`; with β = 0 there is none, and
the limit is γ/α. Least squares of *relative* errors, ln γ as parameter, α and β not negative. It describes; it decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

FEWEST = 6
"""Loads that a fit needs."""
FURTHEST = 1.5
"""Times the largest load: no further is the curve drawn or believed."""
_PAST = 0.005
"""By that share must throughput have fallen after its peak at least, or the fall says nothing of where the peak is."""


class Range(NamedTuple):
    """A value and its 95 % interval (bootstrap over the steps)."""

    value: float
    low: float
    high: float


class Usl(NamedTuple):
    """A fit."""

    gamma: Range
    """Completions per second of one guest."""
    alpha: Range
    """Contention."""
    beta: Range
    """Coherency."""
    peak: Range | None
    """N*, guests; None: no peak, β is 0. Its ends may be infinite."""
    most: Range
    """Completions per second at the peak, or the limit γ/α."""
    largest: float
    """The largest load of a step."""
    draws: Vector
    """Bootstrap draws of (γ, α, β), for a band."""

    def throughput(self, guests: Vector) -> Vector:
        """Completions per second; not a number beyond what the fit says anything about."""
        return np.where(
            guests <= FURTHEST * self.largest, curve(guests, self.gamma.value, self.alpha.value, self.beta.value), np.nan
        )

    def band(self, guests: Vector) -> tuple[Vector, Vector]:
        """95 % band of the curve, as far as it goes."""
        every = np.array([curve(guests, *row) for row in self.draws])
        low, high = np.quantile(every, [0.025, 0.975], axis=0)
        beyond = guests > FURTHEST * self.largest
        return np.where(beyond, np.nan, low), np.where(beyond, np.nan, high)


def curve(guests: Vector, gamma: float, alpha: float, beta: float) -> Vector:
    """The law itself."""
    found: Vector = gamma * guests / (1 + alpha * (guests - 1) + beta * guests * (guests - 1))
    return found


def invalid_because(
    guests: Sequence[float],
    throughput: Sequence[float],
    half: Sequence[float],
    *,
    closed: bool,
    limited: bool = False,
    erring: bool = False,
) -> str:
    """Why a fit would say nothing; empty: it is valid. `half`: half the width of each throughput's 95 % interval."""
    if not closed:
        return "the law is about guests who wait for their answer, not about arrivals at a given rate"
    if limited:
        return "a rate limit shapes the curve"
    if erring:
        return "failed operations shape the curve"
    by_load = _means(guests, throughput)
    if len(by_load) < FEWEST:
        return f"{len(by_load)} loads were measured, {FEWEST} are needed"
    loads = list(by_load)
    top = max(loads, key=lambda load: by_load[load])
    last = loads[-1]
    doubt = _half_at(guests, half, top) + _half_at(guests, half, last)
    if top == last or by_load[top] - by_load[last] <= max(_PAST * by_load[top], doubt):
        return "no step lies past the peak of the throughput"  # a curve that is flat at the end varies as much by chance
    return ""


def fit(guests: Sequence[float], throughput: Sequence[float], *, seed: int = 1, draws: int = 300) -> Usl | None:
    """The fit, whether valid or not (`invalid_because`); None: fewer than three loads with any throughput."""
    n, x = _usable(guests, throughput)
    if np.unique(n).size < 3:
        return None
    best = _fit_best(n, x)
    rng = np.random.default_rng(seed)
    fitted = curve(n, *best)
    residuals = np.log(x / fitted) * _widened(n.size)
    found = [_fit_linear(n, fitted * np.exp(rng.choice(residuals, n.size))) for _ in range(draws)]
    every = np.array(found)
    peaks = np.array([_peak(alpha, beta) for _, alpha, beta in found])
    tops = np.array([_top(*row) for row in found])
    gamma, alpha, beta = (_range(value, every[:, k]) for k, value in enumerate(best))
    peak = _peak(best[1], best[2])
    return Usl(
        gamma,
        alpha,
        beta,
        _range(peak, peaks) if math.isfinite(peak) else None,
        _range(_top(*best), tops),
        float(n.max()),
        every,
    )


def _widened(count: int) -> float:
    """Three parameters make the residuals of few steps too small, and their spread uncertain: Student's t over the normal."""
    from scipy.stats import t

    free = max(count - 3, 1)
    return math.sqrt(count / free) * float(t.ppf(0.975, free)) / 1.96


def _fit_linear(n: Vector, x: Vector) -> tuple[float, float, float]:
    """Relative errors of 1/X, which is linear in 1/γ, α/γ, β/γ: the same to first order, and quick."""
    from scipy.optimize import nnls

    design = np.column_stack((np.ones_like(n), n - 1, n * (n - 1))) / n[:, None]
    found, _ = nnls(design * x[:, None], np.ones_like(n))
    gamma = 1 / max(float(found[0]), 1e-12)
    return gamma, float(found[1]) * gamma, float(found[2]) * gamma


def _fit_best(n: Vector, x: Vector) -> tuple[float, float, float]:
    """Relative errors of X itself, from the quick fit on."""
    from scipy.optimize import least_squares

    gamma, alpha, beta = _fit_linear(n, x)
    first = [math.log(gamma), min(alpha, 10.0), min(beta, 10.0)]

    def off(p: Vector) -> Vector:
        return curve(n, math.exp(min(p[0], 700.0)), p[1], p[2]) / x - 1

    done = least_squares(off, first, bounds=([-np.inf, 0, 0], np.inf), x_scale=[1.0, 1e-2, 1e-4], xtol=1e-10, ftol=1e-10)
    return math.exp(done.x[0]), float(done.x[1]), float(done.x[2])


def _peak(alpha: float, beta: float) -> float:
    return math.sqrt((1 - alpha) / beta) if beta > 1e-12 and alpha < 1 else math.inf


def _top(gamma: float, alpha: float, beta: float) -> float:
    peak = _peak(alpha, beta)
    if math.isfinite(peak):
        return float(curve(np.array([peak]), gamma, alpha, beta)[0])
    return gamma / alpha if alpha > 1e-12 else math.inf


def _range(value: float, draws: Vector) -> Range:
    low, high = (float(np.quantile(draws, share, method="nearest")) for share in (0.025, 0.975))
    return Range(value, min(low, value), max(high, value))


def _usable(guests: Sequence[float], throughput: Sequence[float]) -> tuple[Vector, Vector]:
    n, x = np.asarray(guests, dtype=np.float64), np.asarray(throughput, dtype=np.float64)
    keep = (n >= 1) & (x > 0)
    return n[keep], x[keep]


def _half_at(guests: Sequence[float], half: Sequence[float], load: float) -> float:
    """Half the width of the interval of the mean over all steps at one load."""
    found = [width for at, width in zip(guests, half, strict=True) if at == load]
    return math.sqrt(sum(width * width for width in found)) / len(found) if found else 0.0


def _means(guests: Sequence[float], throughput: Sequence[float]) -> dict[float, float]:
    n, x = _usable(guests, throughput)
    return {float(load): float(x[n == load].mean()) for load in np.unique(n)}
