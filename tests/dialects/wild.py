"""A server and a shell that do anything that is within a shell's promises, for guests that have nothing to read back from."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import strategies as st

from harness.conformance.books import Books
from harness.core import ops
from harness.core.credentials import Secret
from harness.core.pacing import Behaviour
from harness.core.session import Context, Target
from harness.core.spread import fixed
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse, OpenSocket, Output
from harness.dialects.registry import Dialect
from tests.dialects.hand import MS, WALL, Hand, Rows, S

THINK = Behaviour(think_time=fixed(1.0), typing=0.5, reload=0.1, attachments=0.0, session_length=fixed(40.0), between=fixed(2.0))
PLANNED = Behaviour(pacing="schedule", period=fixed(0.7), typing=0.2, reload=0.05, attachments=0.0, session_length=fixed(30.0))
CAUSES = ["timeout", "connection_reset", "connection_closed", "write_failed", ""]
GARBAGE = [b"{", b"[]", b"{}", b"\xff", b'{"access_token":7}', b'"' + b"x" * 300 + b'"', b"[" * 5000]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
BYTES = st.binary(max_size=200) | st.text(max_size=200) | JSON.map(json.dumps)
STEPS = st.lists(st.tuples(st.integers(0, 10), st.integers(0, 5000), BYTES), max_size=200)

Good = Callable[[HttpRequest, int], Any]
"""The body that a request deserves; the number is unlike each time."""
Frames = Callable[[str, int], list[Any]]
"""Frames of the dialect for a label; the number chooses."""


class Wild(Hand):
    """The books are checked with every row (`Books` raises)."""

    def __init__(self, dialect: Dialect, settings: Any, behaviour: Behaviour, seed: str, good: Good, frames: Frames) -> None:
        rows = Rows()
        self.books = Books(rows)
        target = Target("id", Secret("secret-client"), queue_id="queue-1", channel_id="channel-1")
        session = dialect.session(Context("run1", 1, target, behaviour, self.books, Random(seed), WALL), settings)
        super().__init__(session, rows)
        self.good, self.polite_frames = good, frames
        self.open_conns: list[int] = []
        self.count = 0

    def do(self, act: Callable[[int], object]) -> None:
        super().do(act)
        self.books.balance()
        self.books.agree(self.session)

    def _carry_out(self, output: Output) -> None:
        if isinstance(output, OpenSocket):
            assert output.path.isascii()
            assert output.path.isprintable()
        super()._carry_out(output)

    # ------------------------------------------------------------ what may happen
    def http(self, arg: int, raw: bytes | str = b"") -> None:
        if not self.requests:
            return
        self.count += 1
        kind = arg % 12
        if kind == 0:
            self.no_answer(CAUSES[arg % 4], written=bool(arg & 16))
        elif kind == 1:
            self.answer({"message": "no"}, [400, 401, 403][arg // 12 % 3])
        elif kind == 2:
            self.answer({}, 429, retry_after=str(arg % 9))
        elif kind == 3:
            self.answer({}, [404, 500, 503, 302][arg // 12 % 4])
        elif kind == 4:
            self.answer(GARBAGE[arg // 12 % len(GARBAGE)])
        elif kind == 5:
            self.answer(raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass"))
        else:
            self.answer(self.good(self.requests[0], self.count * 7 + arg // 12 % 7))

    def upgrade(self, arg: int) -> None:
        if not self.opens:
            return
        if arg % 4 == 0:
            self.refuse("upgrade_refused", HttpResponse([429, 503, 401, 403][arg // 4 % 4], {"retry-after": "3"}, b""))
        elif arg % 16 == 1:
            self.refuse(CAUSES[arg // 16 % 4])
        else:
            self.open_conns.append(self.opens[0].conn)
            self.open()

    def conn(self, arg: int) -> int:
        return self.open_conns[-1 - (arg % 3 == 0 and len(self.open_conns) > 1)]

    def frame(self, arg: int) -> None:
        if self.open_conns:
            frames = self.polite_frames(f"1-{self.session.conversation}", arg // 3 % 50 + 1)
            self.push(self.conn(arg), frames[arg // 3 % len(frames)])

    def noise(self, arg: int, raw: bytes | str) -> None:
        if self.open_conns:
            self.push(self.conn(arg), raw)

    def pong(self, arg: int) -> None:
        if self.pings:
            conn = self.pings.pop()
            self.do(lambda now: self.session.on_pong(now, conn))

    def gone(self, arg: int) -> None:
        if self.open_conns:
            conn = self.open_conns.pop(arg % len(self.open_conns))
            sent = next((close.code for close in self.closes if close.conn == conn), 0)
            self.end(conn, [sent, 0, 1011, 1008][arg // 7 % 4], CAUSES[arg // 28 % 5])

    def tick(self, arg: int) -> None:
        if self.session.next_deadline() is not None:
            self.next_timer()

    def step(self, what: int, arg: int, raw: bytes | str) -> None:
        if what in (0, 1):
            self.http(arg, raw)
        elif what == 2:
            self.upgrade(arg)
        elif what in (3, 4):
            self.frame(arg)
        elif what == 5:
            self.noise(arg, raw)
        elif what == 6:
            self.gone(arg)
        elif what == 7:
            self.pong(arg)
        elif what in (8, 9):
            self.tick(arg)
        elif arg % 40 == 0:
            self.do(self.session.stop)
        else:
            self.run(arg % 4000 * MS)

    def walk(self, rng: Random, length: int) -> None:
        """Mostly in order, so that it gets far."""
        for _ in range(length):
            if self.finished:
                return
            roll = rng.random()
            if self.requests and roll < 0.5:
                self.http(rng.randrange(5000) if rng.random() < 0.2 else 6 + 12 * rng.randrange(7))
            elif self.opens and roll < 0.8:
                self.upgrade(rng.randrange(5000) if rng.random() < 0.2 else 2)
            elif self.open_conns and roll < 0.6:
                self.frame(rng.randrange(5000))
                self.pong(0)
            elif roll < 0.62:
                self.gone(rng.randrange(5000))
            else:
                self.tick(0)

    # ------------------------------------------------------------ the end
    def wind_up(self, answers: int) -> None:
        """Close; from here on the shell keeps its promises and the server may be silent or in order."""
        self.do(self.session.close)
        end = self.now + 600 * S
        while self.finished < 1 and self.now < end:
            while self.requests:
                if answers % 3 == 0:
                    request = self.request()
                    self.do(lambda now, r=request: self.session.on_http(now, r, HttpFailure("timeout", True)))  # type: ignore[misc]
                else:
                    self.http(6)
            while self.opens:
                if answers % 2:
                    self.refuse("connect_timeout")
                else:
                    self.open_conns.append(self.opens[0].conn)
                    self.open()
            closing = {close.conn for close in self.closes}
            for conn in [conn for conn in self.open_conns if conn in closing]:
                self.open_conns.remove(conn)
                self.end(conn, 0, "timeout")
            if self.finished < 1:
                if self.session.next_deadline() is not None:
                    self.next_timer()
                else:
                    self.now += S
        assert self.finished == 1
        assert not self.session.outputs()

    def check_books(self) -> None:
        """What can only be seen at the end."""
        self.books.settled([self.session])
        invoked = {(row.label, row.seq) for row in self.rows.of(ops.Invoked)}
        closed = Counter((row.label, row.seq) for row in self.rows.of(ops.Closed))
        assert set(closed) == invoked
        assert set(closed.values()) <= {1}
        ended = self.rows.of(ops.Ended)
        assert {label for label, _ in invoked} <= {row.label for row in ended}
        assert not any(row.complete or row.listing for row in ended)
        assert "secret" not in repr(self.rows.all)
