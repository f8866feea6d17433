"""Everything that the order of one stream's arrivals says: RFC 4737 and RFC 5236 over one sample, in one pass.

Stretches that come as they should are only counted, and told to the modules at the next disturbance; so a message in order
costs an addition. What is kept as rows is handed to `sink` before it grows.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from harness.metrics.density import BufferDensity, ReorderDensity
from harness.metrics.overtaken import Overtaken
from harness.metrics.reorder import ENDLESS, Jump, Order, Reordered

MOST_ROWS = 1024
"""Rows of one stream kept before they are handed on."""
MOST_UNDECIDED = 65_536
"""Reordering discontinuities that wait for an earlier one to be found, while some number is missing. Beyond that the older
half is taken as final, and one that is found before them after all has the gap 0."""


class Params(msgspec.Struct, frozen=True):
    """What every result is published with."""

    wait_ns: int = 60_000_000_000
    """dT: a copy later than this is no receipt."""
    displacement: int = 64
    """DT, RFC 5236's threshold in messages."""
    buffer: int = 64
    """BT, the receiver's buffer in messages."""
    n_max: int = 3
    delta: int = 5
    """RFC 3357's distance up to which a loss is noticeable."""
    joined: bool = False
    """Streams were not watched from their start: the first arrival is in order whatever its number."""


class Rows(msgspec.Struct):
    """What happened to the order of a stream, event by event."""

    reordered: list[Reordered] = []
    jumps: list[Jump] = []
    free_runs: list[int] = []
    discontinuities: list[int] = []
    """Reordering discontinuities (§4.5.3), by position."""
    gaps: list[int] = []
    gap_times_ns: list[int] = []


