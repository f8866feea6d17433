"""From a run folder to its model and to the files that follow from it.

Reads `manifest.json`, the journals and, for a simulated run, `truth.jsonl`; writes `summary.json` and `latency.hlog`.
The same folder gives the same bytes, whenever and wherever it is built.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from harness.errors import RunFolderError
from harness.report.figures import figures
from harness.report.fold import Measured, fold, journals
from harness.report.health import health_lines
from harness.report.latency import write_latencies
from harness.report.model import Model
from harness.report.summary import summary_json
from harness.report.truth import TruthRow, join, load_truth, uncompared
from harness.report.verdict import Facts, judge
from harness.runs.folder import SUMMARY, free_reserve, read_manifest
from harness.verdicts.lattice import RuleResult

TRUTH = "truth.jsonl"
HLOG = "latency.hlog"


def build_model(folder: Path, *, verdicts: Sequence[RuleResult] = ()) -> Model:
    """The model of a run folder; nothing is written. `verdicts` are what the scenario's rules came to, in its order.

    Raises RunFolderError without a manifest, JournalError for a journal that is not one of ours.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    simulated = bool(manifest.get("simulated"))
    measured = fold(journals(folder), run=str(manifest.get("run", "")), by_id=simulated)
    ended = manifest.get("ended")
    complete = ended == "finished" and measured.first_ns >= 0 and not measured.damage.any
    found = figures(measured, manifest, complete=complete)
    truth, state, detail = _truth(folder / TRUTH, measured) if simulated else ([], "", "")
    health = health_lines(measured, manifest.get("health") or {}, rules=bool(verdicts))
    at_ns, planned_ns = _length(measured, manifest)
    facts = Facts(
        found, ended, measured.damage, measured.interval_ns, at_ns, planned_ns, simulated, truth, state, detail, verdicts, health
    )
    verdict, exit_code, reasons = judge(facts)
    return Model(
        str(manifest.get("id") or folder.name),
        _scenario(manifest),
        str(manifest.get("started_utc") or ""),
        simulated,
        [str(name) for name in manifest.get("dialects") or ()],
        manifest,
        measured,
        found,
        truth,
        state,
        detail,
        health,
        list(verdicts),
        [],
        at_ns,
        planned_ns,
        verdict,
        exit_code,
        reasons,
    )


def build_report(folder: Path, *, verdicts: Sequence[RuleResult] = ()) -> Model:
    """Build the model and write what follows from it into the run folder."""
    folder = Path(folder)
    model = build_model(folder, verdicts=verdicts)
    free_reserve(folder)
    with _replacing(folder / HLOG) as out:
        write_latencies(out, journals(folder), model.manifest)
    with _replacing(folder / SUMMARY) as out:  # last: where it is, the others are
        out.write(summary_json(model).decode())
    return model


def _truth(path: Path, measured: Measured) -> tuple[list[TruthRow], str, str]:
    if measured.identities is None:
        why = "op rows were not all kept" if measured.first_ns >= 0 else "the journal holds nothing"
        return uncompared(None), "rows", why
    truth = load_truth(path, blind=measured.identities.blind)
    return join(measured.identities, truth), truth.state, truth.detail


def _length(measured: Measured, manifest: dict[str, Any]) -> tuple[int | None, int | None]:
    """How long the run lasted by its journal, and how long it was meant to."""
    plan = manifest.get("planned") or {}
    planned = plan["duration_ns"] + plan.get("ramp_ns", 0) if "duration_ns" in plan else None
    if measured.first_ns < 0:
        return None, planned
    return measured.last_ns - measured.first_ns, planned


def _scenario(manifest: dict[str, Any]) -> str:
    table = manifest.get("scenario")
    if isinstance(table, dict):
        inner = table.get("scenario")
        return str(inner.get("name") or "") if isinstance(inner, dict) else str(table.get("name") or "")
    return str(table or "")


@contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    """A file that takes its place only when it is whole. Raises RunFolderError where it cannot be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="\n") as out:
            yield out
        temporary.replace(path)
    except OSError as error:
        raise RunFolderError(f"cannot write it: {error.strerror or error}", where=str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)
