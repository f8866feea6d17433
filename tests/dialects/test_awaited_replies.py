"""What becomes of a reply that is still awaited when its conversation ends: cut off by us, or broken off by the server.

`interrupted` stands only for a guest who left as it had planned. Whatever else ends a conversation fails the reply, by its cause.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.core import ops
from harness.core.spread import fixed
from harness.core.wire import HttpFailure, HttpResponse
from tests.dialects.engagements_hand import CALM, Engagements
from tests.dialects.guests_hand import Guests
from tests.dialects.hand import Rows, S
from tests.dialects.messaging_hand import Messaging
from tests.dialects.test_longpoll_guest import CLOSED, QUIET
from tests.dialects.test_longpoll_guest import Guest as Longpoll
from tests.dialects.webchat_hand import CALM as WEBCHAT_CALM
from tests.dialects.webchat_hand import CONV, Webchat
from tests.dialects.webmessaging_hand import CALM as WEBMESSAGING_CALM
from tests.dialects.webmessaging_hand import Webmessaging

PLANNED, OVER = ("info", "interrupted"), ("fail", "session_closed")
SHORT = fixed(20.0)


def message(rows: Rows) -> tuple[str, str]:
    """What became of the one message."""
    (found,) = rows.of(ops.Closed)
    return found.outcome, found.cause


def reply(rows: Rows) -> tuple[str, str]:
    """What became of the one reply."""
    (found,) = rows.samples("reply")
    return found.outcome, found.cause


# ---------------------------------------------------------------- the guest leaves by its plan
def test_core_the_guests_time_is_over() -> None:
    guest = Engagements(replace(CALM, session_length=SHORT))
    conn = guest.chatting()
    guest.run(10 * S)
    guest.say()
    guest.run(11 * S)
    guest.end(conn, 1000)
    assert reply(guest.rows) == PLANNED
    (found,) = guest.rows.samples("reply")
    assert found.end_ns - found.start_ns == 11 * S, "until the socket was over, the guest listened"


def test_core_the_run_is_over() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.do(guest.session.close)
    guest.end(conn, 1000)
    assert reply(guest.rows) == PLANNED
    assert message(guest.rows) == ("info", "unanswered"), "only that reply would have confirmed it"


def test_core_whose_reply_had_timed_out_was_not_cut_off() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.run(31 * S)
    guest.do(guest.session.close)
    guest.end(conn, 1000)
    assert reply(guest.rows) == ("fail", "reply_timeout")
    assert message(guest.rows) == ("info", "unconfirmed")


def test_core_the_shell_gives_the_guest_up() -> None:
    guest = Engagements()
    guest.chatting()
    guest.say()
    guest.do(guest.session.abandon)
    assert reply(guest.rows) == PLANNED


def test_core_the_guest_starts_anew_by_itself() -> None:
    """A page that is loaded again forgets what it waited for: nothing of that is the server's doing."""
    guest = Engagements(replace(CALM, conversations=0))
    conn = guest.chatting()
    guest.say()
    guest.do(guest.session._reload)
    guest.end(conn, 1001)
    assert reply(guest.rows) == PLANNED


def test_messaging_the_guests_time_is_over() -> None:
    guest = Messaging(replace(CALM, session_length=SHORT))
    conn = guest.chatting()
    guest.run(10 * S)
    guest.say()
    guest.ack(conn)
    guest.run(11 * S)
    guest.end(conn, 1000)
    assert reply(guest.rows) == PLANNED


def test_messaging_where_an_ack_is_due_its_absence_is_no_matter_of_leaving() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say()
    guest.do(guest.session.close)
    guest.end(conn, 1000)
    assert reply(guest.rows) == PLANNED
    assert message(guest.rows) == ("info", "unconfirmed")


def test_webchat_the_guests_time_is_over() -> None:
    guest = Webchat(replace(WEBCHAT_CALM, session_length=SHORT))
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.echo(conn, frame)
    while guest.session.state != "leaving":
        guest.next_timer()
    guest.push(conn, {"type": "conversation", "conversationId": CONV, "status": "closed"})
    guest.listing(guest.guest_row(frame))
    assert reply(guest.rows) == PLANNED


