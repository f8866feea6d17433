"""A session driven by hand: the test plays shell and server, instant by instant."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

from harness.core import ops
from harness.core.credentials import Secret
from harness.core.pacing import Behaviour
from harness.core.session import Context, GuestSession, Target
from harness.core.wire import (
    CloseSocket,
    Finished,
    HttpFailure,
    HttpRequest,
    HttpResponse,
    OpenSocket,
    Output,
    PingSocket,
    SendText,
    SocketEnd,
)

S = 10**9
MS = 10**6
START = 1000 * S
WALL = 1_715_524_200 * S - START
"""2024-05-12T14:30:00Z at `START`."""

R = TypeVar("R")


class Rows:
    """Everything that was observed, in order."""

    def __init__(self) -> None:
        self.all: list[ops.Row] = []

    def record(self, row: ops.Row) -> None:
        """Keep it."""
        self.all.append(row)

    def of(self, kind: type[R]) -> list[R]:
        """Those of one kind."""
        return [row for row in self.all if isinstance(row, kind)]

    def samples(self, measure: str) -> list[ops.Sample]:
        """Everything timed under one name."""
        return [row for row in self.of(ops.Sample) if row.measure == measure]

    def notes(self) -> list[str]:
        """Names of everything noted."""
        return [row.what for row in self.of(ops.Noted)]


def context(rows: Rows, behaviour: Behaviour, *, seed: str = "hand", **target: Any) -> Context:
    """What a session of slot 1 is given."""
    fields: dict[str, Any] = {"client_id": "YOUR_APP_ID", "client_secret": Secret("YOUR_APP_SECRET"), **target}
    return Context("run1", 1, Target(**fields), behaviour, rows, Random(seed), WALL)


class Hand:
    """Clock, shell and server in one."""

    def __init__(self, session: GuestSession, rows: Rows) -> None:
        self.session, self.rows, self.now = session, rows, START
        self.requests: list[HttpRequest] = []
        self.opens: list[OpenSocket] = []
        self.sent: list[tuple[int, str]] = []
        self.pings: list[int] = []
        """Sockets on which a ping control frame was written."""
        self.closes: list[CloseSocket] = []
        self.finished = 0
        self.write = True
        """Whether frames reach the wire."""

    # ------------------------------------------------------------ shell
    def do(self, act: Callable[[int], object]) -> None:
        """Let the session take one input, then carry out what it asks for."""
        act(self.now)
        self.pump()

    def pump(self) -> None:
        """Carry out what the session asks for."""
        while outputs := self.session.outputs():
            for output in outputs:
                self._carry_out(output)

    def _carry_out(self, output: Output) -> None:
        assert self.finished < 1, f"{output} after Finished"
        if isinstance(output, HttpRequest):
            output.start_ns = self.now
            self.requests.append(output)
        elif isinstance(output, OpenSocket):
            output.start_ns = self.now
            self.opens.append(output)
        elif isinstance(output, SendText):
            assert output.conn not in {close.conn for close in self.closes}, f"{output} after close"
            if self.write:
                if output.key:
                    self.session.on_written(self.now, output.key)
                self.sent.append((output.conn, output.text))
        elif isinstance(output, PingSocket):
            self.pings.append(output.conn)
        elif isinstance(output, CloseSocket):
            assert output.conn not in {close.conn for close in self.closes}
            self.closes.append(output)
        elif isinstance(output, Finished):
            self.finished += 1

    def start(self) -> None:
        """The guest arrives."""
        self.do(self.session.start)

    def run(self, duration: int) -> None:
        """Let time pass; timers fire at their instants."""
        until = self.now + duration
        while (at := self.session.next_deadline()) is not None and at <= until:
            self.now = max(self.now, at)
            self.do(self.session.on_deadline)
        self.now = until

    def next_timer(self) -> None:
        """Jump to the next deadline."""
        at = self.session.next_deadline()
        assert at is not None
        self.now = max(self.now, at)
        self.do(self.session.on_deadline)

    # ------------------------------------------------------------ server
    def request(self) -> HttpRequest:
        """The oldest unanswered request."""
        assert self.requests, "no request"
        return self.requests.pop(0)

    def answer(self, body: Any, status: int = 200, *, request: HttpRequest | None = None, **headers: str) -> HttpRequest:
        """Answer the oldest request (or that one)."""
        request = request or self.request()
        if request in self.requests:
            self.requests.remove(request)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        response = HttpResponse(status, {k.replace("_", "-"): v for k, v in headers.items()}, data)
        self.do(lambda now: self.session.on_http(now, request, response))
        return request

    def no_answer(self, cause: str = "connection_reset", *, written: bool = True) -> None:
        """The oldest unanswered request fails."""
        request = self.request()
        self.do(lambda now: self.session.on_http(now, request, HttpFailure(cause, written)))

    def open(self) -> int:
        """Accept the oldest upgrade; the number of the socket."""
        conn = self.opens.pop(0).conn
        self.do(lambda now: self.session.on_open(now, conn, f"10.0.0.1:{40000 + conn}"))
        return conn

    def refuse(self, cause: str = "upgrade_refused", response: HttpResponse | None = None) -> None:
        """Refuse the oldest upgrade."""
        conn = self.opens.pop(0).conn
        self.do(lambda now: self.session.on_open_failed(now, conn, cause, response))

    def push(self, conn: int, frame: Any) -> None:
        """A frame of the server's: text, bytes, or what becomes JSON."""
        data = frame if isinstance(frame, str | bytes) else json.dumps(frame)
        self.do(lambda now: self.session.on_frame(now, conn, data))

    def end(self, conn: int, code: int = 0, cause: str = "") -> None:
        """The socket is over."""
        self.do(lambda now: self.session.on_closed(now, conn, SocketEnd(code, "", cause)))

    def frames(self, conn: int = 0) -> list[dict[str, Any]]:
        """What was sent since the last look (on that socket)."""
        taken = [(c, t) for c, t in self.sent if not conn or c == conn]
        self.sent = [(c, t) for c, t in self.sent if conn and c != conn]
        return [json.loads(text) for _, text in taken]
