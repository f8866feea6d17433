"""webchat's wire format: encoders of what a guest sends, total decoders of what the server sends. No state."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from harness.core.events import (
    AuthRejected,
    Delivered,
    Event,
    Pinged,
    Ponged,
    QueueAccepted,
    RateLimited,
    Ready,
    Refusal,
    SessionEnded,
    TokenExpired,
    Typing,
    Unrecognised,
    Violation,
)
from harness.core.stamps import read_iso, show_iso
from harness.errors import FailureCause

MAX_NAME = 256
"""Longest id or code that is believed; longer ones count as missing."""
_FAR = 10**6


# -------------------------------------------------------------------- what the guest writes
def _text(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


def token_form(client_id: str, client_secret: str, scopes: tuple[str, ...]) -> bytes:
    """Body of the token request."""
    return urlencode(
        {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
            "scope": " ".join(scopes),
        },
        quote_via=quote,
        safe=":",
    ).encode()


def auth_frame(token: str) -> str:
    """The first frame of every socket."""
    return _text({"type": "auth", "token": token})


def routing_frame(skills: tuple[str, ...], attributes: dict[str, str], priority: int, conversation_id: str) -> str:
    """Ask for a conversation, or (with an id) bind the socket to the one that exists."""
    routing: dict[str, Any] = {"skillGroups": list(skills), "attributes": attributes}
    if priority:
        routing["priority"] = priority
    frame: dict[str, Any] = {"type": "routing", "routing": routing}
    if conversation_id:
        frame["conversationId"] = conversation_id
    return _text(frame)


def message_frame(conversation_id: str, message_id: str, text: str) -> str:
    """A message of the guest."""
    return _text({"type": "message", "conversationId": conversation_id, "messageId": message_id, "text": text})


def typing_frame(conversation_id: str) -> str:
    """The guest writes."""
    return _text({"type": "typing", "conversationId": conversation_id})


def read_frame(conversation_id: str, message_id: str) -> str:
    """The guest has seen an agent's message."""
    return _text({"type": "read", "conversationId": conversation_id, "messageId": message_id})


def leave_frame(conversation_id: str) -> str:
    """The guest ends the conversation."""
    return _text({"type": "conversation", "conversationId": conversation_id, "status": "closed"})


def ping_frame() -> str:
    """The guest's own keep-alive."""
    return '{"type":"ping"}'


def pong_frame(ping: Pinged) -> str:
    """The answer to the server's keep-alive, payload as it came."""
    return '{"type":"pong","payload":' + ping.payload + "}" if ping.payload else '{"type":"pong"}'


def listing_query(conversation_id: str, since_ns: int, limit: int) -> str:
    """Query of the message listing; `since_ns` 0 asks from the conversation's start."""
    pairs: list[tuple[str, str]] = [("conversationId", conversation_id)]
    if since_ns:
        pairs.append(("since", show_iso(since_ns)))
    pairs.append(("limit", str(limit)))
    return urlencode(pairs, quote_via=quote, safe=":")


# -------------------------------------------------------------------- what the server writes
class Listing(msgspec.Struct, gc=False):
    """One page of stored messages, in the server's order; `flawed` rows could not be read."""

    rows: list[Delivered]
    size: int
    flawed: int


class Grant(msgspec.Struct, gc=False):
    """A token as granted. `lifetime_ns` -1: not given."""

    token: str
    lifetime_ns: int

    def __repr__(self) -> str:
        return f"Grant(lifetime_ns={self.lifetime_ns})"


def _load(data: str | bytes) -> Any:
    """Parsed JSON, or a Violation."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Violation(FailureCause.MALFORMED, "json")


def _name(frame: dict[str, Any], field: str) -> str:
    value = frame.get(field)
    return value if isinstance(value, str) and len(value) <= MAX_NAME else ""


def _sender(frame: dict[str, Any]) -> str:
    sender = frame.get("from")
    return _name(sender, "id") if isinstance(sender, dict) else ""


def _seconds_ns(value: object) -> int:
    """Nanoseconds of a number of seconds, bounded; -1 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _FAR:
        return -1
    return round(value * 1e9)


