"""A capacity search in words: the answer's sentence first, then what stands beside it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from harness.report.wording import capital, digits, listed, many, ms
from harness.search.answers import Answer, HeadRoom
from harness.search.judge import ACHIEVED, ERRORS, RISING
from harness.search.plan import CapacityPlan
from harness.search.steps import Step
from harness.verdicts.lattice import Verdict
from harness.verdicts.slo import SloError, parse

_UNWRITTEN = {ERRORS: "the share of errors", ACHIEVED: "the achieved rate", RISING: "the number of operations under way"}
"""What breaks a step though no rule mentions it."""


def load_words(load: float | None, plan: CapacityPlan, *, unit: bool = True) -> str:
    """A load with its unit: `2,460 guests`, `12.5 arrivals/s`."""
    if load is None:
        return "–"
    if plan.whole:
        return many(round(load), "guest") if unit else f"{load:,.0f}"
    return f"{digits(load)} arrivals/s" if unit else digits(load)


def rule_words(rule: str) -> str:
    """What a rule is about, in short: `reply p95`, `messages failed rate`; what is no rule stays as it is."""
    try:
        found = parse(rule)
    except SloError:
        return rule
    return found.what().replace(".response p", " p").replace(".failed", " failed")


def headline(answer: Answer, plan: CapacityPlan, stopped: str, ended: str) -> str:
    """The answer, in the first sentence of everything."""
    first = f" {capital(_subject(answer))} breaks first." if answer.first_broken_slo else ""
    room = f" {planned_words(answer.head_room, plan)}" if answer.head_room is not None else ""
    code = answer.reasons[0].code if answer.reasons else ""
    if answer.generator_bound:
        if not answer.low:
            return f"Nothing is known: already at the first load the generator is the limit.{room}"
        return f"At least {load_words(answer.low, plan)}; beyond that the generator is the limit.{room}"
    if answer.complete and not answer.steps:
        return f"Nothing is known: the search has left no step that can be read.{room}"
    if not answer.complete:
        return f"{_ended(answer, stopped, ended)} {_so_far(answer, plan)}{first}{room}"
    if code == "unconfirmed" and answer.broke is None:
        least = f"At least {load_words(answer.low, plan)}" if answer.low else "Nothing is known"
        return f"{least}: the longer run at {load_words(answer.high, plan)} did not hold all rules.{room}"
    if code == "unconfirmed":
        about = f"About {load_words(answer.estimate, plan)} ({_interval(answer, plan)})"
        found = about if answer.estimate else capital(_between(answer, plan))
        return f"{found}, but the longer run at {load_words(answer.confirmed_load, plan)} did not hold all rules.{first}{room}"
    if answer.broke is None:
        return f"At least {load_words(answer.low, plan)}: no more was tried, and nothing broke.{room}"
    if answer.held is None:
        broken = _subject(answer)
        return f"Not even {load_words(answer.broke, plan)} {_hold(answer.broke, plan)} all rules: {broken} breaks.{room}"
    return f"{load_words(answer.estimate, plan)} {_hold(answer.estimate, plan)} all rules ({_interval(answer, plan)}).{first}{room}"


def _subject(answer: Answer) -> str:
    """What breaks, as the subject of a sentence."""
    first = answer.first_broken_slo or ""
    return rule_words(first) if answer.by_rule else _UNWRITTEN.get(first, first)


def _hold(load: float | None, plan: CapacityPlan) -> str:
    return "holds" if plan.whole and round(load or 0) == 1 else "hold"


def _ended(answer: Answer, stopped: str, ended: str) -> str:
    how = {"interrupted": "Stopped by Ctrl-C", "terminated": "Stopped by SIGTERM"}.get(ended)
    number = many(answer.steps, "step")
    if how is not None:
        return f"{how} after {number}."
    stopped = stopped or (answer.reasons[0].text.partition(": ")[2] if answer.reasons[0].code == "stopped" else "")
    return f"The search ended after {number}, before it was done{f': {stopped}' if stopped else ''}."


def _so_far(answer: Answer, plan: CapacityPlan) -> str:
    if answer.estimate is not None:
        return f"Until then: about {load_words(answer.estimate, plan)} ({_interval(answer, plan)}), not confirmed."
    if answer.held is not None and answer.broke is None:
        return f"Until then: at least {load_words(answer.held, plan)}."
    if answer.broke is not None:
        return f"Until then: {_between(answer, plan)}."
    return "Nothing is known."


def _between(answer: Answer, plan: CapacityPlan) -> str:
    if answer.held is None:
        return f"less than {load_words(answer.broke, plan)}"
    return f"between {load_words(answer.held, plan, unit=False)} (held) and {load_words(answer.broke, plan)} (broke)"


def _interval(answer: Answer, plan: CapacityPlan) -> str:
    span = f"{load_words(answer.low, plan, unit=False)} – {load_words(answer.high, plan, unit=False)}"
    return f"95 % interval {span}" if answer.method == "fit" else f"between {span}"


def planned_words(room: HeadRoom, plan: CapacityPlan) -> str:
    """How the planned load compares."""
    planned = f"A plan of {load_words(room.plan, plan, unit=False)}"
    if room.verdict is Verdict.PASS:
        spare = f", with {_percent(room.room)} to spare" if room.room is not None and room.room > 0 else ""
        return f"{planned} fits{spare}."
    if room.verdict is Verdict.FAIL:
        return f"{planned} is {_percent(room.excess)} too much." if room.excess is not None else f"{planned} is too much."
    if room.room is None:
        return f"Whether {planned[0].lower()}{planned[1:]} fits is not known."
    return f"{planned} lies within the interval: whether it fits is open."


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2g} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def confirm_words(answer: Answer, plan: CapacityPlan) -> str:
    """Whether the longer run held."""
    if answer.confirmed is None:
        if not plan.confirm:
            return "A confirmation run was not asked for."
        known = answer.estimate or answer.low
        return "No longer run has confirmed it." if known else "There was nothing that a longer run could confirm."
    what = "held all rules" if answer.confirmed else "did not hold all rules"
    return f"A run {plan.confirm_factor:g} times as long at {load_words(answer.confirmed_load, plan)} {what}."


def steps_words(steps: Sequence[Step], plan: CapacityPlan) -> str:
    """How many steps, and how they came out."""
    if not steps:
        return "No step was finished."
    verdicts = [step.judgement.verdict for step in steps]
    names = (("held", "held"), ("broke", "broke"), ("undecided", "did not decide"), ("invalid", "not counted"))
    parts = [f"{verdicts.count(key)} {word}" for key, word in names if key in verdicts]
    loads = [step.order.load for step in steps]
    least, most = load_words(min(loads), plan, unit=False), load_words(max(loads), plan)
    span = f"at {most}" if min(loads) == max(loads) else f"from {least} to {most}"
    return f"{many(len(steps), 'step')} {span}: {listed(parts)}."


def calibrated_words(beyond: Sequence[str], largest_load: str) -> str:
    """What of the search lies beyond what this machine was found to drive."""
    if not beyond:
        return ""
    went = f"The search went beyond the calibrated load of this machine ({listed(beyond)}, at {largest_load})"
    return f"{went}; each step was judged by its own signs of health."


def cost_words(rule: str, more: str, extra: tuple[float, float, float] | None, near: str) -> str:
    """What so much more load costs in latency near the limit; `extra` in ms, with its interval."""
    if extra is None:
        return "What more load costs in latency cannot be said: four steps near the limit are needed, at three loads."
    cost, low, high = (ms(value) for value in extra)
    return f"Near the limit ({near}) each {more} more cost {cost} of {rule_words(rule)} (95 % interval {low} – {high})."


def law_words(why: str, peak: str) -> str:
    """Whether the Universal Scalability Law says anything, and what."""
    if why:
        return f"The Universal Scalability Law is not fitted: {why}."
    return f"By the Universal Scalability Law {peak}."
