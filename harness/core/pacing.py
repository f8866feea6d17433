"""How a guest behaves: when it means to speak, for how long, and what else it does. Settings and arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from harness.core.spread import Duration, Share, Spread, around, fixed, seconds


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The `[guests]` table of a scenario, as far as it concerns one guest. All instants and durations in nanoseconds."""

    pacing: str = "think"
    """`think`: the next message is meant think time after the last reply or its time-out, one in flight.
    `schedule`: a plan that never waits for answers, one message each `period`."""
    think_time: Spread = around(8.0, 0.5)
    period: Spread = fixed(5.0)
    max_in_flight: int = 64
    """Under `schedule`: messages unconfirmed at once; what is due beyond that is dropped and counted."""
    reply_timeout: Duration = seconds(30)
    confirm_timeout: Duration = seconds(10)
    session_length: Spread = around(300.0, 0.3)
    """How long a conversation lasts once an agent is there; then the guest leaves."""
    between: Spread = around(5.0, 0.5)
    """Pause between two conversations of a slot."""
    conversations: int = 0
    """Conversations a slot holds before it is finished; 0: as many as fit into the run."""
    typing: Share = 0.5
    """Share of messages announced by a typing indicator."""
    attachments: Share = 0.05
    reload: Share = 0.01
    """Share of messages before which the guest reloads the page."""
    text_bytes: int = 60
    """Length of a message's text before its marker."""
    send_rate: float = 0.0
    """Most messages per second of one guest, by its own pace; what is due sooner waits. 0: no such limit."""
    send_rate_all: float = 0.0
    """The same for all guests of a run together, who take turns; where it is given, `send_rate` does not count."""
    send_burst: int = 1
    """Messages that may leave at once under either, after a silence."""


class Pacer:
    """Gives the intended instants of one conversation's messages."""

    __slots__ = ("_behaviour", "_rng", "intended_ns")

    def __init__(self, behaviour: Behaviour, rng: Random) -> None:
        self._behaviour, self._rng = behaviour, rng
        self.intended_ns = 0

    def begin(self, now_ns: int) -> int:
        """The first intended instant of a conversation that can be used from `now_ns` on."""
        spread = self._behaviour.think_time if self._behaviour.pacing == "think" else self._behaviour.period
        # A uniform first offset keeps guests that became ready together from speaking in lock-step.
        self.intended_ns = now_ns + round(self._rng.random() * spread.sample(self._rng))
        return self.intended_ns

    def next(self, completed_ns: int) -> int:
        """The next intended instant; `completed_ns` is when the last exchange was over (ignored under `schedule`)."""
        if self._behaviour.pacing == "schedule":
            self.intended_ns += max(self._behaviour.period.sample(self._rng), 1)
        else:
            self.intended_ns = completed_ns + self._behaviour.think_time.sample(self._rng)
        return self.intended_ns
