"""messaging by hand: each trap of the section, instant by instant."""

from __future__ import annotations

import json
from base64 import b64decode
from dataclasses import replace
from typing import Any

import pytest

from harness.core import ops
from harness.core.credentials import Secret
from harness.core.wire import HttpResponse
from harness.dialects.messaging import DIALECT
from tests.dialects.hand import S
from tests.dialects.messaging_hand import CALM, ENDLESS, JOINED, PLAIN, SCOPES, Messaging


def header(guest: Messaging, name: str) -> str:
    return {key.lower(): value for key, value in guest.requests[0].headers}[name]


# ---------------------------------------------------------------- token and rights
def test_basic_is_percent_encoded_before_base64() -> None:
    guest = Messaging(client_id="client/1", client_secret=Secret("s:e+c%é"))
    guest.start()
    assert b64decode(header(guest, "authorization")[6:]).decode() == "client%2F1:s%3Ae%2Bc%25%C3%A9"
    plain = Messaging(client_id="client/1", client_secret=Secret("s:e+c%"), faults=("plain_basic",))
    plain.start()
    assert header(plain, "authorization") == "Basic client%2F1:s%3Ae%2Bc%25"


def test_a_refused_application_is_named() -> None:
    guest = Messaging()
    guest.start()
    guest.answer({"error": "invalid_client"}, 401)
    assert {("auth.rejected", "401"), ("start.failed", "unauthorised")} <= set(guest.noted())
    assert guest.finished == 1


@pytest.mark.parametrize(
    ("rights", "note"),
    [
        ({"active": True, "scope": "webchat:guest:read webchat:guest:send"}, ("scope.refused", "webchat:guest:write")),
        ({"active": False}, ("auth.rejected", "inactive token")),
        ({"active": "yes"}, ("introspection.failed", "200")),
        ({"active": True, "scope": SCOPES}, None),
        ({"active": True}, None),
    ],
)
def test_introspection_tells_why_a_registration_was_refused(rights: Any, note: tuple[str, str] | None) -> None:
    guest = Messaging(ENDLESS)
    guest.start()
    guest.grant()
    guest.answer({"code": "unauthorized"}, 401)
    guest.grant()
    assert header(guest, "authorization") == "Bearer secret-app-2", "one refresh, one retry"
    guest.answer({"code": "unauthorized"}, 401)
    request = guest.answer(rights)
    assert (request.path, request.body) == ("/oauth/introspect", b"token=secret-app-2")
    (row,) = guest.rows.samples("introspect")
    assert row.outcome == ("fail" if rights["active"] == "yes" else "ok")
    assert ("start.failed", "unauthorised") in guest.noted()
    assert note is None or note in guest.noted()
    assert not guest.requests


def test_a_bad_queue_is_no_matter_of_scopes() -> None:
    for introspect in ("on_refusal", "never"):
        guest = Messaging(ENDLESS, replace(PLAIN, introspect=introspect))  # type: ignore[arg-type]
        guest.start()
        guest.grant()
        guest.answer({"code": "bad.request", "message": "queue"}, 400)
        if introspect == "on_refusal":
            guest.answer({"active": True, "scope": SCOPES})
        assert guest.noted() == [("registration.refused", "400 bad.request"), ("start.failed", "bad_request")]


def test_introspection_before_each_registration() -> None:
    guest = Messaging(ENDLESS, replace(PLAIN, introspect="always"))
    guest.start()
    guest.grant()
    guest.answer({"active": True, "scope": SCOPES})
    guest.register()
    guest.open()
    other = Messaging(ENDLESS, replace(PLAIN, introspect="always"))
    other.start()
    other.grant()
    other.answer({"active": True, "scope": ""})
    assert ("start.failed", "forbidden") in other.noted()
    assert not other.requests


def test_the_body_of_a_registration() -> None:
    guest = Messaging(settings=replace(PLAIN, email="g{slot}@x.org", priority=3), skills=("s1", "s2"))
    guest.start()
    guest.grant()
    assert json.loads(guest.requests[0].body) == {
        "name": "Anonymous Guest",
        "email": "g1@x.org",
        "locale": "en-US",
        "queueId": "queue-1",
        "routingData": {"priority": 3, "skillRequirements": ["s1", "s2"]},
    }


def test_no_secret_shows() -> None:
    guest = Messaging(ENDLESS)
    conn = guest.chatting()
    for code in ("what is secret-1?", "secret-app-1", "x" * 55 + "secret-app-1"):
        guest.push(conn, {"type": "error", "code": code})
    guest.push(conn, {"type": "secret-1"})
    assert len(guest.noted()) == 4
    guest.end(conn, 0, "connection_reset")
    guest.back()
    assert "secret" not in repr(guest.rows.all)
    assert "secret" not in repr([guest.session._guest, guest.session.credential])


