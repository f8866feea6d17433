"""engagements by hand: each trap of the section, instant by instant."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from harness.core import ops
from harness.core.spread import seconds
from harness.core.wire import HttpResponse, SocketEnd
from harness.dialects.engagements import DIALECT
from tests.dialects.engagements_hand import CALM, ENDLESS, SEED, Engagements
from tests.dialects.hand import S


# ---------------------------------------------------------------- registration
def test_a_public_client_registers_without_bearer_and_secret() -> None:
    guest = Engagements(attributes={"customField1": "Demo Value"})
    guest.start()
    request = guest.requests[0]
    assert "authorization" not in {name.lower() for name, _ in request.headers}
    assert b"SECRET" not in request.body
    assert json.loads(request.body)["metadata"]["customField1"] == "Demo Value"


def test_names_are_filled_in_and_left_out() -> None:
    guest = Engagements(settings=replace(SEED, display_name="G {slot} of {run}", email=""))
    guest.start()
    assert json.loads(guest.requests[0].body)["metadata"] == {"displayName": "G 1 of run1"}


@pytest.mark.parametrize(
    ("status", "note", "cause"),
    [(401, "auth.rejected", "unauthorised"), (403, "scope.refused", "forbidden"), (404, "", "not_found")],
)
def test_a_refused_registration_is_named_and_not_repeated_at_once(status: int, note: str, cause: str) -> None:
    guest = Engagements(ENDLESS)
    guest.start()
    guest.answer({"message": "no"}, status)
    assert ("start.failed", cause) in guest.noted()
    assert not note or note in guest.rows.notes()
    assert not guest.requests
    guest.run(8 * S)
    assert len(guest.requests) == 1, "after a pause the guest begins anew"


def test_failed_starts_pause_longer_each_time_even_if_the_socket_opens() -> None:
    guest = Engagements(ENDLESS, replace(SEED, start_jitter=0.0))
    guest.start()
    gaps, last = [], guest.now
    for _ in range(4):
        while not guest.requests:
            guest.next_timer()
        gaps.append(guest.now - last)
        last = guest.now
        guest.register()
        guest.end(guest.open(), 1008)
    assert gaps == [0, 5 * S, 10 * S, 20 * S]
    assert ("auth.rejected", "1008") in guest.noted()


def test_the_token_shows_nowhere() -> None:
    guest = Engagements(ENDLESS)
    conn = guest.chatting()
    guest.push(conn, {"type": "error", "error": "bad token secret/1"})
    guest.push(conn, {"type": "sessionEnded", "reason": "secret/1 is over"})
    guest.end(conn, 1000)
    assert "secret" not in repr(guest.rows.all)
    assert "secret" not in repr([guest.session.credential, guest.session._session])


def test_token_and_session_are_escaped_in_the_path() -> None:
    guest = Engagements()
    guest.start()
    guest.answer({"guestToken": "a b&c=d/?", "sessionId": "s/1 ?", "expiresAt": guest.iso(1800 * S)})
    assert guest.opens[0].path == "/api/v2/engagements/guests/s%2F1%20%3F/ws?guestToken=a%20b%26c%3Dd%2F%3F"
    guest.open()
    (row,) = guest.rows.samples("connect")
    assert "?" not in row.endpoint


@pytest.mark.parametrize("expires", [None, "soon", 7, "2001-01-01T00:00:00Z"])
def test_a_token_without_a_usable_expiry_is_used_and_not_renewed_ahead(expires: Any) -> None:
    guest = Engagements(ENDLESS)
    guest.start()
    guest.answer({"guestToken": "t", "sessionId": "sess-1", "expiresAt": expires})
    conn = guest.open()
    guest.run(2900 * S)
    assert guest.session._conn == conn
    assert not guest.requests
    assert {"token.no_lifetime", "token.stale"} & set(guest.rows.notes())


# ---------------------------------------------------------------- messages
def test_a_reply_is_the_only_confirmation() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    assert not guest.outcomes()
    guest.run(S)
    guest.agent(conn, 1, 1)
    assert guest.outcomes() == [(1, "ok", "", "reply")]
    (reply,) = guest.rows.samples("reply")
    assert (reply.outcome, reply.end_ns - reply.start_ns) == ("ok", S)
    assert not guest.rows.samples("event.lag"), "whole seconds are no measure"


def test_what_nobody_answered_stays_unknown() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.run(31 * S)
    (reply,) = guest.rows.samples("reply")
    assert (reply.outcome, reply.cause) == ("fail", "reply_timeout")
    guest.do(guest.session.close)
    guest.end(conn, 1000)
    assert guest.outcomes()[0] == (1, "info", "unconfirmed", "end")
    (ended,) = guest.rows.of(ops.Ended)
    assert (ended.complete, ended.listing, ended.conversation_id) == (False, False, "sess-1")
    assert guest.finished == 1


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{"type": "card", "title": "T", "text": "Yes? [#run1.1-1.a.1 re 1]"}', True),
        ({"type": "card", "title": "T", "text": "Yes? [#run1.1-1.a.1 re 1]", "buttons": 7}, True),
        ({"type": "card", "title": "Yes? [#run1.1-1.a.1 re 1]"}, True),
        ('{"type": "notice", "text": "No. [#run1.1-1.a.1 re 1]"}', False),
        ('{"type": "card"} [#run1.1-1.a.1 re 1]', True),
        ('["card"]', False),
        ("null", False),
        ({"type": "notice", "text": "No. [#run1.1-1.a.1 re 1]"}, False),
        ({"type": "card", "text": 7}, False),
        (7, False),
    ],
)
def test_cards_and_what_only_looks_like_one(content: Any, text: bool) -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.agent(conn, 1, content=content)
    assert bool(guest.rows.of(ops.Arrived)) is text
    assert ("message.unmarked" in guest.rows.notes()) is not text


def test_body_for_content_and_missing_fields() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.agent(conn, 1, 1, content=None, body="Hi. [#run1.1-1.a.1 re 1]")
    guest.push(conn, {"type": "message", "content": "Hi. [#run1.1-1.a.2]"})
    arrived = guest.rows.of(ops.Arrived)
    assert [(row.seq, row.mid) for row in arrived] == [(1, "msg_1"), (2, "")]
    assert ("message.flawed", "id") in guest.noted()


def test_unknown_types_and_errors_are_counted_and_survived() -> None:
    guest = Engagements()
    conn = guest.chatting()
    for frame in ({"type": "presence"}, {"type": "error", "message": "Something failed"}, {"type": "typing"}, b"\x00", "{", "7"):
        guest.push(conn, frame)
    assert ("frame.unknown_type", "presence") in guest.noted()
    assert ("error.frame", "Something failed") in guest.noted()
    assert guest.session.state == "chatting"


def test_typing_is_debounced_and_the_flood_is_not() -> None:
    guest = Engagements(replace(CALM, typing=1.0))
    guest.chatting()
    for pause, expected in ((1, ["typing", "message"]), (2, ["message"]), (0, ["typing", "message"])):
        guest.do(lambda now: guest.session.say(now, "x"))
        assert [frame["type"] for frame in guest.frames()] == expected
        guest.run(pause * S)
    flood = Engagements(replace(CALM, typing=1.0), faults=("typing_flood",))
    flood.chatting()
    flood.do(lambda now: flood.session.say(now, "x"))
    assert [frame["type"] for frame in flood.frames()] == ["typing"] * 20 + ["message"]


# ---------------------------------------------------------------- limits
def test_a_refused_message_is_known_only_where_it_is_the_only_one() -> None:
    guest = Engagements()
    conn = guest.chatting()
    limited = {"type": "error", "error": "rate_limited", "message": "x", "frame": "message", "retryAfter": 2}
    guest.say("One.")
    guest.push(conn, limited)
    assert guest.outcomes() == [(1, "fail", "rate_limited", "refusal")]
    assert [(row.ref, row.retry_after_ns) for row in guest.rows.of(ops.Refused)] == [(f"10.0.0.1:{40000 + conn}#1", 2 * S)]
    guest.do(lambda now: guest.session.say(now, "Two."))
    guest.do(lambda now: guest.session.say(now, "Three."))
    assert not guest.frames(), "nothing is sent before the server's wait is over"
    guest.run(4 * S)
    assert [frame["content"].split(" [")[0] for frame in guest.frames()] == ["Two.", "Three."]
    guest.push(conn, limited)
    assert len(guest.outcomes()) == 1, "it may be either"
    guest.agent(conn, 1, 2)
    guest.push(conn, limited)
    assert guest.outcomes()[1:] == [(2, "ok", "", "reply"), (3, "fail", "rate_limited", "refusal")]


def test_a_limit_on_typing_refuses_no_message() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.say()
    guest.push(conn, {"type": "error", "error": "rate_limited", "frame": "typing", "retryAfter": "x"})
    assert not guest.outcomes()
    assert "typing.limited" in guest.rows.notes()


# ---------------------------------------------------------------- renewal
def test_renewal_ahead_of_expiry_is_another_conversation() -> None:
    guest = Engagements()
    conn = guest.chatting(300)
    begun = guest.now
    while not guest.requests:
        guest.next_timer()
    assert 230 * S <= guest.now - begun <= 240 * S
    assert guest.session.state == "chatting", "the old session goes on until the new one is there"
    guest.frames()
    guest.register()
    assert guest.frames(conn) == [{"type": "sessionEnded", "reason": "Token renewal"}]
    guest.end(conn, 1000)
    guest.next_timer()
    assert guest.opens[0].path.endswith("sess-2/ws?guestToken=secret%2F2")
    guest.open()
    assert guest.session.state == "chatting"
    assert guest.session.label == "1-2"
    assert guest.endings() == [("1-1", "renewed")]


@pytest.mark.parametrize("answered", [True, False])
def test_renewal_waits_for_a_reply_that_is_due_but_not_for_long(answered: bool) -> None:
    guest = Engagements()
    conn = guest.chatting(300)
    while not guest.requests:
        guest.next_timer()
    guest.say()
    guest.register()
    guest.run(S)
    assert not guest.frames()
    if answered:
        guest.agent(conn, 1, 1)
    else:
        guest.run(5 * S)
    assert [frame["type"] for frame in guest.frames()] == ["sessionEnded"]


def test_a_drop_while_a_renewal_waits_takes_the_new_session() -> None:
    guest = Engagements()
    conn = guest.chatting(300)
    while not guest.requests:
        guest.next_timer()
    guest.do(lambda now: guest.session.say(now, "Hello."))
    guest.register()
    guest.end(conn, 0, "connection_reset")
    guest.next_timer()
    assert "sess-2" in guest.opens[0].path


def test_guests_that_came_together_do_not_renew_together() -> None:
    instants = set()
    for seed in range(8):
        guest = Engagements(seed=str(seed))
        guest.chatting(900)
        instants.add(guest.session._timers["token.due"])
    assert len(instants) == 8
    same = set()
    for seed in range(4):
        guest = Engagements(seed=str(seed), faults=("no_jitter",))
        guest.chatting(900)
        same.add(guest.session._timers["token.due"])
    assert len(same) == 1


def test_without_renewal_the_servers_word_is_heeded() -> None:
    guest = Engagements(faults=("no_refresh",))
    conn = guest.chatting(300)
    guest.run(300 * S)
    assert not guest.requests
    guest.frames()
    guest.push(conn, {"type": "error", "error": "token_expired", "message": "Guest token expired"})
    assert "token.expired" in guest.rows.notes()
    guest.end(conn, 1008)
    guest.next_timer()
    guest.register()
    guest.open()
    assert guest.endings() == [("1-1", "token_expired")]
    assert guest.session.label == "1-2"


def test_silent_expiry_is_told_by_the_close_code() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.run(6 * S)
    guest.end(conn, 1008)
    assert "token.expired" in guest.rows.notes()
    guest.next_timer()
    assert len(guest.requests) == 1
    assert not guest.opens


def test_no_renewal_once_the_run_is_stopping() -> None:
    guest = Engagements()
    conn = guest.chatting(300)
    guest.do(guest.session.stop)
    guest.run(295 * S)
    assert guest.session._conn == conn
    assert not guest.requests
    assert guest.session.state == "chatting"


# ---------------------------------------------------------------- reconnect
def test_reconnects_at_powers_of_two_and_five_at_most() -> None:
    guest = Engagements(ENDLESS, replace(SEED, reconnect_jitter=0))
    conn = guest.chatting()
    guest.run(6 * S)
    last, gaps = guest.now, []
    guest.end(conn, 0, "connection_reset")
    for _ in range(5):
        while not guest.opens:
            guest.next_timer()
        gaps.append((guest.now - last) // S)
        last = guest.now
        assert "sess-1" in guest.opens[0].path
        guest.refuse("connect_timeout")
    assert gaps == [2, 4, 8, 16, 32]
    assert "reconnect.exhausted" in guest.rows.notes()
    assert guest.endings() == [("1-1", "connect_timeout")]


def test_only_an_open_that_lasts_resets_the_counter() -> None:
    guest = Engagements(ENDLESS, replace(SEED, reconnect_jitter=0))
    conn = guest.chatting()
    guest.run(6 * S)
    gaps, last = [], guest.now
    for _ in range(3):
        guest.end(conn, 1011)
        while not guest.opens:
            guest.next_timer()
        gaps.append((guest.now - last) // S)
        last = guest.now
        conn = guest.open()
    assert gaps == [2, 4, 8]
    guest.run(5 * S)
    guest.end(conn, 1011)
    last = guest.now
    while not guest.opens:
        guest.next_timer()
    assert guest.now - last == 2 * S


def test_as_written_an_open_then_close_loops_at_the_first_pause() -> None:
    guest = Engagements(ENDLESS, replace(SEED, reconnect_jitter=0), faults=("no_settle",))
    conn = guest.chatting()
    for _ in range(20):
        last = guest.now
        guest.end(conn, 1008)
        while not guest.opens:
            guest.next_timer()
        assert guest.now - last == 2 * S
        conn = guest.open()
    assert guest.session.label == "1-1"


def test_a_refused_token_is_not_tried_again() -> None:
    guest = Engagements(ENDLESS)
    conn = guest.chatting()
    guest.run(6 * S)
    guest.end(conn, 0, "connection_reset")
    while not guest.opens:
        guest.next_timer()
    guest.refuse(response=HttpResponse(401, {}, b""))
    assert ("auth.rejected", "401") in guest.noted()
    while not guest.requests:
        guest.next_timer()
    assert not guest.opens
    assert guest.session.label == "1-2"


def test_a_token_that_ran_out_meanwhile_is_not_even_tried() -> None:
    guest = Engagements(ENDLESS, faults=("no_refresh",))
    conn = guest.chatting(30)
    guest.run(19 * S)
    guest.run(10 * S)
    guest.end(conn, 0, "connection_reset")
    while not guest.requests:
        guest.next_timer()
    assert not guest.opens
    assert guest.endings() == [("1-1", "token_expired")]


def test_messages_said_while_away_go_out_later_and_blind_resend_repeats() -> None:
    for faults, expected in (((), ["Two."]), (("blind_resend",), ["One.", "Two."])):
        guest = Engagements(faults=faults)
        conn = guest.chatting()
        guest.run(6 * S)
        guest.say("One.")
        guest.end(conn, 0, "connection_reset")
        assert guest.session.say(guest.now, "lost") is None
        guest.session._speak(guest.now, guest.now, "Two.")
        guest.pump()
        while not guest.opens:
            guest.next_timer()
        guest.frames()
        guest.open()
        assert [frame["content"].split(" [")[0] for frame in guest.frames()] == expected
        assert ("message.resent" in guest.rows.notes()) is bool(faults)


def test_keep_alive_notices_a_dead_socket_and_the_fault_has_none() -> None:
    guest = Engagements()
    guest.pongs = False
    conn = guest.chatting()
    guest.run(22 * S)
    assert guest.pings == [conn]
    guest.run(11 * S)
    assert "zombie" in guest.rows.notes()
    mute = Engagements(faults=("no_keepalive",))
    mute.chatting()
    mute.run(300 * S)
    assert not mute.pings


# ---------------------------------------------------------------- the end
def test_no_reconnect_after_the_servers_end() -> None:
    guest = Engagements(ENDLESS)
    conn = guest.chatting()
    guest.push(conn, {"type": "sessionEnded"})
    assert [(close.conn, close.code) for close in guest.closes] == [(conn, 1000)]
    guest.agent(conn, 1)
    guest.end(conn, 1000)
    assert len(guest.rows.of(ops.Arrived)) == 1, "what was on its way is still read"
    assert guest.endings() == [("1-1", "")]
    guest.run(4 * S)
    assert not guest.opens
    guest.run(2 * S)
    assert len(guest.requests) == 1, "the next conversation is another session"


def test_the_guests_end() -> None:
    guest = Engagements()
    conn = guest.chatting()
    guest.do(guest.session.close)
    assert guest.frames(conn) == [{"type": "sessionEnded", "reason": "Guest ended"}]
    guest.end(conn, 1000)
    guest.run(60 * S)
    assert not guest.opens
    assert guest.finished == 1


@pytest.mark.parametrize("closes", [True, False])
def test_the_guest_may_leave_the_close_to_the_server(closes: bool) -> None:
    guest = Engagements(settings=replace(SEED, end_wait=seconds(8)))
    conn = guest.chatting()
    guest.do(guest.session.close)
    assert [frame["type"] for frame in guest.frames(conn)] == ["sessionEnded"]
    assert not guest.closes
    guest.run(5 * S)
    if not closes:
        guest.run(4 * S)
        assert [close.code for close in guest.closes] == [1000]
    guest.end(conn, 1001 if closes else 1000)
    assert guest.finished == 1
    assert not guest.opens


def test_as_written_it_comes_back_after_the_end() -> None:
    guest = Engagements(ENDLESS, faults=("reconnect_after_end",))
    conn = guest.chatting()
    guest.push(conn, {"type": "sessionEnded", "reason": "agent_left"})
    guest.end(conn, 1000)
    for _ in range(5):
        while not guest.opens:
            guest.next_timer()
        assert "sess-1" in guest.opens[0].path
        guest.refuse(response=HttpResponse(401, {}, b""))
    assert guest.rows.notes().count("reconnect.after_end") == 5
    assert guest.endings() == [("1-1", "")]
    while not guest.requests:
        guest.next_timer()
    assert not guest.opens


def test_close_does_not_wait_for_such_reconnects() -> None:
    guest = Engagements(ENDLESS, faults=("reconnect_after_end",))
    conn = guest.chatting()
    guest.push(conn, {"type": "sessionEnded", "reason": "agent_left"})
    guest.end(conn, 1000)
    guest.do(guest.session.close)
    assert guest.finished == 1


def test_a_reload_starts_anew() -> None:
    guest = Engagements(replace(CALM, reload=1.0), scripted=True)
    conn = guest.chatting()
    guest.next_timer()
    while not guest.closes:
        guest.next_timer()
    assert [(close.conn, close.code) for close in guest.closes] == [(conn, 1001)]
    guest.end(conn, 1001)
    guest.next_timer()
    assert len(guest.requests) == 1
    assert guest.session.label == "1-2"


@pytest.mark.parametrize(("reason", "begun"), [("", "guest"), ("guest left", "guest"), ("session over", "contested")])
def test_closes_of_one_code_that_cross_are_told_apart_by_their_reason(reason: str, begun: str) -> None:
    guest = Engagements(replace(CALM, reload=1.0), scripted=True)
    conn = guest.chatting()
    while not guest.closes:
        guest.next_timer()
    assert (guest.closes[0].code, guest.closes[0].reason) == (1001, "guest left")
    guest.do(lambda now: guest.session.on_closed(now, conn, SocketEnd(1001, reason, "")))
    assert [row.begun for row in guest.rows.of(ops.Connection)] == [begun]


def test_every_client_fault_makes_settings() -> None:
    for name in DIALECT.client_faults:
        assert DIALECT.settings_with(SEED, [name]) != SEED, name
