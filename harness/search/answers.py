"""The answer of a capacity search. Only data. Loads are guests or arrivals per second (`unit`), times are seconds."""

from __future__ import annotations

from typing import Literal

import msgspec

from harness.verdicts.lattice import Verdict

Method = Literal["fit", "bracket", "bound", "none"]
"""`fit`: a curve through the steps near the limit. `bracket`: between what held and what broke. `bound`: one side is known."""


class Reason(msgspec.Struct, frozen=True):
    """Why the verdict is what it is."""

    code: str
    """`found`, `unconfirmed`, `imprecise`, `generator_bound`, `search_bound`, `nothing_held`, `interrupted`, `stopped`,
    `plan_fits`, `plan_too_much`, `plan_undecided`."""
    text: str


class HeadRoom(msgspec.Struct, frozen=True):
    """A planned load beside what the target can bear."""

    plan: float
    """The load that is planned."""
    room: float | None
    """(estimate - plan) / estimate: 0.22 is 22 % to spare; negative is too much. None: no estimate, or it is 0."""
    low: float | None
    """The same at the lower end of the interval."""
    high: float | None
    """The same at the upper end of it."""
    excess: float | None
    """(plan - estimate) / estimate: by how much the plan is too much; negative is to spare. "22 % too much" is 0.22."""
    verdict: Verdict
    """PASS: it fits even at the lower end. FAIL: not even at the upper end."""


class Answer(msgspec.Struct, frozen=True):
    """What is known about the capacity, at any time of the search."""

    unit: str
    """`guests` or `arrivals/s`."""
    verdict: Verdict
    """PASS: found (and the plan fits). FAIL: no load held, or the plan is too much. UNKNOWN: all else."""
    reasons: tuple[Reason, ...]
    """The first one decided; never empty."""
    estimate: float | None = None
    """The highest load at which all rules hold; None: not known, see `low` and `high`."""
    low: float | None = None
    """Lower end of the 95 % interval; without an estimate: the highest load that held. None: none did."""
    high: float | None = None
    """Upper end of it; without an estimate: the lowest load that broke. None: none did."""
    first_broken_slo: str | None = None
    """The rule that breaks first as load grows, as written, or in words what else did; None: nothing broke."""
    by_rule: bool = True
    """Whether `first_broken_slo` is a rule of the scenario."""
    generator_bound: bool = False
    """Whether the generator, not the target, ended the search: `low` is a bound, "at least"."""
    confirmed: bool | None = None
    """Whether the longer run at the end held; None: it was not run."""
    confirmed_load: float | None = None
    """At what load that was."""
    complete: bool = False
    """Whether the search came to its own end."""
    method: Method = "none"
    """How the estimate was made."""
    held: float | None = None
    """The highest load of a step that held, with repeats counted."""
    broke: float | None = None
    """The lowest load of a step that broke, with repeats counted."""
    steps: int = 0
    """How many steps were run, invalid ones included."""
    head_room: HeadRoom | None = None
    """Where a load is planned."""
