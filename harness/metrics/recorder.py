"""The one observer of a worker: writes rows to the journal's buffer and folds them into the interval at once.

`refold` runs the same code over rows read back, so recording and recomputing cannot differ. For that, nothing here asks a
clock: every decision depends on the rows, in their order, and on the instants at which intervals were closed.

What is kept of rows (`rows`): `all`; `anomalies`, that is every row that is not plain (see `_KEPT`), and everything about a
conversation from its first such row on; `none`. Past `max_bytes` of journal, `all` falls to `anomalies`, past twice that to
`none`; interval records are always written. Each interval says what was in force and how many rows were not kept.

For Little's law (`metrics.little`) each interval's health says how many guests and messages were under way, and for how long.

Memory: lists of one interval's values; per conversation the state of its two streams, until `linger_ns` after its end (copies
may still come over a socket that is being closed); per guest slot one small entry. Names that a server has a say in are capped.
"""

from __future__ import annotations

import traceback
from collections import defaultdict, deque
from collections.abc import Callable, Mapping

import msgspec

from harness.core import ops
from harness.journal.codec import INTERVAL, ROWS, array_of, chunk
from harness.journal.records import (
    HEALTH,
    LAG,
    MAX_EXAMPLES,
    MAX_NAMES,
    OTHER,
    ClockSpan,
    Example,
    Interval,
    SparseHistogram,
)
from harness.metrics.books import Books
from harness.metrics.clock import Tally, cells_of
from harness.metrics.duplicates import FIRST_PUSH, FIRST_RESYNC, OVERLAP
from harness.metrics.little import GUESTS, MESSAGES, REPLIES, Stock
from harness.metrics.reorder import Jump
from harness.metrics.values import Values

CHUNK_BYTES = 256 * 1024
LINGER_NS = 30_000_000_000
LOSS_WAIT_NS = 60_000_000_000
MAX_JOURNAL = 2 << 30
_HERE = frozenset({"chatting", "reconnecting", "rest_only"})
"""States in which a guest thinks, speaks and waits for answers."""

_LOSSES = ("lost.definite", "lost.unread", "undetermined", "unlisted", "unproven")
_EXPECTED = frozenset({FIRST_PUSH, FIRST_RESYNC, OVERLAP})
_KEPT = """
Not plain, hence kept under `anomalies`: a sample or a message that is not `ok`; a further attempt; a copy of another class
than `first_push`, `first_resync` and `resync_overlap`, or reordered, or of a message thought refused or unknown; a jump in
an agent's numbers; a socket whose end the guest did not begin; every refusal; an end that is incomplete or has a cause;
every note.
"""


