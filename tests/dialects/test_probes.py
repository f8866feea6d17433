"""What each dialect says can be limited: that its probes fit its own settings and frames, and read what a server answers."""

from __future__ import annotations

import dataclasses
import json
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from harness.core.credentials import Secret
from harness.core.pacing import Behaviour
from harness.core.probing import FrameProbe, HoldProbe, Probe, RequestProbe, UpgradeProbe, fresh, read_response
from harness.core.session import Target
from harness.core.wire import HttpRequest, HttpResponse
from harness.dialects.registry import all_dialects
from tests.dialects.hand import Rows, context

NAMES = sorted(name for name, dialect in all_dialects().items() if dialect.probes is not None)


def probe_of(dialect: str, endpoint: str, kind: type = object) -> Any:
    found = all_dialects()[dialect]
    assert found.probes is not None
    (one,) = [p for p in found.probes(found.settings()).probes if p.endpoint == endpoint and isinstance(p, kind)]
    return one


def test_every_dialect_that_ships_has_probes() -> None:
    assert set(NAMES) >= {"webchat", "engagements", "guests", "messaging", "longpoll", "webmessaging"}


@pytest.mark.parametrize("name", NAMES)
def test_probes_are_named_apart_and_their_settings_exist(name: str) -> None:
    dialect = all_dialects()[name]
    settings = dialect.settings()
    assert dialect.probes is not None
    found = dialect.probes(settings)
    names = [(one.endpoint, isinstance(one, HoldProbe)) for one in found.probes]
    assert len(set(names)) == len(names)
    dataclasses.replace(settings, **found.settings)
    for one in found.probes:
        if isinstance(one, HoldProbe):
            dataclasses.replace(settings, **{**found.settings, **one.settings})
    assert set(found.dimensions) <= {"credential", "address", "session", "deployment"}
    if dialect.transport == "websocket":
        assert any(isinstance(one, UpgradeProbe) for one in found.probes)
        assert any(isinstance(one, FrameProbe) for one in found.probes)


def unprepared() -> list[tuple[str, RequestProbe]]:
    found = []
    for name in NAMES:
        dialect = all_dialects()[name]
        assert dialect.probes is not None
        found += [
            (name, one) for one in dialect.probes(dialect.settings()).probes if isinstance(one, RequestProbe) and not one.prepared
        ]
    return found


@pytest.mark.parametrize(("name", "probe"), unprepared(), ids=lambda value: value if isinstance(value, str) else value.endpoint)
def test_what_needs_no_guest_is_formed_by_one_that_has_not_begun(name: str, probe: RequestProbe) -> None:
    dialect = all_dialects()[name]
    who: dict[str, Any] = {"client_id": "shop", "client_secret": Secret("hush"), "channel_id": "c"}
    session = dialect.session(context(Rows(), Behaviour(), **who), dialect.settings())
    made = [probe.form(session, {}, n) for n in (1, 2)]
    assert all(isinstance(one, HttpRequest) for one in made)
    first, second = made
    assert first is not None
    assert second is not None
    assert first.endpoint == probe.endpoint
    assert first.id != second.id
    assert dict(first.headers)["X-Request-Id"] == first.id
    assert "hush" not in repr(first)


def fake(dialect: str, **more: Any) -> Any:
    """As much of a session as reading and forming frames needs."""
    settings = all_dialects()[dialect].settings()
    target = Target(client_id="shop", client_secret=Secret("hush"), deployment_id="d-1")
    guest = SimpleNamespace(guest_id="guest-1")
    known = {"conversation_id": "conv", "_session": Secret("token"), "_guest": guest, "rng": Random(1)}
    return SimpleNamespace(settings=settings, context=SimpleNamespace(run="run1", slot=1, target=target), **{**known, **more})


def read(dialect: str, endpoint: str, frame: object) -> tuple[bool | None, str, int] | None:
    probe = probe_of(dialect, endpoint, FrameProbe)
    answer = probe.read(fake(dialect), frame if isinstance(frame, bytes | str) else json.dumps(frame))
    return None if answer is None else (answer.accepted, answer.retry_after, answer.n)


TRACE = "00000000-0000-4000-8000-000000000007"


