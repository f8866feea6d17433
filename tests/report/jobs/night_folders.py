"""Folders of nights for tests: manifests and summaries as runs leave them, and a small journal where latencies are needed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import msgspec

from harness.journal.codec import INTERVAL, array_of, chunk
from harness.journal.records import Interval
from harness.journal.writer import JournalWriter
from harness.metrics.histogram import sparse_of
from harness.report.summary import SCHEMA

S = 10**9
MANIFEST: Mapping[str, Any] = {
    "schema": "guestswarm.manifest/1",
    "scenario": {
        "scenario": {"name": "nightly", "seed": 1},
        "guests": {"count": 100},
        "load": {"duration": "8h"},
        "slo": {"rules": ["echo.response p95 < 1 s"]},
    },
    "simulated": True,
    "ended": "finished",
    "versions": {"guestswarm": "0.1.0", "numpy": "2"},
    "host": {"python": "3.11.7", "cpus": 2},
    "phases": {"ramp": 0, "load": 10 * S, "settle": 610 * S},
}


def night(
    runs: Path,
    day: int,
    *,
    p95: float = 200.0,
    verdict: str = "PASS",
    changes: Mapping[str, Any] | None = None,
    anomalies: Mapping[str, int] | None = None,
    series: Sequence[Mapping[str, Any]] | None = None,
    **more: Any,
) -> Path:
    """One night's folder. `changes`: of the manifest, by dotted key; `series`: of a soak; `more`: further keys of the summary."""
    name = f"2026-10-{day:02d}T23-00-00Z-nightly-{day:04x}"
    folder = runs / name
    folder.mkdir(parents=True)
    manifest = json.loads(json.dumps(MANIFEST)) | {"id": name, "run": f"{day:04x}", "started_utc": f"2026-10-{day:02d}T23:00:00Z"}
    for key, value in (changes or {}).items():
        table, *path = manifest, *key.split(".")
        for part in path[:-1]:
            table = table[part]
        table[path[-1]] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    response = {"n": 5000, "p50_ms": p95 / 2, "p95_ms": p95, "p99_ms": None}
    counts = {"lost": 0, "unexpected": 0, "aborted": 0, "duplicated.same_connection": 0} | dict(anomalies or {})
    summary = {
        "schema": SCHEMA,
        "run": name,
        "verdict": verdict,
        "exit_code": {"PASS": 0, "FAIL": 1}.get(verdict, 3),
        "complete": verdict != "UNKNOWN",
        "measures": {"echo": {"ok": {"response": response}}},
        "slo": [{"rule": "echo.response p95 < 1 s"}],
        "anomalies": {key: {"low": value, "high": value} for key, value in counts.items()},
        "load": {"messages_per_s": 50.0, "seconds": 600.0},
    }
    if series is not None:
        summary["series"] = list(series)
    summary |= more
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def nights(runs: Path, count: int, *, last: float = 1.0) -> list[Path]:
    """A row of good nights with an sd of 2 %; the last is slower by a factor."""
    rng = Random(1)
    levels = [200 * math.exp(rng.gauss(0, 0.02)) for _ in range(count)]
    levels[-1] *= last
    return [night(runs, day, p95=level) for day, level in enumerate(levels, 1)]


def journal(folder: Path, *, seed: int, slower: float = 1.0) -> None:
    """Ten minutes of latencies of echoes, in intervals of 10 s."""
    rng = Random(seed)
    writer = JournalWriter(folder / "journal-1.bin", "r", "1")
    for index in range(62):
        values = [round(rng.lognormvariate(0, 0.5) * 50_000 * slower) for _ in range(100)]
        histograms = {"echo|ok|response": sparse_of(values)}
        record = Interval(index * 10 * S, (index + 1) * 10 * S, "1", index, index == 61, "all", 0, {}, {}, histograms, {}, {})
        writer.write(chunk(INTERVAL, index + 1, array_of(1, msgspec.msgpack.encode(record))))
    writer.close()
