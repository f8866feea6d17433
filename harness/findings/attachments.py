"""Files: sent before they were there, broken on arrival, given up."""

from __future__ import annotations

from collections import deque

from harness.core import ops
from harness.findings.detector import Detector, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

ATTEMPTS = 3
"""After so many failures in a row an upload is given up (seed 000, edge case 2)."""
_KEPT = 4


class _Files:
    __slots__ = ("failed", "sends", "uploads")

    def __init__(self) -> None:
        self.uploads: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self.sends: deque[int] = deque(maxlen=_KEPT)
        self.failed = 0


class Uploads(Witness):
    """Uploads and the messages that left while they were under way."""

    notes = ("attachment.broken", "attachment.refused")
    samples = ("upload", "ack", "echo")

    def __init__(self) -> None:
        self._guests: dict[str, _Files] = {}
        self.overlaps, self.broken, self.given_up = Tally(), Tally(), Tally()
        self.failures = self.uploads = self.refused = 0

    def take(self, row: ops.Sample | ops.Noted) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        if isinstance(row, ops.Noted):
            if row.what == "attachment.broken" or row.detail == "4010":  # 4010: named before it was uploaded
                self.broken.hit(row.at_ns, row.label)
            else:
                self.refused += 1
            return
        if row.measure == "upload":
            files = self._guests.get(slot)
            if files is None:
                files = self._guests[slot] = _Files()
            self._uploaded(files, row)
            return
        files = self._guests.get(slot)
        if files is None:
            files = self._guests[slot] = _Files()
        files.sends.append(row.start_ns)
        if any(begin <= row.start_ns < end for begin, end in files.uploads):
            self.overlaps.hit(row.at_ns, row.label)

    def _uploaded(self, files: _Files, row: ops.Sample) -> None:
        self.uploads += 1
        files.uploads.append((row.start_ns, row.end_ns))
        if any(row.start_ns <= start < row.end_ns for start in files.sends):
            self.overlaps.hit(row.at_ns, row.label)
        if row.outcome == ops.OK:
            files.failed = 0
            return
        self.failures += 1
        files.failed += 1
        if files.failed % ATTEMPTS == 0:
            self.given_up.hit(row.at_ns, row.label)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._guests.pop(slot, None)

    def evidence(self) -> dict[str, int | float]:
        """What the findings on files show."""
        return {
            "uploads": self.uploads,
            "uploads_failed": self.failures,
            "sent_during_upload": self.overlaps.count,
            "arrived_broken": self.broken.count,
            "refused_by_name": self.refused,
        }


class AttachmentRace(Detector):
    """Messages left while their file was still under way, and arrived without it."""

    id = "attachment-race"
    title = "Messages were sent before their file was uploaded"
    severity: Severity = "high"
    cause = "The message does not wait for the upload's answer, so its reference is empty, null or stale."
    advice = "Upload first, check file id and URL in the answer, then send."
    source = "seed 000, section 3 and edge case 2"

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    def finish(self) -> Finding | None:
        """What was seen."""
        uploads = self._uploads
        return self.found(uploads.overlaps, uploads.evidence()) if uploads.broken else None


class AttachmentBroken(Detector):
    """A file is missing, though its message waited for it."""

    id = "attachment-broken"
    title = "Attachments arrived broken"
    severity: Severity = "medium"
    cause = "The reference does not lead to a file, although the upload was over before the message was sent."
    advice = "Check what the upload's answer holds, and how long the URL lives."
    source = "seed 000, edge case 2; webmessaging 3.7"

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    def finish(self) -> Finding | None:
        """What was seen."""
        uploads = self._uploads
        return None if uploads.overlaps else self.found(uploads.broken, uploads.evidence())


class UploadGivenUp(Detector):
    """Three in a row failed."""

    id = "upload-failed-three-times"
    title = "Uploads failed three times in a row"
    severity: Severity = "medium"
    cause = "The files service refuses or does not answer."
    advice = "Tell the user, take the button away until something succeeds again, and do not try for ever."
    source = "seed 000, edge case 2"

    def __init__(self, uploads: Uploads) -> None:
        self._uploads = uploads

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._uploads.given_up, self._uploads.evidence())


def watchers() -> list[Witness]:
    """The family."""
    uploads = Uploads()
    return [uploads, AttachmentRace(uploads), AttachmentBroken(uploads), UploadGivenUp(uploads)]
