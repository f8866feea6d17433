"""Everything here runs under gevent's patches: this directory is a pytest process of its own (`pytest tests/swarm`)."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import gevent
import locust  # noqa: F401 - first: it patches the standard library
import pytest
from gevent import server as gserver

from tests.swarm.kit import OPENED

Handler = Callable[[socket.socket], object]


class Serving:
    """A scripted server: each accepted connection is given to `handler` in a greenlet."""

    def __init__(self, handler: Handler, **tls: object) -> None:
        self.accepted = 0
        self.handler = handler
        self._server = gserver.StreamServer(("127.0.0.1", 0), self._take, **tls)
        self._server.start()
        self.port: int = self._server.server_port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _take(self, sock: socket.socket, _address: object) -> None:
        self.accepted += 1
        try:
            self.handler(sock)
        except OSError:
            pass
        finally:
            sock.close()

    def stop(self) -> None:
        self._server.stop(timeout=0)


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    servers: list[Serving] = []

    def make(handler: Handler, **tls: object) -> Serving:
        servers.append(Serving(handler, **tls))
        return servers[-1]

    yield make
    for one in servers:
        one.stop()


@pytest.fixture(autouse=True)
def bounded() -> Iterator[None]:
    """No test of the shell may hang the hub."""
    with gevent.Timeout(60):
        yield
        while OPENED:
            OPENED.pop()()
