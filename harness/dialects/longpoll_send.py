"""How a guest of `longpoll` sends: one POST at a time, a file first where there is one, and what an answer proves."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from enum import StrEnum
from urllib.parse import quote

import msgspec

from harness.core.session import Context, Op
from harness.core.wire import HttpFailure, HttpResponse
from harness.dialects.longpoll_attachment import (
    Upload,
    boundary,
    content,
    decode_upload,
    hasty_reference,
    multipart,
    reference,
)
from harness.dialects.longpoll_auth import AuthorisedSession, Call, Outcome, cause_of
from harness.dialects.longpoll_settings import LongpollSettings
from harness.errors import FailureCause

UPLOAD_PATH = "/api/v2/files/upload"
CONVERSATION = "/api/v2/conversations/{id}"
JSON = "application/json"


class Phase(StrEnum):
    """Where a conversation is, as the protocol sees it."""

    IDLE = "idle"
    TOKEN = "token"  # noqa: S105
    GUEST = "guest"
    LIVE = "live"
    LEAVING = "leaving"
    OVER = "over"
    """Nothing more is asked for; what is under way is waited for."""


class SendingSession(AuthorisedSession):
    """The sending side of one guest; receiving and the conversation's life are the subclass's."""

    def __init__(self, context: Context, settings: LongpollSettings) -> None:
        super().__init__(context, settings)
        self._phase = Phase.IDLE
        self._guest_id = ""
        self._uploads_off = False
        """Three uploads failed and nothing has succeeded since."""
        self._careless = self.rng.random() < settings.forbidden_attachments
        self._retries: dict[str, Call] = {}
        """By timer: calls that wait to be asked again."""
        self._clear_sending()

    def _clear_sending(self) -> None:
        """Forget what belongs to one conversation."""
        self._agent = False
        """Whether an agent has accepted."""
        self._queue_id = self.context.target.queue_id
        self._queue: deque[Op] = deque()
        """Messages that wait for their turn."""
        self._current: Op | None = None
        """The message in hand: its file is uploaded, its POST is under way, or it waits to be tried again."""
        self._post: Call | None = None
        self._unknown: set[int] = set()
        """Messages whose POST ended without an answer that tells."""
        self._evident = False
        """The message whose POST is under way was seen in the stream already."""
        self._attached: set[int] = set()
        """Messages that should come back with a file."""
        self._retries.clear()

    @abstractmethod
    def _conversation_gone(self, now: int, status: int) -> None:
        """An answer said that the conversation or the guest is not known any more."""

    @abstractmethod
    def _reload(self, now: int) -> None:
        """The guest loads the page anew before it sends."""

    def _retry_later(self, now: int, call: Call, outcome: Outcome, limit: int) -> bool:
        """Ask again after the wait that the outcome calls for; False: it is final."""
        call.attempt += 1
        wait = None if self._silenced() else self._retry_wait(now, outcome, call.attempt, limit)
        if wait is None:
            return False
        name = f"call:{call.measure}"
        self._retries[name] = call
        self._arm(name, now + wait)
        return True

    def _seen_in_stream(self, now: int, seq: int) -> None:
        """The server has this message: its own copy, or an agent's answer to it, was read."""
        if self._post is not None and self._post.op is not None and self._post.op.seq == seq:
            self._evident = True
        elif seq in self._unknown:
            self._unknown.discard(seq)
            op = self.ops.get(seq)
            if op is not None:
                self._confirm(now, op, "listing")

    def _drop_unsent(self) -> None:
        """Enough waited: what was not written yet is not sent any more."""
        self._queue.clear()
        if self._current is not None and (self._timers.pop("post", 0) or self._timers.pop("call:upload", 0)):
            self._current = None

    # ---------------------------------------------------------------- messages
    def _can_speak(self) -> bool:
        """Sending does not need the poll: a guest whose poll was dropped may speak."""
        return self._phase is Phase.LIVE and self._agent

    def _transmit(self, now: int, op: Op) -> None:
        if op is self._current:
            self._post_message(now, op)
        else:
            self._queue.append(op)
            if self._current is None:
                self._send_next(now, 0)

    def _send_next(self, now: int, free_ns: int) -> None:
        """Take the next message in hand; `free_ns` is when the one before it was done with (0: none was)."""
        if self._current is not None or not self._queue or self._phase not in (Phase.LIVE, Phase.LEAVING):
            return
        op = self._current = self._queue.popleft()
        if free_ns:
            op.free_ns = free_ns
        if self.rng.random() < self.behaviour.reload:
            self._reload(now)
        if self.rng.random() < self.behaviour.attachments:
            self._attach(now, op)
        else:
            self._post_message(now, op)

    def _post_message(self, now: int, op: Op) -> None:
        upload = op.attachment
        files = upload.reference if isinstance(upload, Upload) else []
        if isinstance(upload, Upload) and (files or self.settings.race_attachments):
            self._attached.add(op.seq)
        settings = self.settings
        sender = {"id": self._guest_id, "type": "guest", "name": f"{settings.first_name} {settings.last_name}"}
        body = {"to": {"id": self._queue_id, "type": "queue"}, "from": sender, "text": op.text, "attachments": files}
        self._evident = False
        self._post = Call(
            "ack",
            "POST " + CONVERSATION + "/messages",
            f"/api/v2/conversations/{quote(self.conversation_id, safe='')}/messages",
            self._on_posted,
            self.behaviour.confirm_timeout,
            op.intended_ns,
            lane="send",
            body=msgspec.json.encode(body),
            content_type=JSON,
            free_ns=op.free_ns,
            op=op,
        )
        self._call(now, self._post)

    def _on_posted(self, now: int, call: Call, outcome: Outcome) -> None:
        op = call.op
        assert op is not None
        self._post = None
        evident, self._evident = self._evident, False
        status = outcome.status if isinstance(outcome, HttpResponse) else 0
        if 200 <= status < 300:
            op.sent_ns = call.start_ns or now
            self._uploads_off = False
            self._unknown.discard(op.seq)
            self._confirm(now, op, "ack")
        elif evident:
            op.sent_ns = call.start_ns or now
            if 400 <= status < 500:
                self._note(now, "send.contradicted")  # refused, and stored all the same
            self._confirm(now, op, "listing")
        elif isinstance(outcome, HttpFailure) and not outcome.written:
            op.sent_ns = 0
            if self._try_again(now, op, outcome):
                return
            self._refuse(now, op, outcome)
        elif 400 <= status < 500 and status != 408:
            op.sent_ns = 0
            if status == 429 and self._try_again(now, op, outcome):
                return
            op.sent_ns = call.start_ns or now
            self._refuse(now, op, outcome)
        else:
            # It may be stored: not sent again by who knows better, open until its copy is read or the whole stream was.
            op.sent_ns = call.start_ns or now
            if not op.closed:
                self._unknown.add(op.seq)
                if self.settings.resend == "blind" and op.attempts < self.settings.limit_attempts and not self._silenced():
                    self._note(now, "message.resent")
                    self._arm("post", now + self.backoff.delay(op.attempts - 1, self.rng))
                    return
        self._current = None
        known = status not in (404, 409) and (status != 401 or not self.settings.refresh_refused)
        if not known and self._phase in (Phase.LIVE, Phase.LEAVING):
            self._conversation_gone(now, status)
        self._send_next(now, now)

    def _refuse(self, now: int, op: Op, outcome: Outcome) -> None:
        """This attempt certainly did not get there; an earlier one may have."""
        if op.seq in self._unknown:
            self._note(now, "resend.refused", cause_of(outcome).value)
        else:
            self._fail(now, op, cause_of(outcome))

    def _try_again(self, now: int, op: Op, outcome: Outcome) -> bool:
        if self._silenced():
            return False
        wait = self._retry_wait(now, outcome, op.attempts, self.settings.limit_attempts, repeatable=False)
        if wait is None:
            return False
        self._arm("post", now + wait)
        return True

    def _post_again(self, now: int, due: int) -> None:
        op = self._current
        if op is not None:
            op.free_ns = due
            self._attempt(now, op)

    # ---------------------------------------------------------------- attachments
    def _attach(self, now: int, op: Op) -> None:
        settings = self.settings
        if self._uploads_off:
            self._note(now, "upload.disabled")
            self._post_message(now, op)
            return
        name, kind = settings.attachment_name, settings.attachment_type
        if self._careless:
            name, kind = settings.forbidden_name, settings.forbidden_type
        if settings.check_types and kind not in settings.allowed_types:
            self._note(now, FailureCause.MIME_REFUSED.value)
            self._post_message(now, op)
            return
        upload = op.attachment = Upload(name, kind, settings.attachment_bytes, [])
        mark = boundary(self.rng)
        self._call(
            now,
            Call(
                "upload",
                "POST " + UPLOAD_PATH,
                UPLOAD_PATH,
                self._on_uploaded,
                settings.upload_timeout,
                op.intended_ns,
                lane="upload",
                body=multipart(name, kind, content(upload.size), mark),
                content_type=f"multipart/form-data; boundary={mark}",
                free_ns=op.free_ns,
                op=op,
            ),
        )
        if settings.race_attachments:
            upload.reference = hasty_reference(upload, self.rng)
            self._post_message(now, op)

    def _on_uploaded(self, now: int, call: Call, outcome: Outcome) -> None:
        op = call.op
        assert op is not None
        upload = op.attachment
        assert isinstance(upload, Upload)
        found = None
        if isinstance(outcome, HttpResponse) and 200 <= outcome.status < 300:
            found = decode_upload(outcome.body)
            if found is None:
                self._note(now, "upload.malformed")
                outcome = HttpResponse(502, {}, b"")  # no file, whatever the status says: worth another try
        if self.settings.race_attachments:
            return
        if found is not None:
            upload.reference = [reference(upload, *found)]
        else:
            if self._retry_later(now, call, outcome, self.settings.upload_attempts):
                return
            if isinstance(outcome, HttpResponse) and outcome.status == 415:
                self._note(now, FailureCause.MIME_REFUSED.value)
            else:
                self._note(now, FailureCause.UPLOAD_FAILED.value)
                self._uploads_off = True
            op.attachment = None
        if op is self._current and not self._silenced():
            op.free_ns = now
            self._post_message(now, op)
