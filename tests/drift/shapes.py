"""Synthetic series of known shape: 8 h at 30 s, level 100, noise sd 1.5, as in the table of metrics.md F3."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

STEP_S = 30.0
POINTS = 960
LEVEL, SD = 100.0, 1.5

Floats = npt.NDArray[np.float64]
Noise = Callable[[np.random.Generator], Floats]
Shape = Callable[[np.random.Generator, Noise], Floats]

_T = np.arange(POINTS) / POINTS


def white(random: np.random.Generator) -> Floats:
    """Independent normal noise."""
    return random.normal(0, SD, POINTS)


def dependent(phi: float) -> Noise:
    """AR(1) noise of the same standard deviation, begun in its steady state."""

    def noise(random: np.random.Generator) -> Floats:
        pushes = random.normal(0, SD * math.sqrt(1 - phi * phi), POINTS)
        values = np.empty(POINTS)
        values[0] = random.normal(0, SD)
        for number in range(1, POINTS):
            values[number] = phi * values[number - 1] + pushes[number]
        return values

    return noise


def _saw(random: np.random.Generator) -> Floats:
    """A collector's saw-tooth: 20 up in 10 minutes, then all at once down; the phase is chance."""
    found: Floats = 20 * ((np.arange(POINTS) + int(random.integers(20))) % 20) / 20
    return found


def grown(share: float) -> Shape:
    """A leak: it grows by this share of the level over the run, evenly."""
    return lambda random, noise: LEVEL * share * _T + noise(random)


def warm(tau: float) -> Shape:
    """Warm-up: it approaches its level from 20 below, with this share of the run as time constant."""
    return lambda random, noise: -20 * np.exp(-_T / tau) + noise(random)


def stepped(share: float, at: float = 0.55) -> Shape:
    """One step by this share of the level, a little after the middle of the run."""
    return lambda random, noise: LEVEL * share * (at <= _T) + noise(random)


def saw_toothed(share: float) -> Shape:
    """A leak under a saw-tooth. The collector's own noise is small against its teeth."""
    return lambda random, noise: LEVEL * share * _T + _saw(random) + 0.2 * noise(random)


def flat(random: np.random.Generator, noise: Noise) -> Floats:
    """Nothing but noise."""
    return noise(random)


def wave(random: np.random.Generator, noise: Noise) -> Floats:
    """A slow wave of 3 % to either side, one turn in the run."""
    return 3 * np.sin(2 * math.pi * _T) + noise(random)


SHAPES: dict[str, tuple[Shape, tuple[Noise, ...], str, float]] = {
    "flat, white": (flat, (white,), "STABLE", 0.94),
    "flat, AR 0.9": (flat, (dependent(0.9),), "STABLE", 0.57),
    "flat, AR 0.98": (flat, (dependent(0.98),), "STABLE", 0.49),
    "GC saw-tooth, flat": (saw_toothed(0.0), (white,), "STABLE", 1.0),
    "warm-up, tau 10 %": (warm(0.10), (white, dependent(0.8)), "not LEAK", 1 - 0.014),
    "warm-up, tau 25 %": (warm(0.25), (white, dependent(0.8)), "not LEAK", 1 - 0.044),
    "one step +5 %": (stepped(0.05), (white, dependent(0.8)), "STEP", 0.82),
    "slow wave": (wave, (white, dependent(0.8)), "STABLE", 0.91),
    "leak +3 %": (grown(0.03), (white, dependent(0.8)), "LEAK", 0.08),
    "leak +5 %": (grown(0.05), (white, dependent(0.8)), "LEAK", 0.50),
    "leak +10 %": (grown(0.10), (white, dependent(0.8)), "LEAK", 0.92),
    "leak +10 %, saw-tooth": (saw_toothed(0.10), (white,), "LEAK", 1.0),
}
"""Shape, the noises it is tried with, the answer that counts as right, and the share of right answers in the table.

Rows that do not name their noise are tried with independent noise and with noise that hangs together.
"""
CLEAN = ("flat, white", "flat, AR 0.9", "flat, AR 0.98", "GC saw-tooth, flat", "slow wave")
"""Rows in which LEAK is a false alarm."""


def series(name: str, seed: int, noise: int = 0) -> list[float]:
    """One series of a shape."""
    shape, noises, _, _ = SHAPES[name]
    return [float(value) for value in LEVEL + shape(np.random.default_rng(seed), noises[noise])]
