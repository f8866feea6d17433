"""The guest half of engagements against every scene of its witness."""

from __future__ import annotations

import pytest

from harness.conformance.client_half import ClientPlayer
from harness.conformance.stage import Stage
from harness.conformance.transcript import scenes
from harness.core import ops
from harness.core.spread import seconds
from harness.dialects.engagements import DIALECT
from tests.dialects.hand import S
from tests.dialects.scenes_alone import player

TARGET = {"client_id": "your-public-client-id", "channel_id": "your-web-messaging-channel-id"}


def announce(guest: ClientPlayer) -> None:
    guest.behave(typing=1.0)
    guest.say("More.")


def three_earlier(guest: ClientPlayer) -> None:
    for _ in range(3):
        guest.say("x")
    guest.sent.clear()


def cut_off(guest: ClientPlayer) -> None:
    guest.run(6 * S)
    guest.drop()


STAGES = {
    "token, other metadata": Stage(
        settings={"display_name": "Demo User", "email": ""}, target={"attributes": {"customField1": "Demo Value"}}
    ),
    "upgrade refused": Stage(after=("token",), given={"guestToken": "BAD"}),
    "upgrade closed": Stage(after=("token",), given={"guestToken": "BAD"}),
    "typing, guest": Stage(begin=announce),
    "typing limited": Stage(begin=announce),
    "lost silently": Stage(begin=three_earlier, only=(4, 5)),  # the rest is what no guest sends
    "renewal": Stage(begin=lambda guest: guest.run(1000 * S)),
    "reconnect, expired": Stage(after=("token", "message"), begin=cut_off),
    "end, guest": Stage(begin=ClientPlayer.leave),
    "end, guest waits": Stage(begin=ClientPlayer.leave, settings={"end_wait": seconds(8), "end_reason": "Demo Complete"}),
}


def played(scene: str) -> ClientPlayer:
    guest = player(DIALECT, STAGES, scene, TARGET, display_name="John Doe", email="john.doe@example.com")
    guest.play()
    return guest


@pytest.mark.parametrize("scene", scenes("engagements"))
def test_every_scene(scene: str) -> None:
    guest = played(scene)
    assert not any(note.startswith("violation") for note in guest.rows.notes())


@pytest.mark.parametrize(
    ("scene", "notes"),
    [
        ("token refused", {"auth.rejected", "start.failed"}),
        ("token, no scope", {"scope.refused", "start.failed"}),
        ("upgrade refused", {"auth.rejected", "start.failed"}),
        ("upgrade closed", {"auth.rejected", "closed.early", "start.failed"}),
        ("JSON, no card", {"message.unmarked"}),
        ("fields missing", {"message.flawed"}),
        ("unknown type", {"frame.unknown_type"}),
        ("error, message only", {"error.frame"}),
        ("typing limited", {"typing.limited"}),
        ("expiry", {"token.expired"}),
        ("end, agent", {"closed.by_server"}),
    ],
)
def test_what_a_scene_is_noted_as(scene: str, notes: set[str]) -> None:
    assert notes <= set(played(scene).rows.notes())


@pytest.mark.parametrize("scene", ["card as string", "card as object", "body for content", "fields missing"])
def test_a_marker_is_found_wherever_the_text_is(scene: str) -> None:
    assert played(scene).rows.of(ops.Arrived)[-1].seq == 2
