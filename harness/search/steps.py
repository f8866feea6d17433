"""What a capacity search asks for and what it is told: one step at one load. Only data; every time is in seconds.

`StepOrder` is what to run, `StepResult` what was measured (by the caller, over the steady part of the step alone), `Judgement`
what that came to, `Step` all three together: a line of `steps.jsonl`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

StepKind = Literal["explore", "bisect", "repeat", "confirm"]
StepVerdict = Literal["held", "broke", "invalid", "undecided"]
"""`invalid`: the generator was not to be believed, or there were too few samples of a rule, so the step does not count.
`undecided`: it is run once more."""


class StepOrder(msgspec.Struct, frozen=True):
    """One step to run."""

    number: int
    """From 1, in the order in which they are run."""
    load: float
    """Guests (a whole number) or arrivals per second."""
    kind: StepKind
    """Why it is run."""
    length_s: float
    """How long the load is to be held once all guests have come, warm-up included; `length_factor` is in it already."""
    length_factor: float = 1.0
    """How many times a step's ordinary length that is: more than 1 for the confirmation run."""
    refines: bool = False
    """Whether it only narrows the interval: such a repeat does not count among the k of n at the edge."""
    attempt: int = 1
    """2: the same again, because the generator was not healthy or the first did not decide."""


class RuleShare(msgspec.Struct, frozen=True):
    """One rule that asks for a share of samples: how many kept to it, by blocks of time.

    `reply.response p95 < 800 ms` asks for 0.95 of the samples below 800 ms; `reply.failed rate < 0.1 %` for 0.999 without failure.
    """

    rule: str
    """As it was written in the scenario."""
    share: float
    """What share must keep to it: 0.95 of p95; one minus the limit of a failed rate."""
    blocks: tuple[tuple[int, int], ...]
    """(kept to it, samples) of equal and consecutive spans of time: 20 or more, since samples in time are not independent."""
    point: bool = False
    """Decided by the point estimate alone. For failed rates: no step is long enough for an interval around one in a thousand."""
    open: int = 0
    """Under way at the end and in no block: they had not waited past the limit by then."""

    @property
    def kept(self) -> int:
        """Samples that kept to it."""
        return sum(kept for kept, _ in self.blocks)

    @property
    def samples(self) -> int:
        """All samples."""
        return sum(samples for _, samples in self.blocks)

    @property
    def missed(self) -> float:
        """The share that did not keep to it, over the share that may: 1 is the limit itself."""
        if not self.samples:
            return 0.0
        allowed = max(1 - self.share, 1e-9)
        return (self.samples - self.kept) / self.samples / allowed


class StepResult(msgspec.Struct, frozen=True):
    """What one step measured. Warm-up removed, the steady part alone."""

    load: float
    """Guests or arrivals per second, as ordered."""
    length_s: float
    """Seconds of the steady part, that is of all figures below."""
    rules: tuple[RuleShare, ...] = ()
    """Every rule about a percentile or a failed rate."""
    broken: tuple[str, ...] = ()
    """Other rules that did not hold, as written (`lost.definite == 0`)."""
    errors: int = 0
    """Operations that failed."""
    operations: int = 0
    """Operations that ended, failed ones included."""
    achieved: float | None = None
    """Actions started over actions planned; None: not known."""
    in_flight: tuple[float, ...] = ()
    """Operations under way (not thinking guests): means of equal and consecutive spans, 20 or more."""
    generator_healthy: bool = True
    """Whether the generator is to be believed."""
    generator: str = ""
    """Why it is not."""
    throughput: float | None = None
    """Operations that ended, per second."""
    response_s: float | None = None
    """Mean response time."""
    think_s: float | None = None
    """Mean think time (closed model)."""
    present: float | None = None
    """Guests who were there on average (closed model); None: `load` of them."""
    percentile_s: float | None = None
    """The percentile that the first rule of `rules` is about."""
    percentile_low_s: float | None = None
    """Lower end of its 95 % interval."""
    percentile_high_s: float | None = None
    """Upper end of it."""
    reference: str = ""
    """Where the step can be looked up, such as the name of its run folder."""


class Judgement(msgspec.Struct, frozen=True):
    """What a step came to."""

    verdict: StepVerdict
    broken_by: str = ""
    """The rule that broke, as written, or in words what else did."""
    sentence: str = ""
    """Why."""
    by_rule: bool = False
    """Whether `broken_by` is a rule of the scenario."""
    nearest: str = ""
    """The share rule that is nearest to its limit (or furthest beyond)."""
    kept: int = 0
    """Samples that kept to `nearest`."""
    samples: int = 0
    """All samples of it."""
    low: float | None = None
    """Lower end of the exact 95 % interval of kept / samples, as though samples were independent."""
    high: float | None = None
    """Upper end of it."""
    final: bool = False
    """Whether the point estimate decided, since the step was long enough already."""


class Step(msgspec.Struct, frozen=True):
    """One step of the search, start to end."""

    order: StepOrder
    result: StepResult
    judgement: Judgement
