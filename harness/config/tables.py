"""The tables of a scenario. The tables of the dialects are derived from their settings; see `document_model`."""

from __future__ import annotations

import re
from datetime import time
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, create_model, model_validator

from harness.config.capacity import CapacityTable
from harness.config.ratelimit import RatelimitTable
from harness.config.secret import reference
from harness.config.soak import SoakTable
from harness.config.spelling import DurationField, NumberField, ShareField, SizeField, Table, Texts, fields_of, from_table, table_of
from harness.core.pacing import Behaviour
from harness.core.spread import seconds
from harness.dialects.registry import all_dialects

BASES = ("api", "login", "org", "webchat", "messaging", "files", "webmessaging", "cdn")
"""The services of a tenant, each with a base URL of its own."""
HOSTS = {"cdn": "api-cdn"}
"""First label of a service's host name, where it is not called like the service."""


def _address(value: str) -> str:
    if not value:
        return value
    try:
        parts = urlsplit(value)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise ValueError('needs a URL such as "https://api.example.com" (http or https)')
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL here carries no user and no password")
    if parts.query or parts.fragment:
        raise ValueError("a base URL has no query and no fragment")
    return value.rstrip("/")


def _name(value: str) -> str:
    if value and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*", value):
        raise ValueError('needs a host name such as "example.com", without a scheme and without a path')
    return value


def _reference(value: str) -> str:
    return reference(value) if value else value


Address = Annotated[str, AfterValidator(_address)]
HostName = Annotated[str, AfterValidator(_name)]


class ScenarioTable(Table):
    """What this run is called and how its chance is seeded."""

    name: Annotated[str, Field(min_length=1, max_length=80)] = "run"
    seed: Annotated[int, Field(ge=0, le=2**63 - 1, description="The same seed gives the same guests.")] = 1
    dialect: Annotated[str, Field(description="The one dialect of all guests; [guests.mix] names several.")] = ""


class Urls(Table):
    """Base URLs where they do not follow from the domain."""

    api: Address = ""
    login: Address = ""
    org: Address = ""
    webchat: Address = ""
    messaging: Address = ""
    files: Address = ""
    webmessaging: Address = ""
    cdn: Address = ""


class Tls(Table):
    """How the target's certificate is checked."""

    ca: Annotated[str, Field(description="PEM file that alone is trusted; a relative path counts from the scenario.")] = ""
    verify: bool = True


def _above_0s(value: int) -> int:
    if value <= 0:
        raise ValueError("must be above 0s")
    return value


class TargetTable(Table):
    """Where the guests go. Without `domain` and `urls` the embedded simulator is the target."""

    domain: Annotated[HostName, Field(description="Tenant's domain; the services are api., login., webchat., … of it.")] = ""
    org: Annotated[HostName, Field(description="Short name of the organisation, for dialects that use its own host.")] = ""
    urls: Urls = Urls()
    queue: str = ""
    fallback_queue: str = ""
    channel: Annotated[str, Field(description="Id of the messaging channel, for dialects that name one.")] = ""
    deployment: Annotated[str, Field(description="Id of the web deployment, for dialects that name one.")] = ""
    skills: Texts = ()
    origin: str = ""
    attributes: dict[str, str] = Field(default_factory=dict)
    client_id: str = ""
    credentials: Annotated[
        str,
        AfterValidator(_reference),
        Field(description='Where the client secret is: "env:NAME" or "file:path"; never the secret itself.'),
    ] = ""
    tls: Tls = Tls()
    answer_within: Annotated[
        DurationField, AfterValidator(_above_0s), Field(description="How long the preflight waits for an answer.")
    ] = seconds(10)

    @property
    def named(self) -> bool:
        """Whether a real target is meant."""
        return bool(self.domain or any(getattr(self.urls, base) for base in BASES))


class _Guests(Table):
    """How many guests, of which dialects, and how they behave."""

    count: Annotated[int | None, Field(ge=1, le=1_000_000, description="Closed model: so many guests at a time.")] = None
    arrivals_per_s: Annotated[NumberField | None, Field(description="Open model: guests arrive at this rate.")] = None
    max_guests: Annotated[int | None, Field(ge=1, le=1_000_000, description="Open model: at most so many at a time.")] = None
    client_faults: Annotated[
        dict[str, ShareField], Field(description="Share of the guests that do something wrong on purpose, by the fault's name.")
    ] = Field(default_factory=dict)
    mix: Annotated[dict[str, ShareField], Field(description="Shares of the dialects; they add up to 1.")] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _one_model(self) -> _Guests:
        if self.count is not None and (self.arrivals_per_s is not None or self.max_guests is not None):
            raise ValueError("give either count or arrivals_per_s with max_guests, not both")
        if (self.arrivals_per_s is None) != (self.max_guests is None):
            raise ValueError("arrivals_per_s and max_guests belong together")
        if self.arrivals_per_s is not None and self.arrivals_per_s <= 0:
            raise ValueError("arrivals_per_s must be above 0")
        if self.count is None and self.max_guests is None:
            raise ValueError("say how many: count = 300, or arrivals_per_s with max_guests")
        return self

    @property
    def planned(self) -> int:
        """The most guests that there are at a time."""
        return self.count or self.max_guests or 0

    def behaviour(self) -> Behaviour:
        """What a guest is told about itself."""
        made: Behaviour = from_table(Behaviour, self)
        return made


