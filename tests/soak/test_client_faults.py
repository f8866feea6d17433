"""Guests that do something wrong on purpose: the server's world gets worse, the measurement stays right."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.conformance.runner import Plan, run
from harness.conformance.scenarios import every_fault
from harness.core.pacing import Behaviour
from harness.core.session import GuestSession
from harness.dialects.registry import all_dialects, drawn_faults

CASES = [(name, fault) for name, dialect in all_dialects().items() for fault in dialect.client_faults]


@pytest.mark.parametrize(("dialect", "fault"), CASES)
def test_truth_stays_equal_under_a_client_fault_and_every_server_fault(tmp_path: Path, dialect: str, fault: str) -> None:
    plan = Plan(
        dialects=(dialect,),
        guests=8,
        seconds=600,
        seed=3,
        simulator={**every_fault(), "token_life": "240s"},
        client_faults={fault: 0.6},
        behaviour=Behaviour(attachments=0.3),
    )
    outcome = run(plan, tmp_path)
    assert not outcome.unequal(), outcome.table()
    assert all(session.finished for session in outcome.sessions)
    assert _at_fault(outcome.sessions, fault) == {
        slot for slot in range(1, 9) if fault in drawn_faults(plan.client_faults, plan.seed, slot)
    }


def _at_fault(sessions: list[GuestSession], fault: str) -> set[int]:
    return {session.context.slot for session in sessions if fault in session.context.misbehaves}


@pytest.mark.parametrize("dialect", sorted(all_dialects()))
def test_a_client_fault_changes_settings_and_nothing_else(dialect: str) -> None:
    one = all_dialects()[dialect]
    assert one.client_faults, "every dialect has ways to do it wrong"
    plain = one.settings()
    for name in one.client_faults:
        assert one.settings_with(plain, [name]) != plain, name
    assert one.settings_with(plain, ["not a fault"]) == plain


def test_who_misbehaves_is_drawn_by_seed_and_slot_alone() -> None:
    shares = {"no_jitter": 0.3, "no_backoff": 0.3}
    drawn = [drawn_faults(shares, 7, slot) for slot in range(1, 2001)]
    assert drawn == [drawn_faults(dict(reversed(shares.items())), 7, slot) for slot in range(1, 2001)]
    for name, share in shares.items():
        assert abs(sum(name in faults for faults in drawn) / 2000 - share) < 0.05
