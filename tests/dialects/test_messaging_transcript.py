"""The guest half of messaging against every scene of its witness."""

from __future__ import annotations

import pytest

from harness.conformance.client_half import ClientPlayer
from harness.conformance.stage import Stage
from harness.conformance.transcript import scenes
from harness.core import ops
from harness.core.credentials import Secret
from harness.dialects.messaging import DIALECT, MessagingSession
from harness.dialects.messaging_frames import Guest
from tests.dialects.hand import S
from tests.dialects.scenes_alone import player

TARGET = {"queue_id": "queue-1"}
AWKWARD = {"client_id": "client/1", "client_secret": Secret("s:e+c%")}


def announce(guest: ClientPlayer) -> None:
    guest.behave(typing=1.0)
    guest.say("More.")


def session(guest: ClientPlayer) -> MessagingSession:
    assert isinstance(guest.session, MessagingSession)
    return guest.session


def elsewhere(guest: ClientPlayer) -> None:
    session(guest).conversation_id = "conv_unknown"


def somebody_else(guest: ClientPlayer) -> None:
    session(guest)._guest = Guest("guest_unknown", "conv", "t")


def oneself(guest: ClientPlayer) -> None:
    bound = guest.words.bound
    session(guest).conversation_id = bound["conversationId"]
    session(guest)._guest = Guest(bound["guestId"], bound["conversationId"], "t")


def new_token(guest: ClientPlayer) -> None:
    guest.words.bound.pop("token")


FIRST_LOOK = {"introspect": "always"}
STAGES = {
    "token, percent-encoded": Stage(target=AWKWARD),
    "token, no base64": Stage(target=AWKWARD, settings={"basic_base64": False}),
    "introspect": Stage(settings=FIRST_LOOK),
    "introspect, scope missing": Stage(after=("token",), settings=FIRST_LOOK),
    "introspect, inactive": Stage(after=("token",), given={"token": "EXPIRED"}, settings=FIRST_LOOK),
    "introspect refused": Stage(after=("token",), settings=FIRST_LOOK),
    "introspect limited": Stage(settings=FIRST_LOOK),
    "registration, skills": Stage(settings={"guest_name": "Test Guest", "email": "test@example.com"}, target={"skills": ("s1",)}),
    "registration, bad queue": Stage(target={"queue_id": "unknown"}),
    "registration, expired token": Stage(after=("token",), given={"token": "EXPIRED"}, before={3: new_token}),
    "upgrade refused": Stage(given={"webChatToken": "BAD"}),
    "upgrade, token used": Stage(begin=ClientPlayer.drop, settings={"register_anew": False}),
    "upgrade, token expired": Stage(begin=lambda guest: guest.run(61 * S)),
    "upgrade, no token": Stage(skip="no guest does that"),
    "upgrade, wrong host": Stage(skip="no guest does that"),
    "typing, guest": Stage(begin=announce),
    "typing limited": Stage(begin=announce),
    "wrong conversation": Stage(begin=elsewhere, before={1: oneself}),
    "wrong sender": Stage(begin=somebody_else, before={1: oneself}),
    "wrong conversation, acked": Stage(begin=elsewhere),
    "reconnect": Stage(only=(0, 1, 2, 3)),  # the new label's marker is another than the one written there
    "reconnect, token reused": Stage(settings={"register_anew": False}),
    "end, guest": Stage(begin=ClientPlayer.leave),
}
PLAYED = [scene for scene in scenes("messaging") if scene not in STAGES or not STAGES[scene].skip]


def played(scene: str) -> ClientPlayer:
    guest = player(DIALECT, STAGES, scene, TARGET, email="guest@example.com")
    guest.play()
    return guest


@pytest.mark.parametrize("scene", PLAYED)
def test_every_scene(scene: str) -> None:
    guest = played(scene)
    assert not any(note.startswith("violation") for note in guest.rows.notes())


@pytest.mark.parametrize(
    ("scene", "notes"),
    [
        ("token refused", {"auth.rejected", "start.failed"}),
        ("introspect, scope missing", {"scope.refused", "start.failed"}),
        ("introspect, inactive", {"auth.rejected", "start.failed"}),
        ("introspect refused", {"introspection.failed"}),
        ("upgrade refused", {"auth.rejected"}),
        ("upgrade, token used", {"token.reused"}),
        ("upgrade, token expired", {"token.expired"}),
        ("ack unexpected", {"ack.unexpected"}),
        ("odd frames", {"frame.unknown_type", "message.flawed"}),
        ("typing limited", {"typing.limited"}),
        ("reconnect, token reused", {"token.reused"}),
        ("end, agent", {"closed.by_server"}),
    ],
)
def test_what_a_scene_is_noted_as(scene: str, notes: set[str]) -> None:
    assert notes <= set(played(scene).rows.notes())


@pytest.mark.parametrize("scene", ["message before the ack", "typing before the ack", "metadata before the ack"])
def test_what_comes_between_is_no_ack(scene: str) -> None:
    guest = played(scene)
    assert {row.via for row in guest.rows.of(ops.Closed)} == {"ack"}
    assert len(guest.rows.samples("ack")) == len(guest.rows.of(ops.Invoked))


def test_a_limit_takes_the_place_of_an_ack() -> None:
    guest = played("limited")
    assert [(row.seq, row.outcome) for row in guest.rows.of(ops.Closed)][-3:] == [(3, "ok"), (4, "fail"), (5, "ok")]


def test_a_missing_ack() -> None:
    guest = played("ack missing")
    guest.run(11 * S)
    assert "ack.missing" in guest.rows.notes()
