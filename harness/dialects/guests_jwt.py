"""The guest's own look at its token: a JWT (RFC 7519) whose signature it cannot check. Pure and total.

What is read here decides whether a socket is opened at all; a token that is refused costs a conversation, not a connection.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

import msgspec

from harness.core.reading import load

MALFORMED, EXPIRED, NO_HINTS, MISSING_CLAIM = "malformed", "expired", "no_hints", "missing_claim"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z", re.ASCII)
_FAR = 10**11
"""Seconds; what lies further ahead is as good as never."""


class Claims(msgspec.Struct, gc=False):
    """What the token says of itself, in wall-clock nanoseconds; 0: nothing that can be read."""

    subject: str = ""
    issued_ns: int = 0
    expires_ns: int = 0
    flaw: str = ""
    """Why it must not be used: `malformed`, `missing_claim` or `no_hints`; "": its shape is right."""
    detail: str = ""
    """Which claim is meant."""

    def refusal(self, now_wall_ns: int) -> str:
        """Why a guest whose clock shows this must not use the token; "": it may."""
        if self.flaw:
            return self.flaw
        return EXPIRED if self.expires_ns <= now_wall_ns else ""


def _instant(value: object) -> int:
    """Nanoseconds of seconds since 1970; 0 for anything that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0
    return round(min(value, _FAR) * 10**9)


def _payload(token: str, naive_padding: bool) -> dict[str, Any] | None:
    parts = token.split(".")
    if len(parts) != 3 or not all(map(_BASE64URL.match, parts)):
        return None
    # As written, the payload gets "===", "==", "=" or nothing for lengths of 0, 1, 2, 3 beyond a multiple of four, and is read in
    # the plain alphabet: only the last is right.
    if naive_padding and (len(parts[1]) % 4 != 3 or "-" in parts[1] or "_" in parts[1]):
        return None
    try:
        raw = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
    except (binascii.Error, ValueError):
        return None
    claims = load(raw)
    return claims if isinstance(claims, dict) else None


def read_claims(token: str, *, naive_padding: bool = False) -> Claims:
    """The claims of a token, or what is wrong with them. Never raises, whatever the text."""
    payload = _payload(token, naive_padding)
    if payload is None:
        return Claims(flaw=MALFORMED)
    subject, hints = payload.get("sub"), payload.get("routing_hints")
    claims = Claims(subject if isinstance(subject, str) else "", _instant(payload.get("iat")), _instant(payload.get("exp")))
    for name, there in (
        ("sub", claims.subject),
        ("exp", claims.expires_ns),
        ("iat", claims.issued_ns),
        ("attributes", isinstance(payload.get("attributes"), dict)),
    ):
        if not there:
            claims.flaw, claims.detail = MISSING_CLAIM, name
            return claims
    if not isinstance(hints, dict) or not hints:
        claims.flaw = NO_HINTS
    return claims
