"""What one step came to: held, broke, does not count, or is to be run once more. Pure.

A rule about a percentile asks that a share of samples keeps to a limit. The exact (Clopper-Pearson) interval of that share
decides; where it holds the asked share itself, the step is run for as long again and the point estimate of both decides.
Silence is no proof: a step most of whose answers did not come within it breaks, and one with fewer samples than its percentile
needs does not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from harness.search.plan import StepLimits
from harness.search.rising import rising, spread
from harness.search.steps import Judgement, RuleShare, StepResult, StepVerdict
from harness.verdicts.intervals import share_interval

ERRORS = "errors"
ACHIEVED = "achieved rate"
RISING = "rising in flight"
_MOST_OPEN = 0.5
"""So many under way at the end for each sample, and the samples are but the quick ones: the step was too short for the others."""


def judge_step(results: StepResult | Sequence[StepResult], limits: StepLimits, *, final: bool = False) -> Judgement:
    """One step, or several at one load taken together as one longer step; `final`: nothing stays undecided."""
    parts = [results] if isinstance(results, StepResult) else list(results)
    for part in parts:
        if not part.generator_healthy:
            return Judgement("invalid", sentence=part.generator or "the generator was not healthy", final=final)
    rules = pooled(parts)
    judged = [(rule, *share_interval(rule.kept, rule.samples)) for rule in rules]
    nearest = max(judged, key=lambda one: one[0].missed, default=None)
    about: dict[str, object] = {}
    if nearest is not None:
        rule, low, high = nearest
        about = {"nearest": rule.rule, "kept": rule.kept, "samples": rule.samples, "low": low, "high": high}
    verdict, by, sentence, named = _verdict(parts, judged, limits, final=final)
    return Judgement(verdict, by, by_rule=named, sentence=sentence, final=final, **about)  # type: ignore[arg-type]


def pooled(parts: Sequence[StepResult]) -> list[RuleShare]:
    """Each rule with the blocks of all parts, one part after the other."""
    blocks: dict[str, list[tuple[int, int]]] = {}
    rules: dict[str, RuleShare] = {}
    still_open: dict[str, int] = {}
    for part in parts:
        for rule in part.rules:
            rules.setdefault(rule.rule, rule)
            still_open[rule.rule] = still_open.get(rule.rule, 0) + rule.open
            blocks.setdefault(rule.rule, []).extend(rule.blocks)
    return [msgspec.structs.replace(rule, blocks=tuple(blocks[name]), open=still_open[name]) for name, rule in rules.items()]


def _verdict(
    parts: Sequence[StepResult], judged: Sequence[tuple[RuleShare, float, float]], limits: StepLimits, *, final: bool
) -> tuple[StepVerdict, str, str, bool]:
    """Verdict, by what, why, and whether that is a rule of the scenario."""
    failed = [rule for rule, _, high in judged if rule.samples and (rule.missed > 1 if rule.point or final else high < rule.share)]
    if failed:
        worst = max(failed, key=lambda rule: rule.missed)
        return "broke", worst.rule, _share_sentence(worst), True
    for part in parts:
        if part.broken:
            return "broke", part.broken[0], f"{part.broken[0]} did not hold", True
    hard = _beyond_rules(parts, limits)
    if hard is not None:
        return "broke", *hard, False
    for rule, _, _ in judged:
        if silent := _silence(rule):
            return ("broke", rule.rule, silent, True) if final else ("undecided", "", silent, False)
    if not final:
        for rule, low, _ in judged:
            if not rule.point and low < rule.share:
                return "undecided", "", f"{_share_sentence(rule)}: too few to say on which side it lies", False
    for rule, _, _ in judged:
        if not rule.point and rule.samples * (1 - rule.share) < 1 - 1e-9:
            needed = math.ceil(1 / (1 - rule.share) - 1e-9)
            return "invalid", "", f"{rule.rule} has {rule.samples:,} samples and needs {needed:,} to have such a percentile", False
    return "held", "", "all rules held", False


def _silence(rule: RuleShare) -> str:
    """Why what came says nothing of what did not; empty: it does."""
    if not rule.samples:
        return f"no samples for {rule.rule}"
    if rule.open > _MOST_OPEN * rule.samples:
        return f"{rule.open:,} were still under way at the end beside {rule.samples:,} samples for {rule.rule}"
    return ""


def _beyond_rules(parts: Sequence[StepResult], limits: StepLimits) -> tuple[str, str] | None:
    """What breaks a step even if no rule mentions it."""
    operations, errors = sum(part.operations for part in parts), sum(part.errors for part in parts)
    if operations and errors > limits.errors * operations:
        return ERRORS, f"{errors:,} of {operations:,} operations failed, more than {limits.errors * 100:.4g} %"
    planned = [(part.achieved, part.length_s) for part in parts if part.achieved is not None]
    length = sum(seconds for _, seconds in planned)
    if length > 0:
        achieved = sum(share * seconds for share, seconds in planned) / length
        if achieved < limits.achieved:
            return ACHIEVED, f"{achieved * 100:.1f} % of the planned load was there, less than {limits.achieved * 100:.4g} %"
    climbing = [_grows(part.in_flight, limits) for part in parts]
    if climbing and all(climbing):
        return RISING, "the operations under way were still rising in the last half of the step"
    return None


def _grows(in_flight: Sequence[float], limits: StepLimits) -> bool:
    half = in_flight[len(in_flight) // 2 :]
    trend = rising(half)
    mean = sum(half) / len(half) if half else 0.0
    grew = trend.slope * len(half)
    return trend.p < limits.rising_p and grew > limits.rising_least * mean and grew > limits.rising_noise * spread(in_flight)


def _share_sentence(rule: RuleShare) -> str:
    got = rule.kept / rule.samples if rule.samples else 0.0
    return f"{rule.kept:,} of {rule.samples:,} samples ({got * 100:.4g} %) kept to {rule.rule}, {rule.share * 100:.6g} % must"
