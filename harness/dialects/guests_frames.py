"""guests' wire format: encoders of what a guest sends, total decoders of what the server sends. No state."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from harness.core.events import Delivered, RateLimited, Refusal, SessionEnded, Typing, Unrecognised, Violation
from harness.core.reading import load_frame, load_object, name, path_id, seconds_ns
from harness.core.stamps import read_iso
from harness.errors import FailureCause

Frame = Delivered | Typing | SessionEnded | RateLimited | Refusal | Unrecognised | Violation


class Created(msgspec.Struct, gc=False):
    """A guest and its session as the server made them."""

    guest_id: str
    guest_token: str
    session_id: str

    def __repr__(self) -> str:
        return "Created(…)"


# -------------------------------------------------------------------- what the guest writes
def _text(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


def guest_body(guest_name: str, attributes: dict[str, str], queue_id: str, skill_id: str, language: str) -> bytes:
    """Ask for a guest and its session. Without a skill none is asked for: one that nobody has would never be served."""
    skill: dict[str, Any] = {"skill": {"id": skill_id}} if skill_id else {}
    routing = {"queue": {"id": queue_id}, **skill, "language": language}
    return msgspec.json.encode({"name": guest_name, "attributes": attributes, "routing": routing})


def profile_body(provider_id: str, email: str, synced_at: str, size: int) -> bytes:
    """Attributes to be merged into the guest's; padded to about `size` bytes of them."""
    attributes: dict[str, Any] = {
        "external_provider_id": provider_id,
        "external_email": email,
        "synced_at": synced_at,
        "delegation_verified": True,
    }
    missing = size - len(msgspec.json.encode(attributes))
    if missing > 0:
        attributes["external_email"] = "x" * missing + email
    return msgspec.json.encode({"attributes": attributes})


def handshake_frame(guest_token: str) -> str:
    """The first frame of every socket."""
    return _text({"type": "handshake", "token": guest_token})


def message_frame(text: str) -> str:
    """A message of the guest."""
    return _text({"type": "message", "payload": {"text": text}})


def typing_frame() -> str:
    """The guest writes."""
    return '{"type":"typing"}'


def end_frame(reason: str) -> str:
    """The guest ends the conversation."""
    return _text({"type": "sessionEnded", "payload": {"reason": reason}})


def guest_path(guest_id: str) -> str:
    """Where the guest's profile lies."""
    return "/api/v2/guests/" + quote(guest_id, safe="")


def socket_path(guest_id: str, session_id: str) -> str:
    """Where the session's socket is."""
    return f"{guest_path(guest_id)}/sessions/{quote(session_id, safe='')}/ws"


# -------------------------------------------------------------------- what the server writes
def decode_guest(body: bytes) -> Created | None:
    """The answer to a guest's creation; None where it lacks an id, the token or the session."""
    answer = load_object(body)
    sessions = answer.get("sessions")
    first = sessions[0] if isinstance(sessions, list) and sessions else None
    if not isinstance(first, dict):
        return None
    guest_id, guest_token, session_id = path_id(answer, "id"), answer.get("guestToken"), path_id(first, "id")
    # Whether the token is one is not for here to say: a bad one is refused by name.
    if not guest_id or not session_id or not isinstance(guest_token, str):
        return None
    return Created(guest_id, guest_token, session_id)


def decode_code(body: bytes) -> str:
    """The code of an error body; "" where it names none."""
    return name(load_object(body), "code")


def _message(payload: dict[str, Any] | None) -> Delivered | Violation:
    if payload is None:
        return Violation(FailureCause.MALFORMED, "message.payload")
    text = payload.get("text")
    if not isinstance(text, str):
        return Violation(FailureCause.MALFORMED, "message.text")
    message_id, stamp = name(payload, "id"), name(payload, "timestamp")
    server_ns = read_iso(stamp) if stamp else 0
    flaw = "" if message_id else "id"
    if not flaw and not server_ns:
        flaw = "timestamp"
    return Delivered(text, "", message_id, name(payload, "from"), stamp, server_ns, flaw)


def decode(data: str | bytes, max_bytes: int) -> Frame:
    """The meaning of one frame. Never raises, whatever the bytes."""
    frame = load_frame(data, max_bytes)
    if isinstance(frame, Violation):
        return frame
    kind, payload = frame["type"], frame.get("payload")
    fields = payload if isinstance(payload, dict) else None
    if kind == "message":
        return _message(fields)
    if kind == "typing":
        return Typing()
    if kind == "sessionEnded":
        return SessionEnded(reason=name(fields or {}, "reason"))
    if kind == "error":
        code = name(fields or {}, "code")
        if code == "rate_limited" and fields is not None:
            return RateLimited("", seconds_ns(fields.get("retryAfter")), name(fields, "frame"))
        return Refusal(code)
    return Unrecognised(kind[:32])
