"""What a part of `make prove` is, and how a share that is asked of many trials is judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from scipy import stats

Trial = Callable[[int], dict[str, Any]]
Judge = Callable[[list[dict[str, Any]]], dict[str, Any]]
MISSED = 0.01
"""One-sided p of the binomial test below which a share is missed."""


class Part(NamedTuple):
    """One part: its trial, by seed from 1, and how many of them."""

    trial: Trial
    trials: int
    at_once: int = 1
    """Trials side by side, where they are processes of their own."""
    judge: Judge | None = None
    """What all trials come to: a record with `ok`. Without one every trial has to be `ok` itself."""
    of: tuple[str, ...] = ("harness", "tests")
    """What its results hang on: other files may change without its beginning anew."""
    forked: bool = False
    """Trials that are nothing but arithmetic go to processes, so that `at_once` of them run side by side."""


def judged(trials: Mapping[str, dict[str, Any]], judge: Judge | None) -> dict[str, Any]:
    """What the trials so far come to, for the part's file."""
    if judge is not None:
        return {"judged": judge([trials[seed] for seed in sorted(trials, key=int)])}
    return {"failed": sorted(int(seed) for seed, one in trials.items() if not one["ok"])}


def said(result: Mapping[str, Any]) -> str:
    """A trial's result in a few words."""
    if "ok" not in result:
        return " ".join(f"{name}={value}" for name, value in result.items() if not isinstance(value, list | dict))[:120]
    return f"{'equal' if result['ok'] else 'UNEQUAL'} {result.get('unequal', '')}"


def at_least(hits: int, trials: int, share: float) -> bool:
    """Whether so many hits do not contradict a share of at least this: a miss is significantly below it."""
    return trials == 0 or float(stats.binom.cdf(hits, trials, share)) >= MISSED


def at_most(hits: int, trials: int, share: float) -> bool:
    """Whether so many hits do not contradict a share of at most this."""
    return trials == 0 or float(stats.binom.sf(hits - 1, trials, share)) >= MISSED


class Unfinished(Exception):
    """A trial that goes on by itself, in a process of its own; ask again."""
