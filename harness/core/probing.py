"""What a dialect tells the rate-limit prober: which requests and frames can be limited, how one is formed, how its answer is read.

Pure: a probe is made of what a guest's own session knows (token, conversation, socket address) or has sent already, so that it is
to the protocol; it passes by the session's back-off and pace, which would keep the limit from being met.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.core.credentials import Credential
from harness.core.guest import socket_endpoint
from harness.core.wire import HttpRequest, HttpResponse

Seen = Mapping[str, HttpRequest]
"""The latest request of each endpoint that the session itself has made."""
Confirm = Literal["named", "order", "silence"]
"""How a frame's acceptance is told: by its own name, by an answer in the order of the sends, or not at all (silence until the pong
of a ping that was written right behind it)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server made of one request or frame."""

    accepted: bool | None
    """None: neither taken nor refused by a limit, such as a server error."""
    status: int = 0
    """Of an HTTP answer."""
    retry_after: str = ""
    """As it came: seconds or an HTTP date."""
    n: int = 0
    """Which frame is meant, where it says so; 0: it does not."""


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom something is sent: places in the scenario's lists, 0 being what is used anyway."""

    credential: int = 0
    address: int = 0
    deployment: int = 0
    session: int = 0


@dataclass(frozen=True, slots=True)
class RequestProbe:
    """An HTTP exchange."""

    endpoint: str
    form: Callable[[Any, Seen, int], HttpRequest | None]
    """From the session, what it has sent, and a number; None: the session cannot say yet."""
    prepared: bool = True
    """Whether a guest has to be ready first; else the session as it was born will do."""
    passes: frozenset[int] = frozenset()
    """Statuses beside 2xx by which the limit shows that it let the request through."""
    note: str = ""
    """What a reader of the figures should know of this probe."""
    anonymous: frozenset[str] = frozenset()
    """Fields of `Identity` that it carries no trace of: two senders cannot differ in them, whatever the scenario gives."""


@dataclass(frozen=True, slots=True)
class UpgradeProbe:
    """A WebSocket that is opened and closed at once."""

    endpoint: str
    passes: frozenset[int] = frozenset()
    note: str = ""
    anonymous: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FrameProbe:
    """A frame on the guest's own socket."""

    endpoint: str
    form: Callable[[Any, int], str]
    read: Callable[[Any, str | bytes], Answer | None]
    """What a frame of the server's says about a probe; None: nothing. Total."""
    confirm: Confirm
    note: str = ""
    anonymous: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HoldProbe:
    """Something that stays open: guests are brought to readiness one after the other and kept."""

    endpoint: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the guests that hold it, beside `Probes.settings`."""
    note: str = ""
    anonymous: frozenset[str] = frozenset()


Probe = RequestProbe | UpgradeProbe | FrameProbe | HoldProbe


@dataclass(frozen=True, slots=True)
class Probes:
    """All of a dialect's."""

    ready: Callable[[Any], bool]
    """Whether a guest has its conversation and (if any) its socket, so that everything can be probed."""
    probes: tuple[Probe, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the guest that is used for it: no keep-alive of its own that would be counted, nothing drawn by lot."""
    dimensions: tuple[str, ...] = ("credential", "address", "session")
    """Fields of `Identity` in which two guests of this dialect can differ at all."""
    once_ready: Callable[[Any, int], None] | None = None
    """What such a guest does first (session, now), so that everything that a probe needs is there."""


# -------------------------------------------------------------------- forming
def fresh(session: Any, seen: HttpRequest, number: int, **changes: Any) -> HttpRequest:
    """A request like one that the session has made, under an id of its own."""
    name = f"{session.context.run}.{session.context.slot}.p{number}"
    headers = [(key, value) for key, value in seen.headers if key != "X-Request-Id"]
    fields = {
        "id": name,
        "endpoint": seen.endpoint,
        "base": seen.base,
        "method": seen.method,
        "path": seen.path,
        "headers": [("X-Request-Id", name), *headers],
        "body": seen.body,
        "timeout_ns": seen.timeout_ns,
        "lane": "probe",
    }
    return HttpRequest(**{**fields, **changes})


def built(
    session: Any, number: int, endpoint: str, base: str, path: str, headers: list[tuple[str, str]], body: bytes = b""
) -> HttpRequest:
    """A request that the session has had no occasion for."""
    name = f"{session.context.run}.{session.context.slot}.p{number}"
    more = [("X-Request-Id", name), *headers]
    if session.context.target.origin:
        more.append(("Origin", session.context.target.origin))
    timeout = getattr(session.settings, "http_timeout", 0) or getattr(session.settings, "request_timeout", 0) or 10 * 10**9
    return HttpRequest(name, endpoint, base, endpoint.partition(" ")[0], path, more, body, timeout, "probe")


def token_request(session: Any, _seen: Seen, number: int) -> HttpRequest:
    """A token request of a guest that asks as `CallingGuest` does."""
    ask = session._token_request()
    return built(session, number, "POST " + ask.path, ask.base, ask.path, list(ask.headers), ask.body)


def again(endpoint: str) -> Callable[[Any, Seen, int], HttpRequest | None]:
    """Form a probe by repeating what the session has asked for, with the token that it has now."""

    def form(session: Any, seen: Seen, number: int) -> HttpRequest | None:
        made = seen.get(endpoint)
        return None if made is None else with_token(session, fresh(session, made, number))

    return form


def with_token(session: Any, request: HttpRequest) -> HttpRequest:
    """The request with the session's present bearer token, where it carries one."""
    credential: Credential | None = getattr(session, "credential", None)
    if credential is not None and any(key == "Authorization" and value.startswith("Bearer ") for key, value in request.headers):
        request.headers = [pair for pair in request.headers if pair[0] != "Authorization"]
        request.headers.append(("Authorization", "Bearer " + credential.value.reveal()))
    return request


def upgrade_endpoint(path: str) -> str:
    """How rows name the upgrade of this path."""
    return socket_endpoint(path)


# -------------------------------------------------------------------- reading
def read_response(response: HttpResponse, passes: frozenset[int] = frozenset()) -> Answer:
    """What an HTTP answer says: 429 is a limit's, 2xx (and 101) went through, anything else says neither."""
    wait = response.headers.get("retry-after", "")
    if response.status == 429:
        return Answer(False, 429, wait)
    taken = 200 <= response.status < 300 or response.status == 101 or response.status in passes
    return Answer(True if taken else None, response.status, wait)


def refused_frame(retry_after_ns: int, n: int = 0) -> Answer:
    """A rate-limit frame; -1: it names no time."""
    return Answer(False, 0, "" if retry_after_ns < 0 else f"{retry_after_ns / 1e9:g}", n)
