"""The guest half alone against a transcript: each guest line is what the session does, each server line is what it meets."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from harness.conformance.hand import Hand, Rows, S, context
from harness.conformance.stage import Line, NonConformance, Script
from harness.conformance.subject import Subject
from harness.conformance.transcript import Transcript
from harness.core.credentials import Secret
from harness.core.pacing import Behaviour
from harness.core.spread import fixed, seconds

RUN = "run1"
QUIET = Behaviour(
    think_time=fixed(3600.0),
    typing=0.0,
    attachments=0.0,
    reload=0.0,
    session_length=fixed(36_000.0),
    reply_timeout=seconds(3600),
    conversations=1,
)
"""A guest that does nothing unasked."""
_PATIENCE = 900 * S
_GUEST = f" [#{RUN}."

T = TypeVar("T")


class ClientPlayer(Hand):
    """One life of a guest, and the scenes it goes through."""

    def __init__(self, subject: Subject, script: Script, scene: str) -> None:
        stage = script.stage(scene)
        rows = Rows()
        target = {"client_secret": Secret("YOUR_APP_SECRET"), **subject.target, **stage.target}
        session = subject.dialect.session(
            context(rows, replace(QUIET, **stage.behaviour), **target), subject.made_settings(**stage.settings)
        )
        session.scripted = stage.free
        super().__init__(session, rows)
        self.script, self.scene = script, scene
        self.words = Transcript(dict(stage.given))
        self.conn = 0
        """The socket that the lines speak of: the newest."""
        self.asked = ""
        """Number of the request that the next answer is for."""

    # ------------------------------------------------------------ for stages
    def say(self, text: str) -> None:
        """The guest says something of its own accord."""
        self.do(lambda now: self.session.say(now, text))

    def leave(self) -> None:
        """The guest is told to end."""
        self.do(self.session.close)

    def behave(self, **changes: Any) -> None:
        """From now on the guest behaves otherwise."""
        self.session.behaviour = replace(self.session.behaviour, **changes)

    def drop(self, cause: str = "connection_reset") -> None:
        """The network ends the socket."""
        self.end(self.conn, 0, cause)

    # ------------------------------------------------------------ playing
    def play(self) -> None:
        """Play what comes before the scene, then the scene."""
        if prepare := self.script.stage(self.scene).prepare:
            prepare(self)
        self.do(self.session.start)
        for name in self.script.playlist(self.scene):
            self._scene(name)

    def _scene(self, name: str) -> None:
        stage = self.script.stage(name)
        for word in stage.forget:
            self.words.bound.pop(word, None)
        if stage.begin:
            stage.begin(self)
        lines = self.script.lines(name)
        for place, (number, line) in enumerate(lines):
            if number in stage.before:
                stage.before[number](self)
            try:
                if line["from"] == "guest":
                    self._guest(line, lines[place + 1][1] if place + 1 < len(lines) else None)
                else:
                    self._server(line)
            except AssertionError as error:
                raise NonConformance(f"scene {name!r}, line {number} ({line['from']} {line['kind']}): {error}") from error

    def _guest(self, line: Line, following: Line | None) -> None:
        kind = line["kind"]
        self._prompt(line)
        if kind == "http":
            request = self._found(self.requests, lambda one: self.words.check_http(line, one))
            self.asked = request.id
        elif kind == "upgrade":
            asked = self._found(self.opens, lambda one: self.words.check_upgrade(line, one))
            if following is None or (following["from"], following["kind"]) != ("server", "upgrade"):
                self._accept(asked.conn)
        elif kind == "frame":
            text = self._waited(lambda: [text for conn, text in self.sent if conn == self.conn])[0]
            self.sent.remove((self.conn, text))
            self.words.check_frame(line, text)
        elif kind == "close":
            close = self._waited(lambda: [one for one in self.closes if one.conn == self.conn])[0]
            assert close.code == line["code"], f"closed by {close.code}"
        else:
            raise NonConformance(f"a guest has no {kind}")

    def _server(self, line: Line) -> None:
        kind = line["kind"]
        if kind == "http":
            request = next((one for one in self.requests if one.id == self.asked), None)
            assert request is not None, "there is no request that this could answer"
            self.requests.remove(request)
            response = self.words.response(line)
            self.do(lambda now: self.session.on_http(now, request, response))
        elif kind == "upgrade":
            if line["status"] == 101:
                self._accept(self.opens[0].conn)
            else:
                self.refuse(response=self.words.response(line))
        elif kind == "frame":
            self.push(self.conn, self.words.frame(line))
        elif kind == "close":
            self.end(self.conn, line["code"])
        elif kind == "cut":
            self.drop()
        else:
            raise NonConformance(f"a server has no {kind}")

    def _accept(self, conn: int) -> None:
        while self.opens[0].conn != conn:
            self.opens.append(self.opens.pop(0))
        self.conn = self.open()

    def _prompt(self, line: Line) -> None:
        """Where the line holds a message of the guest's that nobody has said yet, let the guest say it."""
        text = _marked(line.get("body"))
        said = [sent for conn, sent in self.sent if conn == self.conn] + [
            one.body.decode("utf-8", "replace") for one in self.requests
        ]
        if text is not None and not any(_GUEST in one for one in said):
            self.say(text)

    def _waited(self, look: Callable[[], list[T]]) -> list[T]:
        """What is there, or comes once time has passed."""
        until = self.now + _PATIENCE
        while not (found := look()):
            at = self.session.next_deadline()
            if at is None or at > until:
                raise NonConformance(f"the guest does nothing of the kind; its state is {self.session.state!r}")
            self.next_timer()
        return found

    def _found(self, asked: list[T], check: Callable[[T], None]) -> T:
        """The one that fits among those that wait for an answer; it stays there until it is answered."""
        trouble = ""
        until = self.now + _PATIENCE
        while True:
            for one in list(asked):
                bound = dict(self.words.bound)
                try:
                    check(one)
                except (AssertionError, ValueError) as error:
                    self.words.bound = bound
                    trouble = str(error)
                else:
                    return one
            at = self.session.next_deadline()
            if at is None or at > until:
                raise NonConformance(trouble or f"nothing is asked for; the guest's state is {self.session.state!r}")
            self.next_timer()


def _marked(body: Any) -> str | None:
    """The text before a guest's marker, anywhere in a body."""
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    at = text.find(_GUEST)
    if at < 0 or ".g." not in text[at:].partition("]")[0]:
        return None
    return text[text.rfind('"', 0, at) + 1 : at]
