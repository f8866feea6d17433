"""Rows of the journal: what a guest did and saw, one small record each, and who takes them.

Everything that a report says is a fold over these rows (or over interval records that are themselves folds of them).
Instants (`*_ns`) are nanoseconds of the run's monotonic clock; 0 stands for "never".
A *label* names one conversation of one guest slot: `"17-2"` is the second conversation of slot 17.
Message ids are `run.label.g.seq` (guest to agent) and `run.label.a.seq` (agent to guest), seq from 1.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

OK, FAIL, INFO = "ok", "fail", "info"
"""Outcomes in Jepsen's sense: certainly done, certainly not done, unknown."""

GUEST, AGENT = "g", "a"
PUSH, RESYNC = "push", "resync"

MEASURES = (
    "token",
    "guest",
    "connect",
    "auth",
    "routing",
    "queue",
    "ack",
    "echo",
    "reply",
    "upload",
    "poll.hold",
    "event.lag",
    "resync",
    "refresh.gap",
    "reconnect.gap",
    "lookup",
    "leave",
    "download",
    "profile",
    "introspect",
    "jwt",
    "history",
    "presign",
    "health",
    "session",
)
"""Everything that is timed. `poll.hold`, `session` and the two gaps are spans, not latencies of the server."""

STATES = (
    "arriving",
    "authenticating",
    "queued",
    "chatting",
    "reconnecting",
    "rest_only",
    "leaving",
    "between",
    "finished",
)
"""A guest's state as the live view and the load plot count it. `between` is a pause between two conversations."""


class Invoked(msgspec.Struct, array_like=True, tag="i", gc=False):
    """A message attempt, written down before its first byte may leave."""

    at_ns: int
    label: str
    seq: int
    attempt: int
    intended_ns: int
    size: int


class Closed(msgspec.Struct, array_like=True, tag="c", gc=False):
    """The final outcome of a message of the guest: exactly one for each seq that was invoked."""

    at_ns: int
    label: str
    seq: int
    outcome: str
    cause: str
    intended_ns: int
    sent_ns: int
    attempts: int
    via: str
    """What settled it: `ack`, `echo`, `reply`, `listing`, `refusal`, `end`."""


class Sample(msgspec.Struct, array_like=True, tag="s", gc=False):
    """One timed thing: service is `end - start`, response `end - intended`, send delay `start - max(intended, free)`.

    `free_ns` is the end of the same guest's previous action where that held this one up (0: nothing did).
    `ref` joins it to truth: the request's id, the message's seq, or the connection's address.
    """

    at_ns: int
    label: str
    measure: str
    outcome: str
    cause: str
    intended_ns: int
    start_ns: int
    end_ns: int
    free_ns: int
    ref: str
    endpoint: str
    detail: str = ""
    earliest_ns: int = 0
    """The end cannot truly lie before this instant (0: not known). Filled in by the recorder from the loop's bracket."""


class Arrived(msgspec.Struct, array_like=True, tag="a", gc=False):
    """One copy of a message reached the guest; one row for every copy, in the order in which they were read."""

    at_ns: int
    label: str
    direction: str
    """`g`: the guest's own message come back (echo, mirror, listing); `a`: an agent's."""
    seq: int
    re: int
    """The guest's seq that an agent's message answers; 0: none."""
    channel: str
    epoch: int
    mid: str
    """The server's name of this stored message: two copies with unlike names were stored twice."""
    server_ns: int
    """The server's own stamp in wall-clock nanoseconds; 0: none."""
    via: str
    """Request id (listing, long poll) or connection address (push)."""
    clock: str = ""
    """Whose stamp `server_ns` is: the field, and the dialect that has it; "": there is no stamp."""
    sent_ns: int = 0
    """When the guest wrote this message, where that is known of its own and it was written but once: the stamp is later."""


class Connection(msgspec.Struct, array_like=True, tag="k", gc=False):
    """One WebSocket, written at its end. `address` is `ip:port` of the guest's end, `ready_ns` when it was authenticated."""

    at_ns: int
    label: str
    epoch: int
    address: str
    opened_ns: int
    ready_ns: int
    ended_ns: int
    begun: str
    """Who began the end: `guest`, `server`, or `contested` (the guest had begun, but the peer never answered the close)."""
    code: int
    cause: str


class Refused(msgspec.Struct, array_like=True, tag="r", gc=False):
    """The server said "too many": HTTP 429 (`ref` = request id) or an error frame (`ref` = `address#n`, n-th on that socket)."""

    at_ns: int
    label: str
    endpoint: str
    ref: str
    retry_after_ns: int


class Ended(msgspec.Struct, array_like=True, tag="e", gc=False):
    """A conversation is over for the guest. `complete`: everything the server stored was read back after the end."""

    at_ns: int
    label: str
    conversation_id: str
    complete: bool
    cause: str
    listing: bool = True
    """Whether the dialect has anything to read back from. Without, `complete` is False and what is missing among an agent's
    numbers is lost for certain, for nothing can bring it any more."""
    dialect: str = ""
    """What was spoken; "": not said."""


class State(msgspec.Struct, array_like=True, tag="t", gc=False):
    """The guest went from one of `STATES` to another."""

    at_ns: int
    label: str
    before: str
    after: str


class Noted(msgspec.Struct, array_like=True, tag="n", gc=False):
    """Something counted by name that has neither length nor outcome, such as `frame.unknown_type` or `breaker.open`."""

    at_ns: int
    label: str
    what: str
    detail: str = ""


class Clocked(msgspec.Struct, array_like=True, tag="o", gc=False):
    """An answer bore the server's own time: it was made after the asking and before `at_ns`."""

    at_ns: int
    label: str
    source: str
    """Field and host: of each one clock is believed to stand behind it."""
    sent_ns: int
    """When it was asked for."""
    server_ns: int
    """Wall-clock nanoseconds as the server believes."""
    grain_ns: int
    """What the stamp is cut down to; 0: to be found out."""


Row = Invoked | Closed | Sample | Arrived | Connection | Refused | Ended | State | Noted | Clocked


class Observer(Protocol):
    """Takes what sessions observe. One per process; must neither block nor raise."""

    def record(self, row: Row) -> None:
        """Take one row."""
