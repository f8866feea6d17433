"""Durations and distributions: spelling, sampling, and clear refusals."""

from __future__ import annotations

import statistics
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.spread import Spread, parse_duration, parse_spread, show_duration


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("250ms", 250_000_000),
        ("1.5s", 1_500_000_000),
        ("2min", 120 * 10**9),
        ("1h", 3600 * 10**9),
        ("7us", 7000),
        ("0s", 0),
        (" 3 s ", 3 * 10**9),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, ns: int) -> None:
    assert parse_duration(text) == ns


@pytest.mark.parametrize("bad", ["8", 8, 8.5, "8 parsecs", "-3s", "", None, True, ["8s"], "s"])
def test_what_has_no_unit_is_refused_with_the_units(bad: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(bad)


@given(st.integers(0, 10**16))
def test_what_is_shown_reads_back_to_the_same(ns: int) -> None:
    assert parse_duration(show_duration(ns)) == ns


def test_spellings_of_distributions() -> None:
    assert parse_spread("8s") == Spread("fixed", 8 * 10**9)
    assert parse_spread("8s±25%") == Spread("uniform", 6 * 10**9, 10 * 10**9)
    assert parse_spread({"lognormal": {"median": "8s", "p95": "20s"}}) == Spread("lognormal", 8 * 10**9, 20 * 10**9)
    assert parse_spread({"poisson": {"mean": "2s"}}) == Spread("poisson", 2 * 10**9)


@pytest.mark.parametrize(
    "bad",
    [
        "8s±120%",
        {"normal": {"mean": "1s"}},
        {"lognormal": {"median": "8s"}},
        {"uniform": {"min": "3s", "max": "1s"}},
        8,
        {},
        {"a": 1, "b": 2},
    ],
)
def test_a_wrong_distribution_says_how_to_write_one(bad: object) -> None:
    with pytest.raises(ValueError, match=r"distribution|duration|lognormal|uniform|spread"):
        parse_spread(bad)


def test_samples_have_the_asked_for_shape() -> None:
    rng = Random(5)
    lognormal = sorted(parse_spread({"lognormal": {"median": "8s", "p95": "20s"}}).sample(rng) for _ in range(20_000))
    assert lognormal[10_000] == pytest.approx(8e9, rel=0.03)
    assert lognormal[19_000] == pytest.approx(20e9, rel=0.05)
    assert statistics.fmean(parse_spread({"poisson": {"mean": "2s"}}).sample(rng) for _ in range(20_000)) == pytest.approx(
        2e9, rel=0.03
    )
    uniform = [parse_spread("8s±25%").sample(rng) for _ in range(1000)]
    assert 6e9 <= min(uniform) < 6.2e9
    assert 9.8e9 < max(uniform) <= 10e9


@given(st.integers(0, 2**32))
def test_a_seed_decides_every_draw(seed: int) -> None:
    spread = parse_spread({"lognormal": {"median": "1s", "p95": "5s"}})
    first, second = Random(seed), Random(seed)
    assert [spread.sample(first) for _ in range(5)] == [spread.sample(second) for _ in range(5)]
