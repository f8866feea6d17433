"""Runs of one scenario as nights: what of a run folder is compared, and where somebody's word of acceptance is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from harness.core.ops import MEASURES
from harness.drift.history import Night
from harness.drift.nights import LAST, Metric
from harness.errors import RunFolderError
from harness.report.comparable import differences
from harness.report.jobs import job_kind
from harness.report.remembered import place, remembered
from harness.runs.folder import SUMMARY, list_runs, read_manifest, write_json
from harness.verdicts.slo import SloError, parse

COUNTS = ("lost", "unexpected", "aborted", "duplicated.same_connection")
"""Of the correctness of a run: never compared by statistics."""
ALWAYS = ("ack", "echo", "reply")
"""Measures that are compared whether a rule names them or not."""
PERCENTILES = (("p50", "p50_ms"), ("p95", "p95_ms"), ("p99", "p99_ms"))
_PARTS = ("response", "span")
RATE = "messages.rate"
FLOOR_MS = 10.0
_BELIEVED = (("PASS", 0), ("FAIL", 1))
_CALM = frozenset({"trend_unknown", "rules_held", "truth_equal", "stable"})
"""Reasons of a run that throw no doubt upon its figures."""
ACCEPTED = "accepted.json"
_SCHEMA = "guestswarm.accepted/1"


def metrics_of(summary: Mapping[str, Any], before: Sequence[Night] = ()) -> list[Metric]:
    """What a run of this summary is compared by: median and tail of the measures that matter, and throughput.

    A measure that tonight has not, and the good nights before it had, is among them: it must not be missing in silence.
    """
    measures = summary.get("measures") or {}
    named = dict.fromkeys(ALWAYS)
    for line in summary.get("slo") or ():
        try:
            rule = parse(str(line.get("rule", "")))
        except SloError:
            continue
        if rule.kind == "percentile" and rule.measure in MEASURES:
            named[rule.measure] = None
    good = [night.values for night in before if night.good][-LAST:]
    parts = {measure: part for measure in named if (part := _part(measures.get(measure)) or _part_before(measure, good))}
    found = [Metric(_label(measure, part, name), "ms", FLOOR_MS) for measure, part in parts.items() for name, _ in PERCENTILES]
    return [*found, Metric(RATE, "/s", 0.0, higher_is_worse=False)]


def _label(measure: str, part: str, name: str) -> str:
    return f"{measure} {name}" if part == "span" else f"{measure}.{part} {name}"


def _part(measure: Any) -> str:
    ok = (measure or {}).get("ok") or {}
    return next((part for part in _PARTS if (ok.get(part) or {}).get("n")), "")


def _part_before(measure: str, nights: Sequence[Mapping[str, float | None]]) -> str:
    parts = (part for part in _PARTS if any(values.get(_label(measure, part, "p50")) for values in nights))
    return next(parts, "")


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


class _Compared(msgspec.Struct):
    """What of a summary is read here: a file in which that has another shape is damaged."""

    class Percentiles(msgspec.Struct):
        """Of one measure, outcome and kind."""

        n: int | None = None
        p50_ms: float | None = None
        p95_ms: float | None = None
        p99_ms: float | None = None

    class Count(msgspec.Struct):
        """Of what went wrong."""

        low: int | None = None

    class Coded(msgspec.Struct):
        """A reason."""

        code: str = ""

    class Rule(msgspec.Struct):
        """A rule."""

        rule: str = ""

    class Line(msgspec.Struct):
        """A series of a soak."""

        name: str = ""
        verdict: str = ""

    class Load(msgspec.Struct):
        """The steady rate."""

        messages_per_s: float | None = None

    schema: Literal["guestswarm.summary/1"]
    verdict: str
    exit_code: int
    complete: bool
    reasons: list[Coded] = msgspec.field(default_factory=list)
    measures: dict[str, dict[str, dict[str, Percentiles]]] = msgspec.field(default_factory=dict)
    anomalies: dict[str, Count] = msgspec.field(default_factory=dict)
    slo: list[Rule] = msgspec.field(default_factory=list)
    load: Load | None = None
    series: list[Line] = msgspec.field(default_factory=list)


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
    night = _named(folder, manifest, fit)
    return msgspec.structs.replace(
        night,
        verdict=str(summary.get("verdict") or ""),
        values=values_of(summary),
        counts=counts_of(summary),
        believable=_believable(summary),
        accepted=folder.name in accepted,
        changes=_changes(summary),
    )


def _named(folder: Path, manifest: Mapping[str, Any], fit: str) -> Night:
    versions = manifest.get("versions")
    return Night(
        id=str(manifest.get("id") or folder.name),
        started_utc=str(manifest.get("started_utc") or ""),
        verdict="",
        values={},
        counts={},
        fit=fit,
        believable=False,
        version=str(versions.get("guestswarm", "")) if isinstance(versions, Mapping) else "",
    )


def _believable(summary: Mapping[str, Any]) -> bool:
    """Whether the run was whole and what it measured can be believed.

    A soak is UNKNOWN as well where a series within the night could not be told; that is no doubt about the night's level.
    """
    if not summary.get("complete"):
        return False
    verdict, code = summary.get("verdict"), summary.get("exit_code")
    if (verdict, code) in _BELIEVED:
        return True
    codes = {str(reason.get("code")) for reason in summary.get("reasons") or ()}
    return (verdict, code) == ("UNKNOWN", 3) and "trend_unknown" in codes and codes <= _CALM


def _changes(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Series of a soak that moved without being a leak for certain."""
    found = [f"{one.get('verdict')} {one.get('name', '')}" for one in summary.get("series") or ()]
    return tuple(sorted(change for change in found if change.partition(" ")[0] in ("SUSPECT", "STEP")))


