"""messaging's wire format: encoders of what a guest sends, total decoders of what the server sends. No state."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from harness.core.events import Delivered, QueueAccepted, RateLimited, SessionEnded, Typing, Unrecognised, Violation
from harness.core.reading import load_frame, load_object, name, path_id, seconds_ns, token
from harness.errors import FailureCause


class Acked(msgspec.Struct, gc=False):
    """The server has taken a message; the id is its own, so that only the order tells which."""

    message_id: str = ""


class Trouble(msgspec.Struct, gc=False):
    """Any other error. `frame` is `message` where it stands for an ack."""

    code: str = ""
    frame: str = ""


Frame = Delivered | Acked | Typing | QueueAccepted | SessionEnded | RateLimited | Trouble | Unrecognised | Violation


class Guest(msgspec.Struct, gc=False):
    """A registered guest."""

    guest_id: str
    conversation_id: str
    token: str

    def __repr__(self) -> str:
        return f"Guest(guest_id={self.guest_id!r}, conversation_id={self.conversation_id!r})"


class Rights(msgspec.Struct, gc=False):
    """What a token may do. `scopes` None: not said."""

    active: bool
    scopes: frozenset[str] | None


# -------------------------------------------------------------------- what the guest writes
def _text(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


def basic(client_id: str, client_secret: str, base64: bool) -> str:
    """The `Authorization` header of the application: both parts percent-encoded, so that a colon in them splits nothing."""
    pair = f"{quote(client_id, safe='')}:{quote(client_secret, safe='')}"
    return "Basic " + (b64encode(pair.encode()).decode() if base64 else pair)


def introspect_form(value: str) -> bytes:
    """Body of the question what a token may do."""
    return urlencode({"token": value}, quote_via=quote).encode()


def guest_body(guest_name: str, email: str, locale: str, queue_id: str, priority: int, skills: tuple[str, ...]) -> bytes:
    """Ask for a guest with its conversation and its place in the queue."""
    routing = {"priority": priority, "skillRequirements": list(skills)}
    return msgspec.json.encode({"name": guest_name, "email": email, "locale": locale, "queueId": queue_id, "routingData": routing})


def socket_path(guests_path: str, guest: Guest) -> str:
    """Where the guest's socket is. Holds the token: rows name the socket by `session.socket_endpoint`, which strips it."""
    return f"{guests_path}/{quote(guest.guest_id, safe='')}/websocket?webChatToken={quote(guest.token, safe='')}"


def message_frame(conversation_id: str, sender_id: str, text: str) -> str:
    """A message of the guest."""
    return _text({"type": "message", "conversationId": conversation_id, "senderId": sender_id, "text": text, "messageType": "text"})


def typing_frame(sender_id: str) -> str:
    """The guest writes."""
    return _text({"type": "typing", "senderId": sender_id})


# -------------------------------------------------------------------- what the server writes
def decode_rights(body: bytes) -> Rights | None:
    """The answer to an introspection; None where it does not say whether the token is good."""
    answer = load_object(body)
    active, scope = answer.get("active"), answer.get("scope")
    if not isinstance(active, bool):
        return None
    return Rights(active, frozenset(scope.split()) if isinstance(scope, str) else None)


def decode_guest(body: bytes) -> Guest | None:
    """The answer to a registration; None where it lacks an id or the token."""
    answer = load_object(body)
    guest = Guest(path_id(answer, "id"), path_id(answer, "conversationId"), token(answer, "webChatToken"))
    return guest if guest.guest_id and guest.conversation_id and guest.token else None


def decode_code(body: bytes) -> str:
    """The code of an error body; "" where it names none."""
    return name(load_object(body), "code")


def _message(frame: dict[str, Any]) -> Delivered | Violation:
    text, sender = frame.get("text"), name(frame, "senderId")
    if not isinstance(text, str):
        return Violation(FailureCause.MALFORMED, "message.text")
    return Delivered(text, sender=sender, flaw="" if sender else "senderId")


def _metadata(frame: dict[str, Any]) -> Frame:
    event = name(frame, "event")
    if event == "agentJoined":
        return QueueAccepted("", connected=True)
    if event == "closed":
        return SessionEnded()
    return Unrecognised(f"conversationMetadata/{event[:32]}")


def decode(data: str | bytes, max_bytes: int) -> Frame:
    """The meaning of one frame. Never raises, whatever the bytes."""
    frame = load_frame(data, max_bytes)
    if isinstance(frame, Violation):
        return frame
    kind = frame["type"]
    if kind == "message":
        return _message(frame)
    if kind == "ack":
        return Acked(name(frame, "messageId"))
    if kind == "typing":
        return Typing(sender=name(frame, "senderId"))
    if kind == "conversationMetadata":
        return _metadata(frame)
    if kind == "error":
        code = name(frame, "code")
        if code == "RATE_LIMITED":
            return RateLimited("", seconds_ns(frame.get("retryAfter")), name(frame, "frame"))
        return Trouble(code, name(frame, "frame"))
    return Unrecognised(kind[:32])
