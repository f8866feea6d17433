"""What a soak is going to do: how long, in which intervals, what it keeps of rows, and whether that fits on the disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import msgspec

from harness.config.soak import RESOURCES, SoakTable, amount
from harness.config.spelling import show_size
from harness.core.spread import parse_duration, seconds, show_duration
from harness.errors import RunFolderError, UsageError

if TYPE_CHECKING:
    from harness.config import Scenario

_S = 10**9
_HOUR_NS = 3600 * _S
LONG_NS = _HOUR_NS
"""A load longer than that has intervals of 10 s, and keeps anomalies alone of the op rows, unless the scenario says otherwise."""
LONG_INTERVAL = seconds(10)

# Measured over `soak.toml` and `mixed.toml` (all six dialects), and rounded up: what is reserved and not used costs nothing.
ROW_BYTES = 1_100
"""Op rows of a message: its attempts, copies, samples and its answer."""
TRUTH_BYTES = 450
"""Lines of truth of a message."""
INTERVAL_BYTES = 10_000
"""An interval record; more messages than about a hundred an interval add to its histograms."""
ANOMALOUS = 0.05
"""Share of the rows that are kept when anomalies alone are."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """What is written in an hour, about."""

    rows: float
    truth: float
    intervals: float

    def per_h(self, rows: str) -> float:
        """With so much kept of the rows; truth is kept only where it can be compared."""
        return self.intervals + (self.rows + self.truth if rows == "all" else ANOMALOUS * self.rows)


def estimate(scenario: Scenario, interval_ns: int) -> Bytes:
    """About what so many guests, who all speak as fast as they mean to, make a run write."""
    behaviour = scenario.guests.behaviour()
    pause = behaviour.period if behaviour.pacing == "schedule" else behaviour.think_time
    messages = scenario.guests.planned * 3600 * _S / max(pause.mean, _S / 100)
    return Bytes(messages * ROW_BYTES, messages * TRUTH_BYTES, _HOUR_NS / interval_ns * INTERVAL_BYTES)


@dataclass(frozen=True, slots=True)
class SoakPlan:
    """Everything that is decided before the start."""

    duration_ns: int
    """Full load."""
    interval_ns: int
    rows: str
    """`all` or `anomalies`."""
    bytes_per_h: float
    needed: int
    """Bytes that the whole may take on the disk, about."""
    ceiling: int
    judged: bool
    """Whether it is long enough for trends."""
    least_ns: int
    until: str
    """The instant at which full load ends, if that was asked for; else empty."""
    remarks: tuple[str, ...] = ()
    """What is done otherwise than one might think, in sentences."""

    def overrides(self) -> dict[str, Any]:
        """The scenario's keys that follow from it."""
        return {
            "load.duration": show_duration(self.duration_ns),
            "load.interval": show_duration(self.interval_ns),
            "report.rows": self.rows,
            # The recorder does without rows beyond twice of that.
            "report.max_bytes": show_size(max(self.ceiling // 2, 1)),
        }


def make_plan(scenario: Scenario, *, length: str | None, until: str | None, now: datetime, free: int) -> SoakPlan:
    """The plan of a scenario's soak. `free`: bytes on the disk. Raises UsageError, and RunFolderError where it cannot fit."""
    table: SoakTable = scenario.document.soak
    ramp = scenario.load.ramp
    duration, at = _duration(table, length, until, now, ramp, _zone(scenario))
    interval = table.interval or (scenario.load.interval if duration <= LONG_NS else LONG_INTERVAL)
    ceiling = min(table.disk, scenario.report.max_bytes if "max_bytes" in scenario.report.model_fields_set else table.disk)
    found = estimate(scenario, interval)
    hours = (ramp + duration) / _HOUR_NS
    wanted = table.rows if table.rows != "auto" else "all" if duration <= LONG_NS else "anomalies"
    if scenario.report.rows == "anomalies":
        wanted = "anomalies"
    remarks = []
    if wanted == "all" and found.per_h("all") * hours > min(ceiling, free):
        short = f"{_size(found.per_h('all') * hours)} of rows and truth would not fit into {_size(min(ceiling, free))}"
        if table.rows == "all":
            raise RunFolderError(short, hint='Raise [soak] disk, free some space, or set [soak] rows = "anomalies".')
        remarks.append(f"{short}: only anomalies are kept of the op rows, and truth is not compared.")
        wanted = "anomalies"
    if table.interval is None and interval < LONG_INTERVAL and found.per_h(wanted) * hours > min(ceiling, free):
        interval = LONG_INTERVAL
        found = estimate(scenario, interval)
        remarks.append(f"To fit into {_size(min(ceiling, free))}, an interval is {show_duration(interval)} long.")
    needed = found.per_h(wanted) * hours
    if needed > free:
        raise RunFolderError(
            f"about {_size(needed)} are needed ({_size(found.per_h(wanted))} an hour), and {_size(free)} are free",
            hint="Free some space, choose another place with --runs DIR, or give a longer [soak] interval.",
        )
    if needed > ceiling:
        raise RunFolderError(
            f"about {_size(needed)} are needed ({_size(found.per_h(wanted))} an hour), and [soak] disk allows {_size(ceiling)}",
            hint="Raise [soak] disk, or give a longer [soak] interval.",
        )
    judged = ramp + duration >= table.least
    return SoakPlan(
        duration, interval, wanted, found.per_h(wanted), round(needed), ceiling, judged, table.least, at, tuple(remarks)
    )


def job_of(plan: SoakPlan, table: SoakTable, ramp_ns: int) -> dict[str, Any]:
    """What the manifest says of the job: everything that its report needs of the settings."""
    return {
        "kind": "soak",
        "planned_s": (ramp_ns + plan.duration_ns) / _S,
        "interval_s": plan.interval_ns / _S,
        "rows": plan.rows,
        "disk": plan.ceiling,
        "until": plan.until,
        "judged": plan.judged,
        "remarks": list(plan.remarks),
        "rule": msgspec.to_builtins(table.rule()),
        "resources": {name: _resource(name, table) for name in RESOURCES},
        "plots": list(table.plots),
        "objective": table.objective,
    }


def _resource(name: str, table: SoakTable) -> dict[str, Any]:
    known = RESOURCES[name]
    uptime = table.uptime.get(name)
    return {
        "unit": known.unit,
        "keep": "minimum" if known.minimum else "median",
        "floor": amount(name, table.floor[name]) if name in table.floor else known.floor,
        "limit": amount(name, table.limit[name]) if name in table.limit else None,
        "uptime_s": uptime / _S if uptime is not None else None,
    }


def _zone(scenario: Scenario) -> ZoneInfo | None:
    return ZoneInfo(scenario.authorisation.timezone) if scenario.authorisation is not None else None


def _duration(
    table: SoakTable, length: str | None, until: str | None, now: datetime, ramp_ns: int, zone: ZoneInfo | None
) -> tuple[int, str]:
    """Full load, and the instant of its end where that was asked for."""
    if length is not None and until is not None:
        raise UsageError("give either --for or --until, not both", where="--until")
    if length is not None:
        try:
            duration = parse_duration(length)
        except ValueError as error:
            raise UsageError(str(error), where="--for") from None
        if duration <= 0:
            raise UsageError("must be above 0s", where="--for")
        return duration, ""
    if until is None:
        return table.duration, ""
    end = read_instant(until, now, zone)
    left = round((end - now) / timedelta(microseconds=1)) * 1000 - ramp_ns
    if left <= 0:
        raise UsageError(
            f"{end:%Y-%m-%d %H:%M} is before the guests would all be there (the ramp takes {show_duration(ramp_ns)})",
            where="--until",
        )
    return left // _S * _S or left, end.astimezone(UTC).isoformat(timespec="seconds")


def read_instant(text: str, now: datetime, zone: ZoneInfo | None = None) -> datetime:
    """`HH:MM`, the next such time of day, or an ISO date and time; in `zone`, else in the machine's. Raises UsageError."""
    local = now.astimezone(zone)
    try:
        if len(text.strip()) <= 5:
            clock = datetime.strptime(text.strip(), "%H:%M")
            found = local.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
            return found if found > local else found + timedelta(days=1)
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise UsageError(f'{text!r} is no instant; write "06:30" or "2026-11-22T06:30"', where="--until") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=local.tzinfo)


def _size(size: float) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size / 1024:,.0f} KiB"


def rows_of(plan: SoakPlan) -> list[tuple[str, str]]:
    """What a dry run shows besides."""
    least = show_duration(plan.least_ns)
    return [
        ("trends", "judged" if plan.judged else f"not judged: shorter than {least}"),
        ("interval", show_duration(plan.interval_ns)),
        ("op rows", plan.rows),
        ("disk, about", f"{_size(plan.needed)} ({_size(plan.bytes_per_h)} an hour), at most {_size(plan.ceiling)}"),
        *([("ends", plan.until)] if plan.until else []),
        *(("remark", text) for text in plan.remarks),
    ]


def mapping(plan: SoakPlan) -> Mapping[str, Any]:
    """The same as JSON."""
    return {
        "trends_judged": plan.judged,
        "interval_s": plan.interval_ns / _S,
        "rows": plan.rows,
        "disk_bytes": plan.needed,
        "disk_ceiling": plan.ceiling,
        "until": plan.until or None,
        "remarks": list(plan.remarks),
    }
