"""webchat's guest half in virtual time: each line of its section as a behaviour."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from harness.core import ops
from harness.core.spread import fixed
from harness.core.stamps import show_iso
from harness.core.wire import HttpResponse
from harness.dialects.webchat_settings import WebchatSettings
from tests.dialects.hand import MS, START, S
from tests.dialects.webchat_hand import ATTRIBUTES, CALM, CONV, SKILLS, Webchat

SETTINGS = WebchatSettings()


def closed(guest: Webchat) -> list[tuple[int, str, str, str, int]]:
    return [(row.seq, row.outcome, row.cause, row.via, row.attempts) for row in guest.rows.of(ops.Closed)]


def outcomes(guest: Webchat, measure: str) -> list[tuple[str, str]]:
    return [(row.outcome, row.cause) for row in guest.rows.samples(measure)]


# -------------------------------------------------------------------- credentials
def test_scopes_and_token_path_are_settings() -> None:
    guest = Webchat(settings=replace(SETTINGS, token_path="/broker/token", scopes=("a:b", "c")))
    guest.start()
    request = guest.requests[0]
    assert (request.base, request.path) == ("login", "/broker/token")
    assert request.body.endswith(b"scope=a:b%20c")


def test_retry_after_on_the_token_is_honoured_and_retries_are_bounded() -> None:
    guest = Webchat(settings=replace(SETTINGS, token_attempts=3))
    guest.start()
    asked = []
    for _ in range(3):
        asked.append(guest.now)
        guest.answer({}, 429, retry_after="7")
        guest.run(8 * S)
    assert not guest.requests
    assert len(guest.rows.of(ops.Refused)) == 3
    assert guest.session.state == "finished"
    assert "start.failed" in guest.rows.notes()


def test_a_later_conversation_tries_again_after_growing_pauses() -> None:
    guest = Webchat(replace(CALM, conversations=0), replace(SETTINGS, token_attempts=1))
    guest.start()
    pauses = []
    for _ in range(5):
        guest.answer({"error": "invalid_client"}, 401)
        before = guest.now
        while not guest.requests:
            guest.next_timer()
        pauses.append(guest.now - before)
    assert all(2.5 * S * 2**n <= pause <= min(7.5 * S * 2**n, 60 * S) for n, pause in enumerate(pauses))


LONG = replace(CALM, session_length=fixed(5000), think_time=fixed(2000), confirm_timeout=100 * S)


def test_refresh_comes_a_minute_ahead_with_jitter_and_moves_the_socket() -> None:
    starts = set()
    for seed in range(8):
        guest = Webchat(LONG, seed=str(seed))
        conn = guest.chatting(lifetime=600)
        while not guest.requests:
            guest.push(conn, {"type": "pong"})
            guest.next_timer()
            for frame in guest.frames():
                if frame["type"] == "message":
                    guest.echo(conn, frame)
        starts.add(guest.now)
        assert 530 * S <= guest.now - START <= 540 * S
        assert not guest.closes, "the old socket lives on meanwhile"
        guest.grant(600)
        assert [(c.code, c.reason) for c in guest.closes] == [(1000, "token refresh")]
        assert guest.session.state == "reconnecting"
        assert not guest.opens, "first the old socket's end"
        guest.end(conn, 1000)
        new = guest.open()
        assert guest.frames(new) == [{"type": "auth", "token": "token-2"}]
        guest.push(new, {"type": "auth", "status": "success", "serverTime": guest.iso()})
        assert guest.bind(new)["conversationId"] == CONV
        guest.run(300 * MS)
        guest.listing()
        assert guest.session.state == "chatting"
        (gap,) = guest.rows.samples("refresh.gap")
        assert gap.end_ns - gap.start_ns == 300 * MS
        assert not guest.rows.samples("reconnect.gap")
    assert len(starts) > 4


def test_the_change_waits_for_outstanding_echoes_but_not_for_ever() -> None:
    for patient in (True, False):
        guest = Webchat(replace(LONG, think_time=fixed(3)))
        conn = guest.chatting(lifetime=70)
        frame = guest.said(conn)
        guest.run(10 * S)
        guest.grant(3600)
        assert not guest.closes
        if patient:
            guest.echo(conn, frame)
        else:
            guest.run(2 * S - 1)
            assert not guest.closes
            guest.run(1)
        assert len(guest.closes) == 1


def test_the_old_sockets_end_is_waited_for_two_seconds_at_most() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.push(conn, {"type": "error", "code": "TOKEN_EXPIRED"})
    guest.grant()
    guest.run(2 * S - 1)
    assert not guest.opens
    guest.run(1)
    assert len(guest.opens) == 1
    assert conn in guest.session.sockets, "its reader has not met its end"
    guest.agent(conn, 1)
    (row,) = guest.rows.of(ops.Arrived)
    assert (row.epoch, row.via) == (conn, f"10.0.0.1:{40000 + conn}")


def test_sends_are_held_while_the_socket_is_changed() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.push(conn, {"type": "error", "code": "TOKEN_EXPIRED"})
    guest.end(conn, 1000)
    guest.run(9 * S)
    assert not guest.frames()
    assert not guest.rows.of(ops.Invoked)
    guest.grant()
    new = guest.authenticate()
    guest.bind(new)
    assert not guest.frames()
    guest.listing()
    (frame,) = guest.frames()
    assert frame["type"] == "message"
    guest.echo(new, frame)
    (echo,) = guest.rows.samples("echo")
    assert echo.intended_ns < echo.free_ns == echo.start_ns, "the wait was the server's doing"


def test_a_401_on_rest_means_one_refresh_and_one_retry() -> None:
    guest = Webchat()
    guest.start()
    guest.grant()
    guest.answer({}, 401)
    guest.grant()
    assert dict(guest.requests[0].headers)["Authorization"] == "Bearer token-2"
    guest.answer({}, 401)
    assert not guest.requests
    assert "skills.unchecked" in guest.rows.notes()
    assert len(guest.opens) == 1


def test_a_failed_refresh_starts_from_scratch_at_expiry() -> None:
    guest = Webchat(LONG, replace(SETTINGS, token_attempts=2))
    conn = guest.chatting(lifetime=70)
    while not guest.requests:
        guest.next_timer()
    while guest.now < START + 60 * S:
        if guest.requests:
            guest.answer({}, 503)
        guest.next_timer()
        for frame in guest.frames():
            if frame["type"] == "ping":
                guest.push(conn, {"type": "pong"})
    assert not guest.closes
    guest.requests.clear()
    guest.run(15 * S)
    guest.push(conn, {"type": "error", "code": "TOKEN_EXPIRED"})
    guest.end(conn, 1000)
    assert guest.session.state == "reconnecting"


def test_the_secret_is_in_no_row() -> None:
    guest = Webchat()
    guest.chatting()
    text = "".join(map(repr, guest.rows.all)) + repr(guest.session.context) + repr(guest.session.credential)
    assert "YOUR_APP_SECRET" not in text
    assert "token-1" not in text


# -------------------------------------------------------------------- before the conversation
def test_an_unknown_skill_starts_nothing() -> None:
    guest = Webchat(skills=("tier1_support",))
    guest.start()
    guest.grant()
    guest.skills()
    assert not guest.opens
    assert outcomes(guest, "lookup") == [("ok", "")]
    assert outcomes(guest, "routing") == [("fail", "skill_unknown")]
    assert not guest.rows.of(ops.Ended)


def test_the_check_of_skills_can_be_left_out() -> None:
    guest = Webchat(settings=replace(SETTINGS, check_skills=False))
    guest.start()
    guest.grant()
    assert guest.opens
    assert not guest.requests


def test_attribute_keys_are_checked_where_they_are_known() -> None:
    guest = Webchat(settings=replace(SETTINGS, attribute_keys=("source", "usertier", "locale")))
    guest.start()
    guest.grant()
    guest.skills()
    assert not guest.opens
    assert [row.detail for row in guest.rows.of(ops.Noted) if row.what == "skills.unknown"] == ["userTier"]


@pytest.mark.parametrize(
    ("skills", "keys", "checked", "note"),
    [
        (SKILLS, (), True, ("queue.stalled.nobody_on_shift", "attribute keys not checked")),
        (SKILLS, tuple(ATTRIBUTES), True, ("queue.stalled.nobody_on_shift", "")),
        (SKILLS, (), False, ("queue.stalled.nobody_on_shift", "attribute keys not checked")),
        (("billing",), (), False, ("queue.stalled.unknown_names", "billing")),
        (SKILLS, ("source",), False, ("queue.stalled.unknown_names", "locale, userTier")),
    ],
)
def test_a_stall_tells_wrong_names_from_nobody_on_shift(
    skills: tuple[str, ...], keys: tuple[str, ...], checked: bool, note: tuple[str, str]
) -> None:
    settings = replace(SETTINGS, check_skills=checked, attribute_keys=keys, queue_give_up=0.0, ping_every=0)
    guest = Webchat(settings=settings, skills=skills)
    guest.start()
    guest.grant()
    if checked:
        guest.skills()
    guest.bind(guest.authenticate())
    guest.run(120 * S)
    if not checked:
        guest.skills()
    assert [(row.what, row.detail) for row in guest.rows.of(ops.Noted) if row.what.startswith("queue.")] == [note]


def test_a_stall_that_nobody_can_explain_is_named_so() -> None:
    guest = Webchat(settings=replace(SETTINGS, check_skills=False, queue_give_up=0.0, ping_every=0))
    guest.start()
    guest.grant()
    guest.bind(guest.authenticate())
    guest.run(120 * S)
    guest.answer({}, 404)
    assert guest.rows.notes()[-1] == "queue.stalled.unexplained"


def test_keep_alive_can_be_left_out() -> None:
    guest = Webchat(settings=replace(SETTINGS, ping_every=0))
    conn = guest.chatting(lifetime=100_000)
    guest.run(600 * S)
    assert not [frame for frame in guest.frames(conn) if frame["type"] == "ping"]


def test_nothing_is_sent_before_auth_success() -> None:
    guest = Webchat(settings=replace(SETTINGS, ping_every=1 * S))
    guest.start()
    guest.grant()
    guest.skills()
    conn = guest.open()
    guest.frames()
    guest.push(conn, {"type": "ping", "payload": 1})
    guest.push(conn, {"type": "conversation", "conversationId": CONV, "status": "queued"})
    guest.agent(conn, 1)
    guest.run(9 * S)
    assert not guest.sent


def test_auth_time_out_and_then_another_try() -> None:
    guest = Webchat()
    guest.start()
    guest.grant()
    guest.skills()
    guest.open()
    guest.run(10 * S)
    assert outcomes(guest, "auth") == [("fail", "auth_timeout")]
    assert guest.closes[0].code == 4000
    guest.run(3 * S)
    assert len(guest.opens) == 1


def test_a_rejected_token_is_replaced() -> None:
    guest = Webchat()
    guest.start()
    guest.grant()
    guest.skills()
    conn = guest.open()
    guest.push(conn, {"type": "auth", "status": "error", "code": "INVALID_TOKEN"})
    assert outcomes(guest, "auth") == [("fail", "auth_rejected")]
    guest.run(3 * S)
    guest.grant()
    assert len(guest.opens) == 1


def test_a_conversation_that_never_starts_is_given_up() -> None:
    guest = Webchat()
    guest.start()
    guest.grant()
    guest.skills()
    for _ in range(6):
        while not guest.opens:
            guest.next_timer()
        guest.refuse("connect_refused")
    assert guest.finished == 1
    assert not guest.rows.of(ops.Ended)


def test_retry_after_on_the_upgrade_is_honoured() -> None:
    guest = Webchat()
    guest.start()
    guest.grant()
    guest.skills()
    guest.refuse("upgrade_refused", HttpResponse(429, {"retry-after": "20"}, b""))
    before = guest.now
    while not guest.opens:
        guest.next_timer()
    assert guest.now - before >= 20 * S


def test_priority_is_sent_where_it_is_set() -> None:
    guest = Webchat(settings=replace(SETTINGS, check_skills=False, priority=3))
    guest.start()
    guest.grant()
    conn = guest.authenticate()
    assert guest.bind(conn)["routing"]["priority"] == 3


# -------------------------------------------------------------------- queue
def test_the_first_agent_frame_ends_the_wait() -> None:
    guest = Webchat()
    conn = guest.queued()
    guest.run(5 * S)
    guest.agent(conn, 1)
    (queue,) = guest.rows.samples("queue")
    assert (queue.outcome, queue.end_ns - queue.start_ns) == ("ok", 5 * S)
    assert guest.session.state == "chatting"


@pytest.mark.parametrize(("share", "state"), [(0.0, "queued"), (1.0, "leaving")])
def test_a_stalled_queue_is_named_and_waited_on_or_left(share: float, state: str) -> None:
    guest = Webchat(settings=replace(SETTINGS, queue_give_up=share, ping_every=1000 * S))
    conn = guest.queued()
    guest.run(120 * S)
    assert outcomes(guest, "queue") == [("fail", "queue_stalled")]
    assert guest.session.state == state
    if state == "queued":
        guest.agent(conn, 1)
        assert guest.session.state == "chatting"
        assert len(guest.rows.samples("queue")) == 1
        assert "queue.late" in guest.rows.notes()
    else:
        assert guest.frames()[-1] == {"type": "conversation", "conversationId": CONV, "status": "closed"}


# -------------------------------------------------------------------- messages
def test_a_round_trip() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    sent = guest.now
    assert frame["messageId"] == "run1-1-1-1"
    assert frame["text"].endswith(" [#run1.1-1.g.1]")
    guest.run(100 * MS)
    guest.echo(conn, frame)
    guest.run(900 * MS)
    guest.agent(conn, 1, 1)
    (echo,) = guest.rows.samples("echo")
    (reply,) = guest.rows.samples("reply")
    assert (echo.start_ns, echo.end_ns) == (sent, sent + 100 * MS)
    assert (reply.start_ns, reply.end_ns) == (sent, sent + S)
    assert closed(guest) == [(1, "ok", "", "echo", 1)]
    assert guest.rows.samples("event.lag")
    first, second = guest.rows.of(ops.Arrived)
    assert (first.direction, first.seq, first.channel, first.epoch) == ("g", 1, "push", conn)
    assert first.mid == f"run1-1-1-1@{show_iso(first.server_ns)}"
    assert (second.direction, second.seq, second.re) == ("a", 1, 1)
    assert guest.frames() == [{"type": "read", "conversationId": CONV, "messageId": "srv-1"}]


def test_two_stored_copies_have_unlike_names_and_one_is_shown() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    shown: list[Any] = []
    guest.session.renderer = lambda now, item: shown.append(item)
    guest.echo(conn, frame)
    guest.run(5 * MS)
    guest.echo(conn, frame)
    mids = [row.mid for row in guest.rows.of(ops.Arrived)]
    assert len(set(mids)) == 2
    assert len(shown) == 1
    assert len(guest.rows.samples("echo")) == 1


@pytest.mark.parametrize("without", ["messageId", "timestamp", "from", "conversationId"])
def test_an_echo_without_a_field_is_survived(without: str) -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    row = {"type": "message", **guest.guest_row(frame)}
    del row[without]
    guest.push(conn, row)
    assert closed(guest) == [(1, "ok", "", "echo", 1)]
    assert len(guest.rows.of(ops.Arrived)) == 1
    assert ("message.flawed" in guest.rows.notes()) == (without != "from")


def test_an_unmarked_echo_confirms_by_its_id() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.push(conn, {"type": "message", **guest.guest_row(frame), "text": "cut"})
    assert closed(guest) == [(1, "ok", "", "echo", 1)]


def test_an_agent_does_not_confirm_with_the_guests_id() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.push(conn, {"type": "message", **guest.agent_row(1), "messageId": frame["messageId"]})
    assert not closed(guest)


def test_read_receipts_are_a_share() -> None:
    guest = Webchat(settings=replace(SETTINGS, read_receipts=0.0))
    conn = guest.chatting()
    guest.agent(conn, 1)
    assert not guest.frames()


def test_a_rate_limit_holds_the_next_message_back() -> None:
    guest = Webchat(replace(CALM, think_time=fixed(0.1)))
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.push(conn, {"type": "error", "code": "RATE_LIMITED", "retryAfter": 5, "messageId": frame["messageId"]})
    guest.push(conn, {"type": "error", "code": "RATE_LIMITED", "retryAfter": 5})
    assert [row.ref for row in guest.rows.of(ops.Refused)] == [f"10.0.0.1:{40000 + conn}#{n}" for n in (1, 2)]
    assert closed(guest) == [(1, "fail", "rate_limited", "refusal", 1)]
    assert outcomes(guest, "echo") == [("fail", "rate_limited")]
    guest.run(5 * S)
    assert not guest.frames()
    guest.run(S)
    (frame,) = guest.frames()
    assert frame["messageId"].endswith("-2")


def test_a_rate_limit_outlives_a_reconnect() -> None:
    guest = Webchat(replace(CALM, think_time=fixed(0.1)))
    conn = guest.chatting()
    guest.push(conn, {"type": "error", "code": "RATE_LIMITED", "retryAfter": 30})
    guest.end(conn)
    new = guest.back()
    assert guest.session.state == "chatting"
    guest.run(10 * S)
    assert not [f for f in guest.frames(new) if f["type"] == "message"]
    guest.push(new, {"type": "pong"})
    guest.run(20 * S)
    assert [f for f in guest.frames(new) if f["type"] == "message"]


def test_a_schedule_keeps_its_plan_and_counts_what_it_drops() -> None:
    guest = Webchat(replace(CALM, pacing="schedule", period=fixed(1.0)))
    conn = guest.chatting()
    guest.run(5 * S)
    frames = [f for f in guest.frames() if f["type"] == "message"]
    assert 4 <= len(frames) <= 6
    for frame in reversed(frames):
        guest.echo(conn, frame)
    assert len(closed(guest)) == len(frames)
    guest.end(conn, 0, "connection_reset")
    guest.run(2 * S)
    assert guest.rows.notes().count("send.dropped") == 2


def test_reload_keeps_the_conversation() -> None:
    guest = Webchat(replace(CALM, reload=1.0))
    conn = guest.chatting()
    while not guest.closes:
        guest.next_timer()
    assert [(c.code, c.reason) for c in guest.closes] == [(1001, "reload")]
    guest.end(conn, 1001)
    assert not guest.opens  # the token was in the page's memory: the site's backend is asked for another
    guest.grant()
    new = guest.authenticate()
    assert guest.bind(new)["conversationId"] == CONV
    guest.listing()
    (frame,) = guest.frames()
    assert frame["type"] == "message"
    assert not guest.rows.samples("reconnect.gap")
    assert not guest.rows.samples("refresh.gap")


# -------------------------------------------------------------------- order
def test_messages_are_shown_in_order_and_once() -> None:
    guest = Webchat()
    conn = guest.chatting()
    shown: list[int] = []
    guest.session.renderer = lambda now, item: shown.append(item.agent_seq)
    stamps = [guest.iso(n * MS) for n in range(5)]
    for seq in (1, 3, 1, 4, 2, 3):
        guest.agent(conn, seq, stamp=stamps[seq])
        guest.run(10 * MS)
    assert shown == [1, 2, 3, 4]
    assert len(guest.rows.of(ops.Arrived)) == 6
    assert not guest.requests
    guest.run(10 * S)
    assert not guest.requests


def test_a_hole_asks_the_listing_once_and_is_then_given_up() -> None:
    guest = Webchat()
    conn = guest.chatting()
    shown: list[int] = []
    guest.session.renderer = lambda now, item: shown.append(item.agent_seq)
    guest.agent(conn, 1)
    guest.run(10 * MS)
    guest.agent(conn, 4, stamp=guest.iso(30 * MS))
    guest.run(2 * S)
    assert shown == [1]
    guest.listing(guest.agent_row(1, stamp=guest.iso(-2010 * MS)), guest.agent_row(3, stamp=guest.iso(-1990 * MS)))
    assert shown == [1, 3, 4], "2 is nowhere: given up"
    assert [row.channel for row in guest.rows.of(ops.Arrived)] == ["push", "push", "resync", "resync"]
    guest.run(6 * S)
    assert not guest.requests, "one question for each hole"


def test_since_lies_before_the_hole() -> None:
    guest = Webchat()
    conn = guest.chatting()
    first = guest.iso()
    guest.agent(conn, 1, stamp=first)
    guest.run(1 * S)
    guest.agent(conn, 3)
    guest.end(conn)
    guest.run(3 * S)
    new = guest.authenticate()
    guest.bind(new)
    assert f"since={first}" in guest.requests[0].path


# -------------------------------------------------------------------- keep-alive
def test_no_pong_means_zombie_and_a_forced_reconnect() -> None:
    guest = Webchat(LONG)
    conn = guest.chatting()
    while not any(f["type"] == "ping" for f in guest.frames()):
        guest.next_timer()
    pinged = guest.now
    assert 18 * S <= pinged - START <= 22 * S
    while not guest.closes:
        guest.next_timer()
    assert guest.now == pinged + 10 * S
    assert (guest.closes[0].conn, guest.closes[0].code) == (conn, 4000)
    assert guest.session.state == "reconnecting"
    assert conn in guest.session.sockets
    guest.agent(conn, 1)
    assert len(guest.rows.of(ops.Arrived)) == 1
    new = guest.back(guest.agent_row(1))
    assert guest.session.state == "chatting"
    guest.agent(conn, 2)
    guest.agent(new, 2)
    assert [row.epoch for row in guest.rows.of(ops.Arrived) if row.channel == "push"] == [conn, conn, new]
    guest.end(conn, 4000)
    (row,) = guest.rows.of(ops.Connection)
    assert (row.begun, row.code) == ("guest", 4000)


# -------------------------------------------------------------------- reconnect
def test_back_off_follows_the_seed_then_the_breaker_opens() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.end(conn, 0, "connection_reset")
    delays = []
    for _ in range(5):
        before = guest.now
        while not guest.opens:
            guest.next_timer()
        delays.append(guest.now - before)
        guest.refuse("connect_refused")
    for n, delay in enumerate(delays):
        assert min(2000 * 2**n, 30000) * MS <= delay <= min(2000 * 2**n + 1000, 30000) * MS
    assert guest.session.state == "rest_only"
    assert "breaker.open" in guest.rows.notes()
    assert len(guest.requests) == 1


def test_rest_only_polls_and_probes_and_comes_back() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.end(conn, 0, "connection_reset")
    for _ in range(5):
        while not guest.opens:
            guest.next_timer()
        guest.refuse("connect_refused")
    guest.listing(guest.guest_row(frame))
    assert closed(guest) == [(1, "ok", "", "listing", 1)]
    assert outcomes(guest, "echo") == [("fail", "confirm_timeout")]
    polls = []
    while not guest.opens:
        guest.next_timer()
        if guest.requests:
            polls.append(guest.now)
            guest.listing(guest.agent_row(1, 1))
    gaps = [b - a for a, b in pairwise(polls)]
    assert len(polls) >= 4
    assert all(4.5 * S <= gap <= 5.5 * S for gap in gaps)
    assert len(guest.rows.samples("reply")) == 1
    guest.run(20 * S)
    assert not [f for f in guest.frames() if f["type"] == "message"], "there is no REST send"
    guest.requests.clear()
    new = guest.authenticate()
    guest.bind(new)
    guest.listing()
    assert guest.session.state == "chatting"
    assert guest.states()[-2:] == ["rest_only", "chatting"]
    assert outcomes(guest, "reconnect.gap") == [("ok", "")]
    assert [f["type"] for f in guest.frames(new)].count("message") == 1


def test_a_drop_is_resynced_before_the_stream_goes_on() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.agent(conn, 1)
    last = guest.iso()
    guest.frames()
    shown: list[int] = []
    guest.session.renderer = lambda now, item: shown.append(item.agent_seq)
    dropped = guest.now
    guest.end(conn, 1012)
    guest.run(3 * S)
    new = guest.authenticate()
    guest.bind(new, "connected")
    assert f"since={last}&limit=50" in guest.requests[0].path
    guest.agent(new, 3, stamp=guest.iso())
    assert shown == []
    assert guest.rows.of(ops.Arrived)[-1].epoch == new
    guest.listing(guest.agent_row(1, stamp=last), guest.agent_row(2, stamp=guest.iso(-S)))
    assert shown == [2, 3]
    assert guest.frames(new)[0] == {"type": "read", "conversationId": CONV, "messageId": "srv-3"}, "the newest says it all"
    (gap,) = guest.rows.samples("reconnect.gap")
    assert (gap.start_ns, gap.end_ns) == (dropped, guest.now)
    assert guest.session.state == "chatting"


def test_pending_messages_are_checked_before_any_resend() -> None:
    guest = Webchat(replace(CALM, pacing="schedule", period=fixed(0.5)))
    conn = guest.chatting()
    frames: list[dict[str, Any]] = []
    while len(frames) < 2:
        guest.next_timer()
        frames += [f for f in guest.frames() if f["type"] == "message"]
    guest.end(conn, 0, "connection_reset")
    guest.run(3 * S)
    new = guest.authenticate()
    guest.bind(new)
    assert not guest.frames(new), "nothing blindly"
    guest.listing(guest.guest_row(frames[0]))
    assert closed(guest) == [(1, "ok", "", "listing", 1)]
    (again,) = guest.frames(new)
    assert again == frames[1]
    assert [(row.seq, row.attempt) for row in guest.rows.of(ops.Invoked)] == [(1, 1), (2, 1), (2, 2)]
    guest.echo(new, again)
    assert closed(guest)[1] == (2, "ok", "", "echo", 2)


def test_resend_can_be_switched_off() -> None:
    guest = Webchat(settings=replace(SETTINGS, resend="never"))
    conn = guest.chatting()
    guest.said(conn)
    guest.end(conn)
    new = guest.back()
    assert not guest.frames(new)


def test_no_resend_while_the_old_socket_may_still_bring_the_message() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.push(conn, {"type": "error", "code": "TOKEN_EXPIRED"})
    guest.grant()
    guest.run(2 * S)  # its end does not come
    new = guest.authenticate()
    guest.bind(new)
    guest.listing()
    assert guest.session.state == "chatting"
    assert not guest.frames(new)
    guest.end(conn, 1000)
    guest.listing()
    assert guest.frames(new) == [frame], "now it is certain"


def test_no_resend_after_an_end_that_proves_nothing() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.said(conn)
    guest.push(conn, {"type": "error", "code": "TOKEN_EXPIRED"})
    guest.grant()
    guest.end(conn, 0, "timeout")  # the peer never answered the close: it may read on later
    new = guest.authenticate()
    guest.bind(new)
    guest.listing()
    assert not guest.frames(new)
    assert not closed(guest)


def test_what_never_left_is_sent_without_a_new_attempt() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.write = False
    while not guest.rows.of(ops.Invoked):
        guest.next_timer()
    guest.write = True
    guest.end(conn, 0, "write_failed")
    new = guest.back()
    (frame,) = guest.frames(new)
    assert frame["type"] == "message"
    assert len(guest.rows.of(ops.Invoked)) == 1


def test_a_missing_echo_is_looked_up_but_not_sent_again_on_a_living_socket() -> None:
    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.run(10 * S)
    assert outcomes(guest, "echo") == [("fail", "confirm_timeout")]
    guest.listing()
    assert not [f for f in guest.frames(conn) if f["type"] == "message"]
    guest.echo(conn, frame)
    assert closed(guest) == [(1, "ok", "", "echo", 1)]
    assert len(guest.rows.samples("echo")) == 1

    guest = Webchat()
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.run(10 * S)
    guest.listing(guest.guest_row(frame))
    assert closed(guest) == [(1, "ok", "", "listing", 1)]


def test_pages_go_on_until_caught_up_and_ties_widen_the_page() -> None:
    guest = Webchat(settings=replace(SETTINGS, page_limit=2, page_limit_cap=8))
    conn = guest.chatting()
    guest.end(conn)
    guest.run(3 * S)
    new = guest.authenticate()
    guest.bind(new)
    t = [guest.iso(-S + n * MS) for n in range(4)]
    seen = [guest.listing(guest.agent_row(1, stamp=t[0]), guest.agent_row(2, stamp=t[1]))]
    seen.append(guest.listing(guest.agent_row(2, stamp=t[1]), guest.agent_row(3, stamp=t[1])))
    rows = [guest.agent_row(n, stamp=t[1]) for n in (2, 3, 4)]
    seen.append(guest.listing(*rows, guest.agent_row(5, stamp=t[2])))
    seen.append(guest.listing(guest.agent_row(5, stamp=t[2])))
    assert [path.split("since=")[1] for path in seen[1:]] == [f"{t[1]}&limit=2", f"{t[1]}&limit=4", f"{t[2]}&limit=2"]
    assert guest.session.state == "chatting"
    assert guest.session.render.shown == 5


def test_a_failing_listing_does_not_hold_the_socket_back_for_ever() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.end(conn)
    guest.run(3 * S)
    new = guest.authenticate()
    guest.bind(new)
    for _ in range(3):
        while not guest.requests:
            guest.next_timer()
        guest.answer({}, 500)
    assert guest.session.state == "chatting"
    assert "resync.failed" in guest.rows.notes()
    while not guest.requests:
        guest.next_timer()
    guest.listing()


@pytest.mark.parametrize("way", ["frame", "404"])
def test_a_lost_conversation_makes_room_for_a_new_one(way: str) -> None:
    guest = Webchat(replace(CALM, conversations=0))
    conn = guest.chatting()
    guest.said(conn)
    guest.end(conn)
    guest.run(3 * S)
    new = guest.authenticate()
    if way == "frame":
        guest.frames()
        guest.push(new, {"type": "error", "code": "CONVERSATION_NOT_FOUND", "conversationId": CONV})
    else:
        guest.bind(new)
        guest.answer({"code": "not.found"}, 404)
    (ended,) = guest.rows.of(ops.Ended)
    assert (ended.label, ended.cause) == ("1-1", "not_found")
    assert closed(guest) == [(1, "info", "interrupted", "end", 1)]
    guest.end(new, 1000)
    guest.run(3 * S)
    guest.skills()
    third = guest.authenticate()
    routing = guest.bind(third)
    assert "conversationId" not in routing
    assert guest.session.label == "1-2"


def test_another_conversation_than_asked_for_is_a_context_split() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.end(conn)
    guest.run(3 * S)
    new = guest.authenticate()
    guest.frames()
    guest.push(new, {"type": "conversation", "conversationId": "conv_2", "status": "queued"})
    assert "context.split" in guest.rows.notes()
    assert guest.rows.of(ops.Ended)[0].cause == "context_split"


# -------------------------------------------------------------------- leaving
def test_leaving_waits_for_echoes_then_for_the_barrier_then_reads_back_all_pages() -> None:
    guest = Webchat(settings=replace(SETTINGS, page_limit=2))
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.do(guest.session.close)
    assert guest.session.state == "leaving"
    assert not guest.frames()
    guest.echo(conn, frame)
    assert guest.frames() == [{"type": "conversation", "conversationId": CONV, "status": "closed"}]
    guest.push(conn, {"type": "conversation", "conversationId": CONV, "status": "closed"})
    t = [guest.iso(n * MS) for n in range(3)]
    path = guest.listing(guest.guest_row(frame, t[0]), guest.agent_row(1, 1, t[1]))
    assert path.endswith(f"?conversationId={CONV}&limit=2")
    path = guest.listing(guest.agent_row(1, 1, t[1]))
    assert f"since={t[1]}" in path
    (ended,) = guest.rows.of(ops.Ended)
    assert (ended.conversation_id, ended.complete) == (CONV, True)
    assert outcomes(guest, "leave") == [("ok", "")]
    guest.end(conn, 1000)
    assert guest.finished == 1
    assert guest.session.next_deadline() is None


def test_what_a_complete_read_back_does_not_hold_was_not_stored() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.said(conn)
    guest.do(guest.session.close)
    guest.run(10 * S)
    assert guest.frames(conn)[-1]["type"] == "conversation"
    guest.push(conn, {"type": "conversation", "conversationId": CONV, "status": "closed"})
    guest.listing()
    assert closed(guest) == [(1, "fail", "not_stored", "listing", 1)]


def test_without_barrier_the_read_back_is_not_complete() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.said(conn)
    guest.do(guest.session.close)
    guest.run(15 * S)
    assert outcomes(guest, "leave") == [("fail", "timeout")]
    guest.listing()
    assert closed(guest) == [(1, "info", "interrupted", "end", 1)]
    assert not guest.rows.of(ops.Ended)[0].complete


def test_an_agent_ends_the_conversation_and_the_next_one_begins() -> None:
    guest = Webchat(replace(CALM, conversations=2))
    conn = guest.chatting()
    guest.push(conn, {"type": "conversation", "conversationId": CONV, "status": "closed"})
    assert not guest.frames(), "no leave frame"
    guest.listing()
    assert guest.rows.of(ops.Ended)[0].complete
    assert guest.session.state == "between"
    guest.end(conn, 1000)
    guest.run(5 * S)
    guest.skills()
    assert len(guest.opens) == 1, "the token is still good"
    assert guest.session.label == "1-2"


def test_the_session_length_ends_a_conversation() -> None:
    guest = Webchat(replace(CALM, session_length=fixed(3.0), think_time=fixed(100)))
    conn = guest.chatting()
    guest.run(3 * S)
    assert guest.frames(conn)[-1]["status"] == "closed"


def test_leaving_with_the_socket_down_tries_to_come_back() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.end(conn)
    guest.do(guest.session.close)
    new = guest.authenticate()
    guest.bind(new)
    guest.listing()
    assert guest.frames(new) == [{"type": "conversation", "conversationId": CONV, "status": "closed"}]
    guest.end(new, 1012)
    guest.run(3 * S)
    third = guest.back()
    assert guest.frames(third) == [{"type": "conversation", "conversationId": CONV, "status": "closed"}]
    guest.push(third, {"type": "conversation", "conversationId": CONV, "status": "closed"})
    guest.listing()
    assert guest.rows.of(ops.Ended)[0].complete
    assert outcomes(guest, "leave") == [("info", "connection_closed"), ("ok", "")]


def test_leaving_without_a_socket_reads_back_by_rest_alone() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.said(conn)
    guest.end(conn)
    guest.do(guest.session.close)
    start = guest.now
    while not guest.requests:
        if guest.opens:
            guest.refuse("connect_refused")
        guest.next_timer()
    assert guest.now - start == 15 * S
    guest.listing()
    assert closed(guest) == [(1, "info", "interrupted", "end", 1)]
    assert guest.finished == 1


def test_leaving_ends_whatever_happens() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.said(conn)
    guest.do(guest.session.close)
    guest.run(60 * S)
    assert guest.rows.of(ops.Ended)
    assert guest.finished < 1, "a listing and a socket are still out"
    guest.listing(guest.agent_row(1))
    assert len(guest.rows.of(ops.Arrived)) == 1, "listed is listed"
    guest.end(conn, 1000)
    assert guest.finished == 1


def test_stop_says_nothing_more_but_listens() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.do(guest.session.stop)
    guest.run(15 * S)
    assert not [f for f in guest.frames() if f["type"] == "message"]
    guest.agent(conn, 1)
    assert len(guest.rows.of(ops.Arrived)) == 1
    assert guest.finished < 1


@pytest.mark.parametrize("depth", range(6))
def test_close_at_any_stage_finishes(depth: int) -> None:
    guest = Webchat()
    guest.start()
    conn = 0
    if depth > 0:
        guest.grant()
    if depth > 1:
        guest.skills()
    if depth > 2:
        conn = guest.open()
    if depth > 3:
        guest.push(conn, {"type": "auth", "status": "success"})
    if depth > 4:
        guest.push(conn, {"type": "conversation", "conversationId": CONV, "status": "queued"})
    guest.do(guest.session.close)
    while guest.requests:
        guest.no_answer()
    while guest.opens:
        conn = guest.open()
    if depth > 4:
        guest.run(60 * S)
        while guest.requests:
            guest.no_answer()
    if conn:
        guest.end(conn, 1000)
    assert guest.finished == 1


# -------------------------------------------------------------------- misbehaviour
@pytest.mark.parametrize(
    ("data", "note"),
    [
        ("{", "violation.malformed"),
        ("[]", "violation.malformed"),
        ("{}", "violation.malformed"),
        ('{"type":7}', "violation.malformed"),
        ('{"type":"message"}', "violation.malformed"),
        ('{"type":"message","text":[]}', "violation.malformed"),
        ('{"type":"conversation","status":"queued"}', "violation.malformed"),
        ('{"type":"conversation","conversationId":"c","status":5}', "violation.malformed"),
        ('{"type":"presence"}', "frame.unknown_type"),
        ('{"type":"auth","status":"success"}', "frame.unexpected"),
        ('{"type":"error"}', "error.frame"),
        (b"\x00\xff", "violation.binary_frame"),
        ("x" * 2000, "violation.oversize"),
    ],
)
def test_misbehaviour_is_counted_by_name(data: str | bytes, note: str) -> None:
    guest = Webchat(settings=replace(SETTINGS, max_frame_bytes=1000))
    conn = guest.chatting()
    guest.push(conn, data)
    assert note in guest.rows.notes()
    assert guest.session.state == "chatting"


def test_samples_are_of_known_measures_and_states_of_known_names() -> None:
    guest = Webchat()
    conn = guest.chatting()
    guest.echo(conn, guest.said(conn))
    guest.end(conn)
    guest.back()
    guest.do(guest.session.close)
    assert {row.measure for row in guest.rows.of(ops.Sample)} <= set(ops.MEASURES)
    assert set(guest.states()) <= set(ops.STATES)


def test_a_guest_with_a_pace_of_its_own_speaks_no_faster_and_drops_nothing_that_can_wait() -> None:
    guest = Webchat(replace(CALM, pacing="schedule", period=fixed(0.25), send_rate=1.0, send_burst=2))
    conn = guest.chatting()
    guest.run(10 * S)
    frames = [f for f in guest.frames() if f["type"] == "message"]
    assert 10 <= len(frames) <= 12  # two at once, then one a second
    meant = [row.intended_ns for row in guest.rows.of(ops.Invoked)]
    assert meant == sorted(meant)
    assert meant[-1] <= guest.now - 5 * S  # what it waited is told, not hidden
    guest.echo(conn, frames[-1])
    (sample,) = guest.rows.samples("echo")
    assert sample.free_ns > sample.intended_ns
    assert sample.start_ns - sample.free_ns < S // 10


def test_a_refusal_takes_the_guests_burst_from_it() -> None:
    guest = Webchat(replace(CALM, pacing="schedule", period=fixed(0.25), send_rate=0.1, send_burst=3))
    conn = guest.chatting()
    guest.run(1 * S // 2)
    (*_, frame) = [f for f in guest.frames() if f["type"] == "message"]
    guest.push(conn, {"type": "error", "code": "RATE_LIMITED", "messageId": frame["messageId"], "retryAfter": 0})
    guest.run(8 * S)
    assert not [f for f in guest.frames() if f["type"] == "message"]
    guest.run(3 * S)
    assert len([f for f in guest.frames() if f["type"] == "message"]) == 1


def test_guests_who_share_a_pace_take_turns() -> None:
    from harness.core.pace import Pace

    together = Pace(1.0, 1, late_ns=0)
    guests = [Webchat(replace(CALM, pacing="schedule", period=fixed(0.5)), seed=f"guest-{n}") for n in range(2)]
    for guest in guests:
        guest.session.pace = together
        guest.chatting()
    for _ in range(40):
        for guest in guests:
            guest.run(S // 4)
    said = [[f for f in guest.frames() if f["type"] == "message"] for guest in guests]
    assert 9 <= sum(map(len, said)) <= 12
    assert min(map(len, said)) >= 4
