"""The guest half against the literal transcript: each guest line is produced, each server line is accepted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.conformance.transcript import Line, Transcript, scenes
from harness.core import ops
from harness.core.marker import read_marker
from harness.core.pacing import Behaviour
from harness.core.spread import fixed
from harness.dialects.webmessaging_settings import WebmessagingSettings
from tests.dialects.webmessaging_hand import BASES, CALM, PLAIN, Webmessaging

SCENES = scenes("webmessaging")
BRIEF = replace(CALM, session_length=fixed(20.0), conversations=2, think_time=fixed(90.0))
FILES = replace(CALM, attachments=1.0)
SIGNED = replace(PLAIN, authenticated=1.0)
KEEPS = replace(CALM, conversations=0)


class Play:
    """One guest and one pass through scenes."""

    def __init__(
        self, settings: WebmessagingSettings = PLAIN, behaviour: Behaviour = CALM, *, seed: str = "hand", **target: Any
    ) -> None:
        self.guest = Webmessaging(behaviour, settings, seed=seed, **target)
        self.script = Transcript(bound={"origin": "https://shop.example.com", "jwtExp": 1_715_525_000})
        traces = ("minimal", "configureTrace", "resumeTrace", "startTrace", "authTrace", "stepTrace", "againTrace", "freshTrace")
        self.script.bound |= {f"{name}Expires": 1_800_000_000 for name in traces}
        self.conn = 0

    def notes(self) -> list[tuple[str, str]]:
        return [(row.what, row.detail) for row in self.guest.rows.of(ops.Noted)]

    # ------------------------------------------------------------ lines
    def play(self, *lines: Line) -> None:
        for line in lines:
            if line["from"] == "server":
                self.hear(line)
            else:
                self.expect(line)

    def hear(self, line: Line) -> None:
        guest = self.guest
        if line["kind"] == "frame":
            guest.push(self.conn, self.script.frame(line))
        elif line["kind"] == "close":
            guest.end(self.conn, line["code"])
        elif guest.opens:
            answer = self.script.response(line)
            guest.refuse("upgrade_refused", answer)
        else:
            body = b"\x89PNG" if str(line["body"]).startswith("<binary") else self.script.text(line["body"]).encode()
            headers = {key.replace("-", "_"): value for key, value in line["headers"].items()}
            guest.answer(body if line["body"] is not None else b"", line["status"], **headers)

    def expect(self, line: Line) -> None:
        guest = self.guest
        if line["kind"] == "upgrade":
            self.until(lambda: guest.opens)
            self.script.check_upgrade(line, guest.opens[0])
            assert dict(guest.opens[0].headers)["Origin"] == self.script.fill(line["headers"]["origin"])
        elif line["kind"] == "http":
            self.until(lambda: guest.requests)
            request = guest.requests[0]
            if str(line["body"]).startswith("<binary"):
                assert request.body.startswith(b"\x89PNG")
                line, request = {**line, "body": None}, msgspec.structs.replace(request, body=b"")
            self.script.check_http(line, request)
        elif line["kind"] == "close":
            assert guest.closes[-1].code == line["code"]
        else:
            message = line["body"].get("message", {})
            text = message.get("text", "")
            if not guest.sent and line["body"]["action"] == "onMessage" and message.get("type") == "Text" and " [#" in text:
                guest.do(lambda now: guest.session.say(now, text[: text.index(" [#")]))
            self.until(lambda: guest.sent)
            self.script.check_frame(line, guest.sent.pop(0)[1])

    def until(self, there: Any) -> None:
        for _ in range(30):
            if there():
                return
            self.guest.next_timer()
        raise AssertionError("the guest does nothing")

    # ------------------------------------------------------------ steps
    def session(self, scene: str = "session") -> Play:
        """Through the beginning of a scene up to the session."""
        self.guest.start()
        if scene == "authenticated":
            self.play(*SCENES["jwt exchange"])
        upgrade, frame, *answer = SCENES[scene]
        self.play(upgrade)
        self.conn = self.guest.open()
        self.play(frame, *answer)
        return self

    def resume(self) -> None:
        """The socket is lost; the guest comes back with the same token."""
        self.guest.end(self.conn, 0, "connection_reset")
        lines = SCENES["session, resumed"]
        self.play(lines[0])
        self.conn = self.guest.open()
        self.play(*lines[1:])


def talking(*args: Any, **kwargs: Any) -> Play:
    play = Play(*args, **kwargs).session()
    assert play.guest.session.state == "chatting"
    return play


# -------------------------------------------------------------------- before the session
def test_the_deployment_is_read_first() -> None:
    play = Play(replace(PLAIN, fetch_configuration=True))
    play.guest.start()
    play.play(*SCENES["deployment"])
    play.play(*SCENES["upgrade"])
    assert not play.guest.requests


@pytest.mark.parametrize("scene", ["deployment, inactive", "deployment, unknown"])
def test_without_a_usable_deployment_there_is_no_socket(scene: str) -> None:
    play = Play(replace(PLAIN, fetch_configuration=True))
    play.guest.start()
    play.play(*SCENES[scene])
    assert not play.guest.opens
    assert ("start.failed", "forbidden") in play.notes()
    assert play.guest.finished == 1


def test_upgrade_with_application() -> None:
    play = Play(replace(PLAIN, application="guestswarm-0.1/TransportSDK-2.14"))
    play.guest.start()
    play.play(*SCENES["upgrade, application"])


@pytest.mark.parametrize("scene", ["upgrade, bad origin", "upgrade, inactive"])
def test_access_denied_is_not_tried_again(scene: str) -> None:
    play = Play(origin="https://evil.example")
    play.script.bound["origin"] = "https://evil.example"
    play.guest.start()
    play.play(*SCENES[scene])
    assert ("origin.refused", "") in play.notes()
    assert not play.guest.opens
    assert play.guest.finished == 1


def test_upgrade_limited() -> None:
    play = Play()
    play.guest.start()
    play.play(*SCENES["upgrade, limited"])
    (row,) = play.guest.rows.of(ops.Refused)
    assert row.retry_after_ns == 2 * 10**9
    play.play(SCENES["upgrade"][0])


# -------------------------------------------------------------------- session
def test_session_and_its_resumption() -> None:
    play = talking()
    play.resume()
    play.play(*SCENES["jwt"])
    play.guest.page()
    assert play.guest.session.state == "chatting"


def test_the_testers_minimal_session_is_answered_alike() -> None:
    play = Play()
    play.guest.start()
    play.conn = play.guest.open()
    play.guest.frames()
    play.play(SCENES["session, minimal"][2])
    assert play.guest.session.state == "chatting"


def test_what_the_testers_send() -> None:
    """Their form, but for the tracing id, which our guest always sends."""
    play = Play(replace(PLAIN, send_start_new=False, journey=False))
    play.guest.start()
    conn = play.guest.open()
    (frame,) = play.guest.frames(conn)
    frame.pop("tracingId")
    play.script.match(SCENES["session, minimal"][1]["body"], frame, "frame")


def test_close_session_and_start_new() -> None:
    play = talking(behaviour=KEEPS)
    play.play(SCENES["disconnect, read-only"][0], *SCENES["jwt"], SCENES["close session"][0], SCENES["close session"][2])
    play.guest.page()
    play.play(*SCENES["close session"][3:])
    assert play.guest.session.label == "1-2"
    assert play.guest.session.state == "chatting"
    assert not play.guest.closes
    assert [row.complete for row in play.guest.rows.of(ops.Ended)] == [True]


def test_start_new_on_another_connection() -> None:
    play = talking(replace(PLAIN, keep_token=1.0), behaviour=BRIEF)
    play.play(*SCENES["jwt"], SCENES["close session"][0], SCENES["close session"][2])
    play.guest.page()
    play.guest.end(play.conn, 1000)
    play.play(SCENES["upgrade"][0])
    play.conn = play.guest.open()
    play.play(*SCENES["session, start new"])
    assert play.guest.session.label == "1-2"


def test_the_other_connections_of_a_closed_session_end() -> None:
    play = talking()
    play.play(SCENES["close session"][1])
    assert ("connection.superseded", "") in play.notes()
    assert [close.code for close in play.guest.closes] == [1000]


# -------------------------------------------------------------------- signing in
def test_authenticated() -> None:
    play = Play(SIGNED).session("authenticated")
    assert play.guest.session.state == "chatting"


def test_the_jwt_is_refreshed_after_a_401() -> None:
    play = Play(SIGNED)
    play.guest.start()
    play.play(*SCENES["jwt exchange"])
    play.guest.opens[0]
    play.conn = play.guest.open()
    play.script.check_frame(SCENES["authenticated"][1], play.guest.sent.pop(0)[1])
    play.play(SCENES["authenticated, 401"][2], *SCENES["jwt refresh"])
    play.script.bound["authJwt"] = play.script.bound["nextJwt"]
    for name in ("authTrace",):
        play.script.bound.pop(name)
    play.play(*SCENES["authenticated"][1:])
    assert play.guest.session.state == "chatting"
    assert ("auth.rejected", "401") in play.notes()


def test_after_a_403_the_guest_signs_in_anew() -> None:
    play = Play(SIGNED)
    play.guest.start()
    play.play(*SCENES["jwt exchange"])
    play.conn = play.guest.open()
    play.script.check_frame(SCENES["authenticated"][1], play.guest.sent.pop(0)[1])
    play.play(SCENES["authenticated, 403"][2])
    for name in ("code", "verifier", "authJwt", "authTrace"):
        play.script.bound.pop(name)
    play.play(*SCENES["jwt exchange"], *SCENES["authenticated"][1:])
    assert play.guest.session.state == "chatting"


def test_a_downgrade_is_fatal() -> None:
    play = Play()
    play.guest.start()
    play.conn = play.guest.open()
    play.play(*SCENES["authenticated, downgrade"][1:])
    assert ("auth.rejected", "4017") in play.notes()
    assert ("start.failed", "auth_rejected") in play.notes()


def test_a_step_up_elsewhere_closes_this_connection() -> None:
    play = talking()
    play.play(SCENES["step-up"][1])
    assert ("connection.superseded", "signedIn") in play.notes()
    assert [close.code for close in play.guest.closes] == [1000]
    (ended,) = play.guest.rows.of(ops.Ended)
    assert ended.cause == "superseded"


def test_step_up_answer() -> None:
    play = Play(SIGNED)
    play.guest.start()
    play.play(*SCENES["jwt exchange"])
    play.conn = play.guest.open()
    play.play(SCENES["step-up"][0], SCENES["step-up"][2])
    assert play.guest.session.state == "chatting"


def test_exchange_of_an_id_token_and_its_refusal() -> None:
    play = Play(replace(SIGNED, exchange="id_token"))
    play.guest.start()
    play.play(*SCENES["jwt exchange, id token"])
    assert play.guest.opens
    play = Play(SIGNED)
    play.guest.start()
    play.script.bound["WRONG"] = "x"
    play.script.check_http(SCENES["jwt exchange"][0], play.guest.requests[0])
    play.play(SCENES["jwt exchange, refused"][1])
    assert ("start.failed", "unauthorised") in play.notes()
    assert not play.guest.opens


def test_revoke_and_logout() -> None:
    play = Play(replace(SIGNED, sign_out=1.0)).session("authenticated")
    guest = play.guest
    guest.do(guest.session.close)
    play.play(*SCENES["jwt"], SCENES["close session"][0], SCENES["close session"][2])
    guest.page()
    play.play(*SCENES["jwt revoke"])
    guest.end(play.conn, 1000)
    assert guest.finished == 1
    play = Play(SIGNED).session("authenticated")
    play.play(*SCENES["logout"])
    assert [close.code for close in play.guest.closes] == [1000]


# -------------------------------------------------------------------- messages
def test_message_echo_and_answers() -> None:
    play = talking()
    play.play(*SCENES["message"])
    (closed,) = play.guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.via) == ("ok", "echo")
    assert len(play.guest.rows.samples("reply")) == 1
    assert len(play.guest.rows.of(ops.Arrived)) == 3


def test_an_echo_without_tracing_id_confirms_as_well() -> None:
    play = talking()
    guest = play.guest
    guest.do(lambda now: guest.session.say(now, "Where is my parcel?"))
    guest.frames()
    play.play(SCENES["message, no tracingId"][1])
    assert [row.via for row in guest.rows.of(ops.Closed)] == ["echo"]


@pytest.mark.parametrize(("scene", "place"), [("message, attributes", "message"), ("message, attributes beside it", "request")])
def test_custom_attributes_in_either_place(scene: str, place: str) -> None:
    play = talking(replace(PLAIN, attributes_in=place), attributes={"orderId": "4711", "tier": "gold"})
    play.play(*SCENES[scene])
    assert [row.outcome for row in play.guest.rows.of(ops.Closed)] == ["ok"]


def test_attributes_too_large() -> None:
    play = talking(replace(PLAIN, attribute_bytes=2100))
    play.play(*SCENES["message, attributes too large"])
    assert ("attributes.too_large", "") in play.notes()
    assert [(row.outcome, row.cause) for row in play.guest.rows.of(ops.Closed)] == [("fail", "too_large")]
    assert play.guest.session.state == "chatting"


def test_message_too_long() -> None:
    play = talking()
    guest = play.guest
    guest.do(lambda now: guest.session.say(now, "x" * 4090))
    play.play(*SCENES["message, too long"])
    assert ("message.too_long", "") in play.notes()
    assert [(row.outcome, row.cause) for row in guest.rows.of(ops.Closed)] == [("fail", "too_large")]


def test_message_limited() -> None:
    play = talking()
    play.script.bound["wait"] = 7
    play.play(*SCENES["message, limited"])
    (row,) = play.guest.rows.of(ops.Refused)
    assert (row.ref, row.retry_after_ns) == (f"10.0.0.1:{40000 + play.conn}#1", 7 * 10**9)
    assert [(row.outcome, row.cause) for row in play.guest.rows.of(ops.Closed)] == [("fail", "rate_limited")]


def test_a_message_before_the_session_is_a_client_fault() -> None:
    play = Play(replace(PLAIN, early_frames=1))
    play.guest.start()
    play.play(SCENES["message, before configure"][0])
    play.conn = play.guest.open()
    early, configure = (text for _, text in play.guest.sent)
    line = SCENES["message, before configure"][1]
    body = {**line["body"], "message": {"type": "Text", "text": "<any>"}}
    play.script.check_frame({**line, "body": body}, early)
    play.guest.sent.clear()
    play.play(SCENES["message, before configure"][2])
    assert play.notes() == [("session.not_found", "")]
    play.script.check_frame(SCENES["session"][1], configure)
    play.play(SCENES["session"][2])
    assert play.guest.session.state == "chatting"


@pytest.mark.parametrize("scene", ["message, parameter missing", "bad request"])
def test_errors_that_no_right_frame_provokes(scene: str) -> None:
    play = talking()
    play.play(SCENES[scene][-1])
    assert [what for what, _ in play.notes()] == ["error.frame"]
    assert play.guest.session.state == "chatting"


@pytest.mark.parametrize("scene", ["quick reply", "card", "carousel", "date picker", "list picker"])
def test_what_can_be_pressed_is_answered_by_a_button(scene: str) -> None:
    offer, press, echo = SCENES[scene]
    for seed in range(40):
        play = talking(replace(PLAIN, answer_structured=1.0), seed=str(seed))
        play.play(offer)
        try:
            play.play(press)
        except AssertionError:
            continue  # the other button
        play.play(echo)
        assert [row.via for row in play.guest.rows.of(ops.Closed)] == ["echo"]
        assert {read_marker(SCENES[scene][0]["body"]["body"]["text"])} != {None}
        return
    raise AssertionError("none of the seeds presses this button")


def test_typing() -> None:
    play = talking(behaviour=replace(CALM, typing=1.0))
    guest = play.guest
    guest.do(lambda now: guest.session.say(now, "Where is my parcel?"))
    play.play(*SCENES["typing"])
    assert [frame["message"]["type"] for frame in guest.frames()] == ["Text"]
    assert not play.notes()


def test_typing_refused_is_not_tried_again() -> None:
    play = talking(behaviour=replace(CALM, typing=1.0))
    guest = play.guest
    guest.do(lambda now: guest.session.say(now, "Where is my parcel?"))
    play.play(*SCENES["typing, refused"])
    guest.frames()
    guest.run(6 * 10**9)
    guest.do(lambda now: guest.session.say(now, "Well?"))
    assert "Event" not in [frame["message"]["type"] for frame in guest.frames()]


def test_join() -> None:
    play = talking(replace(PLAIN, auto_start=True))
    play.play(*SCENES["join"])
    assert [(row.direction, row.seq) for row in play.guest.rows.of(ops.Arrived)] == [("a", 1)]


def test_clear_and_what_comes_after() -> None:
    play = talking(replace(PLAIN, clear=1.0), behaviour=BRIEF)
    play.play(*SCENES["jwt"])
    play.guest.page()
    lines = SCENES["clear"]
    play.play(*lines[:5])
    assert ("session.cleared", "") in play.notes()
    play.guest.end(play.conn, 1000)
    play.play(lines[5])
    play.conn = play.guest.open()
    play.play(*lines[6:])
    assert play.guest.session.label == "1-2"
    (ended,) = play.guest.rows.of(ops.Ended)
    assert (ended.complete, ended.cause) == (False, "cleared")


def test_clear_refused() -> None:
    play = talking(replace(PLAIN, clear=1.0))
    play.guest.do(play.guest.session.close)
    play.play(*SCENES["jwt"])
    play.guest.page()
    play.play(*SCENES["clear, refused"], SCENES["close session"][0], SCENES["close session"][2])
    play.guest.page()
    (ended,) = play.guest.rows.of(ops.Ended)
    assert ended.complete


# -------------------------------------------------------------------- the end of a conversation
def test_disconnect_ends_the_conversation() -> None:
    play = talking()
    play.play(*SCENES["disconnect"], *SCENES["jwt"], SCENES["close session"][0], SCENES["close session"][2])
    play.guest.page()
    assert ("closed.by_server", "disconnect") in play.notes()
    (ended,) = play.guest.rows.of(ops.Ended)
    assert ended.complete


def test_read_only() -> None:
    play = talking(replace(PLAIN, read_only_tries=1), behaviour=replace(CALM, text_bytes=18))
    lines = SCENES["disconnect, read-only"]
    play.hear(lines[0])
    body = {**lines[1]["body"], "message": {"type": "Text", "text": "<any> [#run1.1-1.g.1]"}}
    play.play({**lines[1], "body": body}, lines[2])
    assert ("session.read_only", "") in play.notes()
    assert [(row.outcome, row.cause) for row in play.guest.rows.of(ops.Closed)] == [("fail", "session_closed")]


def test_a_conversation_that_ended_meanwhile() -> None:
    play = talking()
    play.guest.end(play.conn, 0, "connection_reset")
    lines = SCENES["read-only, resumed"]
    play.play(lines[0])
    play.conn = play.guest.open()
    play.play(*lines[1:], *SCENES["jwt"], SCENES["close session"][0], SCENES["close session"][2])
    play.guest.page()
    assert play.guest.rows.of(ops.Ended)[0].complete
    (gap,) = play.guest.rows.samples("reconnect.gap")
    assert (gap.outcome, gap.cause) == ("info", "session_closed")  # nothing went on unread


def test_session_expired() -> None:
    play = talking()
    first = play.script.bound["token"]
    play.hear(SCENES["session, expired"][0])
    assert ("session.expired", "") in play.notes()
    assert [close.code for close in play.guest.closes] == [1000]
    (ended,) = play.guest.rows.of(ops.Ended)
    assert ended.cause == "token_expired"
    play = talking()
    play.guest.do(lambda now: play.guest.session.say(now, "Where is my parcel?"))
    play.play(*SCENES["session, expired"][1:3])
    assert ("session.expired", "") in play.notes()
    assert [row.outcome for row in play.guest.rows.of(ops.Closed)] == ["fail"]
    assert first


def test_an_expired_token_is_given_up() -> None:
    play = Play(behaviour=replace(CALM, conversations=2))
    play.guest.start()
    play.play(SCENES["session, expired before"][0])
    play.conn = play.guest.open()
    play.play(*SCENES["session, expired before"][1:])
    assert ("session.expired", "") in play.notes()
    play.guest.end(play.conn, 1000)
    old = play.script.bound.pop("token")
    play.script.bound.pop("oldTrace")
    play.play(SCENES["upgrade"][0])
    play.conn = play.guest.open()
    play.play(SCENES["session"][1])
    assert play.script.bound["token"] != old


def test_the_fourth_connection() -> None:
    play = talking(replace(PLAIN, tabs=1.0, tab_count=4), behaviour=replace(CALM, think_time=fixed(90.0)))
    guest = play.guest
    first = play.conn
    play.play(SCENES["session, resumed"][0])
    play.conn = guest.open()
    play.play(*SCENES["session, resumed"][1:])
    lines = SCENES["connections, fourth"]
    for number in (0, 3):
        play.play(lines[number])
        play.conn = guest.open()
        play.play(lines[number + 1])
        if number == 0:
            play.play(lines[2])
    fourth, play.conn = play.conn, first
    play.play(lines[5])
    play.conn = fourth
    play.play(lines[6])
    assert [(close.conn, close.code) for close in guest.closes] == [(first, 1000)]
    assert ("connection.superseded", "") in play.notes()
    guest.do(lambda now: guest.session.say(now, "Where is my parcel?"))
    assert guest.sent[0][0] not in (first, fourth), "the tab that was ready goes on"


# -------------------------------------------------------------------- questions on the socket
def test_health_check() -> None:
    play = talking(replace(PLAIN, health_every=30 * 10**9), behaviour=replace(CALM, think_time=fixed(90.0)))
    play.play(*SCENES["echo"])
    assert [row.outcome for row in play.guest.rows.samples("health")] == ["ok"]


def test_configuration() -> None:
    play = talking(replace(PLAIN, get_configuration=1.0))
    play.play(*SCENES["configuration"][1:])
    assert not play.notes()


def test_history() -> None:
    play = talking()
    play.play(*SCENES["message"])
    play.guest.do(play.guest.session.close)
    play.play(*SCENES["history"][:2], SCENES["close session"][0], SCENES["close session"][2], *SCENES["history"][2:])
    (ended,) = play.guest.rows.of(ops.Ended)
    assert ended.complete
    assert len({row.mid for row in play.guest.rows.of(ops.Arrived) if row.direction == "g"}) == 1


def test_history_to_an_empty_page() -> None:
    play = talking(replace(PLAIN, until_empty=True))
    play.play(*SCENES["message"])
    play.guest.do(play.guest.session.close)
    play.play(*SCENES["history"][:2], SCENES["close session"][0], SCENES["close session"][2], *SCENES["history"][2:])
    play.play(*SCENES["history, past the end"])
    assert play.guest.rows.of(ops.Ended)[0].complete


def test_a_refused_history_token_is_replaced_once() -> None:
    play = talking()
    play.resume()
    play.play(*SCENES["jwt"])
    play.script.check_http(SCENES["history"][2], play.guest.requests[0])
    play.play(SCENES["history, no bearer"][1])
    play.script.bound.pop("jwtTrace")
    play.script.bound.pop("jwt")
    play.play(*SCENES["jwt"])
    play.script.check_http(SCENES["history"][2], play.guest.requests[0])
    play.play(SCENES["history, no bearer"][1])
    assert ("listing.unusable", "401") in play.notes()
    assert play.guest.session.state == "chatting"


def test_history_limited() -> None:
    play = talking()
    play.resume()
    play.play(*SCENES["jwt"], *SCENES["history, limited"])
    (row,) = play.guest.rows.of(ops.Refused)
    assert row.retry_after_ns == 2 * 10**9
    play.expect(SCENES["history"][2])


# -------------------------------------------------------------------- files
def attached(settings: WebmessagingSettings = PLAIN, text: str = "Here is a photo.", **kwargs: Any) -> Play:
    """A guest that has asked for a place for its file."""
    play = talking(settings, FILES, **kwargs)
    guest = play.guest
    guest.do(lambda now: guest.session.say(now, text))
    play.script.bound["longName"] = settings.attachment_name
    return play


def placed(play: Play, scene: str) -> None:
    """Through presign and upload."""
    lines = SCENES[scene]
    play.play(lines[0])
    ident = play.script.bound["attachmentId"]
    play.script.bound["signature"] = "sig"
    play.script.bound["uploadUrl"] = f"{BASES['files']}/uploads/{ident}?signature=sig"
    play.script.bound["downloadUrl"] = f"{BASES['files']}/downloads/{ident}?signature=down"
    play.script.bound["downloadSignature"] = "down"
    play.play(*lines[1:4])


def test_a_message_with_a_file() -> None:
    play = attached(replace(PLAIN, delete_attachments=0.0, downloads=1.0, refresh_downloads=1.0))
    placed(play, "attachment")
    play.play(*SCENES["attachment"][4:])
    (closed,) = play.guest.rows.of(ops.Closed)
    assert closed.outcome == "ok"
    assert [row.measure for row in play.guest.rows.of(ops.Sample) if row.measure in ("presign", "upload", "download")] == [
        "presign",
        "upload",
        "download",
        "presign",
    ]
    assert not play.notes()


def test_upload_failed() -> None:
    play = attached()
    placed(play, "attachment, upload failed")
    play.play(*SCENES["attachment, upload failed"][4:])
    assert ("attachment.refused", "4003") in play.notes()
    assert [(row.outcome, row.cause) for row in play.guest.rows.of(ops.Closed)] == [("fail", "upload_failed")]


def test_deleted_before_it_is_sent() -> None:
    play = attached(replace(PLAIN, delete_attachments=1.0))
    placed(play, "attachment")
    play.hear(SCENES["attachment"][4])
    play.play(*SCENES["attachment, deleted"][2:])
    (frame,) = play.guest.frames()
    assert "content" not in frame["message"]


@pytest.mark.parametrize(
    ("scene", "code", "changes"),
    [
        ("uploads off", "4000", {}),
        ("type", "4001", {"attachment_name": "tool.exe", "attachment_type": "application/x-msdownload"}),
        ("size", "4002", {"attachment_bytes": 10485761}),
        ("name", "4004", {"attachment_name": "photo"}),
        ("name too long", "4005", {"attachment_name": "x" * 1100 + ".png"}),
        ("empty", "4102", {"attachment_bytes": 0}),
    ],
)
def test_a_refused_file(scene: str, code: str, changes: dict[str, Any]) -> None:
    play = attached(replace(PLAIN, **changes))
    play.play(*SCENES[f"attachment, refused: {scene}"])
    assert ("attachment.refused", code) in play.notes()
    assert [row.outcome for row in play.guest.rows.of(ops.Closed)] == ["fail"]
    assert play.guest.session.state == "chatting"


@pytest.mark.parametrize(("scene", "code"), [("expired", "4008"), ("not found", "4009"), ("not uploaded", "4010")])
def test_a_message_whose_file_is_refused(scene: str, code: str) -> None:
    play = attached(replace(PLAIN, delete_attachments=0.0))
    placed(play, "attachment")
    play.play(*SCENES["attachment"][4:5], *SCENES[f"attachment, message refused: {scene}"])
    assert ("attachment.refused", code) in play.notes()
    assert [(row.outcome, row.cause) for row in play.guest.rows.of(ops.Closed)] == [("fail", "upload_failed")]


def test_the_browsers_message_without_text_is_survived() -> None:
    play = talking()
    play.play(SCENES["attachment only"][1])
    assert play.guest.session.state == "chatting"


def test_every_scene_is_played_here() -> None:
    """A new scene must not go unnoticed."""
    source = Path(__file__).read_text(encoding="utf-8")
    refusals = ("attachment, refused: ", "attachment, message refused: ")
    missing = [scene for scene in SCENES if f'"{scene}"' not in source and not scene.startswith(refusals)]
    assert not missing
    for prefix in refusals:
        assert all(f'("{scene.removeprefix(prefix)}"' in source for scene in SCENES if scene.startswith(prefix))
