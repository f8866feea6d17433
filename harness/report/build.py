"""From a run folder to its model and to the files that follow from it.

Reads `manifest.json`, the journals and, for a simulated run, `truth.jsonl`; writes `summary.json`,
`report.md`, `junit.xml` and `latency.hlog`.
The same folder gives the same bytes, whenever and wherever it is built.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from harness.core.spread import parse_spread
from harness.errors import ExitCode, RunFolderError
from harness.findings import Board
from harness.journal.records import ONE_WAY
from harness.metrics.histogram import Histogram
from harness.report.calibrated import calibrated
from harness.report.figures import figures
from harness.report.fold import Measured, fold, journals, op_rows
from harness.report.health import Books, health_lines, rule_limits
from harness.report.junit import junit_xml
from harness.report.latency import write_latencies
from harness.report.markdown import report_markdown
from harness.report.model import Figures, HealthLine, Model, Reason, SteadyLoad
from harness.report.order import Orders
from harness.report.order_facts import order_figures, order_params
from harness.report.soak.model import SoakFigures, is_soak
from harness.report.summary import summary_json
from harness.report.text import clean
from harness.report.truth import TruthRow, join, load_truth, uncompared
from harness.report.verdict import Facts, exit_of, judge
from harness.runs.folder import SUMMARY, free_reserve, read_manifest
from harness.verdicts.check import WIDE, Evidence, bracket_width, doubted, judge_rules, readable
from harness.verdicts.lattice import RuleResult, Verdict
from harness.verdicts.windowed import WindowFold

TRUTH = "truth.jsonl"
HLOG = "latency.hlog"
PAGE = "report.html"
JUNIT = "junit.xml"
MARKDOWN = "report.md"


def build_model(folder: Path, *, verdicts: Sequence[RuleResult] | None = None) -> Model:
    """The model of a run folder; nothing is written. The manifest's rules are judged, unless `verdicts` says what they came to.

    Raises RunFolderError without a manifest, JournalError for a journal that is not one of ours.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    simulated = bool(manifest.get("simulated"))
    files, board = journals(folder), Board()
    params = order_params(manifest)
    measured = fold(
        files, run=str(manifest.get("run", "")), by_id=simulated, board=board, orders=Orders(params), windows=_windows(manifest)
    )
    ended = manifest.get("ended")
    complete = ended == "finished" and measured.first_ns >= 0 and not measured.damage.any
    found = figures(measured, manifest, complete=complete)
    truth, state, detail = _truth(folder / TRUTH, measured) if simulated else ([], "", "")
    results, health = _judged(measured, found, manifest, verdicts)
    at_ns, planned_ns = _length(measured, manifest)
    until_ns = _until(measured, manifest) if ended == "aborted" else at_ns
    facts = Facts(
        found, ended, measured.damage, measured.interval_ns, until_ns, planned_ns, simulated, truth, state, detail, results, health
    )
    verdict, exit_code, reasons = judge(facts)
    soak = None
    if is_soak(manifest):
        soak, verdict, exit_code, reasons = _soaked(folder, files, manifest, results, (verdict, exit_code, reasons))
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
        results,
        board.tell(lambda: op_rows(files), max(measured.first_ns, 0)),
        at_ns,
        planned_ns,
        verdict,
        exit_code,
        reasons,
        calibrated(manifest, measured, _steady(measured, manifest)),
        order_figures(measured, manifest, found, health, params),
        _steady_load(measured, _steady(measured, manifest)),
        soak,
    )


def _soaked(
    folder: Path,
    files: Sequence[Path],
    manifest: dict[str, Any],
    results: Sequence[RuleResult],
    so_far: tuple[Verdict, int, list[Reason]],
) -> tuple[SoakFigures, Verdict, int, list[Reason]]:
    """A soak's series, and the verdict with what they say."""
    from harness.report.soak.judge import judged, soak_figures  # scipy takes a while to load

    verdict, exit_code, reasons = so_far
    measures = [rule.subject for rule in readable([one.rule for one in results]) if rule.kind == "percentile"]
    found = soak_figures(folder, files, manifest, [measure for measure in measures if measure not in ONE_WAY])
    verdict, reasons = judged(found, verdict, reasons, mismatch=exit_code == ExitCode.INTERNAL)
    return found, verdict, exit_of(verdict, mismatch=exit_code == ExitCode.INTERNAL, ended=manifest.get("ended")), reasons


