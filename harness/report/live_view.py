"""What a screen keeps of a run as it goes on: takes the lines of the load processes, gives the view of any instant. Pure.

Percentiles "now" cover the last 5 s; like all others they are withheld with fewer than ten samples beyond them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeVar

import msgspec
import numpy as np

from harness.journal.records import merge_counts
from harness.metrics.histogram import SIZES, Histogram
from harness.report.figures import at_share
from harness.report.live import DIGITS, MEASURES, WINDOW_S, LiveGenerator, LiveInterval, read_interval
from harness.report.text import clean

CELL_S, CELLS = 3, 20
"""The last minute's cells: length and number."""

_P50, _P90, _P99 = Fraction(1, 2), Fraction(9, 10), Fraction(99, 100)
_OVER = frozenset({"settle", "loss_wait", "leave", "end"})
_SILENT_S = 5.0
Number = TypeVar("Number", int, float)


class LiveRule(msgspec.Struct, frozen=True):
    """A rule of the scenario and how it stands: `text` without the measure where that has a row of its own."""

    text: str
    state: bool | None = None
    """Held so far, broken, or not to be said yet."""
    measure: str = ""


class LiveRow(msgspec.Struct):
    """A measure: milliseconds, and the last minute from its oldest cell on."""

    measure: str
    p50_now: float | None = None
    p99_now: float | None = None
    p50_run: float | None = None
    p99_run: float | None = None
    level: str = ""
    """Which percentile the cells hold: `p90`, or `p50` where there are too few samples for that. Empty: no cell."""
    cells: list[float | None] = []
    usual: float | None = None
    """The same percentile of the whole run."""


class LiveFault(msgspec.Struct):
    """The newest fault of the simulator."""

    letter: str
    name: str
    on: bool
    for_s: float
    """How long it has been on, or over."""
    others: int = 0
    """Faults that are on besides."""


class LiveView(msgspec.Struct):
    """All that a screen shows at one instant."""

    name: str = ""
    dialects: Sequence[str] = ()
    where: str = ""
    phase: str = "starting"
    elapsed_s: float = 0
    left_s: float | None = None
    done: float | None = None
    """Share of what is planned."""
    guests: int | None = None
    states: dict[str, int] | None = None
    planned: int | None = None
    sent: int | None = None
    sent_per_s: float | None = None
    answered_per_s: float | None = None
    failed: int | None = None
    rows: list[LiveRow] = []
    lost: tuple[int, int] | None = None
    duplicated: int | None = None
    reordered: int | None = None
    refused: int | None = None
    disconnected: int | None = None
    generator: LiveGenerator = msgspec.field(default_factory=LiveGenerator)
    word: str = ""
    """The generator's state in one word; empty: not known."""
    journal_error: str = ""
    silent_s: float | None = None
    """For how long nothing was heard, once that is too long."""
    fault: LiveFault | None = None
    notice: str = ""
    rules: Sequence[LiveRule] = ()


