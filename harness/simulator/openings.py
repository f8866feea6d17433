"""How many WebSockets each address has opened so far: their numbers are part of the names that truth gives them.

Client ports come again after hours, so nothing may be forgotten; a table of all ports costs less than a dictionary of many.
"""

from __future__ import annotations

from array import array

PORTS = 1 << 16
TABLES = 16
"""Hosts with a table of their own; those of the many others are kept one by one."""


class Openings:
    """Counts by `ip:port`."""

    def __init__(self) -> None:
        self._tables: dict[str, array[int]] = {}
        self._others: dict[str, int] = {}

    def next(self, peer: str) -> int:
        """The number that the next one from there will have."""
        table, port = self._place(peer)
        return (self._others.get(peer, 0) if table is None else table[port]) + 1

    def note(self, peer: str, number: int) -> None:
        """It was opened."""
        table, port = self._place(peer)
        if table is None:
            self._others[peer] = number
        else:
            table[port] = number

    def _place(self, peer: str) -> tuple[array[int] | None, int]:
        host, _, port = peer.rpartition(":")
        table = self._tables.get(host)
        if table is None and len(self._tables) < TABLES:
            table = self._tables[host] = array("I", bytes(array("I").itemsize * PORTS))
        return (table, int(port)) if port.isascii() and port.isdigit() and int(port) < PORTS else (None, 0)
