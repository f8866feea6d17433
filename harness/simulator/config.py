"""The `[simulator]` table: frozen, checked, every number a setting with a default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from harness.simulator import spelling
from harness.simulator.capacity import CapacityTable
from harness.simulator.dialects import registry
from harness.simulator.faults.spec import FaultSpec, read_faults
from harness.simulator.limiters import LimitSpec, read_limits
from harness.simulator.spelling import SECOND, Spread
from harness.simulator.tables import MINUTE, MS, positive, read_table, setting

if TYPE_CHECKING:
    from harness.simulator.dialects.base import DialectHalf

SECRET_VARIABLE = "GUESTSWARM_SIM_SECRET"  # noqa: S105


def _secret(value: Any, where: str) -> str:
    kind, _, name = spelling.text(value, where).partition(":")
    if kind == "env" and name:
        return os.environ.get(name, "")
    if kind == "file" and name:
        try:
            return Path(name).read_text().strip()
        except (OSError, ValueError) as error:
            raise spelling.wrong(where, f"file {name} cannot be read: {error}") from None
    raise spelling.wrong(where, "a secret is not written here", 'Write "env:NAME" or "file:PATH".')


def _clients(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise spelling.wrong(where, f"{value!r} is no table", 'Write ID = "env:NAME" or ID = "file:PATH".')
    return {str(name): _secret(given, f"{where}.{name}") for name, given in value.items()}


@dataclass(frozen=True, slots=True)
class CredentialsTable:
    """Who may have a token, and for what."""

    client_id: str = setting(spelling.text, "guestswarm")
    client_secret: str = field(default="", repr=False, metadata={"read": _secret})
    """From `env:NAME` or `file:PATH`; without one, the environment's GUESTSWARM_SIM_SECRET; empty: the shell makes one up."""
    clients: dict[str, str] = field(default_factory=dict, repr=False, metadata={"read": _clients})
    """Further clients and their secrets, `ID = "env:NAME"` or `ID = "file:PATH"`; one whose secret is empty gets no token."""
    refresh: bool = setting(spelling.flag, True)
    """Do refresh tokens work, where the dialect has them?"""
    refresh_life: int = setting(spelling.duration, 24 * 60 * MINUTE)
    origins: tuple[str, ...] = setting(spelling.texts, ())
    """Origins that may ask for a token where the dialect looks at them; empty: every one may."""
    scopes: tuple[str, ...] = setting(
        spelling.texts,
        (
            "webchat:send",
            "webchat:read",
            "conversation:read",
            "guest:create",
            "conversations:read",
            "conversations:write",
            "conversations:send",
            "files:upload",
            "guest:read",
            "user:read",
            "chat:guest:write",
            "chat:guest:read",
            "chat:session:write",
            "webchat:guest:read",
            "webchat:guest:write",
            "webchat:guest:send",
        ),
    )
    """Scopes that the application may be granted."""


@dataclass(frozen=True, slots=True)
class AgentsTable:
    """The people on the other side."""

    number: int = setting(positive, 1000)
    concurrency: int = setting(positive, 4)
    """Conversations that one agent holds at once."""
    accept: Spread = setting(spelling.spread, Spread("uniform", 300 * MS, 0.5))
    """From a free place to acceptance."""
    reply: Spread = setting(spelling.spread, Spread("uniform", 2 * SECOND, 0.5))
    typing: Spread = setting(spelling.spread, Spread("fixed", 500 * MS))
    """How long before a reply the typing frame goes out; 0: none."""
    extra: float = setting(spelling.share, 0.0)
    """Share of replies followed by a further message that answers nothing."""
    close: float = setting(spelling.share, 0.0)
    """Share of replies after which the agent ends the conversation."""
    order: str = setting(spelling.choice("fifo", "lifo"), "fifo")
    """Whom a free agent takes among those of one priority."""


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """How long the server takes, by kind of work."""

    token: Spread = setting(spelling.spread, Spread())
    guest: Spread = setting(spelling.spread, Spread())
    send: Spread = setting(spelling.spread, Spread())
    list: Spread = setting(spelling.spread, Spread())
    echo: Spread = setting(spelling.spread, Spread())
    upload: Spread = setting(spelling.spread, Spread())


