"""webmessaging by hand: what a guest does in each of the traps that the protocol lays."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.conformance.runner import wrapped
from harness.core import ops
from harness.core.events import Delivered, Listing
from harness.core.pacing import Behaviour
from harness.core.spread import fixed, seconds
from harness.core.wire import HttpResponse
from harness.dialects.webmessaging import DIALECT
from harness.dialects.webmessaging_history import Pager
from harness.dialects.webmessaging_settings import WebmessagingSettings
from tests.dialects.hand import MS, S
from tests.dialects.webmessaging_hand import CALM, PLAIN, Webmessaging, session_body


def test_a_whole_conversation() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    frame = guest.say(conn, "Where is my parcel?")
    assert frame["message"] == {"type": "Text", "text": "Where is my parcel? [#run1.1-1.g.1]"}
    guest.echo(conn, frame)
    guest.agent(conn, 1, 1)
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.seq, closed.outcome, closed.via) == (1, "ok", "echo")
    entities = guest.agent_body(1, 1), guest.guest_body(frame)
    guest.leave(conn, *entities)
    (ended,) = guest.rows.of(ops.Ended)
    assert (ended.complete, ended.cause) == (True, "")
    pushed = {(row.direction, row.seq): row.mid for row in guest.rows.of(ops.Arrived) if row.channel == "push"}
    listed = {(row.direction, row.seq): row.mid for row in guest.rows.of(ops.Arrived) if row.channel == "resync"}
    assert pushed == listed
    assert [(close.code, close.conn) for close in guest.closes] == [(1000, conn)]
    guest.end(conn, 1000)
    assert guest.finished == 1
    assert {row.outcome for row in guest.rows.of(ops.Sample)} == {"ok"}
    assert {row.measure for row in guest.rows.of(ops.Sample)} == {
        "connect", "auth", "echo", "reply", "event.lag", "jwt", "leave", "history",
    }  # fmt: skip
    assert frame["token"] not in repr(guest.rows.all)


def with_fault(name: str, settings: WebmessagingSettings = PLAIN) -> WebmessagingSettings:
    changed = DIALECT.settings_with(settings, [name])
    assert isinstance(changed, WebmessagingSettings)
    assert changed != settings, name
    return changed


def noted(guest: Webmessaging) -> list[tuple[str, str]]:
    return [(row.what, row.detail) for row in guest.rows.of(ops.Noted)]


# -------------------------------------------------------------------- deployment
CONFIG = {"id": "deployment-1", "status": "Active"}


@pytest.mark.parametrize(
    ("listed", "origin", "allowed"),
    [
        (["example.com"], "https://shop.example.com", True),
        (["shop.example.com"], "https://SHOP.Example.COM:8443", True),
        (["Example.COM"], "http://example.com", True),
        (["example.com"], "https://notexample.com", False),
        (["shop.example.com"], "https://example.com", False),
        ([], "https://example.com", False),
        (["example.com"], "https://example.com.evil.net", False),
        (["example.com"], "https://[", False),
    ],
)
def test_the_browsers_origin_rule(listed: list[str], origin: str, allowed: bool) -> None:
    guest = Webmessaging(settings=replace(PLAIN, fetch_configuration=True), origin=origin)
    guest.start()
    guest.answer(CONFIG)
    guest.answer({"allowAllDomains": False, "allowedDomains": listed})
    assert bool(guest.opens) is allowed
    assert (("origin.refused", "") in noted(guest)) is not allowed


def test_a_missing_list_of_domains_is_left_to_the_server() -> None:
    guest = Webmessaging(settings=replace(PLAIN, fetch_configuration=True))
    guest.start()
    guest.answer(CONFIG)
    guest.answer({}, 404)
    assert guest.opens
    assert noted(guest) == [("domains.unchecked", "")]


def test_a_page_that_is_loaded_again_keeps_the_token_and_asks_for_its_files() -> None:
    guest = Webmessaging(replace(CALM, reload=1.0), replace(PLAIN, fetch_configuration=True))
    guest.start()
    guest.answer(CONFIG)
    guest.answer({"allowAllDomains": True})
    conn = guest.open()
    first = guest.configure(conn)["token"]
    while not guest.closes:
        guest.next_timer()
    assert guest.closes[0].code == 1001
    guest.end(conn, 1001)
    guest.answer(CONFIG)
    guest.answer({"allowAllDomains": True})
    conn = guest.open()
    frame = guest.configure(conn, newSession=False)
    assert (frame["token"], frame["startNew"]) == (first, False)
    guest.grant(conn)
    guest.page()
    assert guest.session.state == "chatting"
    assert not guest.rows.samples("reconnect.gap")


# -------------------------------------------------------------------- sockets
def test_a_drop_is_healed_with_the_same_token_and_the_history() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    first = guest.say(conn)
    guest.end(conn, 0, "connection_reset")
    guest.run(5 * S - 1)
    assert not guest.opens
    guest.run(S + 1)
    assert len(guest.opens) == 1
    conn = guest.open()
    frame = guest.configure(conn, newSession=False)
    assert (frame["token"], frame["startNew"]) == (first["token"], False)
    guest.grant(conn)
    request = guest.page(guest.agent_body(1, 1), guest.guest_body(first))
    assert dict(request.headers)["Authorization"] == "bearer jwt-1"
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.via) == ("ok", "listing")
    assert guest.session.state == "chatting"
    assert [row.outcome for row in guest.rows.samples("reconnect.gap")] == ["ok"]


def test_what_the_history_lacks_is_sent_again_with_another_id() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)))
    conn = guest.chatting()
    first = guest.say(conn)
    guest.end(conn, 0, "connection_reset")
    conn = guest.back()
    again = guest.said(conn)
    assert again["message"] == first["message"]
    assert again["tracingId"] != first["tracingId"]
    assert "message.resent" in guest.rows.notes()
    guest.error(conn, first, 4011)
    assert not guest.rows.of(ops.Closed), "an earlier attempt's refusal says nothing of the later"
    guest.echo(conn, again)
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.attempts) == ("ok", 2)


def test_an_agents_message_that_was_missed_is_listed() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(90.0)))
    conn = guest.chatting()
    shown: list[str] = []
    guest.session.renderer = lambda now, item: shown.append(item.message_id)
    one, two, three = (guest.agent_body(seq, stamp=guest.iso(seq * MS)) for seq in (1, 2, 3))
    guest.structured(conn, one)
    guest.structured(conn, three)
    assert len(shown) == 1
    guest.run(2 * S)
    assert "gap.resync" in guest.rows.notes()
    guest.grant(conn)
    guest.page(three, two, one)
    assert shown == ["srv-1-1-1", "srv-1-1-2", "srv-1-1-3"]


def test_a_session_that_the_server_forgot_is_a_context_split() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    guest.end(conn, 1001)
    while not guest.opens:
        guest.next_timer()
    guest.configured(newSession=True)
    assert ("context.split", "") in noted(guest)
    assert guest.rows.of(ops.Ended)[0].cause == "context_split"


def test_what_was_still_under_way_when_the_session_died_does_not_leave() -> None:
    """Else a message that counts as certainly not sent would be stored all the same."""
    guest = Webmessaging()
    conn = guest.chatting()
    guest.end(conn)
    guest.do(lambda now: guest.session.say(now, "Still there?"))
    while not guest.opens:
        guest.next_timer()
    conn = guest.configured(newSession=False)
    guest.error(conn, guest.asked(conn, "getJwt"), 4006)
    assert guest.session.state == "finished" or guest.session.closing
    assert not [frame for frame in guest.frames(conn) if frame["action"] == "onMessage"]
    assert [(row.outcome, row.sent_ns) for row in guest.rows.of(ops.Closed)] == [("fail", 0)]


def test_of_what_the_shell_has_not_written_yet_nobody_knows_whether_it_will_be() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    with wrapped(guest.session, "on_written", lambda _: lambda *_: None):
        guest.do(lambda now: guest.session.say(now, "Still there?"))
    guest.notice(conn, "SessionExpiredEvent")
    assert [(row.outcome, row.sent_ns) for row in guest.rows.of(ops.Closed)] == [("info", 0)]


def test_what_an_earlier_conversation_still_had_under_way_does_not_end_the_reading() -> None:
    def row(label: str, seq: int, at: int) -> Delivered:
        return Delivered(f"x [#run1.{label}.g.{seq}]", "", f"m{at}", "guest", "", at, "", "", "")

    pager = Pager("run1", "1-2", 0, 2, 9, earlier_ns=100)
    assert pager.feed(Listing([row("1-2", 2, 130), row("1-1", 9, 120)], 2, 0, 0))  # stored late, in the midst of 1-2
    assert not pager.feed(Listing([row("1-2", 1, 110), row("1-1", 8, 100)], 2, 0, 0))
    assert pager.complete
    unknown = Pager("run1", "1-2", 0, 2, 9)
    assert unknown.feed(Listing([row("1-2", 2, 130), row("1-1", 9, 120)], 2, 0, 0))


def test_sixty_tries_then_it_is_over() -> None:
    guest = Webmessaging(replace(CALM, session_length=fixed(3600.0)))
    conn = guest.chatting()
    begun = guest.now
    guest.end(conn, 1001)
    tries = 0
    while not guest.finished:
        if guest.opens:
            tries += 1
            guest.refuse("connect_refused")
        else:
            guest.next_timer()
    assert tries == 60
    assert 300 * S <= guest.now - begun < 375 * S
    assert "reconnect.exhausted" in guest.rows.notes()


def test_access_denied_on_a_reconnect_ends_the_conversation() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    guest.end(conn, 1001)
    while not guest.opens:
        guest.next_timer()
    guest.refuse("upgrade_refused", HttpResponse(403, {}, b""))
    assert ("origin.refused", "") in noted(guest)
    assert guest.rows.of(ops.Ended)[0].cause == "forbidden"
    assert guest.finished == 1


def test_pings_and_health_checks() -> None:
    patient = replace(CALM, think_time=fixed(5000.0), session_length=fixed(900.0))
    guest = Webmessaging(patient, WebmessagingSettings(fetch_configuration=False, authenticated=0.0))
    conn = guest.chatting()
    begun, checks = guest.now, []
    while guest.now < begun + 300 * S:
        guest.next_timer()
        if guest.pings:
            guest.pings.clear()
            guest.do(lambda now: guest.session.on_pong(now, conn))
        for frame in guest.frames(conn):
            checks.append(guest.now)
            assert frame["tracingId"] == "SGVhbHRoQ2hlY2tNZXNzYWdlSWQ="
            guest.reply(conn, frame, "StructuredMessage", {"text": "ping", "metadata": {"expirationDate": "1715524400"}})
    assert 9 <= len(checks) <= 10
    assert all(third - first >= 60 * S for first, third in zip(checks, checks[2:], strict=False))
    assert not guest.closes
    assert noted(guest) == [("session.expiring", "")]


def test_a_socket_that_answers_no_ping_is_given_up() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)), replace(PLAIN, ping_every=seconds(15)))
    conn = guest.chatting()
    guest.run(30 * S)
    assert guest.pings == [conn]
    assert "zombie" in guest.rows.notes()
    assert [close.code for close in guest.closes] == [4000]


# -------------------------------------------------------------------- signing in
@pytest.mark.parametrize("times", [3, 4])
def test_a_refused_jwt_is_refreshed_three_times_at_most(times: int) -> None:
    guest = Webmessaging(settings=replace(PLAIN, authenticated=1.0))
    guest.start()
    guest.answer({"jwt": "a.b.c", "refreshToken": "r"})
    conn = guest.open()
    for _ in range(times):
        guest.error(conn, guest.asked(conn, "configureAuthenticatedSession"), 401, "JWT invalid")
        if guest.requests:
            assert guest.requests[0].path.endswith("/token/refresh")
            guest.answer({"jwt": "a.b.d"})
    if times == 3:
        guest.configure(conn)
        assert guest.session.state == "chatting"
    else:
        assert ("start.failed", "unauthorised") in noted(guest)


def test_without_refresh_a_refused_jwt_is_the_end() -> None:
    guest = Webmessaging(settings=with_fault("no_refresh", replace(PLAIN, authenticated=1.0)))
    guest.start()
    guest.answer({"jwt": "a.b.c", "refreshToken": "r"})
    conn = guest.open()
    guest.error(conn, guest.asked(conn, "configureAuthenticatedSession"), 401)
    assert not guest.requests
    assert ("start.failed", "unauthorised") in noted(guest)


def test_a_dead_refresh_token_means_signing_in_anew() -> None:
    guest = Webmessaging(settings=replace(PLAIN, authenticated=1.0))
    guest.start()
    guest.answer({"jwt": "a.b.c", "refreshToken": "r"})
    conn = guest.open()
    guest.error(conn, guest.asked(conn, "configureAuthenticatedSession"), 401)
    guest.answer({"message": "no"}, 401)
    guest.run(5 * S)
    assert guest.requests[0].path.endswith("/oauthcodegrantjwtexchange")


# -------------------------------------------------------------------- pace
def test_the_guest_keeps_two_messages_a_second_and_sixty_requests_a_minute() -> None:
    busy = Behaviour(
        pacing="schedule", period=fixed(0.1), typing=0.3, reload=0.0, attachments=0.0, session_length=fixed(900.0), conversations=1
    )
    guest = Webmessaging(busy)
    conn = guest.chatting()
    begun, sent = guest.now, []
    while guest.now < begun + 150 * S:
        guest.next_timer()
        for frame in guest.frames(conn):
            sent.append(guest.now)
            if frame["action"] == "onMessage":
                guest.echo(conn, frame)
    for window, most in ((S, 2), (60 * S, 60)):
        assert max(sum(at <= other < at + window for other in sent) for at in sent) <= most
    assert len(sent) > 90
    assert "send.dropped" in guest.rows.notes()


def test_a_message_that_is_held_back_keeps_its_intended_instant() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)))
    conn = guest.chatting()
    for _ in range(3):
        guest.do(lambda now: guest.session.say(now, "Hi."))
    assert len(guest.frames(conn)) == 2
    due = guest.now
    guest.run(2 * S)
    (third,) = guest.frames(conn)
    guest.echo(conn, third)
    (row,) = guest.rows.samples("echo")
    assert row.intended_ns == due < row.start_ns


def test_the_history_is_asked_ten_times_a_minute() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)))
    conn = guest.chatting()
    guest.end(conn, 1001)
    while not guest.opens:
        guest.next_timer()
    conn = guest.configured(newSession=False)
    guest.grant(conn)
    begun, asked = guest.now, []
    for number in range(1, 26):
        while not guest.requests:
            guest.next_timer()
        asked.append(guest.now)
        assert f"pageNumber={number}" in guest.requests[0].path
        guest.page(*[guest.agent_body(n + number * 25) for n in range(25)], pages=25)
    assert max(sum(at <= other < at + 60 * S for other in asked) for at in asked) == 10
    assert guest.now - begun > 120 * S
    assert guest.session.phase == "live"


# -------------------------------------------------------------------- history's token
def test_a_token_with_less_than_five_seconds_is_replaced() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)))
    conn = guest.chatting()
    guest.end(conn, 1001)
    while not guest.opens:
        guest.next_timer()
    conn = guest.configured(newSession=False)
    guest.grant(conn, life=9)
    guest.page()
    guest.run(5 * S)
    guest.do(guest.session.close)
    guest.grant(conn)
    guest.closed(conn)
    assert dict(guest.requests[0].headers)["Authorization"] == "bearer jwt-2"


# -------------------------------------------------------------------- ends
def test_a_message_that_crosses_the_end_is_settled_before_the_read_back() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    frame = guest.say(conn)
    guest.presence(conn, "Disconnect")
    assert not guest.sent, "the echo is waited for"
    guest.echo(conn, frame)
    guest.grant(conn)
    guest.closed(conn)
    guest.page(guest.guest_body(frame))
    assert guest.rows.of(ops.Ended)[0].complete
    assert [row.outcome for row in guest.rows.of(ops.Closed)] == ["ok"]


def test_a_read_only_session_is_closed_and_another_chat_begun_on_the_same_connection() -> None:
    guest = Webmessaging(replace(CALM, conversations=0))
    conn = guest.chatting()
    guest.agent(conn, 1)
    first = guest.say(conn)
    guest.error(conn, first, 409, "Session is read-only, no new messages allowed")
    assert ("session.read_only", "") in noted(guest)
    guest.grant(conn)
    guest.closed(conn)
    guest.page()
    frame = guest.configure(conn)
    assert (frame["token"], frame["startNew"]) == (first["token"], True)
    second = guest.say(conn)
    assert second["message"]["text"].endswith("[#run1.1-2.g.1]")
    guest.echo(conn, second)
    guest.do(guest.session.close)
    guest.grant(conn)
    guest.closed(conn)
    guest.page(guest.guest_body(second), guest.guest_body(first), pages=9)
    assert not guest.requests, "the history of the chat before is not read again"
    assert [row.complete for row in guest.rows.of(ops.Ended)] == [True, True]


def test_whoever_ignores_read_only_is_refused() -> None:
    guest = Webmessaging(settings=with_fault("ignore_read_only"))
    conn = guest.chatting()
    guest.presence(conn, "Disconnect", readOnly="true")
    for frame in guest.frames(conn):
        guest.error(conn, frame, 409)
    assert [what for what, _ in noted(guest)].count("session.read_only") == 2  # the third is held back by the guest's own pace
    assert [row.cause for row in guest.rows.of(ops.Closed)] == ["session_closed"] * 2


def test_an_unanswered_close_is_read_back_but_not_believed() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    guest.do(guest.session.close)
    guest.grant(conn)
    guest.asked(conn, "closeSession")
    guest.run(6 * S)
    guest.page()
    (ended,) = guest.rows.of(ops.Ended)
    assert not ended.complete
    assert "leave.unanswered" in guest.rows.notes()


def test_no_token_for_the_history_no_read_back() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    guest.do(guest.session.close)
    guest.error(conn, guest.asked(conn, "getJwt"), 403)
    guest.closed(conn)
    guest.error(conn, guest.asked(conn, "getJwt"), 4007)
    assert "read_back.failed" in guest.rows.notes()
    assert not guest.rows.of(ops.Ended)[0].complete
    guest.end(conn, 1000)
    assert guest.finished == 1


def test_a_session_not_found_is_configured_again_once() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)))
    conn = guest.chatting()
    guest.error(conn, guest.say(conn), 4007)
    frame = guest.configure(conn, newSession=False)
    guest.grant(conn)
    guest.page()
    assert guest.session.state == "chatting"
    guest.error(conn, guest.say(conn), 4007)
    assert guest.rows.of(ops.Ended)[0].cause == "not_found"
    assert noted(guest).count(("session.not_found", "")) == 2
    assert frame["action"] == "configureSession"


@pytest.mark.parametrize("code", [400, 404, 408, 4020, 5000])
def test_other_errors_are_counted(code: int) -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    guest.error(conn, guest.say(conn), code)
    assert ("error.frame", str(code)) in noted(guest)
    assert [(row.outcome, row.cause) for row in guest.rows.of(ops.Closed)] == [("fail", "refused")]
    assert guest.session.state == "chatting"


def test_a_limited_guest_waits() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(2.0)))
    conn = guest.chatting()
    frame = guest.said(conn)
    guest.limited(conn, frame, 20)
    begun = guest.now
    guest.run(20 * S - 1)
    assert not guest.sent
    guest.said(conn)
    assert guest.now - begun >= 20 * S


def test_optional_fields_may_be_missing() -> None:
    guest = Webmessaging()
    guest.start()
    conn = guest.open()
    guest.frames()
    guest.push(conn, {"type": "response", "class": "SessionResponse", "code": 200, "body": {"connected": True}})
    assert guest.session.state == "chatting"
    frame = guest.say(conn)
    body = guest.guest_body(frame)
    del body["id"], body["metadata"]
    guest.structured(conn, body)
    assert [row.via for row in guest.rows.of(ops.Closed)] == ["echo"]
    agent = guest.agent_body(1, 1)
    del agent["channel"], agent["direction"]
    guest.structured(conn, agent)
    assert len(guest.rows.samples("reply")) == 1
    assert noted(guest) == [("message.flawed", "id"), ("message.flawed", "channel.time")]


# -------------------------------------------------------------------- tabs
def test_every_tab_is_recorded_with_its_own_connection() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)), replace(PLAIN, tabs=1.0))
    conn = guest.chatting()
    guest.run(4 * S)
    tab = guest.configured(newSession=False)
    guest.run(10 * S)
    assert not guest.opens
    frame = guest.say(conn)
    guest.echo(conn, frame)
    guest.echo(tab, frame)
    assert [(row.epoch, row.via) for row in guest.rows.of(ops.Arrived)] == [(1, "10.0.0.1:40001"), (2, "10.0.0.1:40002")]
    assert len(guest.rows.of(ops.Closed)) == 1
    guest.leave(conn, guest.guest_body(frame))
    assert sorted(close.conn for close in guest.closes) == [conn, tab]


def test_many_tabs_are_four() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)), with_fault("many_tabs"))
    guest.chatting()
    for _ in range(3):
        guest.run(4 * S)
        guest.configured(newSession=False)
    guest.run(30 * S)
    assert not guest.opens
    assert len(guest.session.sockets) == 4


# -------------------------------------------------------------------- files
FILES = replace(CALM, attachments=1.0, think_time=fixed(500.0))


def presigned(guest: Webmessaging, conn: int, url: str = "http://127.0.0.1:8080/uploads/x?signature=s") -> dict[str, Any]:
    frame = guest.asked(conn, "onAttachment")
    body = {"attachmentId": frame["attachmentId"], "headers": {"x-amz-tagging": "t", "Host": "evil"}, "url": url}
    guest.reply(conn, frame, "PresignedUrlResponse", body)
    return frame


def test_a_file_goes_only_to_the_target() -> None:
    guest = Webmessaging(FILES)
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Look."))
    presigned(guest, conn, "http://169.254.169.254/latest/meta-data")
    assert not guest.requests
    assert ("upload.failed", "foreign address") in noted(guest)
    assert [row.cause for row in guest.rows.of(ops.Closed)] == ["upload_failed"]


def test_headers_of_the_upload_cannot_be_abused() -> None:
    guest = Webmessaging(FILES)
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Look."))
    presigned(guest, conn)
    names = [name.lower() for name, _ in guest.requests[0].headers]
    assert "host" not in names
    assert {"x-amz-tagging", "content-type"} <= set(names)
    assert "authorization" not in names


def test_the_message_waits_for_the_servers_word_and_not_for_the_puts_answer() -> None:
    guest = Webmessaging(FILES, replace(PLAIN, delete_attachments=0.0))
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Look."))
    ident = presigned(guest, conn)["attachmentId"]
    guest.answer(b"")
    assert not guest.sent
    guest.notice(conn, "UploadSuccessEvent", attachmentId=ident)
    frame = guest.asked(conn, "onMessage")
    assert frame["message"]["content"] == [{"contentType": "Attachment", "attachment": {"id": ident}}]
    guest.notice(conn, "UploadSuccessEvent", attachmentId=ident)
    assert not guest.sent
    body = guest.guest_body(frame)
    body.pop("content")
    guest.structured(conn, body, frame["tracingId"])
    assert ("attachment.broken", "") in noted(guest)


def test_the_race() -> None:
    guest = Webmessaging(FILES, with_fault("race_attachments"))
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Look."))
    ident = presigned(guest, conn)["attachmentId"]
    frame = guest.asked(conn, "onMessage")
    guest.error(conn, frame, 4010)
    guest.answer(b"")
    guest.notice(conn, "UploadSuccessEvent", attachmentId=ident)
    assert not guest.sent
    assert ("attachment.refused", "4010") in noted(guest)


def test_a_message_that_has_left_is_not_given_up_for_its_upload() -> None:
    """The server may have stored it: only its own answer can tell."""
    guest = Webmessaging(FILES, with_fault("race_attachments"))
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Look."))
    presigned(guest, conn)
    frame = guest.asked(conn, "onMessage")
    guest.run(30 * S)
    assert ("upload.failed", "timeout") in noted(guest)
    assert not guest.rows.of(ops.Closed)
    guest.echo(conn, frame)
    assert [row.outcome for row in guest.rows.of(ops.Closed)] == ["ok"]


def test_an_upload_that_is_cut_off_is_asked_for_anew() -> None:
    guest = Webmessaging(FILES, replace(PLAIN, delete_attachments=0.0))
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Look."))
    first = guest.asked(conn, "onAttachment")
    guest.end(conn, 0, "connection_reset")
    conn = guest.back()
    second = presigned(guest, conn)
    assert second["attachmentId"] != first["attachmentId"]
    guest.answer(b"", 500)
    third = presigned(guest, conn)
    guest.answer(b"")
    guest.notice(conn, "UploadSuccessEvent", attachmentId=third["attachmentId"])
    guest.asked(conn, "onMessage")


def test_an_upload_that_nobody_confirms_is_given_up() -> None:
    guest = Webmessaging(FILES)
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Look."))
    presigned(guest, conn)
    guest.answer(b"")
    guest.run(30 * S)
    assert ("upload.failed", "timeout") in noted(guest)
    assert [row.outcome for row in guest.rows.of(ops.Closed)] == ["fail"]


def test_a_refusal_in_the_mobile_shape() -> None:
    guest = Webmessaging(FILES)
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Look."))
    frame = guest.asked(conn, "onAttachment")
    body = {"name": "x", "message": "x", "errorCode": 4001, "errorMessage": "x", "attachmentId": frame["attachmentId"]}
    guest.push(conn, {"type": "message", "class": "GenerateUrlError", "code": 200, "body": body})
    assert ("attachment.refused", "4001") in noted(guest)
    assert [row.cause for row in guest.rows.of(ops.Closed)] == ["mime_refused"]


# -------------------------------------------------------------------- client faults
def test_blind_resend() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)), with_fault("blind_resend"))
    conn = guest.chatting()
    frame = guest.say(conn)
    guest.end(conn, 0, "connection_reset")
    conn = guest.back()
    assert guest.said(conn)["message"] == frame["message"]


def test_no_resync() -> None:
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)), with_fault("no_resync"))
    conn = guest.chatting()
    guest.end(conn, 1001)
    while not guest.opens:
        guest.next_timer()
    conn = guest.configured(newSession=False)
    assert guest.session.state == "chatting"
    assert not guest.sent


def test_no_backoff_and_no_jitter() -> None:
    guest = Webmessaging(settings=with_fault("no_backoff"))
    conn = guest.chatting()
    guest.end(conn, 1001)
    guest.run(S // 5)
    assert guest.opens
    guest = Webmessaging(settings=with_fault("no_jitter"))
    conn = guest.chatting()
    guest.end(conn, 1001)
    guest.run(5 * S)
    assert guest.opens


def test_no_keepalive() -> None:
    settings = WebmessagingSettings(fetch_configuration=False, authenticated=0.0)
    guest = Webmessaging(replace(CALM, think_time=fixed(500.0)), with_fault("no_keepalive", settings))
    guest.chatting()
    guest.run(120 * S)
    assert not guest.pings
    assert not guest.sent


def test_typing_flood_long_text_and_big_attributes() -> None:
    guest = Webmessaging(replace(CALM, typing=1.0), with_fault("typing_flood"))
    conn = guest.chatting()
    guest.do(lambda now: guest.session.say(now, "Hi."))
    typed = [frame for frame in guest.frames(conn) if frame["message"]["type"] == "Event"]
    assert len(typed) == 20
    guest.limited(conn, typed[5], 2)
    assert ("typing.limited", "") in noted(guest)
    guest = Webmessaging(settings=with_fault("long_text"))
    conn = guest.chatting()
    sizes = []
    for _ in range(8):
        frame = guest.said(conn)
        guest.echo(conn, frame)
        sizes.append(len(frame["message"]["text"]))
        guest.agent(conn, len(sizes), len(sizes))
    assert max(sizes) > 4096 > min(sizes)
    guest = Webmessaging(settings=with_fault("big_attributes"))
    frame = guest.say(guest.chatting())
    assert len(frame["message"]["channel"]["metadata"]["customAttributes"]["note"]) > 2048


def test_every_client_fault_names_settings_that_exist() -> None:
    plain = WebmessagingSettings()
    for name in DIALECT.client_faults:
        assert with_fault(name, plain) != plain, f"{name} changes nothing"


# -------------------------------------------------------------------- several conversations
def test_a_returning_guest_keeps_its_token_or_makes_another() -> None:
    for share in (0.0, 1.0):
        guest = Webmessaging(replace(CALM, conversations=2), replace(PLAIN, keep_token=share))
        conn = guest.chatting()
        first = guest.say(conn)
        guest.echo(conn, first)
        guest.agent(conn, 1, 1)
        guest.do(guest.session._leave)
        guest.grant(conn)
        guest.closed(conn)
        guest.page(guest.guest_body(first))
        guest.end(conn, 1000)
        while not guest.opens:
            guest.next_timer()
        conn = guest.open()
        frame = guest.configure(conn)
        assert (frame["token"] == first["token"]) is bool(share)
        assert frame["startNew"] is bool(share)


def test_the_token_never_shows() -> None:
    guest = Webmessaging()
    conn = guest.chatting()
    frame = guest.say(conn)
    guest.do(guest.session.close)
    guest.end(conn, 1001)
    text = repr(guest.rows.all) + repr(guest.session._session) + repr(guest.session.credential)
    assert frame["token"] not in text
    assert session_body()["connected"] is True