@pytest.mark.parametrize(
    ("dialect", "endpoint", "frame", "said"),
    [
        (
            "webchat",
            "frame message",
            {"type": "message", "messageId": "run1-probe-7", "text": "Is anybody there?"},
            (True, "", 7),
        ),
        ("webchat", "frame message", {"type": "message", "messageId": "srv-7", "text": "Hello"}, None),
        ("webchat", "frame message", {"type": "message", "messageId": "run2-probe-7", "text": "x"}, None),
        (
            "webchat",
            "frame message",
            {"type": "error", "code": "RATE_LIMITED", "messageId": "run1-probe-7", "retryAfter": 2},
            (False, "2", 7),
        ),
        ("webchat", "frame typing", {"type": "error", "code": "RATE_LIMITED"}, (False, "", 0)),
        ("webchat", "frame typing", {"type": "typing", "from": {"id": "agent"}}, None),
        ("webchat", "frame routing", {"type": "conversation", "conversationId": "conv", "status": "queued"}, (True, "", 0)),
        ("engagements", "frame message", {"type": "error", "error": "rate_limited", "retryAfter": 1}, (False, "1", 0)),
        ("engagements", "frame message", {"type": "message", "content": "Hello"}, None),
        ("guests", "frame typing", {"type": "error", "payload": {"code": "rate_limited", "frame": "typing"}}, (False, "", 0)),
        ("messaging", "frame message", {"type": "ack", "messageId": "m-1"}, (True, "", 0)),
        ("messaging", "frame message", {"type": "error", "code": "RATE_LIMITED", "retryAfter": 3}, (False, "3", 0)),
        ("messaging", "frame message", {"type": "error", "code": "RATE_LIMITED", "frame": "typing"}, None),
        ("messaging", "frame message", {"type": "error", "code": "SOMETHING", "frame": "message"}, (None, "", 0)),
        ("messaging", "frame typing", {"type": "error", "code": "RATE_LIMITED", "frame": "typing"}, (False, "", 0)),
        (
            "webmessaging",
            "frame onMessage",
            {"type": "response", "class": "TooManyRequestsErrorMessage", "body": {"retryAfter": 3}, "tracingId": TRACE},
            (False, "3", 7),
        ),
        (
            "webmessaging",
            "frame getJwt",
            {"type": "response", "class": "JwtResponse", "code": 200, "body": {"jwt": "a.b.c", "exp": 1}, "tracingId": TRACE},
            (True, "", 7),
        ),
        (
            "webmessaging",
            "frame getJwt",
            {"type": "response", "class": "string", "code": 4007, "body": "no session", "tracingId": TRACE},
            (None, "", 7),
        ),
    ],
)
def test_a_frame_says_what_became_of_a_probe(dialect: str, endpoint: str, frame: object, said: object) -> None:
    assert read(dialect, endpoint, frame) == said


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("data", ["", "{", "[]", "null", '{"type":7}', b"\x00\xff", '{"type":"error","code":[]}'])
def test_whatever_a_server_sends_nothing_raises(name: str, data: str | bytes) -> None:
    dialect = all_dialects()[name]
    assert dialect.probes is not None
    for probe in dialect.probes(dialect.settings()).probes:
        if isinstance(probe, FrameProbe):
            answer = probe.read(fake(name), data)
            assert answer is None or answer.accepted is not True


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_json_objects(name: str) -> None:
    dialect = all_dialects()[name]
    assert dialect.probes is not None
    frames: list[Probe] = [probe for probe in dialect.probes(dialect.settings()).probes if isinstance(probe, FrameProbe)]
    for probe in frames:
        assert isinstance(probe, FrameProbe)
        assert isinstance(json.loads(probe.form(fake(name), 7)), dict)


@pytest.mark.parametrize(
    ("status", "passes", "accepted"),
    [
        (200, (), True),
        (101, (), True),
        (429, (), False),
        (500, (), None),
        (403, (), None),
        (403, (403,), True),
        (429, (429,), False),
    ],
)
def test_a_status_says_whether_a_limit_let_it_through(status: int, passes: tuple[int, ...], accepted: bool | None) -> None:
    answer = read_response(HttpResponse(status, {"retry-after": "4"}, b""), frozenset(passes))
    assert (answer.accepted, answer.status, answer.retry_after) == (accepted, status, "4")


def test_a_repeated_request_keeps_all_but_its_id() -> None:
    made = HttpRequest("a", "POST /x", "api", "POST", "/x", [("X-Request-Id", "a"), ("B", "c")], b"body", 5)
    again = fresh(fake("webchat"), made, 3)
    assert again.id != "a"
    assert dict(again.headers) == {"X-Request-Id": again.id, "B": "c"}
    assert (again.path, again.body, again.endpoint) == ("/x", b"body", "POST /x")
