"""How guests come back: in step, in a loop, to what is over, or not at all."""

from __future__ import annotations

from harness.core import ops
from harness.errors import FailureCause
from harness.findings.bins import Bins
from harness.findings.detector import MS, SECOND, Detector, Extent, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

WAVE_BIN_NS = 25 * MS
WAVE_BINS = 12
WAVE_GUESTS = 8
"""Fewer may fall together by chance."""
WAVE_SHARE = 0.8
"""Of the reconnects around: a jitter of 1 s puts a third into most spans of 300 ms and hardly ever two thirds; none puts all."""
WAVE_AROUND_NS = 3 * SECOND
SPIKE_BINS = 4
SPIKE_AROUND_NS = SECOND
SPIKE_SIGMAS = 4.0
"""By so many standard deviations of chance 100 ms must stand out from any others near them: some in step among many who are not."""
IN_PART = "Others around them were spread out: a share of the guests is in step, one version of the widget for instance."


class ReconnectStorm(Detector):
    """Guests who lost their sockets together come back together."""

    id = "reconnect-storm"
    title = "Guests reconnected in step, without jitter"
    severity: Severity = "high"
    cause = "All wait the same time after a common drop, so the gateway meets them as one; it may block their address."
    advice = "Add a random part of at least 1 s to each delay of the back-off."
    source = "seed 002, section 4"
    samples = ("connect",)
    rows = (ops.Connection,)

    def __init__(self) -> None:
        self._lost: dict[str, int] = {}
        self._bins = Bins(WAVE_BIN_NS)
        self._delays = Extent()

    def take(self, row: ops.Connection | ops.Sample) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        if isinstance(row, ops.Connection):
            if row.begun != "guest" and row.ready_ns:
                self._lost[slot] = row.ended_ns
            return
        lost = self._lost.pop(slot, 0)
        if lost:
            meant = row.intended_ns or row.start_ns  # a generator that was held up must not look like guests in step
            self._bins.add(meant, row.label)
            self._delays.add(meant - lost)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._lost.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        waves = self._bins.waves(WAVE_BINS, least=WAVE_GUESTS, share=WAVE_SHARE, around_ns=WAVE_AROUND_NS)
        spikes = self._bins.spikes(SPIKE_BINS, least=WAVE_GUESTS, sigmas=SPIKE_SIGMAS, around_ns=SPIKE_AROUND_NS)
        delays = {"shortest_delay_s": self._delays.low / SECOND, "longest_delay_s": self._delays.high / SECOND}
        return self.found_waves(waves, delays) or self.found_waves(spikes, delays, certainty=IN_PART)


class _Visit:
    __slots__ = ("label", "over")

    def __init__(self, label: str) -> None:
        self.label = label
        self.over = False


class ReconnectAfterEnd(Detector):
    """A conversation was being left and its socket over, and yet another socket was opened for it."""

    id = "reconnect-after-end"
    title = "Guests reconnected to conversations that were over"
    severity: Severity = "medium"
    cause = "Every close is answered with a reconnect, that of a conversation which has ended as well."
    advice = "Remember that the conversation is over (said by either side) before looking at the close."
    source = "seed 001 (as written)"
    samples = ("connect",)
    rows = (ops.State, ops.Connection)

    def __init__(self) -> None:
        self._visits: dict[str, _Visit] = {}
        self._tally = Tally()

    def take(self, row: ops.State | ops.Connection | ops.Sample) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        if isinstance(row, ops.State):
            if row.after == "leaving":
                self._visits[slot] = _Visit(row.label)
            return
        known = self._visits.get(slot)
        if known is None or known.label != row.label:
            return
        if isinstance(row, ops.Connection):
            known.over = True  # it was there when leaving began; whoever leaves without one may still come back to say so
        elif known.over:
            self._tally.hit(row.at_ns, row.label)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._visits.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._tally, {"sockets_opened_after_the_end": self._tally.count})


