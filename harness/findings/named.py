"""Matters that the server names itself, by a code or a frame: the note is the evidence."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core import ops
from harness.findings.detector import Detector, Tally, Witness
from harness.findings.model import Finding, Severity


@dataclass(frozen=True, slots=True)
class Matter:
    """One of them. `details`: which details of the notes mean it; empty: all do."""

    id: str
    title: str
    severity: Severity
    notes: tuple[str, ...]
    cause: str
    advice: str
    source: str
    details: tuple[str, ...] = ()
    certainty: str = ""


MATTERS = (
    Matter(
        "context-split",
        "A conversation was split in two",
        "high",
        ("context.split",),
        "A frame without `conversationId` after a reload or reconnect makes the server open another conversation.",
        "Store the conversation's id with the page and send it with the first frame; check the id that comes back.",
        "seed 002, section 3",
    ),
    Matter(
        "jwt-routing-hints-empty",
        "Guest tokens came with empty routing hints",
        "high",
        ("jwt.refused",),
        "The guest was created without routing, or the server did not take it over into the token.",
        "Send `routing` at creation and look into the token before any socket is opened.",
        "seed 003",
        ("no_hints",),
    ),
    Matter(
        "jwt-refused",
        "Guest tokens were refused before the socket was opened",
        "high",
        ("jwt.refused",),
        "The token is malformed, lacks a claim, or has expired by the guest's clock.",
        "Check the three parts, base64url padding, `exp` and the claims; mind the guest's clock.",
        "seed 003",
        ("malformed", "expired", "missing_claim"),
        "An expired token and a guest's clock that is ahead look alike.",
    ),
    Matter(
        "session-duration-unknown",
        "Resumed sessions did not know when they had begun",
        "low",
        ("session.duration_unknown",),
        "The instant of creation is not stored, or not read back, with the session.",
        "Store `createdAt` and take the session's duration from it.",
        "seed 003 (as written a resume counts from 1970)",
    ),
    Matter(
        "profile-too-large",
        "Profile attributes were too large",
        "medium",
        ("profile.too_large",),
        "More than 10 KB of attributes for one guest.",
        "Leave out what routing does not need; cut before the PUT.",
        "seed 003: 400 at profile sync",
    ),
    Matter(
        "profile-unknown-guest",
        "Profiles were synced for guests that the server does not know",
        "medium",
        ("profile.unknown_guest",),
        "The guest has expired, or the id belongs to another session.",
        "Replace a session that has less than 5 min to live before syncing.",
        "seed 003: 404 and 400 at profile sync",
    ),
    Matter(
        "session-read-only",
        "Messages were sent into a session that is read-only",
        "high",
        ("session.read_only",),
        "The agent has disconnected and the deployment disconnects in read-only mode.",
        "Take the input away at a read-only disconnect; offer a new chat (`closeSession`, then `startNew`).",
        "webmessaging 3.9 and 3.11",
    ),
    Matter(
        "session-expired",
        "Sessions expired",
        "medium",
        ("session.expired",),
        "The session's life (72 h after the last message by default) is over.",
        "Make a new session token; keep an eye on `expirationDate`.",
        "webmessaging 4 (4006) and 3.11",
    ),
    Matter(
        "session-not-found",
        "Frames named a session that the server does not know",
        "high",
        ("session.not_found",),
        "A frame before `configureSession`, or a token of another deployment.",
        "Configure first on each connection, with the same token and deployment.",
        "webmessaging 4 (4007)",
    ),
    Matter(
        "connection-superseded",
        "A fourth connection closed the oldest one",
        "medium",
        ("connection.superseded",),
        "More than three connections of one session: tabs, or reconnects that do not close the old socket.",
        "Close the old socket before opening another; share one connection among tabs.",
        "webmessaging 6 (`session.connections.max`)",
    ),
    Matter(
        "message-too-long",
        "Messages were too long",
        "medium",
        ("message.too_long",),
        "More than 4096 bytes of text (bytes, not characters).",
        "Count UTF-8 bytes before sending, split or refuse in the input.",
        "webmessaging 4 (4011)",
    ),
    Matter(
        "attributes-too-large",
        "Custom attributes were too large",
        "medium",
        ("attributes.too_large",),
        "Keys and values exceed `maxCustomDataBytes` (2048).",
        "Send identifiers, not contents.",
        "webmessaging 4 (4013)",
    ),
    Matter(
        "attachment-refused",
        "Files were refused",
        "medium",
        ("attachment.refused",),
        "Type, size or name is not allowed, or the file is empty.",
        "Check against what the configuration allows before asking for an upload.",
        "webmessaging 4 (4001 to 4010, 4102)",
        ("4000", "4001", "4002", "4003", "4004", "4005", "4008", "4009", "4102"),
    ),
)


class Named(Detector):
    """One such matter."""

    def __init__(self, matter: Matter) -> None:
        self.id, self.title, self.severity = matter.id, matter.title, matter.severity
        self.cause, self.advice, self.source = matter.cause, matter.advice, matter.source
        self.notes = matter.notes
        self._details = frozenset(matter.details)
        self._certainty = matter.certainty
        self._tally = Tally()

    def take(self, row: ops.Noted) -> None:
        """Take one row."""
        if not self._details or row.detail in self._details:
            self._tally.hit(row.at_ns, row.label)

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._tally, {"named_by_the_server": self._tally.count}, certainty=self._certainty)


def watchers() -> list[Witness]:
    """All of them."""
    return [Named(matter) for matter in MATTERS]