@dataclass(frozen=True, slots=True)
class KeepaliveTable:
    """The server's own pings."""

    ping_every: int = setting(spelling.duration, 30 * SECOND)
    """0: none."""
    pong_within: int = setting(spelling.duration, 15 * SECOND)
    idle_cut: Spread = setting(spelling.spread, Spread())
    """A middlebox cuts a socket that was idle so long, without telling either end, such as "75s±20%"; 0: none does."""
    cut_told: int = setting(spelling.duration, 120 * SECOND)
    """After which a guest that has not given up a socket so cut sees it reset."""


def _limit_sets(value: Any, where: str) -> tuple[str, ...]:
    names = spelling.texts(value, where)
    known = registry.specs()
    for place, name in enumerate(names):
        if name not in known:
            raise spelling.unknown_key(name, known, f"{where}[{place}]")
    return names


def _skills(value: Any, where: str) -> dict[str, bool]:
    if not isinstance(value, dict):
        raise spelling.wrong(where, f"{value!r} is no table", "Write name = true (staffed) or false.")
    return {str(name): spelling.flag(staffed, f"{where}.{name}") for name, staffed in value.items()}


@dataclass(frozen=True, slots=True)
class SimConfig:
    """Everything that can be set about the simulator."""

    credentials: CredentialsTable = CredentialsTable()
    token_life: int = setting(spelling.duration, 30 * MINUTE)
    agents: AgentsTable = AgentsTable()
    latency: LatencyTable = LatencyTable()
    capacity: CapacityTable = CapacityTable()
    limits: tuple[LimitSpec, ...] = setting(read_limits, ())
    limit_sets: tuple[str, ...] = setting(_limit_sets, ())
    """Dialects whose own default limits hold as well."""
    queues: tuple[str, ...] = setting(spelling.texts, ())
    """Queue ids that exist; empty: every one does."""
    skills: dict[str, bool] = setting(_skills, {"Tier1_Support": True, "Billing": True, "WebMessaging_Support": True})
    """Skill (group) names, case-sensitive, and whether anybody is on shift."""
    routing_timeout: int = setting(spelling.duration, 120 * SECOND)
    """After which a conversation that cannot be routed is given up, where the dialect says so."""
    auto_close: int = setting(spelling.duration, 0)
    """A conversation whose guest has been away that long is closed; 0: never."""
    forget_after: int = setting(spelling.duration, 10 * MINUTE)
    """A closed conversation is judged and forgotten then."""
    keepalive: KeepaliveTable = KeepaliveTable()
    faults: tuple[FaultSpec, ...] = setting(read_faults, ())
    server_stores_resend: bool = setting(spelling.flag, True)
    """Is a message that is sent again under its own id stored again?"""
    timings: bool = setting(spelling.flag, False)
    """Does truth also tell when each message and request came in and when it was answered? A row each."""
    dialects: dict[str, Any] = field(default_factory=dict, metadata={"key": False})
    """What was read from the tables of the dialects' own, by name."""

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read a `[simulator]` table, `[simulator.DIALECT]` included. Raises SimConfigError."""
        known = registry.specs()
        made: Self = read_table(cls, table, "simulator", known)
        own = {
            name: read_table(registry.half(name).table, value, f"simulator.{name}")
            for name, value in table.items()
            if name in known
        }
        return replace(made, dialects=own) if own else made

    parse = from_table

    def settings_of(self, half: type[DialectHalf]) -> Any:
        """The settings of a dialect's own: what was written, or its defaults."""
        given = self.dialects.get(half.name)
        return half.table() if given is None else given

    def all_limits(self) -> tuple[LimitSpec, ...]:
        """Those that are written out, then those of the sets."""
        found = list(self.limits)
        for name in self.limit_sets:
            half = registry.half(name)
            found += read_limits(half.limit_set(self.settings_of(half)), f"limit_set.{name}")
        return tuple(found)

    def secret(self) -> str:
        """The client secret that is accepted; empty where none is set."""
        return self.credentials.client_secret or os.environ.get(SECRET_VARIABLE, "")
