"""What a run's figures come to: verdict, exit code, and the reasons in words, the gravest first."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.errors import ExitCode
from harness.report.fold import Damage
from harness.report.model import Figures, HealthLine, Reason
from harness.report.truth import TruthRow
from harness.verdicts.check import HELD, UNTIL_THEN
from harness.verdicts.lattice import RuleResult, Verdict, compose

MISMATCH = "harness_mismatch"
_MAX_IDS = 3


class Facts(msgspec.Struct):
    """Everything that the verdict is made from."""

    figures: Figures
    ended: str | None
    """How the run ended by its manifest; None: it did not get to say."""
    damage: Damage
    interval_ns: int
    at_ns: int | None
    planned_ns: int | None
    simulated: bool
    truth: Sequence[TruthRow]
    truth_state: str
    truth_detail: str
    rules: Sequence[RuleResult]
    health: Sequence[HealthLine]


def judge(facts: Facts) -> tuple[Verdict, int, list[Reason]]:
    """Verdict, exit code and reasons."""
    mismatches = _mismatches(facts.truth)
    broken = [rule for rule in facts.rules if rule.verdict is Verdict.FAIL]
    unknown = [
        *_unfinished(facts),
        *_nothing_sent(facts),
        *_recorder(facts.figures),
        *_generator(facts),
        *_unjudged_rules(facts.rules),
        *_truth_missing(facts),
    ]
    if unknown and unknown[0].code != "rule_unknown":
        unknown[0].text += _until_then(facts.rules)
    reasons = [*mismatches, *_broken(facts.rules, broken), *unknown]
    if mismatches:
        verdict = Verdict.UNKNOWN
    else:
        parts = [rule.verdict for rule in facts.rules]
        parts += [Verdict.UNKNOWN] * bool(unknown)
        if not facts.rules and _equal(facts.truth):
            parts.append(Verdict.PASS)
        verdict = compose(parts)
    if not reasons:
        reasons = [_held(facts)]
    return verdict, exit_of(verdict, mismatch=bool(mismatches), ended=facts.ended), reasons


def exit_of(verdict: Verdict, *, mismatch: bool, ended: str | None) -> int:
    """The exit code: a contradiction with the simulator before all else, then a signal, then the verdict."""
    if mismatch:
        return int(ExitCode.INTERNAL)
    if ended == "interrupted":
        return int(ExitCode.INTERRUPTED)
    if ended == "terminated":
        return int(ExitCode.TERMINATED)
    return int({Verdict.PASS: ExitCode.PASS, Verdict.FAIL: ExitCode.FAIL, Verdict.UNKNOWN: ExitCode.UNKNOWN}[verdict])


def _equal(truth: Sequence[TruthRow]) -> bool:
    return bool(truth) and all(row.equal for row in truth)


def _mismatches(truth: Sequence[TruthRow]) -> list[Reason]:
    reasons = []
    for row in truth:
        if row.equal is not False:
            continue
        measured = span(row.measured, row.measured)
        if row.low is not None and row.high is not None and (row.low, row.high) != (row.measured, row.measured):
            measured = span(row.low, row.high)
        same = row.low is not None and row.high is not None and row.expected is not None and row.low <= row.expected <= row.high
        but = ", but they are not the same ones" if same else ""
        ids = ", ".join(row.ids[: min(row.differ, _MAX_IDS)]) + (", …" if row.differ > _MAX_IDS else "")
        figures = f"`{row.name}` is {row.expected:,} in truth and {measured} measured{but} ({ids})"
        reasons.append(Reason(MISMATCH, f"The harness contradicts the simulator: {figures}. This is a fault of guestswarm."))
    return reasons


def _unfinished(facts: Facts) -> list[Reason]:
    """Whether the run came to its end and its journal is whole."""
    damage = facts.damage
    at = _when(facts)
    missing = _missing(facts)
    if facts.ended is None:
        if not damage.any and facts.at_ns is not None:
            return [Reason("incomplete", "The run was killed before it could say how it ended; its journal is whole.")]
        return [Reason("incomplete", f"The run ended{at} (killed).{missing}")]
    if facts.ended == "interrupted":
        return [Reason("interrupted", f"Stopped by Ctrl-C{at}.{missing if damage.any else ''}")]
    if facts.ended == "terminated":
        return [Reason("terminated", f"Stopped by SIGTERM{at}.{missing if damage.any else ''}")]
    if facts.ended != "finished":
        gap = missing if damage.any or facts.at_ns is None else ""
        code, text = _ENDS.get(facts.ended, ("incomplete", f"The run ended{{at}} ({facts.ended})."))
        return [Reason(code, text.format(at=at) + gap)]
    if damage.lost:
        return [Reason("worker_lost", _replaced(damage, missing))]
    if damage.any:
        who = sorted({*damage.torn, *damage.unended})
        if who:
            return [Reason("worker_lost", f"The journal of {_listed('worker', who)} has no end.{missing}")]
        return [Reason("incomplete", f"The journal is not whole.{missing}")]
    return []


def _replaced(damage: Damage, missing: str) -> str:
    """Load children that were lost and replaced while the run went on."""
    times = len(damage.lost)
    pause = sum(after - before for _, before, after in damage.lost)
    first = "A load child was lost and another one went on" if times == 1 else f"{times} load children were lost and others went on"
    return f"{first} after {max(pause, 0) / 1e9:.0f} s: what was under way then is in no figure.{missing}"


_ENDS = {
    "journal": ("journal", "The journal could not be written any more (disk full?), so the run was ended{at} with what there was."),
    "simulator_lost": ("simulator_lost", "The simulator ended before its time, so the run was ended{at}."),
    "orphaned": ("incomplete", "Whoever had started the run was gone, so it was ended{at}."),
    "window_shut": ("window_shut", "The approved window was about to shut, so the run was ended{at}."),
    "unreachable": ("incomplete", "The target did not answer when another load child was to go on, so the run was ended{at}."),
    "killed": ("incomplete", "The load process was killed{at}."),
    "aborted": ("aborted", "The run was ended early{at}, as its `abort` asks for: a rule was broken."),
    "failed": ("incomplete", "The load process failed{at}: a fault of guestswarm. Its own words are in load.log."),
}
"""How a run can end that neither finished nor was told to stop: code and words."""


def _when(facts: Facts) -> str:
    at, planned = facts.at_ns, facts.planned_ns
    if at is None:
        return ""
    if planned is None:
        return f" at {clock(at)}"
    return f" at {clock(at)} of {clock(planned)}" if at <= planned else f" in its drain, {clock(at - planned)} after the load"


def _missing(facts: Facts) -> str:
    damage = facts.damage
    text = ""
    if facts.interval_ns > 0:
        text = f" Up to {-(-facts.interval_ns // 10**9)} s is missing."
    else:
        text = " Nothing was journalled."
    if damage.intervals or damage.unreadable or damage.chunks:
        lost = f"{damage.intervals} {'interval' if damage.intervals == 1 else 'intervals'}" if damage.intervals else "Part of it"
        text += f" {lost} in the middle cannot be read."
    return text


def _nothing_sent(facts: Facts) -> list[Reason]:
    if facts.figures.messages["invoked"]:
        return []
    causes = sorted(facts.figures.failures.items(), key=lambda item: (-item[1], item[0]))
    why = f" The most frequent failure was `{causes[0][0]}` ({causes[0][1]:,} times)." if causes else ""
    return [Reason("no_samples", f"No message was sent, so nothing was measured.{why}")]


def _recorder(figures: Figures) -> list[Reason]:
    """Rows that our own recorder could not take are missing from every figure."""
    count = figures.counters.get("noted|recorder.fault", 0)
    if not count:
        return []
    rows = "one row was" if count == 1 else f"{count:,} rows were"
    return [Reason("recorder_fault", f"{rows[0].upper()}{rows[1:]} not counted by the recorder. This is a fault of guestswarm.")]


def _generator(facts: Facts) -> list[Reason]:
    """Signs that decide and are over their limit."""
    rules = facts.rules
    late = [line for line in facts.health if line.decides and line.ok is False]
    if facts.damage.any:  # which says itself whose journal has no end
        late = [line for line in late if line.name != "workers lost"]
    reasons = [
        Reason(
            "generator",
            f"The generator cannot be believed: {line.name} was {quantity(line, line.value)}, "
            f"the limit is {quantity(line, line.limit)}.",
        )
        for line in late
    ]
    if reasons and rules and all(rule.verdict is Verdict.PASS for rule in rules):
        reasons[0].text += " The rule would have held." if len(rules) == 1 else " The rules would all have held."
    return reasons


COUNTED = frozenset(
    {
        "workers lost",
        "refused by the system",
        "journal errors",
        "blocked loop turns",
        "dropped by the kernel",
        "wall clock steps",
        "machine suspended",
    }
)
"""Signs of health that are counts; of the others those without a unit are shares."""


def quantity(line: HealthLine, value: float | None) -> str:
    """A value of a sign of health in its own unit."""
    if value is None or line.unit:
        return amount(value, line.unit)
    return f"{value:,.0f}" if line.name in COUNTED else f"{value * 100:.3g} %"


def _broken(rules: Sequence[RuleResult], broken: Sequence[RuleResult]) -> list[Reason]:
    """The broken rules, and at the end of the first how many there are."""
    reasons = [Reason("rule_broken", _sentence(rule)) for rule in broken]
    if reasons and len(rules) > 1:
        unjudged = sum(rule.verdict is Verdict.UNKNOWN for rule in rules)
        number = f" {len(broken)} of {len(rules)} rules {'is' if len(broken) == 1 else 'are'} broken"
        reasons[0].text += f"{number}, {unjudged} not judged." if unjudged else f"{number}."
    return reasons


def _unjudged_rules(rules: Sequence[RuleResult]) -> list[Reason]:
    open_rules = [rule for rule in rules if rule.verdict is Verdict.UNKNOWN and not rule.note.startswith(UNTIL_THEN)]
    return [Reason("rule_unknown", _sentence(rule)) for rule in open_rules]


def _until_then(rules: Sequence[RuleResult]) -> str:
    """How the rules stood when a run ended before its time; they have no reasons of their own for that."""
    cut = [rule for rule in rules if rule.note.startswith(UNTIL_THEN)]
    held = sum(rule.note == HELD for rule in cut)
    if not cut:
        return ""
    if held == len(cut) == len(rules):
        return " Until then the rule held." if held == 1 else f" Until then all {held} rules held."
    return f" Until then {held} of {len(rules)} rules held."


def _truth_missing(facts: Facts) -> list[Reason]:
    """No truth is no reason for doubt where rules were judged, unless the truth was spoilt."""
    if facts.truth_state == "broken":
        return [Reason("truth_broken", f"The simulator's truth cannot be used: {facts.truth_detail}.")]
    if facts.rules or _compared(facts.truth) or facts.truth_state == "journal":  # a damaged journal has its own reason
        return []
    if facts.simulated:
        why = f": {facts.truth_detail}" if facts.truth_detail else ""
        return [Reason("truth_not_compared", f"No rule was asked for, and the truth was not compared{why}.")]
    return [Reason("no_rules", "No rule was asked for, so nothing was judged.")]


def _compared(truth: Sequence[TruthRow]) -> bool:
    return bool(truth) and all(row.equal is not None for row in truth)


def _held(facts: Facts) -> Reason:
    count = len(facts.rules)
    if count:
        held = "The one rule held." if count == 1 else f"All {count} rules held."
        return Reason("rules_held", held + _closest(facts.rules))
    return Reason("truth_equal", f"No rule was asked for; truth equal in {len(facts.truth)} of {len(facts.truth)} rows.")


def _closest(rules: Sequence[RuleResult]) -> str:
    """Which of the times came nearest to its limit."""
    times = [
        (rule.observed.value / rule.limit, rule)
        for rule in rules
        if rule.unit == "ms" and rule.limit and rule.observed.value is not None and rule.observed.value <= rule.limit
    ]
    if not times:
        return ""
    _, rule = max(times, key=lambda pair: pair[0])
    name = rule.what.replace(".response ", " ")
    return f" The closest was {name} with {amount(rule.observed.value, '')} of {amount(rule.limit, rule.unit)}."


def _sentence(rule: RuleResult) -> str:
    if rule.sentence:
        return rule.sentence
    seen = "nothing was measured" if rule.observed.value is None else f"measured {amount(rule.observed.value, rule.unit)}"
    return f"`{rule.rule}`: {seen}."


def _listed(word: str, names: Sequence[str]) -> str:
    return f"{word} {names[0]}" if len(names) == 1 else f"{len(names)} {word}s ({', '.join(names)})"


def span(low: int | None, high: int | None) -> str:
    """`24`, `31 to 45`, or a dash where nothing is known."""
    if low is None or high is None:
        return "–"
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def clock(ns: int) -> str:
    """`3:12`, and `1:02:03` past an hour."""
    whole = max(ns, 0) // 10**9
    hours, minutes, secs = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{secs:02}" if hours else f"{minutes}:{secs:02}"


def amount(value: float | None, unit: str) -> str:
    """A value with its unit, three significant digits but whole numbers in full."""
    if value is None:
        return "–"
    text = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{text} {unit}" if unit else text
