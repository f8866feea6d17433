"""webmessaging: what goes over the wire, made and read. No state; the readers take whatever comes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from random import Random
from typing import Any

from harness.simulator import instants
from harness.simulator.dialects.webmessaging_settings import WebmessagingTable, allowed_media
from harness.simulator.spelling import SECOND

LONGEST_ID = 200
INBOUND, OUTBOUND = "Inbound", "Outbound"
HUMAN, BOT = "Human", "Bot"
TYPES = ("Text", "Structured", "Event")
HOUR_MS = 3_600_000
DEEPEST = 32

Body = dict[str, Any]


# ------------------------------------------------------------ envelopes
def envelope(kind: str, name: str, code: int, body: Any, tracing: str | None = None) -> str:
    """A frame: `kind` is `response` or `message`, `name` its class."""
    frame: Body = {"type": kind, "class": name, "code": code, "body": body}
    if tracing is not None:
        frame["tracingId"] = tracing
    return json.dumps(frame)


def refusal(code: int, text: str, tracing: str | None) -> str:
    """The plainest error: its text is the body."""
    return envelope("response", "string", code, text, tracing)


def event(name: str, body: Body | None = None) -> str:
    """Something that the server says of itself."""
    return envelope("message", name, 200, body or {})


def structured(body: Body, tracing: str | None = None, kind: str = "message") -> str:
    """A message's frame."""
    return envelope(kind, "StructuredMessage", 200, body, tracing)


def too_many(wait: int | None, tracing: str | None) -> str:
    """A limit has refused a request."""
    text = "Message rate too high for this session"
    body: Body = {"errorCode": 4029, "errorMessage": text, "name": "TooManyRequests", "message": text}
    if wait is not None:
        body["retryAfter"] = wait
    return envelope("response", "TooManyRequestsErrorMessage", 429, body, tracing)


def url_error(shape: str, code: int, text: str, attachment: str, at_ms: int, tracing: str | None) -> str:
    """An upload is refused, in one of the two shapes in which that is told."""
    body = {
        "name": "GenerateUrlError",
        "message": text,
        "errorCode": code,
        "errorMessage": text,
        "attachmentId": attachment,
        "timestamp": instants.iso(at_ms),
    }
    return envelope(shape, "GenerateUrlError", 400 if shape == "response" else 200, body, tracing)


# ------------------------------------------------------------ session
def session_body(settings: WebmessagingTable, *, new: bool, read_only: bool, cleared: bool, expires_s: int, auto: bool) -> Body:
    """A session that is open."""
    return {
        "connected": True,
        "newSession": new,
        "readOnly": read_only,
        "clearedExistingSession": cleared,
        "allowedMedia": allowed_media(settings),
        "blockedExtensions": list(settings.blocked_extensions),
        "maxCustomDataBytes": settings.max_custom_data_bytes,
        "durationSeconds": settings.duration // SECOND,
        "expirationDate": expires_s,
        "autoStarted": auto,
    }


def configuration_body(settings: WebmessagingTable) -> Body:
    """The answer to `getConfiguration`."""
    return {
        "allowedMedia": allowed_media(settings),
        "maxCustomDataBytes": settings.max_custom_data_bytes,
        "messageRoutingEnabled": settings.message_routing,
        "blockedExtensions": list(settings.blocked_extensions),
        "sessionDurationSeconds": settings.duration // SECOND,
    }


# ------------------------------------------------------------ messages
def inbound(mid: str, channel_id: str, stamp_ms: int, correlation: str, given: Guests) -> Body:
    """A guest's message, as every connection and the history show it."""
    channel = {"time": instants.iso(stamp_ms), "type": "Private", "messageId": channel_id, "from": {}}
    body: Body = {"id": mid, "type": given.type, "direction": INBOUND, "channel": channel}
    if given.text is not None:
        body["text"] = given.text
    if given.content:
        body["content"] = given.content
    if given.events:
        body["events"] = given.events
    body["metadata"] = {**given.metadata, "correlationId": correlation}
    return body


def outbound(mid: str, stamp_ms: int, correlation: str, entity: str, nickname: str = "", **fields: Any) -> Body:
    """Something that a person or a bot says."""
    channel = {"time": instants.iso(stamp_ms), "type": "Private", "from": {"nickname": nickname} if nickname else {}}
    body: Body = {"id": mid, "type": "Text", "direction": OUTBOUND, "channel": channel, **fields}
    body["metadata"] = {**fields.get("metadata", {}), "correlationId": correlation}
    body["originatingEntity"] = entity
    return body


def typing_events() -> list[Body]:
    """Somebody types."""
    return [{"eventType": "Typing", "typing": {"type": "On", "duration": 5000}}]


def presence_events(kind: str) -> list[Body]:
    """Somebody comes, goes, or clears."""
    return [{"eventType": "Presence", "presence": {"type": kind}}]


def _card(title: str, number: int) -> Body:
    return {
        "title": title,
        "description": f"Parcel {number} of your order",
        "image": f"https://images.example/parcel-{number}.png",
        "actions": [
            {"type": "Postback", "text": f"Track parcel {number}", "payload": f"track-{number}"},
            {"type": "Link", "text": "Open the order", "url": f"https://shop.example/orders/{number}"},
        ],
    }


def _quick_reply(text: str, payload: str) -> Body:
    return {"contentType": "QuickReply", "quickReply": {"text": text, "payload": payload, "action": "Message"}}


