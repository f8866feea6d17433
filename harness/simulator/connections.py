"""WebSocket connections and HTTP exchanges as the engine sees them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from harness.simulator.timers import Timer
from harness.simulator.truth import Copy

if TYPE_CHECKING:
    from harness.simulator.conversations import Conversation
    from harness.simulator.dialects.base import DialectHalf, Route
    from harness.simulator.intake import Line
    from harness.simulator.limiters import Places

Done = Callable[[int, bool], None]
Held = tuple["str | bytes | Ping", "Copy | None", "Done | None"]


class Ping:
    """A ping of the WebSocket protocol that came in, and what goes out to answer it."""

    __slots__ = ("payload",)

    def __init__(self, payload: bytes) -> None:
        self.payload = payload


class Gate:
    """A stalled connection: what came in and what was to go out since. `deaf`: what comes in never arrives."""

    __slots__ = ("deaf", "fault", "intake", "output", "timer")

    def __init__(self, *, deaf: bool) -> None:
        self.deaf = deaf
        self.fault = ""
        self.intake: deque[tuple[int, str | bytes | Ping]] = deque()
        """What came in, and when."""
        self.output: deque[Held] = deque()
        self.timer: Timer | None = None


class Conn:
    """One WebSocket. `id` is how truth names it, `data` is the dialect half's.

    `conv` is the conversation that it belongs to, of which it need not be the newest connection.
    """

    __slots__ = (
        "_query",
        "conv",
        "data",
        "dialect",
        "ended",
        "endpoint",
        "gate",
        "gone",
        "handle",
        "held",
        "id",
        "idle",
        "ip",
        "judged",
        "line",
        "moved",
        "params",
        "path",
        "peer",
        "query_text",
        "ready",
        "refused",
    )

    def __init__(
        self, handle: int, peer: str, number: int, target: str, template: str, params: tuple[str, ...], dialect: DialectHalf
    ) -> None:
        self.handle, self.peer, self.dialect = handle, peer, dialect
        self.path, _, self.query_text = target.partition("?")
        self.params = params
        """Values of the path's holes, in order, percent-decoded."""
        self.endpoint = f"GET {template}"
        """How limits, faults and rows name the upgrade."""
        self.id = f"{peer}/{number}"
        self.ip = peer.rpartition(":")[0]
        self.ready = False
        """The guest was told that it is in (that frame was handed over)."""
        self.ended = ""
        """Why the server has ended it: a fault's name, or `keepalive`, `expiry`, `violation`, …"""
        self.gone = False
        self.refused = 0
        self.moved = 0
        """When a frame last went either way."""
        self.idle: Timer | None = None
        """The middlebox's patience."""
        self.gate: Gate | None = None
        self.line: Line | None = None
        """Where what it said last waits (see intake.py)."""
        self.judged: tuple[str, tuple[int, str] | None] | None = None
        """What limits have said about the frame in hand before it was its turn, and under which name."""
        self.held: Places = []
        """Places that it has in limits of what is open at once."""
        self.conv: Conversation | None = None
        self.data: Any = None
        self._query: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """Query parameters of the upgrade, decoded; the last of a name wins."""
        if self._query is None:
            self._query = pairs(self.query_text)
        return self._query

    @property
    def usable(self) -> bool:
        """Neither side has ended it."""
        return not self.ended and not self.gone


class Exchange:
    """One HTTP request until its answer is handed over, cut, or not wanted any more."""

    __slots__ = (
        "_form",
        "_query",
        "body",
        "data",
        "done",
        "half",
        "headers",
        "held",
        "id",
        "ip",
        "method",
        "number",
        "on_gone",
        "on_handed",
        "params",
        "path",
        "peer",
        "query_text",
        "received",
        "route",
        "status",
        "timer",
        "told_by_status",
    )

    def __init__(
        self, number: int, peer: str, method: str, target: str, headers: dict[str, str], body: bytes, received: int
    ) -> None:
        self.number, self.peer, self.method, self.headers, self.body, self.received = number, peer, method, headers, body, received
        self.path, _, self.query_text = target.partition("?")
        self.ip = peer.rpartition(":")[0]
        self.id = headers.get("x-request-id") or f"{peer}#{number}"
        self.route: Route | None = None
        self.half: DialectHalf | None = None
        self.params: tuple[str, ...] = ()
        self.done = False
        """Answered, cut, or gone: nothing more may be said."""
        self.status = 0
        self.told_by_status = False
        """Does the status alone tell the guest all that matters, whatever becomes of the body?"""
        self.timer: Timer | None = None
        self.held: Places = []
        """Places that it has in limits of what is open at once."""
        self.on_handed: Callable[[int], None] | None = None
        """Called when the whole answer was handed over."""
        self.on_gone: Callable[[int], None] | None = None
        """Called when there is nobody (left) to answer: guest gone, or a fault has taken the exchange over."""
        self.data: Any = None
        self._query: dict[str, str] | None = None
        self._form: dict[str, str] | None = None

    @property
    def query(self) -> dict[str, str]:
        """Query parameters, decoded; the last of a name wins."""
        if self._query is None:
            self._query = pairs(self.query_text)
        return self._query

    @property
    def form(self) -> dict[str, str]:
        """The body as a form."""
        if self._form is None:
            self._form = pairs(self.body.decode("utf-8", "replace"))
        return self._form


def pairs(text: str) -> dict[str, str]:
    """Decode `a=b&c=d`; what is no pair is left out."""
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
    except ValueError:
        return {}