def build_report(folder: Path, *, verdicts: Sequence[RuleResult] | None = None) -> Model:
    """Build the model and write what follows from it into the run folder."""
    folder = Path(folder)
    model = build_model(folder, verdicts=verdicts)
    free_reserve(folder)
    with _replacing(folder / HLOG) as out:
        write_latencies(out, journals(folder), model.manifest)
    with _replacing(folder / JUNIT) as out:
        out.write(junit_xml(model))
    with _replacing(folder / MARKDOWN) as out:
        out.write(report_markdown(model))
    _write_page(folder, model)
    with _replacing(folder / SUMMARY) as out:  # last: where it is, the others are
        out.write(summary_json(model).decode())
    return model


def _write_page(folder: Path, model: Model) -> None:
    """`report.html`. A picture that cannot be drawn must not cost the verdict: without the page, a word on stderr."""
    try:
        from harness.report.html import render  # matplotlib and pandas: the load process must never load them

        page = render(model, folder)
    except Exception as error:
        (folder / PAGE).unlink(missing_ok=True)  # an old one would be of another build
        sys.stderr.write(f"guestswarm: {PAGE} could not be made ({type(error).__name__}: {clean(str(error))[:200]})\n")
        return
    with _replacing(folder / PAGE) as out:
        out.write(page)


def _judged(
    measured: Measured, found: Figures, manifest: dict[str, Any], verdicts: Sequence[RuleResult] | None
) -> tuple[list[RuleResult], list[HealthLine]]:
    """What the rules came to, and whether the generator can be believed, which hang on each other."""
    limits = manifest.get("health") or {}
    steady = _steady(measured, manifest)
    books = _books(manifest)
    if verdicts is not None:
        return list(verdicts), health_lines(measured, limits, rules=bool(verdicts), steady=steady, books=books)
    texts = [str(text) for text in manifest.get("slo") or ()]
    evidence = _evidence(measured, found, manifest, steady)
    results = judge_rules(texts, evidence)
    rules = readable(texts)
    widths = [width for rule in rules if (width := bracket_width(rule, evidence)) is not None]
    books = books._replace(width=max(widths, default=None))
    health = health_lines(measured, limits, rules=bool(texts), defaults=rule_limits(rules), steady=steady, books=books)
    if any(line.decides and line.ok is False for line in health):
        results = [doubted(result) for result in results]
    return results, health


def _books(manifest: dict[str, Any]) -> Books:
    """What the manifest says that the signs of health are held against."""
    workers = manifest.get("workers")
    known = Books(workers=workers if isinstance(workers, int) else None)
    scenario = manifest.get("scenario")
    guests = scenario.get("guests") if isinstance(scenario, dict) else None
    if not isinstance(guests, dict) or not guests.get("count") or guests.get("pacing", "think") != "think":
        return known
    try:
        think, stay = (parse_spread(guests[name]).mean for name in ("think_time", "session_length"))
    except (KeyError, ValueError, TypeError):
        return known
    return known._replace(think_ns=think, stay_ns=stay)


def _steady(measured: Measured, manifest: dict[str, Any]) -> tuple[int, int] | None:
    """Begin and end of the full load."""
    phases = manifest.get("phases") or {}
    if "load" in phases:
        return int(phases["load"]), int(phases.get("settle", measured.last_ns))
    plan = manifest.get("planned") or {}
    if measured.first_ns < 0 or "duration_ns" not in plan:
        return None
    begin = measured.first_ns + int(plan.get("ramp_ns", 0))
    end = min(begin + int(plan["duration_ns"]), measured.last_ns)
    return (begin, end) if begin < end else None