def _message(frame: dict[str, Any]) -> Delivered | Violation:
    text = frame.get("text")
    if not isinstance(text, str):
        return Violation(FailureCause.MALFORMED, "message.text")
    conversation_id, message_id, stamp = _name(frame, "conversationId"), _name(frame, "messageId"), _name(frame, "timestamp")
    server_ns = read_iso(stamp) if stamp else 0
    flaw = ""
    if not conversation_id:
        flaw = "conversationId"
    elif not message_id:
        flaw = "messageId"
    elif not server_ns:
        flaw = "timestamp"
    return Delivered(text, conversation_id, message_id, _sender(frame), stamp, server_ns, flaw)


def _conversation(frame: dict[str, Any]) -> Event:
    status, conversation_id = frame.get("status"), _name(frame, "conversationId")
    if status == "closed":
        return SessionEnded(conversation_id)
    if not conversation_id:
        return Violation(FailureCause.MALFORMED, "conversation.conversationId")
    if status not in ("queued", "connected"):
        return Violation(FailureCause.MALFORMED, "conversation.status")
    return QueueAccepted(conversation_id, status == "connected")


def _error(frame: dict[str, Any]) -> Event:
    code = _name(frame, "code")
    if code == "TOKEN_EXPIRED":
        return TokenExpired()
    if code == "RATE_LIMITED":
        return RateLimited(_name(frame, "messageId"), _seconds_ns(frame.get("retryAfter")))
    return Refusal(code, _name(frame, "conversationId"), _name(frame, "messageId"))


class _Ping(msgspec.Struct, gc=False):
    payload: msgspec.Raw = msgspec.Raw()


_PING = msgspec.json.Decoder(_Ping)


def _ping(data: str) -> Pinged:
    # The payload goes back byte for byte, so it is cut out and not decoded.
    try:
        return Pinged(bytes(_PING.decode(data).payload).decode())
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Pinged()


def decode(data: str | bytes, max_bytes: int) -> Event:
    """The meaning of one frame. Never raises, whatever the bytes."""
    if not isinstance(data, str):
        return Violation(FailureCause.BINARY_FRAME)
    if len(data) > max_bytes or (not data.isascii() and len(data.encode("utf-8", "surrogatepass")) > max_bytes):
        return Violation(FailureCause.OVERSIZE)
    frame = _load(data)
    if isinstance(frame, Violation):
        return frame
    if not isinstance(frame, dict):
        return Violation(FailureCause.MALFORMED, "object")
    kind = frame.get("type")
    if not isinstance(kind, str):
        return Violation(FailureCause.MALFORMED, "type")
    if kind == "message":
        return _message(frame)
    if kind == "typing":
        return Typing(_name(frame, "conversationId"), _sender(frame))
    if kind == "ping":
        return _ping(data)
    if kind == "pong":
        return Ponged()
    if kind == "error":
        return _error(frame)
    if kind == "conversation":
        return _conversation(frame)
    if kind == "auth":
        if frame.get("status") == "success":
            return Ready(read_iso(_name(frame, "serverTime")))
        return AuthRejected(_name(frame, "code"))
    return Unrecognised(kind[:32])


def decode_grant(body: bytes) -> Grant | None:
    """The token endpoint's answer; None where there is no usable token in it."""
    answer = _load(body)
    if not isinstance(answer, dict):
        return None
    token = answer.get("access_token")
    if not isinstance(token, str) or not token or len(token) > 65536 or not token.isascii() or not token.isprintable():
        return None
    return Grant(token, _seconds_ns(answer.get("expires_in")))


def decode_skills(body: bytes) -> frozenset[str] | None:
    """Canonical names of the skill groups; None where the answer has another shape."""
    answer = _load(body)
    entities = answer.get("entities") if isinstance(answer, dict) else None
    if not isinstance(entities, list):
        return None
    return frozenset(item["name"] for item in entities if isinstance(item, dict) and isinstance(item.get("name"), str))


def decode_listing(body: bytes) -> Listing | None:
    """One page of the message listing; None where the answer has another shape."""
    answer = _load(body)
    rows = answer.get("messages") if isinstance(answer, dict) else None
    if not isinstance(rows, list):
        return None
    read = [_message(row) for row in rows if isinstance(row, dict)]
    good = [row for row in read if isinstance(row, Delivered)]
    return Listing(good, len(rows), len(rows) - len(good))
