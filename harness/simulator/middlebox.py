"""Something between the ends that cuts what has been idle. Neither end is told."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from harness.simulator.connections import Conn
from harness.simulator.spelling import SECOND

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class Middlebox:
    """Watches every WebSocket, if `keepalive.idle_cut` says so."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._rng = Random(f"{engine.seed}/idle")

    def watch(self, now: int, conn: Conn) -> None:
        """A WebSocket was opened."""
        patience = self._engine.config.keepalive.idle_cut.sample(self._rng)
        if patience > 0:
            conn.moved = now
            conn.idle = self._engine.timers.at(now + patience, self._look, conn, patience)

    def forget(self, conn: Conn) -> None:
        """It is gone."""
        self._engine.timers.cancel(conn.idle)
        conn.idle = None

    def _look(self, now: int, conn: Conn, patience: int) -> None:
        """Cut it, unless something has moved; the guest finds out by itself, or sees a reset after `cut_told`."""
        engine = self._engine
        if not conn.usable:
            return
        if conn.gate is not None or now - conn.moved < patience:
            conn.idle = engine.timers.at(max(conn.moved + patience, now + SECOND), self._look, conn, patience)
            return
        engine.act(now, "idle_cut", conn.id)
        engine.stall(now, conn, engine.config.keepalive.cut_told, deaf="idle_cut")
