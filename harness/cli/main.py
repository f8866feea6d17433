"""`guestswarm`: one parser, one place where errors become messages and exit codes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from harness import __version__
from harness.cli import analyse, calibrate, capacity, compare, dialects, ratelimit, report, run, runs, schema, simulate, soak, trend
from harness.cli.terminal import Terminal
from harness.errors import ExitCode, GuestswarmError

COMMANDS = (run, capacity, ratelimit, soak, compare, trend, report, runs, dialects, schema, simulate, analyse, calibrate)
FAULT_FILE = "internal-fault.txt"


def build_parser() -> argparse.ArgumentParser:
    """All commands with their options."""
    parser = argparse.ArgumentParser(
        prog="guestswarm",
        description="Load and soak tests for guest messaging APIs, with a verdict that can be proven.",
        epilog="Exit codes: 0 pass, 1 fail, 2 usage or scenario, 3 unknown, 4 unreachable, 5 not authorised, 70 internal fault, "
        "130 interrupted, 143 terminated.",
    )
    parser.add_argument("--version", action="version", version=f"guestswarm {__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="results as JSON on stdout")
    common.add_argument(
        "--runs",
        type=Path,
        default=Path(os.environ.get("GUESTSWARM_RUNS") or "reports"),
        metavar="DIR",
        help="where runs land (default: reports)",
    )
    common.add_argument("--no-color", action="store_true", help="no colour (as with NO_COLOR)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add_to(commands, common)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code and never lets a traceback out."""
    try:
        args = build_parser().parse_args(argv)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(ExitCode.USAGE)
    terminal = Terminal.of(as_json=args.json, quiet=getattr(args, "quiet", False), no_color=args.no_color)
    try:
        code: int = args.execute(args, terminal)
        sys.stdout.flush()
        return code
    except GuestswarmError as error:
        terminal.trouble(error)
        return int(error.exit_code)
    except KeyboardInterrupt:
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        return internal_fault(error, getattr(args, "folder", None))


def internal_fault(error: BaseException, folder: Path | None) -> int:
    """One line for people, the traceback into a file."""
    text = "".join(traceback.format_exception(error))
    where = ""
    for place in (folder, Path(tempfile.gettempdir())):
        if place is None:
            continue
        name = FAULT_FILE if place is folder else f"guestswarm-{os.getpid()}-{FAULT_FILE}"
        try:
            (place / name).write_text(text, "utf-8")
            where = str(place / name)
            break
        except OSError:
            continue
    hint = f"; the details are in {where}" if where else ""
    print(f"guestswarm: internal fault: {type(error).__name__}{hint}", file=sys.stderr, flush=True)
    return int(ExitCode.INTERNAL)


if __name__ == "__main__":
    sys.exit(main())
