"""toy, the guest's half: a guest for each conversation, its token in the socket's address, an ack for each message."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from harness.core.calling import Ask, Grant
from harness.core.chat import ChatGuest, ChatSettings
from harness.core.credentials import Secret
from harness.core.reading import load, load_object, name, path_id, seconds_ns, token
from harness.core.session import Context, Op, Socket
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse
from harness.dialects.registry import Dialect
from harness.errors import FailureCause


@dataclass(frozen=True, slots=True)
class ToySettings(ChatSettings):
    """Every number and name of the dialect; a scenario sets them under `[dialects.toy]`."""

    guests_path: str = "/toy/guests"


class ToyGuest(ChatGuest):
    """One toy guest."""

    def __init__(self, context: Context, settings: ToySettings) -> None:
        super().__init__(context, settings)
        self.settings = settings
        self._offered = ""
        """The guest's id that came with the newest token."""

    # ---------------------------------------------------------------- a guest and its token
    def _begin_conversation(self, now: int) -> None:
        self.credential = None  # it has served its conversation
        super()._begin_conversation(now)

    def _token_request(self) -> Ask:
        target = self.context.target
        form = urlencode({"client": target.client_id, "secret": target.client_secret.reveal()})
        return Ask("api", self.settings.guests_path, form.encode(), [("Content-Type", "application/x-www-form-urlencoded")])

    def _read_grant(self, body: bytes) -> Grant | None:
        answer = load_object(body)
        value = token(answer, "token")
        return Grant(Secret(value), 0) if value and path_id(answer, "guest") else None

    def _token_answered(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        if isinstance(outcome, HttpResponse):
            self._offered = path_id(load_object(outcome.body), "guest")
        super()._token_answered(now, request, outcome)

    def _prepare(self, now: int) -> None:
        if self.conversation_id:
            self._connect(now)
        else:
            self._need_token(now, partial(self._registered, self._life))

    def _registered(self, life: int, now: int, ok: bool) -> None:
        if life != self._life:
            return
        if ok:
            self.conversation_id = self._offered
            self._connect(now)
        else:
            self._start_failed(now, self._gave_up)

    # ---------------------------------------------------------------- socket
    def _frame_endpoint(self) -> str:
        return f"WS {self.settings.guests_path}/{{id}}/socket"

    def _socket_target(self) -> tuple[str, str]:
        value = self.credential.value.reveal() if self.credential is not None else ""
        guest = quote(self.conversation_id, safe="")
        return "api", f"{self.settings.guests_path}/{guest}/socket?token={quote(value, safe='')}"

    def _greet(self, now: int, socket: Socket) -> None:
        self._let_in(now, socket)  # who has the token is in

    def _on_upgrade_refused(self, now: int, response: HttpResponse | None) -> None:
        if response is None or response.status != 401:
            return
        if self._chat_begun:
            self._note(now, "conversation.gone")
            self._finish_conversation(now, FailureCause.NOT_FOUND.value)
        else:
            self._note(now, "auth.rejected", "401")
            self._start_failed(now, FailureCause.AUTH_REJECTED)

    # ---------------------------------------------------------------- frames
    def _message_frame(self, op: Op) -> str:
        return _text({"say": op.text, "id": op.message_id})

    def _typing_frame(self) -> str:
        return '{"writes":true}'

    def _end_frame(self, reason: str) -> str:
        return '{"bye":true}'

    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        socket = self.sockets[conn]
        frame = load(data) if isinstance(data, str) and len(data) <= self.settings.max_frame_bytes else None
        if not isinstance(frame, dict):
            self._note(now, f"violation.{FailureCause.MALFORMED}")
        elif isinstance(said := frame.get("said"), str):
            self._hear(now, socket, said, name(frame, "id"), 0)
        elif "ack" in frame:
            if (op := self._meant(name(frame, "ack"))) is not None:
                self._confirm(now, op, "ack", "ack")
            else:
                self._note(now, "ack.unexpected")
        elif "slow" in frame:
            self._limited_by_frame(now, socket, "message", seconds_ns(frame["slow"]), self._meant(name(frame, "id")))
        elif "bye" in frame:
            self._over(now, socket, "bye")
        elif "writes" not in frame:
            self._note(now, "frame.unknown_type")
        self._finish_if_done(now)

    def _meant(self, message_id: str) -> Op | None:
        return next((op for op in self.ops.values() if op.message_id == message_id), None)


def _text(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


DIALECT = Dialect(
    name="toy",
    published=False,
    transport="websocket",
    correlation="client_id",
    bases=("api",),
    settings=ToySettings,
    session=ToyGuest,
    sources=("docs/add-a-dialect.md",),
    transcript=str(Path(__file__).with_name("toy.jsonl")),
    measures=("token", "connect", "ack", "reply", "reconnect.gap"),
    client_faults={"no_keepalive": {"ping_every": 0}},
)
