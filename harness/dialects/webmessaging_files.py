"""Files of webmessaging: a place is asked for, the bytes are put there, the server says that they came, a message names them."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from harness.core.address import own_address
from harness.core.session import Op, Socket
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse
from harness.dialects.webmessaging_frames import Deleted, Fault, File, Presigned, Said, Uploaded, attachment, request
from harness.dialects.webmessaging_talk import WebmessagingTalk
from harness.errors import FailureCause

_PNG = b"\x89PNG\r\n\x1a\n"
_UNSAFE = ("host", "content-length", "transfer-encoding", "connection", "authorization", "cookie", "upgrade", "origin", "expect")
ASKED, PUTTING, AWAITED, THERE, NAMED, NONE = "asked", "putting", "awaited", "there", "named", "none"


class Upload(msgspec.Struct):
    """The file of one message, and how far it has come."""

    step: str
    ident: str = ""
    name: str = ""
    kind: str = ""
    size: int = 0
    conn: int = 0
    tried: int = 0


@lru_cache(maxsize=4)
def content(size: int) -> bytes:
    """A file's bytes."""
    return (_PNG + bytes(max(size - len(_PNG), 0)))[:size]


class WebmessagingFiles(WebmessagingTalk):
    """The part of a webmessaging guest that sends and looks at files."""

    def _hand_over(self, now: int, op: Op) -> None:
        upload = self._file_of(op)
        if upload.step == NONE or upload.step == THERE or (self.settings.race_attachments and upload.step != ASKED):
            super()._hand_over(now, op)
            return
        if not upload.tried or (upload.conn != self._conn and upload.step in (ASKED, AWAITED)):
            self._ask_for_place(now, op, upload)  # what was answered on a lost socket is asked for once more

    def _file_of(self, op: Op) -> Upload:
        """What was decided for this message when it was first to be sent."""
        if isinstance(op.attachment, Upload):
            return op.attachment
        settings, allowed = self.settings, self._deployment is None or self._deployment.uploads
        op.attachment = upload = Upload(NONE)
        if allowed and op.seq not in self._pressed and self.rng.random() < self.behaviour.attachments:
            forbidden = self.rng.random() < settings.forbidden_attachments
            upload.step = ASKED
            upload.name = settings.forbidden_name if forbidden else settings.attachment_name
            upload.kind = settings.forbidden_type if forbidden else settings.attachment_type
            upload.size = settings.attachment_bytes
        return upload

    def _file_content(self, op: Op) -> list[dict[str, Any]] | None:
        upload = op.attachment
        if not isinstance(upload, Upload) or upload.step == NONE:
            return None
        return [{"contentType": "Attachment", "attachment": {"id": upload.ident}}]

    # ---------------------------------------------------------------- up
    def _ask_for_place(self, now: int, op: Op, upload: Upload) -> None:
        if upload.tried >= self.settings.upload_attempts:
            self._upload_failed(now, op, "given up")
            return
        upload.tried += 1
        upload.step, upload.ident, upload.conn = ASKED, self._uuid(), self._conn
        trace = self._uuid()
        frame = attachment(self._session.reveal(), trace, upload.ident, upload.name, upload.kind, upload.size)
        self._ask(now, "presign", frame, trace, partial(self._place_answered, op.seq))
        self._arm(f"upload:{op.seq}", now + self.settings.upload_timeout)

    def _uploading(self, seq: int) -> tuple[Op, Upload] | None:
        op = self.ops.get(seq)
        if op is None or op.closed or not isinstance(op.attachment, Upload):
            return None
        return op, op.attachment

    def _place_answered(self, seq: int, now: int, answer: Presigned | Fault) -> None:
        found = self._uploading(seq)
        if found is None or found[1].step != ASKED:
            return
        op, upload = found
        if isinstance(answer, Fault):
            if not answer.code:
                return  # the socket is gone or silent: asked again with the next, or given up in time
            if answer.limited:
                self._disarm(f"upload:{seq}")
                self._upload_failed(now, op, "rate limited", FailureCause.RATE_LIMITED)
                return
            self._note(now, "attachment.refused", str(answer.code))
            self._upload_failed(now, op, "", FailureCause.MIME_REFUSED if answer.code == 4001 else FailureCause.UPLOAD_FAILED)
            return
        place = own_address(answer.url, self.context.target.bases)
        if place is None or not answer.headers:
            self._upload_failed(now, op, "foreign address")
            return
        upload.step = PUTTING
        headers = [(key, value) for key, value in answer.headers if _fit(key, value)]
        if all(key.lower() != "content-type" for key, _ in headers):
            headers.append(("Content-Type", upload.kind))
        self._request(
            now,
            "upload",
            "PUT " + _template(place[1]),
            place[0],
            place[1],
            partial(self._put_answered, seq, upload.ident),
            body=content(upload.size),
            headers=headers,
            timeout_ns=self.settings.upload_timeout,
            lane="files",
        )
        if self.settings.race_attachments and self._way_free():
            self._hand_over(now, op)

    def _put_answered(self, seq: int, ident: str, now: int, asked: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:  # noqa: ARG002
        found = self._uploading(seq)
        if found is None or found[1].ident != ident:
            return
        op, upload = found
        if isinstance(outcome, HttpResponse) and 200 <= outcome.status < 300:
            if upload.step == PUTTING:
                upload.step = AWAITED
                if upload.conn != self._conn and op.seq not in self._written and self._way_free():
                    self._hand_over(now, op)
        elif upload.step == PUTTING and not self.settings.race_attachments:
            self._again(now, op, upload)

    def _again(self, now: int, op: Op, upload: Upload) -> None:
        """The bytes did not get there: ask for another place."""
        if upload.tried >= self.settings.upload_attempts:
            self._upload_failed(now, op, "given up")
            return
        upload.step, upload.conn = ASKED, 0
        if self._way_free():
            self._hand_over(now, op)

    def _on_uploaded(self, now: int, event: Uploaded) -> None:
        """The server has the file, or does not want it."""
        for seq in list(self.ops):
            found = self._uploading(seq)
            if found is None or found[1].ident != event.ident or found[1].step not in (PUTTING, AWAITED):
                continue
            op, upload = found
            if event.code:
                self._note(now, "attachment.refused", event.code)
                self._upload_failed(now, op, event.code)
            else:
                self._disarm(f"upload:{seq}")
                if self.rng.random() < self.settings.delete_attachments and not self.settings.race_attachments:
                    self._take_back(now, upload)
                else:
                    upload.step = THERE
                if seq not in self._written and self._way_free():
                    self._transmit(now, op)

    def _take_back(self, now: int, upload: Upload) -> None:
        """The guest thinks better of it: the text goes without the file."""
        upload.step = NONE
        if self.phase == "live":
            trace = self._uuid()
            frame = request("deleteAttachment", self._session.reveal(), trace, attachmentId=upload.ident)
            self._ask(now, "", frame, trace, _taken_back)

    def _upload_failed(self, now: int, op: Op, why: str, cause: FailureCause = FailureCause.UPLOAD_FAILED) -> None:
        """The message goes with its file or not at all."""
        self._disarm(f"upload:{op.seq}")
        if why:
            self._note(now, "upload.failed", why)
        if not op.closed and op.seq not in self._written:  # one that has left is judged by what becomes of it
            self._fail(now, op, cause)
            self._settled(now, op)

    def _upload_overdue(self, now: int, seq: int) -> None:
        found = self._uploading(seq)
        if found is not None and found[1].step in (ASKED, PUTTING, AWAITED):
            self._upload_failed(now, found[0], "timeout")

    def _settled(self, now: int, op: Op) -> None:
        self._disarm(f"upload:{op.seq}")
        super()._settled(now, op)

    # ---------------------------------------------------------------- down
    def _on_said(self, now: int, socket: Socket, said: Said) -> None:
        op = self._registry.get(said.message.trace)
        upload = op.attachment if op is not None else None
        if isinstance(upload, Upload) and upload.step != NONE and not said.files:
            self._note(now, "attachment.broken")
        super()._on_said(now, socket, said)
        if socket.conn == self._conn:
            self._look_at(now, said)

    def _look_at(self, now: int, said: Said) -> None:
        """A page shows what hangs on a message; a share of guests look at it."""
        for file in said.files:
            place = own_address(file.url, self.context.target.bases)
            if not file.ident or place is None:
                self._note(now, "attachment.broken")
            elif self.state == "chatting" and self.rng.random() < self.settings.downloads:
                again = self.rng.random() < self.settings.refresh_downloads
                self._download(now, file, place, again)

    def _download(self, now: int, file: File, place: tuple[str, str], again: bool) -> None:
        def done(at: int, request_id: str, answer: HttpResponse | None) -> None:  # noqa: ARG001
            if again and self.phase == "live":
                trace = self._uuid()
                frame = request("getAttachment", self._session.reveal(), trace, attachmentId=file.ident)
                self._ask(at, "presign", frame, trace, _taken_back)

        self._call(
            now, "download", "GET " + _template(place[1]), place[1], done, base=place[0], bearer=False, attempts=1, lane="files"
        )


def _template(path: str) -> str:
    """A path without ids and signature, for rows."""
    first = urlsplit(path).path.strip("/").split("/")[0]
    return f"/{first[:32] if first.isalpha() else 'file'}/{{id}}"


def _fit(key: str, value: str) -> bool:
    """Whether a header that the server wants may be sent."""
    return (
        key.isascii()
        and key.replace("-", "").isalnum()
        and key.lower() not in _UNSAFE
        and value.isascii()
        and value.isprintable()
        and len(key) + len(value) <= 4096
    )


def _taken_back(now: int, answer: Deleted | Presigned | Fault) -> None:
    """What is answered changes nothing for the guest."""
