"""Runs of one scenario as nights: what of a run folder is compared, and where somebody's word of acceptance is kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.core.ops import MEASURES
from harness.drift.history import Night
from harness.drift.nights import Metric
from harness.errors import RunFolderError
from harness.report.comparable import differences
from harness.report.summary import SCHEMA
from harness.runs.folder import SUMMARY, list_runs, read_manifest, write_json
from harness.verdicts.slo import SloError, parse

COUNTS = ("lost", "unexpected", "aborted", "duplicated.same_connection")
"""Of the correctness of a run: never compared by statistics."""
ALWAYS = ("ack", "echo", "reply")
"""Measures that are compared whether a rule names them or not."""
PERCENTILES = (("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms"))
RATE = "messages.rate"
FLOOR_MS = 10.0
_BELIEVED = (("PASS", 0), ("FAIL", 1))
ACCEPTED = "accepted.json"
_SCHEMA = "guestswarm.accepted/1"


def metrics_of(summary: Mapping[str, Any]) -> list[Metric]:
    """What a run of this summary is compared by: median and tail of the measures that matter, and throughput."""
    measures = summary.get("measures") or {}
    named = dict.fromkeys(ALWAYS)
    for line in summary.get("slo") or ():
        try:
            rule = parse(str(line.get("rule", "")))
        except SloError:
            continue
        if rule.kind == "percentile" and rule.measure in MEASURES:
            named[rule.measure] = None
    parts = {measure: part for measure in named if (part := _part(measures.get(measure)))}
    found = [Metric(_label(measure, part, name), "ms", FLOOR_MS) for measure, part in parts.items() for name, _ in PERCENTILES]
    return [*found, Metric(RATE, "/s", 0.0, higher_is_worse=False)]


def _label(measure: str, part: str, name: str) -> str:
    return f"{measure} {name}" if part == "span" else f"{measure}.{part} {name}"


def _part(measure: Any) -> str:
    ok = (measure or {}).get("ok") or {}
    return next((part for part in ("response", "span") if (ok.get(part) or {}).get("n")), "")


def values_of(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """Values of all metrics that a summary has; a withheld percentile is None."""
    found: dict[str, float | None] = {}
    for measure, outcomes in (summary.get("measures") or {}).items():
        part = _part(outcomes)
        for name, key in PERCENTILES if part else ():
            value = outcomes["ok"][part].get(key)
            found[_label(measure, part, name)] = float(value) if isinstance(value, int | float) else None
    load = summary.get("load")
    found[RATE] = float(load["messages_per_s"]) if isinstance(load, Mapping) and load.get("messages_per_s") else None
    return found


def counts_of(summary: Mapping[str, Any]) -> dict[str, int | None]:
    """Counts of correctness: what is certain."""
    anomalies = summary.get("anomalies") or {}
    return {name: (anomalies.get(name) or {}).get("low") for name in COUNTS}


def night_of(
    folder: Path, manifest: Mapping[str, Any], newest: Mapping[str, Any], accepted: frozenset[str] = frozenset()
) -> Night | None:
    """The night of a run folder, held against the newest night's manifest; None without a summary (not reported yet, not a run)."""
    summary = read_summary(folder)
    if summary is None:
        return None
    against = [one for one in differences(manifest, newest) if one.matters]
    fit = ", ".join(f"{one.key} {one.a} → {one.b}" for one in against[:3]) + (
        f" and {len(against) - 3} more" if len(against) > 3 else ""
    )
    versions = manifest.get("versions")
    return Night(
        id=str(manifest.get("id") or folder.name),
        started_utc=str(manifest.get("started_utc") or ""),
        verdict=str(summary.get("verdict") or ""),
        values=values_of(summary),
        counts=counts_of(summary),
        fit=fit,
        believable=bool(summary.get("complete"))
        and summary.get("verdict") in ("PASS", "FAIL")
        and summary.get("exit_code") in (0, 1),
        version=str(versions.get("guestswarm", "")) if isinstance(versions, Mapping) else "",
        accepted=folder.name in accepted,
        changes=_changes(summary),
    )


def _changes(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Series of a soak that moved without being a leak for certain."""
    soak = summary.get("soak")
    series = soak.get("series") if isinstance(soak, Mapping) else None
    found = [
        f"{state} {one.get('name', '')}"
        for one in (series if isinstance(series, list) else ())
        if isinstance(one, Mapping) and (state := str(one.get("verdict") or one.get("state") or "")) in ("SUSPECT", "STEP")
    ]
    return tuple(sorted(found))


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a run; None where there is none of this version."""
    try:
        value = msgspec.json.decode((Path(folder) / SUMMARY).read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    return value if isinstance(value, dict) and value.get("schema") == SCHEMA else None


def scenario_name(manifest: Mapping[str, Any]) -> str:
    """What the run's scenario is called."""
    table = manifest.get("scenario")
    inner = table.get("scenario") if isinstance(table, Mapping) else None
    return str(inner.get("name") or "") if isinstance(inner, Mapping) else ""


def nights_of(runs: Path, tonight: Path) -> list[tuple[Path, Night]]:
    """All reported runs of tonight's scenario, in order of time, tonight last. Raises RunFolderError if tonight is not reported."""
    newest = read_manifest(tonight)
    name, accepted = scenario_name(newest), accepted_of(runs)
    found = []
    for info in list_runs(runs):
        if info.scenario != name or info.path.resolve() == Path(tonight).resolve():
            continue
        if (info.started_utc, info.id) > (str(newest.get("started_utc") or ""), str(newest.get("id") or "")):
            continue
        manifest = read_manifest(info.path)
        if not manifest.get("job") or (manifest.get("job") or {}).get("kind") == "soak":
            found.append((info.path, night_of(info.path, manifest, newest, accepted)))
    last = night_of(Path(tonight), newest, newest, accepted)
    if last is None:
        raise RunFolderError("this run has no summary yet", where=str(tonight), hint="Make it: guestswarm report RUN.")
    before = [(path, night) for path, night in found if night is not None]
    return [*sorted(before, key=lambda one: (one[1].started_utc, one[1].id)), (Path(tonight), last)]


def accepted_of(runs: Path) -> frozenset[str]:
    """Ids of the nights whose level somebody has accepted. Raises RunFolderError for a file that is not ours."""
    path = Path(runs) / ACCEPTED
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError) as error:
        raise RunFolderError(f"cannot be read: {error}", where=str(path)) from None
    if not isinstance(value, dict) or value.get("schema") != _SCHEMA or not isinstance(value.get("nights"), list):
        raise RunFolderError("not a list of accepted nights of this version", where=str(path))
    return frozenset(str(one.get("id")) for one in value["nights"] if isinstance(one, dict))


def accept(runs: Path, night: str, reason: str, when_utc: str) -> Path:
    """Write down that the level of this night is the one to hold from now on."""
    path = Path(runs) / ACCEPTED
    known: Sequence[dict[str, Any]] = []
    if accepted_of(runs):
        known = json.loads(path.read_text("utf-8"))["nights"]
    rest = [one for one in known if one.get("id") != night]
    write_json(path, {"schema": _SCHEMA, "nights": [*rest, {"id": night, "reason": reason, "accepted_utc": when_utc}]})
    return path
