"""The sentences that open a soak's sections. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from harness.drift.model import State, worst
from harness.drift.words import length
from harness.report.soak.model import SoakFigures
from harness.report.wording import clock, listed, many
from harness.verdicts.lattice import Verdict, WindowResult

_ORDER = (State.LEAK, State.STEP, State.SUSPECT, State.INCONCLUSIVE, State.NOT_JUDGED, State.STABLE)
_WORDS = {
    State.LEAK: ("leaks", "leak"),
    State.STEP: ("stepped", "stepped"),
    State.SUSPECT: ("is suspect", "are suspect"),
    State.INCONCLUSIVE: ("cannot be told", "cannot be told"),
    State.NOT_JUDGED: ("could not be judged", "could not be judged"),
    State.STABLE: ("is stable", "are stable"),
}


def series_words(soak: SoakFigures) -> str:
    """The worst series, or how many are stable; why none was judged."""
    if not soak.series:
        return "No series could be followed: the journal holds too little."
    if not soak.planned:
        why = f"full load of {length(soak.full_s)} is less than the {length(soak.least_s)} that a trend needs"
        return f"None of {many(len(soak.series), 'series', 'series')} was judged for trends: {why}."
    counts = Counter(one.state for one in soak.verdicts)
    parts = [f"{counts[state]:,} {_WORDS[state][counts[state] != 1]}" for state in _ORDER if counts[state]]
    whole = f"Of {many(len(soak.series), 'series', 'series')} {listed(parts)}."
    found = worst(soak.verdicts)
    if found is None or found.state is State.STABLE:
        return f"All {len(soak.series)} series are stable." if len(soak.series) != 1 else "The one series is stable."
    return f"{found.sentence} {whole}"


def windows_words(rules: Sequence[tuple[str, Sequence[WindowResult]]]) -> str:
    """How many windows are over, and of which rule most."""
    total = sum(len(windows) for _, windows in rules)
    over = [(sum(one.verdict is Verdict.FAIL for one in windows), rule, windows) for rule, windows in rules]
    unknown = sum(one.verdict is Verdict.UNKNOWN for _, windows in rules for one in windows)
    most, rule, windows = max(over, key=lambda one: one[0])
    tail = f"; {unknown:,} could not be judged" if unknown else ""
    if not most:
        held = total - unknown
        return f"{held:,} of {many(total, 'window')} held{tail}." if unknown else f"All {many(total, 'window')} held."
    times = [clock(one.t0_ns / 1e9) for one in windows if one.verdict is Verdict.FAIL]
    named = listed(times) if len(times) <= 3 else f"{', '.join(times[:3])} and {len(times) - 3} more"
    return (
        f"{sum(count for count, _, _ in over):,} of {many(total, 'window')} are over a limit, most of `{rule}` (at {named}){tail}."
    )


def course_words(soak: SoakFigures) -> str:
    """The error budget."""
    return soak.budget.sentence if soak.budget is not None else "No error budget was asked for."


def happenings_words(soak: SoakFigures, counts: Mapping[str, int]) -> str:
    """What befell the run beside its load."""
    lost = counts.get("worker_lost", 0) or max(soak.sessions - 1 - counts.get("resumed", 0), 0)
    parts = [
        many(lost, "load child was lost", "load children were lost") if lost else "",
        f"the soak was resumed {many(counts['resumed'], 'time')}" if counts.get("resumed") else "",
        f"the target was started anew {many(soak.restarts, 'time')}" if soak.restarts else "",
        f"the wall clock was set {many(counts['clock_step'], 'time')}" if counts.get("clock_step") else "",
        "the journal could not be written for a while" if counts.get("journal_failed") else "",
    ]
    said = [part for part in parts if part]
    files = f"The journal is in {many(soak.segments, 'file')}."
    if not said:
        return f"Nothing befell the run. {files}"
    text = listed(said)
    return f"{text[:1].upper()}{text[1:]}. {files}"