# ---------------------------------------------------------------- acks
def test_acks_go_to_the_oldest_message_whatever_comes_between() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say("One.")
    guest.run(S)
    guest.say("Two.")
    for frame in (JOINED, {"type": "typing", "senderId": "agent-1"}):
        guest.push(conn, frame)
    guest.agent(conn, 1)
    assert not guest.outcomes()
    guest.run(S)
    guest.ack(conn)
    assert not guest.outcomes(), "One's own may have been lost"
    guest.run(S)
    guest.limited(conn)
    assert guest.outcomes() == [(1, "ok", "", "ack"), (2, "fail", "rate_limited", "refusal")]
    assert guest.acks() == [("1", "ok", ""), ("2", "fail", "rate_limited")]
    first = guest.rows.samples("ack")[0]
    assert first.end_ns - first.start_ns == 2 * S, "timed by when it came"


def test_a_reply_may_overtake_the_ack() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say()
    guest.agent(conn, 1, 1)
    assert guest.outcomes() == [(1, "ok", "", "reply")]
    guest.ack(conn)
    assert guest.acks() == [("1", "ok", "")]
    assert "ack.unexpected" not in guest.rows.notes()
    assert len(guest.outcomes()) == 1


def test_a_missing_ack_is_counted_and_a_late_one_still_settles() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say()
    guest.run(10 * S)
    assert ("ack.missing", "1") in guest.noted()
    assert guest.acks() == [("1", "fail", "confirm_timeout")]
    assert not guest.outcomes()
    assert [frame for frame in guest.frames() if frame["type"] == "message"] == [], "not sent again"
    guest.ack(conn)
    assert guest.outcomes() == [(1, "ok", "", "ack")]
    assert len(guest.acks()) == 1


def test_after_a_time_out_nothing_is_claimed_on_a_guess() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say("One.")
    guest.run(10 * S)
    guest.say("Two.")
    guest.ack(conn)
    assert not guest.outcomes(), "it is One's, late, or Two's"
    guest.ack(conn)
    assert [row[:2] for row in guest.outcomes()] == [(1, "ok"), (2, "ok")]

    lost = Messaging()
    conn = lost.chatting()
    lost.say("One.")
    lost.run(10 * S)
    lost.say("Two.")
    lost.ack(conn)
    lost.agent(conn, 1, 2)
    assert lost.outcomes() == [(2, "ok", "", "reply")]
    lost.say("Three.")
    lost.ack(conn)
    assert not lost.outcomes()[1:], "it may be that of Two, and Three is lost"
    lost.agent(conn, 2, 3)
    assert lost.outcomes()[1:] == [(3, "ok", "", "reply")]
    assert [row[:2] for row in lost.acks()] == [("1", "fail"), ("2", "ok"), ("3", "ok")], "One will have no ack any more"
    lost.do(lost.session.close)
    lost.end(conn, 1000)
    assert lost.outcomes()[2:] == [(1, "info", "unconfirmed", "end")]


