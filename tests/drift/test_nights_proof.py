"""The short form of `make prove PART=nights`, and what its judge would not let pass."""

from __future__ import annotations

from tests.proofs import nights
from tests.proofs.frame import at_least, at_most


def test_the_short_form_holds() -> None:
    found = nights.judge([nights.trial(seed) for seed in range(1, 61)])
    assert found["ok"], found


def test_the_judge_can_fail() -> None:
    trials = [nights.trial(seed) for seed in range(1, 21)] * 10
    assert not nights.judge([{**one, "false": ["m3"]} if n % 10 == 0 else one for n, one in enumerate(trials)])["ok"]
    assert not nights.judge([{**one, "+20%": False} if n % 6 == 0 else one for n, one in enumerate(trials)])["ok"]


def test_a_share_is_missed_when_it_is_significantly_missed() -> None:
    assert at_least(190, 200, 0.97)  # p = 0.08
    assert not at_least(187, 200, 0.97)  # p = 0.007
    assert at_most(8, 200, 0.02)
    assert not at_most(11, 200, 0.02)
