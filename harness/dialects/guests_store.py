"""What a guest's page keeps: the session that survives a reload, as text like a browser's storage, and the log of its activity."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from harness.core.reading import MAX_NAME, load, name, token

CORRUPT, SHORT_LIFE, MISSING = "corrupt", "short_life", "missing"
_LATEST = 10**14
"""Milliseconds; no session is made or ends later."""


class Saved(msgspec.Struct, gc=False):
    """A stored session. `created_ms` and `expires_ms` are milliseconds of the guest's wall clock."""

    guest_id: str
    guest_token: str
    session_id: str
    created_ms: int
    expires_ms: int

    def __repr__(self) -> str:
        return f"Saved(created_ms={self.created_ms}, expires_ms={self.expires_ms})"


def read_saved(text: str | bytes) -> Saved | None:
    """The session in a stored text; None where there is none. Total."""
    fields = load(text)
    if not isinstance(fields, dict):
        return None
    guest_id, session_id, guest_token = name(fields, "guestId"), name(fields, "sessionId"), token(fields, "guestToken")
    created, expires = fields.get("createdAt"), fields.get("expiresAt")
    if not guest_id or not session_id or not guest_token:
        return None
    for instant in (created, expires):
        if isinstance(instant, bool) or not isinstance(instant, int) or not 0 <= instant <= _LATEST:
            return None
    return Saved(guest_id, guest_token, session_id, int(str(created)), int(str(expires)))


class SessionStore:
    """One page's place for one session."""

    __slots__ = ("text",)

    def __init__(self) -> None:
        self.text: str | None = None
        """As it lies there; anything may have happened to it."""

    def save(self, session: Saved) -> None:
        """Keep this session instead of any other."""
        fields: dict[str, Any] = {
            "guestId": session.guest_id,
            "guestToken": session.guest_token,
            "sessionId": session.session_id,
            "createdAt": session.created_ms,
            "expiresAt": session.expires_ms,
        }
        self.text = msgspec.json.encode(fields).decode()

    def load(self, now_wall_ms: int, least_ms: int) -> Saved | str:
        """The session, if it has that much life left; else why it cannot be gone on with. What is corrupt is thrown away."""
        if self.text is None:
            return MISSING
        saved = read_saved(self.text)
        if saved is None:
            self.clear()
            return CORRUPT
        return SHORT_LIFE if saved.expires_ms - now_wall_ms < least_ms else saved

    def clear(self) -> None:
        """Keep nothing."""
        self.text = None


class Activity(msgspec.Struct, frozen=True, gc=False):
    """One entry of the log."""

    timestamp: str
    event: str
    details: dict[str, Any]


class ActivityLog:
    """What happened in one session, the newest entries of it."""

    __slots__ = ("_entries",)

    def __init__(self, limit: int) -> None:
        self._entries: deque[Activity] = deque(maxlen=max(limit, 0))

    def add(self, timestamp: str, event: str, **details: Any) -> None:
        """One more; the oldest goes where there are too many."""
        self._entries.append(Activity(timestamp, event, {key: _short(value) for key, value in details.items()}))

    def entries(self) -> tuple[Activity, ...]:
        """From the oldest to the newest."""
        return tuple(self._entries)

    def clear(self) -> None:
        """A new session begins."""
        self._entries.clear()


def _short(value: Any) -> Any:
    return value[:MAX_NAME] if isinstance(value, str) else value
