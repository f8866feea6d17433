"""What a dialect is, and which there are.

A dialect is found by the entry points of group `guestswarm.dialects`; the two that ship are listed here as well, so that
a checkout works without being installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from random import Random
from typing import Any

from harness.core.probing import Probes
from harness.core.session import Context, GuestSession

_BUILT_IN = {
    name: f"harness.dialects.{name}:DIALECT"
    for name in ("webchat", "longpoll", "engagements", "guests", "messaging", "webmessaging")
    if find_spec(f"harness.dialects.{name}")
}


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
    """Which base URLs of a target it uses: `api`, `login`, `org`, `webchat`, `messaging`, `files`, `webmessaging`, `cdn`."""
    settings: type
    """A frozen dataclass: every number of its section with the source's value as default."""
    session: Callable[[Context, Any], GuestSession]
    sources: tuple[str, ...]
    transcript: str
    """File name in `harness/dialects/transcripts`, or an absolute path for a dialect from outside."""
    measures: tuple[str, ...] = ()
    """What of `core.ops.MEASURES` its guests can time, so that a rule on anything else is refused. Empty: not said, so all."""
    client_faults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What a guest can do wrong on purpose: name -> the settings that make it so."""

    needs: tuple[str, ...] = ("client_id", "credentials")
    """Keys of `[target]` that a real target must give."""
    probes: Callable[[Any], Probes] | None = None
    """What of it can be limited, by its settings, for `guestswarm ratelimit`. None: not said, so it cannot be probed."""

    def settings_with(self, settings: Any, faults: Iterable[str]) -> Any:
        """Settings of a guest that has these client faults; those that the dialect does not know change nothing."""
        for name in faults:
            changes = self.client_faults.get(name)
            if changes:
                settings = replace(settings, **changes)
        return settings


def drawn_faults(shares: Mapping[str, float], seed: int, slot: int) -> tuple[str, ...]:
    """Which client faults the guest of a slot has: the same for the same seed, whatever else is drawn."""
    if not shares:
        return ()
    rng = Random(f"{seed}/{slot}/client_faults")
    return tuple(name for name in sorted(shares) if rng.random() < shares[name])


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