def _item(number: int) -> Body:
    return {
        "id": f"item-{number}",
        "title": f"Item {number}",
        "subtitle": f"Line {number} of your order",
        "imageUrl": f"https://images.example/item-{number}.png",
    }


def offer(kind: str, stamp_ms: int) -> list[Body]:
    """The content of a message that offers something to choose from; `kind` is the share's name in the settings."""
    if kind == "quick_replies":
        return [_quick_reply("Yes, please", "yes"), _quick_reply("No, thanks", "no")]
    if kind == "cards":
        return [{"contentType": "Card", "card": _card("Your parcel", 1)}]
    if kind == "carousels":
        return [{"contentType": "Carousel", "carousel": {"cards": [_card("First parcel", 1), _card("Second parcel", 2)]}}]
    if kind == "date_pickers":
        day = (stamp_ms // (24 * HOUR_MS) + 1) * 24 * HOUR_MS
        slots = [instants.iso(day + hour * HOUR_MS) for hour in (9, 14)]
        picker: Body = {
            "availableTimes": [{"dateTime": slot, "duration": 3600} for slot in slots],
            "title": "Choose a time",
            "subtitle": "We need an hour",
            "imageUrl": "https://images.example/calendar.png",
            "dateMinimum": slots[0],
            "dateMaximum": slots[-1],
        }
        return [{"contentType": "DatePicker", "datePicker": picker}]
    picker = {
        "sections": [{"title": "Your order", "multipleSelection": False, "items": [_item(1), _item(2)]}],
        "receivedMessage": {"title": "Choose an item"},
        "replyMessage": {"title": "You chose"},
    }
    return [{"contentType": "ListPicker", "listPicker": picker}]


OFFERS = ("quick_replies", "cards", "carousels", "date_pickers", "list_pickers")


def drawn_offer(settings: WebmessagingTable, rng: Random) -> str:
    """Which of the offers a message makes, by their shares; "": none. Draws nothing where there are no shares."""
    shares = [getattr(settings, name) for name in OFFERS]
    if not any(shares):
        return ""
    at = rng.random()
    for name, part in zip(OFFERS, shares, strict=True):
        if at < part:
            return name
        at -= part
    return ""


# ------------------------------------------------------------ what guests send
@dataclass(slots=True)
class Guests:
    """A guest's message, as far as it was understood."""

    type: str = "Text"
    text: str | None = None
    content: list[Body] | None = None
    events: list[Body] | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    attachment: str = ""
    """Id of the one that it names."""


def _plain(value: Any, levels: int = DEEPEST) -> bool:
    """Can it be written as JSON again, without end or depth that would hurt?"""
    if isinstance(value, float):
        return math.isfinite(value)
    if not isinstance(value, dict | list):
        return True
    return levels > 0 and all(_plain(item, levels - 1) for item in (value.values() if isinstance(value, dict) else value))


def short(value: object) -> str | None:
    """A text that may be an id."""
    return value if isinstance(value, str) and 0 < len(value) <= LONGEST_ID else None


def custom_bytes(*channels: object) -> int | None:
    """UTF-8 bytes of keys and values of all custom attributes, the later place winning; None: they are none."""
    merged: dict[str, Any] = {}
    for channel in channels:
        found: Any = channel
        for name in ("metadata", "customAttributes"):
            if found is None:
                break
            if not isinstance(found, dict):
                return None
            found = found.get(name)
        if found is not None:
            if not isinstance(found, dict):
                return None
            if not _plain(found):
                return None
            merged.update(found)
    return sum(_bytes(key) + _bytes(value if isinstance(value, str) else json.dumps(value)) for key, value in merged.items())


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def text_bytes(text: str) -> int:
    """As the limit of a text counts."""
    return _bytes(text)


def read_message(message: Body) -> Guests | str:
    """Understand `message` of an `onMessage`; a text says what is wrong with it."""
    kind, text, content, events = (message.get(name) for name in ("type", "text", "content", "events"))
    metadata = message.get("metadata")
    if kind not in (None, *TYPES):
        return "message.type is not known"
    if text is not None and not isinstance(text, str):
        return "message.text is no text"
    for name, items in (("content", content), ("events", events)):
        if items is not None and not (isinstance(items, list) and all(isinstance(item, dict) for item in items)):
            return f"message.{name} is no list of objects"
        if not _plain(items):
            return f"message.{name} cannot be kept"
    if metadata is not None and not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        return "message.metadata is no map of texts"
    if kind == "Event":
        if not events or len(events) != 1:
            return "message.events names no event, or several"
        return Guests("Event", events=events, metadata=metadata or {})
    if not text and not content:
        return "message says nothing"
    named = [item.get("attachment") for item in content or () if item.get("contentType") == "Attachment"]
    if any(not isinstance(item, dict) or short(item.get("id")) is None for item in named) or len(named) > 1:
        return "message.content names no attachment, or several"
    return Guests(kind or "Text", text, content or None, None, metadata or {}, named[0]["id"] if named else "")


def event_of(given: Guests) -> tuple[str, str]:
    """Kind and detail of a guest's event, such as `("Presence", "Join")`."""
    found = given.events[0] if given.events else {}
    kind = found.get("eventType")
    inner = found.get(kind.lower()) if isinstance(kind, str) else None
    detail = inner.get("type") if isinstance(inner, dict) else None
    return kind if isinstance(kind, str) else "", detail if isinstance(detail, str) else ""
