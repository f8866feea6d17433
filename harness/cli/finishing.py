"""How a job ends for its caller: the report is written, the verdict said, its place named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.terminal import Terminal
from harness.errors import RunFolderError

if TYPE_CHECKING:
    from harness.report.jobs import JobReport


def finish(report: JobReport, folder: Path, terminal: Terminal) -> int:
    """Write the report into the folder and say it; returns the exit code of the verdict."""
    from harness.report.jobs import write_job
    from harness.report.text import clean, told

    code = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_job(folder, report)
    except (OSError, RunFolderError) as error:  # the verdict is said all the same
        terminal.note(f"guestswarm: {error}")
        code = int(RunFolderError("").exit_code)
    if terminal.json:
        terminal.result(report.summary.decode().rstrip())
        return report.exit_code or code
    blocks = [[clean(reason.text) for reason in report.reasons[:4]], [*report.rows], [*report.facts]]
    width = terminal.width if terminal.boxed else None
    shown = [block for block in blocks if block]
    terminal.result(
        told(report.verdict, report.exit_code, shown, width=width, color=terminal.color, ascii_only=terminal.ascii_only)
    )
    page = folder / "report.html"
    if page.is_file():
        relative = os.path.relpath(page)
        terminal.result(relative if len(relative) < len(str(page)) else str(page))
    return report.exit_code or code
