"""What a session is given, and the small records it keeps: where guests go, who takes the rows, messages, sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random

import msgspec

from harness.core.credentials import Secret
from harness.core.ops import Observer
from harness.core.pacing import Behaviour
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse, OpenSocket


@dataclass(frozen=True, slots=True)
class Target:
    """Where the guests go and as whom. Ids are the tenant's own; secrets never show in a repr."""

    client_id: str
    client_secret: Secret
    queue_id: str = ""
    channel_id: str = ""
    deployment_id: str = ""
    fallback_queue_id: str = ""
    skills: tuple[str, ...] = ()
    origin: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    bases: Mapping[str, str] = field(default_factory=dict)
    """Base URL of each service: what a URL from the server must lie on to be followed."""


@dataclass(frozen=True, slots=True)
class Context:
    """What a session is given at birth; nothing else from outside ever reaches it but calls."""

    run: str
    slot: int
    target: Target
    behaviour: Behaviour
    observer: Observer
    rng: Random
    wall_offset_ns: int
    """Wall clock minus monotonic clock at the run's anchor."""
    misbehaves: tuple[str, ...] = ()
    """Client faults that this guest has on purpose; its settings show them already (`Dialect.settings_with`)."""


class Op(msgspec.Struct):
    """One message of the guest, from intention to outcome."""

    label: str
    seq: int
    key: int
    """Unique in the session; travels with `SendText.key` and `HttpRequest` continuations."""
    message_id: str
    text: str
    intended_ns: int
    free_ns: int
    sent_ns: int = 0
    attempts: int = 0
    confirmed: bool = False
    replied: bool = False
    closed: bool = False
    attachment: object = None
    handed: int = 0
    """Frames with it that the shell has: written, or still to be."""


class Socket(msgspec.Struct):
    """Books of one WebSocket."""

    conn: int
    request: OpenSocket
    address: str = ""
    opened_ns: int = 0
    ready_ns: int = 0
    sent_code: int = 0
    sent_reason: str = ""
    begun_by_guest: bool = False
    over: bool = False
    refusals: int = 0


def socket_endpoint(path: str) -> str:
    """The template of a WebSocket's path, for rows: without query (it may hold a token) and with `{id}` for ids."""
    parts = path.partition("?")[0].split("/")
    return "GET " + "/".join("{id}" if len(part) > 2 and any(map(str.isdigit, part)) else part for part in parts)


Continuation = Callable[[int, HttpRequest, "HttpResponse | HttpFailure"], None]
Usable = Callable[[bytes], bool]