def test_webmessaging_the_guests_time_is_over() -> None:
    guest = Webmessaging(replace(WEBMESSAGING_CALM, session_length=SHORT))
    conn = guest.chatting()
    frame = guest.say(conn)
    guest.echo(conn, frame)
    guest.leave(conn, guest.guest_body(frame))
    assert reply(guest.rows) == PLANNED


def test_longpoll_the_guests_time_is_over() -> None:
    guest = Longpoll(behaviour=replace(QUIET, session_length=SHORT)).chatting()
    guest.session.scripted = False
    guest.say()
    guest.answer("/messages", {"messageId": "m1"})
    guest.wait(20 * S)
    guest.events({"id": 4, **CLOSED})
    guest.answer("PUT", {})
    assert reply(guest.rows) == PLANNED


def given_up(guest: Longpoll) -> None:
    """As the shell does it: whatever is under way is interrupted."""
    guest.do(guest.session.close)
    for request in list(guest.open):
        guest.end(request, HttpFailure("interrupted", True))
    guest.do(guest.session.abandon)


def test_longpoll_the_shell_gives_up_a_guest_who_asks_for_a_token() -> None:
    guest = Longpoll(behaviour=QUIET).chatting(life=100)
    guest.session.scripted = False
    while not guest.asked("oauth2/token"):
        guest.wait(S)
    guest.say()
    guest.answer("/messages", {"messageId": "m1"})
    given_up(guest)
    assert reply(guest.rows) == PLANNED


def test_longpoll_the_shell_gives_up_a_guest_whose_good_bye_is_under_way_for_the_last_time() -> None:
    guest = Longpoll(behaviour=QUIET).chatting()
    guest.session.scripted = False
    guest.say()
    guest.answer("/messages", {"messageId": "m1"})
    guest.do(guest.session.close)
    for _ in range(guest.session.settings.leave_attempts - 1):
        guest.end("PUT", HttpResponse(503, {}, b""))
        while not guest.asked("PUT"):
            guest.wait(S)
    given_up(guest)
    assert reply(guest.rows) == PLANNED


# ---------------------------------------------------------------- something else ends it
def test_core_the_server_ends_it() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.do(lambda now: guest.session._over(now, guest.session.sockets[conn], "agent left"))
    guest.do(guest.session.close)
    guest.end(conn, 1000)
    assert "closed.by_server" in guest.rows.notes()
    assert reply(guest.rows) == OVER
    assert message(guest.rows) == ("info", "unconfirmed")


def test_core_given_up_by_the_shell_after_the_server_had_ended_it() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.do(lambda now: guest.session._over(now, guest.session.sockets[conn], "agent left"))
    guest.do(guest.session.abandon)
    assert reply(guest.rows) == OVER


@pytest.mark.parametrize("leave", ["length", "close", "abandon"])
def test_core_who_leaves_while_the_server_is_gone_was_not_answered(leave: str) -> None:
    guest = Engagements(replace(CALM, session_length=SHORT, reply_timeout=60 * S))
    conn = guest.chatting()
    guest.run(10 * S)
    guest.say()
    guest.end(conn, 1006, "connection_reset")
    act: dict[str, Callable[[], Any]] = {
        "length": lambda: guest.run(11 * S),
        "close": lambda: guest.do(guest.session.close),
        "abandon": lambda: guest.do(guest.session.abandon),
    }
    act[leave]()
    while not guest.rows.samples("reply"):
        guest.refuse("connect_refused") if guest.opens else guest.next_timer()
    outcome, cause = reply(guest.rows)
    assert outcome == "fail"
    assert cause in ("connection_reset", "connect_refused")


def test_core_a_link_that_came_back_is_no_reason() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.end(conn, 1006, "connection_reset")
    while not guest.opens:
        guest.next_timer()
    conn = guest.open()
    guest.do(guest.session.close)
    guest.end(conn, 1000)
    assert reply(guest.rows) == PLANNED


def test_messaging_closed_by_the_server() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say()
    guest.push(conn, {"type": "conversationMetadata", "event": "closed"})
    guest.end(conn, 1000)
    assert reply(guest.rows) == OVER


