"""How what comes in reaches its half: at once or, where the server's capacity is limited, after its turn in the queue.

What one guest says in one conversation is taken in the order in which it came, over however many connections, although its pieces
are worked on side by side: a message that is finished before an earlier one waits for it (its server does not), and a frame that is
no work lines up behind messages that wait, unless it is none of the conversation's business (a ping).

A message that has come in has been read: it is worked on and stored even if its connection has ended meanwhile, as behind a real
gateway. Its confirmation then goes nowhere, or, where it is a push, to the guest's next connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.simulator.capacity import REFUSE, ServiceQueue
from harness.simulator.connections import Conn, Exchange
from harness.simulator.timers import Timer

if TYPE_CHECKING:
    from harness.simulator.dialects.base import Route
    from harness.simulator.engine import Engine

OVERLOADED = b'{"code":"service.unavailable"}'


class Arrival(NamedTuple):
    """What a half says about a frame before it is worked on."""

    message: bool
    """Is it a guest's message, which needs a server?"""
    name: str = ""
    """How limits name it, where they are asked before the queue and not behind it; "": the half asks when it comes to that."""
    aside: bool = False
    """Is it dealt with at once, even if messages of the same guest wait?"""


class Turn:
    """Something that has come in and is not dealt with yet."""

    __slots__ = ("act", "arrived", "line", "ready")

    def __init__(self, line: Line, arrived: int, act: Callable[[int], None], *, ready: bool) -> None:
        self.line, self.arrived, self.act, self.ready = line, arrived, act, ready


class Line:
    """What has come in of one conversation and is not dealt with yet, in order."""

    __slots__ = ("key", "turns")

    def __init__(self, key: str) -> None:
        self.key = key
        self.turns: deque[Turn] = deque()


