"""The engine's WebSocket layer: what goes out, what a stall holds back, and how a connection ends."""

from __future__ import annotations

from harness.simulator.answering import Answering
from harness.simulator.config import SimConfig
from harness.simulator.connections import Conn, Done, Gate, Ping
from harness.simulator.conversations import AGENT, Conversation, Message
from harness.simulator.intake import Intake
from harness.simulator.middlebox import Middlebox
from harness.simulator.outlet import Outlet
from harness.simulator.truth import Copy, TruthLog


class Sockets(Answering):
    """Open connections."""

    def __init__(self, config: SimConfig, *, seed: int, outlet: Outlet, truth: TruthLog, wall_offset_ns: int, secret: str) -> None:
        super().__init__(config, seed=seed, outlet=outlet, truth=truth, wall_offset_ns=wall_offset_ns, secret=secret)
        self.conns: dict[int, Conn] = {}
        self._gated: dict[int, Conn] = {}
        self.middlebox = Middlebox(self.whole)
        self.intake = Intake(self.whole)

    # ------------------------------------------------------------ the contract: events
    def on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        """A whole frame of the guest's."""
        if self.waits(now, self.on_frame, conn, data):
            return
        known = self.conns.get(conn)
        if known is None or known.ended:
            return
        known.moved = now
        gate = known.gate
        if gate is None:
            self.intake.frame(now, known, data)
        elif not gate.deaf:
            gate.intake.append((self.arrived, data))

    def on_ping(self, now: int, conn: int, payload: bytes) -> None:
        """A ping of the WebSocket protocol: answered at once, or with what else comes out of a stall."""
        if self.waits(now, self.on_ping, conn, payload):
            return
        known = self.conns.get(conn)
        if known is None or known.ended:
            return
        known.moved = now
        gate = known.gate
        if gate is None:
            self.outlet.pong(conn, payload)
        elif not gate.deaf:
            gate.intake.append((self.arrived, Ping(payload)))

    def on_socket_closed(self, now: int, conn: int, by: str, code: int) -> None:
        """The connection is over."""
        if self.waits(now, self.on_socket_closed, conn, by, code):
            return
        known = self.conns.pop(conn, None)
        if known is None:
            return
        known.gone = True
        self.give_back(known.held)
        self.middlebox.forget(known)
        if by == "server" and known.ready:
            self.truth.row(now, "disconnects", known.id, fault=known.ended or "protocol")
        gate = known.gate
        if gate is not None:
            self._drop_output(now, gate)
            if gate.deaf or by == "server":
                self._open_gate(known)
        self._unbind(now, known)
        known.dialect.on_gone(now, known)

    def went_on(self, pause: int) -> None:
        """Work that was being done was not done meanwhile."""
        self.intake.pause(pause)

    # ------------------------------------------------------------ for halves and faults
    def push(self, now: int, conn: Conn, data: str | bytes, copy: Copy | None = None, done: Done | None = None) -> None:
        """Write a frame. Once it is known (later, if the connection stalls) `copy` is noted and `done(now, ok)` called."""
        gate = conn.gate
        conn.moved = now
        if conn.ended or conn.gone:
            ok = False
        elif gate is not None:
            gate.output.append((data, copy, done))
            return
        elif isinstance(data, str):
            ok = self.outlet.push(conn.handle, data)
        else:
            ok = self.outlet.push_bytes(conn.handle, data)
        if ok and copy is not None:
            self.truth.pushed(now, copy, conn.id, conn.id)
        if done is not None:
            done(now, ok)

    def ready(self, now: int, conn: Conn) -> Done:  # noqa: ARG002
        """`done` for the frame that lets the guest in."""

        def done(now: int, ok: bool) -> None:  # noqa: ARG001
            if ok:
                conn.ready = True

        return done

    @staticmethod
    def ready_at_once(conn: Conn) -> None:
        """The guest is in as soon as the WebSocket is open. Said by `on_upgrade`: one that is refused after all never counts."""
        conn.ready = True

    def end(self, now: int, conn: Conn, fault: str, *, how: str = "close", code: int = 1011, reason: str = "") -> None:
        """End a connection: `how` is `close` or `reset`; `fault` is the reason's name in the truth."""
        if not self._leave(now, conn, fault):
            return
        if how == "reset":
            self.outlet.reset(conn.handle)
        else:
            self.outlet.close(conn.handle, code, reason)

    def end_later(self, now: int, conn: Conn, after: int, fault: str, *, code: int = 1001, reason: str = "") -> None:
        """Give the guest a while to close by itself; then end the connection."""
        self.timers.at(now + after, self._end_still, conn, fault, code, reason)

    def _end_still(self, now: int, conn: Conn, fault: str, code: int, reason: str) -> None:
        self.end(now, conn, fault, code=code, reason=reason)

    def tear(self, now: int, conn: Conn, text: str, fault: str, message: Message) -> None:
        """End a connection inside a frame."""
        if self._leave(now, conn, fault):
            of = "messages.delivered" if message.direction == AGENT else "messages.returned"
            self.truth.row(now, "torn", message.unit, of=of)
            self.outlet.tear(conn.handle, text)

    def stall(self, now: int, conn: Conn, length: int, deaf: str = "") -> None:
        """Let nothing flow for a time. `deaf`: name of the fault that loses what comes in and ends with a reset."""
        if conn.gate is None and conn.usable:
            gate = conn.gate = Gate(deaf=bool(deaf))
            gate.fault = deaf
            self._gated[conn.handle] = conn
            gate.timer = self.timers.at(now + length, self._stall_over, conn, gate)

    def frame_refusal(self, now: int, conn: Conn, endpoint: str) -> tuple[int, str] | None:
        """None: go on. Else a limit refuses this frame (`endpoint` is `frame NAME`)."""
        if conn.judged is not None and conn.judged[0] == endpoint:  # when it came in; one frame is asked for once
            known, conn.judged = conn.judged[1], None
            return known
        return self.refusal(now, endpoint, conn.dialect.caller(now, conn)) if self.limited else None

    def refuse_frame(self, conn: Conn, endpoint: str) -> Done:
        """What to do when the error frame of a limit was pushed: note it in the truth."""

        def done(now: int, ok: bool) -> None:
            if ok:
                conn.refused += 1
                self.truth.row(now, "refused", f"{conn.id}#{conn.refused}", endpoint=endpoint)

        return done

    def bind(self, now: int, conn: Conn, conv: Conversation) -> None:  # noqa: ARG002
        """From now on this connection, the newest, gets the conversation's pushes."""
        if not conn.usable:
            return
        if conn.conv is not None and conn.conv is not conv and conn.conv.bound is conn:
            conn.conv.bound = None
        conn.conv = conv
        conv.bound = conn
        self.timers.cancel(conv.away)
        conv.away = None

    def join(self, now: int, conn: Conn, conv: Conversation) -> None:
        """This connection belongs to the conversation, besides a newer one if there is one."""
        if conv.bound is None or not conv.bound.usable:
            self.bind(now, conn, conv)
        elif conn.usable:
            conn.conv = conv

    def guest_left(self, now: int, conv: Conversation) -> None:
        """The guest is not connected any more: maybe the conversation is closed after a time."""
        raise NotImplementedError

    # ------------------------------------------------------------ inside
    def _leave(self, now: int, conn: Conn, fault: str) -> bool:
        if not conn.usable:
            return False
        conn.ended = fault
        gate = conn.gate
        if gate is not None:
            self._open_gate(conn)
            self._drop_output(now, gate)
        self._unbind(now, conn)
        return True

    def _unbind(self, now: int, conn: Conn) -> None:
        conv = conn.conv
        if conv is None or conv.bound is not conn:
            return
        others = [other for other in conv.dialect.connections(conv) if other is not conn and other.usable]
        conv.bound = others[-1] if others else None
        if not others:
            self.guest_left(now, conv)

    def _open_gate(self, conn: Conn) -> None:
        gate = conn.gate
        if gate is not None:
            self.timers.cancel(gate.timer)
            conn.gate = None
            self._gated.pop(conn.handle, None)

    @staticmethod
    def _drop_output(now: int, gate: Gate) -> None:
        while gate.output:
            _, _, done = gate.output.popleft()
            if done is not None:
                done(now, False)

    def _stall_over(self, now: int, conn: Conn, gate: Gate) -> None:
        if conn.gate is not gate:
            return
        if gate.deaf:
            if conn.gone:
                self._open_gate(conn)
            else:
                self.end(now, conn, gate.fault, how="reset")
            return
        while gate.intake and not conn.ended:  # what this makes the server say lines up behind what it has to say already
            self.arrived, came = gate.intake.popleft()
            if isinstance(came, Ping):
                gate.output.append((came, None, None))
            else:
                self.intake.frame(now, conn, came)
        if conn.gate is not gate:
            return
        self._open_gate(conn)
        while gate.output:
            data, copy, done = gate.output.popleft()
            if not isinstance(data, Ping):
                self.push(now, conn, data, copy, done)
            elif conn.usable:
                self.outlet.pong(conn.handle, data.payload)
