"""`guestswarm report RUN`: rebuild everything of a run from its journal, and say the verdict."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from harness.cli.finishing import finish
from harness.cli.terminal import Terminal
from harness.errors import RunFolderError
from harness.runs.folder import find_run, read_manifest


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("report", parents=[common], help="rebuild a run's report and say its verdict")
    parser.add_argument("run", metavar="RUN", nargs="?", default="latest", help="a folder, an id, or latest (the default)")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """Build it; the exit code is the verdict's."""
    from harness.report.build import build_model, build_report
    from harness.report.jobs import job_kind
    from harness.report.summary import summary_json
    from harness.report.text import verdict_text

    folder = find_run(args.runs, args.run)
    args.folder = folder
    if kind := job_kind(read_manifest(folder)):
        return _job(folder, kind, terminal)
    code = 0
    try:
        model = build_report(folder)
    except RunFolderError as error:  # a full disk, a read-only archive: the verdict is said all the same
        model = build_model(folder)
        terminal.note(f"guestswarm: {error}")
        code = int(error.exit_code)
    if terminal.json:
        terminal.result(summary_json(model).decode().rstrip())
        return model.exit_code or code
    width = terminal.width if terminal.boxed else None
    terminal.result(verdict_text(model, width=width, color=terminal.color, ascii_only=terminal.ascii_only))
    terminal.result(_shown(folder))
    return model.exit_code or code


def _job(folder: Path, kind: str, terminal: Terminal) -> int:
    from harness.report.jobs import build_job

    return finish(build_job(folder, kind), folder, terminal)


def _shown(folder: Path) -> str:
    """The page if there is one, else the folder; relative where that is shorter."""
    page = folder / "report.html"
    target = page if page.is_file() else folder
    relative = os.path.relpath(target)
    return relative if len(relative) < len(str(target)) else str(target)
