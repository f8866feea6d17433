"""A capacity search as its report knows it: everything that follows from the files of its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import ExitCode
from harness.report.jobs.capacity_folder import RUNS, StepLine, read_plan, read_steps
from harness.runs.folder import read_manifest
from harness.search.answer import answer
from harness.search.answers import Answer
from harness.search.bracket import locate
from harness.search.plan import CapacityPlan
from harness.search.steps import RuleShare, Step
from harness.verdicts.lattice import Verdict
from harness.verdicts.slo import Rule, SloError, parse

_EXIT = {Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL, Verdict.UNKNOWN: ExitCode.UNKNOWN}
_FAULTS = frozenset({ExitCode.UNKNOWN, ExitCode.UNREACHABLE, ExitCode.NOT_AUTHORISED, ExitCode.INTERNAL})
"""Why a step could not be carried out, as the manifest has it."""
_TOLD = {"interrupted": ExitCode.INTERRUPTED, "terminated": ExitCode.TERMINATED}
_PAGE = "report.html"


@dataclass(frozen=True, slots=True)
class CapacityModel:
    """What is known of a search."""

    folder: Path
    manifest: Mapping[str, Any]
    plan: CapacityPlan
    lines: tuple[StepLine, ...]
    unreadable: int
    """Lines of `steps.jsonl` that could not be read."""
    answer: Answer
    ended: str
    """As the manifest says; empty: it did not get to say."""
    stopped: str
    """Why it was ended before its own end."""

    @property
    def steps(self) -> list[Step]:
        """The steps in order."""
        return [line.step for line in self.lines]

    @property
    def exit_code(self) -> int:
        """Of the verdict; of a search that was told to end, that of the signal; of one that had to end, that of its reason."""
        job = self.manifest.get("job")
        noted = job.get("exit_code") if isinstance(job, Mapping) else None
        own = ExitCode(noted) if noted in _FAULTS else _EXIT[self.answer.verdict]
        return int(_TOLD.get(self.ended, own))

    @property
    def id(self) -> str:
        """The search's own id."""
        return str(self.manifest.get("id") or self.folder.name)

    @property
    def simulated(self) -> bool:
        """Whether the target was the embedded simulator."""
        return bool(self.manifest.get("simulated"))

    @property
    def scenario(self) -> str:
        """The scenario's name."""
        table = self.manifest.get("scenario")
        inner = table.get("scenario") if isinstance(table, Mapping) else None
        return str(inner.get("name") or "") if isinstance(inner, Mapping) else ""

    @property
    def beyond(self) -> list[str]:
        """What of the steps lies beyond the machine's calibration; that of the largest load."""
        over = [line for line in self.lines if line.beyond]
        return list(max(over, key=lambda line: line.step.order.load).beyond) if over else []

    @property
    def rule(self) -> Rule | None:
        """The percentile rule that is drawn: the one that breaks first, else the first there is."""
        first = self.answer.first_broken_slo
        texts = [first] if first else []
        texts += [share.rule for line in self.lines[:1] for share in line.step.result.rules]
        for text in texts:
            try:
                found = parse(text)
            except SloError:
                continue
            if found.kind == "percentile":
                return found
        return None

    def page_of(self, step: Step) -> str:
        """Path of a step's own page from this folder; empty where none was made."""
        relative = f"{RUNS}/{step.result.reference}/{_PAGE}"
        return relative if step.result.reference and (self.folder / relative).is_file() else ""

    @property
    def last_run(self) -> Path | None:
        """The run that speaks for the generator: the confirmation, or else the last step that counts."""
        counted = [step for step in self.steps if step.judgement.verdict != "invalid"] or self.steps
        confirms = [step for step in counted if step.order.kind == "confirm"]
        for step in reversed(confirms or counted):
            folder = self.folder / RUNS / step.result.reference
            if step.result.reference and (folder / "manifest.json").is_file():
                return folder
        return None


def read_search(folder: Path) -> CapacityModel:
    """Fold a search's folder. Raises RunFolderError for what is not there."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    plan = read_plan(manifest)
    lines, unreadable = read_steps(folder)
    ended = str(manifest.get("ended") or "")
    job = manifest.get("job")
    said: Mapping[str, Any] = job if isinstance(job, Mapping) else {}
    stopped, doomed = str(said.get("stopped") or ""), str(said.get("doomed") or "")
    complete = ended == "finished" and not doomed  # as the search itself found, whatever would be asked for today
    steps = [line.step for line in lines]
    known = answer(plan, steps, complete=complete, doomed=doomed, interrupted=ended != "finished", where=locate(steps))
    return CapacityModel(folder, manifest, plan, tuple(lines), unreadable, known, ended, stopped)


def nearest_share(step: Step) -> RuleShare | None:
    """The rule whose samples the step is judged by; of a step that does not count the first."""
    shares = step.result.rules
    return next((share for share in shares if share.rule == step.judgement.nearest), shares[0] if shares else None)
