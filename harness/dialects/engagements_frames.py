"""engagements' wire format: encoders of what a guest sends, total decoders of what the server sends. No state."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from harness.core.events import (
    Delivered,
    RateLimited,
    Refusal,
    SessionEnded,
    TokenExpired,
    Typing,
    Unrecognised,
    Violation,
)
from harness.core.reading import load, load_frame, load_object, name, path_id, seconds_ns, token
from harness.core.stamps import read_iso

CARD = "card"


Frame = Delivered | Typing | SessionEnded | RateLimited | TokenExpired | Refusal | Unrecognised | Violation


class Registration(msgspec.Struct, gc=False):
    """A session as granted. `expires_ns` is wall-clock time; 0: not given, or no instant."""

    guest_token: str
    session_id: str
    expires_ns: int

    def __repr__(self) -> str:
        return f"Registration(session_id={self.session_id!r}, expires_ns={self.expires_ns})"


# -------------------------------------------------------------------- what the guest writes
def _text(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


def registration_body(channel_id: str, client_id: str, metadata: dict[str, str]) -> bytes:
    """Ask for a session: a public client shows its id and nothing else."""
    return msgspec.json.encode({"channelId": channel_id, "clientId": client_id, "metadata": metadata})


def socket_path(guests_path: str, session_id: str, guest_token: str) -> str:
    """Where the session's socket is. Holds the token: rows name the socket by `session.socket_endpoint`, which strips it."""
    return f"{guests_path}/{quote(session_id, safe='')}/ws?guestToken={quote(guest_token, safe='')}"


def message_frame(text: str, source: str) -> str:
    """A message of the guest; a field more and the server's parser drops it without a word."""
    frame: dict[str, Any] = {"type": "message", "content": text}
    if source:
        frame["metadata"] = {"source": source}
    return _text(frame)


def typing_frame() -> str:
    """The guest writes."""
    return '{"type":"typing"}'


def end_frame(reason: str) -> str:
    """The guest ends the session."""
    return _text({"type": "sessionEnded", "reason": reason})


# -------------------------------------------------------------------- what the server writes
def decode_registration(body: bytes) -> Registration | None:
    """The answer to a registration; None where it lacks the token or the session."""
    answer = load_object(body)
    guest_token, session_id = token(answer, "guestToken"), path_id(answer, "sessionId")
    if not guest_token or not session_id:
        return None
    return Registration(guest_token, session_id, read_iso(name(answer, "expiresAt")))


def decode_message(body: bytes) -> str:
    """What an error body says; "" where it says nothing."""
    return name(load_object(body), "message")


def _card_text(card: dict[str, Any]) -> str:
    """What is read of a card: its text, else its title."""
    for field in ("text", "title"):
        value = card.get(field)
        if isinstance(value, str) and value:
            return value
    return ""


def _content(value: object) -> str | None:
    """The text in a message's content: as it stands, or in the card that it is (an object, or JSON of one); None: no content."""
    if isinstance(value, dict):
        return _card_text(value) if value.get("type") == CARD else None
    if not isinstance(value, str):
        return None
    if value.lstrip().startswith("{"):
        card = load(value)
        if isinstance(card, dict) and card.get("type") == CARD:
            return _card_text(card)
    return value


def _message(frame: dict[str, Any]) -> Delivered:
    text, flaw = _content(frame.get("content") or frame.get("body")), ""
    message_id, stamp = name(frame, "id"), name(frame, "timestamp")
    server_ns = read_iso(stamp) if stamp else 0
    if text is None:
        flaw = "content"
    elif not message_id:
        flaw = "id"
    elif not server_ns:
        flaw = "timestamp"
    return Delivered(text or "", "", message_id, name(frame, "from") or "Agent", stamp, server_ns, flaw)


def _error(frame: dict[str, Any]) -> Frame:
    code = name(frame, "error") or name(frame, "code")
    if code == "rate_limited":
        return RateLimited("", seconds_ns(frame.get("retryAfter")), name(frame, "frame"))
    if code == "token_expired":
        return TokenExpired()
    return Refusal(code or name(frame, "message"))


def decode(data: str | bytes, max_bytes: int) -> Frame:
    """The meaning of one frame. Never raises, whatever the bytes."""
    frame = load_frame(data, max_bytes)
    if isinstance(frame, Violation):
        return frame
    kind = frame["type"]
    if kind == "message":
        return _message(frame)
    if kind == "typing":
        return Typing()
    if kind == "sessionEnded":
        return SessionEnded(reason=name(frame, "reason"))
    if kind == "error":
        return _error(frame)
    return Unrecognised(kind[:32])
