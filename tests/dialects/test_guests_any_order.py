"""Whatever comes in whatever order: a guest of guests never raises, keeps its books, and finishes when it is told to."""

from __future__ import annotations

import base64
import json
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.events import Delivered
from harness.core.marker import read_marker
from harness.core.oauth import decode_grant
from harness.core.pacing import Behaviour
from harness.core.spread import seconds
from harness.core.wire import HttpRequest
from harness.dialects.guests import DIALECT, GuestsSession
from harness.dialects.guests_frames import decode, decode_code, decode_guest, profile_body
from harness.dialects.guests_jwt import read_claims
from harness.dialects.guests_settings import GuestsSettings
from harness.dialects.guests_store import Saved, SessionStore, read_saved
from tests.dialects.guests_hand import jwt
from tests.dialects.hand import START, WALL, S
from tests.dialects.wild import JSON, PLANNED, STEPS, THINK, Wild

FAULTS = [(), *[(name,) for name in DIALECT.client_faults if name not in ("no_backoff", "endless_retries")]]
ISSUED = (START + WALL) // S


def good(request: HttpRequest, number: int) -> Any:
    if request.path == "/oauth/token":
        return {"access_token": f"secret-{number}", "expires_in": [3600, 30, 2, "x", None, 0][number % 6]}
    if request.method == "PUT":
        return {"id": "x", "attributes": {}}
    claims = {"sub": "s", "iat": ISSUED, "exp": ISSUED + [30, 100, 700, 10**6, -5][number % 5]}
    claims |= {"routing_hints": {"queue": "q"} if number % 11 else {}, "attributes": {}}
    token = jwt(claims, header="secret") if number % 13 else "secret"
    return {"id": f"guest-{number}", "guestToken": token, "sessions": [{"id": f"s/{number}?"}], "attributes": {}}


def frames(label: str, number: int) -> list[Any]:
    text = f"Hello [#run1.{label}.a.{number} re {number % 9 + 1}]"
    return [
        {
            "type": "message",
            "payload": {"id": f"m-{number}", "from": "agent", "text": text, "timestamp": "2024-05-12T14:30:00.000Z"},
        },
        {"type": "typing"},
        {"type": "message", "payload": {"text": text}},
        {
            "type": "error",
            "payload": {"code": "rate_limited", "frame": ["message", "typing"][number % 2], "retryAfter": number % 4},
        },
        {"type": "sessionEnded", "payload": {"reason": "agent_left"}} if number % 7 == 0 else {"type": "typing"},
        {"type": "error", "payload": {"code": ["x", 7][number % 2]}},
        {"type": "message", "payload": number},
    ]


def wild(behaviour: Behaviour, seed: int) -> Wild:
    made = GuestsSettings(
        reconnect_attempts=seed % 6,
        profile_sync=0.7,
        renew_ahead=seconds([300, 20][seed % 2]),
        store_corrupted=0.3,
        handshake_grace=seconds([1, 0][seed % 3 // 2]),
        activity_limit=5,
    )
    return Wild(DIALECT, DIALECT.settings_with(made, FAULTS[seed % len(FAULTS)]), behaviour, str(seed), good, frames)


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=120)
@given(STEPS, st.sampled_from([THINK, PLANNED]), st.integers(0, 29), st.integers(0, 100))
def test_any_order_of_events(steps: list[Any], behaviour: Behaviour, answers: int, seed: int) -> None:
    guest = wild(behaviour, seed)
    guest.start()
    for step in steps:
        if guest.finished:
            break
        guest.step(*step)
    guest.wind_up(answers)
    guest.check_books()


@pytest.mark.parametrize("seed", range(45))
def test_long_walks(seed: int) -> None:
    guest = wild(THINK if seed % 2 else PLANNED, seed)
    guest.start()
    guest.walk(Random(f"walk/{seed}"), 1500)
    assert isinstance(guest.session, GuestsSession)
    assert len(guest.session.activity) <= 5
    guest.wind_up(seed)
    guest.check_books()


# -------------------------------------------------------------------- what is read
KINDS = st.sampled_from(["message", "typing", "sessionEnded", "error", "handshake", "?"])
FIELDS = st.sampled_from(["text", "id", "from", "timestamp", "reason", "code", "frame", "retryAfter"])
WORDS = st.sampled_from(["rate_limited", "message", "typing", "2024-05-12T14:30:00.000Z"])
PAYLOADS = st.dictionaries(FIELDS, JSON | WORDS, max_size=6) | JSON
FRAMES = st.builds(lambda kind, payload: {"type": kind, "payload": payload}, KINDS, PAYLOADS)
CLAIMS = st.dictionaries(
    st.sampled_from(["sub", "exp", "iat", "routing_hints", "attributes"]), JSON | st.just({"a": "b"}), max_size=5
)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_the_decoders_survive_any_bytes(data: bytes | str) -> None:
    assert isinstance(decode(data, 1000), msgspec.Struct)
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    decode_grant(raw), decode_guest(raw), decode_code(raw), read_saved(raw)


@given(FRAMES | JSON)
def test_the_decoders_survive_any_json(value: Any) -> None:
    event = decode(json.dumps(value), 100_000)
    assert isinstance(event, msgspec.Struct)
    if isinstance(event, Delivered):
        read_marker(event.text)
    names = ("access_token", "expires_in", "id", "guestToken", "sessions", "code", "guestId", "sessionId", "createdAt", "expiresAt")
    for body in (dict.fromkeys(names, value), {"id": "a", "guestToken": "b", "sessions": value}, value):
        raw = json.dumps(body).encode()
        decode_grant(raw), decode_guest(raw), decode_code(raw), read_saved(raw)


@given(st.text(max_size=300) | st.text("abcXYZ019-_.=", max_size=80) | CLAIMS.map(jwt) | JSON.map(jwt), st.booleans())
def test_any_text_is_a_token_or_none(text: str, naive: bool) -> None:
    claims = read_claims(text, naive_padding=naive)
    assert claims.refusal(0) in ("", "malformed", "missing_claim", "no_hints", "expired")
    if not claims.flaw:
        assert claims.subject
        assert claims.issued_ns > 0
        assert claims.expires_ns > 0


@given(st.dictionaries(st.text(max_size=10), st.text(max_size=10), max_size=3))
def test_every_length_of_payload_is_read(attributes: dict[str, str]) -> None:
    given_claims = {"sub": "s", "iat": 1, "exp": 2, "routing_hints": {"q": "q"}, "attributes": attributes}
    raw = json.dumps(given_claims, ensure_ascii=False).encode()
    claims = read_claims("h." + base64.urlsafe_b64encode(raw).decode().rstrip("=") + ".s")
    assert not claims.flaw
    assert (claims.refusal(2 * S - 1), claims.refusal(2 * S)) == ("", "expired")


IDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=256)