def _evidence(measured: Measured, found: Figures, manifest: dict[str, Any], steady: tuple[int, int] | None) -> Evidence:
    guests = found.guests
    sent, seconds = _sent_steadily(measured, steady)
    whole = measured.first_ns >= 0 and not measured.damage.any
    return Evidence(
        _bounded(measured),
        measured.counters,
        {"finished": guests.finished, "failed": guests.failed, "peak": guests.peak},
        sent if seconds else None,
        seconds or None,
        whole and manifest.get("ended") in ("finished", "aborted"),
        unresolved=_unresolved(measured),
        windows=measured.rule_windows,
        wide=_wide(manifest),
    )


def _windows(manifest: dict[str, Any]) -> WindowFold:
    """What judges the windows of rules that must hold in every one."""
    phases, plan = manifest.get("phases") or {}, manifest.get("planned") or {}
    return WindowFold(
        readable([str(text) for text in manifest.get("slo") or ()]),
        begin_ns=phases.get("load"),
        end_ns=phases.get("settle"),
        ramp_ns=int(plan.get("ramp_ns", 0)),
        duration_ns=plan.get("duration_ns"),
        wide=_wide(manifest),
    )


def _wide(manifest: dict[str, Any]) -> float:
    return float((manifest.get("health") or {}).get("bracket", WIDE))


def _sent_steadily(measured: Measured, steady: tuple[int, int] | None) -> tuple[int, float]:
    """Guests' messages within the full load, and how many seconds of whole intervals that is."""
    sent, seconds, before = 0, 0.0, measured.first_ns
    for point in measured.series:
        if steady is not None and before >= steady[0] and point.at_ns <= steady[1]:
            sent += point.counters.get("messages|invoked", 0)
            seconds += (point.at_ns - before) / 1e9
        before = point.at_ns
    return sent, seconds


def _steady_load(measured: Measured, steady: tuple[int, int] | None) -> SteadyLoad | None:
    sent, seconds = _sent_steadily(measured, steady)
    return SteadyLoad(round(sent / seconds, 3), round(seconds, 3)) if seconds else None


def _unresolved(measured: Measured) -> dict[str, str]:
    """Measures between two clocks of which no figure can be given, or not of every source of stamps, and why."""
    one_way = measured.one_way
    return dict.fromkeys(ONE_WAY, one_way.why) if one_way is not None and one_way.why else {}


def _bounded(measured: Measured) -> dict[str, Histogram]:
    """The histograms as rules need them: one-way delays of all stamped messages, as far as each can be bounded."""
    one_way = measured.one_way
    if one_way is None or one_way.state != "ok":
        return measured.histograms
    bounds = {f"{measure}|ok|{kind}": found for measure in ONE_WAY for kind, found in one_way.bounds.items()}
    return {**measured.histograms, **bounds}


def _truth(path: Path, measured: Measured) -> tuple[list[TruthRow], str, str]:
    if path.with_name("truth.1.jsonl").exists():
        return uncompared(None), "restarted", "the simulator was started anew, and knew nothing of what the one before it did"
    if measured.identities is None:
        why = "op rows were not all kept" if measured.first_ns >= 0 else "the journal holds nothing"
        return uncompared(None), "rows", why
    truth = load_truth(path, blind=measured.identities.blind)
    if truth.state == "sealed" and measured.damage.any:  # what the journal has lost would look like a fault of the harness
        return uncompared(measured.identities), "journal", "the journal is not whole"
    return join(measured.identities, truth), truth.state, truth.detail


def _length(measured: Measured, manifest: dict[str, Any]) -> tuple[int | None, int | None]:
    """How long the run lasted by its journal, and how long it was meant to."""
    plan = manifest.get("planned") or {}
    planned = plan["duration_ns"] + plan.get("ramp_ns", 0) if "duration_ns" in plan else None
    if measured.first_ns < 0:
        return None, planned
    return measured.last_ns - measured.first_ns, planned


def _until(measured: Measured, manifest: dict[str, Any]) -> int | None:
    """How long there was load: what came after it was drained."""
    settle = (manifest.get("phases") or {}).get("settle", measured.last_ns)
    return None if measured.first_ns < 0 else max(int(settle) - measured.first_ns, 0)


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
        with suppress(OSError):  # a read-only disk refuses this as well
            temporary.unlink()
