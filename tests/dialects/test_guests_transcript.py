"""The guest half of guests against every scene of its witness."""

from __future__ import annotations

import pytest

from harness.conformance.client_half import ClientPlayer
from harness.conformance.stage import Stage
from harness.conformance.transcript import scenes
from harness.core import ops
from harness.core.credentials import Secret
from harness.dialects.guests import DIALECT, GuestsSession
from tests.dialects.hand import S
from tests.dialects.scenes_alone import player

SCENES = scenes("guests")
JWT = SCENES["JWT, padding 2"][1]["body"]["guestToken"]
TARGET = {
    "client_id": "YOUR_CLIENT_ID",
    "client_secret": Secret("YOUR_CLIENT_SECRET"),
    "queue_id": "routing-queue-id",
    "skills": ("routing-skill-id",),
}
TALKED = ("token", "guest", "handshake")
SYNC = {"profile_sync": 1.0}


def session(guest: ClientPlayer) -> GuestsSession:
    assert isinstance(guest.session, GuestsSession)
    return guest.session


def announce(guest: ClientPlayer) -> None:
    guest.behave(typing=1.0)
    guest.say("More.")


def expired(guest: ClientPlayer) -> None:
    """Half an hour is left, and it passes while the socket is up."""
    session(guest).stop(guest.now)  # else the session would be replaced in time
    session(guest)._disarm("lapse")  # and who stops would leave in time
    guest.run(3601 * S)


def grace(guest: ClientPlayer) -> None:
    """The handshake is not answered: the guest speaks once the socket has lived a moment."""
    guest.run(S)


def second_word(guest: ClientPlayer) -> None:
    grace(guest)
    session(guest)._next_seq = 2  # the first was said too early, which no guest does


def reload(guest: ClientPlayer) -> None:
    guest.do(session(guest)._reload)
    guest.end(guest.conn, 1001)


def made(guest: ClientPlayer) -> None:
    """The server makes a guest that it will not know afterwards."""
    guest.answer({"id": "unknown", "guestToken": JWT, "sessions": [{"id": "unknown"}], "attributes": {}})


def made_and_live(guest: ClientPlayer) -> None:
    made(guest)
    guest.conn = guest.open()
    guest.run(S)


BAD = {"check_jwt": False}
NEWS = {"jwt": JWT, "jwt2": JWT}
STAGES = {
    **{scene: Stage(after=("token",)) for scene in SCENES if scene.startswith("JWT, ")},
    "token refused": Stage(target={"client_secret": Secret("WRONG")}),
    "guest": Stage(given=NEWS),
    "guest, expired token": Stage(after=("token",), given={"token": "EXPIRED", **NEWS}),
    "upgrade": Stage(given=NEWS),
    "upgrade refused": Stage(after=("token",), begin=made),
    "upgrade limited": Stage(given=NEWS),
    "handshake": Stage(given=NEWS, before={2: grace}),
    "handshake refused": Stage(given={"jwt": "BAD"}, settings=BAD),
    "no handshake": Stage(given=NEWS),
    "too early": Stage(given=NEWS, only=(0, 3, 4, 5), before={4: second_word}),  # the rest is what no guest sends
    "typing, guest": Stage(given=NEWS, begin=announce),
    "typing, agent": Stage(given=NEWS),
    "odd frames": Stage(given=NEWS),
    "limited": Stage(given=NEWS),
    "typing limited": Stage(given=NEWS, begin=announce),
    "expiry": Stage(given=NEWS, begin=expired),
    "renewal": Stage(given=NEWS, forget=("token", "lifetime"), begin=lambda guest: guest.run(3250 * S)),
    "reconnect": Stage(given=NEWS, before={3: grace}),
    "resume": Stage(given=NEWS, begin=reload, before={2: grace}),
    "profile": Stage(given=NEWS, settings=SYNC),
    "profile, unknown guest": Stage(after=("token",), begin=made_and_live, settings=SYNC),
    "profile, unknown guest as 400": Stage(after=("token",), begin=made_and_live, settings=SYNC),
    "profile too large": Stage(given=NEWS, settings={**SYNC, "profile_bytes": 11 * 1024}),
    "profile limited": Stage(given=NEWS, settings=SYNC),
    "profile, no scope": Stage(given=NEWS, settings=SYNC),
    "profile, expired token": Stage(after=TALKED, given={**NEWS, "token": "EXPIRED"}, settings=SYNC),
    "end, guest": Stage(given=NEWS, begin=ClientPlayer.leave),
    "end, guest waits": Stage(given=NEWS, begin=ClientPlayer.leave),
    "end, agent": Stage(given=NEWS),
    "end, agent, guest silent": Stage(given=NEWS),
}


