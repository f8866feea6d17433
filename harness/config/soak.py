"""`[soak]`: how long `guestswarm soak` runs, what it may write, and what its series are held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field, TypeAdapter

from harness.config.spelling import DurationField, NumberField, ShareField, SizeField, Table, Texts
from harness.core.spread import seconds
from harness.drift.model import LeakRule

_RULE = LeakRule()
_MIB = 2**20


class Resource(NamedTuple):
    """A family of judged series."""

    unit: str
    """`bytes`, `ms`, `share`, or empty for plain numbers."""
    floor: float
    """Least budget where the scenario gives none: what nobody minds, in the unit."""
    minimum: bool = False
    """Whether a block's value is its minimum: of what a collector frees again."""


RESOURCES: Mapping[str, Resource] = {
    "latency": Resource("ms", 5.0),
    "reply": Resource("ms", 100.0),
    "errors": Resource("share", 0.002),
    "generator_memory": Resource("bytes", 8 * _MIB, True),
    "generator_files": Resource("", 10.0),
    "generator_loop": Resource("share", 0.05),
    "machine_ports": Resource("", 500.0),
    "target_memory": Resource("bytes", 8 * _MIB, True),
    "target_undelivered": Resource("", 20.0),
    "target_sockets": Resource("", 20.0),
}
"""By the names that `floor`, `limit` and `uptime` use. Replies hang on people who think: what they drift by unnoticed is more."""
_READERS: Mapping[str, TypeAdapter[Any]] = {
    "bytes": TypeAdapter(SizeField),
    "ms": TypeAdapter(DurationField),
    "share": TypeAdapter(ShareField),
    "": TypeAdapter(NumberField),
}


def _known(names: Mapping[str, Any]) -> None:
    strangers = sorted(set(names) - set(RESOURCES))
    if strangers:
        raise ValueError(f"{strangers[0]!r} is no resource; known are {', '.join(RESOURCES)}")


def _amounts(values: Mapping[str, Any]) -> dict[str, Any]:
    _known(values)
    for name, value in values.items():
        amount(name, value)
    return dict(values)


def amount(name: str, value: object) -> float:
    """What a scenario gives for a resource, in the resource's unit. Raises ValueError."""
    unit = RESOURCES[name].unit
    try:
        read = _READERS[unit].validate_python(value, strict=False)
    except ValueError as error:
        wanted = {"bytes": 'a size such as "50MiB"', "ms": 'a duration such as "20ms"', "share": "a share such as 0.01"}
        raise ValueError(f"{name} needs {wanted.get(unit, 'a number')}") from error
    return float(read) / 1e6 if unit == "ms" else float(read)


def _uptimes(values: Mapping[str, int]) -> dict[str, int]:
    _known(values)
    return dict(values)


def _above_0s(value: int) -> int:
    if value <= 0:
        raise ValueError("must be above 0s")
    return value


def _interval(value: int | None) -> int | None:
    if value is not None and not seconds(0.1) <= value <= seconds(30):
        raise ValueError('must lie between "100ms" and "30s", or no series could be judged')
    return value


_Length = Annotated[DurationField, AfterValidator(_above_0s)]
_Amounts = Annotated[dict[str, Any], AfterValidator(_amounts)]


class SoakTable(Table):
    """A long run: hours of the same load, judged by its rules and by where its figures drift."""

    duration: Annotated[_Length, Field(description="Full load, counted from the ramp's end; `--for` and `--until` beat it.")] = (
        seconds(8 * 3600)
    )
    interval: Annotated[
        DurationField | None,
        AfterValidator(_interval),
        Field(description="Length of one interval of the journal. Default: that of [load], and 10 s for loads of over an hour."),
    ] = None
    rows: Annotated[
        Literal["auto", "all", "anomalies"],
        Field(
            description="Which op rows are kept. Only `all` lets a simulator's truth be compared. `auto`: all up to an hour, "
            "if they fit; anomalies beyond."
        ),
    ] = "auto"
    disk: Annotated[
        SizeField, Field(description="No more than that is to be written; it must be free before the start, and is held to.")
    ] = 2 * 2**30
    segment_bytes: Annotated[SizeField, Field(description="Size at which a journal file is closed and the next one begun.")] = (
        64 * _MIB
    )
    segment_time: Annotated[_Length, Field(description="The same by age.")] = seconds(3600)
    floor: Annotated[
        _Amounts, Field(description='Least budget of a resource over the judged part, such as target_memory = "20MiB".')
    ] = Field(default_factory=dict)
    limit: Annotated[_Amounts, Field(description="What a resource can bear; with `uptime` this makes its budget.")] = Field(
        default_factory=dict
    )
    uptime: Annotated[
        dict[str, DurationField],
        AfterValidator(_uptimes),
        Field(description='How long a resource must do without a restart, such as target_memory = "30d"; needs its `limit`.'),
    ] = Field(default_factory=dict)
    plots: Annotated[Texts, Field(description='Series that are drawn though they did not move, such as "target memory".')] = ()
    objective: Annotated[
        ShareField, Field(description="Share of the messages that must not fail: what is left of 1 is the error budget.")
    ] = 0.99
    least: Annotated[_Length, Field(description="Trends are judged from this planned length on.")] = seconds(_RULE.least_s)
    left_out: Annotated[ShareField, Field(description="Share of a series at its start that no trend is judged by.")] = _RULE.drop
    blocks: Annotated[int, Field(ge=8, le=200, description="Blocks that a series is cut into.")] = _RULE.blocks
    budget: Annotated[ShareField, Field(description="Budget as a share of a series' median, where its floor is less.")] = (
        _RULE.share
    )
    p: Annotated[ShareField, Field(description="A trend that chance would show more often is none.")] = _RULE.p
    false_discoveries: Annotated[
        ShareField, Field(description="Share of false ones expected among all series said to have a trend.")
    ] = _RULE.false_discoveries

    def rule(self) -> LeakRule:
        """The settings of the judgement."""
        return LeakRule(
            drop=self.left_out,
            blocks=self.blocks,
            p=self.p,
            share=self.budget,
            least_s=self.least / 1e9,
            false_discoveries=self.false_discoveries,
        )
