"""The asyncio shell: real sockets around the pure engine.

One loop, one engine, no lock: every callback runs to its end before the next. The engine decides, the shell moves bytes and reports
truthfully what became of them. Sockets, clocks and files exist only here and in the modules that this one imports.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import itertools
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from aiohttp import hdrs, web

from harness.core.wire import HttpResponse
from harness.errors import UsageError
from harness.simulator import tls
from harness.simulator.control import Control
from harness.simulator.http_shell import Exchange, HttpServer, hand_over, header_table, render
from harness.simulator.instants import http_date
from harness.simulator.transports import Wire
from harness.simulator.truth_file import TruthFile
from harness.simulator.ws_shell import MAX_FRAME, NO_CLOSE, Channel, Upgraded, read_all

TICK_S = 0.2
"""How often truth goes to disk, and how often the loop's own lateness is looked at."""
SHOWN_FAULTS = 5


class EngineLike(Protocol):
    """What the shell needs of `engine.Engine`; tests drive the shell with a scripted one."""

    def on_request(self, now: int, request: int, peer: str, method: str, path: str, headers: dict[str, str], body: bytes) -> None:
        """A whole request came in."""

    def on_responded(self, now: int, request: int, handed: bool) -> None:
        """An answer was written, or could not be."""

    def on_request_gone(self, now: int, request: int) -> None:
        """The guest left before the answer."""

    def on_upgrade(self, now: int, conn: int, peer: str, path: str, headers: dict[str, str]) -> HttpResponse | None:
        """A guest wants a WebSocket: None lets it in."""

    def on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        """A whole frame came in."""

    def on_ping(self, now: int, conn: int, payload: bytes) -> None:
        """A ping of the WebSocket protocol came in."""

    def on_socket_closed(self, now: int, conn: int, by: str, code: int) -> None:
        """A WebSocket has ended."""

    def next_deadline(self) -> int | None:
        """When it wants to be woken."""

    def on_deadline(self, now: int) -> None:
        """That instant has come."""


class PortInUseError(UsageError):
    """The port asked for is taken."""


def loopback(host: str) -> str:
    """Check that a bind address is loopback, by address: a simulator is nobody else's business."""
    try:
        if ipaddress.ip_address("127.0.0.1" if host == "localhost" else host).is_loopback:
            return "127.0.0.1" if host == "localhost" else host
    except ValueError:
        pass
    raise UsageError(
        f"{host!r} is not a loopback address", where="--bind", hint="The simulator listens on loopback only, such as 127.0.0.1."
    )


