"""The bench for webmessaging: its sockets and sessions, and a player of the transcript's scenes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from harness.conformance.bench import SECOND, Bench
from harness.conformance.witness import Witness, scenes
from harness.simulator.conversations import Conversation
from harness.simulator.dialects.webmessaging import Webmessaging
from harness.simulator.dialects.webmessaging_session import Session

DEPLOYMENT, TOKEN, ORIGIN = "d-1", "3f6c0a52-7d1e-4b39-9a58-0c1d2e3f4a5b", "https://shop.example"
HOST = "127.0.0.1:8080"
DAY_S = 86_400
SCENES = scenes("webmessaging")
GIVEN = {
    "deploymentId": DEPLOYMENT,
    "inactiveId": "d-off",
    "unknownId": "d-none",
    "origin": ORIGIN,
    "application": "tests-1.0",
    "token": TOKEN,
    "size": 7,
    "attachmentId": "0b2d4f66-1111-4222-8333-444455556666",
    "secondId": "0b2d4f66-1111-4222-8333-777788889999",
    "secondSize": 9,
    "big": "x" * 2048,
    "long": "y" * 4097,
    "longName": "z" * 1020 + ".png",
}
OWN = {"deployments": [DEPLOYMENT], "inactive": ["d-off"]}


class Desk(Bench):
    """A bench that serves webmessaging alone."""

    def __init__(self, own: Mapping[str, Any] | None = None, table: Mapping[str, Any] | None = None, *, seed: int = 1) -> None:
        super().__init__({**(table or {}), "webmessaging": {**(own or {})}}, seed=seed, dialects=("webmessaging",))
        found = self.engine.halves["webmessaging"]
        assert isinstance(found, Webmessaging)
        self.half = found

    def open(self, *, deployment: str = DEPLOYMENT, peer: str = "127.0.0.1:3000", **headers: str) -> int:
        """A WebSocket."""
        return self.socket(peer, path=f"/v1?deploymentId={deployment}", host=HOST, **{"origin": ORIGIN, **headers})

    def session(self, token: str = TOKEN, *, peer: str = "127.0.0.1:3000", **fields: Any) -> int:
        """A WebSocket with a session."""
        conn = self.open(peer=peer)
        self.configure(conn, token, **fields)
        return conn

    def configure(self, conn: int, token: str = TOKEN, **fields: Any) -> dict[str, Any]:
        """Configure a session; what was answered."""
        self.say(conn, **{"action": "configureSession", "deploymentId": DEPLOYMENT, "token": token, **fields})
        return self.last(conn)

    def ask(self, conn: int, action: str, token: str = TOKEN, **fields: Any) -> dict[str, Any]:
        """Any action; the newest frame after it."""
        before = len(self.pushed.get(conn, ()))
        self.say(conn, action=action, token=token, **fields)
        while len(self.pushed.get(conn, ())) == before and conn in self.engine.conns and self.waits():
            self.run(0.001)
        return self.last(conn)

    def waits(self) -> bool:
        """Is a message held back until its time has come?"""
        return any(conv.waiting for conv in self.engine.conversations.values() if conv.echo_due > self.now)

    def text(self, conn: int, seq: int, token: str = TOKEN, *, label: str = "1-1", **fields: Any) -> dict[str, Any]:
        """A guest's text."""
        message = {"type": "Text", "text": f"Hello [#run.{label}.g.{seq}]"}
        return self.ask(conn, "onMessage", token, tracingId=f"t{seq}", message=message, **fields)

    def messages(self, conn: int) -> list[dict[str, Any]]:
        """Bodies of the messages that were pushed."""
        return [frame["body"] for frame in self.frames(conn, "message") if frame["class"] == "StructuredMessage"]

    def classes(self, conn: int) -> list[str]:
        """Classes of all frames."""
        return [frame["class"] for frame in self.frames(conn)]

    def of(self, token: str = TOKEN) -> Session:
        """The session of a token."""
        found = self.half.sessions.find(token)
        assert found is not None
        return found

    def conv(self, token: str = TOKEN) -> Conversation:
        """The conversation that goes on in it, begun if there is none; the agent knows whom to answer."""
        conv = self.half.sessions.converse(self.now, self.half, self.of(token))
        if conv.stream is None:
            conv.stream = self.engine._join(conv, "run1.1-1")
        return conv

    def agent(self, answers: int = 0, token: str = TOKEN, **settings: Any) -> None:
        """Let the agent say something now; `settings` hold from now on."""
        sessions = self.half.sessions
        sessions._settings = replace(sessions._settings, **settings)
        self.engine.agent_says(self.now, self.conv(token), answers)
        self.tell()

    def jwt(self, conn: int, token: str = TOKEN) -> str:
        """A JWT for the history."""
        return str(self.ask(conn, "getJwt", token)["body"]["jwt"])

    def history(self, jwt: str, query: str = "") -> dict[str, Any]:
        """A page of the history."""
        number = self.request("GET", f"/api/v2/webmessaging/messages{query}", token=jwt)
        for _ in range(50):
            if number not in self.answers:
                self.run(0.001)  # until the times that it shows have come
        status, body = self.answer(number)
        assert status == 200, body
        return dict(body)

    def sign_in(self, deployment: str = DEPLOYMENT, code: str = "code-1") -> dict[str, Any]:
        """JWT and refresh token of somebody."""
        given = {"deploymentId": deployment, "oauth": {"code": code, "redirectUri": "https://x", "codeVerifier": "v"}}
        status, body = self.answer(self.request("POST", "/api/v2/webdeployments/token/oauthcodegrantjwtexchange", given))
        assert status == 200, body
        return dict(body)

    def upload(self, conn: int, fid: str, data: bytes = b"content", *, name: str = "photo.png") -> int:
        """Offer and upload a file; the number of the PUT."""
        asked = self.ask(conn, "onAttachment", attachmentId=fid, fileName=name, fileType="image/png", fileSize=len(data) or 1)[
            "body"
        ]
        path = asked["url"].partition(HOST)[2]
        number = self.request("PUT", path, data, content_type="image/png", x_amz_tagging=asked["headers"]["x-amz-tagging"])
        self.run(1)
        return number


