"""`guestswarm compare A B`: what two runs measured, side by side. A description: two nights cannot tell a change from chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from harness.drift.effect import QuantileRatio, a12, hodges_lehmann, quantile_ratios, sample_of
from harness.errors import ExitCode, JournalError, RunFolderError
from harness.journal.reader import JournalReader
from harness.metrics.histogram import Histogram, highest_of, lowest_of
from harness.report import wording
from harness.report.comparable import Difference, differences
from harness.report.fold import intervals, journals
from harness.report.jobs import JobReport, job_kind
from harness.report.junit import Case, junit_suite
from harness.report.markdown import code, escaped, markdown_table
from harness.report.model import Reason
from harness.report.nights import COUNTS, counts_of, metrics_of, read_summary, scenario_name
from harness.runs.folder import read_manifest
from harness.verdicts.lattice import Verdict

SCHEMA: Literal["guestswarm.compare/1"] = "guestswarm.compare/1"
SHARES = (0.5, 0.9, 0.95, 0.99)
BLOCK_NS = 600 * 10**9
"""Blocks of time that are drawn whole: what hangs together stays together."""
_LEAST_BLOCK_NS = 10 * 10**9
_BLOCKS = 20
"""A shorter run is cut into so many blocks instead, and the page says so."""


class MeasureComparison(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One measure of two runs. Times in milliseconds."""

    name: str
    n_a: int
    n_b: int
    quantiles: list[QuantileRatio]
    shift_ms: float | None
    """Hodges-Lehmann: median of all differences B - A."""
    a12: float | None
    """Chance that a value of B is above one of A."""


