"""All server halves by name.

A half is found by the entry points of group `guestswarm.simulators` (name = "module:Class"); those that ship are listed here as
well, so that a checkout works without being installed. None is imported before it is asked for: their modules read this one's
callers.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.simulator.dialects.base import DialectHalf

GROUP = "guestswarm.simulators"
_HERE = "harness.simulator.dialects"
_BUILT_IN = {
    "longpoll": f"{_HERE}.longpoll:Longpoll",
    "webchat": f"{_HERE}.webchat:Webchat",
    "engagements": f"{_HERE}.engagements:Engagements",
    "guests": f"{_HERE}.guests:Guests",
    "messaging": f"{_HERE}.messaging:Messaging",
    "webmessaging": f"{_HERE}.webmessaging:Webmessaging",
}


@cache
def specs() -> dict[str, str]:
    """Where each half is, by name, the built-in ones first."""
    found = {name: spec for name, spec in _BUILT_IN.items() if find_spec(spec.partition(":")[0])}
    for entry in entry_points(group=GROUP):
        found.setdefault(entry.name, entry.value)
    return found


@cache
def half(name: str) -> type[DialectHalf]:
    """The half of that name; KeyError where there is none."""
    from harness.simulator.dialects.base import DialectHalf

    spec = specs()[name]
    module, _, attribute = spec.partition(":")
    kind = getattr(import_module(module), attribute)
    if not (isinstance(kind, type) and issubclass(kind, DialectHalf) and kind.name == name):
        raise TypeError(f"{spec} is not a DialectHalf named {name!r}")
    return kind
