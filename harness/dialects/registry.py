"""What a dialect is, and which there are.

A dialect is found by the entry points of group `guestswarm.dialects`; the two that ship are listed here as well, so that
a checkout works without being installed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from harness.core.session import Context, GuestSession

_BUILT_IN = {"webchat": "harness.dialects.webchat:DIALECT", "longpoll": "harness.dialects.longpoll:DIALECT"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """Everything that the rest of the house knows of a dialect."""

    name: str
    published: bool
    """Whether the vendor publishes this protocol; else it follows community documents."""
    transport: str
    correlation: str
    """`client_id`, `echo`, `fifo_ack` or `marker`: how a send is tied to its confirmation."""
    bases: tuple[str, ...]
    """Which base URLs of a target it uses: `api`, `login`, `org`, `webchat`, `messaging`, `files`."""
    settings: type
    """A frozen dataclass: every number of its section with the source's value as default."""
    session: Callable[[Context, Any], GuestSession]
    sources: tuple[str, ...]
    transcript: str
    """File name in `harness/dialects/transcripts`, or an absolute path for a dialect from outside."""
    measures: tuple[str, ...] = ()
    """What of `core.ops.MEASURES` its guests can time, so that a rule on anything else is refused. Empty: not said, so all."""


def _load(spec: str) -> Dialect:
    module, _, name = spec.partition(":")
    dialect = getattr(import_module(module), name)
    if not isinstance(dialect, Dialect):
        raise TypeError(f"{spec} is not a Dialect")
    return dialect


@cache
def all_dialects() -> dict[str, Dialect]:
    """Dialects by name, the built-in ones first."""
    specs = dict(_BUILT_IN)
    for entry in entry_points(group="guestswarm.dialects"):
        specs.setdefault(entry.name, entry.value)
    return {name: _load(spec) for name, spec in specs.items()}
