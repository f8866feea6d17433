"""Conversations and what is stored in them."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any

from harness.simulator.timers import Timer
from harness.simulator.truth import Copy, Nonce, Stream

if TYPE_CHECKING:
    from harness.simulator.agents import Agent
    from harness.simulator.connections import Conn
    from harness.simulator.dialects.base import DialectHalf

QUEUED, CONNECTED, CLOSED = "queued", "connected", "closed"
GUEST, AGENT = "guest", "agent"


class Message:
    """One message. `direction` is who said it; `phantom`: confirmed, but never stored; `data` is the dialect's."""

    __slots__ = ("copy", "data", "direction", "id", "phantom", "sender_id", "sender_name", "stamp_ms", "text")

    def __init__(self, mid: str, direction: str, sender_id: str, sender_name: str, text: str, stamp_ms: int, copy: Copy) -> None:
        self.id, self.direction, self.text, self.stamp_ms, self.copy = mid, direction, text, stamp_ms, copy
        self.sender_id, self.sender_name = sender_id, sender_name
        self.phantom = False
        self.data: Any = None

    @property
    def unit(self) -> str:
        """How rows name it: its nonce, else its id."""
        nonce = self.copy.nonce
        return nonce.id if nonce is not None else self.id


class Plan:
    """What is to become of one delivery. Faults write into it, the engine carries it out."""

    __slots__ = ("conv", "delay", "extras", "garble", "hold", "hold_for", "message", "push", "repeats", "tear")

    def __init__(self, conv: Conversation, message: Message) -> None:
        self.conv, self.message = conv, message
        self.push = True
        self.delay = 0
        self.hold = self.hold_for = 0
        """Wait until so many later ones have gone, or for so long."""
        self.repeats: list[int] = []
        """Push again, so long after."""
        self.garble = False
        self.extras: list[str] = []
        """Frames that should not be: `wrong_id`, `oversize`, `malformed`, `unknown_type`, `binary`."""
        self.tear = ""
        """Name of the fault that cuts the connection inside this frame."""


class Waiting:
    """A delivery that is put off: held back for reordering, delayed, or a repeat."""

    __slots__ = ("order", "plan", "remaining", "repeat", "timer")

    def __init__(self, plan: Plan, order: int, remaining: int, *, repeat: bool = False) -> None:
        self.plan, self.order, self.remaining, self.repeat = plan, order, remaining, repeat
        self.timer: Timer | None = None


class Conversation:
    """One conversation. `data` belongs to the dialect half."""

    __slots__ = (
        "agent",
        "agent_id",
        "agent_name",
        "away",
        "bound",
        "closing",
        "copies",
        "data",
        "dialect",
        "echo_due",
        "further",
        "id",
        "messages",
        "opened",
        "owed",
        "priority",
        "routable",
        "stamps",
        "state",
        "stream",
        "streams",
        "unheard",
        "waiting",
    )

    def __init__(self, cid: str, dialect: DialectHalf, opened: int, *, routable: bool, priority: int) -> None:
        self.id, self.dialect, self.opened, self.routable, self.priority = cid, dialect, opened, routable, priority
        self.state = QUEUED
        self.agent: Agent | None = None
        self.agent_id = self.agent_name = ""
        self.bound: Conn | None = None
        """The newest of its connections."""
        self.away: Timer | None = None
        self.streams: dict[str, Stream] = {}
        self.stream: Stream | None = None
        """That of the latest guest's marker: the one in which the agent speaks."""
        self.messages: list[Message] = []
        self.stamps: list[int] = []
        self.copies: dict[str, dict[int, Copy]] = {}
        self.waiting: dict[int, Waiting] = {}
        self.echo_due = 0
        self.unheard: list[tuple[int, Stream | None]] = []
        """The guest's messages that came before an agent did: number and stream."""
        self.owed = 0
        """Agent's messages that are under way."""
        self.further = 0
        """Of these, the ones that no message of the guest's asked for."""
        self.closing = False
        self.data: Any = None

    @property
    def closed(self) -> bool:
        """Has it ended? Then nothing is stored in it any more."""
        return self.state == CLOSED

    def copy_of(self, mid: str, stamp_ms: int, nonce: Nonce | None) -> Copy:
        """The copy stored under a message id at a time; the same id and time are the same copy: nobody can tell them apart.

        Where the dialect's frames show neither, all copies of a message are the same.
        """
        if nonce is not None and not self.dialect.tells_copies:
            mid, stamp_ms = nonce.id, 0
        times = self.copies.setdefault(mid, {})
        copy = times.get(stamp_ms)
        if copy is None or copy.nonce is not nonce:
            copy = times[stamp_ms] = Copy(nonce)
        return copy

    def stamp(self, wall_ms: int) -> int:
        """A timestamp for the next message: never before the last one's."""
        stamps = self.stamps
        return wall_ms if not stamps or stamps[-1] <= wall_ms else stamps[-1]

    def append(self, message: Message) -> None:
        """Store it."""
        self.messages.append(message)
        self.stamps.append(message.stamp_ms)

    def since(self, stamp_ms: int | None, limit: int) -> list[Message]:
        """Stored messages from a timestamp on (inclusive), in stored order."""
        start = 0 if stamp_ms is None else bisect_left(self.stamps, stamp_ms)
        return self.messages[start : start + limit]
