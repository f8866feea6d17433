"""A soak's folder without a soak: interval records as hours of load would leave them, with what is to be found planted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness.cli.soak_plan import job_of, make_plan
from harness.config import load_scenario
from harness.journal.codec import INTERVAL, array_of, chunk
from harness.journal.records import SEND_DELAY, Interval
from harness.journal.segments import SegmentedWriter
from harness.metrics.histogram import sparse_of
from harness.runs.events import EVENTS, TARGET, Lines
from harness.runs.folder import write_json
from harness.runs.manifest import new_manifest

S = 1_000_000_000
MIB = 2**20
START = 5_000 * S
RUN = "ab12"
SCENARIO = Path(__file__).parents[2] / "locustfiles" / "scenarios" / "soak.toml"

Shape = Callable[[float], float]


def flat(_: float) -> float:
    """Nothing changes."""
    return 1.0


@dataclass
class Night:
    """What to write. Shapes map the hour of the run to a factor."""

    hours: float = 8.0
    interval_s: float = 10.0
    per_s: float = 12.0
    echo: Shape = flat
    failing: Callable[[float], float] = lambda _: 0.001
    target_memory: Shape = flat
    generator_memory: Shape = flat
    gaps: list[tuple[float, float]] = field(default_factory=list)
    """Hours without intervals."""
    sessions: list[tuple[float, int]] = field(default_factory=list)
    """Hour at which a session begins, and its number."""
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    rules: tuple[str, ...] = ("echo p95 < 2 s", "lost.definite == 0")
    segment_bytes: int = 4 * MIB
    ended: str | None = "finished"
    planned_hours: float = 0.0
    """0: as long as it lasted."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the scenario, dotted."""
    seed: int = 1


def soak_manifest(
    start_ns: int,
    end_ns: int,
    *,
    planned_s: float,
    interval_s: float,
    rules: tuple[str, ...],
    run: str = RUN,
    name: str = "night",
    ended: str | None = "finished",
    more: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What `guestswarm soak` would have written of such a load."""
    overrides = {"slo.rules": list(rules), "report.rows": "anomalies", **(more or {}), "soak.interval": f"{interval_s:g}s"}
    first = load_scenario(SCENARIO, overrides)
    plan = make_plan(first, length=f"{planned_s:g}s", until=None, now=datetime(2026, 11, 21, tzinfo=UTC), free=1 << 40)
    scenario = load_scenario(SCENARIO, {**overrides, **plan.overrides()})
    manifest = new_manifest(
        scenario=scenario.resolved(),
        seed=7,
        dialects=list(scenario.mix),
        simulated=True,
        guests_planned=scenario.guests.planned,
        ramp_ns=scenario.load.ramp,
        duration_ns=scenario.load.duration,
        loss_wait_ns=scenario.loss_wait_ns,
        slo=scenario.slo,
        health=scenario.health,
        authorisation=None,
    )
    return manifest | {
        "run": run,
        "id": name,
        "started_utc": "2026-11-20T22:00:00Z",
        "anchor": {"monotonic_ns": start_ns, "wall_ns": 1_763_676_000 * S},
        "versions": {},
        "host": {},
        "job": job_of(plan, scenario.document.soak, scenario.load.ramp),
        "phases": {"ramp": start_ns, "load": start_ns + scenario.load.ramp, "settle": end_ns, "end": end_ns},
        "ended": ended,
    }


def write_night(folder: Path, night: Night) -> Path:
    """The folder of such a soak; no report yet."""
    folder.mkdir(parents=True, exist_ok=True)
    end = START + round(night.hours * 3600 * S)
    manifest = soak_manifest(
        START,
        end,
        planned_s=(night.planned_hours or night.hours) * 3600 - 10,
        interval_s=night.interval_s,
        rules=night.rules,
        name=folder.name,
        ended=night.ended,
        more=night.more,
    )
    write_json(folder / "manifest.json", manifest)
    _journal(folder, night, end)
    events = Lines(folder / EVENTS)
    for hour, fields in night.events:
        events.add(START + round(hour * 3600 * S), **fields)
    return folder


def _journal(folder: Path, night: Night, end: int) -> None:
    rng = np.random.default_rng(night.seed)
    writer = SegmentedWriter(folder, RUN, "1", max_bytes=night.segment_bytes, start_ns=START)
    target = Lines(folder / TARGET)
    step = round(night.interval_s * S)
    number, at = 0, START
    sessions = dict(night.sessions)
    session = 1
    while at < end:
        hour = (at - START) / S / 3600
        due = [one for begin, one in sessions.items() if begin <= hour]
        session = max([1, *due])
        last = at + step >= end
        if not any(begin <= hour < until for begin, until in night.gaps):
            record = _interval(rng, night, at, at + step, hour, number, session, last and night.ended == "finished")
            writer.write(chunk(INTERVAL, number + 1, array_of(1, msgspec.msgpack.encode(record))))
            writer.rotate(at + step)
            number += 1
        memory = 90 * MIB * night.target_memory(hour) + float(rng.normal(0, 0.3 * MIB))
        target.add(at, up=True, memory_bytes=round(memory), undelivered=int(rng.poisson(1.5)), sockets=int(48 + rng.normal(0, 1.5)))
        at += step
    writer.close()


def _interval(
    rng: np.random.Generator, night: Night, t0: int, t1: int, hour: float, number: int, session: int, final: bool
) -> Interval:
    count = int(rng.poisson(night.per_s * night.interval_s))
    bad = int(rng.binomial(count, night.failing(hour)))
    good = count - bad

    def drawn(median_ms: float, spread: float, factor: float = 1.0) -> Any:
        values = rng.lognormal(np.log(median_ms * 1e6 * factor), spread, max(good, 1))
        return sparse_of([int(value) for value in values], 1000)

    echo, ack, reply = drawn(45, 0.4, night.echo(hour)), drawn(30, 0.4), drawn(1500, 0.5)
    histograms = {}
    for measure, found in (("ack", ack), ("echo", echo), ("reply", reply)):
        for part in ("response", "service", "response_low", "service_low"):
            histograms[f"{measure}|ok|{part}"] = found
        histograms[f"{measure}|ok|delay"] = sparse_of([200_000] * max(good, 1), 1000)
    histograms[SEND_DELAY] = sparse_of([200_000] * max(count, 1), 1000)
    histograms["token|ok|service"] = sparse_of([15_000_000] * int(rng.poisson(4)), 1000)
    counters = {
        "messages|invoked": count,
        "messages|attempts": count,
        "messages|ok": good,
        "messages|info": bad,
        "messages.via|echo": good,
        "guests.arrived": 60 if number == 0 else 0,
    }
    if bad:
        counters["messages.failed|info|timeout"] = bad
    memory = 88 * MIB * night.generator_memory(hour) + float(rng.normal(0, 0.1 * MIB))
    health = {
        "wall_ns": float(t1 - t0),
        "loop.busy_ns": 0.08 * (t1 - t0),
        "rss_bytes.last": float(round(memory)),
        "open_files.max": 200.0,
        "open_files.limit.max": 65536.0,
        "ports.used.max": 300.0,
        "ports.range.max": 28000.0,
        "journal.errors": 0.0,
    }
    if session > 1:
        health["session.last"] = float(session)
    gauges = {"guests|chatting": 60} if number == 0 else {"guests|chatting": -60, "guests|finished": 60} if final else {}
    return Interval(t0, t1, "1", number, final, "anomalies", 100, counters, gauges, histograms, {}, health)
