"""What the engine needs of a shell."""

from __future__ import annotations

from typing import Protocol

from harness.core.wire import HttpResponse


class Outlet(Protocol):
    """What a shell gives the engine. Calls are synchronous and never call back into the engine."""

    def push(self, conn: int, text: str) -> bool:
        """Write a text frame. True: handed whole to the kernel of a readable connection."""

    def push_bytes(self, conn: int, data: bytes) -> bool:
        """Write a binary frame."""

    def pong(self, conn: int, payload: bytes) -> None:
        """Answer a ping of the WebSocket protocol."""

    def close(self, conn: int, code: int, reason: str) -> None:
        """Begin to close; `on_socket_closed` follows."""

    def reset(self, conn: int) -> None:
        """RST as soon as the write buffer is empty; `on_socket_closed` follows."""

    def tear(self, conn: int, text: str) -> None:
        """Write the first half of a frame, then RST; `on_socket_closed` follows."""

    def respond(self, request: int, response: HttpResponse) -> None:
        """Answer; `on_responded` follows."""

    def cut(self, request: int) -> None:
        """RST instead of an answer; nothing follows."""
