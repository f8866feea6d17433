"""Whatever comes in whatever order: an engagements guest never raises, keeps its books, and finishes when it is told to."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.events import Delivered
from harness.core.marker import read_marker
from harness.core.pacing import Behaviour
from harness.core.spread import seconds
from harness.core.stamps import show_iso
from harness.core.wire import HttpRequest
from harness.dialects.engagements import DIALECT
from harness.dialects.engagements_frames import decode, decode_message, decode_registration
from harness.dialects.engagements_settings import EngagementsSettings
from tests.dialects.hand import START, WALL, S
from tests.dialects.wild import JSON, PLANNED, STEPS, THINK, Wild

FAULTS = [(), *[(name,) for name in DIALECT.client_faults if name != "no_backoff"]]


def good(request: HttpRequest, number: int) -> Any:
    expires = show_iso(START + WALL + (number * 5 % 400) * S)
    return {"guestToken": f"secret-{number}", "sessionId": f"s-{number}", "expiresAt": expires if number % 5 else "soon"}


def frames(label: str, number: int) -> list[Any]:
    text = f"Hello [#run1.{label}.a.{number} re {number % 9 + 1}]"
    message = {"type": "message", "id": f"msg_{number}", "from": "agent", "timestamp": "2023-10-27T10:00:00Z"}
    return [
        {**message, "content": text},
        {**message, "content": {"type": "card", "text": text}},
        {**message, "content": json.dumps({"type": "card", "text": text})},
        {"type": "message", "body": text},
        {"type": "typing"},
        {"type": "error", "error": "rate_limited", "frame": ["message", "typing"][number % 2], "retryAfter": number % 4},
        {**message, "content": text},
        {"type": "error", "error": "token_expired"} if number % 4 == 0 else {"type": "error", "message": "?"},
        {"type": "sessionEnded", "reason": "x"} if number % 4 == 0 else {"type": "presence"},
    ]


def wild(behaviour: Behaviour, seed: int, **changes: Any) -> Wild:
    made = DIALECT.settings_with(EngagementsSettings(reconnect_attempts=seed % 6, **changes), FAULTS[seed % len(FAULTS)])
    return Wild(DIALECT, made, behaviour, str(seed), good, frames)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=120)
@given(STEPS, st.sampled_from([THINK, PLANNED]), st.integers(0, 29), st.integers(0, 60), st.sampled_from([0, 8]))
def test_any_order_of_events(steps: list[Any], behaviour: Behaviour, answers: int, seed: int, end_wait: int) -> None:
    guest = wild(behaviour, seed, end_wait=seconds(end_wait))
    guest.start()
    for step in steps:
        if guest.finished:
            break
        guest.step(*step)
    guest.wind_up(answers)
    guest.check_books()


@pytest.mark.parametrize("seed", range(40))
def test_long_walks(seed: int) -> None:
    guest = wild(THINK if seed % 2 else PLANNED, seed)
    guest.start()
    guest.walk(Random(f"walk/{seed}"), 1500)
    guest.wind_up(seed)
    guest.check_books()
    assert seed % 6 == 0 or any(row[1] == "ok" for row in guest.books.closed.items()), "else nothing was walked through"


KINDS = st.sampled_from(["message", "typing", "sessionEnded", "error", "?"])
FIELDS = st.sampled_from(
    ["content", "body", "id", "from", "timestamp", "metadata", "reason", "error", "message", "frame", "retryAfter"]
)
WORDS = st.sampled_from(["rate_limited", "token_expired", "message", '{"type": "card", "text": 7}', '{"type": "card"'])
FRAMES = st.builds(lambda kind, rest: {**rest, "type": kind}, KINDS, st.dictionaries(FIELDS, JSON | WORDS, max_size=6))


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_the_decoders_survive_any_bytes(data: bytes | str) -> None:
    assert isinstance(decode(data, 1000), msgspec.Struct)
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    decode_registration(raw), decode_message(raw)


@given(FRAMES | JSON)
def test_the_decoders_survive_any_json(value: Any) -> None:
    event = decode(json.dumps(value), 100_000)
    assert isinstance(event, msgspec.Struct)
    if isinstance(event, Delivered):
        read_marker(event.text)
    raw = json.dumps({"guestToken": value, "sessionId": value, "expiresAt": value}).encode()
    decode_registration(raw), decode_message(raw)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(FRAMES | JSON, max_size=30))
def test_a_chatting_guest_survives_any_frames(given_frames: list[Any]) -> None:
    guest = wild(THINK, 0)
    guest.start()
    guest.http(6)
    guest.upgrade(2)
    assert guest.session.state == "chatting"
    for frame in given_frames:
        guest.push(1, json.dumps(frame))
    guest.wind_up(0)
    guest.check_books()
