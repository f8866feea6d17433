"""A failed start is tried again once, whatever the token does meanwhile."""

from __future__ import annotations

from harness.core.pacing import Behaviour
from harness.dialects.longpoll import LongpollSession
from harness.dialects.longpoll_settings import LongpollSettings
from tests.dialects.hand import Hand, Rows, S, context


def test_a_refresh_under_way_does_not_make_a_second_guest() -> None:
    rows = Rows()
    hand = Hand(LongpollSession(context(rows, Behaviour(), queue_id="q"), LongpollSettings()), rows)
    hand.start()
    hand.answer({"access_token": "a", "refresh_token": "r", "expires_in": 70})
    creation = hand.request()
    assert creation.endpoint.endswith("/messaging/guest")
    hand.run(11 * S)
    refresh = hand.request()
    assert refresh.body.startswith(b"grant_type=refresh_token")
    hand.requests.append(creation)
    hand.no_answer("timeout")
    hand.answer({"access_token": "b", "refresh_token": "s", "expires_in": 1800}, request=refresh)
    hand.run(60 * S)
    created = [request for request in hand.requests if request.endpoint.endswith("/messaging/guest")]
    assert len(created) == 1
