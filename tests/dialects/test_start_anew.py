"""A guest that has used up its tries on a "too many" starts anew no sooner than the server has asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.core.backoff import Backoff
from harness.core.misbehaviour import no_backoff
from harness.dialects.webchat_settings import WebchatSettings
from tests.dialects import engagements_hand, guests_hand, messaging_hand, webchat_hand
from tests.dialects.hand import Hand, S

LONG = 90


def _guests(**changes: Any) -> Hand:
    return guests_hand.Guests(guests_hand.AGAIN, replace(guests_hand.PLAIN, **changes))


def _engagements(**changes: Any) -> Hand:
    return engagements_hand.Engagements(guests_hand.AGAIN, replace(engagements_hand.SEED, **changes))


def _messaging(**changes: Any) -> Hand:
    return messaging_hand.Messaging(guests_hand.AGAIN, replace(messaging_hand.PLAIN, **changes))


def _webchat(**changes: Any) -> Hand:
    return webchat_hand.Webchat(guests_hand.AGAIN, replace(WebchatSettings(), **changes))


MADE: tuple[Callable[..., Hand], ...] = (_guests, _engagements, _messaging, _webchat)


def _limited(guest: Hand) -> None:
    """Every request is refused until a start has failed."""
    guest.start()
    while "start.failed" not in guest.rows.notes():
        while not guest.requests:
            guest.next_timer()
        guest.answer({}, 429, retry_after=str(LONG))


@pytest.mark.parametrize("made", MADE)
def test_a_new_start_keeps_the_wait_that_the_last_try_was_given(made: Callable[..., Hand]) -> None:
    guest = made()
    _limited(guest)
    refused = guest.now
    while not guest.requests:
        guest.next_timer()
    assert LONG * S <= guest.now - refused <= (LONG + 5) * S


@pytest.mark.parametrize("made", MADE)
def test_a_guest_without_back_off_keeps_none(made: Callable[..., Hand]) -> None:
    guest = made()
    flaw = no_backoff(type(guest.session.settings))  # type: ignore[attr-defined]
    guest = made(**flaw)
    _limited(guest)
    refused = guest.now
    while not guest.requests:
        guest.next_timer()
    assert guest.now - refused < S


def test_a_wait_that_is_over_lengthens_nothing() -> None:
    guest = _guests()
    _limited(guest)
    guest.run(10 * LONG * S)
    pause = Backoff(S, S).delay(0, guest.session.rng)
    assert guest.session._not_before(guest.now, pause) == pause  # type: ignore[attr-defined]
