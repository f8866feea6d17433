"""Whatever comes in whatever order: a messaging guest never raises, keeps its books, and finishes when it is told to."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.guest import Op
from harness.core.oauth import decode_grant
from harness.core.pacing import Behaviour
from harness.core.spread import seconds
from harness.core.wire import HttpRequest
from harness.dialects.messaging import DIALECT
from harness.dialects.messaging_acks import Acks
from harness.dialects.messaging_frames import decode, decode_code, decode_guest, decode_rights
from harness.dialects.messaging_settings import MessagingSettings
from tests.dialects.wild import JSON, PLANNED, STEPS, THINK, Wild

FAULTS = [(), *[(name,) for name in DIALECT.client_faults if name != "no_backoff"]]


def good(request: HttpRequest, number: int) -> Any:
    if request.path == "/oauth/token":
        return {"access_token": f"secret-{number}", "expires_in": [3600, 30, 2, "x", None, 0][number % 6]}
    if request.path == "/oauth/introspect":
        scope = "webchat:guest:read webchat:guest:write webchat:guest:send" if number % 3 else "webchat:guest:read"
        return {"active": number % 5 > 0, "scope": scope}
    return {"id": f"guest-{number}", "conversationId": f"conv-{number}", "webChatToken": f"secret-{number}"}


def frames(label: str, number: int) -> list[Any]:
    text = f"Hello [#run1.{label}.a.{number} re {number % 9 + 1}]"
    return [
        {"type": "ack", "messageId": f"msg_{number}"},
        {"type": "message", "senderId": "agent-1", "text": text},
        {"type": "ack", "messageId": f"msg_{number}"},
        {"type": "typing", "senderId": "agent-1"},
        {"type": "error", "code": "RATE_LIMITED", "frame": ["message", "typing"][number % 2], "retryAfter": number % 4},
        {"type": "message", "text": text},
        {"type": "conversationMetadata", "event": ["closed", "agentJoined", "agentJoined", "?", "agentJoined"][number % 5]},
        {"type": "error", "code": "X", "frame": ["message", 7][number % 2]},
    ]


def wild(behaviour: Behaviour, seed: int) -> Wild:
    look: Any = ["never", "on_refusal", "always"][seed % 3]
    made = MessagingSettings(reconnect_attempts=seed % 6, introspect=look, queue_timeout=seconds(15), queue_give_up=0.3)
    return Wild(DIALECT, DIALECT.settings_with(made, FAULTS[seed % len(FAULTS)]), behaviour, str(seed), good, frames)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=120)
@given(STEPS, st.sampled_from([THINK, PLANNED]), st.integers(0, 29), st.integers(0, 60))
def test_any_order_of_events(steps: list[Any], behaviour: Behaviour, answers: int, seed: int) -> None:
    guest = wild(behaviour, seed)
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


KINDS = st.sampled_from(["message", "typing", "ack", "conversationMetadata", "error", "?"])
FIELDS = st.sampled_from(["text", "senderId", "messageId", "event", "code", "frame", "retryAfter"])
WORDS = st.sampled_from(["RATE_LIMITED", "closed", "agentJoined", "message"])
FRAMES = st.builds(lambda kind, rest: {**rest, "type": kind}, KINDS, st.dictionaries(FIELDS, JSON | WORDS, max_size=6))


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_the_decoders_survive_any_bytes(data: bytes | str) -> None:
    assert isinstance(decode(data, 1000), msgspec.Struct)
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    decode_grant(raw), decode_guest(raw), decode_rights(raw), decode_code(raw)


@given(FRAMES | JSON)
def test_the_decoders_survive_any_json(value: Any) -> None:
    assert isinstance(decode(json.dumps(value), 100_000), msgspec.Struct)
    names = ("access_token", "expires_in", "active", "scope", "id", "conversationId", "webChatToken", "code")
    raw = json.dumps(dict.fromkeys(names, value)).encode()
    decode_grant(raw), decode_guest(raw), decode_rights(raw), decode_code(raw)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(FRAMES | JSON, max_size=30))
def test_a_chatting_guest_survives_any_frames(given_frames: list[Any]) -> None:
    guest = wild(THINK, 0)
    guest.start()
    for _ in range(2):
        guest.http(6)
    guest.upgrade(2)
    assert guest.session.state == "chatting"
    for frame in given_frames:
        guest.push(1, json.dumps(frame))
    guest.wind_up(0)
    guest.check_books()


# -------------------------------------------------------------------- which ack is whose
MOVES = st.lists(st.sampled_from(["send", "take", "take", "lose", "mute", "answer", "answer", "late", "reply"]), max_size=60)


@given(MOVES)
def test_no_ack_is_ever_given_to_a_message_that_was_not_taken(moves: list[str]) -> None:
    """A server that answers in order, late or in time, and loses messages and answers: nobody is wronged."""
    acks: Acks[int] = Acks()
    inbox: list[int] = []
    outbox: list[int] = []
    taken: set[int] = set()
    seq = 0
    for now, move in enumerate(moves, 1):
        settled = []
        if move == "send":
            seq += 1
            acks.sent(Op("1-1", seq, seq, "", "", now, 0, sent_ns=now))
            inbox.append(seq)
        elif move == "take" and inbox:
            taken.add(inbox[0])
            outbox.append(inbox.pop(0))
        elif move == "lose" and inbox:
            inbox.pop(0)
        elif move == "mute" and outbox:
            outbox.pop(0)
        elif move == "answer" and outbox:
            settled = acks.answered(outbox.pop(0), now) or []
        elif move == "late" and acks.waiting:
            settled = acks.overdue(acks.waiting[0].seq)
        elif move == "reply" and taken:
            settled = acks.replied(max(taken))
        for one in settled:
            assert not one.sure or (one.op.seq in taken and one.answer == one.op.seq)
            assert one.op.sent_ns <= one.at_ns <= now
        for op in acks.missed():
            assert acks.is_missing(op.seq)
    assert len({op.seq for op in acks.waiting}) == len(acks.waiting)
