"""The guest half against the literal transcript: each guest line is produced, each server line is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from harness.conformance.transcript import Transcript, scenes
from harness.core import ops
from harness.core.credentials import Secret
from harness.core.marker import mark
from harness.core.pacing import Behaviour
from harness.core.spread import fixed, seconds
from harness.dialects.webchat_settings import WebchatSettings
from tests.dialects.hand import S
from tests.dialects.webchat_hand import CALM, Webchat

SCENES = scenes("webchat")
PLAIN = WebchatSettings(check_skills=False)


def frame_lines(scene: str, who: str) -> list[dict[str, Any]]:
    return [line for line in SCENES[scene] if line["from"] == who and line["kind"] == "frame"]


def begun(script: Transcript, **kwargs: Any) -> Webchat:
    """Token taken, socket asked for."""
    guest = Webchat(settings=PLAIN, **kwargs)
    guest.start()
    script.check_http(SCENES["token"][0], guest.requests[0])
    guest.answer(script.fill(SCENES["token"][1]["body"]))
    return guest


def in_queue(script: Transcript, scene: str = "message", **kwargs: Any) -> tuple[Webchat, int]:
    """Through the lines of a scene up to the queue."""
    guest = begun(script, **kwargs)
    lines = SCENES[scene]
    script.check_upgrade(lines[0], guest.opens[0])
    conn = guest.open()
    script.check_frame(lines[1], guest.sent.pop(0)[1])
    assert not guest.sent, "nothing else before auth success"
    guest.push(conn, script.frame(lines[2]))
    script.check_frame(lines[3], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(lines[4]))
    assert guest.session.state == "queued"
    return guest, conn


def talking(script: Transcript, **kwargs: Any) -> tuple[Webchat, int]:
    guest, conn = in_queue(script, **kwargs)
    guest.push(conn, script.frame(SCENES["message"][5]))
    assert guest.session.state == "chatting"
    return guest, conn


def speak(guest: Webchat, text: str) -> None:
    """Let the guest say just that."""
    guest.do(lambda now: guest.session.say(now, text))


def test_token_and_its_refusal_and_its_limit() -> None:
    script = Transcript()
    begun(script)
    guest = Webchat(client_secret=Secret("WRONG"))
    guest.start()
    script.check_http(SCENES["token refused"][0], guest.requests[0])
    refused = script.response(SCENES["token refused"][1])
    guest.do(lambda now: guest.session.on_http(now, guest.request(), refused))
    assert not guest.requests, "a wrong secret is not tried again at once"
    assert guest.session.state == "finished"  # one conversation was wanted

    guest = Webchat()
    guest.start()
    script.check_http(SCENES["token limited"][0], guest.requests[0])
    limited = script.response(SCENES["token limited"][1])
    guest.do(lambda now: guest.session.on_http(now, guest.request(), limited))
    (row,) = guest.rows.of(ops.Refused)
    assert row.retry_after_ns == 2 * S
    guest.run(2 * S - 1)
    assert not guest.requests
    guest.run(1 + seconds(1))
    script.check_http(SCENES["token limited"][0], guest.requests[0])


def test_skill_groups() -> None:
    script = Transcript()
    guest = Webchat()
    guest.start()
    guest.answer(script.fill(SCENES["token"][1]["body"]))
    script.check_http(SCENES["skill groups"][0], guest.requests[0])
    answer = script.response(SCENES["skill groups"][1])
    guest.do(lambda now: guest.session.on_http(now, guest.request(), answer))
    assert len(guest.opens) == 1


def test_handshake_refused() -> None:
    script = Transcript()
    guest = Webchat(settings=PLAIN)
    guest.start()
    guest.answer({"access_token": "BAD", "expires_in": 60})
    script.check_upgrade(SCENES["handshake refused"][0], guest.opens[0])
    conn = guest.open()
    script.check_frame(SCENES["handshake refused"][1], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(SCENES["handshake refused"][2]))
    (row,) = guest.rows.samples("auth")
    assert (row.outcome, row.cause) == ("fail", "auth_rejected")
    assert [close.conn for close in guest.closes] == [conn]


@pytest.mark.parametrize("status", ["queued", "connected"])
def test_the_whole_scene_of_a_message(status: str) -> None:
    script = Transcript()
    guest, conn = in_queue(script)
    lines = SCENES["message"]
    guest.push(conn, script.frame(lines[5], **({} if status == "queued" else {"from": None})))
    assert guest.session.state == "chatting"
    speak(guest, "I need assistance with my invoice.")
    script.check_frame(lines[6], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(lines[7]))
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.seq, closed.outcome, closed.via) == (1, "ok", "echo")
    guest.push(conn, script.frame(lines[8]))
    (reply,) = guest.rows.samples("reply")
    assert reply.outcome == "ok"
    script.check_frame(lines[9], guest.sent.pop(0)[1])
    assert not guest.sent


def test_literal_frames_of_the_seed_are_accepted() -> None:
    """The seed's own examples lack ids and markers: they are survived and still count for what they say."""
    script = Transcript()
    guest, conn = in_queue(script)
    for lines in SCENES.values():
        for line in lines:
            if line["from"] == "server" and line["kind"] == "frame" and "literal" in line and "TOKEN" not in line["literal"]:
                guest.push(conn, line["literal"])
    assert "message.unmarked" not in guest.rows.notes() or guest.session.state in ("queued", "chatting")
    assert not any(note.startswith("violation") for note in guest.rows.notes())


