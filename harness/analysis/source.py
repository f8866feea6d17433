"""A delivery log as packed rows: JSON lines or CSV, plain or gzipped, from a file or from standard input."""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from operator import itemgetter
from pathlib import Path
from typing import IO, NamedTuple, cast

import msgspec
import numpy as np

from harness.analysis.columns import COLUMNS, REQUIRED, WIDTH, Packer
from harness.analysis.spool import Block
from harness.errors import UsageError

FORMATS = ("csv", "jsonl")
MOST_NAMED = 20
"""Malformed rows that are named; all are counted."""
_BLOCK_ROWS = 50_000
_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl"}
_GZIP = b"\x1f\x8b"


class Tally:
    """What came of the rows of a log."""

    def __init__(self) -> None:
        self.rows = 0
        """Good ones."""
        self.malformed = 0
        self.named: list[tuple[int, str]] = []
        """Line and what is wrong with it, of the first of them."""
        self.columns: frozenset[str] = frozenset()
        """Of `COLUMNS`, those that the log has."""

    def bad(self, line: int, what: object) -> None:
        """A row that cannot be used."""
        self.malformed += 1
        if len(self.named) < MOST_NAMED:
            self.named.append((line, str(what)[:200]))


class Log(NamedTuple):
    """An opened log: its bytes (unpacked) and the first of them."""

    data: IO[bytes]
    start: bytes


@contextmanager
def open_log(path: str) -> Iterator[Log]:
    """Open it; `-` is standard input. A gzipped one is known by its first bytes."""
    with ExitStack() as closing:
        try:
            if path == "-":
                raw = cast("io.BufferedReader", sys.stdin.buffer)
                if not hasattr(raw, "peek"):
                    raw = io.BufferedReader(cast("io.RawIOBase", raw))
            else:
                raw = closing.enter_context(Path(path).open("rb"))
            start = raw.peek(64)
            if start[:2] == _GZIP:
                raw = closing.enter_context(io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=raw))))
                start = raw.peek(64)
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"the log cannot be read: {getattr(error, 'strerror', None) or error}", where=path) from None
        yield Log(raw, start[:64])


def format_of(path: str, start: bytes) -> str:
    """By the name's ending; failing that by the first character."""
    known = _SUFFIXES.get(Path(path.removesuffix(".gz")).suffix.lower())
    return known or ("jsonl" if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{" else "csv")


def read_log(
    log: IO[bytes],
    where: str,
    kind: str,
    pack: Packer,
    tally: Tally,
    renamed: Mapping[str, str],
    progress: Callable[[int], None] | None = None,
) -> Iterator[Block]:
    """Packed rows in blocks, in the order of the file; `tally` is complete afterwards.

    `renamed` says what a column is called in this log. `progress` is told the rows so far, once per block.
    """
    rows = _csv(log, where, pack, tally, renamed) if kind == "csv" else _json(log, where, pack, tally, renamed)
    packed = array("q")
    try:
        for row in rows:
            packed.extend(row)
            if len(packed) >= _BLOCK_ROWS * WIDTH:
                yield _block(packed, tally)
                packed = array("q")
                if progress is not None:
                    progress(tally.rows)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"the log cannot be read to its end: {error}", where=where) from None
    if packed:
        yield _block(packed, tally)


def names_of(renamed: Mapping[str, str]) -> dict[str, str]:
    """What each column is called in the log."""
    return {column: renamed.get(column, column) for column in COLUMNS}


def _block(packed: array[int], tally: Tally) -> Block:
    block = np.frombuffer(packed, dtype=np.int64).reshape(-1, WIDTH)
    tally.rows += len(block)
    return block


def _check(there: Sequence[str], where: str, renamed: Mapping[str, str], required: Sequence[str], what: str) -> frozenset[str]:
    called = names_of(renamed)
    unknown = [name for column, name in called.items() if column in renamed and name not in there]
    missing = [called[column] for column in required if called[column] not in there]
    if missing or unknown:
        lacking = ", ".join(dict.fromkeys([*missing, *unknown]))
        raise UsageError(
            f"no {what} {lacking}; there is {', '.join(there[:40]) or 'none'}",
            where=where,
            hint=f"needed: {', '.join(REQUIRED)}; a column of another name is told by --column {REQUIRED[1]}=NAME",
        )
    return frozenset(column for column, name in called.items() if name in there)


def _csv(log: IO[bytes], where: str, pack: Packer, tally: Tally, renamed: Mapping[str, str]) -> Iterator[tuple[int, ...]]:
    text = io.TextIOWrapper(log, "utf-8-sig", errors="backslashreplace", newline="")
    try:
        yield from _csv_rows(text, where, pack, tally, renamed)
    finally:
        text.detach()  # who opened the log closes it


def _csv_rows(
    text: io.TextIOWrapper, where: str, pack: Packer, tally: Tally, renamed: Mapping[str, str]
) -> Iterator[tuple[int, ...]]:
    head, above = "\n", 0
    while not head.strip():
        head = text.readline()
        above += 1
        if not head:
            raise UsageError("the log is empty", where=where, hint=f"its first line names the columns: {', '.join(REQUIRED)}")
    delimiter = max(",;\t", key=head.count)
    there = [name.strip() for name in next(csv.reader([head], delimiter=delimiter))]
    tally.columns = _check(there, where, renamed, REQUIRED, "column")
    called = names_of(renamed)
    width = len(there)
    # A column that is not there is read from one more, empty field
    picked = itemgetter(*(there.index(called[column]) if column in tally.columns else width for column in COLUMNS))
    reader = csv.reader(text, delimiter=delimiter)
    while True:
        try:
            for row in reader:
                if len(row) != width:
                    if row:
                        tally.bad(reader.line_num + above, f"{len(row)} fields, not {width}")
                    continue
                row.append("")
                try:
                    yield pack(picked(row), reader.line_num + above)
                except ValueError as error:
                    tally.bad(reader.line_num + above, error)
            return
        except csv.Error as error:
            tally.bad(reader.line_num + above, error)


def _json(log: IO[bytes], where: str, pack: Packer, tally: Tally, renamed: Mapping[str, str]) -> Iterator[tuple[int, ...]]:
    keys = [names_of(renamed)[column] for column in COLUMNS]
    decode = msgspec.json.decode
    seen: set[str] = set()
    shapes: set[tuple[str, ...]] = set()
    there: list[str] = []
    for line, raw in enumerate(log, 1):
        if line == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            continue
        try:
            row = decode(raw)
        except (ValueError, RecursionError) as error:  # of msgspec, and of text that is not UTF-8
            tally.bad(line, error)
            continue
        if not isinstance(row, dict):
            tally.bad(line, "is no JSON object")
            continue
        shape = tuple(row)
        if shape not in shapes and len(shapes) < _MOST_SHAPES:
            if not there:
                there = list(shape)
                _check(there, where, {name: renamed[name] for name in _ALWAYS if name in renamed}, _ALWAYS, "key")
            shapes.add(shape)
            seen.update(shape)
        try:
            packed = pack([row.get(key) for key in keys], line)
        except ValueError as error:
            tally.bad(line, error)
            continue
        yield packed
    if there:
        tally.columns = _check([*there, *sorted(seen - set(there))], where, renamed, REQUIRED, "key")
    elif not tally.malformed:
        raise UsageError("the log is empty", where=where)


_ALWAYS = ("stream", "seq")
"""What the first line must have; `sent` and `received` may be left out of a line where they are not known."""
_MOST_SHAPES = 1000
"""Different sets of keys that are looked at."""