class Intake:
    """The way in, of frames and of requests."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        table = self._table = engine.config.capacity
        rng = Random(f"{engine.seed}/capacity")

        def draw(at: int) -> int:
            ns = table.service.sample(rng)
            for fault in engine.faults.service:
                ns = fault.service(engine, at, ns)
            return ns

        self._queue = ServiceQueue(table.servers, draw, slowdown=table.slowdown, room=table.cliff) if table.servers else None
        self._also = frozenset(table.also)
        self._lines: dict[str, Line] = {}
        self._timer: Timer | None = None
        self.turned_away = 0
        """Beyond the cliff, or by a fault."""

    def health(self) -> dict[str, int]:
        """Its figures."""
        queue = self._queue
        return {
            "in_system": queue.in_system if queue else 0,
            "servers_busy": queue.busy if queue else 0,
            "served": queue.served if queue else 0,
            "turned_away": self.turned_away,
            "lines": len(self._lines),
        }

    # ------------------------------------------------------------ frames
    def frame(self, now: int, conn: Conn, data: str | bytes) -> None:
        """A frame, of which `engine.arrived` says when it came in."""
        engine = self._engine
        if self._queue is None and not engine.faults.fails:
            conn.dialect.on_frame(now, conn, data)
            return
        self._catch_up(now)
        seen = conn.dialect.arrival(now, conn, data)
        line = conn.line if conn.line is not None and conn.line.turns else self._lines.get(conn.dialect.thread(conn))
        if not seen.message and f"frame {seen.name}" not in self._also:
            if seen.aside or line is None:
                conn.dialect.on_frame(now, conn, data)
            else:
                self._add(now, line, lambda at: conn.dialect.on_frame(at, conn, data), ready=True)
            return
        line = conn.line = line or Line(conn.dialect.thread(conn))
        if seen.name and engine.limited:
            endpoint = f"frame {seen.name}"
            refusal = engine.frame_refusal(now, conn, endpoint)
            judged = endpoint, refusal
            if refusal is not None:
                self._add(now, line, lambda at: self._judged(at, conn, data, judged), ready=True)
                return
        else:
            judged = None
        if any(fault.fails(engine, now, conn) for fault in engine.faults.fails):
            self._turn_away(now, conn.id, "error")
            self._add(now, line, lambda at: conn.dialect.overloaded(at, conn, data), ready=True)
        elif self._queue is None:
            self._add(now, line, lambda at: self._judged(at, conn, data, judged), ready=True)
        elif not self._queue.full:
            self._queue.enter(now, self._add(now, line, lambda at: self._judged(at, conn, data, judged), ready=False))
            self._arm()
        else:
            self._turn_away(now, conn.id, self._table.cliff_answer)
            if self._table.cliff_answer == REFUSE:
                self._add(now, line, lambda at: conn.dialect.overloaded(at, conn, data), ready=True)

    @staticmethod
    def _judged(now: int, conn: Conn, data: str | bytes, judged: tuple[str, tuple[int, str] | None] | None) -> None:
        """Let the half have it; what limits say about it is known already."""
        conn.judged = judged
        conn.dialect.on_frame(now, conn, data)
        conn.judged = None

    # ------------------------------------------------------------ requests
    def request(self, now: int, exchange: Exchange, route: Route) -> None:
        """A request that neither a fault nor a limit has refused."""
        also = not self._also.isdisjoint(("*", route.endpoint))
        if self._queue is None or not (route.message or also):
            route.handler(now, exchange)
            return
        self._catch_up(now)
        if self._queue.full:
            self._turn_away(now, exchange.id, self._table.cliff_answer)
            if self._table.cliff_answer == REFUSE:
                self._engine.answer(now, exchange, 503, OVERLOADED)
            else:
                self._engine.abandon(now, exchange, self._table.silence)
            return

        def act(at: int) -> None:
            if route.message or not exchange.done:  # who would be answered is gone; a message has been read all the same
                route.handler(at, exchange)

        conversations = self._engine.conversations
        key = next((name for name in exchange.params if name in conversations), exchange.peer) if route.message else exchange.peer
        self._queue.enter(now, self._add(now, self._line(key), act, ready=False))
        self._arm()

    # ------------------------------------------------------------ turns
    def pause(self, ns: int) -> None:
        """The whole server stood still for so long."""
        if self._queue is not None:
            self._queue.pause(ns)

    def _turn_away(self, now: int, unit: str, how: str) -> None:
        self.turned_away += 1
        self._engine.truth.row(now, "turned_away", unit, how=how)

    def _line(self, key: str) -> Line:
        return self._lines.get(key) or Line(key)

    def _add(self, now: int, line: Line, act: Callable[[int], None], *, ready: bool) -> Turn:
        turn = Turn(line, self._engine.arrived, act, ready=ready)
        line.turns.append(turn)
        self._lines[line.key] = line
        if ready:
            self._move(now, line)
        return turn

    def _move(self, now: int, line: Line) -> None:
        """Deal with everything in a line that need not wait any more."""
        turns = line.turns
        while turns and turns[0].ready:
            turn = turns.popleft()
            self._engine.arrived = turn.arrived
            turn.act(now)
        if not turns and self._lines.get(line.key) is line:
            del self._lines[line.key]

    def _catch_up(self, now: int) -> None:
        """Deal with what has been finished until now."""
        queue = self._queue
        if queue is None:
            return
        arrived = self._engine.arrived
        turn: Turn
        for turn in queue.advance(now):
            turn.ready = True
            self._move(now, turn.line)
        self._engine.arrived = arrived

    def _due(self, now: int, *_: Any) -> None:
        self._timer = None
        self._catch_up(now)
        self._arm()

    def _arm(self) -> None:
        """Be called when the next piece of work is finished."""
        due = self._queue.next() if self._queue is not None else None
        if self._timer is not None:
            if self._timer[0] == due:
                return
            self._engine.timers.cancel(self._timer)
            self._timer = None
        if due is not None:
            self._timer = self._engine.timers.at(due, self._due)