class Places(msgspec.Struct):
    """The counts behind the ratios. Adding up is merging."""

    length: int = 0
    """L: the sample's size."""
    reordered: int = 0
    squares: int = 0
    """q: sum of squares of the closed reordering-free runs."""
    open_run: int = 0
    """Arrivals in order since the last reordered one."""
    jumps: int = 0
    skipped: int = 0
    """Numbers missing at those jumps."""
    steps: dict[int, int] = {}
    """n-reordered arrivals by n."""
    displacements: dict[int, int] = {}
    """FD."""
    held: dict[int, int] = {}
    """FB."""

    def add(self, other: Places) -> None:
        """Pool with another stream's."""
        for name in ("length", "reordered", "squares", "open_run", "jumps", "skipped"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in (
            (self.steps, other.steps),
            (self.displacements, other.displacements),
            (self.held, other.held),
        ):
            for key, count in theirs.items():
                mine[key] = mine.get(key, 0) + count


class Ordering:
    """One sample: first copies that came by push, numbered, in arrival order. Tell it of each number once."""

    __slots__ = (
        "_buffer",
        "_bytes",
        "_density",
        "_events",
        "_free",
        "_openers",
        "_order",
        "_overtaken",
        "_params",
        "_previous",
        "_run",
        "_sink",
        "_steps",
        "_undecided",
        "due",
        "places",
        "rows",
    )

    def __init__(self, params: Params, sink: Callable[[Rows], None] | None = None, *, sized: bool = True) -> None:
        """`sink` takes rows from time to time (None: all are kept). `sized`: payload sizes are known."""
        self._params = params
        self._sink = sink
        self._order = Order(joined=params.joined)
        self._density = ReorderDensity(params.displacement)
        self._buffer: BufferDensity | None = None if params.joined else BufferDensity(params.buffer)
        self._overtaken = Overtaken() if sized else None
        self._run = self._bytes = 0
        """Arrivals in order that the modules have not been told of yet, and their sizes."""
        self._steps = [0] * (params.n_max + 1)
        """Reordered arrivals by n, the last place for all above; who is 3-reordered is 2-reordered as well (§5.3)."""
        self._free = 0
        """Length of the current reordering-free run, without `_run`."""
        self._openers: dict[int, tuple[int, int]] = {}
        """Reordering discontinuities by position, as long as an earlier one can still be found: number and time."""
        self._previous: tuple[int, int] | None = None
        """Position and time of the last one that is final."""
        self._events = 0
        """Rows since some were handed on."""
        self._undecided = MOST_ROWS
        """With so many openers it is worth a look which of them are final."""
        self.due = self._order.expected
        """The number that would be in order next (NextExp)."""
        self.rows = Rows()
        self.places = Places()

    def pushed(self, seq: int, at: int, size: int = 0) -> None:
        """The first copy of a message came by push."""
        if seq == self.due:
            self.due += 1
            self._run += 1
            self._bytes += size
            return
        if self._run:
            self._tell()
        if self._buffer is None:
            self._buffer = BufferDensity(self._params.buffer, seq)
            if self._overtaken is not None:
                self._overtaken.opened(-ENDLESS, seq - 1)
        due = self._order.expected or seq
        event = self._order.pushed(seq, at)
        self._density.take(seq)
        self._buffer.push(seq)
        if isinstance(event, Reordered):
            self._reordered(event, at, size)
        else:
            self._free += 1
            if self._overtaken is not None:
                if seq > due:
                    self._overtaken.opened(due, seq - 1)
                self._overtaken.came(size)
            if event is not None:
                self.rows.jumps.append(event)
                self.places.jumps += 1
                self.places.skipped += event.missing
        self.due = self._order.expected
        if event is not None and self._sink is not None:
            self._events += 1
            if self._events >= MOST_ROWS:
                self._hand_on(self._sink)

    def straight(self, count: int, size: int = 0) -> None:
        """So many numbers came by push one after another, the first of them being `due`; `size` is their sizes' sum."""
        self.due += count
        self._run += count
        self._bytes += size

    def resynced(self, seq: int) -> None:
        """The first copy of a message came by a listing: it fills its hole, and is not in the sample."""
        self._tell()
        self._order.resynced(seq)
        if self._buffer is not None:
            self._buffer.fill(seq)

    def close(self) -> None:
        """Nothing more will come: `places` and the last `rows` are complete."""
        self._tell()
        self._density.finish()
        self._discontinue(None)
        places = self.places
        places.length, places.open_run = self._order.length, self._free
        for n in range(1, len(self._steps)):
            count = sum(self._steps[n:])
            if count:
                places.steps[n] = count
        places.displacements = self._density.counts
        places.held = self._buffer.counts if self._buffer is not None else {}
        if self._sink is not None:
            self._sink(self.rows)
            self.rows = Rows()

    def _tell(self) -> None:
        """Tell the modules of the stretch in order."""
        run = self._run
        if not run:
            return
        first = self._order.expected
        self._order.advance(run)
        self._density.advance(first, run)
        if self._buffer is not None:
            self._buffer.advance(first, run)
        if self._overtaken is not None:
            self._overtaken.came(self._bytes)
        self._free += run
        self._run = self._bytes = 0

    def _reordered(self, event: Reordered, at: int, size: int) -> None:
        places, rows = self.places, self.rows
        if self._overtaken is not None:
            event.byte_offset = self._overtaken.fill(event.seq, size)
        rows.reordered.append(event)
        free = self._free
        rows.free_runs.append(free)
        places.reordered += 1
        if free:
            places.squares += free * free
            self._free = 0
        if event.n:
            self._steps[min(event.n, self._params.n_max)] += 1
        position = event.position - event.extent
        if position not in self._openers:
            self._openers[position] = (event.discontinuity, at - event.late_ns)

    def _hand_on(self, sink: Callable[[Rows], None]) -> None:
        openers = self._openers
        if len(openers) >= self._undecided:
            self._discontinue(self._order.first_open)
            if len(openers) > MOST_UNDECIDED:
                self._discontinue(sorted(openers)[len(openers) // 2])
            self._undecided = min(MOST_UNDECIDED, max(MOST_ROWS, 2 * len(openers)))
        sink(self.rows)
        self.rows = Rows()
        self._events = 0

    def _discontinue(self, before: int | None) -> None:
        """List the reordering discontinuities at positions below that: no earlier one can be found any more."""
        openers, rows = self._openers, self.rows
        for position in sorted(openers if before is None else [p for p in openers if p < before]):
            seq, at = openers.pop(position)
            last_position, last_at = self._previous or (position, at)
            rows.discontinuities.append(seq)
            rows.gaps.append(max(0, position - last_position))
            rows.gap_times_ns.append(at - last_at if position > last_position else 0)
            if position >= last_position:
                self._previous = (position, at)