class Shell:
    """`Outlet` of an engine on real transports.

    `wall_offset_ns`: its wall clock minus the monotonic one. All that it says of the time of day comes from there, so that setting
    the machine's clock does not move a server's that is meant to be another's.
    """

    def __init__(self, wall_offset_ns: int | None = None) -> None:
        self._wall_offset_ns = time.time_ns() - time.monotonic_ns() if wall_offset_ns is None else wall_offset_ns
        self._loop = asyncio.get_running_loop()
        self._engine: EngineLike | None = None
        self._numbers = itertools.count(1)
        self._exchanges: dict[int, Exchange] = {}
        self._channels: dict[int, Channel] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0
        self.internal_errors = 0
        self.forced_resets = 0
        """Resets whose guest had not taken everything in time: units of theirs may be torn."""
        self.overflows = 0

    def attach(self, engine: EngineLike) -> None:
        """Give the engine that this is the outlet of."""
        self._engine = engine

    @property
    def engine(self) -> EngineLike:
        """The engine."""
        assert self._engine is not None
        return self._engine

    @property
    def parked(self) -> int:
        """HTTP exchanges not answered yet."""
        return len(self._exchanges)

    @property
    def sockets(self) -> int:
        """WebSockets that are open."""
        return len(self._channels)

    # Outlet: called by the engine, never calls back into it

    def push(self, conn: int, text: str) -> bool:
        """Write a text frame; True when it is with the guest's kernel, as far as any server can know."""
        channel = self._channels.get(conn)
        return channel is not None and channel.push(1, text.encode("utf-8", "surrogatepass"))

    def push_bytes(self, conn: int, data: bytes) -> bool:
        """Write a binary frame."""
        channel = self._channels.get(conn)
        return channel is not None and channel.push(2, data)

    def pong(self, conn: int, payload: bytes) -> None:
        """Answer a ping of the WebSocket protocol."""
        if channel := self._channels.get(conn):
            channel.pong(payload)

    def close(self, conn: int, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        if channel := self._channels.get(conn):
            channel.close(code, reason)

    def reset(self, conn: int) -> None:
        """RST once all pushes are with the guest."""
        if channel := self._channels.get(conn):
            channel.reset(self._reset_later)

    def tear(self, conn: int, text: str) -> None:
        """Half a frame, then RST."""
        if channel := self._channels.get(conn):
            channel.tear(text, self._reset_later)

    def respond(self, request: int, response: HttpResponse) -> None:
        """Answer a request that came in earlier, or the one at hand."""
        if exchange := self._exchanges.get(request):
            exchange.give(response)

    def cut(self, request: int) -> None:
        """RST instead of an answer."""
        if exchange := self._exchanges.get(request):
            exchange.give(None)

    def _reset_later(self, channel: Channel) -> None:
        async def run() -> None:
            if not await channel.reset_when_empty():
                self.forced_resets += 1

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # events, into the engine

    async def handle(self, request: web.BaseRequest, wire: Wire) -> web.StreamResponse:
        """One request of a guest, to its end."""
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._upgrade(request, wire)
        body = await request.read()
        number = next(self._numbers)
        exchange = Exchange(self._loop.create_future())
        self._exchanges[number] = exchange
        handed = False
        try:
            if not self._tell(
                self.engine.on_request, number, wire.peer, request.method, request.raw_path, header_table(request, wire), body
            ):
                exchange.give(HttpResponse(500, {}, b'{"code":"internal"}'))
            response = await exchange.answer
            if response is None:
                wire.reset()
                raise ConnectionResetError
            answer, handed = await hand_over(request, wire, response, self._date())
            return answer
        finally:
            del self._exchanges[number]
            future = exchange.answer
            if future.cancelled() or not future.done():
                self._tell(self.engine.on_request_gone, number)
            elif future.result() is not None:
                self._tell(self.engine.on_responded, number, handed)

    def _date(self) -> str:
        return http_date((time.monotonic_ns() + self._wall_offset_ns) // 1_000_000_000 * 1000)

    async def _upgrade(self, request: web.BaseRequest, wire: Wire) -> web.StreamResponse:
        ws = Upgraded(autoclose=False, autoping=False, compress=False, max_msg_size=MAX_FRAME, timeout=1.0, decode_text=True)
        if not ws.can_prepare(request):
            return web.Response(status=400)
        ws.headers[hdrs.DATE] = self._date()
        number = next(self._numbers)
        channel = Channel(number, wire)
        self._channels[number] = channel
        refusal: list[HttpResponse | None] = [HttpResponse(500, {}, b"")]

        def ask(now: int) -> None:
            refusal[0] = self.engine.on_upgrade(now, number, wire.peer, request.raw_path, header_table(request, wire))

        self._tell(ask)
        if (answer := refusal[0]) is not None:
            del self._channels[number]
            if answer.status == 0:
                wire.reset()
                raise ConnectionResetError
            return render(answer, self._date())
        by, code = "guest", NO_CLOSE
        try:
            await ws.prepare(request)
            channel.opened()
            by, code = await read_all(ws, channel, self._on_frame, self._on_ping)
            return ws
        finally:
            del self._channels[number]
            self.overflows += channel.overflowed
            if channel.ended:
                by, code = "server", channel.sent_code
            channel.echo_close(code if by == "guest" else NO_CLOSE)
            self._tell(self.engine.on_socket_closed, number, by, code)

    def _on_frame(self, now: int, number: int, data: str | bytes) -> None:
        self._tell_at(now, self.engine.on_frame, number, data)

    def _on_ping(self, now: int, number: int, payload: bytes) -> None:
        self._tell_at(now, self.engine.on_ping, number, payload)

    def _tell(self, event: Callable[..., object], *arguments: Any) -> bool:
        return self._tell_at(time.monotonic_ns(), event, *arguments)

    def _tell_at(self, now: int, event: Callable[..., object], *arguments: Any) -> bool:
        try:
            event(now, *arguments)
        except Exception:  # a fault of ours must be seen, and must not end the run
            self._complain()
            return False
        finally:
            self._arm(now)
        return True

    def _complain(self) -> None:
        self.internal_errors += 1
        if self.internal_errors <= SHOWN_FAULTS:
            traceback.print_exc()

    # the one timer

    def _arm(self, now: int) -> None:
        """See to it that the timer goes off no later than the engine's next deadline. One that goes off early does nothing."""
        deadline = self.engine.next_deadline()
        if deadline is None or (self._timer is not None and self._timer_at <= deadline):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        # uvloop's timers have whole milliseconds: rounding up keeps a deadline from being looked at many times before it is due
        self._timer = self._loop.call_later(max(0.0, -(-(deadline - now) // 1_000_000) / 1e3), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        deadline = self.engine.next_deadline()
        if deadline is not None and deadline <= time.monotonic_ns():
            self._tell(self.engine.on_deadline)
        else:
            self._arm(time.monotonic_ns())

    def rearm(self) -> None:
        """Look at the engine's deadline anew, after a call from elsewhere."""
        self._arm(time.monotonic_ns())


class FullEngine(EngineLike, Protocol):
    """What the control listener needs besides."""

    def begin(self, now: int) -> None:
        """The run starts: fault windows count from here."""

    def set_faults(self, now: int, plan: Any) -> None:
        """Replace the fault plan."""

    def settle(self, now: int) -> None:
        """Finish what is begun, begin nothing."""

    def seal(self, now: int) -> dict[str, Any]:
        """Write the last row of truth."""

    def health(self, now: int) -> dict[str, Any]:
        """Figures about itself."""

    def counts(self) -> dict[str, Any]:
        """Rows of truth so far."""


class TruthSource(Protocol):
    """What the shell needs of `truth.TruthLog`."""

    def take(self) -> bytes:
        """The bytes of all rows since the last call."""


@dataclass(slots=True)
class Place:
    """Where and how to listen."""

    folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    tls: bool = False
    names: tuple[str, ...] = ()
    control: int = 0
    truth: Path | None = None
    """Where truth goes; None: `truth.jsonl` in the folder."""
    identity: str = field(default="", repr=False)
    """Key and certificates of a simulator whose place this one takes (`tls.Identity.bundle`); empty: new ones are made."""


@dataclass(slots=True)
class Ready:
    """What the one who started us must know."""

    port: int
    ca: str | None
    control: int
    truth: Path = field(default_factory=Path)
    identity: str = field(default="", repr=False)
    """As `Place.identity`, for one that takes our place; empty without TLS."""


class Simulator:
    """One running simulator: guests' port, control port, truth on disk."""

    def __init__(self, shell: Shell, engine: FullEngine, source: TruthSource, place: Place, token: str) -> None:
        self._shell, self._engine, self._source, self._place, self._token = shell, engine, source, place, token
        self._loop = asyncio.get_running_loop()
        self._started = time.monotonic_ns()
        self._truth: TruthFile | None = None
        self._seal: dict[str, Any] | None = None
        self._sealing = asyncio.Lock()
        self._servers: list[asyncio.Server] = []
        self._http = HttpServer(shell.handle)
        self._control = HttpServer(Control(token, self).handle)
        self._ticker: asyncio.TimerHandle | None = None
        self._tick_due = 0.0
        self._lag_max = self._lag_recent = 0.0

    async def start(self) -> Ready:
        """Open both ports. PortInUseError when the one asked for is taken."""
        place = self._place
        mine = (tls.identity(place.identity) if place.identity else tls.issue(place.names)) if place.tls else None
        context = tls.context(mine) if mine else None
        ca = str(tls.publish(mine, place.folder)) if mine else None
        try:
            public = await self._http.listen(place.host, place.port, context)
        except OSError as error:
            hint = "Choose another with --port, or --port 0 for a free one."
            raise PortInUseError(
                f"port {place.port} on {place.host} cannot be opened: {error.strerror or error}", hint=hint
            ) from error
        self._servers.append(public)
        private = await self._control.listen(place.host, place.control, None)
        self._servers.append(private)
        # not before: a second start on a taken port must not empty the first's
        self._truth = TruthFile(place.truth or place.folder / "truth.jsonl")
        self._tick_due = self._loop.time() + TICK_S
        self._ticker = self._loop.call_at(self._tick_due, self._tick)
        port, control = (server.sockets[0].getsockname()[1] for server in self._servers)
        return Ready(port, ca, control, self._file.path, mine.bundle if mine else "")

    async def stop(self) -> None:
        """Stop listening and put what is known into the file; sealed or not is decided elsewhere."""
        for server in self._servers:
            server.close()
        if self._ticker is not None:
            self._ticker.cancel()
        if self._truth is not None:
            self._truth.append(self._source.take())
            await self._truth.flush()
            self._truth.close()

    @property
    def _file(self) -> TruthFile:
        assert self._truth is not None
        return self._truth

    def _tick(self) -> None:
        late = self._loop.time() - self._tick_due
        self._lag_recent = max(late, self._lag_recent * 0.9)
        self._lag_max = max(self._lag_max, late)
        rows = self._source.take()
        if self._seal is None:  # nothing follows the seal
            self._file.append(rows)
        self._tick_due = self._loop.time() + TICK_S
        self._ticker = self._loop.call_at(self._tick_due, self._tick)

    # control.Controlled

    def health(self) -> dict[str, Any]:
        """Liveness, load and trouble of engine and shell."""
        now = time.monotonic_ns()
        usage = resource.getrusage(resource.RUSAGE_SELF)
        shell = {
            "uptime_s": round((now - self._started) / 1e9, 3),
            "connections": self._http.open_connections,
            "sockets": self._shell.sockets,
            "parked": self._shell.parked,
            "lag_ms": round(self._lag_recent * 1e3, 3),
            "lag_max_ms": round(self._lag_max * 1e3, 3),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "rss_max_kib": usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1),
            "internal_errors": self._shell.internal_errors,
            "forced_resets": self._shell.forced_resets,
            "overflows": self._shell.overflows,
            "truth_bytes": self._file.written,
            "truth_failure": self._file.failure,
            "sealed": self._seal is not None and not self._file.failure,
        }
        figures = self._engine.health(now)
        memory = resident_bytes() + int(figures.get("planted_bytes", 0))
        return {
            **figures,
            "memory_bytes": memory,
            "open_sockets": self._shell.sockets,
            "cpu_s": shell["cpu_s"],
            "internal_errors": self._shell.internal_errors,
            "shell": shell,
        }

    def counts(self) -> dict[str, Any]:
        """Rows of truth so far."""
        return self._engine.counts()

    def begin(self) -> dict[str, Any]:
        """The run starts now."""
        now = time.monotonic_ns()
        self._engine.begin(now)
        self._shell.rearm()
        return {"t": now}

    def set_faults(self, plan: object) -> dict[str, Any]:
        """Replace the fault plan."""
        now = time.monotonic_ns()
        self._engine.set_faults(now, plan)
        self._shell.rearm()
        return {"t": now}

    def settle(self) -> dict[str, Any]:
        """Nothing new is begun from here on."""
        now = time.monotonic_ns()
        self._engine.settle(now)
        self._shell.rearm()
        return {"t": now}

    async def seal(self) -> dict[str, Any]:
        """End the truth; asked again, it answers the same. Truth that could not be written stays without a seal."""
        async with self._sealing:
            if self._seal is None:
                self._file.append(self._source.take())
                await self._file.flush()
                counts = self._engine.seal(time.monotonic_ns())
                if not self._file.failure:
                    self._file.append(self._source.take())
                    await self._file.flush()
                self._seal = counts
        return {"sealed": not self._file.failure, "failure": self._file.failure, "path": str(self._file.path), "seal": self._seal}

    async def truth(self) -> Path:
        """The file, with all rows so far in it."""
        if self._seal is None:
            self._file.append(self._source.take())
        await self._file.flush()
        return self._file.path


def resident_bytes() -> int:
    """Memory that the process has now; where the system does not tell, the most that it ever had."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def raise_descriptor_limit() -> None:
    """Every guest is a descriptor or two: take all that the system lets us have."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
