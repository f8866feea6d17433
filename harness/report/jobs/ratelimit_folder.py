"""What a rate-limit job has written down: `probes.jsonl` read back, line by line, into one record for each thing probed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness.search.limits.judge import judge
from harness.search.limits.plan import ProbePlan
from harness.search.limits.retry_after import judge_retry_after
from harness.search.limits.trace import Asked

PROBES = "probes.jsonl"
FRAGMENT = "recommended.toml"
_PRESSED = frozenset({"over", "promise"})
"""Parts of the proof above the limit."""


@dataclass(slots=True)
class Probed:
    """One endpoint or frame kind."""

    what: str
    dialect: str = ""
    endpoint: str = ""
    held: bool = False
    note: str = ""
    rows: list[Asked] = field(default_factory=list)
    """What the identification has sent as the first identity, in order of sending."""
    pressed: list[Asked] = field(default_factory=list)
    """What was sent above the limit for the proof, and once more when a told wait was over."""
    requests: int = 0
    """Of all parts."""
    finding: dict[str, Any] | None = None
    scope: dict[str, Any] | None = None
    recommendation: dict[str, Any] | None = None
    verification: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By part: `at` the setting, `over` it."""
    skipped: str = ""
    """Why it was not probed; empty: it was."""
    unfinished: bool = False
    """The finding is what the requests say that were written down before the job ended."""


@dataclass(slots=True)
class Job:
    """All of it."""

    probed: list[Probed]
    unprobed: list[str]
    """Dialects that do not say what of them can be limited."""
    ended: str
    """How the probe process ended; empty: it never said."""
    max_per_s: float | None
    fragment: str
    """Text of `recommended.toml`; empty: there is none."""


def read_job(folder: Path) -> Job:
    """Fold the folder. Lines that a process could not finish are passed over."""
    found: dict[str, Probed] = {}
    unprobed: list[str] = []
    ended, per_s = "", None
    for line in _lines(folder / PROBES):
        kind = line.get("kind")
        if kind == "begin":
            per_s = float(line["max_per_s"])
        elif kind == "end":
            ended = str(line.get("ended") or "")
        elif kind == "unprobed":
            unprobed.append(str(line.get("dialect")))
        elif isinstance(what := line.get("what"), str):
            _take(found.setdefault(what, Probed(what)), str(kind), line)
    for one in found.values():
        one.rows.sort(key=lambda row: row.sent_ns)
        if one.finding is None and not one.skipped and not one.held and one.rows:
            one.finding = judge(one.rows, ProbePlan(), stopped="interrupted").as_data()
            one.unfinished = True
        _judge_promise(one)
    try:
        fragment = (folder / FRAGMENT).read_text("utf-8")
    except OSError:
        fragment = ""
    return Job(list(found.values()), unprobed, ended, per_s, fragment)


def _judge_promise(one: Probed) -> None:
    """Where nothing in the identification has tested `Retry-After`, the proof may have."""
    told = (one.finding or {}).get("retry_after")
    if one.finding is None or not told or told["verdict"] != "not tested":
        return
    again = judge_retry_after(sorted(one.pressed, key=lambda row: row.sent_ns))
    if again.tested:
        one.finding["retry_after"] = {**told, "verdict": again.verdict, "tested": again.tested, "broken": again.broken}


def _take(one: Probed, kind: str, line: Mapping[str, Any]) -> None:
    if kind == "request":
        one.requests += 1
        rows = one.rows if line["part"] == "rate" else one.pressed if line["part"] in _PRESSED else None
        if rows is not None:
            rows.append(
                Asked(
                    len(rows),
                    str(line["phase"]),
                    int(line["sent_ns"]),
                    int(line["received_ns"]),
                    line["accepted"],
                    line["retry_after_s"],
                    "date" if line.get("form") == "date" else "seconds",
                )
            )
    elif kind == "probe":
        one.dialect, one.endpoint = str(line["dialect"]), str(line["endpoint"])
        one.held, one.note = bool(line.get("held")), str(line.get("note") or "")
    elif kind == "skipped":
        one.dialect, one.skipped = str(line.get("dialect") or one.dialect), str(line["why"])
        one.endpoint, one.held = str(line.get("endpoint") or one.endpoint), bool(line.get("held") or one.held)
    elif kind == "finding":
        one.finding = dict(line["finding"])
    elif kind in ("scope", "recommendation"):
        setattr(one, kind, dict(line[kind]))
    elif kind == "verification":
        one.verification[str(line["part"])] = dict(line["verification"])


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for raw in file:
                try:
                    value = msgspec.json.decode(raw)
                except msgspec.DecodeError:
                    continue
                if isinstance(value, dict):
                    yield value
    except OSError:
        return
