"""How a guest asks for events: one long poll after the other, or at a fixed interval."""

from __future__ import annotations

from harness.core import ops
from harness.errors import FailureCause
from harness.findings.detector import SECOND, Detector, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

LEAST_POLLS = 10
"""Of a guest, before its way of polling is judged."""
IDLE_SHARE = 0.5
"""Of the time between two polls that nothing is parked at the server: a chain of long polls comes near to 0, an interval to 1."""
_LIMITED = FailureCause.RATE_LIMITED.value


class _Polls:
    __slots__ = ("early", "end_ns", "first", "idle_ns", "limited", "messages", "parked_ns", "polls")

    def __init__(self, first: tuple[int, str]) -> None:
        self.first = first
        self.polls = self.idle_ns = self.parked_ns = self.messages = self.limited = self.end_ns = 0
        self.early = False


class _Sum:
    __slots__ = ("guests", "idle_ns", "limited", "messages", "parked_ns", "polls")

    def __init__(self) -> None:
        self.guests = self.polls = self.idle_ns = self.parked_ns = self.messages = self.limited = 0

    def add(self, one: _Polls) -> None:
        self.guests += 1
        self.polls += one.polls
        self.idle_ns += one.idle_ns
        self.parked_ns += one.parked_ns
        self.messages += one.messages
        self.limited += one.limited

    @property
    def per_minute(self) -> float:
        length = self.idle_ns + self.parked_ns
        return self.polls * 60 * SECOND / length if length else 0.0

    @property
    def per_message(self) -> float:
        return self.polls / self.messages if self.messages else float(self.polls)


class NaivePolling(Detector):
    """Short polls with pauses between them."""

    id = "naive-polling"
    title = "Guests poll at a fixed interval"
    severity: Severity = "low"
    cause = "A timer asks for events, instead of one request that the server holds until there is one."
    advice = "Ask with `wait=30` and ask again at once when the answer is there."
    source = "seed 000, section 4"
    samples = ("poll.hold",)
    notes = ("poll.early_empty",)
    rows = (ops.Arrived, ops.Ended)

    def __init__(self) -> None:
        self._guests: dict[str, _Polls] = {}
        self._tally = Tally()
        self._naive, self._long = _Sum(), _Sum()

    def take(self, row: ops.Sample | ops.Noted | ops.Arrived | ops.Ended) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        guest = self._guests.get(slot)
        if isinstance(row, ops.Arrived):
            if guest is not None:
                guest.messages += 1
        elif isinstance(row, ops.Sample):
            if guest is None:
                guest = self._guests[slot] = _Polls((row.at_ns, row.label))
            self._polled(guest, row)
        elif guest is not None:
            guest.end_ns = 0
            guest.early = guest.early or isinstance(row, ops.Noted)  # the server's doing: the pause after it is a back-off

    def _polled(self, guest: _Polls, row: ops.Sample) -> None:
        if guest.end_ns:
            guest.idle_ns += max(row.start_ns - guest.end_ns, 0)
        if row.outcome == ops.OK:
            guest.polls += 1
            guest.parked_ns += row.end_ns - row.start_ns
            guest.end_ns = row.end_ns
        else:
            guest.limited += row.cause == _LIMITED
            guest.end_ns = 0  # what follows is a back-off

    def over(self, slot: str) -> None:
        """Forget the guest."""
        guest = self._guests.pop(slot, None)
        if guest is not None:
            self._judge(guest)

    def _judge(self, guest: _Polls) -> None:
        if guest.polls < LEAST_POLLS:
            return
        if not guest.early and guest.idle_ns > IDLE_SHARE * (guest.idle_ns + guest.parked_ns):
            self._naive.add(guest)
            self._tally.hit(*guest.first, times=guest.polls)
        else:
            self._long.add(guest)

    def finish(self) -> Finding | None:
        """What was seen."""
        for guest in self._guests.values():
            self._judge(guest)
        self._guests.clear()
        naive, long = self._naive, self._long
        evidence: dict[str, int | float] = {
            "requests": naive.polls,
            "requests_per_minute": naive.per_minute,
            "requests_per_message": naive.per_message,
            "refused_429": naive.limited,
        }
        if long.guests:
            evidence |= {
                "long_poll_guests": long.guests,
                "long_poll_requests_per_minute": long.per_minute,
                "long_poll_requests_per_message": long.per_message,
            }
        return self.found(self._tally, evidence)


def watchers() -> list[Witness]:
    """The family."""
    return [NaivePolling()]
