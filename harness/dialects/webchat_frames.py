"""webchat's wire format: encoders of what a guest sends, total decoders of what the server sends. No state."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from harness.core.events import (
    AuthRejected,
    Delivered,
    Event,
    Listing,
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
from harness.core.reading import load_frame, load_object, name, seconds_ns
from harness.core.stamps import read_iso, show_iso
from harness.errors import FailureCause


# -------------------------------------------------------------------- what the guest writes
def _text(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


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
def _sender(frame: dict[str, Any]) -> str:
    sender = frame.get("from")
    return name(sender, "id") if isinstance(sender, dict) else ""


def _message(frame: dict[str, Any]) -> Delivered | Violation:
    text = frame.get("text")
    if not isinstance(text, str):
        return Violation(FailureCause.MALFORMED, "message.text")
    conversation_id, message_id, stamp = name(frame, "conversationId"), name(frame, "messageId"), name(frame, "timestamp")
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
    status, conversation_id = frame.get("status"), name(frame, "conversationId")
    if status == "closed":
        return SessionEnded(conversation_id)
    if not conversation_id:
        return Violation(FailureCause.MALFORMED, "conversation.conversationId")
    if status not in ("queued", "connected"):
        return Violation(FailureCause.MALFORMED, "conversation.status")
    return QueueAccepted(conversation_id, status == "connected")


def _error(frame: dict[str, Any]) -> Event:
    code = name(frame, "code")
    if code == "TOKEN_EXPIRED":
        return TokenExpired()
    if code == "RATE_LIMITED":
        return RateLimited(name(frame, "messageId"), seconds_ns(frame.get("retryAfter")))
    return Refusal(code, name(frame, "conversationId"), name(frame, "messageId"))


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
    frame = load_frame(data, max_bytes)
    if isinstance(frame, Violation):
        return frame
    kind = frame["type"]
    if kind == "message":
        return _message(frame)
    if kind == "typing":
        return Typing(name(frame, "conversationId"), _sender(frame))
    if kind == "ping":
        return _ping(str(data))
    if kind == "pong":
        return Ponged()
    if kind == "error":
        return _error(frame)
    if kind == "conversation":
        return _conversation(frame)
    if kind == "auth":
        if frame.get("status") == "success":
            return Ready(read_iso(name(frame, "serverTime")))
        return AuthRejected(name(frame, "code"))
    return Unrecognised(kind[:32])


def decode_skills(body: bytes) -> frozenset[str] | None:
    """Canonical names of the skill groups; None where the answer has another shape."""
    entities = load_object(body).get("entities")
    if not isinstance(entities, list):
        return None
    return frozenset(item["name"] for item in entities if isinstance(item, dict) and isinstance(item.get("name"), str))


def decode_listing(body: bytes) -> Listing | None:
    """One page of the message listing; None where the answer has another shape."""
    rows = load_object(body).get("messages")
    if not isinstance(rows, list):
        return None
    read = [_message(row) for row in rows if isinstance(row, dict)]
    good = [row for row in read if isinstance(row, Delivered)]
    return Listing(good, len(rows), len(rows) - len(good))
