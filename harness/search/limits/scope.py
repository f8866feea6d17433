"""Who is counted: the drained probe once more with one thing changed (metrics.md E1; RFC 6585 §4 leaves it open).

Drain with one identity, ask at once with another that differs in one dimension. Refused as well: both are counted as one, so
the limit is
wider than that dimension. Accepted: the dimension separates. What could not be varied is `unknown`, never guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Dimension = Literal["session", "address", "credential", "deployment"]
ORDER: tuple[Dimension, ...] = ("session", "address", "credential", "deployment")
"""Cheapest first. A new session changes nothing else; another credential has, as a rule, sessions of its own."""

SCOPE_OF: dict[Dimension, str] = {"session": "session", "address": "ip", "credential": "client", "deployment": "deployment"}
Outcome = Literal["same", "separate", "unclear"]


@dataclass(frozen=True, slots=True)
class Variation:
    """One re-probe: drain with the first identity, then at once `asks` requests that differ only in `changed`."""

    changed: Dimension
    asks: int
    """How many requests the changed identity sends."""


@dataclass(frozen=True, slots=True)
class ScopePlan:
    """What can be varied: how many of each the scenario gives."""

    available: Mapping[Dimension, int]
    asks: int = 4
    """Requests of the changed identity, while the first is drained."""
    retries: int = 1
    """An unclear outcome is tried again so often."""
    applicable: tuple[Dimension, ...] = ORDER
    """Dimensions in which two senders can differ at all, of those that the protocol knows; nothing is said of the others."""
    nested: bool = False
    """Every other change comes with a session of its own: what it shows says nothing unless another session alone changes
    nothing."""


@dataclass(frozen=True, slots=True)
class ScopeFinding:
    """The answer: `session`, `ip`, `client`, `deployment`, `organisation`, several joined by `+`, or `unknown`."""

    scope: str
    separates: tuple[Dimension, ...]
    """A change of these alone gives a count of one's own."""
    shares: tuple[Dimension, ...]
    """A change of these alone does not."""
    not_varied: tuple[Dimension, ...]
    reasons: tuple[str, ...] = ()


@dataclass(slots=True)
class ScopeSearch:
    """Sans-I/O: ask `next`, carry it out, `update`; `answer` at any time."""

    plan: ScopePlan
    _outcomes: dict[Dimension, Outcome] = field(default_factory=dict)
    _tries: dict[Dimension, int] = field(default_factory=dict)

    def next(self) -> Variation | None:
        """The next re-probe, or None when nothing is left that could be varied."""
        if self.plan.nested and self._outcomes.get("session") == "separate":
            return None
        for dimension in self.plan.applicable:
            if self.plan.available.get(dimension, 1) < 2:
                continue
            outcome = self._outcomes.get(dimension)
            if outcome is None or (outcome == "unclear" and self._tries[dimension] <= self.plan.retries):
                return Variation(dimension, self.plan.asks)
        return None

    def update(self, variation: Variation, *, accepted: int, refused: int, allowed: int = 1, still_drained: bool = True) -> Outcome:
        """What the changed identity was told. `allowed`: how many may have come back meanwhile anyhow (r·t, rounded up).

        `still_drained`: a request of the first identity right after was refused; otherwise the outcome says nothing.
        """
        outcome: Outcome = "unclear"
        if still_drained and accepted + refused > 0:
            if refused and accepted <= min(allowed, variation.asks - 1):
                outcome = "same"
            elif accepted > allowed and not refused:
                outcome = "separate"
        self._outcomes[variation.changed] = outcome
        self._tries[variation.changed] = self._tries.get(variation.changed, 0) + 1
        return outcome

    def answer(self) -> ScopeFinding:
        """Which scope agrees with every outcome. The dimension that separates is the scope; none that does: organisation."""
        separates = tuple(one for one in ORDER if self._outcomes.get(one) == "separate")
        shares = tuple(one for one in ORDER if self._outcomes.get(one) == "same")
        if self.plan.nested and self._outcomes.get("session") == "separate":
            return ScopeFinding(
                "session", separates, shares, (), ("whatever else differs, sessions do: nothing narrower was looked for",)
            )
        open_ = tuple(one for one in self.plan.applicable if self._outcomes.get(one) not in ("separate", "same"))
        if separates and open_ and self.plan.nested and "session" in open_:
            separates = ()  # it may have been the session
        varied_in_vain = tuple(one for one in open_ if one in self._outcomes)
        reasons = [f"{one} could not be varied" for one in open_ if one not in varied_in_vain]
        reasons += [f"varying the {one} gave no clear answer" for one in varied_in_vain]
        if open_:
            # a dimension not varied may be the scope, or a part of it: with one that separates we know at least that one
            if separates:
                known = "+".join(SCOPE_OF[one] for one in separates)
                reasons.insert(0, f"counted at least per {known}")
                narrower = [one for one in open_ if ORDER.index(one) < max(ORDER.index(each) for each in separates)]
                if not narrower and set(open_) <= {"deployment"} and separates == ("session",):
                    return ScopeFinding("session", separates, shares, open_, tuple(reasons))
                return ScopeFinding("unknown", separates, shares, open_, tuple(reasons))
            return ScopeFinding("unknown", separates, shares, open_, tuple(reasons))
        if not separates:
            return ScopeFinding("organisation", separates, shares, open_, ("no change gave a count of its own",))
        return ScopeFinding("+".join(SCOPE_OF[one] for one in separates), separates, shares, open_, ())