_BEHAVIOUR = {
    "pacing": Literal["think", "schedule"],
    "max_in_flight": Annotated[int, Field(ge=1, le=100_000)],
    "text_bytes": Annotated[int, Field(ge=1, le=100_000)],
    "send_rate": Annotated[NumberField, Field(ge=0)],
    "send_rate_all": Annotated[NumberField, Field(ge=0)],
    "send_burst": Annotated[int, Field(ge=1, le=100_000)],
}

if TYPE_CHECKING:
    GuestsTable = _Guests
else:
    GuestsTable = create_model("GuestsTable", __base__=_Guests, __doc__=_Guests.__doc__, **fields_of(Behaviour, _BEHAVIOUR))


class LoadTable(Table):
    """When the guests come and how long they stay."""

    shape: Literal["ramp"] = "ramp"
    ramp: Annotated[DurationField, Field(description="Over which the guests arrive, evenly and jittered.")] = seconds(10)
    duration: Annotated[DurationField, Field(description="How long full load lasts, counted from the ramp's end.")] = seconds(60)
    settle: Annotated[DurationField, Field(description="Longest wait for open exchanges once nobody speaks any more.")] = seconds(5)
    loss_wait: Annotated[
        DurationField | None,
        Field(
            description="After which a message counts as lost. Default: 60 s, or what the longest back-off of the dialects needs."
        ),
    ] = None
    drain: Annotated[DurationField, Field(description="Longest time that guests get to leave in.")] = seconds(10)
    interval: Annotated[DurationField, Field(description="Length of one interval of the journal.")] = seconds(1)

    @model_validator(mode="after")
    def _sane(self) -> LoadTable:
        if self.duration <= 0:
            raise ValueError("duration must be above 0s")
        if not seconds(0.1) <= self.interval <= seconds(60):
            raise ValueError('interval must lie between "100ms" and "60s"')
        return self


class SloTable(Table):
    """What the run is judged by."""

    rules: Texts = ()
    abort: Annotated[
        bool, Field(description="End the run early once a rule is broken beyond repair, or for longer than grace.")
    ] = False
    grace: Annotated[
        DurationField, Field(description="How long a percentile, share or rate may be broken, over the run so far, before abort.")
    ] = seconds(30)


class ReportTable(Table):
    """How much is written down."""

    rows: Literal["all", "anomalies"] = "all"
    max_bytes: Annotated[SizeField, Field(description="Size of the journal past which only anomalies are written.")] = 2 * 2**30


def _window(value: str) -> str:
    window_times(value)
    return value


def window_times(value: str) -> tuple[time, time]:
    """Begin and end of `"23:00-05:00"`. Raises ValueError saying how to write one."""
    found = re.fullmatch(r"\s*(\d\d:\d\d)\s*[-–]\s*(\d\d:\d\d)\s*", value)
    try:
        if found:
            begin, end = time.fromisoformat(found[1]), time.fromisoformat(found[2])
            if begin != end:
                return begin, end
    except ValueError:
        pass
    raise ValueError('needs two times of day, such as "23:00-05:00"')


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError('needs the name of a time zone, such as "Europe/Dublin"') from None
    return value


def _rate(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


class AuthorisationTable(Table):
    """The approval that a target off this machine needs."""

    hosts: Annotated[Texts, Field(min_length=1, description='Host names; "*.example.com" covers every host of a domain.')]
    ticket: Annotated[str, Field(min_length=1)]
    window: Annotated[str, AfterValidator(_window)]
    timezone: Annotated[str, AfterValidator(_zone)]
    max_guests: Annotated[int, Field(ge=1)]
    max_requests_per_s: Annotated[NumberField, AfterValidator(_rate)]


class _Document(Table):
    """A scenario of guestswarm."""

    scenario: ScenarioTable = ScenarioTable()
    target: TargetTable = TargetTable()
    guests: GuestsTable
    load: LoadTable = LoadTable()
    slo: SloTable = SloTable()
    health: Annotated[dict[str, Any], Field(description="Limits of the generator's own health.")] = Field(default_factory=dict)
    report: ReportTable = ReportTable()
    capacity: CapacityTable = CapacityTable()
    ratelimit: RatelimitTable = RatelimitTable()
    soak: SoakTable = SoakTable()
    authorisation: AuthorisationTable | None = None
    simulator: Annotated[dict[str, Any], Field(description="The embedded simulator; it checks this table itself.")] = Field(
        default_factory=dict
    )

    def of_dialect(self, name: str) -> Table:
        """The table `[dialects.NAME]`."""
        table: Table = getattr(self.dialects, name)  # type: ignore[attr-defined]  # added by `document_model`
        return table


@cache
def document_model() -> type[_Document]:
    """The whole scenario: the fixed tables, and under `dialects` one for each dialect that is installed."""
    tables: dict[str, Any] = {}
    for name, dialect in all_dialects().items():
        table = table_of(dialect.settings, f"{name}_settings")
        tables[name] = (table, Field(default_factory=table))
    inner = create_model("DialectsTable", __base__=Table, __doc__="The settings of each dialect.", **tables)
    return create_model("Scenario", __base__=_Document, __doc__=_Document.__doc__, dialects=(inner, Field(default_factory=inner)))
