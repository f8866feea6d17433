"""Things that should not come: junk, and lines of the transcript bent out of shape, for either half and at any moment.

A seed makes a list of them (`rude`); `strategies.py` makes the same from Hypothesis, which is then able to shrink it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit

from harness.conformance.runner import Outcome, Plan, run
from harness.conformance.subject import Subject
from harness.conformance.transcript import scenes
from harness.conformance.world import SECOND, Guest, World
from harness.core.wire import HttpFailure, HttpResponse

TO_GUEST, TO_SERVER, ANSWER, CLOSE, REQUEST, UPGRADE = "frame to guest", "frame to server", "answer", "close", "request", "upgrade"
KINDS = (TO_GUEST, TO_SERVER, ANSWER, CLOSE, REQUEST, UPGRADE)
CODES = (0, 999, 1000, 1001, 1002, 1006, 1008, 1011, 1012, 1013, 3000, 4000, 4001, 4999, 5000, 65535)
STATUSES = (100, 200, 201, 204, 301, 302, 400, 401, 403, 404, 409, 413, 415, 418, 429, 500, 502, 503, 504, 599, 999)
RETRY_AFTER = ("", "0", "2", "-1", "9999999999", "soon", "Wed, 21 Oct 2015 07:28:00 GMT", "\u0664")
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1e308, 2**63, -(2**70), "", "\u0000", "\ud800", "x" * 5000, [], {}, [[]], {"": None},
    "[#soak.1-1.a.1 re 1]", "[#soak.1-1.a.99999999999999999999]", "1970-01-01T00:00:00.000Z", "9999-99-99T99:99:99.999Z",
)  # fmt: skip
RAW: tuple[str | bytes, ...] = (
    "", "{", "[]", "null", "0", '"', "{}", '{"type":', '{"type":null}', "\ufeff{}", "[" * 5000, '{"a":' * 500 + "1" + "}" * 500,
    b"", b"\x00", b"\xff\xfe", b"{}", b"\x80" * 300,
)  # fmt: skip


@dataclass(frozen=True)
class Injection:
    """One thing that happens `at` so many virtual seconds."""

    at: float
    kind: str
    data: Any = ""
    """Text or bytes; for `answer` and `request` the body."""
    number: int = 0
    """Chooses the guest, and the status, code or route."""


class Vocabulary:
    """What the two halves say to each other, as a source of things that look right and are not."""

    def __init__(self, one: Subject) -> None:
        lines = [line for scene in scenes(one.transcript).values() for line in scene]
        self.bodies = [line["body"] for line in lines if isinstance(line.get("body"), dict | list)]
        self.requests = sorted({(line["method"], line["path"]) for line in lines if line["kind"] == "http" and "method" in line})
        self.upgrades = sorted({line["path"] for line in lines if line["kind"] == "upgrade" and "path" in line})
        self.names: list[str] = sorted(set(_names(self.bodies)))
        self.words: list[Any] = sorted(set(_words(self.bodies)))

    def bent(self, rng: Random) -> Any:
        """A body of the transcript with something wrong about it."""
        return self._bend(rng.choice(self.bodies), rng) if self.bodies else rng.choice(ODD)

    def _bend(self, value: Any, rng: Random) -> Any:
        if rng.random() < 0.12:
            return rng.choice(ODD) if rng.random() < 0.6 or not self.words else rng.choice(self.words)
        if isinstance(value, dict):
            bent = {name: self._bend(inner, rng) for name, inner in value.items() if rng.random() > 0.08}
            if self.names and rng.random() < 0.2:
                bent[rng.choice(self.names)] = rng.choice(ODD)
            return bent
        if isinstance(value, list):
            return [self._bend(inner, rng) for inner in value for _ in range(rng.choice((0, 1, 1, 1, 2)))]
        return value

    def payload(self, rng: Random) -> str | bytes:
        """Anything at all, most often nearly right."""
        roll = rng.random()
        if roll < 0.15:
            return rng.choice(RAW)
        if roll < 0.25:
            return rng.randbytes(rng.randrange(200))
        text = json.dumps(self.bent(rng))
        if roll < 0.35:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + rng.choice(("", '"', "}", "\u0000", "\U0001f600")) + text[at + rng.randrange(4) :]
        return text


def rude(words: Vocabulary, rng: Random, seconds: float, count: int) -> list[Injection]:
    """So many of them within so many seconds."""
    return [Injection(rng.random() * seconds, rng.choice(KINDS), words.payload(rng), rng.randrange(1 << 16)) for _ in range(count)]


def inject(world: World, words: Vocabulary, injections: Iterable[Injection]) -> None:
    """Have them happen."""
    for one in injections:
        world.at(world.now + round(one.at * SECOND), lambda now, one=one: _happen(world, words, one, now))  # type: ignore[misc]


def survive(
    one: Subject, injections: Iterable[Injection], folder: Any, *, words: Vocabulary, seed: int = 1, **plan: Any
) -> Outcome:
    """Run guests and engine through the injections; raises if either half does or if the books do not balance."""

    def tamper(world: World, *_: Any) -> None:
        inject(world, words, injections)

    given = {"guests": 3, "seconds": 120.0, "ramp": 5.0, "loss_wait": 5.0, "strict": True, **plan}
    return run(Plan(subjects=(one,), seed=seed, compare=False, tamper=tamper, **given), folder)


# ---------------------------------------------------------------- what happens
def _happen(world: World, words: Vocabulary, one: Injection, now: int) -> None:
    guest = world.guests[one.number % len(world.guests)]
    _ACTS[one.kind](world, words, one, guest, now)


def _to_guest(world: World, _: Vocabulary, one: Injection, guest: Guest, now: int) -> None:  # noqa: ARG001
    for socket in list(guest.sockets.values()):
        world.frame_to_guest(socket, one.data)


def _to_server(world: World, _: Vocabulary, one: Injection, guest: Guest, now: int) -> None:
    for socket in list(guest.sockets.values()):
        if not socket.server_over:
            world.engine.on_frame(now, socket.handle, one.data)
            world.watch_engine()


def _answer(world: World, _: Vocabulary, one: Injection, guest: Guest, now: int) -> None:  # noqa: ARG001
    body = one.data if isinstance(one.data, bytes) else one.data.encode("utf-8", "surrogatepass")

    def spoil(response: HttpResponse) -> HttpResponse | HttpFailure:
        number = one.number
        if number % 7 == 0:
            return HttpFailure(("timeout", "connection_reset", "connection_closed", "write_failed")[number % 4], bool(number & 8))
        headers = {"retry-after": RETRY_AFTER[number % len(RETRY_AFTER)]}
        return HttpResponse(response.status if number % 3 else STATUSES[number % len(STATUSES)], headers, body)

    world.spoil = spoil


def _close(world: World, _: Vocabulary, one: Injection, guest: Guest, now: int) -> None:  # noqa: ARG001
    for socket in list(guest.sockets.values()):
        if one.number % 5:
            world.close(socket.handle, CODES[one.number % len(CODES)], "")
        else:
            world.reset(socket.handle)


def _request(world: World, words: Vocabulary, one: Injection, _: Guest, now: int) -> None:
    if not words.requests:
        return
    rng = Random(one.number)
    method, path = words.requests[one.number % len(words.requests)]
    body = one.data if isinstance(one.data, bytes) else one.data.encode("utf-8", "surrogatepass")
    if rng.random() < 0.3:
        parts = urlsplit(path)
        path = f"{parts.path}?{quote(body[:60])}={rng.randrange(9)}&{parts.query[: rng.randrange(40)]}"
    path = path.replace("<", "").replace(">", "") if rng.random() < 0.5 else quote(path, safe="/?=&")
    kinds = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=XyZ", "", "\u00e9")
    headers = {
        "content-type": rng.choice(kinds),
        "authorization": rng.choice(("", "Bearer", "Bearer x", "Basic !!!", "Basic Og==")),
    }
    handle = world.new_handle()
    world.ghosts.add(handle)
    world.engine.on_request(now, handle, world.new_address(), method, path, headers, body)
    world.watch_engine()


def _upgrade(world: World, words: Vocabulary, one: Injection, _: Guest, now: int) -> None:
    if not words.upgrades:
        return
    path = words.upgrades[one.number % len(words.upgrades)]
    path = path.replace("<", "").replace(">", "") if one.number & 16 else quote(path, safe="/?=&")
    handle = world.new_handle()
    world.ghosts.add(handle)
    if world.engine.on_upgrade(now, handle, world.new_address(), path, {}) is None:
        world.engine.on_frame(now, handle, one.data)

        def gone(at: int) -> None:
            if handle in world.ghosts:
                world.ghosts.discard(handle)
                world.engine.on_socket_closed(at, handle, "guest", CODES[one.number % len(CODES)])
                world.watch_engine()

        world.at(now + one.number % 20 * SECOND, gone)
    world.watch_engine()


_ACTS = {TO_GUEST: _to_guest, TO_SERVER: _to_server, ANSWER: _answer, CLOSE: _close, REQUEST: _request, UPGRADE: _upgrade}


def _names(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _words(value: Any) -> Iterable[str]:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _words(inner)
    elif isinstance(value, str) and "<" not in value:
        yield value