class CountComparison(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A count of correctness of both runs."""

    name: str
    a: int | None
    b: int | None

    @property
    def grew(self) -> bool:
        """Whether B has more."""
        return self.a is not None and self.b is not None and self.b > self.a


class CompareSummary(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The shape of a comparison's `summary.json`."""

    schema: Literal["guestswarm.compare/1"]
    run: str
    """B."""
    against: str
    """A."""
    verdict: Literal["PASS", "FAIL", "UNKNOWN"]
    exit_code: int
    reasons: list[Reason]
    simulated: bool
    complete: bool
    block_s: float
    measures: list[MeasureComparison]
    counts: list[CountComparison]
    differences: list[Difference]


def build(a: Path, b: Path) -> JobReport:
    """Compare the runs in two folders; nothing is written. Raises RunFolderError for a folder without a run or a summary."""
    sides = [_Side(Path(folder)) for folder in (a, b)]
    found = differences(sides[0].manifest, sides[1].manifest)
    refused = [one for one in found if one.matters]
    block_ns = min(side.block_ns for side in sides)
    names = [name for name in sides[1].names if name in sides[0].names]
    for side in sides if not refused else ():
        side.read(names, block_ns)
    measures = [] if refused else [_compare(name, *sides) for name in names]
    counts = [CountComparison(name, sides[0].counts[name], sides[1].counts[name]) for name in COUNTS]
    cut = [which for which, side in zip("AB", sides, strict=True) if not side.complete]
    gone = [which for which, side in zip("AB", sides, strict=True) if not refused and not side.journalled]
    verdict, exit_code, reasons = judge(measures, counts, refused, cut=cut, gone=gone)
    shape = CompareSummary(
        schema=SCHEMA,
        run=sides[1].id,
        against=sides[0].id,
        verdict=verdict.value,
        exit_code=exit_code,
        reasons=reasons,
        simulated=bool(sides[1].manifest.get("simulated")),
        complete=all(side.complete for side in sides),
        block_s=block_ns / 1e9,
        measures=measures,
        counts=counts,
        differences=found,
    )
    context = _context(shape, sides)
    return JobReport(
        kind="compare",
        verdict=verdict,
        exit_code=exit_code,
        reasons=reasons,
        facts=[context["say"]["counts"], context["say"]["differences"]],
        summary=msgspec.json.format(msgspec.json.encode(shape, order="sorted"), indent=1) + b"\n",
        page=_page(context, sides, names if not refused else []),
        markdown=_markdown(shape, context),
        junit=_junit(shape),
        rows=[f"{one.name}: {_ratios(one)}" for one in measures][:5],
    )


class _Side:
    """One of the two runs: its manifest, its figures, and its latencies in blocks of time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        self.id = str(self.manifest.get("id") or folder.name)
        summary = read_summary(folder)
        if kind := job_kind(self.manifest):
            raise RunFolderError(f"is a search ({kind}), and no run", where=str(folder), hint="Name a run or a soak.")
        if summary is None:
            hint = f"Make it: guestswarm report {folder.name}"
            raise RunFolderError("this run has no summary that can be read", where=str(folder), hint=hint)
        self.summary = summary
        self.complete = bool(summary.get("complete"))
        self.counts = counts_of(summary)
        self.names = list(dict.fromkeys(metric.name.rpartition(" ")[0] for metric in metrics_of(summary) if metric.unit == "ms"))
        phases = self.manifest.get("phases")
        begin, end = (phases.get(name) if isinstance(phases, Mapping) else None for name in ("load", "settle"))
        self.steady = (begin, end) if isinstance(begin, int) and isinstance(end, int) and end > begin else None
        self.journalled = False
        length = self.steady[1] - self.steady[0] if self.steady else 0
        self.block_ns = max(min(BLOCK_NS, length // _BLOCKS), _LEAST_BLOCK_NS)

    def read(self, names: Sequence[str], block_ns: int) -> None:
        """Fill `blocks`: for each name the latencies of the full load, one histogram for each whole block of time.

        Nothing is filled in where the journal is gone.
        """
        self.blocks: dict[str, list[Histogram]] = {name: [] for name in names}
        if self.steady is None:
            return
        keys = {name: _key(name) for name in names}
        begin, end = self.steady
        found: dict[tuple[str, int], Histogram] = {}
        try:
            for record in intervals([JournalReader(path) for path in journals(self.folder)]):
                middle = (record.t0_ns + record.t1_ns) // 2
                block = (middle - begin) // block_ns
                if middle < begin or begin + (block + 1) * block_ns > end:
                    continue
                self.journalled = True
                for name, key in keys.items():
                    if (sparse := record.histograms.get(key)) is not None:
                        found.setdefault((name, block), Histogram()).add_sparse(sparse)
        except JournalError:
            return
        for name, block in sorted(found):
            self.blocks[name].append(found[name, block])

    def whole(self, name: str) -> Histogram:
        """All blocks of a measure together."""
        whole = Histogram()
        for block in self.blocks[name]:
            whole.merge(block)
        return whole


def _key(name: str) -> str:
    measure, _, part = name.rpartition(".")
    return f"{measure}|ok|{part}" if part in ("response", "service") else f"{name}|ok|span"


def _compare(name: str, a: _Side, b: _Side) -> MeasureComparison:
    blocks = [side.blocks[name] for side in (a, b)]
    filled = np.flatnonzero(sum((h.counts for side in blocks for h in side), np.zeros_like(Histogram().counts)))
    values = np.array([(lowest_of(int(n)) + highest_of(int(n))) / 2000 for n in filled])
    rows = [np.array([h.counts[filled] for h in side], dtype=np.int64).reshape(len(side), len(filled)) for side in blocks]
    quantiles = (
        quantile_ratios(values, rows[0], rows[1], SHARES, np.random.default_rng(1))
        if len(filled)
        else [QuantileRatio(share, None, None, None) for share in SHARES]
    )
    samples = [sample_of(values, row.sum(axis=0)) if len(filled) and len(row) else np.empty(0) for row in rows]
    both = all(len(sample) for sample in samples)
    return MeasureComparison(
        name=name,
        n_a=int(rows[0].sum()),
        n_b=int(rows[1].sum()),
        quantiles=quantiles,
        shift_ms=round(hodges_lehmann(*samples), 3) if both else None,
        a12=round(a12(*samples), 4) if both else None,
    )


def judge(
    measures: Sequence[MeasureComparison],
    counts: Sequence[CountComparison],
    refused: Sequence[Difference],
    *,
    cut: Sequence[str] = (),
    gone: Sequence[str] = (),
) -> tuple[Verdict, int, list[Reason]]:
    """Verdict, exit code and reasons: refused, or correctness that grew, or no more than a description.

    `cut`: which of A and B is not whole; `gone`: of which there is no journal.
    """
    if refused:
        names = wording.listed([one.key for one in refused[:3]])
        more = f" and {len(refused) - 3} more" if len(refused) > 3 else ""
        text = f"The runs cannot be held against each other: {names}{more} differ."
        return Verdict.UNKNOWN, int(ExitCode.UNKNOWN), [Reason("not_comparable", text)]
    worse = [one for one in counts if one.grew]
    if worse:
        reasons = [Reason("correctness", f"B has {one.b:,} {one.name}, A has {one.a:,}. Any increase fails.") for one in worse]
        return Verdict.FAIL, int(ExitCode.FAIL), reasons
    if cut:
        text = f"{wording.listed(cut)} {'is' if len(cut) == 1 else 'are'} not whole: what is missing may have been as bad or worse."
        return Verdict.UNKNOWN, int(ExitCode.UNKNOWN), [Reason("not_whole", text)]
    moved = [(one, ratio) for one in measures for ratio in one.quantiles if ratio.ratio is not None]
    if not moved:
        text = f"Of {wording.listed(gone)} no journal can be read, so latencies are not compared; no count of correctness grew."
        text = text if gone else "The runs have no measure in common with enough samples."
        return Verdict.UNKNOWN, int(ExitCode.UNKNOWN), [Reason("nothing_to_compare", text)]
    one, ratio = max(moved, key=lambda pair: abs(float(np.log(pair[1].ratio or 1.0))) if pair[1].ratio else 0.0)
    change = 100 * ((ratio.ratio or 1.0) - 1)
    side = "above" if change >= 0 else "below"
    what = f"{one.name} p{100 * ratio.share:g}"
    text = f"B's {what} is {abs(change):.0f} % {side} A's; with two nights this says nothing about a change."
    return Verdict.PASS, int(ExitCode.PASS), [Reason("described", text)]


def _ratios(one: MeasureComparison) -> str:
    return ", ".join(
        f"p{100 * ratio.share:g} {wording.ms(ratio.a)} → {wording.ms(ratio.b)}"
        for ratio in one.quantiles
        if ratio.ratio is not None
    )


def _context(shape: CompareSummary, sides: Sequence[_Side]) -> dict[str, Any]:
    refused = [one for one in shape.differences if one.matters]
    grew = [one.name for one in shape.counts if one.grew]
    block = f"{shape.block_s / 60:g} min" if shape.block_s >= 60 else f"{shape.block_s:g} s"
    short = "" if shape.block_s * 1e9 >= BLOCK_NS else f" Blocks are {block}, not 10 min: the runs are short."
    drawn = any(ratio.low is not None for one in shape.measures for ratio in one.quantiles)
    names = {"a": _when(sides[0].manifest), "b": _when(sides[1].manifest)}
    return {
        "verdict": shape.verdict,
        "word": shape.reasons[0].text,
        "incomplete": not shape.complete,
        "heading": [wording.shown(scenario_name(sides[1].manifest), 60), "two runs compared"],
        "facts": [reason.text for reason in shape.reasons[1:3]],
        "key": [("A", names["a"]), ("B", names["b"]), ("exit code", str(shape.exit_code))],
        "a": shape.against,
        "b": shape.run,
        "say": {
            "measures": "Nothing is compared: see what differs."
            if refused
            else f"{wording.many(len(shape.measures), 'measure')}, B over A, full load only."
            + (f" Intervals draw whole blocks of {block} (95 %).{short}" if drawn else " Too few blocks of time for intervals."),
            "counts": f"{wording.listed(grew)} grew." if grew else "No count of correctness grew.",
            "differences": f"{wording.many(len(refused), 'difference')} that {'matters' if len(refused) == 1 else 'matter'}, "
            f"{len(shape.differences) - len(refused)} that do not."
            if shape.differences
            else "Scenario, versions and topology are the same.",
        },
        "rows": [
            {
                "name": one.name if number == 0 else "",
                "share": f"p{100 * ratio.share:g}",
                "a": wording.ms(ratio.a),
                "b": wording.ms(ratio.b),
                "ratio": wording.DASH if ratio.ratio is None else f"{ratio.ratio:.3f}",
                "interval": wording.DASH if ratio.low is None else f"{ratio.low:.3f} – {ratio.high:.3f}",
                "n": f"{one.n_a:,} / {one.n_b:,}" if number == 0 else "",
                "shift": _signed(one.shift_ms) if number == 0 else "",
                "a12": f"{one.a12:.2f}" if number == 0 and one.a12 is not None else "",
            }
            for one in shape.measures
            for number, ratio in enumerate(one.quantiles)
        ],
        "counts": [
            {"name": one.name, "a": wording.count(one.a), "b": wording.count(one.b), "grew": one.grew} for one in shape.counts
        ],
        "differences": shape.differences,
        "pictures": [],
    }


def _signed(value: float | None) -> str:
    return wording.DASH if value is None else f"{'+' if value >= 0 else '−'}{wording.ms(abs(value))}"


def _when(manifest: Mapping[str, Any]) -> str:
    return wording.shown(str(manifest.get("started_utc") or ""), 40).replace("T", " ").removesuffix("Z")


def _page(context: Mapping[str, Any], sides: Sequence[_Side], names: Sequence[str]) -> str:
    from functools import partial

    from harness.report.page import page
    from harness.report.plots.compare import tails
    from harness.report.plots.svg import picture

    pictures: list[dict[str, Any]] = []
    for name in names:
        one, other = (side.whole(name) for side in sides)
        if one.count and other.count:
            values = [(whole.percentile(Fraction(99, 100)) or 0) / 1000 for whole in (one, other)]
            finding = f"{name}: p99 {values[0]:.3g} ms in A, {values[1]:.3g} ms in B"
            draw = partial(tails, name=name, a=one, b=other)
            drawn = picture(f"tails{len(pictures)}", finding, draw, wide=260, narrow=240)
            pictures.append({"name": name, "picture": drawn})
    return page("compare.html.j2", {**context, "pictures": pictures[:4]})


def _markdown(shape: CompareSummary, context: Mapping[str, Any]) -> str:
    cells = ("share", "a", "b", "ratio", "interval")
    rows = [[code(row["name"]) if row["name"] else "", *(row[cell] for cell in cells)] for row in context["rows"]]
    counts = [["grew" if row["grew"] else "ok", escaped(row["name"]), row["a"], row["b"]] for row in context["counts"]]
    differ = [["yes" if one.matters else "no", code(one.key), code(one.a), code(one.b)] for one in shape.differences]
    blocks = [
        f"# {shape.verdict}: two runs compared",
        *[escaped(reason.text) for reason in shape.reasons],
        f"A {code(shape.against)}, B {code(shape.run)}.",
        *([markdown_table(["measure", "", "A", "B", "B / A", "95 % interval"], rows, "llrrrr")] if rows else []),
        markdown_table(["", "count", "A", "B"], counts, "llrr"),
        *([markdown_table(["matters", "what", "A", "B"], differ, "llll")] if differ else []),
    ]
    return "\n\n".join(blocks) + "\n"


def _junit(shape: CompareSummary) -> str:
    cases = [Case("correctness", one.name, "failure" if one.grew else "", f"{one.a} in A, {one.b} in B") for one in shape.counts]
    matter = [one.key for one in shape.differences if one.matters]
    cases.append(Case("comparable", "scenario, version, load, topology", "error" if matter else "", ", ".join(matter[:10])))
    return junit_suite("guestswarm compare", cases, {"run": shape.run, "against": shape.against}, 0.0, "")
