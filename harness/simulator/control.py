"""The control listener: `/__sim__/…` on a loopback port of its own, with a start token, out of reach of every fault and limit."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from harness.simulator.transports import Wire

PIECE = 256 * 1024


class Controlled(Protocol):
    """What can be asked of a running simulator."""

    def health(self) -> dict[str, Any]:
        """Liveness, load and trouble."""

    def counts(self) -> dict[str, Any]:
        """Rows of truth so far."""

    def begin(self) -> dict[str, Any]:
        """Now is the run's start: fault windows count from here."""

    def set_faults(self, plan: object) -> dict[str, Any]:
        """Replace the fault plan; ValueError names what is wrong with it."""

    def settle(self) -> dict[str, Any]:
        """Agents answer what they hold and start nothing."""

    async def seal(self) -> dict[str, Any]:
        """End the truth."""

    async def truth(self) -> Path:
        """The file, with all rows so far in it."""


class Control:
    """Handles one request of the control listener."""

    def __init__(self, token: str, simulator: Controlled) -> None:
        self._expected = f"Bearer {token}".encode()
        self._simulator = simulator

    async def handle(self, request: web.BaseRequest, wire: Wire) -> web.StreamResponse:  # noqa: ARG002
        """Answer it: 401 without the token, 404 and 405 as usual."""
        given = request.headers.get("Authorization", "").encode(errors="replace")
        if not hmac.compare_digest(given, self._expected):
            return answer({"error": "unauthorized"}, 401)
        method = _METHODS.get(request.path)
        if method is None:
            return answer({"error": "not found", "paths": sorted(_METHODS)}, 404)
        if request.method != method:
            return answer({"error": f"{request.path} wants {method}"}, 405)
        simulator = self._simulator
        match request.path:
            case "/__sim__/health":
                return answer(simulator.health())
            case "/__sim__/counts":
                return answer(simulator.counts())
            case "/__sim__/begin":
                return answer(simulator.begin())
            case "/__sim__/settle":
                return answer(simulator.settle())
            case "/__sim__/seal":
                return answer(await simulator.seal())
            case "/__sim__/truth":
                return await stream(request, await simulator.truth())
        try:
            return answer(simulator.set_faults(json.loads(await request.read())))
        except (ValueError, RecursionError) as error:
            return answer({"error": str(error)}, 400)


_METHODS = {
    "/__sim__/health": "GET",
    "/__sim__/counts": "GET",
    "/__sim__/truth": "GET",
    "/__sim__/faults": "POST",
    "/__sim__/begin": "POST",
    "/__sim__/settle": "POST",
    "/__sim__/seal": "POST",
}


def answer(body: dict[str, Any], status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(status=status, body=json.dumps(body, separators=(",", ":")).encode(), content_type="application/json")


async def stream(request: web.BaseRequest, path: Path) -> web.StreamResponse:
    """Send a file in pieces, as long as it is now."""
    size = path.stat().st_size
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    response.content_length = size
    await response.prepare(request)
    async for piece in _pieces(path, size):
        await response.write(piece)
    await response.write_eof()
    return response


async def _pieces(path: Path, size: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    with path.open("rb") as file:
        while size > 0 and (piece := await loop.run_in_executor(None, file.read, min(PIECE, size))):
            size -= len(piece)
            yield piece
