"""`guestswarm dialects`: which protocols there are, where each is described, and how much of it is our own reading."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import harness.dialects
from harness.cli.terminal import Terminal, table
from harness.dialects.registry import Dialect, all_dialects
from harness.errors import ExitCode, UsageError


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser("dialects", parents=[common], help="describe the protocols and their sources")
    parser.set_defaults(execute=execute)


def describe(dialect: Dialect) -> dict[str, Any]:
    """One dialect, with its transcript's lines counted by origin."""
    path = Path(harness.dialects.__file__).parent / "transcripts" / dialect.transcript
    try:
        origins = [str(json.loads(line).get("origin", "")) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"the transcript cannot be read: {error}", where=str(path)) from None
    return {
        "name": dialect.name,
        "published": dialect.published,
        "transport": dialect.transport,
        "correlation": dialect.correlation,
        "sources": list(dialect.sources),
        "transcript_lines": len(origins),
        "ours_lines": sum(origin == "ours" for origin in origins),
    }


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """List them."""
    found = [describe(dialect) for dialect in all_dialects().values()]
    if args.json:
        terminal.value(found)
        return int(ExitCode.PASS)
    rows = [
        [
            item["name"],
            "vendor" if item["published"] else "community",
            item["transport"],
            item["correlation"],
            f"{item['transcript_lines']} ({item['ours_lines']} ours)",
            "; ".join(item["sources"]),
        ]
        for item in found
    ]
    terminal.result(table(rows, ["dialect", "published by", "transport", "confirmed by", "transcript lines", "sources"]))
    return int(ExitCode.PASS)