Act = Callable[["Player"], object]


@dataclass(frozen=True)
class Stage:
    """What a scene needs that its lines do not say."""

    own: Mapping[str, Any] = field(default_factory=dict)
    table: Mapping[str, Any] = field(default_factory=dict)
    begin: Act | None = None
    before: Mapping[int, Act] = field(default_factory=dict)
    on: Mapping[int, int] = field(default_factory=dict)
    """Which connection (from 0) a line is on; else it is the newest."""


class Player:
    """Plays scenes against a desk."""

    def __init__(self, scene: str, stages: Mapping[str, Stage]) -> None:
        self.stages = stages
        playlist = [scene]
        while after := SCENES[playlist[0]][0].get("after"):
            playlist.insert(0, after)
        own, table = dict(OWN), {}
        for name in playlist:
            own |= self.stage(name).own
            table |= self.stage(name).table
        self.desk = Desk(own, table)
        self.witness = Witness(**GIVEN)
        self.conns: list[int] = []
        self.seen: dict[int, int] = {}
        self.refusal: Any = None
        self.request = 0
        self.playlist = playlist

    def stage(self, name: str) -> Stage:
        return self.stages.get(name, Stage())

    def play(self) -> None:
        """Play all, the scene last."""
        for name in self.playlist:
            stage = self.stage(name)
            if stage.begin:
                stage.begin(self)
            for number, line in enumerate(SCENES[name]):
                if number in stage.before:
                    stage.before[number](self)
                try:
                    getattr(self, f"_{line['from']}")(line, stage.on.get(number, -1))
                except (AssertionError, KeyError) as error:
                    raise AssertionError(f"scene {name!r}, line {number}: {error!r}") from error

    def _guest(self, line: dict[str, Any], on: int) -> None:
        desk, fill, kind = self.desk, self.witness.fill, line["kind"]
        headers = {name.replace("-", "_"): fill(value) for name, value in line.get("headers", {}).items()}
        if kind == "upgrade":
            number, self.refusal = desk.upgrade(fill(line["path"]), f"127.0.0.1:{4000 + len(self.conns)}", host=HOST, **headers)
            self.conns.append(number)
        elif kind == "frame":
            desk.say(self.conns[on], **fill(line["body"]))
        elif kind == "close":
            desk.leave(self.conns[on], line["code"])
        else:
            body = line["body"]
            data = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(fill(body)).encode()
            self.request = desk.request(line["method"], fill(line["path"]), data, host=HOST, **headers)
            self.refusal = None

    def _server(self, line: dict[str, Any], on: int) -> None:
        desk, kind = self.desk, line["kind"]
        if kind == "frame":
            conn = self.conns[on]
            at = self.seen.get(conn, 0)
            self._wait(lambda: len(desk.pushed.get(conn, ())) > at)
            frame = desk.pushed[conn][at]
            assert isinstance(frame, str)
            self.seen[conn] = at + 1
            self.witness.check(line["body"], json.loads(frame))
            self._sign()
        elif kind == "close":
            conn = self.conns[on]
            self._wait(lambda: conn in desk.ended)
            assert desk.ended[conn] == ("close", line["code"])
        else:
            answer = self.refusal or desk.answers[self.request]
            assert answer.status == line["status"], answer
            assert {name: answer.headers.get(name) for name in line["headers"]} == line["headers"]
            if isinstance(line["body"], str):
                assert answer.body == line["body"].encode()
            else:
                self.witness.check(line["body"], json.loads(answer.body) if answer.body else None)

    def _sign(self) -> None:
        """The signatures are in the URLs."""
        for url, name in (("uploadUrl", "signature"), ("downloadUrl", "downloadSignature")):
            if url in self.witness.names:
                self.witness.names[name] = self.witness.names[url].partition("signature=")[2]

    def _wait(self, done: Callable[[], bool]) -> None:
        end = self.desk.now + 30 * SECOND
        while not done():
            assert self.desk.now < end, "nothing comes"
            self.desk.run(0.25)