@given(IDS, IDS, IDS, st.integers(0, 10**14), st.integers(0, 10**14))
def test_a_stored_session_comes_back(guest_id: str, token: str, session_id: str, created: int, expires: int) -> None:
    store, saved = SessionStore(), Saved(guest_id, token, session_id, created, expires)
    store.save(saved)
    assert store.load(expires - 300, 300) == saved
    assert store.load(expires - 299, 300) == "short_life"
    assert repr(saved) == f"Saved(created_ms={created}, expires_ms={expires})"


@given(st.text(max_size=60), st.integers(0, 60))
def test_whatever_lies_in_the_store_is_survived(text: str, cut: int) -> None:
    store = SessionStore()
    store.save(Saved("g", "t", "s", 1, 2))
    assert store.text
    for found in (text, store.text[:cut]):
        store.text = found
        store.load(0, 0)


@given(st.integers(0, 20_000))
def test_a_profile_has_the_size_that_was_asked_for(size: int) -> None:
    attributes = json.loads(profile_body("idp-1", "a@b.c", "2024-05-12T14:30:00.000Z", size))["attributes"]
    assert set(attributes) == {"external_provider_id", "external_email", "synced_at", "delegation_verified"}
    assert len(json.dumps(attributes, separators=(",", ":"))) == max(size, 123)


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.lists(FRAMES | JSON, max_size=30), st.booleans())
def test_a_guest_survives_any_frames(given_frames: list[Any], early: bool) -> None:
    guest = wild(THINK, 3)
    guest.start()
    for _ in range(2):
        guest.http(6)
    guest.upgrade(2)
    if not early:
        guest.run(S)
    for frame in given_frames:
        guest.push(1, json.dumps(frame))
    guest.wind_up(0)
    guest.check_books()


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(JSON | CLAIMS.map(jwt) | st.text("aeyJ.-_=", max_size=40), JSON, st.sampled_from([(), ("no_jwt_check",)]))
def test_a_guest_survives_any_creation(token: Any, other: Any, faults: tuple[str, ...]) -> None:
    made = DIALECT.settings_with(GuestsSettings(), faults)
    for body in (
        {"id": "g", "guestToken": token, "sessions": [{"id": "s"}]},
        {"id": other, "guestToken": token, "sessions": other},
    ):
        guest = Wild(DIALECT, made, THINK, "x", good, frames)
        guest.start()
        guest.http(6)
        guest.answer(body)
        if not faults and not (isinstance(token, str) and token.count(".") == 2):
            assert not guest.opens
        guest.upgrade(2)
        guest.run(30 * S)
        guest.wind_up(1)
        guest.check_books()
