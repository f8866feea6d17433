"""A shell on real sockets around a scripted engine, in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvloop
from websocket import ABNF, WebSocket, WebSocketConnectionClosedException

from harness.core.wire import HttpResponse
from harness.simulator.server import Place, Shell, Simulator

PATIENCE = 20.0


class Script:
    """An engine that does what the test says and notes what it is told."""

    def __init__(self) -> None:
        self.outlet: Any = None
        self.told: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.deadline: int | None = None
        self.when: dict[str, Callable[..., Any]] = {}

    def _note(self, name: str, *details: Any) -> Any:
        action = self.when.get(name)
        result = action(*details) if action else None
        self.told.put((name, *details))
        return result

    def on_request(self, now: int, request: int, peer: str, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        self._note("request", request, peer, method, path, headers, body)

    def on_responded(self, now: int, request: int, handed: bool) -> None:
        self._note("responded", request, handed)

    def on_request_gone(self, now: int, request: int) -> None:
        self._note("gone", request)

    def on_upgrade(self, now: int, conn: int, peer: str, path: str, headers: dict[str, str]) -> HttpResponse | None:
        return self._note("upgrade", conn, peer, path, headers)

    def on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        self._note("frame", conn, data)

    def on_ping(self, now: int, conn: int, payload: bytes) -> None:
        self._note("ping", conn, payload)

    def on_socket_closed(self, now: int, conn: int, by: str, code: int) -> None:
        self._note("closed", conn, by, code)

    def next_deadline(self) -> int | None:
        return self.deadline

    def on_deadline(self, now: int) -> None:
        self.deadline = None
        self._note("deadline", now)

    def begin(self, now: int) -> None:
        self._note("begin")

    def set_faults(self, now: int, plan: Any) -> None:
        if plan == "bad":
            raise ValueError("no such fault")
        self._note("faults", plan)

    def settle(self, now: int) -> None:
        self._note("settle")

    def seal(self, now: int) -> dict[str, Any]:
        self._note("seal")
        return {"counts": {}}

    def health(self, now: int) -> dict[str, Any]:
        return {"ok": True}

    def counts(self) -> dict[str, Any]:
        return {"messages.sent": 3}

    # for the tests

    def next(self, name: str) -> tuple[Any, ...]:
        """The next thing the engine was told, which must be `name`."""
        event = self.told.get(timeout=PATIENCE)
        assert event[0] == name, event
        return event[1:]


class Rows:
    """A source of truth that the test fills."""

    def __init__(self) -> None:
        self.data = b""

    def take(self) -> bytes:
        data, self.data = self.data, b""
        return data


class Rig:
    """Server thread, addresses, and clients of every kind."""

    def __init__(self, folder: Path, loop: str = "uvloop", tls: bool = False, names: tuple[str, ...] = ()) -> None:
        self.engine, self.rows, self.token = Script(), Rows(), "start-token"
        self._place = Place(folder, tls=tls, names=names)
        self._sockets: list[socket.socket] = []
        self._up = threading.Event()
        self._factory = uvloop.new_event_loop if loop == "uvloop" else None
        self.thread = threading.Thread(target=self._main, name="rig")
        self.thread.start()
        assert self._up.wait(PATIENCE)
        self.context = ssl.create_default_context(cafile=self.ready.ca) if tls else None

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=self._factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self.shell = Shell()
        self.engine.outlet = self.shell
        self.shell.attach(self.engine)
        self.simulator = Simulator(self.shell, self.engine, self.rows, self._place, self.token)
        self.ready = await self.simulator.start()
        self._up.set()
        await self._stop.wait()
        await self.simulator.stop()

    def stop(self) -> None:
        for made in self._sockets:
            made.close()
        self.loop.call_soon_threadsafe(self._stop.set)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()

    def do(self, action: Callable[[], Any]) -> Any:
        """Run something in the server's loop, as the engine would, and give its result."""

        async def run() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE)

    def raw(self, **options: int) -> socket.socket:
        """A connected socket, TLS if the rig is."""
        plain = socket.socket()
        if size := options.get("receive"):
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        plain.settimeout(PATIENCE)
        plain.connect(("127.0.0.1", self.ready.port))
        made = self.context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=False) if self.context else plain
        self._sockets.append(made)
        return made

    def http(self, port: int = 0) -> http.client.HTTPConnection:
        if self.context and not port:
            return http.client.HTTPSConnection("127.0.0.1", self.ready.port, timeout=PATIENCE, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", port or self.ready.port, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: bytes | None = None, token: str | None = None) -> tuple[int, bytes]:
        """One request to the control listener."""
        connection = self.http(self.ready.control)
        with contextlib.closing(connection):
            headers = {"Authorization": f"Bearer {self.token if token is None else token}"}
            connection.request(method, f"/__sim__/{path}", body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def ws(self, path: str = "/ws", **options: int) -> tuple[WebSocket, int]:
        """An open WebSocket and the engine's number for it."""
        client = WebSocket(enable_multithread=False)
        client.settimeout(PATIENCE)
        scheme = "wss" if self.context else "ws"
        client.connect(f"{scheme}://localhost{path}", socket=self.raw(**options))
        return client, self.engine.next("upgrade")[0]


def texts_until_end(client: WebSocket) -> tuple[list[str], str, int]:
    """Read everything: whole text frames, then how it ended (`close`, `eof`, `reset`) and the close code."""
    got: list[str] = []
    while True:
        try:
            frame = client.recv_frame()
        except WebSocketConnectionClosedException:
            return got, "eof", 0
        except (ConnectionResetError, ssl.SSLEOFError):  # under TLS Python makes an end of file without close_notify of an RST
            return got, "reset", 0
        if frame.opcode == ABNF.OPCODE_CLOSE:
            return got, "close", int.from_bytes(frame.data[:2], "big")
        if frame.opcode == ABNF.OPCODE_TEXT:
            got.append(frame.data.decode())


@contextlib.contextmanager
def rig(folder: Path, **options: Any) -> Iterator[Rig]:
    made = Rig(folder, **options)
    try:
        yield made
    finally:
        made.stop()