def read_summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a run; None where there is none of this version, or a damaged one."""
    try:
        raw = (Path(folder) / SUMMARY).read_bytes()
        msgspec.json.decode(raw, type=_Compared)
        value = msgspec.json.decode(raw)
    except (OSError, msgspec.DecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def is_night(manifest: Mapping[str, Any]) -> bool:
    """Whether it is of one run: a search for capacity or limits of the same scenario is none."""
    return not job_kind(manifest)


def scenario_name(manifest: Mapping[str, Any]) -> str:
    """What the run's scenario is called."""
    table = manifest.get("scenario")
    inner = table.get("scenario") if isinstance(table, Mapping) else None
    return str(inner.get("name") or "") if isinstance(inner, Mapping) else ""


def nights_of(runs: Path, tonight: Path) -> list[tuple[Path, Night]]:
    """All runs of tonight's scenario, in order of time, tonight last. Raises RunFolderError if tonight is not reported.

    A run without a summary is among them, and its `fit` says so: nothing is left out in silence.
    """
    newest = read_manifest(tonight)
    if not is_night(newest):
        raise RunFolderError(f"is a search ({job_kind(newest)}), and no night", where=str(tonight), hint="Name a run or a soak.")
    name, accepted = scenario_name(newest), accepted_of(runs)
    found: list[tuple[Path, Night]] = []
    seen = {str(newest.get("id") or Path(tonight).name)}
    for info in list_runs(runs):
        if info.scenario != name or info.path.resolve() == Path(tonight).resolve():
            continue
        if (info.started_utc, info.id) > (str(newest.get("started_utc") or ""), str(newest.get("id") or "")):
            continue
        try:
            manifest = read_manifest(info.path)
        except RunFolderError:  # removed meanwhile
            continue
        if is_night(manifest) and info.id not in seen:
            seen.add(info.id)
            night = night_of(info.path, manifest, newest, accepted)
            found.append((info.path, night if night is not None else _named(info.path, manifest, _why_none(info.path, manifest))))
    found += [(path, night) for path, night in _unreadable(runs, slug_of(name)) if night.id not in seen]
    seen |= {night.id for _, night in found}
    last = night_of(Path(tonight), newest, newest, accepted)
    kept = remembered(place(runs, slug_of(name)), newest, accepted)
    until = str(newest.get("started_utc") or "")
    found += [(Path(runs) / night.id, night) for night in kept if night.id not in seen and night.started_utc <= until]
    if last is None:
        why = _why_none(tonight, newest)
        raise RunFolderError(f"tonight has {why}", where=str(tonight), hint=f"Make it: guestswarm report {Path(tonight).name}")
    return [*sorted(found, key=lambda one: (one[1].started_utc, one[1].id)), (Path(tonight), last)]


def slug_of(name: str) -> str:
    """A scenario's name as part of a file's."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "run"


def _unreadable(runs: Path, slug: str) -> list[tuple[Path, Night]]:
    """Folders that were given this scenario's name and whose manifest is damaged."""
    found = []
    for path in sorted(Path(runs).glob(f"*Z-{slug}-????")):
        try:
            read_manifest(path)
        except RunFolderError:
            day, _, clock = path.name[:20].partition("T")
            fit = "a manifest that cannot be read, or is of another version"
            night = Night(id=path.name, started_utc=f"{day}T{clock.replace('-', ':')}", verdict="", values={}, counts={}, fit=fit)
            found.append((path, msgspec.structs.replace(night, believable=False)))
    return found


def _why_none(folder: Path, manifest: Mapping[str, Any]) -> str:
    if (Path(folder) / SUMMARY).is_file():
        return "a summary that cannot be read, or is of another version"
    return "no summary yet: it goes on, or was killed" if manifest.get("ended") is None else "no summary"


def accepted_of(runs: Path) -> frozenset[str]:
    """Ids of the nights whose level somebody has accepted. Raises RunFolderError for a file that is not ours."""
    path = Path(runs) / ACCEPTED
    try:
        value = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, RecursionError) as error:
        raise RunFolderError(f"cannot be read: {error}", where=str(path)) from None
    if not isinstance(value, dict) or value.get("schema") != _SCHEMA or not isinstance(value.get("nights"), list):
        raise RunFolderError("not a list of accepted nights of this version", where=str(path))
    return frozenset(str(one.get("id")) for one in value["nights"] if isinstance(one, dict))


def accept(runs: Path, night: str, reason: str, when_utc: str) -> Path:
    """Write down that the level of this night is the one to hold from now on. What else stands there stays."""
    path = Path(runs) / ACCEPTED
    accepted_of(runs)  # a file that is not ours is not written over
    known: Sequence[Any] = json.loads(path.read_text("utf-8"))["nights"] if path.is_file() else []
    rest = [one for one in known if not (isinstance(one, dict) and one.get("id") == night)]
    write_json(path, {"schema": _SCHEMA, "nights": [*rest, {"id": night, "reason": reason, "accepted_utc": when_utc}]})
    return path
