"""A soak in virtual time: every kind of fault, thousands of messages, and truth equal to the journal in every row."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.conformance.runner import RUN, Outcome, Plan, run
from harness.conformance.scenarios import every_fault
from harness.core.pacing import Behaviour
from harness.core.spread import around, seconds
from harness.dialects.longpoll_settings import LongpollSettings
from harness.dialects.webchat_settings import WebchatSettings
from harness.report.fold import fold
from harness.simulator.faults.catalogue import CATALOGUE
from tests.conformance.kit import NAMES

BOTH = ("webchat", "longpoll")
ALWAYS_ON = {"drift", "skew", "creep", "step", "error_creep", "leak", "backlog"}
"""Faults that change times, or grow over hours; they have tests of their own."""


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


def test_an_hour_of_fifty_guests_with_every_fault(tmp_path: Path) -> None:
    check(soak(tmp_path, hours=1, think_s=8, seed=1), messages=25_000, times=10)


@pytest.mark.parametrize("seed", range(1, 5))
@pytest.mark.parametrize("dialect", NAMES)
def test_twenty_minutes_of_one_dialect(tmp_path: Path, dialect: str, seed: int) -> None:
    plan = Plan(dialects=(dialect,), guests=12, seconds=1200, seed=seed, simulator=every_fault(2.0), strict=True)
    outcome = run(plan, tmp_path)
    assert not outcome.unequal(), outcome.table()
    assert all(session.finished for session in outcome.sessions)


@pytest.mark.parametrize("race", [False, True])
def test_switches_that_are_off_by_default(tmp_path: Path, race: bool) -> None:
    """Naive polling, downloads, raced uploads, late routing, idle sockets cut, and a server that stores a re-send once."""
    longpoll = LongpollSettings(naive_share=0.5, download=1.0, late_routing=True, queue_limit=seconds(20), race_attachments=race)
    settings = {
        "longpoll": longpoll,
        "webchat": WebchatSettings(check_skills=False, ping_every=0, queue_timeout=seconds(20), pong_within=seconds(5)),
    }
    simulator = {
        **every_fault(),
        "server_stores_resend": False,
        "routing_timeout": "30s",
        "auto_close": "60s",
        "skills": {"Billing": True, "Night": False},
        "keepalive": {"ping_every": 0, "idle_cut": "15s±50%"},
        "limits": [
            {"endpoint": "GET /webchat", "scope": "ip", "kind": "sliding_window", "rate": "2/min", "window": "60s"},
            {"endpoint": "POST /oauth/token", "rate": "1/s", "retry_after": "date"},
        ],
    }
    behaviour = Behaviour(attachments=0.5, session_length=around(120, 0.3))
    plan = Plan(BOTH, guests=12, seconds=1200, seed=2, settings=settings, simulator=simulator, behaviour=behaviour)
    outcome = run(plan, tmp_path)
    assert not outcome.unequal(), outcome.table()
    assert all(session.finished for session in outcome.sessions)
    assert outcome.faults["idle_cut"] > 5
    counters = fold([outcome.journal], run=RUN).counters
    naive = counters["requests|GET /api/v2/conversations/{id}/events#naive|ok"]
    held = counters["requests|GET /api/v2/conversations/{id}/events|ok"]
    assert naive > held > 0  # the cost of the anti-pattern, side by side
    assert counters["noted|attachment.broken"] > 10 if race else counters["requests|GET /{file}|ok"] > 10


def test_the_same_seed_gives_the_same_journal_and_the_same_truth(tmp_path: Path) -> None:
    one = run(Plan(guests=6, seconds=300, seed=3, simulator=every_fault()), tmp_path / "one")
    two = run(Plan(guests=6, seconds=300, seed=3, simulator=every_fault()), tmp_path / "two")
    other = run(Plan(guests=6, seconds=300, seed=4, simulator=every_fault()), tmp_path / "other")
    assert one.journal.read_bytes() == two.journal.read_bytes()
    assert one.truth.read_bytes() == two.truth.read_bytes()
    assert one.journal.read_bytes() != other.journal.read_bytes()
