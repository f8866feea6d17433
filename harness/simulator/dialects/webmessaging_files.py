"""webmessaging: attachments, by presigned URLs."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from random import Random
from typing import TYPE_CHECKING, Any

from harness.simulator import instants
from harness.simulator.connections import Conn, Exchange
from harness.simulator.dialects import webmessaging_frames as frames
from harness.simulator.dialects.base import Route
from harness.simulator.dialects.webmessaging_frames import Body
from harness.simulator.dialects.webmessaging_session import Link, Session
from harness.simulator.tickets import Tickets

if TYPE_CHECKING:
    from harness.simulator.dialects.webmessaging import Webmessaging

PRESIGNED, UPLOADED, READY, FAILED, SENT = "presigned", "uploaded", "ready", "failed", "sent"
KEPT = 50_000
BYTES_KEPT = 64 * 1024 * 1024
TAGGING = "x-amz-tagging"
MEDIA = {"image": "Image", "video": "Video", "audio": "Audio"}


class File:
    """One attachment."""

    __slots__ = ("at", "content", "host", "id", "kind", "link", "name", "session", "sha256", "size", "state")

    def __init__(self, session: Session, host: str, fid: str, name: str, kind: str, size: int) -> None:
        self.session, self.host, self.id, self.name, self.kind, self.size = session, host, fid, name, kind, size
        self.state = PRESIGNED
        self.at = 0
        """When it was uploaded."""
        self.content: bytes | None = None
        self.sha256 = ""
        self.link = ""
        """Signature of the newest download URL."""


class Files:
    """All attachments that can still be asked for."""

    def __init__(self, half: Webmessaging) -> None:
        self._half, self._engine, self._settings = half, half.engine, half.settings
        seed = half.engine.seed
        self._rng = Random(f"{seed}/webmessaging/uploads")
        self._uploads = Tickets(Random(f"{seed}/webmessaging/put"))
        self._downloads = Tickets(Random(f"{seed}/webmessaging/get"))
        self._kept: OrderedDict[int, File] = OrderedDict()
        self._bytes = 0

    def routes(self) -> list[Route]:
        """What the presigned URLs lead to."""
        return [
            Route("PUT", "/uploads/{attachmentId}", self._put, "upload"),
            Route("GET", "/downloads/{attachmentId}", self._get, "list"),
        ]

    # ------------------------------------------------------------ actions
    def offer(self, now: int, conn: Conn, session: Session, frame: Body, tracing: str | None) -> None:
        """`onAttachment`: a URL to upload to, or the reason why not."""
        name, kind, size = frame.get("fileName"), frame.get("fileType"), frame.get("fileSize")
        given = frame.get("attachmentId")
        if name is None or kind is None or size is None:
            return self._half.refuse(now, conn, 4020, "fileName, fileType and fileSize are needed", tracing)
        if not isinstance(name, str) or not isinstance(kind, str) or type(size) is not int or size < 0:
            return self._half.refuse(now, conn, 400, "fileName and fileType are texts, fileSize is a whole number", tracing)
        fid = self._engine.new_uuid() if given is None else frames.short(given)
        known = session.files.get(fid or "")
        if fid is None or (known is not None and known.state in (READY, UPLOADED, SENT)):
            return self._half.refuse(now, conn, 400, "attachmentId cannot be used", tracing)
        code, text = self._fault_of(name, kind, size)
        if code:
            shape = self._settings.refusal_shape
            refused = frames.url_error(shape, code, text, fid, self._engine.stamp_ms(now), tracing)
            return self._engine.push(now, conn, refused)
        link: Link = conn.data
        file = session.files[fid] = File(session, link.host, fid, name, kind, size)
        signature = self._uploads.issue(now, self._settings.attachment_life, file)
        answer = self._presigned(file, f"{link.host}/uploads/{fid}?signature={signature}", {TAGGING: self._tagging(file)})
        return self._half.respond(now, conn, "PresignedUrlResponse", answer, tracing)

    def _fault_of(self, name: str, kind: str, size: int) -> tuple[int, str]:
        settings = self._settings
        stem, dot, extension = name.rpartition(".")
        if not settings.attachments:
            return 4000, "attachments are not enabled for this deployment"
        if len(name) >= settings.longest_file_name:
            return 4005, "the file's name is too long"
        if not (stem and dot and extension) or any(char in "/\\" or ord(char) < 32 for char in name):
            return 4004, "the file's name is not valid"
        if f".{extension}".lower() in {item.lower() for item in settings.blocked_extensions} or not self._allowed(kind):
            return 4001, "files of this type are not taken"
        if size == 0:
            return 4102, "the file is empty"
        if size > settings.max_file_kb * 1024:
            return 4002, f"the file is larger than {settings.max_file_kb} KB"
        return 0, ""

    def _allowed(self, kind: str) -> bool:
        family = kind.partition("/")[0]
        return any(item in ("*/*", kind, f"{family}/*") for item in self._settings.file_types)

    def refresh(self, now: int, conn: Conn, session: Session, frame: Body, tracing: str | None) -> None:
        """`getAttachment`: a fresh URL to download from."""
        file = self._asked(now, conn, session, frame, tracing)
        if file is None:
            return None
        if file.state not in (UPLOADED, READY, SENT):
            return self._half.refuse(now, conn, 4010, "the attachment was not uploaded", tracing)
        return self._half.respond(now, conn, "PresignedUrlResponse", self._presigned(file, self._download(now, file), {}), tracing)

    def delete(self, now: int, conn: Conn, session: Session, frame: Body, tracing: str | None) -> None:
        """`deleteAttachment`: of one that was not sent."""
        file = self._asked(now, conn, session, frame, tracing)
        if file is None:
            return None
        if file.state == SENT:
            return self._half.refuse(now, conn, 4009, "the attachment was sent already", tracing)
        del session.files[file.id]
        file.state = FAILED
        return self._half.respond(now, conn, "AttachmentDeletedResponse", {"attachmentId": file.id}, tracing)

    def _asked(self, now: int, conn: Conn, session: Session, frame: Body, tracing: str | None) -> File | None:
        given = frame.get("attachmentId")
        if given is None:
            self._half.refuse(now, conn, 4020, "attachmentId is needed", tracing)
            return None
        file = session.files.get(given) if isinstance(given, str) else None
        if file is None:
            self._half.refuse(now, conn, 4009, "there is no such attachment", tracing)
        return file

    # ------------------------------------------------------------ in messages
    def refused(self, now: int, session: Session, fid: str) -> tuple[int, str] | None:
        """Why a message may not name it; None: it may."""
        file = session.files.get(fid)
        if file is None or file.state == SENT:
            return 4009, "there is no such attachment"
        if file.state in (PRESIGNED, FAILED):
            return 4010, "the attachment was not uploaded"
        if now >= file.at + self._settings.attachment_life:
            return 4008, "the attachment has expired"
        return None

    def sent(self, now: int, session: Session, fid: str) -> Body:
        """It goes out with a message: how it is shown there."""
        file = session.files[fid]
        file.state = SENT
        return {
            "id": file.id,
            "mediaType": MEDIA.get(file.kind.partition("/")[0], "File"),
            "mime": file.kind,
            "url": self._download(now, file, fresh=False),
            "filename": file.name,
            "fileSize": file.size,
            "sha256": file.sha256,
        }

    # ------------------------------------------------------------ HTTP
    def _put(self, now: int, exchange: Exchange) -> None:
        engine, settings = self._engine, self._settings
        ticket = self._uploads.look(now, exchange.query.get("signature", ""))
        file: File | None = ticket.data if ticket is not None and ticket.live(now) else None
        if (
            file is None
            or file.id != exchange.params[0]
            or file.state != PRESIGNED
            or exchange.headers.get(TAGGING) != self._tagging(file)
        ):
            return engine.answer(now, exchange, 403)
        file.state, file.at = UPLOADED, now
        file.sha256 = hashlib.sha256(exchange.body).hexdigest()
        trouble, text = 0, ""
        if not exchange.body:
            trouble, text = 4102, "the file is empty"
        elif len(exchange.body) > settings.max_file_kb * 1024:
            trouble, text = 4002, "the file is too large"
        elif settings.upload_failures > 0.0 and self._rng.random() < settings.upload_failures:
            trouble, text = 4003, "the file's content is not valid"
        if not trouble:
            self._keep(file, exchange.body)
        engine.answer(now, exchange, 200)
        engine.timers.at(now + settings.scan, self._scanned, file, trouble, text)
        return None

    def _scanned(self, now: int, file: File, trouble: int, text: str) -> None:
        """Tell every connection what became of an upload."""
        if file.state != UPLOADED:
            return
        body: Body = {"attachmentId": file.id}
        if trouble:
            file.state = FAILED
            body.update(errorCode=trouble, errorMessage=text)
        else:
            file.state = READY
            body["downloadUrl"] = self._download(now, file)
        body["timestamp"] = instants.iso(self._engine.stamp_ms(now))
        self._half.broadcast(now, file.session, frames.event("UploadFailureEvent" if trouble else "UploadSuccessEvent", body))

    def _get(self, now: int, exchange: Exchange) -> None:
        ticket = self._downloads.look(now, exchange.query.get("signature", ""))
        file: File | None = ticket.data if ticket is not None and ticket.live(now) else None
        if file is None or file.id != exchange.params[0] or file.content is None:
            return self._engine.answer(now, exchange, 403)
        return self._engine.answer(now, exchange, 200, file.content, headers={"content-type": _header(file.kind)})

    # ------------------------------------------------------------ small
    def _keep(self, file: File, content: bytes) -> None:
        file.content = content
        self._bytes += len(content)
        self._kept[id(file)] = file
        while self._kept and (len(self._kept) > KEPT or self._bytes > BYTES_KEPT):
            self._let_go(next(iter(self._kept.values())))

    def _let_go(self, file: File) -> None:
        if self._kept.pop(id(file), None) is not None:
            self._bytes -= len(file.content or b"")
            file.content = None

    def forget(self, session: Session) -> None:
        """A session is forgotten, and with it its files."""
        for file in session.files.values():
            self._let_go(file)
        session.files.clear()

    def _download(self, now: int, file: File, *, fresh: bool = True) -> str:
        """A URL to download from: a new one, or the newest if it is still good."""
        ticket = None if fresh else self._downloads.look(now, file.link)
        if ticket is None or not ticket.live(now):
            file.link = self._downloads.issue(now, self._settings.download_life, file)
        return f"{file.host}/downloads/{file.id}?signature={file.link}"

    @staticmethod
    def _presigned(file: File, url: str, headers: dict[str, str]) -> dict[str, Any]:
        return {
            "attachmentId": file.id,
            "headers": headers,
            "url": url,
            "fileName": file.name,
            "fileSize": file.size,
            "fileType": file.kind,
        }

    @staticmethod
    def _tagging(file: File) -> str:
        return f"session={file.session.digest}"


def _header(text: str) -> str:
    """A media type that may stand in a header; what is none is bytes."""
    fits = text.isascii() and text.isprintable() and "/" in text and len(text) < 200
    return text if fits else "application/octet-stream"