def test_an_ack_lost_among_others_shifts_no_other_and_refuses_no_other() -> None:
    guest = Messaging()
    conn = guest.chatting()
    for text in ("One.", "Two.", "Three."):
        guest.say(text)
        guest.run(S // 10)
    guest.ack(conn)  # of One; that of Two is lost
    guest.limited(conn)  # of Three
    guest.agent(conn, 1, 2)
    assert guest.outcomes() == [(2, "ok", "", "reply")], "which of the others was refused, nobody knows"
    guest.do(guest.session.close)
    guest.end(conn, 1000)
    assert {row[:2] for row in guest.outcomes()[1:]} == {(1, "info"), (3, "info")}


def test_one_lost_ack_does_not_spoil_the_times_of_all_that_follow() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say()
    guest.agent(conn, 1, 1)
    for seq in range(2, 6):
        guest.run(6 * S)
        guest.say()
        guest.run(S // 100)
        guest.ack(conn)
        guest.agent(conn, seq, seq)
    rows = guest.rows.samples("ack")
    assert {row.ref: row.outcome for row in rows} == {"1": "fail", "2": "ok", "3": "ok", "4": "ok", "5": "ok"}
    assert all(row.end_ns - row.start_ns == S // 100 for row in rows if row.outcome == "ok")
    assert guest.rows.notes().count("ack.missing") == 1


def test_an_ack_without_a_message_is_counted() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.ack(conn)
    assert "ack.unexpected" in guest.rows.notes()
    guest.say()
    guest.limited(conn, "typing")
    assert not guest.outcomes(), "a limit on typing stands for no ack"
    guest.ack(conn)
    assert len(guest.outcomes()) == 1


def test_as_written_the_next_frame_is_taken_for_the_ack_but_the_books_stay_right() -> None:
    guest = Messaging(faults=("next_frame_is_ack",))
    conn = guest.chatting()
    guest.say()
    guest.agent(conn, 1, 1)
    assert ("ack.mistaken", "delivered") in guest.noted()
    assert not guest.outcomes()
    assert not guest.rows.samples("reply"), "the page shows nothing of it"
    assert len(guest.rows.of(ops.Arrived)) == 1
    guest.ack(conn)
    assert guest.outcomes() == [(1, "ok", "", "ack")]
    guest.say("Again.")
    guest.ack(conn)
    guest.agent(conn, 2, 2)
    assert len(guest.rows.samples("reply")) == 1
    assert guest.rows.notes().count("ack.mistaken") == 1


def test_any_frame_restarts_the_wait_for_a_reply() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say()
    guest.ack(conn)
    for _ in range(3):
        guest.run(29 * S)
        guest.push(conn, {"type": "typing", "senderId": "agent-1"})
    assert not guest.rows.samples("reply")
    guest.run(30 * S)
    assert [row.cause for row in guest.rows.samples("reply")] == ["reply_timeout"]


# ---------------------------------------------------------------- queue and end
def test_the_queue_is_timed_from_the_registration() -> None:
    guest = Messaging()
    guest.start()
    guest.grant()
    guest.register()
    guest.run(2 * S)
    conn = guest.open()
    assert guest.session.state == "chatting"
    guest.run(3 * S)
    guest.push(conn, JOINED)
    guest.push(conn, JOINED)
    (row,) = guest.rows.samples("queue")
    assert (row.outcome, row.end_ns - row.start_ns, row.ref) == ("ok", 5 * S, "conv-1")


def test_a_stalled_queue_is_named_and_may_still_move() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.run(119 * S)
    assert not guest.rows.samples("queue")
    guest.run(S)
    assert guest.rows.samples("queue")[0].cause == "queue_stalled"
    assert "queue.stalled.unexplained" in guest.rows.notes()
    guest.push(conn, JOINED)
    assert "queue.late" in guest.rows.notes()
    assert len(guest.rows.samples("queue")) == 1
    impatient = Messaging(settings=replace(PLAIN, queue_give_up=1.0))
    conn = impatient.chatting()
    impatient.run(120 * S)
    impatient.end(conn, 1000)
    assert impatient.endings() == [("1-1", "queue_stalled")]


def test_closed_ends_it_without_a_reconnect() -> None:
    guest = Messaging(ENDLESS)
    conn = guest.chatting()
    guest.push(conn, {"type": "conversationMetadata", "event": "closed"})
    assert [close.code for close in guest.closes] == [1000]
    guest.end(conn, 1000)
    assert guest.endings() == [("1-1", "")]
    guest.run(4 * S)
    assert not guest.requests
    assert not guest.opens


def test_odd_frames_are_counted_and_survived() -> None:
    guest = Messaging()
    conn = guest.chatting()
    odd = [{"type": "presence"}, {"type": "conversationMetadata", "event": 7}, {"type": "message", "senderId": "a"}, b"\x00", "["]
    for frame in odd:
        guest.push(conn, frame)
    guest.push(conn, {"type": "message", "text": "No sender. [#run1.1-1.a.1]"})
    guest.push(conn, {"type": "error", "code": "OTHER"})
    assert {("frame.unknown_type", "presence"), ("message.flawed", "senderId"), ("error.frame", "OTHER")} <= set(guest.noted())
    assert [row.mid for row in guest.rows.of(ops.Arrived)] == [""]
    assert guest.session.state == "chatting"


def test_an_error_for_a_message_stands_for_its_ack() -> None:
    guest = Messaging()
    conn = guest.chatting()
    guest.say()
    guest.push(conn, {"type": "error", "code": "TOO_LONG", "frame": "message"})
    assert guest.outcomes() == [(1, "fail", "refused", "refusal")]


# ---------------------------------------------------------------- reconnect
def test_every_reconnect_registers_anew_with_back_off() -> None:
    guest = Messaging(ENDLESS)
    conn = guest.chatting()
    gaps = []
    for number in range(3):
        guest.say()
        last = guest.now
        guest.end(conn, 0 if number else 1011, "connection_reset" if number else "")
        assert not guest.opens
        conn = guest.back()
        gaps.append((guest.now - last) // S)
        assert guest.session.label == f"1-{number + 2}"
        assert guest.say()["conversationId"] == f"conv-{number + 2}"
    assert gaps == [2, 4, 8]
    assert guest.endings() == [("1-1", "reconnect"), ("1-2", "reconnect"), ("1-3", "reconnect")]
    assert [(row.outcome, row.end_ns - row.start_ns) for row in guest.rows.samples("reconnect.gap")] == [
        ("ok", 2 * S),
        ("ok", 4 * S),
        ("ok", 8 * S),
    ]
    guest.run(5 * S)
    last = guest.now
    guest.end(conn, 1011)
    guest.back()
    assert guest.now - last == 2 * S, "a socket that lasted lets the count begin anew"


def test_one_wanted_conversation_survives_its_reconnects() -> None:
    guest = Messaging(CALM)
    conn = guest.chatting()
    guest.end(conn, 1011)
    conn = guest.back()
    guest.push(conn, {"type": "conversationMetadata", "event": "closed"})
    guest.end(conn, 1000)
    assert guest.finished == 1


@pytest.mark.parametrize(("wait", "note"), [(0, "auth.rejected"), (61, "token.expired")])
def test_a_refused_upgrade_is_named_and_the_guest_registers_anew(wait: int, note: str) -> None:
    guest = Messaging(ENDLESS)
    guest.start()
    guest.grant()
    guest.register()
    guest.run(wait * S)
    guest.refuse(response=HttpResponse(403, {}, b""))
    assert note in guest.rows.notes()
    guest.back()
    assert guest.endings() == [("1-1", "reconnect")]
    assert guest.session.state == "chatting"


def test_retry_after_of_an_upgrade_is_kept() -> None:
    guest = Messaging(ENDLESS)
    guest.start()
    guest.grant()
    guest.register()
    guest.refuse(response=HttpResponse(429, {"retry-after": "9"}, b""))
    guest.run(9 * S - 1)
    assert not guest.requests
    guest.run(1)
    assert len(guest.requests) == 1


def test_after_five_failures_it_gives_up_for_a_while() -> None:
    guest = Messaging(ENDLESS)
    conn = guest.chatting()
    guest.end(conn, 1011)
    for _ in range(5):
        while not guest.requests:
            guest.next_timer()
        guest.register()
        guest.refuse("connect_timeout")
    assert ("start.failed", "connect_timeout") in guest.noted()
    assert [row.outcome for row in guest.rows.samples("reconnect.gap")] == ["info"]


def test_a_reused_token_is_refused_and_named() -> None:
    guest = Messaging(ENDLESS, faults=("reuse_token",))
    conn = guest.chatting()
    guest.end(conn, 1011)
    for _ in range(5):
        while not guest.opens:
            guest.next_timer()
        assert guest.opens[0].path.endswith("webChatToken=secret-1")
        guest.refuse(response=HttpResponse(403, {}, b""))
    assert guest.rows.notes().count("token.reused") == 5
    assert "reconnect.exhausted" in guest.rows.notes()
    guest.back()
    assert guest.session.label == "1-2"


def test_a_made_up_conversation_is_lost_and_stays_unknown() -> None:
    guest = Messaging(faults=("wrong_conversation_id",))
    conn = guest.chatting()
    first, second = guest.say(), guest.say()
    assert len({"conv-1", first["conversationId"], second["conversationId"]}) == 3
    guest.run(31 * S)
    guest.do(guest.session.close)
    guest.end(conn, 1000)
    assert [row[1:3] for row in guest.outcomes()] == [("info", "unconfirmed")] * 2


def test_a_stopping_guest_does_not_register_anew() -> None:
    guest = Messaging(ENDLESS)
    conn = guest.chatting()
    guest.do(guest.session.stop)
    guest.end(conn, 1011)
    assert guest.finished == 1


def test_a_dead_socket_is_noticed_and_left() -> None:
    guest = Messaging(ENDLESS)
    guest.pongs = False
    conn = guest.chatting()
    guest.run(33 * S)
    assert "zombie" in guest.rows.notes()
    assert [(close.conn, close.code) for close in guest.closes] == [(conn, 4000)]
    guest.agent(conn, 1)
    guest.end(conn, 0, "timeout")
    assert guest.back()
    assert guest.rows.of(ops.Arrived)[0].label == "1-1"


def test_the_applications_token_is_renewed_ahead_and_kept_across_conversations() -> None:
    guest = Messaging(ENDLESS)
    conn = guest.chatting(300)
    guest.run(240 * S)
    guest.grant()
    assert guest.session.state == "chatting"
    guest.end(conn, 1011)
    guest.back()
    late = Messaging(ENDLESS, faults=("no_refresh",))
    late.chatting(300)
    late.run(400 * S)
    assert not late.requests


def test_every_client_fault_makes_settings() -> None:
    for name in DIALECT.client_faults:
        assert DIALECT.settings_with(DIALECT.settings(), [name]) != DIALECT.settings(), name
