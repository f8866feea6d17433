"""The server half alone against a transcript: each guest line goes in, each server line is what comes out."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from harness.conformance.bench import SECRET, Bench
from harness.conformance.runner import serve
from harness.conformance.stage import Line, NonConformance, Script
from harness.conformance.subject import Subject
from harness.conformance.witness import Witness

CLIENT_ID = "guestswarm"
_BOUNDARY = "XyZ"
_PATIENCE_S = 90.0
_STEP_S = 0.5


class ServerPlayer:
    """One life of a server, and the scenes it goes through."""

    def __init__(self, subject: Subject, script: Script, scene: str) -> None:
        assert subject.half is not None, f"{subject.name} has no server half"
        stage = script.stage(scene)
        self.bench = Bench({**subject.simulator, **stage.table}, dialects=(subject.name,))
        serve(self.bench.engine, (subject,))
        self.script, self.scene = script, scene
        basic = b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        self.witness = Witness(**{"basic": basic, **stage.given})
        self.conn = self.request = 0
        self.refusal: Any = None
        self.seen: dict[int, int] = {}
        self.line: Line = {}

    # ------------------------------------------------------------ playing
    def play(self) -> None:
        """Play what comes before the scene, then the scene."""
        if prepare := self.script.stage(self.scene).prepare:
            prepare(self)
        for name in self.script.playlist(self.scene):
            self.play_scene(name)

    def play_scene(self, name: str) -> None:
        """Play one scene."""
        stage = self.script.stage(name)
        for word in stage.forget:
            self.witness.names.pop(word, None)
        if stage.begin:
            stage.begin(self)
        for number, line in self.script.lines(name):
            if number in stage.before:
                stage.before[number](self)
            try:
                self.guest(line) if line["from"] == "guest" else self._server(line, name)
            except (AssertionError, KeyError) as error:
                raise NonConformance(f"scene {name!r}, line {number} ({line['from']} {line['kind']}): {error!r}") from error

    def guest(self, line: Line) -> None:
        """Do what a guest's line says."""
        bench, fill, kind = self.bench, self.witness.fill, line["kind"]
        if kind == "upgrade":
            headers = {name.replace("-", "_"): fill(value) for name, value in line.get("headers", {}).items()}
            self.conn, self.refusal = bench.upgrade(fill(line["path"]), f"127.0.0.1:{4000 + self.conn}", **headers)
        elif kind == "frame":
            bench.frame(self.conn, json.dumps(fill(line["body"])))
        elif kind == "close":
            bench.leave(self.conn, line["code"])
        else:
            self.line = line
            headers = {name.replace("-", "_"): fill(value) for name, value in line.get("headers", {}).items()}
            body = line["body"]
            if isinstance(body, str) and body.startswith("<multipart "):
                words = dict(word.split("=") for word in body.strip("<>").split()[1:])
                body, headers["content_type"] = _part(**words), f"multipart/form-data; boundary={_BOUNDARY}"
            elif isinstance(body, str):
                body = fill(body.replace("YOUR_APP_ID", CLIENT_ID).replace("YOUR_APP_SECRET", SECRET)).encode()
            else:
                body = b"" if body is None else fill(body)
            self.request = bench.request(line["method"], fill(line["path"]), body, **headers)

    def _server(self, line: Line, scene: str) -> None:
        bench, kind = self.bench, line["kind"]
        if kind == "frame":
            at = self.seen.get(self.conn, 0)
            self._wait(lambda: len(bench.pushed.get(self.conn, ())) > at, "no frame comes")
            self.seen[self.conn] = at + 1
            self.witness.check(line["body"], json.loads(bench.pushed[self.conn][at]))
        elif kind in ("close", "cut"):
            self._wait(lambda: self.conn in bench.ended, "the socket stays open")
            how = ("close", line["code"]) if kind == "close" else ("reset", 0)
            assert bench.ended[self.conn] == how, f"ended by {bench.ended[self.conn]}"
        elif kind == "upgrade":
            status = 101 if self.refusal is None else self.refusal.status
            assert status == line["status"], f"the upgrade is answered {status}"
            if self.refusal is not None and line.get("body") is not None:
                self.witness.check(line["body"], json.loads(self.refusal.body))
        else:
            self._wait(lambda: self.request in bench.answers, "no answer comes")
            answer = bench.answers[self.request]
            assert answer.status == line["status"], f"answered {answer.status} {answer.body[:200]!r}"
            have = {name: answer.headers.get(name) for name in line["headers"]}
            self.witness.check(line["headers"], have, "headers")
            gather = self.script.stage(scene).gather
            got = json.loads(answer.body) if answer.body else None
            self.witness.check(line["body"], gather(self, line, got) if gather else got)

    def _wait(self, done: Any, trouble: str) -> None:
        left = _PATIENCE_S
        while not done():
            assert left > 0, trouble
            self.bench.run(_STEP_S)
            left -= _STEP_S


def _part(field: str, filename: str, type: str) -> bytes:  # noqa: A002
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{filename}"\r\nContent-Type: {type}'
    return f"{head}\r\n\r\n%PDF-1\r\n--{_BOUNDARY}--\r\n".encode()