def test_typing_comes_before_a_share_of_messages_and_not_too_often() -> None:
    script = Transcript()
    guest, _ = talking(script, behaviour=Behaviour(typing=1.0, reload=0.0, think_time=fixed(600)))
    speak(guest, "One.")
    script.check_frame(SCENES["typing"][0], guest.sent.pop(0)[1])
    assert guest.frames()[0]["text"] == mark("One.", "run1", "1-1", 1)
    speak(guest, "Two.")
    assert [f["type"] for f in guest.frames()] == ["message"]
    guest.run(3 * S)
    speak(guest, "Three.")
    assert [f["type"] for f in guest.frames()] == ["typing", "message"]


def test_keep_alive_of_both_ends() -> None:
    script = Transcript()
    guest, conn = in_queue(script)
    guest.push(conn, script.frame(SCENES["keep-alive, server"][0]))
    script.check_frame(SCENES["keep-alive, server"][1], guest.sent.pop(0)[1])
    guest.push(conn, '{"type":"ping"}')
    assert guest.frames() == [{"type": "pong"}]
    guest.run(22 * S)
    script.check_frame(SCENES["keep-alive, guest"][0], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(SCENES["keep-alive, guest"][1]))
    guest.run(17 * S)
    assert not guest.closes


def test_expiry_and_reconnect() -> None:
    script = Transcript()
    guest, conn = talking(script)
    first = script.bound["token"]
    guest.push(conn, script.frame(SCENES["expiry"][0]))
    assert [(c.conn, c.code, c.reason) for c in guest.closes] == [(conn, 1000, "token refresh")]
    script.bound.pop("token")
    script.check_http(SCENES["token"][0], guest.requests[0])
    guest.answer(script.fill(SCENES["token"][1]["body"]))
    assert script.bound["token"] != first
    guest.end(conn, 1000)
    lines = SCENES["reconnect"]
    script.check_upgrade(lines[0], guest.opens[0])
    conn = guest.open()
    script.check_frame(lines[1], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(lines[2]))
    script.check_frame(lines[3], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(lines[4]))
    script.check_http(lines[5], guest.requests[0])
    answer = script.response(lines[6])
    guest.do(lambda now: guest.session.on_http(now, guest.request(), answer))
    assert guest.session.state == "chatting"
    (gap,) = guest.rows.samples("refresh.gap")
    assert gap.outcome == "ok"
    assert not guest.rows.samples("reconnect.gap")


def test_reconnect_to_an_unknown_conversation() -> None:
    script = Transcript(bound={"conversationId": "conv_unknown"})
    guest, conn = talking(script, behaviour=CALM)
    guest.end(conn, 0, "connection_reset")
    guest.run(3 * S)
    conn = guest.open()
    lines = SCENES["reconnect, unknown"]
    script.check_frame(lines[1], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(lines[2]))
    script.check_frame(lines[3], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(lines[4]))
    assert "conversation.lost" in guest.rows.notes()
    (ended,) = guest.rows.of(ops.Ended)
    assert (ended.complete, ended.cause) == (False, "not_found")


