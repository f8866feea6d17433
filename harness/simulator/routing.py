"""Which half answers a path.

Several may share one. A route that says by `claims` which requests are its own is asked before those that do not say; where all say
and none wants it, the first one answers, for a refusal in some dialect's words is better than a path that seems not to be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from harness.simulator.connections import Exchange

if TYPE_CHECKING:
    from harness.simulator.dialects.base import DialectHalf, Route

Owned = tuple["Route", "DialectHalf"]
Holed = tuple[tuple[str, ...], Owned]


def fill(template: tuple[str, ...], parts: list[str]) -> tuple[str, ...] | None:
    """What stands in the holes of a template, or None where the path is another. Both have as many segments."""
    if all(want == have or want[:1] == "{" for want, have in zip(template, parts, strict=True)):
        return tuple(unquote(have) for want, have in zip(template, parts, strict=True) if want[:1] == "{")
    return None


class Paths:
    """Routes and upgrade paths of all halves."""

    def __init__(self) -> None:
        self._fixed: dict[tuple[str, str], list[Owned]] = {}
        self._holed: dict[tuple[str, int], list[Holed]] = {}
        self._sockets: dict[int, list[tuple[tuple[str, ...], str, DialectHalf]]] = {}

    def add(self, half: DialectHalf) -> None:
        """Take in all that a half has."""
        for path in half.upgrade_paths:
            parts = tuple(path.split("/"))
            self._sockets.setdefault(len(parts), []).append((parts, path, half))
        for route in half.routes():
            parts = tuple(route.template.split("/"))
            if "{" in route.template:
                self._holed.setdefault((route.method, len(parts)), []).append((parts, (route, half)))
            else:
                self._fixed.setdefault((route.method, route.template), []).append((route, half))

    def find(self, exchange: Exchange) -> Route | None:
        """The route of a request; it, its half and the values of its holes are noted in the exchange."""
        method, path = exchange.method, exchange.path
        owned = self._choose(exchange, [(found, ()) for found in self._fixed.get((method, path), ())])
        if owned is None:
            parts = path.split("/")
            matching = []
            for template, found in self._holed.get((method, len(parts)), ()):
                params = fill(template, parts)
                if params is not None:
                    matching.append((found, params))
            owned = self._choose(exchange, matching)
        if owned is None:
            return None
        exchange.route, exchange.half = owned
        return exchange.route

    def known(self, path: str) -> bool:
        """Is there something under that very path, by whatever method?"""
        return any(known == path for _, known in self._fixed)

    def socket(self, path: str) -> tuple[str, tuple[str, ...], DialectHalf] | None:
        """Template, values of its holes and half of an upgrade."""
        parts = path.split("/")
        for template, shown, half in self._sockets.get(len(parts), ()):
            params = fill(template, parts)
            if params is not None:
                return shown, params, half
        return None

    @staticmethod
    def _choose(exchange: Exchange, matching: list[tuple[Owned, tuple[str, ...]]]) -> Owned | None:
        if not matching:
            return None
        default = None
        for owned, params in matching:
            claims = owned[0].claims
            exchange.params = params
            if claims is None:
                default = default or (owned, params)
            elif claims(exchange):
                return owned
        owned, exchange.params = default or matching[0]
        return owned
