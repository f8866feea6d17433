"""The sentence and the note of a judged series: numbers, units, and when the limit is met. Pure."""

from __future__ import annotations

import msgspec

from harness.drift.model import Series, SeriesVerdict, State
from harness.drift.words import between, capital, chance, clock, digits, length, writer


def say(found: SeriesVerdict, series: Series) -> SeriesVerdict:
    """The same with its words."""
    sentence, note = _words(found, series)
    return msgspec.structs.replace(found, sentence=sentence, note=note)


def _words(found: SeriesVerdict, series: Series) -> tuple[str, str]:
    name = capital(series.name)
    if found.state is State.NOT_JUDGED:
        return f"{name} was {found.note or 'not judged'}.", found.note or "not judged"
    change, low, high = found.change or 0.0, found.change_low or 0.0, found.change_high or 0.0
    budget, median = found.budget or 0.0, found.median or 0.0
    write = writer(series.unit, max(abs(change), abs(low), abs(high), abs(budget)))
    level = writer(series.unit, max(abs(median), abs(found.now or 0.0)))
    took = length((found.end_s or 0.0) - (found.begin_s or 0.0))
    limit, limit_note = _limit(found, series)
    if found.state in (State.STABLE, State.INCONCLUSIVE):
        seen = f"its change over {took} is {write(change)} ({between(write, low, high)})"
        if found.state is State.STABLE:
            return f"{name} is stable at {level(median)}: {seen}, its budget {write(budget)}.{limit}", limit_note
        why = ""
        if found.big and not found.trend:
            why = " The trend may be an accident" + (f" ({chance(found.q)} over all series)." if found.q is not None else ".")
        sentence = f"{name} cannot be told: {seen}, its budget {write(budget)}.{why} A longer run is needed."
        return f"{sentence}{limit}", limit_note or "longer run needed"
    part = f", {digits(100 * abs(change) / abs(median))} %" if median else ""
    way = "grew" if change >= 0 else "fell"
    sure = chance(found.p) if found.p is not None else ""
    least, most = sorted((abs(low), abs(high)))
    grew = f"{name} {way} by {write(abs(change))} ({between(write, least, most)}{part}) in {took}"
    allowed = f"its budget is {write(budget)}"
    if found.state is State.STEP and found.step is not None:
        step = found.step
        where = f"at {clock(step.at_s or 0.0)} (between {clock(step.first_s or 0.0)} and {clock(step.last_s or 0.0)})"
        jumped = f"{name} jumped from {level(step.before)} to {level(step.after)} {where}"
        return f"{jumped} and stayed there; {allowed}.", f"step at {clock(step.at_s or 0.0)}"
    if found.state is State.SUSPECT:
        return f"{grew} and levels off, as warm-up or a cache would ({sure}); {allowed}.{limit}", limit_note or "levels off"
    hourly = writer(series.unit, abs(found.slope_per_h or 0.0))(abs(found.slope_per_h or 0.0))
    return f"{grew}, {hourly} an hour, and does not level off ({sure}); {allowed}.{limit}", limit_note


def _limit(found: SeriesVerdict, series: Series) -> tuple[str, str]:
    """When the limit is met, as a sentence and as a note; nothing where it is not."""
    if series.limit is None:
        return "", ""
    amount = writer(series.unit, abs(series.limit))(series.limit)
    beyond = found.limit_at_s is not None and found.end_s is not None and found.limit_at_s <= found.end_s
    if beyond:
        return f" It is past its limit of {amount} already.", f"past its limit of {amount}"
    if found.limit_at_s is None or found.state is State.STABLE or not found.trend:
        return "", ""
    at = length(found.limit_at_s)
    late = length(found.limit_last_s) if found.limit_last_s is not None else "never"
    early = length(found.limit_first_s) if found.limit_first_s is not None else at
    return (
        f" At this slope its limit of {amount} is met {at} after the start ({early} to {late}).",
        f"meets {amount} after {at}",
    )
