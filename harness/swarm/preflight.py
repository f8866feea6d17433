"""Before any load: is there anybody at an address who speaks HTTP? One connection and one small request, through the guard."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import ssl

import gevent
from geventhttpclient.response import HTTPParseError

from harness.errors import FailureCause, UnreachableError
from harness.swarm.guard import ConnectError, Stream
from harness.swarm.http import Answer
from harness.swarm.network import Network, Origin, head

_HINTS = {
    FailureCause.DNS: "Is the name right, and does this machine's name server know it?",
    FailureCause.TLS_VERIFY: "Is it the right host? For a private authority name its PEM file: [target.tls] ca.",
    FailureCause.TLS: "Does it speak TLS on this port? An address with http:// or ws:// goes without.",
}
_IS_IT_RUNNING = "Is it running, and is the address right?"


def knock(network: Network, origin: Origin, base: str, within_s: float) -> None:
    """Raise UnreachableError unless an HTTP server answers, whatever its answer is. A simulator of ours is only connected to."""
    where = f"{base} ({origin.netloc})"
    try:
        stream = network.connect(origin, within_s)
    except ConnectError as error:
        late = error.cause == FailureCause.CONNECT_TIMEOUT
        what = f"no connection within {within_s:g} s" if late else f"no connection: {error}"
        raise UnreachableError(what, where=where, hint=_HINTS.get(error.cause, _IS_IT_RUNNING)) from None
    try:
        if not network.simulated:
            _ask(network, stream, origin, where, within_s)
    finally:
        stream.close()


def _ask(network: Network, stream: Stream, origin: Origin, where: str, within_s: float) -> None:
    answer = Answer("GET", network.limits.max_head, network.limits.max_body)
    bound = gevent.Timeout(within_s)
    bound.start()
    try:
        stream.sendall(head("GET", origin, "/", [("Accept", "*/*"), ("Connection", "close")]) + b"\r\n")
        while not answer.headers_complete:
            data = stream.recv(65536)
            answer.take(data)
            if not data:
                raise UnreachableError("it ended the connection without an answer", where=where, hint=_IS_IT_RUNNING)
    except gevent.Timeout as struck:
        if struck is not bound:
            raise
        raise UnreachableError(
            f"it takes connections but has not answered within {within_s:g} s",
            where=where,
            hint="Is the right service listening there? A slow one gets more time: [target] answer_within.",
        ) from None
    except HTTPParseError:
        raise UnreachableError(
            "what it answers is not HTTP", where=where, hint="Is the port right, and is http or https as it should be?"
        ) from None
    except (OSError, ssl.SSLError):
        raise UnreachableError("it broke the connection instead of answering", where=where, hint=_IS_IT_RUNNING) from None
    finally:
        bound.close()