class Recorder:
    """Takes every row of one worker process; `close_interval` gives and journals what came since the last.

    `emit` gets whole chunks (`JournalWriter.write`); None: nothing is written. The shell may set `poll_return_ns` at each
    turn of its loop to the instant at which the poll *before* the current turn returned: no message read now can have
    arrived earlier than that.
    """

    def __init__(
        self,
        run: str,
        worker: str,
        emit: Callable[[bytes], object] | None = None,
        *,
        start_ns: int = 0,
        rows: str = "all",
        max_bytes: int = MAX_JOURNAL,
        linger_ns: int = LINGER_NS,
        loss_wait_ns: int = LOSS_WAIT_NS,
        first_index: int = 0,
    ) -> None:
        """`first_index`: of the first interval, where a worker goes on with a journal that it, or one before it, began."""
        self.run, self.worker = run, worker
        self.poll_return_ns = 0
        self.fault = ""
        """Traceback of the last row that could not be taken: a defect of ours, counted as `noted|recorder.fault`."""
        self.rows = rows
        self._emit = emit
        self._max_bytes = max_bytes
        self._linger_ns, self._loss_wait_ns = linger_ns, loss_wait_ns
        self._encoder = msgspec.msgpack.Encoder()
        self._buffer = bytearray()
        self._buffered = 0
        self._chunks = 0
        self._bytes = 0
        self._index = first_index
        self._t0_ns = start_ns
        self._labels: dict[str, Books] = {}
        self._slots: dict[str, tuple[int, int]] = {}
        """Slot -> newest conversation, newest whose books are closed."""
        self._ending: deque[tuple[int, str]] = deque()
        self._names: dict[str, dict[str, str]] = {}
        self._values = Values()
        self._series = self._values.series
        self._clocks: dict[str, tuple[Tally, list[int]]] = {}
        """By source: its evidence, and how late each agent's message came by its stamp, both clocks as they are."""
        self._stocks = {name: Stock(ages=name != GUESTS) for name in (GUESTS, MESSAGES, REPLIES)}
        self._guests, self._in_flight, self._awaited = (self._stocks[name] for name in (GUESTS, MESSAGES, REPLIES))
        self._via: dict[str, str] = {}
        """Counter of the messages that were settled so."""
        self._begin()
        self._take: dict[type, Callable[..., bool]] = {
            ops.Sample: self._sample,
            ops.Arrived: self._arrived,
            ops.Invoked: self._invoked,
            ops.Closed: self._closed,
            ops.Connection: self._connection,
            ops.Refused: self._refused,
            ops.Ended: self._ended,
            ops.State: self._state,
            ops.Noted: self._noted,
            ops.Clocked: self._clocked,
        }

    def _begin(self) -> None:
        self._counts: defaultdict[str, int] = defaultdict(int)
        # What nearly every row adds to is kept apart: a number is cheaper than a counter found by its name
        self._attempts = self._invoked_once = self._settled = 0
        self._straight_g = self._straight_a = 0
        """Arrivals that were the first copy of the next message, by push: what nearly all are."""
        self._awaited_begins: list[int] = []
        self._awaited_ends: list[int] = []
        """Messages that are not waited for any more: when they got under way, and when that ended."""
        self._begun = self._begun_at = 0
        """Messages that got under way, and the sum of the instants."""
        self._gauges: defaultdict[str, int] = defaultdict(int)
        self._examples: dict[str, list[Example]] = {}
        self._suppressed = 0

    # ---------------------------------------------------------------- taking rows
    def record(self, row: ops.Row) -> None:
        """Take one row. Never raises, never blocks."""
        try:
            plain = self._take[type(row)](row)
            if self._emit is None:
                return
            if self.rows != "all" and (self.rows == "none" or not self._worth_keeping(row, plain)):
                self._suppressed += 1
                return
            mark = len(self._buffer)
            if mark >= CHUNK_BYTES:
                self._flush()
                mark = 0
            try:
                self._encoder.encode_into(row, self._buffer, -1)
            except UnicodeEncodeError:  # half of a surrogate pair: some JSON parsers let it pass
                del self._buffer[mark:]
                self._encoder.encode_into(_scrubbed(row), self._buffer, -1)
            self._buffered += 1
        except Exception:
            self._counts["noted|recorder.fault"] += 1
            self.fault = traceback.format_exc(limit=4)

    def _worth_keeping(self, row: ops.Row, plain: bool) -> bool:
        books = self._labels.get(row.label)
        if not plain:
            if books:
                books.marked = True
            return True
        return books is not None and books.marked

    def _flush(self) -> None:
        if self._buffered:
            payload = array_of(self._buffered, self._buffer)
            self._buffer, self._buffered = bytearray(), 0
            self._write(ROWS, payload)

    def _write(self, kind: int, payload: bytes) -> None:
        if self._emit is None:
            return
        self._chunks += 1
        data = chunk(kind, self._chunks, payload)
        self._bytes += len(data)
        self._emit(data)
        if self.rows == "all" and self._bytes > self._max_bytes:
            self.rows = "anomalies"
        if self.rows == "anomalies" and self._bytes > 2 * self._max_bytes:
            self.rows = "none"

    def _sample(self, row: ops.Sample) -> bool:
        measure, outcome, start, end = row.measure, row.outcome, row.start_ns, row.end_ns
        aside, service, put_service, put_response, blocked, lows, reply, _ = self._series.get(
            (measure, outcome)
        ) or self._values.new_series(measure, outcome)
        if aside:
            return outcome == "ok"
        free, intended = row.free_ns, row.intended_ns
        if free > intended:
            blocked[len(service)] = free - intended
        put_service(end - start)
        if put_response is not None:
            put_response(end - intended)
        if lows is not None:
            earliest = row.earliest_ns
            if not earliest:
                earliest = row.earliest_ns = self.poll_return_ns
            if earliest:
                low = (earliest if earliest < end else end) - start
                if low < 0:
                    low = 0
                lows[0](low)
                lows[1](low + free - intended if free > intended else low)
        if reply:  # the message is not waited for any more, answered or not
            books, ref = self._labels.get(row.label), row.ref
            began = books.asked.pop(int(ref), None) if books is not None and ref.isdecimal() else None
            if began is not None:
                self._awaited_ends.append(end)
                self._awaited_begins.append(began)
                if start < began:  # sent before it was invoked: some clock is wrong
                    self._awaited.took(began - start, 0)
        if row.endpoint:
            self._counts[f"requests|{self._endpoint(row.endpoint)}|{outcome}"] += 1
        if outcome == "ok":
            return True
        self._counts[f"failed|{measure}|{outcome}|{self._name('cause', row.cause)}"] += 1
        return False

    def _invoked(self, row: ops.Invoked) -> bool:
        at, seq = row.at_ns, row.seq
        books = self._labels.get(row.label) or self._open(row.label, at, ours=True)
        self._attempts += 1
        first = row.attempt == 1
        if first:
            self._invoked_once += 1
        if books is not None:
            books.guest.invoke(seq, at)
            if first and seq not in books.open and seq not in books.asked:
                books.open[seq] = books.asked[seq] = at
                self._begun += 1
                self._begun_at += at
        return first

    def _closed(self, row: ops.Closed) -> bool:
        outcome, seq, at = row.outcome, row.seq, row.at_ns
        self._settled += 1
        ok = outcome == "ok"
        if ok:
            self._counts[self._via.get(row.via) or self._via_of(row.via)] += 1
        else:
            self._counts[f"messages|{outcome}"] += 1
            self._counts[f"messages.failed|{outcome}|{self._name('cause', row.cause)}"] += 1
        books = self._labels.get(row.label)
        if books is not None:
            stream = books.guest
            stream.close(seq, outcome)
            began = books.open.pop(seq, None)
            if began is not None:
                sent = row.sent_ns
                self._in_flight.ended(at, began)
                if 0 < sent < began:
                    self._in_flight.took(began - sent, 0)
            if outcome == "fail" and seq in books.asked:  # nobody waits for an answer to what was not taken
                began = books.asked.pop(seq)
                self._awaited.ended(at, began)
            if stream.oddity:
                self._odd(stream.oddity, at, row.label, seq)
        return ok

    def _via_of(self, via: str) -> str:
        counter = self._via[via] = "messages.via|" + self._name("via", via)
        return counter

    def _arrived(self, row: ops.Arrived) -> bool:
        label = row.label
        books = self._labels.get(label)
        if books is None or books.ended_at:
            return self._sorted(row, row.direction, books)
        if row.direction == "a":
            if not books.agent.straight(row.seq, row.at_ns, row.channel, row.epoch, row.mid):
                return self._sorted(row, "a", books)
            self._straight_a += 1
            if row.server_ns:
                self._stamped(row).append(row.at_ns - row.server_ns)
            if row.re:
                books.guest.proven(row.re)
            return True
        stream = books.guest
        if not stream.straight(row.seq, row.at_ns, row.channel, row.epoch, row.mid):
            return self._sorted(row, row.direction, books)
        self._straight_g += 1
        if row.server_ns:
            self._stamped(row)
        if ":" not in row.via:  # in an answer to a request: no mere echo, the server holds it
            stream.proven(row.seq)
        if stream.waited_ns > self._loss_wait_ns:
            self._counts["late|g"] += 1
            return False
        return True

    def _sorted(self, row: ops.Arrived, direction: str, books: Books | None) -> bool:
        """Any other copy than the first of the next message, by push."""
        label, at, counts = row.label, row.at_ns, self._counts
        lags = self._stamped(row) if row.server_ns else None
        if books is None:
            books = self._open(label, at, ours=False)
        if books is None or (books.ended_at and at > books.ended_at + self._linger_ns):
            counts[f"after_end|{direction}"] += 1
            return False
        own = direction == "g"
        stream = books.guest if own else books.agent
        order = stream.order
        missing = order.missing
        kind = stream.arrive(row.seq, at, row.channel, row.epoch, row.mid)
        counts[f"copies|{direction}|{kind}"] += 1
        if lags is not None and not own and kind == FIRST_PUSH:
            lags.append(at - row.server_ns)
        if own:
            if ":" not in row.via:
                stream.proven(row.seq)
        elif row.re:
            books.guest.proven(row.re)
        if stream.pushes:
            counts[f"push.copies|{direction}"] += 1
            if stream.pushes == 1:
                counts[f"push.messages|{direction}"] += 1
            elif stream.pushes == 2:
                counts[f"push.replicated|{direction}"] += 1
        if not own and order.missing != missing:
            self._gauges["open|gaps"] += order.missing - missing
        plain = kind in _EXPECTED
        if not plain:
            self._example(kind, at, label, direction, row.seq)
        if stream.waited_ns > self._loss_wait_ns and kind == FIRST_PUSH:
            counts[f"late|{direction}"] += 1
            plain = False
        if stream.oddity:
            self._odd(stream.oddity, at, label, row.seq)
            plain = False
        event = stream.event
        if event is not None:
            if isinstance(event, Jump):
                counts[f"discontinuities|{direction}"] += 1
                counts[f"skipped|{direction}"] += event.missing
            else:
                counts[f"reordered|{direction}"] += 1
                self._values.named(f"reorder.late|{direction}|time").append(event.late_ns)
                self._values.named(f"reorder.extent|{direction}|positions").append(event.extent)
                self._example("reordered", at, label, direction, row.seq)
            plain = False
        return plain

    def _stamped(self, row: ops.Arrived) -> list[int]:
        """The stamp as evidence of the server's clock; gives the list for what came late."""
        source = self._clocks.get(row.clock)
        if source is None:
            source = self._source(row.clock or "message")
        source[0].take(row.sent_ns, row.server_ns, row.at_ns)
        return source[1]

    def _clocked(self, row: ops.Clocked) -> bool:
        self._source(row.source)[0].take(row.sent_ns, row.server_ns, row.at_ns, row.grain_ns)
        return True

    def _source(self, name: str) -> tuple[Tally, list[int]]:
        name = self._name("clock", name)
        return self._clocks.setdefault(name, (Tally(), []))

    def _connection(self, row: ops.Connection) -> bool:
        counts = self._counts
        begun = self._name("begun", row.begun)
        counts["connections|ended"] += 1
        counts[f"connections.ended|{begun}|{self._name('code', str(row.code))}"] += 1
        if row.ready_ns:
            counts["connections|ready"] += 1
            if begun != "guest":
                counts[f"disconnects|{begun}"] += 1
                self._examples_add("disconnect", row.at_ns, row.address)
        return begun == "guest"

    def _refused(self, row: ops.Refused) -> bool:
        self._counts["refused|" + self._endpoint(row.endpoint)] += 1
        return False

    def _noted(self, row: ops.Noted) -> bool:
        self._counts["noted|" + self._name("noted", row.what)] += 1
        return False

    def _state(self, row: ops.State) -> bool:
        if row.before:
            self._gauges["guests|" + row.before] -= 1
        else:
            self._counts["guests.arrived"] += 1
        self._gauges["guests|" + row.after] += 1
        here = row.after in _HERE
        if here != (row.before in _HERE):
            (self._guests.enter if here else self._guests.leave)(row.at_ns)
        slot, _, number = row.label.partition("-")
        if number.isdecimal():
            self._advance(slot, int(number), row.at_ns)
        return True

    def _ended(self, row: ops.Ended) -> bool:
        books = self._labels.get(row.label) or self._open(row.label, row.at_ns, ours=True)
        if books is not None:
            books.complete |= row.complete
            books.listing = row.listing
            if not books.ended_at:
                self._counts["conversations|ended"] += 1
                if row.complete:
                    self._counts["conversations|complete"] += 1
                if row.cause:
                    self._counts["ended|" + self._name("cause", row.cause)] += 1
                self._end(books, row.at_ns)
        return (row.complete or not row.listing) and not row.cause

    # ---------------------------------------------------------------- conversations
    def _open(self, label: str, at: int, *, ours: bool) -> Books | None:
        """Books for a label not seen before. None: its books were closed long ago, or it is no label of this worker."""
        slot, _, text = label.partition("-")
        if not text.isdecimal():
            return None
        number = int(text)
        newest, closed = self._slots.get(slot, (-2, 0))
        if number <= closed or (not ours and number > newest + 1):
            return None  # or a marker that some fault invented
        self._advance(slot, number, at)
        books = self._labels[label] = Books(label)
        self._counts["conversations|begun"] += 1
        self._gauges["open|conversations"] += 1
        return books

    def _advance(self, slot: str, number: int, at: int) -> None:
        """The slot is at this conversation: an older one that was never ended is over."""
        newest, closed = self._slots.get(slot, (0, 0))
        if number > newest:
            before = self._labels.get(f"{slot}-{newest}")
            if before is not None and not before.ended_at:
                self._end(before, at)
            newest = number
        self._slots[slot] = (newest, closed)

    def _end(self, books: Books, at: int) -> None:
        books.ended_at = max(at, 1)
        self._gauges["open|conversations"] -= 1
        self._ending.append((at, books.label))

    def _settle(self, books: Books, now: int) -> None:
        """Close the books of a conversation for good: what has not come is lost, as surely as can be said."""
        label, at = books.label, books.ended_at or now
        del self._labels[label]
        slot, _, text = label.partition("-")
        newest, closed = self._slots[slot]
        self._slots[slot] = (newest, max(closed, int(text)))
        if not books.ended_at:
            self._gauges["open|conversations"] -= 1
        for kept, name in ((books.open, MESSAGES), (books.asked, REPLIES)):
            for began in kept.values():  # they were under way to the end and never took any time: that is what the law shows
                self._stocks[name].leave(at, began)
        counts = self._counts
        for direction, stream in (("g", books.guest), ("a", books.agent)):
            losses = stream.losses(books.complete or not (stream.own or books.listing), MAX_EXAMPLES)
            unseen = 0 if stream.own else stream.order.unseen
            for kind, seqs in zip(_LOSSES, losses, strict=True):
                if seqs:
                    counts[f"{kind}|{direction}"] += unseen or len(seqs)
                    for seq in seqs[:MAX_EXAMPLES]:
                        self._example(kind, at, label, direction, seq)
        if books.agent.order.missing:
            self._gauges["open|gaps"] -= books.agent.order.missing

    # ---------------------------------------------------------------- names and examples
    def _name(self, family: str, name: str) -> str:
        names = self._names.get(family)
        if names is None:
            names = self._names[family] = {}
        known = names.get(name)
        if known is not None:
            return known
        if len(names) >= MAX_NAMES:
            return OTHER
        clean = names[name] = name.replace("|", "/")[:200]
        return clean

    def _endpoint(self, endpoint: str) -> str:
        names = self._names.get("endpoint")
        known = names.get(endpoint) if names else None
        return known if known is not None else self._name("endpoint", endpoint.partition("?")[0])

    def _odd(self, oddity: str, at: int, label: str, seq: int) -> None:
        self._counts[oddity + "|g"] += 1
        self._example(oddity, at, label, "g", seq)

    def _example(self, kind: str, at: int, label: str, direction: str, seq: int) -> None:
        self._examples_add(kind, at, f"{self.run}.{label}.{direction}.{seq}")

    def _examples_add(self, kind: str, at: int, ref: str) -> None:
        examples = self._examples.setdefault(kind, [])
        examples.append((at, ref))
        if len(examples) >= 4 * MAX_EXAMPLES:
            examples[:] = sorted(set(examples))[:MAX_EXAMPLES]

    # ---------------------------------------------------------------- intervals
    def start(self, now: int) -> None:
        """Where the first interval begins, if it was not known when this was made."""
        self._t0_ns = now

    def close_interval(
        self,
        now: int,
        health: Mapping[str, float] | None = None,
        histograms: Mapping[str, SparseHistogram] | None = None,
        *,
        final: bool = False,
    ) -> Interval:
        """End the current interval at `now`: journal its rows and its record, begin the next.

        `histograms` are the shell's own, keyed `health|NAME`. `final` closes the books of every conversation.
        """
        ending = self._ending
        while ending and (final or ending[0][0] + self._linger_ns <= now):
            books = self._labels.get(ending.popleft()[1])
            if books is not None:
                self._settle(books, now)
        if final:
            for books in list(self._labels.values()):
                self._settle(books, now)
        self._flush()
        self._add_up()
        found = self._values.close()
        clocks: dict[str, ClockSpan] = {}
        for name, (tally, lags) in sorted(self._clocks.items()):
            span = tally.close()
            if span is not None and span.low_ns is not None:
                clocks[name] = span
                if lags:
                    found[f"{LAG}|{name}|cells"] = cells_of(lags, span.low_ns)
                    lags.clear()
        for name, histogram in (histograms or {}).items():
            found[name if name.startswith(HEALTH) else HEALTH + name] = histogram
        interval = Interval(
            self._t0_ns,
            now,
            self.worker,
            self._index,
            final,
            self.rows,
            self._suppressed,
            dict(sorted(self._counts.items())),
            {name: change for name, change in sorted(self._gauges.items()) if change},
            dict(sorted(found.items())),
            {kind: sorted(set(examples))[:MAX_EXAMPLES] for kind, examples in sorted(self._examples.items())},
            {**(health or {}), **self._balances(now)},
            clocks,
        )
        self._begin()
        self._index += 1
        self._t0_ns = now
        self._write(INTERVAL, array_of(1, self._encoder.encode(interval)))
        return interval

    def _add_up(self) -> None:
        """Bring what was kept apart to its counters."""
        counts = self._counts
        for direction, count in (("g", self._straight_g), ("a", self._straight_a)):
            if count:
                for name in (f"copies|{direction}|{FIRST_PUSH}", f"push.copies|{direction}", f"push.messages|{direction}"):
                    counts[name] += count
        confirmed = sum(counts[name] for name in set(self._via.values()) if name in counts)
        for name, count in (
            ("messages|attempts", self._attempts),
            ("messages|invoked", self._invoked_once),
            ("messages|ok", confirmed),
        ):
            if count:
                counts[name] += count
        self._gauges["open|messages"] += self._invoked_once - self._settled
        answers, took = self._values.answered()
        self._guests.took(took, answers)
        for stock in (self._in_flight, self._awaited):
            stock.enter(self._begun_at, self._begun)
        self._awaited.ended(sum(self._awaited_ends), sum(self._awaited_begins), len(self._awaited_ends))

    def _balances(self, now: int) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, stock in self._stocks.items():
            found |= stock.close(self._t0_ns, now, name)
        return found


def _scrubbed(row: ops.Row) -> ops.Row:
    """The row with `?` for every character that no encoding can write."""
    fields = ((name, getattr(row, name)) for name in row.__struct_fields__)
    texts = {name: value.encode("utf-8", "replace").decode() for name, value in fields if isinstance(value, str)}
    return msgspec.structs.replace(row, **texts)
