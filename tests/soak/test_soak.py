"""A soak in virtual time: every kind of fault, thousands of messages, and truth equal to the journal in every row."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core.pacing import Behaviour
from harness.core.spread import around, seconds
from harness.simulator.faults.catalogue import CATALOGUE
from tests.soak.runner import Outcome, Plan, run
from tests.soak.scenarios import every_fault

ALWAYS_ON = {"drift", "skew"}
"""Faults that change times and nothing else; they have tests of their own."""


def soak(folder: Path, *, hours: float, think_s: float, seed: int, guests: int = 50) -> Outcome:
    behaviour = Behaviour(think_time=around(think_s, 0.5), session_length=around(20 * think_s, 0.3), reply_timeout=seconds(20))
    plan = Plan(guests=guests, seconds=hours * 3600, seed=seed, behaviour=behaviour, simulator=every_fault(), interval=60)
    return run(plan, folder)


def check(outcome: Outcome, messages: int, times: int) -> None:
    assert not outcome.unequal(), outcome.table()
    assert all(row.equal for row in outcome.rows)
    assert all(session.finished for session in outcome.sessions)
    assert outcome.messages >= messages, outcome.counts
    rare = {name: outcome.faults[name] for name in set(CATALOGUE) - ALWAYS_ON if outcome.faults[name] < times}
    assert not rare, f"not often enough to mean anything: {rare}"


def test_two_hours_of_fifty_guests_with_every_fault(tmp_path: Path) -> None:
    check(soak(tmp_path, hours=2, think_s=8, seed=1), messages=50_000, times=20)


@pytest.mark.parametrize("seed", range(1, 9))
@pytest.mark.parametrize("dialect", ["webchat", "longpoll"])
def test_twenty_minutes_of_one_dialect(tmp_path: Path, dialect: str, seed: int) -> None:
    plan = Plan(dialects=(dialect,), guests=12, seconds=1200, seed=seed, simulator=every_fault(2.0))
    outcome = run(plan, tmp_path)
    assert not outcome.unequal(), outcome.table()
    assert all(session.finished for session in outcome.sessions)


def test_the_same_seed_gives_the_same_journal_and_the_same_truth(tmp_path: Path) -> None:
    one = run(Plan(guests=6, seconds=300, seed=3, simulator=every_fault()), tmp_path / "one")
    two = run(Plan(guests=6, seconds=300, seed=3, simulator=every_fault()), tmp_path / "two")
    other = run(Plan(guests=6, seconds=300, seed=4, simulator=every_fault()), tmp_path / "other")
    assert one.journal.read_bytes() == two.journal.read_bytes()
    assert one.truth.read_bytes() == two.truth.read_bytes()
    assert one.journal.read_bytes() != other.journal.read_bytes()
