"""The suite that ships, for every dialect that is registered: literal lines, broken bytes, random interleavings."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.conformance import strategies
from harness.conformance.injections import KINDS, rude
from tests.conformance.kit import NAMES, players, scenes, staged, suite

HASTE = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize(("name", "scene"), scenes("client"))
def test_the_guest_half_alone_plays_a_scene(name: str, scene: str) -> None:
    suite(name).client_scene(scene)


@pytest.mark.parametrize(("name", "scene"), scenes("server"))
def test_the_server_half_alone_plays_a_scene(name: str, scene: str) -> None:
    suite(name).server_scene(scene)


@pytest.mark.parametrize("half", ["dialects", "simulator"])
@pytest.mark.parametrize("name", NAMES)
def test_the_scenes_of_each_half_are_played_here_or_in_its_own_tests(name: str, half: str) -> None:
    assert staged(name) or players(name, half), f"nobody plays the transcript of {name} against its half in tests/{half}"


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", NAMES)
def test_books_balance_at_every_moment_in_any_order(name: str, seed: int) -> None:
    outcome = suite(name).any_order(seed)
    assert all(row.equal for row in outcome.rows)
    assert sum(outcome.books.outcomes.values()) == len(outcome.books.attempts)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("name", NAMES)
def test_both_halves_survive_rudeness(name: str, seed: int) -> None:
    outcome = suite(name).survives(seed)
    assert all(session.finished for session in outcome.sessions)


@pytest.mark.parametrize("name", NAMES)
@HASTE
@given(data=st.data())
def test_both_halves_survive_arbitrary_bytes(name: str, data: st.DataObject) -> None:
    one = suite(name)
    outcome = one.survives(data.draw(strategies.injections(one.words)))
    assert all(session.finished for session in outcome.sessions)


def test_what_is_thrown_in_is_of_every_kind_and_reaches_a_live_guest() -> None:
    """Else surviving it would mean nothing."""
    for name in NAMES:
        one = suite(name)
        thrown = rude(one.words, Random(1), 120, 300)
        assert {each.kind for each in thrown} == set(KINDS)
        outcome = one.survives(thrown)
        assert len(outcome.books.attempts) > 3, f"{name}: the guests hardly spoke"
