"""What is seen while a run lasts, from the load child's own lines alone: one line each 10 s, or one line redrawn in place.

A line of the child is a JSON object with `kind` `interval`, `phase`, `fault`, `note`, `error` or `end`. Every field is
optional; what is not known is shown as `-`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from harness.cli.terminal import Terminal

EVERY_S = 10.0


def read_line(raw: bytes) -> dict[str, Any] | None:
    """One line of the child; None for what is none (a stray print must not end a run)."""
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    return value if isinstance(value, dict) and isinstance(value.get("kind"), str) else None


def clock(seconds: float | None) -> str:
    """`2:14`, or `1:02:14` past an hour."""
    if seconds is None:
        return "-"
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def elapsed_clock(seconds: float) -> str:
    """`03:46`, so that lines stay in columns."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes:02}:{rest:02}"


def _whole(value: object, unit: str = "") -> str:
    return f"{round(value)}{unit}" if isinstance(value, (int, float)) and not isinstance(value, bool) else "-"


def _bounds(value: object) -> str:
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return str(value[0]) if value[0] == value[1] else f"{value[0]}-{value[1]}"
    return _whole(value)


def interval_line(state: Mapping[str, Any], elapsed_s: float, phase: str, left_s: float | None) -> str:
    """Fixed order, greppable: `03:46 load guests=600/600 sent=238/s … left=2:14`."""
    parts = [
        elapsed_clock(elapsed_s),
        phase,
        f"guests={_whole(state.get('guests'))}/{_whole(state.get('planned'))}",
        f"sent={_whole(state.get('sent_per_s'), '/s')}",
    ]
    p50, p99 = _table(state.get("p50_ms")), _table(state.get("p99_ms"))
    for measure in ("echo", "ack", "reply"):
        if measure in p50 or measure in p99:
            parts += [f"{measure}_p50={_whole(p50.get(measure), 'ms')}", f"{measure}_p99={_whole(p99.get(measure), 'ms')}"]
    parts += [
        f"failed={_whole(state.get('failed'))}",
        f"lost={_bounds(state.get('lost'))}",
        f"generator={state.get('generator') or '-'}",
        f"left={clock(left_s)}",
    ]
    return " ".join(parts)


def _table(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


class Progress:
    """Turns the child's lines into what a person or a log sees."""

    def __init__(self, terminal: Terminal, planned_s: float, planned_guests: int) -> None:
        self._terminal, self._planned_s = terminal, planned_s
        self._state: dict[str, Any] = {"planned": planned_guests}
        self.phase = "starting"
        self.error: dict[str, Any] | None = None
        """What the child said last before it gave up, if it did."""
        self.ended: dict[str, Any] | None = None
        self._began_s: float | None = None
        self._shown_s = -EVERY_S
        self._drawn = self._measured = False

    def take(self, line: Mapping[str, Any], now_s: float) -> None:
        """One line of the child."""
        kind = line["kind"]
        if kind == "interval":
            self._state.update(line)
            self._measured = True
            self._began_s = now_s if self._began_s is None else self._began_s
        elif kind == "phase":
            self.phase = str(line.get("phase") or line.get("name") or "-")
            if self.phase in ("ramp", "load") and self._began_s is None:
                self._began_s = now_s
            self._event(now_s, f"phase {self.phase}")
        elif kind in ("fault", "note"):
            words = [str(line.get(key)) for key in ("name", "text", "what") if line.get(key)]
            self._event(now_s, " ".join([kind, *words, "ended" if line.get("on") is False else ""]).rstrip())
        elif kind == "error":
            self.error = dict(line)
        elif kind == "end":
            self.ended = dict(line)

    def tick(self, now_s: float) -> None:
        """Show how it stands, if it is time to."""
        if self._terminal.quiet or self._began_s is None or not self._measured:
            return
        every = 0.5 if self._terminal.live else EVERY_S
        if now_s - self._shown_s < every:
            return
        self._shown_s = now_s
        line = interval_line(self._state, now_s - self._began_s, self.phase, self._left(now_s))
        if self._terminal.live:
            sys.stderr.write(f"\r{line[: max(self._terminal.width - 1, 1)]}\x1b[K")
            sys.stderr.flush()
            self._drawn = True
        else:
            self._terminal.note(line)

    def say(self, text: str) -> None:
        """A line of its own, above the one that is redrawn."""
        self.finish()
        self._terminal.note(text)

    def finish(self) -> None:
        """Leave no half line behind."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._drawn = False

    def _event(self, now_s: float, text: str) -> None:
        self.say(f"{elapsed_clock(now_s - self._began_s if self._began_s is not None else 0)} {text}")

    def _left(self, now_s: float) -> float | None:
        return None if self._began_s is None else max(0.0, self._planned_s - (now_s - self._began_s))