class ReconnectLoop(Detector):
    """Socket after socket that is closed as soon as it is open."""

    id = "reconnect-loop"
    title = "Guests reconnected in a loop to sockets that were closed at once"
    severity: Severity = "high"
    cause = "A successful open resets the back-off, although the socket is closed right after it: a token that is refused that way."
    advice = "Count only an open that lasts (5 s); take a close with 1008 for a refused token, and fetch another."
    source = "seed 001 (as written loops at 2 s)"
    rows = (ops.Connection,)
    LIFE_NS = 5 * SECOND
    """A socket that does not live so long has not worked."""
    TIMES = 8
    """In a row: more than the five attempts that are allowed."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._tally = Tally()

    def take(self, row: ops.Connection) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        if row.begun == "guest" or row.ended_ns - row.opened_ns >= self.LIFE_NS:
            self._rows.pop(slot, None)
            return
        self._rows[slot] = times = self._rows.get(slot, 0) + 1
        if times >= self.TIMES:
            self._tally.hit(row.at_ns, row.label, times if times == self.TIMES else 1)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._rows.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._tally, {"sockets_closed_at_once": self._tally.count})


class NoBackoff(Detector):
    """Socket after socket that cannot be opened, and no growing pause between."""

    id = "reconnect-without-back-off"
    title = "Guests tried to reconnect at once, again and again"
    severity: Severity = "high"
    cause = "The pause between tries does not grow, so those who are down ask the harder the longer the gateway is."
    advice = "Double the pause with each failed try (1, 2, 4 … 30 s), add a random second; begin anew only after a success."
    source = "seed 002, section 4"
    samples = ("connect",)
    PAUSE_NS = 500 * MS
    """A shorter one is the first of a back-off, or there is none. An interval that stays the same and is longer storms nobody."""
    TIMES = 5
    """Such pauses in a row: a back-off that doubles is out of them by the third, even from 100 ms on."""

    def __init__(self) -> None:
        self._tries: dict[str, tuple[int, int]] = {}
        """By guest: when its latest try failed, and how many in a row came so soon after the one before."""
        self._tally = Tally()
        self._pauses = Extent()

    def take(self, row: ops.Sample) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        failed_ns, times = self._tries.pop(slot, (0, 0))
        if row.outcome == ops.OK or row.cause == FailureCause.INTERRUPTED.value:
            return
        pause = row.start_ns - failed_ns
        times = times + 1 if failed_ns and pause < self.PAUSE_NS else 0
        self._tries[slot] = (row.at_ns, times)
        if times >= self.TIMES:
            self._pauses.add(pause)
            self._tally.hit(row.at_ns, row.label, times if times == self.TIMES else 1)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._tries.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        pauses = {"shortest_pause_s": self._pauses.low / SECOND, "longest_pause_s": self._pauses.high / SECOND}
        return self.found(self._tally, {"tries_too_soon": self._tally.count, **pauses})


class Breaker(Detector):
    """The circuit breaker opened."""

    id = "circuit-breaker-open"
    title = "Guests gave the socket up and fell back to REST"
    severity: Severity = "high"
    cause = "Several reconnects in a row failed: the gateway is out of reach, or refuses."
    advice = "See why reconnects fail; while the breaker is open, sends stay pending."
    source = "seed 002, section 4"
    notes = ("breaker.open", "breaker.closed", "reconnect.exhausted")
    samples = ("connect",)

    def __init__(self) -> None:
        self._tally = Tally()
        self._closed = self._failed = 0

    def take(self, row: ops.Noted | ops.Sample) -> None:
        """Take one row."""
        if isinstance(row, ops.Sample):
            self._failed += row.outcome != ops.OK and row.cause != FailureCause.INTERRUPTED.value
        elif row.what == "breaker.closed":
            self._closed += 1
        else:
            self._tally.hit(row.at_ns, row.label)

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._tally, {"given_up": self._tally.count, "came_back": self._closed, "connects_failed": self._failed})


def watchers() -> list[Witness]:
    """The family."""
    return [ReconnectStorm(), ReconnectAfterEnd(), ReconnectLoop(), NoBackoff(), Breaker()]
