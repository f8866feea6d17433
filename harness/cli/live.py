"""Draws the live view on stderr, in place and without the alternate screen; too narrow or too low a terminal gets one line."""

from __future__ import annotations

import os
import shutil
import sys

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.report.live_text import MAX_LINES, NARROW, Line, log_line, plain, view_lines
from harness.report.live_view import LiveView
from harness.report.text import clean


class Screen:
    """One terminal. Nothing is drawn but by a call; no thread, no timer, nothing taken from stdout."""

    def __init__(self, *, color: bool, ascii_only: bool) -> None:
        self._ascii = ascii_only
        self._console = Console(
            file=sys.stderr,
            force_terminal=True,
            color_system="standard" if color else None,
            no_color=not color,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=False,
            legacy_windows=False,
        )
        self._color = color
        self._live: Live | None = None
        self._line = False

    @property
    def full(self) -> bool:
        """Whether the terminal, as it is now, has room for the whole view."""
        columns, lines = terminal_size()
        return columns >= NARROW and lines > MAX_LINES

    def show(self, view: LiveView) -> None:
        """Draw this instead of what is there."""
        columns, lines = terminal_size()
        if not self.full:
            self._end_view()
            room = max(columns - 1, 1)
            sys.stderr.write(f"\r{clean(log_line(view))[:room]}\x1b[K")
            sys.stderr.flush()
            self._line = True
            return
        self._end_line()
        self._console.size = (columns, lines)
        text = self._text(view_lines(view, columns, ascii_only=self._ascii))
        if self._live is None:
            self._live = Live(
                text,
                console=self._console,
                auto_refresh=False,
                redirect_stdout=False,
                redirect_stderr=False,
                vertical_overflow="crop",
            )
            self._live.start()
        self._live.update(text, refresh=True)

    def say(self, text: str) -> None:
        """A line that stays, above what is redrawn."""
        self._end_line()
        text = clean(text)
        if self._live is not None:
            self._console.print(Text(text))
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def close(self, *, keep: bool = True) -> None:
        """The last view stays where it is, or goes; the cursor is shown again. May be called more than once."""
        self._end_line()
        if self._live is not None:
            self._live.transient = not keep
        self._end_view()

    def _end_view(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()

    def _end_line(self) -> None:
        if self._line:
            self._line = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def _text(self, lines: list[Line]) -> Text:
        text = Text(no_wrap=True, overflow="crop", end="")
        for number, line in enumerate(lines):
            text.append("\n" if number else "")
            if not self._color:
                text.append(plain(line))
                continue
            for span in line:
                text.append(span.text, span.style or None)
        return text


def terminal_size() -> os.terminal_size:
    """Columns and lines of the terminal behind stderr; `COLUMNS` and `LINES` win."""
    try:
        own = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):
        own = os.terminal_size((80, 24))
    return shutil.get_terminal_size(own) if os.environ.get("COLUMNS") or os.environ.get("LINES") else own
