"""guests' guest half in virtual time: each line of its section as a behaviour."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.conformance.runner import Plan, run
from harness.core import ops
from harness.core.spread import fixed, seconds
from harness.core.stamps import show_iso
from harness.core.wire import HttpResponse
from harness.dialects.guests import DIALECT
from harness.dialects.guests_settings import GuestsSettings
from tests.dialects.guests_hand import AGAIN, CALM, PLAIN, Guests, jwt
from tests.dialects.hand import MS, START, WALL, S

QUIET = replace(AGAIN, think_time=fixed(100_000), session_length=fixed(100_000))
SYNC = replace(PLAIN, profile_sync=1.0)
STILL = replace(PLAIN, ping_every=0)


def with_fault(name: str, made: GuestsSettings = STILL) -> GuestsSettings:
    changed = DIALECT.settings_with(made, [name])
    assert isinstance(changed, GuestsSettings)
    return changed


def closed(guest: Guests) -> list[tuple[int, str, str, str, int]]:
    return [(row.seq, row.outcome, row.cause, row.via, row.attempts) for row in guest.rows.of(ops.Closed)]


def reload(guest: Guests, conn: int) -> None:
    guest.do(guest.session._reload)
    if conn in guest.session.sockets:
        guest.end(conn, 1001)


# -------------------------------------------------------------------- the client's token
@pytest.mark.parametrize("status", [400, 401, 403])
def test_refusals_are_not_tried_again_but_as_written_they_are(status: int) -> None:
    guest = Guests()
    guest.start()
    guest.answer({"error": "invalid_client"}, status)
    guest.run(60 * S)
    assert not guest.requests
    assert guest.session.state == "finished"
    guest = Guests(settings=with_fault("retry_refusals"))
    guest.start()
    tries = 0
    while guest.requests:
        tries += 1
        guest.answer({"error": "invalid_client"}, status)
        guest.run(6 * S)
    assert tries == (3 if status > 400 else 1)


def test_other_failures_are_tried_thrice_after_two_and_four_seconds() -> None:
    guest = Guests(settings=replace(PLAIN, retry_jitter=0))
    guest.start()
    asked = []
    for answer in (503, 0, 500):
        asked.append(guest.now - START)
        if answer:
            guest.answer({}, answer)
        else:
            guest.no_answer()
        guest.run(10 * S) if guest.session.next_deadline() is None else guest.next_timer()
    assert asked == [0, 2 * S, 6 * S]
    assert guest.session.state == "finished"
    assert guest.notes("start.failed") == ["server_error"]


@pytest.mark.parametrize(
    ("header", "wait"),
    [({"retry_after": "7"}, 7), ({}, 2), ({"retry_after": "Sun, 12 May 2024 14:30:09 GMT"}, 9), ({"retry_after": "soon"}, 2)],
)
def test_retry_after_however_it_is_written(header: dict[str, Any], wait: int) -> None:
    waits = set()
    for seed in range(6):
        guest = Guests(seed=str(seed))
        guest.start()
        guest.answer({}, 429, **header)
        guest.next_timer()
        assert len(guest.requests) == 1
        assert wait * S <= guest.now - START <= (wait + 1) * S
        waits.add(guest.now)
    assert len(waits) > 3, "those that were held back together do not return together"


def test_as_written_a_date_is_no_reason_to_wait() -> None:
    guest = Guests(settings=with_fault("date_at_once"))
    guest.start()
    guest.answer({}, 429, retry_after="Sun, 12 May 2024 14:30:09 GMT")
    guest.next_timer()
    assert guest.now == START
    guest.answer({}, 429, retry_after="9")
    guest.next_timer()
    assert guest.now >= START + 9 * S


def test_limits_on_later_calls_are_bounded_too() -> None:
    for fault, tries in (("", 3), ("endless_retries", 40)):
        guest = Guests(settings=with_fault(fault) if fault else STILL)
        guest.start()
        guest.grant()
        for number in range(tries):
            assert len(guest.requests) == 1, number
            guest.answer({"code": "too.many.requests"}, 429, retry_after="2")
            guest.run(3 * S)
        assert len(guest.requests) == (fault != "")
        assert guest.notes("start.failed") == ([] if fault else ["rate_limited"])


def test_an_expired_token_is_replaced_once_and_a_missing_scope_is_named() -> None:
    guest = Guests()
    guest.start()
    guest.grant()
    guest.answer({"code": "unauthorized"}, 401)
    guest.grant()
    assert dict(guest.requests[0].headers)["Authorization"] == "Bearer token-2"
    guest.answer({"code": "missing.permission"}, 403)
    assert guest.notes("scope.refused") == ["guest missing.permission"]
    assert guest.notes("start.failed") == ["forbidden"]
    assert not guest.requests


def test_starts_back_off() -> None:
    guest = Guests(AGAIN)
    guest.start()
    guest.grant(100_000)
    pauses = []
    for _ in range(5):
        guest.create(routing_hints={})
        before = guest.now
        while not guest.requests:
            guest.next_timer()
        pauses.append(guest.now - before)
    assert all(2.5 * S * 2**n <= pause <= min(7.5 * S * 2**n, 60 * S) for n, pause in enumerate(pauses))
    assert not guest.opens


# -------------------------------------------------------------------- the guest's token
@pytest.mark.parametrize("claim", ["sub", "iat", "exp", "attributes"])
@pytest.mark.parametrize("value", [None, 0, [], ""])
def test_a_missing_claim_is_a_refusal(claim: str, value: object) -> None:
    guest = Guests()
    guest.start()
    guest.grant()
    changes: dict[str, Any] = {claim: value}
    guest.create(**changes)
    assert guest.notes("jwt.refused") == ["missing_claim"]
    assert not guest.opens
    assert guest.session.store.text is None


@pytest.mark.parametrize("hints", [None, {}, [], "queue"])
def test_no_hints(hints: object) -> None:
    guest = Guests()
    guest.start()
    guest.grant()
    guest.create(routing_hints=hints)
    assert guest.notes("jwt.refused") == ["no_hints"]


def test_the_guests_clock_kills_good_tokens() -> None:
    guest = Guests(settings=with_fault("fast_clock"))
    guest.start()
    guest.grant()
    guest.create(3600)
    assert guest.notes("jwt.refused") == ["expired"]
    assert guest.notes("clock.skew") == ["7200 s since its issue"]
    assert guest.notes("start.failed") == ["token_expired"]
    assert not guest.opens


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_as_written_two_lengths_in_three_fail(padding: int) -> None:
    for fault in ("", "naive_padding"):
        guest = Guests(settings=with_fault(fault) if fault else STILL)
        guest.start()
        guest.grant()
        name = next(
            "x" * n for n in range(9) if len(jwt(guest.claims(attributes={"n": "x" * n})).split(".")[1]) % 4 == (4 - padding) % 4
        )
        guest.create(attributes={"n": name})
        assert len(guest.opens) == (not fault or padding == 1)


def test_an_unchecked_token_is_found_out_by_the_server_alone() -> None:
    guest = Guests(AGAIN, with_fault("no_jwt_check"))
    guest.start()
    guest.grant()
    guest.create(-10)
    conn = guest.shake()
    guest.end(conn, 0, "connection_reset")
    assert not guest.notes("jwt.refused")
    assert guest.notes("auth.rejected") == ["probably expired"]
    assert guest.notes("start.failed") == ["token_expired"]


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        {},
        {"id": "g"},
        {"id": "g", "guestToken": "x", "sessions": []},
        {"id": "..", "guestToken": "x", "sessions": [{"id": "s"}]},
    ],
)
def test_a_creation_that_says_nothing_is_malformed(body: Any) -> None:
    guest = Guests()
    guest.start()
    guest.grant()
    guest.answer(body)
    assert guest.notes("start.failed") == ["malformed"]
    assert [row.cause for row in guest.rows.samples("guest")] == ["malformed"]


def test_ids_are_quoted_where_they_stand_in_a_path() -> None:
    guest = Guests(settings=SYNC)
    guest.start()
    guest.grant()
    guest.answer({"id": "a/b?c", "guestToken": jwt(guest.claims()), "sessions": [{"id": "d#e"}], "attributes": {}})
    assert guest.opens[0].path == "/api/v2/guests/a%2Fb%3Fc/sessions/d%23e/ws"
    guest.shake()
    guest.run(S)
    assert guest.requests[0].path == "/api/v2/guests/a%2Fb%3Fc"
    assert guest.requests[0].endpoint == "PUT /api/v2/guests/{id}"


# -------------------------------------------------------------------- handshake
def test_the_handshake_is_first_and_a_socket_that_lives_is_live() -> None:
    guest = Guests(replace(CALM, think_time=fixed(0)))
    guest.start()
    guest.grant()
    guest.create()
    conn = guest.shake()
    guest.run(S - 1)
    assert guest.session.state == "authenticating"
    assert not guest.frames(conn)
    guest.run(1)
    assert guest.session.state == "chatting"
    guest.run(1)
    assert [f["type"] for f in guest.frames(conn)] == ["message"]
    guest.do(guest.session.close)
    guest.drain()
    (row,) = guest.rows.of(ops.Connection)
    assert row.ready_ns == row.opened_ns == START
    assert not guest.rows.samples("auth"), "nothing answers, so nothing is timed"


def test_a_server_that_speaks_has_taken_the_handshake() -> None:
    guest = Guests()
    guest.start()
    guest.grant()
    guest.create()
    conn = guest.shake()
    guest.push(conn, b"\x00")
    assert guest.session.state == "authenticating"
    guest.push(conn, {"type": "typing"})
    assert guest.session.state == "chatting"


def test_three_cuts_after_the_handshake_end_the_session() -> None:
    guest = Guests(AGAIN)
    guest.start()
    guest.grant()
    guest.create()
    for number in range(3):
        guest.end(guest.shake(), 0, "connection_reset" if number else "")
        if number < 2:
            while not guest.opens:
                guest.next_timer()
            assert "guest-1" in guest.opens[0].path
    assert guest.notes("auth.rejected") == ["unexplained"] * 3
    assert guest.notes("start.failed") == ["auth_rejected"]
    while not guest.requests:
        guest.next_timer()
    guest.create()
    assert "guest-2" in guest.opens[0].path


def test_a_server_that_spoke_had_not_refused_the_handshake() -> None:
    guest = Guests(AGAIN)
    conn = guest.chatting()
    guest.push(conn, {"type": "typing"})
    guest.end(conn, 0, "connection_reset")
    assert not guest.notes("auth.rejected")
    assert guest.notes("closed.early") == ["0"]
    while not guest.opens:
        guest.next_timer()
    guest.end(guest.shake(), 0, "connection_reset")
    assert guest.notes("auth.rejected") == ["unexplained"]


def test_a_close_frame_is_no_refused_handshake() -> None:
    guest = Guests(AGAIN)
    guest.start()
    guest.grant()
    guest.create()
    guest.end(guest.shake(), 1012)
    assert not guest.notes("auth.rejected")
    while not guest.opens:
        guest.next_timer()
    assert "guest-1" in guest.opens[0].path


def test_a_cut_long_after_the_handshake_is_the_network() -> None:
    guest = Guests(QUIET, STILL)
    conn = guest.chatting()
    guest.run(60 * S)
    guest.end(conn, 0, "connection_reset")
    assert not guest.notes("auth.rejected")
    assert guest.session.state == "reconnecting"
    before = guest.now
    guest.next_timer()
    assert 2 * S <= guest.now - before <= 3 * S
    guest.shake()
    guest.run(S)
    assert guest.session.state == "chatting"
    (gap,) = guest.rows.samples("reconnect.gap")
    assert gap.outcome == "ok"
    assert guest.session.label == "1-1"


def test_reconnects_back_off_and_end() -> None:
    for fault in ("", "no_backoff", "no_jitter"):
        guest = Guests(CALM, with_fault(fault) if fault else STILL)
        guest.end(guest.chatting(), 1012)
        delays = []
        for _ in range(5):
            before = guest.now
            while not guest.opens:
                guest.next_timer()
            delays.append(guest.now - before)
            guest.refuse("connect_refused")
        if fault == "no_backoff":
            assert delays == [200 * MS] * 5
        elif fault:
            assert delays == [2 * S, 4 * S, 8 * S, 16 * S, 30 * S]
        else:
            assert all(min(2 * S * 2**n, 30 * S) <= delay <= min(2 * S * 2**n + S, 30 * S) for n, delay in enumerate(delays))
        assert bool(guest.notes("reconnect.exhausted")) == (fault != "no_backoff")


# -------------------------------------------------------------------- the session's life
def test_a_session_is_replaced_five_minutes_ahead_with_jitter() -> None:
    instants = set()
    for seed in range(6):
        guest = Guests(QUIET, STILL, seed=str(seed))
        conn = guest.chatting()
        while not guest.closes:
            guest.next_timer()
        assert 3270 * S <= guest.now - START <= 3300 * S
        instants.add(guest.now)
        assert guest.frames(conn) == [{"type": "sessionEnded", "payload": {"reason": "renewed"}}]
        assert [(c.code, c.reason) for c in guest.closes] == [(1000, "Widget disconnect")]
        guest.drain()
        (ended,) = guest.rows.of(ops.Ended)
        assert (ended.conversation_id, ended.cause, ended.complete, ended.listing) == ("session-1", "renewed", False, False)
        guest.run(0)
        guest.create()
        assert "guest-2/sessions/session-2" in guest.opens[0].path
        guest.shake()
        guest.run(S)
        assert (guest.session.state, guest.session.label) == ("chatting", "1-2")
    assert len(instants) > 3
    guest = Guests(QUIET, with_fault("no_jitter"))
    guest.chatting()
    while not guest.closes:
        guest.next_timer()
    assert guest.now - START == 3300 * S


def test_the_replacement_waits_for_a_reply_but_not_for_ever() -> None:
    for answered in (True, False):
        guest = Guests(
            replace(AGAIN, think_time=fixed(50_000), session_length=fixed(50_000), reply_timeout=seconds(500)),
            with_fault("no_jitter"),
        )
        conn = guest.chatting()
        guest.run(3299 * S - S)
        guest.do(lambda now, guest=guest: guest.session.say(now, "One more."))  # type: ignore[misc]
        guest.run(5 * S)
        assert not guest.closes
        if answered:
            guest.agent(conn, 1, guest.session._next_seq - 1)
            guest.run(S)
        else:
            guest.run(6 * S)
        assert len(guest.closes) == 1


@pytest.mark.parametrize("life", [20, 60, 299, 300, 301, 400, 599])
def test_a_life_shorter_than_the_threshold_is_no_loop(life: int) -> None:
    guest = Guests(QUIET, STILL)
    conn = guest.chatting(life)
    for _ in range(3):
        before = guest.now - S
        while not guest.closes:
            guest.next_timer()
        assert (life / 2 - 1) * 0.75 * S <= guest.now - before <= life / 2 * S
        guest.closes.clear()
        guest.end(conn, 1000)
        guest.run(0)
        guest.create(life)
        conn = guest.shake()
        guest.run(S)
    assert guest.session.continued == 3


def test_the_shortest_lives_do_not_make_a_busy_guest() -> None:
    guest = Guests(QUIET, STILL)
    guest.start()
    guest.grant()
    guest.create(1)
    guest.shake()
    guest.run(2 * S - 1)
    assert not guest.closes
    guest.run(1)
    assert len(guest.closes) == 1


@pytest.mark.parametrize("fault", ["no_refresh", "load_only_expiry"])
def test_as_written_a_long_session_runs_into_its_expiry(fault: str) -> None:
    guest = Guests(QUIET, with_fault(fault))
    conn = guest.chatting()
    guest.run(3601 * S)
    assert not guest.closes
    guest.end(conn, 0, "connection_reset")
    assert guest.notes("token.expired") == [""]
    guest.next_timer()
    assert "guest-1" in guest.opens[0].path, "nobody looks at exp"
    guest.end(guest.shake(), 0, "connection_reset")
    assert guest.notes("auth.rejected") == ["probably expired"]
    (ended,) = guest.rows.of(ops.Ended)
    assert ended.cause == "token_expired"
    while not guest.requests:
        guest.next_timer()
    guest.grant()
    guest.create()
    assert "guest-2" in guest.opens[0].path


def test_who_could_not_replace_it_in_time_does_not_come_back_with_it() -> None:
    guest = Guests(QUIET, replace(STILL, renew_jitter=0))
    conn = guest.chatting()
    guest.run(3298 * S)
    guest.end(conn, 1012)
    guest.session._disarm("renew")
    guest.run(5 * S)
    assert not guest.opens
    assert [row.cause for row in guest.rows.of(ops.Ended)] == ["renewed"]


def test_a_guest_that_says_no_more_keeps_its_session() -> None:
    guest = Guests(QUIET, STILL)
    conn = guest.chatting(100)
    guest.do(guest.session.stop)
    guest.run(90 * S)
    assert not guest.closes
    guest.agent(conn, 1)
    assert len(guest.rows.of(ops.Arrived)) == 1


# -------------------------------------------------------------------- what the page stores
def test_a_reload_goes_on_with_the_same_conversation() -> None:
    guest = Guests(replace(AGAIN, reload=1.0), SYNC)
    guest.start()
    guest.grant()
    guest.create()
    conn = guest.shake()
    guest.run(S)
    assert guest.requests[0].method == "PUT"
    guest.answer({"id": "guest-1", "attributes": {}})
    stored = json.loads(guest.session.store.text or "")
    assert stored["createdAt"] == (START + WALL) // MS
    assert stored["expiresAt"] == stored["createdAt"] + 3_600_000
    assert set(stored) == {"guestId", "guestToken", "sessionId", "createdAt", "expiresAt"}
    while not guest.closes:
        guest.next_timer()
    assert guest.notes("reload") == [""]
    assert [(c.code, c.reason) for c in guest.closes] == [(1001, "reload")]
    guest.session.behaviour = replace(guest.session.behaviour, reload=0.0)
    guest.end(conn, 1001)
    assert not guest.requests, "no REST call comes first"
    assert "guest-1/sessions/session-1" in guest.opens[0].path
    conn = guest.shake()
    guest.run(S)
    assert guest.said(conn).endswith("[#run1.1-1.g.1]"), "what was due before the reload"
    assert guest.requests[0].path == "/oauth/token", "the page has forgotten the client's token"
    guest.grant()
    assert dict(guest.requests[0].headers)["Authorization"] == "Bearer token-2"
    assert guest.requests[0].method == "PUT"
    guest.agent(conn, 1, 1)
    assert closed(guest) == [(1, "ok", "", "reply", 1)]
    guest.do(guest.session.close)
    guest.drain()
    (session,) = guest.rows.samples("session")
    assert session.start_ns == START
    assert session.ref == "session-1"
    assert guest.session.store.text is None


@pytest.mark.parametrize(
    ("spoil", "cause", "why"), [("corrupt", "reload", "corrupt"), ("gone", "reload", "missing"), ("short", "renewed", "short_life")]
)
def test_what_cannot_be_gone_on_with_is_replaced(spoil: str, cause: str, why: str) -> None:
    guest = Guests(QUIET, replace(STILL, store_corrupted=1.0 if spoil == "corrupt" else 0.0))
    conn = guest.chatting(400 if spoil == "short" else 3600)
    guest.run(110 * S)
    if spoil == "gone":
        guest.session.store.clear()
    reload(guest, conn)
    assert guest.notes("session.replaced") == [why]
    assert [row.cause for row in guest.rows.of(ops.Ended)] == [cause]
    guest.run(0)
    guest.grant()
    guest.create()
    assert "guest-2" in guest.opens[0].path
    assert guest.session.label == "1-2"


def test_exactly_five_minutes_are_enough() -> None:
    for left, resumed in ((300, True), (299.999, False)):
        guest = Guests(QUIET, with_fault("load_only_expiry"))
        conn = guest.chatting(3600)
        guest.run(round((3600 - left - 1) * S))
        reload(guest, conn)
        assert bool(guest.notes("session.resumed")) == resumed


def test_as_written_a_resumed_session_has_no_duration() -> None:
    guest = Guests(QUIET, with_fault("forget_created"))
    reload(guest, guest.chatting())
    guest.shake()
    guest.do(guest.session.close)
    guest.run(S)
    guest.drain()
    assert guest.finished
    assert not guest.rows.samples("session")
    assert guest.notes("session.duration_unknown") == [""]


def test_the_log_of_activity() -> None:
    guest = Guests(QUIET, replace(SYNC, activity_limit=4, ping_every=0))
    guest.start()
    guest.grant()
    guest.create()
    conn = guest.shake()
    guest.run(S)
    guest.answer({"id": "guest-1", "attributes": {}})
    guest.push(conn, {"type": "typing"})
    guest.push(conn, "{")
    assert [(one.event, one.details) for one in guest.session.activity] == [
        ("session_started", {"duration_ms": 0}),
        ("profile_synced", {"provider_id": "idp-1"}),
        ("ws_message_received", {"type": "typing"}),
        ("ws_message_received", {"type": ""}),
    ]
    assert guest.session.activity[1].timestamp == show_iso(START + WALL + S)
    reload(guest, conn)
    assert [one.event for one in guest.session.activity][-1] == "ws_disconnected"
    assert guest.session.activity[-1].details == {"duration_ms": 1000}
    assert len(guest.session.activity) == 4, "bounded, and kept over a resume"


# -------------------------------------------------------------------- the profile
def test_a_share_of_sessions_syncs_its_profile() -> None:
    synced = 0
    for seed in range(60):
        guest = Guests(QUIET, GuestsSettings(), seed=str(seed))
        guest.chatting()
        synced += len(guest.requests)
    assert 8 <= synced <= 28


def syncing(made: GuestsSettings = SYNC) -> tuple[Guests, int]:
    guest = Guests(QUIET, made)
    conn = guest.chatting()
    assert guest.requests[0].method == "PUT"
    return guest, conn


def test_a_guest_that_is_gone_starts_anew() -> None:
    for status, code, note in ((404, "not.found", "session.not_found"), (400, "not.found", "profile.unknown_guest")):
        guest, conn = syncing()
        guest.answer({"code": code}, status)
        assert len(guest.notes(note)) == 1
        assert [(c.conn, c.code) for c in guest.closes] == [(conn, 1000)]
        guest.drain()
        assert [row.cause for row in guest.rows.of(ops.Ended)] == ["not_found"]
        while not guest.requests:
            guest.next_timer()
        guest.create()
        assert "guest-2" in guest.opens[0].path


@pytest.mark.parametrize("code", ["attributes.too.large", "bad.request"])
def test_a_profile_that_is_too_large(code: str) -> None:
    guest, _ = syncing(with_fault("big_profile"))
    assert len(json.dumps(json.loads(guest.requests[0].body)["attributes"], separators=(",", ":"))) > 10 * 1024
    guest.answer({"code": code}, 400)
    assert guest.notes("profile.too_large") == [""]
    assert guest.session.state == "chatting"
    assert not guest.requests


def test_what_else_may_become_of_a_sync() -> None:
    guest, _ = syncing()
    guest.answer({"code": "what"}, 400)
    assert guest.notes("profile.refused") == ["what"]
    guest, _ = syncing()
    guest.answer({"code": "missing.permission"}, 403)
    assert guest.notes("scope.refused") == ["profile missing.permission"]
    guest, _ = syncing()
    guest.answer({}, 429)
    guest.run(2 * S - 1)
    assert not guest.requests
    guest.run(S + 1)
    guest.answer({}, 401)
    guest.grant()
    guest.answer({"id": "guest-1", "attributes": {}})
    assert guest.session.state == "chatting"
    assert [row.cause for row in guest.rows.samples("profile")] == ["rate_limited", "unauthorised", ""]
    assert [one.event for one in guest.session.activity] == ["session_started", "profile_synced"]


def test_a_sync_that_comes_late_harms_nobody() -> None:
    guest, _ = syncing()
    guest.do(guest.session.close)
    guest.answer({"code": "not.found"}, 404)
    guest.drain()
    assert guest.finished
    assert not guest.notes("session.not_found")


# -------------------------------------------------------------------- messages
def test_a_reply_settles_and_silence_leaves_it_open() -> None:
    guest = Guests(replace(AGAIN, reply_timeout=seconds(5)), STILL)
    conn = guest.chatting()
    guest.said(conn)
    guest.agent(conn, 1, 1)
    guest.said(conn)
    guest.do(guest.session.close)
    guest.drain()
    assert closed(guest) == [(1, "ok", "", "reply", 1), (2, "info", "unanswered", "end", 1)]
    assert not guest.rows.samples("ack")
    (arrived,) = guest.rows.of(ops.Arrived)
    assert (arrived.mid, arrived.server_ns % MS) == ("m-1", 0)


def test_a_limit_is_the_message_that_alone_is_open() -> None:
    guest = Guests(AGAIN, STILL)
    conn = guest.chatting()
    guest.said(conn)
    limit = {"type": "error", "payload": {"code": "rate_limited", "frame": "message", "retryAfter": 3}}
    guest.push(conn, limit)
    assert closed(guest) == [(1, "fail", "rate_limited", "refusal", 1)]
    (refused,) = guest.rows.of(ops.Refused)
    assert (refused.endpoint, refused.ref) == ("WS /api/v2/guests/{id}/sessions/{id}/ws", "10.0.0.1:40001#1")
    assert refused.retry_after_ns == 3 * S
    guest.do(lambda now: guest.session.say(now, "a"))
    assert not guest.frames(), "held until the limit is over"
    guest.run(4 * S)
    assert len(guest.frames()) == 1
    guest.do(lambda now: guest.session.say(now, "b"))
    guest.push(conn, limit)
    assert len(closed(guest)) == 1, "of two, nobody knows which"


@pytest.mark.parametrize("missing", ["id", "from", "timestamp"])
def test_fields_that_are_missing_are_done_without(missing: str) -> None:
    guest = Guests(AGAIN, STILL)
    conn = guest.chatting()
    guest.said(conn)
    guest.agent(conn, 1, 1, **{missing: None})
    assert closed(guest) == [(1, "ok", "", "reply", 1)]
    assert guest.notes("message.flawed") == ([] if missing == "from" else [missing])


def test_after_a_drop_only_a_blind_guest_says_it_again() -> None:
    for blind in (False, True):
        guest = Guests(AGAIN, with_fault("blind_resend") if blind else STILL)
        conn = guest.chatting()
        guest.said(conn)
        guest.end(conn, 0, "connection_reset")
        guest.next_timer()
        conn = guest.shake()
        guest.run(S)
        assert [f["type"] for f in guest.frames(conn)] == (["message"] if blind else [])
        assert guest.notes("message.resent") == ([""] if blind else [])


def test_keep_alive_and_none() -> None:
    guest = Guests(QUIET)
    conn = guest.chatting()
    guest.run(23 * S)
    assert guest.pings == [conn]
    guest.run(11 * S)
    assert guest.notes("zombie") == [""]
    guest = Guests(QUIET, with_fault("no_keepalive", PLAIN))
    guest.chatting()
    guest.run(600 * S)
    assert not guest.pings


def test_the_agent_ends_it() -> None:
    guest = Guests(AGAIN, STILL)
    conn = guest.chatting()
    guest.push(conn, {"type": "sessionEnded", "payload": {"reason": "agent_left"}})
    assert guest.notes("closed.by_server") == ["agent_left"]
    assert [(c.code, c.reason) for c in guest.closes] == [(1000, "Widget disconnect")]
    assert not guest.frames(conn)
    guest.end(conn, 1000)
    assert guest.session.state == "between"
    assert len(guest.rows.samples("session")) == 1
    assert not guest.opens


def test_an_unknown_session_is_not_asked_for_again() -> None:
    guest = Guests(AGAIN, STILL)
    conn = guest.chatting()
    guest.run(10 * S)
    guest.end(conn, 1012)
    guest.next_timer()
    guest.refuse("upgrade_refused", HttpResponse(404, {}, b""))
    assert guest.notes("session.not_found") == ["socket"]
    assert [row.cause for row in guest.rows.of(ops.Ended)] == ["not_found"]


def test_a_guest_that_needs_no_skill_asks_for_none_and_is_served(tmp_path: Path) -> None:
    outcome = run(Plan(dialects=("guests",), guests=3, seconds=60, target={"skills": ()}), tmp_path)
    assert outcome.counts["messages.delivered"] > 10
    assert not outcome.unequal(), outcome.table()


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize("bad", ["", "!!", "a b", "a+b", "é"])
def test_each_of_the_three_parts_is_base64url(part: int, bad: str) -> None:
    guest = Guests()
    guest.start()
    guest.grant()
    parts = jwt(guest.claims()).split(".")
    guest.create(token=".".join([*parts[:part], bad, *parts[part + 1 :]]))
    assert guest.notes("jwt.refused") == ["malformed"]
    assert not guest.opens


def test_what_a_server_repeats_is_no_way_out_for_a_secret() -> None:
    guest = Guests()
    conn = guest.chatting()
    token = guest.session._saved.guest_token
    assert len(token) > 100
    guest.push(conn, {"type": "error", "payload": {"code": f"bad token {token[:200]}"}})
    guest.push(conn, {"type": token})
    guest.push(conn, {"type": "sessionEnded", "payload": {"reason": f"of {token}"[:250]}})
    details = [row.detail for row in guest.rows.of(ops.Noted)]
    assert len(details) == 3
    assert not any(token[:8] in detail for detail in details)


def test_every_client_fault_is_a_change_of_settings() -> None:
    wanted = {
        "no_refresh",
        "no_jitter",
        "no_backoff",
        "no_keepalive",
        "blind_resend",
        "retry_refusals",
        "big_profile",
        "no_jwt_check",
    }
    assert wanted <= set(DIALECT.client_faults)
    for name in DIALECT.client_faults:
        assert DIALECT.settings_with(GuestsSettings(), [name]) != GuestsSettings(), name
