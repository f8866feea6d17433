"""Rules that must hold in every window: the result of each window, and what they come to together. Pure.

A window that is over its limit breaks the rule for good, whatever the others did. One that cannot be judged, too few samples for
its percentile, say, is named, and the rule is then no pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.verdicts.lattice import Bound, RuleResult, Verdict, WindowResult, compose
from harness.verdicts.slo import Rule

NAMED = 3
"""Windows that a sentence names by their time."""
_NS = 1_000_000_000


def composed(rule: Rule, windows: Sequence[WindowResult] | None, what: RuleResult) -> RuleResult:
    """What the windows come to. `what`: the same rule judged over the whole run, whose words and unit are taken."""
    shown = rule.show()
    if not windows:
        sentence = f"There was no {rule.show_window().removeprefix(' in every ')} of full load"
        return msgspec.structs.replace(
            what,
            rule=shown,
            verdict=Verdict.UNKNOWN,
            observed=Bound(),
            samples=0,
            sentence=f"{sentence}, so `{shown}` cannot be judged.",
            note="no window",
            windows=(),
        )
    worst = _worst(rule, windows)
    over = [one for one in windows if one.verdict is Verdict.FAIL]
    unknown = [one for one in windows if one.verdict is Verdict.UNKNOWN]
    verdict = compose(one.verdict for one in windows)
    number = f"{len(windows):,} {'window' if len(windows) == 1 else 'windows'}"
    parts = []
    if over:
        parts.append(f"{len(over):,} of {number} over, worst at {_clock(worst.t0_ns)}")
    if unknown:
        parts.append(f"{len(unknown):,} of {number} not judged ({_times(unknown)}): {unknown[0].note}")
    if not parts:
        parts.append(f"{number}, the worst at {_clock(worst.t0_ns)}")
    return msgspec.structs.replace(
        what,
        rule=shown,
        verdict=verdict,
        observed=worst.observed,
        samples=worst.samples,
        sentence=_sentence(rule, windows, worst, over, unknown),
        note="; ".join(parts),
        windows=tuple(windows),
    )


def _sentence(
    rule: Rule,
    windows: Sequence[WindowResult],
    worst: WindowResult,
    over: Sequence[WindowResult],
    unknown: Sequence[WindowResult],
) -> str:
    of = f"of {len(windows):,} {rule.show_window().removeprefix(' in every ')}{'' if len(windows) == 1 else 's'}"
    if over:
        first = f"{len(over):,} {of} {'is' if len(over) == 1 else 'are'} over the limit ({_times(over)})"
        return f"{first}; the worst, at {_clock(worst.t0_ns)}: {worst.sentence}"
    if unknown:
        return f"{len(unknown):,} {of} could not be judged ({_times(unknown)}): {unknown[0].sentence}"
    held = f"All {len(windows):,} {rule.show_window().removeprefix(' in every ')}s" if len(windows) > 1 else "The one window"
    return f"{held} held; the worst, at {_clock(worst.t0_ns)}: {worst.sentence}"


def _worst(rule: Rule, windows: Sequence[WindowResult]) -> WindowResult:
    """The one furthest over, or nearest to its limit; one without a figure only where none has any."""
    gravity = {Verdict.FAIL: 0, Verdict.UNKNOWN: 1, Verdict.PASS: 1}

    def rank(one: WindowResult) -> tuple[int, int, float]:
        value = one.observed.value if one.observed.value is not None else one.observed.low
        if value is None:
            return gravity[one.verdict], 1, 0.0
        if rule.op == "==":
            return gravity[one.verdict], 0, -abs(value - float(rule.limit))
        return gravity[one.verdict], 0, -value if rule.upper else value

    return min(windows, key=rank)


def _times(windows: Sequence[WindowResult]) -> str:
    named = ", ".join(_clock(one.t0_ns) for one in windows[:NAMED])
    return named if len(windows) <= NAMED else f"{named} and {len(windows) - NAMED:,} more"


def _clock(ns: int) -> str:
    """An instant since the run's start: `3:12`, and `1:02:03` past an hour."""
    whole = max(ns, 0) // _NS
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