def played(scene: str) -> ClientPlayer:
    guest = player(DIALECT, STAGES, scene, TARGET, profile_sync=0.0)
    guest.play()
    return guest


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene(scene: str) -> None:
    guest = played(scene)
    assert guest.rows.notes().count("violation.malformed") == (scene == "odd frames")


@pytest.mark.parametrize(
    ("scene", "notes"),
    [
        ("token refused", [("start.failed", "unauthorised")]),
        ("guest, no scope", [("scope.refused", "guest missing.permission"), ("start.failed", "forbidden")]),
        ("JWT, two parts", [("jwt.refused", "malformed"), ("start.failed", "malformed")]),
        ("JWT, no base64url", [("jwt.refused", "malformed"), ("start.failed", "malformed")]),
        ("JWT, no JSON", [("jwt.refused", "malformed"), ("start.failed", "malformed")]),
        ("JWT, expired", [("jwt.refused", "expired"), ("clock.skew", "7200 s since its issue"), ("start.failed", "token_expired")]),
        ("JWT, no exp", [("jwt.refused", "missing_claim"), ("start.failed", "malformed")]),
        ("JWT, no hints", [("jwt.refused", "no_hints"), ("start.failed", "malformed")]),
        ("JWT, no sub", [("jwt.refused", "missing_claim"), ("start.failed", "malformed")]),
        ("upgrade refused", [("session.not_found", "socket"), ("start.failed", "not_found")]),
        ("handshake refused", [("auth.rejected", "unexplained")]),
        ("no handshake", [("auth.rejected", "unexplained")]),
        ("odd frames", [("frame.unknown_type", "presence"), ("message.flawed", "id"), ("violation.malformed", "message.payload")]),
        ("typing limited", [("typing.limited", "")]),
        ("expiry", [("token.expired", ""), ("conversation.lost", "token_expired")]),
        ("reconnect", [("closed.early", "0")]),
        ("resume", [("session.resumed", "")]),
        ("profile, unknown guest", [("session.not_found", "profile"), ("conversation.lost", "not_found")]),
        ("profile, unknown guest as 400", [("profile.unknown_guest", ""), ("conversation.lost", "not_found")]),
        ("profile too large", [("profile.too_large", "")]),
        ("profile, no scope", [("scope.refused", "profile missing.permission")]),
        ("end, agent", [("closed.by_server", "agent_left")]),
    ],
)
def test_what_a_scene_is_noted_as(scene: str, notes: list[tuple[str, str]]) -> None:
    noted = [(row.what, row.detail) for row in played(scene).rows.of(ops.Noted)]
    assert sorted(noted) == sorted(notes)


@pytest.mark.parametrize("scene", [scene for scene in SCENES if scene.startswith("JWT, ")])
def test_a_bad_token_never_gets_a_socket(scene: str) -> None:
    guest = played(scene)
    assert len(guest.opens) == ("padding" in scene)
    assert (session(guest).store.text is not None) == ("padding" in scene)


@pytest.mark.parametrize("scene", ["token limited", "token limited, no header", "token limited, date"])
def test_a_limit_is_waited_for(scene: str) -> None:
    """Two seconds, by number, by default, and by an HTTP date; and at most one more."""
    guest = played(scene)
    if not guest.opens and not any(one.path == "/api/v2/guests" for one in guest.requests):
        started = guest.now
        guest._waited(lambda: guest.requests)
        assert 2 * S <= guest.now - started <= 3 * S
    else:
        (first, second) = guest.rows.samples("token")
        assert 2 * S <= second.start_ns - first.end_ns <= 3 * S
