"""`close_code`: the server closes WebSockets with a code of the plan's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.simulator import spelling
from harness.simulator.faults.base import Killer

if TYPE_CHECKING:
    from harness.simulator.connections import Conn
    from harness.simulator.engine import Engine


def code(value: Any, where: str) -> int:
    """Read a close code of a server's: never 1000, which is the guests'."""
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or not ((1001 <= value <= 1014 and value not in (1004, 1005, 1006)) or 3000 <= value <= 4999)
    ):
        raise spelling.wrong(
            where, f"{value!r} is no close code of a server's", "1001 to 1014 without 1004 to 1006, or 3000 to 4999."
        )
    return value


class CloseCode(Killer):
    """WebSockets only."""

    name = "close_code"
    direction = "both"
    options = {"code": (code, 1011)}  # noqa: RUF012

    def strike(self, engine: Engine, now: int, conn: Conn) -> None:
        """Close."""
        engine.end(now, conn, self.name, how="close", code=self.option("code"), reason=self.name)