def test_read_back_of_an_unknown_conversation() -> None:
    script = Transcript(bound={"conversationId": "conv_unknown"})
    guest, conn = in_queue(script)
    guest.do(guest.session.close)
    script.check_frame(SCENES["leave"][0], guest.sent.pop(0)[1])
    guest.push(conn, script.frame(SCENES["leave"][1]))
    script.check_http(SCENES["resync, unknown"][0], guest.requests[0])
    answer = script.response(SCENES["resync, unknown"][1])
    guest.do(lambda now: guest.session.on_http(now, guest.request(), answer))
    (ended,) = guest.rows.of(ops.Ended)
    assert not ended.complete
    guest.end(conn, 1000)
    assert guest.finished == 1


def test_read_back_with_an_expired_token() -> None:
    script = Transcript()
    guest, conn = in_queue(script)
    guest.do(guest.session.close)
    guest.push(conn, script.frame(SCENES["leave"][1]))
    lines = SCENES["resync, expired token"]
    script.bound["EXPIRED"] = script.bound["token"]
    script.check_http({**lines[0], "headers": {"authorization": "Bearer <token>"}}, guest.requests[0])
    answer = script.response(lines[1])
    guest.do(lambda now: guest.session.on_http(now, guest.request(), answer))
    guest.answer({"access_token": "fresh", "expires_in": 3600})
    assert dict(guest.requests[0].headers)["Authorization"] == "Bearer fresh"
    guest.do(lambda now: guest.session.on_http(now, guest.request(), answer))
    assert not guest.requests, "one refresh, one retry"
    guest.end(conn, 1000)
    assert guest.finished == 1


def test_limited() -> None:
    script = Transcript()
    guest, conn = talking(script)
    speak(guest, "I need assistance with my invoice.")
    script.check_frame(SCENES["message"][6], guest.sent.pop(0)[1])
    script.bound["s"] = 7
    guest.push(conn, script.frame(SCENES["limited"][0]))
    (row,) = guest.rows.of(ops.Refused)
    assert (row.ref, row.retry_after_ns) == (f"10.0.0.1:{40000 + conn}#1", 7 * S)
    (closed,) = guest.rows.of(ops.Closed)
    assert (closed.outcome, closed.cause) == ("fail", "rate_limited")


def test_scope() -> None:
    script = Transcript()
    guest, conn = in_queue(script)
    guest.push(conn, script.frame(SCENES["scope"][0]))
    assert ("error.frame", "INSUFFICIENT_SCOPE") in [(row.what, row.detail) for row in guest.rows.of(ops.Noted)]


def test_leave_is_answered_and_read_back() -> None:
    script = Transcript()
    guest, conn = talking(script)
    guest.do(guest.session.close)
    script.check_frame(SCENES["leave"][0], guest.sent.pop(0)[1])
    guest.run(S)
    guest.push(conn, script.frame(SCENES["leave"][1]))
    (leave,) = guest.rows.samples("leave")
    assert (leave.outcome, leave.end_ns - leave.start_ns) == ("ok", S)
    guest.answer({"messages": []})
    (ended,) = guest.rows.of(ops.Ended)
    assert ended.complete
    assert [(c.code, c.reason) for c in guest.closes] == [(1000, "guest left")]
    assert guest.finished < 1
    guest.end(conn, 1000)
    assert guest.finished == 1


def test_every_scene_with_guest_lines_is_played_here() -> None:
    """A new scene must not go unnoticed."""
    assert set(SCENES) == {
        "token",
        "token refused",
        "token limited",
        "skill groups",
        "handshake",
        "handshake refused",
        "too early",  # what a guest must never do
        "routing",
        "message",
        "typing",
        "keep-alive, server",
        "keep-alive, guest",
        "expiry",
        "reconnect",
        "reconnect, unknown",
        "resync, unknown",
        "resync, expired token",
        "limited",
        "scope",
        "leave",
    }


@pytest.mark.parametrize("scene", ["handshake", "routing", "message"])
def test_scenes_that_begin_alike(scene: str) -> None:
    script = Transcript()
    guest = begun(script)
    conn = 0
    for line in SCENES[scene][:6]:
        if line["kind"] == "upgrade":
            script.check_upgrade(line, guest.opens[0])
            conn = guest.open()
        elif line["from"] == "guest":
            script.check_frame(line, guest.sent.pop(0)[1])
        else:
            guest.push(conn, script.frame(line))
    assert len(frame_lines(scene, "server")) > 0
