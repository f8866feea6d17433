"""From a stored message to its push: put off, held back, repeated, garbled, or left out, as the faults of the moment want it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.conversations import Conversation, Message, Plan, Waiting

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

FRESH, PUT_OFF, REPEAT = -1, 0, -2
"""`Waiting.remaining`: still on its way through the server; delayed; a second push. Above 0: held until so many have overtaken."""


class Deliveries:
    """Carries out deliveries of all conversations."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._order = 0
        self._busy: dict[str, Conversation] = {}
        """Conversations in which something waits."""

    @property
    def backlog(self) -> int:
        """Conversations in which something waits."""
        return len(self._busy)

    @property
    def undelivered(self) -> int:
        """Messages that wait for their push."""
        return sum(len(conv.waiting) for conv in self._busy.values())

    def deliver(self, now: int, conv: Conversation, message: Message, lag: int) -> None:
        """Push a message after `lag`; what has a lag keeps its order."""
        lag = max(lag, conv.dialect.ripens_in(now, conv))
        if lag > 0 or (conv.waiting and conv.echo_due >= now):
            conv.echo_due = max(conv.echo_due, now + lag)
            self._wait(conv, Waiting(Plan(conv, message), self._next(), FRESH), conv.echo_due)
        else:
            self._decide(now, conv, message)

    def release(self, now: int, conv: Conversation) -> None:
        """Everything that waits goes out now, in the order in which it came."""
        self._busy.pop(conv.id, None)
        waiting, conv.waiting = conv.waiting, {}
        for item in waiting.values():
            self._engine.timers.cancel(item.timer)
            conv.dialect.deliver(now, conv, item.plan.message)
        conv.echo_due = 0

    def settle(self, now: int) -> None:
        """No fault holds anything back any longer; what is on its ordinary way stays on it."""
        for conv in list(self._busy.values()):
            for item in list(conv.waiting.values()):
                if item.remaining != FRESH:
                    self._engine.timers.cancel(item.timer)
                    self._due(now, conv, item)

    # ------------------------------------------------------------ waiting
    def _next(self) -> int:
        self._order += 1
        return self._order

    def _wait(self, conv: Conversation, item: Waiting, due: int) -> None:
        conv.waiting[item.order] = item
        self._busy[conv.id] = conv
        item.timer = self._engine.timers.at(due, self._due, conv, item)

    def _due(self, now: int, conv: Conversation, item: Waiting) -> None:
        if conv.waiting.pop(item.order, None) is None:
            return
        if not conv.waiting:
            self._busy.pop(conv.id, None)
        if item.remaining == FRESH:
            self._decide(now, conv, item.plan.message)
        elif item.remaining == REPEAT:
            conv.dialect.deliver(now, conv, item.plan.message)
        else:
            self._put_out(now, item.plan)

    # ------------------------------------------------------------ acts
    def _decide(self, now: int, conv: Conversation, message: Message) -> None:
        board = self._engine.faults
        if not board.on_delivery and not board.after_delivery:
            if conv.dialect.deliver(now, conv, message) and conv.waiting:
                self._overtake(now, conv, message)
            return
        plan = Plan(conv, message)
        for fault in board.on_delivery:
            fault.on_delivery(self._engine, now, plan)
        if plan.hold:
            self._wait(conv, Waiting(plan, self._next(), plan.hold), now + plan.delay + plan.hold_for)
        elif plan.delay > 0:
            self._wait(conv, Waiting(plan, self._next(), PUT_OFF), now + plan.delay)
        else:
            self._put_out(now, plan)

    def _put_out(self, now: int, plan: Plan) -> None:
        engine, conv, message = self._engine, plan.conv, plan.message
        half = conv.dialect
        gone = False
        if plan.tear and self._torn(now, plan):
            return
        if plan.push:
            if plan.garble:
                half.garbled(now, conv, message)
            else:
                gone = half.deliver(now, conv, message)
            for gap in plan.repeats:
                if gap <= 0:
                    half.deliver(now, conv, message)
                else:
                    self._wait(conv, Waiting(plan, self._next(), REPEAT), now + gap)
        for kind in plan.extras:
            half.odd(now, conv, message, kind)
        for fault in engine.faults.after_delivery:
            fault.after_delivery(engine, now, plan)
        if gone and conv.waiting:
            self._overtake(now, conv, message)

    def _torn(self, now: int, plan: Plan) -> bool:
        """Cut every connection that it would go over; one that stalls or may not have it keeps all of them whole."""
        conv, message = plan.conv, plan.message
        half = conv.dialect
        conns = half.connections(conv)
        if not conns or not all(conn.usable and conn.gate is None and half.may_push(now, conn) for conn in conns):
            return False
        self._engine.act(now, plan.tear, message.unit)
        for conn in conns:
            self._engine.tear(now, conn, half.frame(conv, message), plan.tear, message)
        return True

    def _overtake(self, now: int, conv: Conversation, message: Message) -> None:
        """A message has gone: those of its direction that are held back have one less to wait for."""
        for item in list(conv.waiting.values()):
            if item.remaining > 0 and item.plan.message.direction == message.direction and item.plan.message is not message:
                item.remaining -= 1
                if item.remaining == 0:
                    self._engine.timers.cancel(item.timer)
                    self._due(now, conv, item)
