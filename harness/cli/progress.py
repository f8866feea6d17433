"""What is seen while a run lasts, from the load child's own lines alone.

On a terminal of 80 columns the live view, on a narrower one a line rewritten in place, else one line each 10 s. A line of
the child is a JSON object with `kind` `interval`, `phase`, `fault`, `note`, `error` or `end`; see `harness.report.live`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from harness.cli.terminal import Terminal
from harness.report.live_text import elapsed_clock, log_line
from harness.report.live_view import LiveModel, LiveRule

EVERY_S = 10.0
REDRAW_S = 0.5
_What = TypeVar("_What")


def read_line(raw: bytes) -> dict[str, Any] | None:
    """One line of the child; None for what is none (a stray print must not end a run)."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and isinstance(value.get("kind"), str) else None


class Progress:
    """Turns the child's lines into what a person or a log sees."""

    def __init__(
        self,
        terminal: Terminal,
        planned_s: float,
        planned_guests: int,
        *,
        name: str = "",
        dialects: Sequence[str] = (),
        where: str = "",
        drain_s: float = 0,
        rules: Sequence[LiveRule] = (),
    ) -> None:
        """`planned_s`: ramp and full load together; `drain_s`: the longest that the end after them may take."""
        self._terminal = terminal
        self.model = LiveModel(
            name=name,
            dialects=dialects,
            where=where,
            planned=planned_guests,
            planned_s=planned_s,
            drain_s=drain_s,
            rules=rules,
        )
        self.error: dict[str, Any] | None = None
        """What the child said last before it gave up, if it did."""
        self.ended: dict[str, Any] | None = None
        self._shown_s = float("-inf")
        self._news_s: float | None = None
        """When something came that is not drawn yet."""
        self._gone = False
        self._screen = None
        if terminal.live and not terminal.quiet:
            from harness.cli.live import Screen  # rich takes a while to load

            self._screen = Screen(color=terminal.live_color, ascii_only=terminal.ascii_only)

    def begin(self, text: str) -> None:
        """The first words; the live view says them itself."""
        if self._screen is None or not self._screen.full:
            self.say(text)

    def take(self, line: Mapping[str, Any], now_s: float) -> None:
        """One line of the child."""
        kind = line["kind"]
        self.model.take(line, now_s)
        if self.model.measured:
            self._news_s = now_s
        if kind == "phase":
            self._event(now_s, f"phase {self.model.phase}")
        elif kind in ("fault", "note"):
            words = [str(line.get(key)) for key in ("name", "text", "what") if line.get(key)]
            text = " ".join([kind, *words, "ended" if line.get("on") is False else ""]).rstrip()
            self._event(now_s, text, always=kind == "note" or "text" in line)
        elif kind == "error":
            self.error = dict(line)
        elif kind == "end":
            self.ended = dict(line)

    def tick(self, now_s: float) -> None:
        """Show how it stands, if it is time to."""
        if self._terminal.quiet or not (self.model.measured or (self._screen is not None and self._screen.full)):
            return
        if now_s - self._shown_s < (REDRAW_S if self._screen is not None else EVERY_S):
            return
        self._shown_s = now_s
        self._show(now_s)

    def notice(self, text: str, now_s: float) -> None:
        """What the user must know now: the last line of the live view, or a line of its own."""
        self.model.notice = text
        if self._screen is not None and self._screen.full:
            self._show(now_s)
        else:
            self.say(text)

    def say(self, text: str) -> None:
        """A line of its own, above what is redrawn."""
        self._write(self._terminal.note if self._screen is None else self._screen.say, text)

    def finish(self) -> None:
        """Draw what came last (losses are known only then), leave no half line behind, and the terminal as it was."""
        if self._screen is not None:
            if self._news_s is not None and self._screen.full:
                self._show(self._news_s)
            screen, keep = self._screen, self.model.measured
            self._write(lambda _: screen.close(keep=keep), None)

    def _show(self, now_s: float) -> None:
        self._news_s = None
        view = self.model.view(now_s)
        if self._screen is not None:
            self._write(self._screen.show, view)
        else:
            self._write(self._terminal.note, log_line(view))

    def _write(self, act: Callable[[_What], None], what: _What) -> None:
        """A terminal that has been closed must not end a run that goes on without it; a reader who has had enough may."""
        if self._gone:
            return
        try:
            act(what)
        except BrokenPipeError:
            raise
        except OSError:
            self._gone = True

    def _event(self, now_s: float, text: str, *, always: bool = False) -> None:
        """Phases and faults are in the live view anyway."""
        if always or self._screen is None or not self._screen.full:
            self.say(f"{elapsed_clock(self.model.elapsed_s(now_s))} {text}")
