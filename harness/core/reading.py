"""Reading what a server sent: small total functions from bytes or JSON values to what a decoder may believe. None raises."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.core.events import Violation
from harness.errors import FailureCause

MAX_NAME = 256
"""Longest id or code that is believed; longer ones count as missing."""
MAX_TOKEN = 65536
_FAR = 10**6


def load(data: str | bytes) -> Any:
    """Parsed JSON, or a Violation."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return Violation(FailureCause.MALFORMED, "json")


def load_object(data: bytes) -> dict[str, Any]:
    """A body that is a JSON object; empty where it is none."""
    answer = load(data)
    return answer if isinstance(answer, dict) else {}


def load_frame(data: str | bytes, max_bytes: int) -> dict[str, Any] | Violation:
    """A frame that is a JSON object with a `type` that is text; else what is wrong with it."""
    if not isinstance(data, str):
        return Violation(FailureCause.BINARY_FRAME)
    if len(data) > max_bytes or (not data.isascii() and len(data.encode("utf-8", "surrogatepass")) > max_bytes):
        return Violation(FailureCause.OVERSIZE)
    frame = load(data)
    if isinstance(frame, Violation):
        return frame
    if not isinstance(frame, dict):
        return Violation(FailureCause.MALFORMED, "object")
    if not isinstance(frame.get("type"), str):
        return Violation(FailureCause.MALFORMED, "type")
    return frame


def name(fields: dict[str, Any], field: str) -> str:
    """A short text of an object; "" where there is none."""
    value = fields.get(field)
    return value if isinstance(value, str) and len(value) <= MAX_NAME else ""


def path_id(fields: dict[str, Any], field: str) -> str:
    """An id that can stand in a path: "." and ".." would lead elsewhere."""
    value = name(fields, field)
    return value if value.isascii() and value.isprintable() and value.strip(".") else ""


def token(fields: dict[str, Any], field: str) -> str:
    """A credential of an object, fit to be written into a header; "" where there is none."""
    value = fields.get(field)
    if not isinstance(value, str) or not value or len(value) > MAX_TOKEN or not value.isascii() or not value.isprintable():
        return ""
    return value


def seconds_ns(value: object) -> int:
    """Nanoseconds of a number of seconds, bounded; -1 for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _FAR:
        return -1
    return round(value * 1e9)
