"""An engine on a bench: an outlet that keeps what it is given, a clock moved by hand, rows of truth to look at."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from harness.core.wire import HttpResponse
from harness.simulator.config import SimConfig
from harness.simulator.engine import Engine
from harness.simulator.truth import TruthLog

SECOND = 1_000_000_000
MS = 1_000_000
SECRET = "not-a-real-secret"  # noqa: S105
WALL = 1_700_000_000 * SECOND
CALM = {"agents": {"accept": "1s", "reply": "2s", "typing": 0}, "keepalive": {"ping_every": 0}}


class Bench:
    """Outlet and clock in one. What the engine ends is reported back to it before the clock moves on."""

    def __init__(self, table: dict[str, Any] | None = None, *, seed: int = 1, **options: Any) -> None:
        self.lines: list[str] = []
        self.now = self.start = 1_000 * SECOND
        self.pushed: dict[int, list[str | bytes]] = {}
        self.ended: dict[int, tuple[str, int]] = {}
        self.answers: dict[int, HttpResponse] = {}
        self.cuts: list[int] = []
        self.pongs: list[tuple[int, bytes]] = []
        self.unreadable: set[int] = set()
        self._told: list[tuple[str, int, int]] = []
        self._number = 0
        self.truth = TruthLog(self.lines.append)
        config = SimConfig.from_table({**CALM, **(table or {})})
        self.engine = Engine(
            config, seed=seed, outlet=self, truth=self.truth, wall_offset_ns=WALL - self.now, secret=SECRET, **options
        )
        self.engine.begin(self.now)

    # ------------------------------------------------------------ outlet
    def push(self, conn: int, text: str) -> bool:
        """Write a text frame."""
        return self._push(conn, text)

    def push_bytes(self, conn: int, data: bytes) -> bool:
        """Write a binary frame."""
        return self._push(conn, data)

    def _push(self, conn: int, data: str | bytes) -> bool:
        if conn in self.ended or conn in self.unreadable:
            return False
        self.pushed.setdefault(conn, []).append(data)
        return True

    def _end(self, conn: int, how: str, code: int) -> None:
        assert conn not in self.ended
        self.ended[conn] = (how, code)
        self._told.append(("closed", conn, code))

    def close(self, conn: int, code: int, reason: str) -> None:  # noqa: ARG002
        """Begin to close."""
        assert code != 1000
        self._end(conn, "close", code)

    def reset(self, conn: int) -> None:
        """Reset."""
        self._end(conn, "reset", 0)

    def tear(self, conn: int, text: str) -> None:
        """Half a frame, then a reset."""
        assert text
        self._end(conn, "tear", 0)

    def respond(self, request: int, response: HttpResponse) -> None:
        """Answer."""
        assert request not in self.answers
        self.answers[request] = response
        self._told.append(("responded", request, 0))

    def pong(self, conn: int, payload: bytes) -> None:
        """Answer a ping control frame."""
        self.pongs.append((conn, payload))

    def cut(self, request: int) -> None:
        """Reset instead of an answer."""
        assert request not in self.answers
        self.cuts.append(request)

    # ------------------------------------------------------------ clock
    def tell(self) -> None:
        """Report to the engine what it has ended and answered."""
        while self._told:
            kind, number, code = self._told.pop(0)
            if kind == "closed":
                self.engine.on_socket_closed(self.now, number, "server", code)
            else:
                self.engine.on_responded(self.now, number, True)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + round(seconds * SECOND)
        self.tell()
        while (due := self.engine.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.engine.on_deadline(self.now)
            self.tell()
        self.now = end

    # ------------------------------------------------------------ guest
    def number(self) -> int:
        """The next number of a request or connection."""
        self._number += 1
        return self._number

    def request(
        self,
        method: str,
        path: str,
        body: Any = b"",
        *,
        peer: str = "127.0.0.1:2000",
        rid: str = "",
        token: str = "",
        **headers: str,
    ) -> int:
        """A request of the guest's; its number."""
        number = self.number()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        given["x-request-id"] = rid or f"req-{number}"
        if token:
            given["authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.engine.on_request(self.now, number, peer, method, path, given, data)
        self.tell()
        return number

    def answer(self, number: int) -> tuple[int, Any]:
        """Status and body of an answer."""
        response = self.answers[number]
        return response.status, json.loads(response.body) if response.body else None

    def socket(self, peer: str = "127.0.0.1:3000", *, path: str, **headers: str) -> int:
        """An open WebSocket."""
        number, refused = self.upgrade(path, peer, **headers)
        assert refused is None, f"{path}: {refused}"
        return number

    def upgrade(self, path: str, peer: str = "127.0.0.1:3000", **headers: str) -> tuple[int, HttpResponse | None]:
        """Ask for a WebSocket; its number and the refusal, if it is refused."""
        number = self.number()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        refused = self.engine.on_upgrade(self.now, number, peer, path, given)
        self.tell()
        return number, refused

    def say(self, conn: int, **frame: Any) -> None:
        """A frame of the guest's, as JSON."""
        self.frame(conn, json.dumps(frame))

    def frame(self, conn: int, data: str | bytes) -> None:
        """A frame of the guest's, as it is."""
        self.engine.on_frame(self.now, conn, data)
        self.tell()

    def leave(self, conn: int, code: int = 1000) -> None:
        """The guest closes."""
        if conn not in self.ended:
            self.ended[conn] = ("guest", code)
            self.engine.on_socket_closed(self.now, conn, "guest", code)
            self.tell()

    # ------------------------------------------------------------ looking
    def frames(self, conn: int, kind: str = "") -> list[dict[str, Any]]:
        """Frames that the server wrote, of one type or all."""
        found = []
        for data in self.pushed.get(conn, []):
            try:
                frame = json.loads(data) if isinstance(data, str) else None
            except ValueError:
                continue
            if isinstance(frame, dict) and (not kind or frame.get("type") == kind):
                found.append(frame)
        return found

    def last(self, conn: int, kind: str = "") -> dict[str, Any]:
        """The newest of them."""
        return self.frames(conn, kind)[-1]

    def rows(self, *names: str) -> list[dict[str, Any]]:
        """Rows of truth."""
        rows = [json.loads(line) for line in self.lines]
        return [row for row in rows if not names or row["row"] in names]

    def ids(self, name: str) -> list[str]:
        """Ids of one row."""
        return [row["id"] for row in self.rows(name)]

    def acts(self, fault: str) -> list[str]:
        """Units that a fault has concerned."""
        return [row["id"] for row in self.rows("act") if row["name"] == fault]

    def seal(self) -> dict[str, int]:
        """End the truth."""
        return dict(self.engine.seal(self.now))


def faults(*plans: dict[str, Any]) -> dict[str, Iterable[Any]]:
    """A table with these faults."""
    return {"faults": list(plans)}
