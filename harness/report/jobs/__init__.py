"""Jobs whose folder is more than one run: how `guestswarm report` finds what builds their page again.

A job's manifest says `job: {"kind": …}`. The module of that name in this package has `build(folder) -> JobReport`, a fold over the
folder's files; `write` puts the result beside them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from harness.errors import RunFolderError
from harness.report.model import Reason
from harness.runs.folder import SUMMARY, free_reserve
from harness.verdicts.lattice import Verdict

KINDS = ("capacity", "ratelimit")
"""Jobs with a report of their own; a soak is one run, and its report a run's."""


@dataclass(frozen=True, slots=True)
class JobReport:
    """What a job came to, ready to be written and said."""

    kind: str
    verdict: Verdict
    exit_code: int
    reasons: Sequence[Reason]
    """The first is the answer's sentence."""
    facts: Sequence[str]
    """What stands beside it in the verdict box."""
    summary: bytes
    """`summary.json`: keys sorted, the same for the same folder."""
    page: str
    """`report.html`; empty: could not be drawn."""
    markdown: str
    junit: str
    rows: Sequence[str] = ()
    """Lines of the box between reasons and facts, such as the rules' states."""


def job_kind(manifest: Mapping[str, Any]) -> str:
    """The kind of a job with a report of its own; empty: it is a run."""
    job = manifest.get("job")
    kind = str(job.get("kind") or "") if isinstance(job, Mapping) else ""
    return kind if kind in KINDS else ""


def build_job(folder: Path, kind: str) -> JobReport:
    """Build the report of a job's folder; nothing is written. Raises RunFolderError for what is not there."""
    found: JobReport = import_module(f"harness.report.jobs.{kind}").build(Path(folder))
    return found


def write_job(folder: Path, report: JobReport) -> None:
    """Write what it is made of into the folder, the summary last. Raises RunFolderError where it cannot be written."""
    folder = Path(folder)
    free_reserve(folder)
    files = [("report.html", report.page.encode()), ("report.md", report.markdown.encode()), ("junit.xml", report.junit.encode())]
    for name, data in [*files, (SUMMARY, report.summary)]:
        path = folder / name
        if not data:
            path.unlink(missing_ok=True)  # an old one would be of another build
            continue
        temporary = path.with_name(f".{name}.{os.getpid()}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise RunFolderError(f"cannot write it: {error.strerror or error}", where=str(path)) from None
