"""`guestswarm analyse`: order, duplication, loss and delay of any delivery log, or the answers to worked vectors."""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from harness.analysis.columns import COLUMNS, Names, packer
from harness.analysis.source import FORMATS, Tally, format_of, open_log, read_log
from harness.analysis.summary import summary
from harness.analysis.survey import Survey
from harness.analysis.times import INSTANT, UNITS, Times, times_in
from harness.analysis.vectors import answer, read_vectors
from harness.cli.analyse_text import told
from harness.cli.terminal import Terminal
from harness.errors import ExitCode, UsageError
from harness.metrics.figures import stream_figures
from harness.metrics.ordering import Params
from harness.metrics.suite import Suite

_DURATION = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_LIVE_S, _LOG_S = 0.5, 10.0


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "analyse",
        parents=[common],
        help="order, duplication, loss and delay of any delivery log",
        description="Measure a delivery log that anything made: one row per copy of a message, with stream, seq, sent and "
        "received (empty: never), and where known id, bytes, outcome, channel, epoch, rank. Rows may come in any order.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help="CSV or JSON lines, also gzipped; - is standard input")
    parser.add_argument("--vectors", metavar="FILE", help="answer worked vectors instead: one JSON object per vector")
    parser.add_argument("--format", choices=FORMATS, help="default: by the file's name, then by its first character")
    parser.add_argument("--time-unit", choices=[*UNITS, INSTANT], default="s", help="of sent and received (default: s)")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        type=_renaming,
        metavar="NAME=THEIRS",
        help=f"a column is called otherwise here; NAME is one of {', '.join(COLUMNS)}",
    )
    parser.add_argument("--first", type=_number(0), default=1, metavar="N", help="number of each stream's first message (1)")
    parser.add_argument("--joined", action="store_true", help="streams were joined midway: the first arrival is in order")
    parser.add_argument("--until", metavar="TIME", help="when the receiver stopped: what was sent less than dT before is left out")
    parser.add_argument("--dt", type=_duration, default=60 * 10**9, metavar="TIME", help="loss waiting time dT (60s)")
    parser.add_argument("--displacement", type=_number(1), default=64, metavar="N", help="displacement threshold DT (64)")
    parser.add_argument("--buffer", type=_number(1), default=64, metavar="N", help="buffer BT in messages (64)")
    parser.add_argument("--n-max", type=_number(1), default=3, metavar="N", help="largest n of n-reordering (3)")
    parser.add_argument("--delta", type=_number(1), default=5, metavar="N", help="a loss this close to the last is noticeable (5)")
    parser.add_argument("--per-stream", action="store_true", help="one JSON object per stream, every event in full")
    parser.add_argument("--strict", action="store_true", help="malformed rows are an error")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:
    """One of the two."""
    params = Params(args.dt, args.displacement, args.buffer, args.n_max, args.delta, args.joined)
    if (args.file is None) == (args.vectors is None):
        raise UsageError("analyse needs a FILE, or --vectors FILE" if args.file is None else "a FILE and --vectors: only one goes")
    if args.vectors is not None:
        return _vectors(args.vectors, params)
    return _log(args, params, terminal)


def _vectors(path: str, params: Params) -> int:
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the vectors cannot be read: {getattr(error, 'strerror', None) or error}", where=path) from None
    answers = [answer(vector, place, params) for place, vector in read_vectors(text, path)]
    if not answers:
        raise UsageError("there is no vector", where=path)
    for one in answers:
        print(json.dumps(one, ensure_ascii=False), flush=True)
    return int(ExitCode.PASS)


def _log(args: argparse.Namespace, params: Params, terminal: Terminal) -> int:
    times = times_in(args.time_unit)
    until = _instant(args.until, times) if args.until is not None else None
    names, tally, progress = Names(), Tally(), _Progress(terminal)
    listed: list[str] = []

    def name_of(number: int) -> str:
        if not listed:  # all names are known once the first stream is done
            listed.extend(names.by_name)
        return listed[number]

    def print_stream(name: str, suite: Suite) -> None:
        if not args.strict or not tally.malformed:
            print(json.dumps({"stream": name, "result": stream_figures(suite)}, ensure_ascii=False))

    each = print_stream if args.per_stream else None
    survey = Survey(params, lambda: tally.columns, name_of, until, each)
    with open_log(args.file) as log:
        kind = args.format or format_of(args.file, log.start)
        pack = packer(names, times, args.first)
        try:
            survey.run(read_log(log.data, args.file, kind, pack, tally, dict(args.column), progress.rows))
        finally:
            progress.end()
    if tally.malformed and (args.strict or not tally.rows):
        lines = "\n  ".join(f"line {line}: {what}" for line, what in tally.named)
        more = f"\n  and {tally.malformed - len(tally.named)} more" if tally.malformed > len(tally.named) else ""
        raise UsageError(
            f"{tally.malformed} malformed row{'s' if tally.malformed != 1 else ''} (of {tally.rows + tally.malformed})",
            where=args.file,
            hint=lines + more,
        )
    for line, what in tally.named:
        terminal.note(f"{args.file}:{line}: left out: {what}")
    if tally.malformed > len(tally.named):
        terminal.note(f"{args.file}: left out: {tally.malformed - len(tally.named)} more malformed rows")
    if args.per_stream:
        sys.stdout.flush()
        return int(ExitCode.PASS)
    found = summary(survey, tally, {"file": args.file, "format": kind, "time_unit": args.time_unit})
    if args.json:
        terminal.value(found)
    else:
        terminal.result(told(found, terminal.width, ascii_only=terminal.ascii_only))
    return int(ExitCode.PASS)


class _Progress:
    """How far a long file has been read: a line redrawn on a terminal, else one each 10 s."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._began = time.monotonic()
        self._next = self._began + (_LIVE_S if terminal.live else _LOG_S)
        self._drawn = False

    def rows(self, rows: int) -> None:
        """So many are read."""
        now = time.monotonic()
        if self._terminal.quiet or now < self._next:
            return
        text = f"{rows:,} rows read, {rows / max(now - self._began, 1e-9):,.0f}/s"
        if self._terminal.live:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._drawn = True
        else:
            self._terminal.note(text)
        self._next = now + (_LIVE_S if self._terminal.live else _LOG_S)

    def end(self) -> None:
        """Leave no half line behind."""
        if self._drawn:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _number(lowest: int) -> Any:
    def whole(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {lowest}")
        return int(text)

    return whole


def _duration(text: str) -> int:
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = text[len(number) :]
    try:
        value = float(number) * _DURATION[unit]
    except (ValueError, KeyError):
        value = math.nan
    if not 0 < value < 2**60:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 60s or 1500ms")
    return round(value)


def _renaming(text: str) -> tuple[str, str]:
    name, equals, theirs = text.partition("=")
    if not equals or not theirs or name not in COLUMNS:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=THEIRS with NAME one of {', '.join(COLUMNS)}")
    return name, theirs


def _instant(text: str, times: Times) -> int:
    try:
        return times(text)
    except ValueError as error:
        raise UsageError(f"--until {text!r} {error}") from None
