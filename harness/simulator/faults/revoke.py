"""`revoke`: a token is good no longer, though it is not old enough.

At moments (`every`, or `at` alone) a share of all live tokens; else a share of their uses: a request showing one, a push under one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.simulator.faults.base import Fault

if TYPE_CHECKING:
    from harness.simulator.connections import Exchange
    from harness.simulator.conversations import Plan
    from harness.simulator.credentials import Grant
    from harness.simulator.engine import Engine


class Revoke(Fault):
    """Tokens of all dialects, or of one where the plan names it (by use only)."""

    name = "revoke"
    direction = "both"

    @property
    def acts_at_moments(self) -> bool:
        """By what the plan says."""
        spec = self.spec
        return spec.every is not None or (not spec.share_given and spec.length is None and spec.at > 0)

    def on_moment(self, engine: Engine, now: int) -> None:
        """Revoke a share of all."""
        for grant in engine.credentials.alive(now):
            if self.hit():
                self._revoke(engine, now, grant)

    def on_request(self, engine: Engine, now: int, exchange: Exchange) -> bool:
        """Revoke what is shown; the request is then judged as any other."""
        if not self.acts_at_moments and not self.spec.direction and self.concerns_exchange(exchange):
            grant = engine.credentials.bearer(now, exchange.headers)
            if grant is not None and self.hit():
                self._revoke(engine, now, grant)
        return False

    def after_delivery(self, engine: Engine, now: int, plan: Plan) -> None:
        """Revoke the tokens of the sockets that a message has just gone to."""
        if self.acts_at_moments or self.endpoint or not self.concerns(plan.message, plan.conv):
            return
        half = plan.conv.dialect
        for conn in half.connections(plan.conv):
            grant = half.grant_of(conn)
            if grant is not None and grant.live(now) and self.hit():
                self._revoke(engine, now, grant)

    def _revoke(self, engine: Engine, now: int, grant: Grant) -> None:
        engine.act(now, self.name, grant.client)
        engine.revoke(now, grant)
