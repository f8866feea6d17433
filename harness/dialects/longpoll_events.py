"""What the event stream and the other answers of `longpoll` mean. Total decoders: whatever the bytes are, nothing raises."""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from harness.core.events import Delivered
from harness.core.stamps import read_iso

MESSAGE, QUEUED, ACCEPTED, STATUS, JOINED = (
    "message",
    "routing:queue:accepted",
    "routing:agent:accepted",
    "status:changed",
    "participant:added",
)
RELEVANT = frozenset({MESSAGE, QUEUED, ACCEPTED, STATUS, JOINED})
MALFORMED = "malformed"
FILTERED = "filtered"

MAX_ID = 256
"""Longest id that is believed; a longer one counts as missing."""
MAX_NUMBER = 2**63 - 1
"""Largest event id that is believed."""
MAX_TOKEN = 16_384
MAX_LIFE = 10**9
"""Longest life of a token that is believed, in seconds."""
_VISIBLE = re.compile(r"[\x21-\x7e]+\Z")
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


class Item(msgspec.Struct, gc=False):
    """One element of a poll's answer. `kind` is a relevant type, `FILTERED` or `MALFORMED`; `id` is -1 where it has none."""

    id: int
    kind: str
    closed: bool = False
    """`status:changed` to `closed`."""
    own: bool = False
    """A message that the server says a guest sent."""
    message: Delivered | None = None
    files: tuple[object, ...] = ()
    """The message's attachments as they came."""


class Granted(msgspec.Struct, gc=False):
    """A token request's answer."""

    access: str
    refresh: str
    life_ns: int
    """0: not told."""


class Created(msgspec.Struct, gc=False):
    """A guest creation's answer."""

    guest_id: str
    conversation_id: str


def read_json(body: bytes) -> Any:
    """The value, or None for anything that is not JSON."""
    try:
        return msgspec.json.decode(body)
    except _UNREADABLE:
        return None


def decode_events(body: bytes, max_bytes: int) -> list[Item] | None:
    """The events in the order in which they came; None if the answer as a whole is no array of events."""
    if len(body) > max_bytes:
        return None
    value = read_json(body)
    return [_item(element) for element in value] if isinstance(value, list) else None


def _item(element: object) -> Item:
    if not isinstance(element, dict):
        return Item(-1, MALFORMED)
    number, kind = element.get("id"), element.get("type")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_NUMBER:
        return Item(-1, MALFORMED)
    if not isinstance(kind, str):
        return Item(number, MALFORMED)
    if kind not in RELEVANT:
        return Item(number, FILTERED)
    if kind == STATUS:
        return Item(number, kind, closed=element.get("value") == "closed")
    if kind == MESSAGE:
        return _message(number, element)
    return Item(number, kind)


def _message(number: int, element: dict[Any, Any]) -> Item:
    text = element.get("text")
    if not isinstance(text, str):
        return Item(number, MALFORMED)
    name, stamp, sender, files = element.get("messageId"), element.get("timestamp"), element.get("from"), element.get("attachments")
    kind = sender.get("type") if isinstance(sender, dict) else None
    return Item(
        number,
        MESSAGE,
        own=kind == "guest",
        message=Delivered(
            text,
            message_id=read_id(name) or str(number),
            sender=kind if isinstance(kind, str) and len(kind) <= MAX_ID else "",
            server_ns=read_iso(stamp) if isinstance(stamp, str) else 0,
        ),
        files=tuple(files) if isinstance(files, list) else (files,) if files is not None else (),
    )


def read_id(value: object) -> str:
    """An id that can be used in a path or a row; empty for anything else."""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable() else ""


def decode_token(body: bytes) -> Granted | None:
    """None unless it holds a token that can stand in a header."""
    value = read_json(body)
    if not isinstance(value, dict):
        return None
    access = _credential(value.get("access_token"))
    if not access:
        return None
    return Granted(access, _credential(value.get("refresh_token")), _lifetime(value.get("expires_in")))


def refused_origin(body: bytes) -> bool:
    """Whether an answer of the token endpoint says that the page's origin is not on the list."""
    value = read_json(body)
    error = value.get("error") if isinstance(value, dict) else None
    return isinstance(error, str) and "origin" in error


def _lifetime(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        return 0
    return max(round(min(value, MAX_LIFE) * 1e9), 10**6)


def _credential(value: object) -> str:
    return value if isinstance(value, str) and len(value) <= MAX_TOKEN and _VISIBLE.match(value) else ""


def decode_guest(body: bytes) -> Created | None:
    """None unless both ids are there."""
    value = read_json(body)
    if not isinstance(value, dict):
        return None
    guest_id, conversation_id = read_id(value.get("guestId")), read_id(value.get("conversationId"))
    return Created(guest_id, conversation_id) if guest_id and conversation_id else None
