"""What guests send, decoded. Total: whatever comes, nothing is raised."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any


def table(data: str | bytes) -> dict[str, Any] | None:
    """A JSON object, or None."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def frame(data: str | bytes) -> dict[str, Any] | None:
    """A JSON object in a text frame, or None."""
    return table(data) if isinstance(data, str) else None


def text(values: Mapping[str, Any], key: str) -> str:
    """A text under a key; "" where there is none."""
    value = values.get(key)
    return value if isinstance(value, str) else ""


def basic(header: str) -> tuple[str, str]:
    """Name and password of an `Authorization: Basic` header, as they stand there; both empty where it is none."""
    kind, _, value = header.partition(" ")
    if kind.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name, password
