"""Where words go: results to stdout, progress and trouble to stderr; colour and redrawing only where a terminal takes them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

from harness.errors import GuestswarmError


@dataclass(slots=True)
class Terminal:
    """What the caller asked for and what the streams can do."""

    json: bool = False
    quiet: bool = False
    color: bool = False
    live: bool = False
    """Whether stderr can be redrawn in place."""
    ascii_only: bool = False
    boxed: bool = False
    """Whether stdout is a terminal, so that the verdict gets its box."""
    live_color: bool = False
    """Whether stderr takes colour."""

    @classmethod
    def of(cls, *, as_json: bool, quiet: bool = False, no_color: bool = False) -> Terminal:
        """Look at the streams and at `NO_COLOR`, `TERM` and the locale's encoding."""
        able = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("", "dumb")
        plain = no_color or bool(os.environ.get("NO_COLOR"))
        seen = sys.stdout.isatty()
        return cls(as_json, quiet, seen and not plain, able, _ascii_only(), seen, able and not plain)

    @property
    def width(self) -> int:
        """Columns to write into."""
        return shutil.get_terminal_size((80, 24)).columns

    def result(self, text: str) -> None:
        """A result, for whoever reads stdout."""
        print(text, flush=True)

    def value(self, value: Any) -> None:
        """A result as JSON."""
        print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)

    def note(self, text: str) -> None:
        """Progress; silent under `--quiet`."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def trouble(self, error: GuestswarmError) -> None:
        """What went wrong, on stderr; under `--json` as an object on stdout as well."""
        print(f"guestswarm: {error}", file=sys.stderr, flush=True)
        if self.json:
            problems = [
                {"where": problem.where, "key": problem.key, "what": problem.what} for problem in getattr(error, "problems", ())
            ]
            self.value(
                {
                    "error": {
                        "what": error.what,
                        "where": error.where,
                        "hint": error.hint,
                        "exit_code": int(error.exit_code),
                        "problems": problems,
                    }
                }
            )


def _ascii_only() -> bool:
    """Whether to do without the better glyphs. In the locale `C` Python writes UTF-8 all the same; the terminal may not read it."""
    chosen = next((value for name in ("LC_ALL", "LC_CTYPE", "LANG") if (value := os.environ.get(name))), "")
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return chosen in ("C", "POSIX") or not encoding.startswith("utf")


def table(rows: list[list[str]], heads: list[str]) -> str:
    """Columns that line up; the last one keeps its own length."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)
