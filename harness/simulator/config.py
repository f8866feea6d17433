"""The `[simulator]` table: frozen, checked, every number a setting with a default."""

from __future__ import annotations

import os
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from harness.simulator import spelling
from harness.simulator.faults.spec import FaultSpec, read_faults
from harness.simulator.limiters import LimitSpec, read_limits
from harness.simulator.spelling import SECOND, Spread

SECRET_VARIABLE = "GUESTSWARM_SIM_SECRET"  # noqa: S105
MS = 1_000_000
MINUTE = 60 * SECOND


def setting(read: Callable[[Any, str], Any], default: Any) -> Any:
    """A field of a table, with its reader."""
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"read": read})
    return field(default=default, metadata={"read": read})


def _positive(value: Any, where: str) -> int:
    return spelling.whole(value, where, low=1)


def _length(value: Any, where: str) -> int:
    length = spelling.duration(value, where)
    if length <= 0:
        raise spelling.wrong(where, f"{value!r} is no length of time")
    return length


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


@dataclass(frozen=True, slots=True)
class CredentialsTable:
    """Who may have a token, and for what."""

    client_id: str = setting(spelling.text, "guestswarm")
    client_secret: str = field(default="", repr=False, metadata={"read": _secret})
    """From `env:NAME` or `file:PATH`; without one, the environment's GUESTSWARM_SIM_SECRET; empty: the shell makes one up."""
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
        ),
    )
    """Scopes that the application may be granted."""


@dataclass(frozen=True, slots=True)
class AgentsTable:
    """The people on the other side."""

    number: int = setting(_positive, 1000)
    concurrency: int = setting(_positive, 4)
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


@dataclass(frozen=True, slots=True)
class WebchatTable:
    """What only the webchat half needs."""

    attributes: tuple[str, ...] = setting(spelling.texts, ("source", "userTier", "locale", "pageUrl", "userAgent"))
    """Attribute keys that routing knows, case-sensitive; another one stalls. Empty: all are known."""
    violations: int = setting(_positive, 3)
    """Frames before `auth` until the socket is closed."""
    auth_within: int = setting(spelling.duration, 60 * SECOND)
    expiry_grace: int = setting(spelling.duration, 10 * SECOND)
    """From the TOKEN_EXPIRED frame to the close."""
    page: int = setting(_positive, 50)
    page_cap: int = setting(_positive, 500)


@dataclass(frozen=True, slots=True)
class LongpollTable:
    """What only the longpoll half needs."""

    max_wait: int = setting(spelling.duration, 60 * SECOND)
    """Longest time that a poll is held, whatever it asks for."""
    mime_types: tuple[str, ...] = setting(
        spelling.texts, ("application/pdf", "image/png", "image/jpeg", "image/gif", "text/plain", "application/octet-stream")
    )
    max_upload: int = setting(_positive, 10 * 1024 * 1024)
    skill_required: bool = setting(spelling.flag, True)
    """Is the default routing strategy skill-based, so that a guest without a skill loops?"""
    evaluate_every: int = setting(_length, 5 * SECOND)
    """How often a routing loop is evaluated again; each time costs credits."""
    max_message: int = setting(_positive, 256 * 1024)
    """Bytes of a message's body; a larger one is answered 413."""


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
    limits: tuple[LimitSpec, ...] = setting(read_limits, ())
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
    webchat: WebchatTable = WebchatTable()
    longpoll: LongpollTable = LongpollTable()
    faults: tuple[FaultSpec, ...] = setting(read_faults, ())
    server_stores_resend: bool = setting(spelling.flag, True)
    """Is a message that is sent again under its own id stored again?"""

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Read a `[simulator]` table. Raises SimConfigError."""
        made: Self = _read(cls, table, "simulator")
        return made

    parse = from_table

    def secret(self) -> str:
        """The client secret that is accepted; empty where none is set."""
        return self.credentials.client_secret or os.environ.get(SECRET_VARIABLE, "")


def _read(cls: Any, table: object, where: str) -> Any:
    if not isinstance(table, Mapping):
        raise spelling.wrong(where, f"{table!r} is no table")
    known = {item.name: item for item in fields(cls)}
    types = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for name, value in table.items():
        item = known.get(str(name))
        if item is None:
            raise spelling.unknown_key(str(name), known, where)
        place = f"{where}.{name}"
        read = item.metadata.get("read")
        values[item.name] = read(value, place) if read else _read(types[item.name], value, place)
    return cls(**values)
