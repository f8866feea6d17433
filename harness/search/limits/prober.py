"""Sans-I/O probe of one endpoint with one identity: says what to send when, is told what came back (metrics.md E3).

The procedure (`procedure.py`) is a generator of orders; this carries them out within the ceilings, whatever the network does.
"""

from __future__ import annotations

from harness.search.limits.finding import Finding
from harness.search.limits.judge import judge
from harness.search.limits.orders import Burst, Ledger, Ping, Rest
from harness.search.limits.plan import SECOND, Action, Done, ProbePlan, Send, WaitUntil
from harness.search.limits.procedure import procedure
from harness.search.limits.trace import Asked, Form


class Prober:
    """One probe. Ask `next` for what to do, tell it what happened, and read `finding()` at any time."""

    def __init__(self, plan: ProbePlan, now_ns: int) -> None:
        self.plan = plan
        self._ledger = Ledger(now_ns)
        self._script = procedure(plan, self._ledger)
        self._began = now_ns
        self._order: Burst | Ping | Rest | None = None
        self._batch: list[Asked] = []
        self._open: dict[int, Asked] = {}
        self._sending: Asked | None = None
        self._next_send = now_ns
        self._ended = ""

    @property
    def phase(self) -> str:
        """Where it is, for the progress line."""
        return self._order.phase if self._order else "start" if not self._ended else "done"

    @property
    def requests(self) -> int:
        """Sent so far."""
        return len(self._ledger.rows)

    @property
    def rows(self) -> tuple[Asked, ...]:
        """Everything asked, in order of sending."""
        return tuple(self._ledger.rows)

    def stop(self, reason: str) -> None:
        """Interrupted: nothing more is sent, and `finding()` says what is known."""
        self._ended = self._ended or reason
        self._order = None
        self._script.close()

    def next(self, now_ns: int) -> Action:
        """What to do now."""
        self._ledger.now_ns = max(now_ns, self._ledger.now_ns)
        self._expire(now_ns)
        while True:
            if self._ended:
                return Done(self._ended)
            if now_ns - self._began >= self.plan.max_s * SECOND:
                self.stop(f"the probe's {self.plan.max_s:g} s are over")
                continue
            if self._order is None:
                self._advance(None)
                continue
            action = self._carry_out(self._order, now_ns)
            if action is not None:
                return action

    def on_sent(self, n: int, at_ns: int) -> None:
        """Request `n` is on its way; the moment before its first byte."""
        row = self._open[n]
        row.sent_ns = at_ns
        self._sending = None
        self._next_send = max(self._next_send, at_ns + self.plan.floor_ns)

    def on_answer(
        self, n: int, received_ns: int, accepted: bool, retry_after_s: float | None = None, form: Form = "seconds"
    ) -> None:
        """Request `n` was let in or refused."""
        row = self._open.pop(n, None)
        if row is None:
            return  # came after it had been given up
        row.received_ns, row.accepted, row.retry_after_s, row.form = received_ns, accepted, retry_after_s, form

    def on_lost(self, n: int, at_ns: int) -> None:
        """Request `n` got no answer that says yes or no."""
        row = self._open.pop(n, None)
        if row is not None:
            row.received_ns = at_ns

    def finding(self) -> Finding:
        """What is known."""
        return judge(self._ledger.rows, self.plan, stopped=self._ended or "interrupted")

    def _expire(self, now_ns: int) -> None:
        limit = round(self.plan.answer_timeout_s * SECOND)
        for n in [n for n, row in self._open.items() if now_ns - row.sent_ns >= limit]:
            self.on_lost(n, now_ns)

    def _advance(self, result: list[Asked] | None) -> None:
        try:
            self._order = next(self._script) if result is None else self._script.send(result)
        except StopIteration as stop:
            self._order, self._ended = None, str(stop.value)
        self._batch = []

    def _carry_out(self, order: Burst | Ping | Rest, now_ns: int) -> Action | None:
        """The next action of an order; None when it is done and the next one was taken."""
        if isinstance(order, Rest):
            if now_ns >= order.until_ns and not self._open:
                self._advance([])
                return None
            return WaitUntil(order.until_ns if now_ns < order.until_ns else self._answers_by())
        enough = len(self._batch) >= order.most or any(row.accepted is False for row in self._batch)
        if not enough:
            if len(self._ledger.rows) >= self.plan.max_requests:
                self.stop(f"the budget of {self.plan.max_requests} requests is used up")
                return None
            return self._send(order, now_ns)
        if self._open:
            return WaitUntil(self._answers_by())
        self._advance(self._batch)
        return None

    def _send(self, order: Burst | Ping, now_ns: int) -> Action:
        if self._sending is not None:  # asked again before it was said to be sent
            return Send(self._sending.n, order.phase)
        due = max(order.at_ns, self._next_send)
        if now_ns < due:
            return WaitUntil(due)
        row = Asked(len(self._ledger.rows), order.phase, now_ns)
        self._ledger.rows.append(row)
        self._batch.append(row)
        self._open[row.n] = row
        self._sending = row
        self._next_send = max(now_ns + self.plan.floor_ns, due + max(order.spacing_ns, self.plan.floor_ns))
        return Send(row.n, order.phase)

    def _answers_by(self) -> int:
        oldest = min(row.sent_ns for row in self._open.values())
        return oldest + round(self.plan.answer_timeout_s * SECOND)
