"""The `[ratelimit]` table: what `guestswarm ratelimit` probes, as whom, how hard at the most, and how it proves its answer."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from harness.config.secret import reference
from harness.config.spelling import DurationField, NumberField, Table, Texts
from harness.core.spread import ms, seconds


def _above_0(value: float) -> float:
    if value <= 0:
        raise ValueError("must be above 0")
    return value


def _above_1(value: float) -> float:
    if value <= 1:
        raise ValueError("must be above 1: it is what more than the allowed rate is tried")
    return value


def _addresses(value: tuple[str, ...]) -> tuple[str, ...]:
    for text in value:
        try:
            IPv4Address(text)
        except ValueError:
            raise ValueError(f'{text!r} is no IPv4 address of this machine, such as "127.0.0.2"') from None
    return value


def _whole_duration(value: int) -> int:
    if value <= 0:
        raise ValueError("must be above 0s")
    return value


Reference = Annotated[str, AfterValidator(reference)]
Length = Annotated[DurationField, AfterValidator(_whole_duration)]


class FurtherClient(Table):
    """Another application's credentials, to see whether a limit is counted per client."""

    client_id: Annotated[str, Field(min_length=1)]
    secret: Annotated[
        Reference | None,
        Field(description='Where its secret is: "env:NAME" or "file:path". The embedded simulator is given one that is made up.'),
    ] = None


class RatelimitTable(Table):
    """How rate limits are searched for. Without it: every endpoint, one identity, so that scopes stay unknown."""

    endpoints: Annotated[
        Texts,
        Field(
            description='Which to probe, such as "POST /oauth/token" or "webchat: frame message"; empty: all that a dialect knows.'
        ),
    ] = ()
    credentials: Annotated[
        tuple[FurtherClient, ...],
        BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
        Field(description="Further clients beside that of [target]: needed to tell whether a limit counts by client."),
    ] = ()
    addresses: Annotated[
        Texts,
        AfterValidator(_addresses),
        Field(description="Source addresses, IPv4 and this machine's own; two at least tell whether a limit counts by address."),
    ] = ()
    deployments: Annotated[
        Texts, Field(description="Further deployment ids beside that of [target], for dialects that name one.")
    ] = ()
    sessions: Annotated[
        int, Field(ge=1, le=8, description="Guests in use; two at least tell whether a limit counts by session.")
    ] = 2
    connections: Annotated[int, Field(ge=1, le=256, description="HTTP connections of one identity, hence requests in flight.")] = 16
    spacing: Annotated[Length, Field(description="Distance of requests within a burst.")] = ms(10)
    suspected_window: Annotated[
        Length, Field(description="The longest window that is thought possible; twice as long is waited before each probe.")
    ] = seconds(60)
    tolerance: Annotated[
        NumberField, AfterValidator(_above_0), Field(description="Relative width of a rate's interval at which it is known.")
    ] = 0.05
    max_requests: Annotated[
        int, Field(ge=10, description="Ceiling of one endpoint's search, scope included, requests and frames.")
    ] = 3000
    max_per_s: Annotated[
        NumberField, AfterValidator(_above_0), Field(description="Ceiling of all requests and frames together, per second.")
    ] = 100.0
    max_time: Annotated[Length, Field(description="Ceiling of one endpoint's probe.")] = seconds(1800)
    max_open: Annotated[
        int, Field(ge=1, le=10_000, description="Most sockets or polls held open to find a limit of concurrency.")
    ] = 50
    settle: Annotated[Length, Field(description="How long after its pong a frame that nothing confirms counts as accepted.")] = ms(
        20
    )
    ready_within: Annotated[Length, Field(description="How long a guest that is used for probing may take to get ready.")] = (
        seconds(60)
    )
    verify: Annotated[bool, Field(description="Whether the recommended settings are proven.")] = True
    verify_n: Annotated[int, Field(ge=1, description="Requests at the recommended setting, none of which may be refused.")] = 1000
    verify_time: Annotated[Length, Field(description="Or as many as fit into this.")] = seconds(900)
    over: Annotated[
        NumberField, AfterValidator(_above_1), Field(description="What is tried beyond the allowed rate, as a factor.")
    ] = 1.1
    over_n: Annotated[int, Field(ge=1, description="Requests beyond the allowed rate, counted once the burst is used up.")] = 400
    guests: Annotated[
        int | None, Field(ge=1, description="For how many guests reconnects are spread out. Default: those of [guests].")
    ] = None

    @model_validator(mode="after")
    def _sane(self) -> RatelimitTable:
        if len(set(self.addresses)) < len(self.addresses):
            raise ValueError("addresses: each one once")
        ids = [one.client_id for one in self.credentials]
        if len(set(ids)) < len(ids):
            raise ValueError("credentials: each client_id once")
        return self
