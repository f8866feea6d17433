"""The webmessaging server against the literal transcript: every scene, by this half alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator.webmessaging_kit import DAY_S, DEPLOYMENT, GIVEN, SCENES, TOKEN, Desk, Player, Stage

LIFE_S = 3 * DAY_S


def offered(name: str) -> Stage:
    """The bot offers something to choose from."""
    return Stage({name: 1.0}, begin=lambda player: player.desk.agent())


def signed_in(player: Player) -> None:
    player.witness.names["authJwt"] = player.desk.sign_in()["jwt"]


def limited(endpoint: str, scope: str) -> dict[str, Any]:
    return {"limits": [{"endpoint": endpoint, "rate": "1/h", "burst": 1, "scope": scope, "retry_after": "2s"}]}


def ended_by_agent(player: Player) -> None:
    player.desk.engine.close(player.desk.now, player.desk.conv(), by="agent")


def expired_before(player: Player) -> None:
    conn = player.desk.session()
    player.desk.leave(conn)
    player.desk.run(LIFE_S + 1)


def second_file(player: Player) -> None:
    conn = player.conns[-1]
    player.desk.upload(conn, GIVEN["secondId"], b"nine byte")
    player.seen[conn] = len(player.desk.pushed[conn])


def late_file(player: Player) -> None:
    conn = player.conns[-1]
    player.desk.upload(conn, GIVEN["attachmentId"])
    player.desk.run(601)
    player.seen[conn] = len(player.desk.pushed[conn])


def offered_file(player: Player) -> None:
    conn = player.conns[-1]
    player.desk.ask(conn, "onAttachment", attachmentId=GIVEN["attachmentId"], fileName="a.png", fileType="image/png", fileSize=3)
    player.seen[conn] = len(player.desk.pushed[conn])


def spoken(player: Player) -> None:
    conn = player.conns[-1]
    player.desk.text(conn, 9)
    player.seen[conn] = len(player.desk.pushed[conn])


def revoked(player: Player) -> None:
    player.desk.request("DELETE", "/api/v2/webdeployments/token/revoke", token=player.witness.names["authJwt"])


STAGES = {
    "upgrade, bad origin": Stage({"allowed_domains": ["shop.example"]}),
    "upgrade, limited": Stage(table=limited("GET /v1", "deployment"), begin=lambda player: player.desk.open()),
    "authenticated": Stage(begin=signed_in),
    "authenticated, 401": Stage(begin=signed_in),
    "step-up": Stage(begin=signed_in, on={1: 0}),
    "message": Stage({"bot": 1.0}, before={3: lambda player: player.desk.agent(1, bot=0.0)}),
    "message, limited": Stage(table=limited("frame onMessage", "session"), begin=spoken),
    "quick reply": offered("quick_replies"),
    "card": offered("cards"),
    "carousel": offered("carousels"),
    "date picker": offered("date_pickers"),
    "list picker": offered("list_pickers"),
    "typing": Stage(before={2: lambda player: player.desk.half.typing(player.desk.now, player.desk.conv())}),
    "typing, refused": Stage({"user_typing": False}),
    "join": Stage({"bot": 1.0}, before={2: lambda player: player.desk.agent()}),
    "clear, refused": Stage({"clear": False}),
    "disconnect": Stage({"disconnect": "Send"}, begin=ended_by_agent),
    "disconnect, read-only": Stage({"disconnect": "ReadOnly"}, begin=ended_by_agent),
    "close session": Stage(on={1: 0}),
    "history, limited": Stage(
        table=limited("GET /api/v2/webmessaging/messages", "session"),
        begin=lambda player: player.desk.history(player.witness.names["jwt"]),
    ),
    "attachment only": Stage(begin=second_file),
    "attachment, upload failed": Stage({"upload_failures": 1.0}),
    "attachment, refused: uploads off": Stage({"attachments": False}),
    "attachment, refused: size": Stage({"refusal_shape": "message"}),
    "attachment, message refused: expired": Stage(begin=late_file),
    "attachment, message refused: not uploaded": Stage(begin=offered_file),
    "session, expired": Stage(begin=lambda player: player.desk.run(LIFE_S + 1)),
    "session, expired before": Stage(begin=expired_before),
    "connections, fourth": Stage(on={5: 0}),
    "logout": Stage(begin=revoked),
}


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_as_written(scene: str) -> None:
    Player(scene, STAGES).play()


def test_the_stages_are_of_scenes_that_exist() -> None:
    assert set(STAGES) <= set(SCENES)


def test_a_revoked_jwt_and_one_of_another_deployment() -> None:
    desk = Desk()
    jwt = desk.sign_in()["jwt"]
    other = desk.sign_in("d-2", "code-2")["jwt"]
    conn = desk.open()
    fields = {"deploymentId": DEPLOYMENT, "data": {"code": other}}
    answer = desk.ask(conn, "configureAuthenticatedSession", **fields)
    assert (answer["code"], answer["body"]) == (403, "Try to authenticate again")
    desk.request("DELETE", "/api/v2/webdeployments/token/revoke", token=jwt)
    answer = desk.ask(conn, "configureAuthenticatedSession", TOKEN, deploymentId=DEPLOYMENT, data={"code": jwt})
    assert (answer["code"], answer["body"]) == (403, "Session authentication failed")
