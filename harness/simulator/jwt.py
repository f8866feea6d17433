"""JSON Web Tokens (RFC 7519) under HS256, compact form: made and checked with the standard library. Total: nothing raises."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

GOOD, MALFORMED, FORGED, EXPIRED = "good", "malformed", "forged", "expired"
LONGEST = 64 * 1024
_ALPHABET = re.compile(r"[A-Za-z0-9_-]*", re.ASCII)


def encode(data: bytes) -> str:
    """base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes | None:
    """The other way. None for what is none: another alphabet, padding, or a length that cannot be."""
    if not _ALPHABET.fullmatch(text) or len(text) % 4 == 1:
        return None
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    return data if encode(data) == text else None  # bits left over have to be zero


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of a token. `claims` is empty unless the signature is right."""

    state: str
    """`good`, `malformed`, `forged` (of another algorithm or key) or `expired`."""
    claims: Mapping[str, Any] = field(default_factory=dict)


def make(claims: Mapping[str, Any], key: bytes) -> str:
    """A signed token."""
    head = encode(b'{"alg":"HS256","typ":"JWT"}')
    body = encode(json.dumps(claims, separators=(",", ":")).encode())
    return f"{head}.{body}.{_sign(f'{head}.{body}', key)}"


def check(token: str, key: bytes, now_s: float | None = None) -> Checked:
    """Judge a token: shape, signature, and against the wall clock's seconds `exp` (and `nbf`), where a time is given."""
    parts = token.split(".") if len(token) <= LONGEST else []
    if len(parts) != 3:
        return Checked(MALFORMED)
    head, claims, signature = _table(parts[0]), _table(parts[1]), decode(parts[2])
    if head is None or claims is None or signature is None:
        return Checked(MALFORMED)
    right = _sign(f"{parts[0]}.{parts[1]}", key)
    if head.get("alg") != "HS256" or not hmac.compare_digest(parts[2], right):
        return Checked(FORGED)
    ends, begins = claims.get("exp"), claims.get("nbf")
    if not _is_time(ends) or not _is_time(begins):
        return Checked(MALFORMED)
    if now_s is not None and ((ends is not None and now_s >= ends) or (begins is not None and now_s < begins)):
        return Checked(EXPIRED, claims)
    return Checked(GOOD, claims)


def _sign(text: str, key: bytes) -> str:
    return encode(hmac.digest(key, text.encode(), hashlib.sha256))


def _table(part: str) -> dict[str, Any] | None:
    data = decode(part)
    if data is None:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _is_time(value: object) -> bool:
    """A NumericDate, or none at all."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
