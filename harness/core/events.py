"""What a frame or a listing row of any dialect means: small structs that a decoder gives out instead of raising.

A decoder is a total function from bytes to one of these; a session never looks at raw JSON.
"""

from __future__ import annotations

import msgspec


class Ready(msgspec.Struct, gc=False):
    """The channel is authenticated. `server_ns` is the server's own clock (0: not given)."""

    server_ns: int = 0


class AuthRejected(msgspec.Struct, gc=False):
    """The channel will not be authenticated."""

    code: str = ""


class QueueAccepted(msgspec.Struct, gc=False):
    """A conversation exists and waits for an agent, or (`connected`) has one."""

    conversation_id: str
    connected: bool = False


class SessionEnded(msgspec.Struct, gc=False):
    """The conversation is closed; nothing is stored in it any more."""

    conversation_id: str = ""
    reason: str = ""


class Delivered(msgspec.Struct, gc=False):
    """A text message, of an agent or the guest's own come back; only a marker or the message's id tells which."""

    text: str
    conversation_id: str = ""
    message_id: str = ""
    sender: str = ""
    stamp: str = ""
    """The server's stamp as written."""
    server_ns: int = 0
    """The same as wall-clock nanoseconds; 0: none that can be read."""
    flaw: str = ""
    """Name of a field that should be there, or had another type, and was done without."""
    trace: str = ""
    """The guest's own id of the message, where the server brings that back beside an id of its own."""
    key: str = ""
    """What copies of this message share, where that is not `message_id`."""


class Listing(msgspec.Struct, gc=False):
    """One page of stored messages, in the server's order; `flawed` rows could not be read."""

    rows: list[Delivered]
    size: int
    flawed: int
    pages: int = 0
    """How many pages there are; 0: not said."""


class Typing(msgspec.Struct, gc=False):
    """Somebody writes."""

    conversation_id: str = ""
    sender: str = ""


class Pinged(msgspec.Struct, gc=False):
    """Keep-alive question. `payload` is raw JSON that goes back as it came; empty: none."""

    payload: str = ""


class Ponged(msgspec.Struct, gc=False):
    """Keep-alive answer."""


class RateLimited(msgspec.Struct, gc=False):
    """Too many. `retry_after_ns` is -1 where none is given."""

    message_id: str = ""
    retry_after_ns: int = -1
    frame: str = ""
    """Which kind of frame was refused, where the server says so."""


class TokenExpired(msgspec.Struct, gc=False):
    """The channel's credential has run out."""


class Refusal(msgspec.Struct, gc=False):
    """Any other error that the server names."""

    code: str
    conversation_id: str = ""
    message_id: str = ""


class Unrecognised(msgspec.Struct, gc=False):
    """Well-formed, but of a type that the dialect does not know."""

    kind: str = ""


class Violation(msgspec.Struct, gc=False):
    """Not a frame of the dialect: `cause` is a value of `FailureCause`."""

    cause: str
    detail: str = ""


Event = (
    Ready
    | AuthRejected
    | QueueAccepted
    | SessionEnded
    | Delivered
    | Typing
    | Pinged
    | Ponged
    | RateLimited
    | TokenExpired
    | Refusal
    | Unrecognised
    | Violation
)
