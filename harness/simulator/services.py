"""The engine's lowest layer: its clock, ids and odds, what limits and credentials say, and the lines of truth.

Above it: `answering.py` (HTTP), `sockets.py` (WebSockets), `talks.py` (conversations), and `engine.py` (events and control).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from random import Random
from typing import TYPE_CHECKING, Any, cast

from harness.simulator import instants
from harness.simulator.config import SimConfig
from harness.simulator.credentials import Credentials
from harness.simulator.faults.board import FaultBoard
from harness.simulator.limiters import Caller, Limits, Places
from harness.simulator.outlet import Outlet
from harness.simulator.spelling import SECOND
from harness.simulator.timers import Timers
from harness.simulator.truth import TruthLog

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


class Services:
    """What every other layer needs."""

    def __init__(self, config: SimConfig, *, seed: int, outlet: Outlet, truth: TruthLog, wall_offset_ns: int, secret: str) -> None:
        self.config, self.outlet, self.truth, self.wall_offset_ns = config, outlet, truth, wall_offset_ns
        self.seed = seed
        self.timers = Timers()
        self.rng = Random(f"{seed}/ids")
        self._latency_rng = Random(f"{seed}/latency")
        self.credentials = Credentials(config.credentials, secret or config.secret(), config.token_life, Random(f"{seed}/tokens"))
        self.faults = FaultBoard(self.whole, str(seed))
        self.limits = Limits(config.all_limits())
        truth.timings = config.timings
        self.arrived = 0
        """When the event that is dealt with just now came in: earlier than `now` if it had to wait for a standstill's end."""
        self._still_until = self._still_since = 0
        self._held: deque[tuple[int, Callable[..., None], tuple[Any, ...]]] = deque()
        self._came = 0
        self._latencies = {name: getattr(config.latency, name) for name in ("token", "guest", "send", "list", "echo", "upload")}

    @property
    def whole(self) -> Engine:
        """The engine with all its layers, as faults and halves see it."""
        return cast("Engine", self)

    # ------------------------------------------------------------ standstill
    def stand_still(self, now: int, length: int) -> None:
        """The whole server does nothing for a time: what comes in waits, and no timer runs."""
        self._still_since = self._still_since if self._still_until else now
        self._still_until = max(self._still_until, now + length)

    def waits(self, now: int, event: Callable[..., None], *args: Any) -> bool:
        """Whether an event has to wait for the end of a standstill; notes when it came in."""
        if self._still_until:
            self._held.append((now, event, args))
            return True
        self.arrived, self._came = self._came or now, 0
        return False

    def _go_on(self, now: int) -> None:
        """The standstill is over: everything that came in meanwhile, in order."""
        self._still_until = 0
        self.went_on(now - self._still_since)
        held, self._held = self._held, deque()
        for came, event, args in held:
            self._came = came
            event(now, *args)
        self._came = 0

    def went_on(self, pause: int) -> None:
        """The whole server stood still for so long: nothing was worked on."""

    # ------------------------------------------------------------ clock and ids
    def wall_ms(self, now: int) -> int:
        """The wall clock, in ms."""
        return (now + self.wall_offset_ns) // 1_000_000

    def stamp_ns(self, now: int) -> int:
        """The wall clock as the server believes it."""
        ns = now + self.wall_offset_ns
        for fault in self.faults.skew_ns:
            ns += fault.skew_ns(now)
        return ns

    def stamp_ms(self, now: int) -> int:
        """The same in ms, cut down, as stamps show it."""
        return self.stamp_ns(now) // 1_000_000

    def new_id(self, kind: str) -> str:
        """A new id such as `msg_1f…`."""
        return f"{kind}_{self.rng.getrandbits(64):016x}"

    def new_uuid(self) -> str:
        """A new random UUID (version 4)."""
        text = f"{self.rng.getrandbits(128):032x}"
        variant = "89ab"[int(text[16], 16) & 3]
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-{variant}{text[17:20]}-{text[20:]}"

    def act(self, now: int, fault: str, unit: str) -> None:
        """A fault has done something to a unit."""
        self.truth.row(now, "act", unit, name=fault)

    def routable(self, skills: Iterable[str]) -> bool:
        """Are all these skills known to the letter, and is somebody on shift for one of them? None asked for: anybody will do."""
        known = self.config.skills
        wanted = tuple(skills)
        return not wanted or (all(name in known for name in wanted) and any(known[name] for name in wanted))

    def mismatch(self, skills: Iterable[str]) -> str:
        """`unknown_skill` if one of these names is not known to the letter, else ""."""
        return "" if all(name in self.config.skills for name in skills) else "unknown_skill"

    def latency(self, now: int, kind: str) -> int:
        """Draw how long that kind of work takes now."""
        ns = int(self._latencies[kind].sample(self._latency_rng))
        for fault in self.faults.latency:
            ns = fault.latency(self.whole, now, ns)
        return ns

    # ------------------------------------------------------------ limits
    @property
    def limited(self) -> bool:
        """Is there anything that may refuse? (To ask that first is cheaper than to find out who asks.)"""
        return bool(self.limits) or bool(self.faults.refuses)

    def refusal(self, now: int, endpoint: str, caller: Caller, held: Places | None = None) -> tuple[int, str] | None:
        """None: go on. Else how long to wait and how to say it. `held`: of what is open for a time (see `Limits.ask`)."""
        for fault in self.faults.refuses:
            wait = fault.refuses(self.whole, now, endpoint)
            if wait:
                return wait, "seconds"
        return self.limits.ask(now, endpoint, caller, held)

    @staticmethod
    def give_back(held: Places) -> None:
        """What had places in limits of what is open at once is over."""
        while held:
            held.pop().give_back()

    def retry_after(self, now: int, refusal: tuple[int, str]) -> str:
        """Value of `Retry-After`; "" where there is to be none."""
        wait, how = refusal
        if how == "none":
            return ""
        if how == "date":
            return instants.http_date(self.wall_ms(now + wait) + 999)
        return how if how.isdigit() else str(-(-wait // SECOND))

    @staticmethod
    def retry_seconds(refusal: tuple[int, str]) -> int | None:
        """The same as a number for an error frame; None where there is to be none."""
        wait, how = refusal
        if how == "none":
            return None
        return int(how) if how.isdigit() else -(-wait // SECOND)
