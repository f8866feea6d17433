"""When guests must begin to leave so that all are gone when the approved window shuts. Clocks are arguments.

The close is an instant of the wall clock, and the wall clock can be set while a run goes on. So it is kept by both clocks,
whichever says it first: by the wall clock as it stands now, and by the monotonic one from what the wall clock said before the
first packet. A clock that is put right is believed at once; one that is put back opens no window for longer, not even for a load
child that takes the place of one that was lost. After the machine has slept the monotonic clock is late, and the wall clock is not;
that another night's window is open then, is not to the point.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from harness.config import window_left
from harness.config.tables import AuthorisationTable

LOOK_S = 1.0
"""How often the wall clock is looked at."""
MARGIN_S = 1.0
"""What is added to the planned drain: the last greenlet's own lateness."""


class Closing:
    """The close of the window that is open now, for guests whose drain takes `drain_s` at most.

    `unset`: where the load goes on that another process began, what the wall clock would say had nobody set it since.
    """

    def __init__(
        self,
        approval: AuthorisationTable,
        drain_s: float,
        *,
        wall: Callable[[], datetime],
        monotonic: Callable[[], float],
        unset: datetime | None = None,
    ) -> None:
        self._approval, self._needed_s, self._wall, self._monotonic = approval, drain_s + MARGIN_S, wall, monotonic
        now = wall()
        left = window_left(approval, now)
        open_for = left if unset is None else min(left, window_left(approval, unset))
        self._shuts, self._shuts_at_s = now + left, monotonic() + open_for.total_seconds()

    def left_s(self) -> float:
        """Seconds until the drain must begin; not above 0: now."""
        now = self._wall()
        open_for = min(window_left(self._approval, now), self._shuts - now).total_seconds()
        return min(open_for, self._shuts_at_s - self._monotonic()) - self._needed_s