def test_messaging_a_drop_that_costs_the_conversation() -> None:
    guest = Messaging(replace(CALM, conversations=0))
    conn = guest.chatting()
    guest.say()
    guest.end(conn, 1011)
    assert reply(guest.rows) == ("fail", "connection_closed")


def test_webchat_closed_by_the_server() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.echo(conn, frame)
    guest.push(conn, {"type": "conversation", "conversationId": CONV, "status": "closed"})
    guest.listing(guest.guest_row(frame))
    assert "closed.by_server" in guest.rows.notes()
    assert reply(guest.rows) == OVER


def test_webchat_a_good_bye_without_an_answer() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.echo(conn, frame)
    guest.do(guest.session.close)
    while not guest.requests:
        guest.next_timer()
    guest.listing(guest.guest_row(frame))
    assert "leave.unanswered" in guest.rows.notes()
    assert reply(guest.rows) == ("fail", "timeout")


def test_webchat_given_up_by_the_shell_after_a_good_bye_without_an_answer() -> None:
    """A server that hangs answers no listing either, and the time to leave in is over before the tries are."""
    guest = Webchat()
    conn = guest.chatting()
    guest.echo(conn, guest.said(conn))
    guest.do(guest.session.close)
    while not guest.requests:
        guest.next_timer()
    guest.do(guest.session.abandon)
    assert [(one.outcome, one.cause) for one in guest.rows.samples("leave")] == [("fail", "timeout")]
    assert reply(guest.rows) == ("fail", "timeout")


@pytest.mark.parametrize(
    ("strike", "expected"),
    [
        (lambda guest, conn: guest.notice(conn, "SessionExpiredEvent"), ("fail", "token_expired")),
        (lambda guest, conn: guest.notice(conn, "ConnectionClosedEvent", reason="superseded"), OVER),
        (lambda guest, conn: (guest.notice(conn, "SessionClearedEvent"), guest.end(conn, 1000)), OVER),
    ],
    ids=["expired", "superseded", "cleared"],
)
def test_webmessaging_broken_off_by_the_server(strike: Callable[[Webmessaging, int], Any], expected: tuple[str, str]) -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    guest.echo(conn, guest.say(conn))
    strike(guest, conn)
    assert reply(guest.rows) == expected


def test_webmessaging_made_read_only_by_the_server() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    frame = guest.say(conn)
    guest.echo(conn, frame)
    guest.presence(conn, "Disconnect")
    guest.grant(conn)
    guest.closed(conn)
    guest.page(guest.guest_body(frame))
    assert guest.rows.of(ops.Ended)[0].complete, "all of it was read back, and no answer was there"
    assert reply(guest.rows) == OVER


def test_longpoll_closed_by_an_agent() -> None:
    guest = Longpoll(behaviour=QUIET).chatting()
    guest.session.scripted = False
    guest.say()
    guest.answer("/messages", {"messageId": "m1"})
    guest.events({"id": 4, **CLOSED})
    assert reply(guest.rows) == OVER


def test_longpoll_the_conversation_is_gone() -> None:
    guest = Longpoll(behaviour=QUIET).chatting()
    guest.session.scripted = False
    guest.say()
    guest.answer("/messages", {"messageId": "m1"})
    guest.end("/events", HttpResponse(404, {}, b""))
    assert reply(guest.rows) == ("fail", "not_found")


def test_longpoll_a_good_bye_that_nobody_takes() -> None:
    guest = Longpoll(behaviour=QUIET).chatting()
    guest.session.scripted = False
    guest.say()
    guest.answer("/messages", {"messageId": "m1"})
    guest.do(guest.session.close)
    guest.end("/events", HttpFailure("connection_reset", True))
    while not guest.finished:
        for request in list(guest.open):
            guest.end(request, HttpFailure("connection_reset", True))
        if guest.session.next_deadline() is not None:
            guest.wait(S)
    outcome, cause = reply(guest.rows)
    assert outcome == "fail"
    assert cause in ("connection_reset", "timeout", "reply_timeout")


def test_guests_the_session_is_gone() -> None:
    guest = Guests()
    conn = guest.chatting()
    guest.said(conn)
    guest.do(guest.session._guest_unknown)
    guest.end(conn, 1000)
    assert reply(guest.rows) == ("fail", "not_found")