class _Cells:
    """Histograms of one measure: of the run, of the last 5 s, and of each cell of the last minute."""

    def __init__(self) -> None:
        self.run = Histogram(DIGITS)
        self._recent: deque[tuple[float, list[int]]] = deque()
        self._cells: dict[int, Histogram] = {}

    def add(self, at_s: float, flat: list[int]) -> None:
        self._recent.append((at_s, flat))
        cell = int(max(at_s - 1e-6, 0) // CELL_S)
        _add(self.run, flat)
        _add(self._cells.setdefault(cell, Histogram(DIGITS)), flat)
        for old in [number for number in self._cells if number < cell - 2 * CELLS]:
            del self._cells[old]

    def row(self, measure: str, at_s: float) -> LiveRow:
        while self._recent and self._recent[0][0] <= at_s - WINDOW_S:
            self._recent.popleft()
        now = Histogram(DIGITS)
        for _, flat in self._recent:
            _add(now, flat)
        run = self.run
        row = LiveRow(measure, at_share(now, _P50), at_share(now, _P99), at_share(run, _P50), at_share(run, _P99))
        in_cell = run.count * CELL_S / max(at_s, CELL_S)
        share, row.level = (_P90, "p90") if in_cell >= 200 else (_P50, "p50")  # twice what one cell needs, so that it stays
        last = int(max(at_s - 1e-6, 0) // CELL_S)
        cells = (self._cells.get(number) for number in range(last - CELLS + 1, last + 1))
        row.cells = [at_share(cell, share) if cell is not None else None for cell in cells]
        row.usual = at_share(run, share)
        if all(cell is None for cell in row.cells):
            row.level, row.cells = "", []
        return row


def _add(histogram: Histogram, flat: list[int]) -> None:
    pairs = np.array(flat[: len(flat) // 2 * 2], dtype=np.int64).reshape(-1, 2)
    pairs = pairs[(pairs[:, 0] >= 0) & (pairs[:, 0] < SIZES[DIGITS]) & (pairs[:, 1] > 0)]
    np.add.at(histogram.counts, pairs[:, 0], pairs[:, 1])
    histogram.count += int(pairs[:, 1].sum())


class LiveModel:
    """Takes the lines of the load processes and gives the view of any instant. Instants are seconds of the caller's clock."""

    def __init__(
        self,
        *,
        name: str = "",
        dialects: Sequence[str] = (),
        where: str = "",
        planned: int | None = None,
        planned_s: float | None = None,
        drain_s: float = 0,
        rules: Sequence[LiveRule] = (),
    ) -> None:
        """`planned_s` is the load's length, `drain_s` the longest that the end after it may take."""
        self._name, self._where = clean(name), clean(where)
        self._dialects = [clean(dialect) for dialect in dialects]
        self._planned, self._planned_s, self._drain_s = planned, planned_s, drain_s
        self.rules: Sequence[LiveRule] = rules
        self.notice = ""
        self.phase = "starting"
        self.began_s: float | None = None
        self._drain_began_s: float | None = None
        self._newest: dict[str, tuple[float, LiveInterval]] = {}
        self._measures: dict[str, _Cells] = {}
        self._at_s = 0.0
        self._gap_s = 0.0
        self._faults: dict[str, tuple[str, float]] = {}
        self._ended: tuple[str, str, float] | None = None
        self._onsets = 0
        self._rows: list[LiveRow] | None = None

    @property
    def measured(self) -> bool:
        """Whether any interval has come."""
        return bool(self._newest)

    def take(self, line: Mapping[str, Any], now_s: float) -> None:
        """One line; of a kind that says nothing here it is ignored."""
        kind = line.get("kind")
        if kind == "interval":
            self._interval(read_interval(line), now_s)
        elif kind == "phase":
            self._enter(clean(str(line.get("phase") or line.get("name") or "-")), now_s)
        elif kind == "rules":
            states = line.get("states")
            if isinstance(states, list) and len(states) == len(self.rules):
                known = [state if isinstance(state, bool) else None for state in states]
                self.rules = [msgspec.structs.replace(rule, state=state) for rule, state in zip(self.rules, known, strict=True)]
        elif kind == "fault" and not line.get("text"):
            self._fault(clean(str(line.get("name") or "-")), line.get("on") is not False, now_s)

    def _interval(self, interval: LiveInterval, now_s: float) -> None:
        if self.began_s is None:
            self.began_s = now_s
        if interval.phase and interval.phase != self.phase:
            self._enter(clean(interval.phase), now_s)
        at_s = interval.at_s if interval.at_s is not None else now_s - self.began_s
        self._at_s = max(self._at_s, at_s)
        before = self._newest.get(interval.worker)
        if before is not None:
            self._gap_s = now_s - before[0]
        self._newest[interval.worker] = (now_s, interval)
        for measure, flat in interval.hist.items():
            if measure in MEASURES:
                self._measures.setdefault(measure, _Cells()).add(at_s, flat)
        self._rows = None

    def _enter(self, phase: str, now_s: float) -> None:
        self.phase = phase
        if self.began_s is None and phase in ("ramp", "load"):
            self.began_s = now_s
        if self._drain_began_s is None and phase in _OVER:
            self._drain_began_s = now_s

    def _fault(self, name: str, on: bool, now_s: float) -> None:
        if on and name not in self._faults:
            letter = chr(ord("a") + self._onsets % 26)
            self._onsets += 1
            self._faults[name] = (letter, now_s)
        elif not on and name in self._faults:
            self._ended = (self._faults.pop(name)[0], name, now_s)

    def elapsed_s(self, now_s: float) -> float:
        """Since the load's begin."""
        return 0.0 if self.began_s is None else max(0.0, now_s - self.began_s)

    def view(self, now_s: float) -> LiveView:
        """What there is to show at `now_s`."""
        lines = [line for _, line in self._newest.values()]
        left_s, done = self._progress(now_s)
        states = _states(lines)
        generator, word = _judged(lines)
        if self._rows is None:
            self._rows = self._measured(lines)
        quiet_s = now_s - max((came for came, _ in self._newest.values()), default=now_s)
        known = [line.planned for line in lines if line.planned is not None]
        lost = [line.lost for line in lines if line.lost is not None]
        return LiveView(
            self._name,
            self._dialects,
            self._where,
            self.phase,
            self.elapsed_s(now_s),
            left_s,
            done,
            _total(lines),
            states,
            self._planned if self._planned is not None else sum(known) if known else None,
            _sum(line.sent for line in lines),
            _sum(line.sent_per_s for line in lines),
            _sum(line.answered_per_s for line in lines),
            _sum(line.failed for line in lines),
            self._rows,
            (sum(low for low, _ in lost), sum(high for _, high in lost)) if lost else None,
            _sum(line.duplicated for line in lines),
            _sum(line.reordered for line in lines),
            _sum(line.refused for line in lines),
            _sum(line.disconnected for line in lines),
            generator,
            word,
            next((clean(line.journal_error) for line in lines if line.journal_error), ""),
            quiet_s if quiet_s > max(_SILENT_S, 3 * self._gap_s) else None,
            self._shown_fault(now_s),
            self.notice,
            self.rules,
        )

    def _measured(self, lines: Sequence[LiveInterval]) -> list[LiveRow]:
        rows = []
        for measure in MEASURES:
            if measure in self._measures:
                rows.append(self._measures[measure].row(measure, self._at_s))
                continue
            row = LiveRow(measure)
            if len(lines) == 1:  # a percentile cannot be added up
                row.p50_now, row.p99_now = lines[0].p50_ms.get(measure), lines[0].p99_ms.get(measure)
            rows.append(row)
        return rows

    def _progress(self, now_s: float) -> tuple[float | None, float | None]:
        """Time left, and the share of the planned time that has gone: of the load, and after it of its end."""
        told = [(came, line.left_s) for came, line in self._newest.values() if line.left_s is not None]
        begin, whole = self.began_s, self._planned_s
        if self._drain_began_s is not None:
            begin, whole = self._drain_began_s, self._drain_s
        gone = None if begin is None else max(0.0, now_s - begin)
        if told and self._drain_began_s is None:
            left: float | None = max(0.0, max(left_s - (now_s - came) for came, left_s in told))
            if gone is not None and left is not None:
                whole = gone + left
        else:
            left = None if gone is None or whole is None else max(0.0, whole - gone)
        if self.phase == "end":
            left = 0.0
        done = None if left is None or not whole else min(1.0, max(0.0, 1 - left / whole))
        return left, done

    def _shown_fault(self, now_s: float) -> LiveFault | None:
        if self._faults:
            name, (letter, since_s) = max(self._faults.items(), key=lambda item: item[1][1])
            return LiveFault(letter, name, True, now_s - since_s, len(self._faults) - 1)
        if self._ended is not None:
            letter, name, ended_s = self._ended
            return LiveFault(letter, name, False, now_s - ended_s)
        return None


def _sum(values: Iterable[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _total(lines: Sequence[LiveInterval]) -> int | None:
    """Guests there are, by whichever way they were told."""
    return _sum(
        sum(number for state, number in line.guests.items() if state != "finished")
        if isinstance(line.guests, dict)
        else line.guests
        for line in lines
    )


def _states(lines: Sequence[LiveInterval]) -> dict[str, int] | None:
    """Guests by state; None unless every worker says so much."""
    states: dict[str, int] = {}
    for line in lines:
        if not isinstance(line.guests, dict):
            return None
        merge_counts(states, line.guests)
    return states if lines else None


def _judged(lines: Sequence[LiveInterval]) -> tuple[LiveGenerator, str]:
    """The worst of all workers, and a word for it."""
    told = [line.generator for line in lines if isinstance(line.generator, LiveGenerator)]
    words = [clean(line.generator) for line in lines if isinstance(line.generator, str)]
    delays = [one.send_delay_p99_ms for one in told if one.send_delay_p99_ms is not None]
    loops = [one.loop_busy for one in told if one.loop_busy is not None]
    oks = [one.ok for one in told] + [word in ("ok", "busy") for word in words]
    worst = LiveGenerator(
        False if False in oks else None if None in oks or not oks else True,
        max(delays, default=None),
        next((one.send_delay_limit_ms for one in told if one.send_delay_limit_ms is not None), None),
        max(loops, default=None),
        next((one.loop_busy_limit for one in told if one.loop_busy_limit is not None), None),
        list(dict.fromkeys(clean(text) for one in told for text in one.warn)),
    )
    if any(line.journal_error for line in lines):
        return worst, "journal"
    if words and not told:
        return worst, next((word for word in words if word != "ok"), "ok")
    if _beyond(worst.send_delay_p99_ms, worst.send_delay_limit_ms):
        return worst, "late"
    if _beyond(worst.loop_busy, worst.loop_busy_limit):
        return worst, "saturated"
    return worst, {True: "ok", False: "bad", None: ""}[worst.ok]


def _beyond(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value > limit
