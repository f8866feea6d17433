"""What one step of a capacity search measured: a fold over its run folder, the steady part alone.

An operation is a guest's message and the reply to it; it counts where the message's outcome was known. Little's figures are of
guests who chat: from one answer to the next they wait and think, and that is the population of `N = X * (R + Z)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from harness.core.spread import parse_spread
from harness.errors import FailureCause
from harness.journal.reader import JournalReader
from harness.journal.records import ONE_WAY, SPANS, Interval
from harness.metrics.censored import failed_messages
from harness.report.build import build_model
from harness.report.fold import intervals, journals
from harness.report.jobs.capacity_open import StillOpen, missed
from harness.report.jobs.capacity_stretch import GUESTS, MESSAGES, REPLIES, Stretch, blocks, without_warm_up
from harness.report.model import Model
from harness.search.plan import StepLimits
from harness.search.rising import rising
from harness.search.steps import RuleShare, StepResult
from harness.verdicts.check import order_interval, readable
from harness.verdicts.lattice import Verdict
from harness.verdicts.slo import Rule

BLOCKS = 24
"""Spans of time that samples are counted in; a step has at least that many intervals."""
_LOADS_OWN = frozenset({"guests come/planned"})
"""Signs that say as much about the target as about the generator: they count as planned load that was not achieved."""
_REQUESTS, _FRAMES = "requests|", "requests|WS "
_MOST_CHAT = 0.5
"""If fewer than that share of the guests who should chat do, most of the load was never there."""
_CEILING = (0.95, 1.02)
"""Shares of an approval's requests per second at which it is what sets the pace."""
_QUEUES_TOO = frozenset({"Little's law, messages", "Little's law, replies"})
"""Signs that a queue sets off as well which only grows, or in which some wait for good."""
_STUCK = 0.05
"""So many of those under way must wait for good to be seen in Little's law."""


@dataclass(frozen=True, slots=True)
class MeasuredStep:
    """A step's figures, and what else a search wants to know of it."""

    result: StepResult
    ended: str
    """How its run ended, as the manifest says."""
    messages_per_s: float | None
    """Guests' messages sent per second, in the steady part."""
    beyond: Sequence[str]
    """What of it lies beyond the calibrated load of this machine."""
    refused: int = 0
    """Answers "too many", in the steady part."""

    @property
    def complete(self) -> bool:
        """Whether the run came to its planned end, or was ended early by a rule that was broken for good."""
        return self.ended in ("finished", "aborted")


def measure_step(
    folder: Path, load: float, *, whole: bool, warm_up_ns: int | None = None, limits: StepLimits | None = None
) -> MeasuredStep:
    """Read a step's run folder. `whole`: loads are guests, else arrivals/s. `warm_up_ns`: None to find it by MSER-5.

    Raises RunFolderError without a manifest, JournalError for a journal that is not one of ours.
    """
    model = build_model(folder)
    rules = readable([str(text) for text in model.manifest.get("slo") or ()])
    stock = REPLIES if any(rule.subject == "reply" for rule in rules) else MESSAGES
    loaded, still_open = _under_load(folder, model)
    steady = without_warm_up(loaded, stock, warm_up_ns)
    span, parts = Stretch(steady), blocks(steady, BLOCKS)
    flying = [part.present(stock) or 0.0 for part in parts]
    shares = tuple(_share(rule, parts, still_open) for rule in rules if asks_share(rule))
    late = max((still_open.late(rule) for rule in rules if rule.kind == "percentile" and asks_share(rule)), default=0)
    healthy, why = _believed(model, flying, late, limits or StepLimits())
    if healthy and (why := _held_back(model, span)):
        healthy = False
    errors, operations = _operations(span, still_open)
    think = _think_s(model.manifest, span) if whole else None
    ended = str(model.manifest.get("ended") or "killed")
    seconds = span.seconds
    completed = span.done(GUESTS) if think is not None else span.count("messages|ok", "messages|fail", "messages|info")
    middle, low, high = _percentile(rules, span)
    result = StepResult(
        load,
        seconds,
        rules=shares,
        broken=tuple(_broken(model, rules, ended)),
        errors=errors,
        operations=operations,
        achieved=_achieved(model, loaded, load if whole else None, still_open.unserved(span, rules)),
        in_flight=tuple(flying),
        generator_healthy=healthy,
        generator=why,
        throughput=completed / seconds if seconds else None,
        response_s=span.took_s(GUESTS),
        think_s=think,
        present=span.present(GUESTS),
        percentile_s=middle,
        percentile_low_s=low,
        percentile_high_s=high,
        reference=Path(folder).name,
    )
    sent = span.count("messages|invoked") / seconds if seconds else None
    refused = sum(count for name, count in span.counters.items() if name.startswith("refused|"))
    return MeasuredStep(result, ended, sent, model.calibration.beyond if model.calibration is not None else [], refused)


def asks_share(rule: Rule) -> bool:
    """Whether a rule asks that a share of samples keeps to a limit, so that it can be told from counts by blocks of time."""
    if not rule.upper or rule.subject in ONE_WAY:
        return False
    return rule.kind == "percentile" or (rule.kind == "failed rate" and rule.limit > 0)


def is_floor(rule: Rule) -> bool:
    """Whether a rule asks for at least something, such as a rate of messages: what a small load breaks is no limit."""
    return rule.op in (">", ">=") or (rule.op == "==" and rule.limit > 0)


def _under_load(folder: Path, model: Model) -> tuple[list[Interval], StillOpen]:
    """Interval records that lie within the full load, and what was under way at its end."""
    phases = model.manifest.get("phases") or {}
    if "load" not in phases:
        return [], StillOpen([], 0)
    begin, end = int(phases["load"]), int(phases.get("settle", model.measured.last_ns))
    records = list(intervals([JournalReader(path) for path in journals(folder)]))
    return [record for record in records if begin <= record.t0_ns < record.t1_ns <= end], StillOpen(records, end)


# ---------------------------------------------------------------- rules
def _share(rule: Rule, parts: Sequence[Stretch], still_open: StillOpen) -> RuleShare:
    if rule.kind == "percentile":
        counts = _and_last([_within(rule, part) for part in parts], still_open.late(rule))
        return RuleShare(rule.show(), float(rule.share), counts, open=still_open.undecided(rule))
    counts = _and_last([_not_failed(rule, part) for part in parts], still_open.failed(rule.subject))
    return RuleShare(rule.show(), 1 - float(rule.limit), counts, point=True)


def _and_last(counts: Sequence[tuple[int, int]], late: int) -> tuple[tuple[int, int], ...]:
    """The same, and in the last span so many more that did not keep to it."""
    return (*counts[:-1], (counts[-1][0], counts[-1][1] + late)) if counts else ()


def _within(rule: Rule, part: Stretch) -> tuple[int, int]:
    """Samples within the limit, and all: what timed out took longer than any limit that can be kept."""
    found = part.histograms.get(f"{rule.subject}|ok|{rule.part}")
    limit_us = math.floor(rule.limit / 1000)
    late = missed(part, rule.subject, rule.part, limit_us)
    if found is None:
        return 0, late
    return found.at_or_below(limit_us), found.count + late


def _not_failed(rule: Rule, part: Stretch) -> tuple[int, int]:
    if rule.subject == "messages":
        failed, ok = failed_messages(part.counters), part.count("messages|ok")
    else:
        found = part.histograms.get(f"{rule.subject}|ok|{'span' if rule.subject in SPANS else 'service'}")
        failed, ok = sum(part.failed(rule.subject).values()), found.count if found is not None else 0
    return ok, ok + failed


def _broken(model: Model, rules: Sequence[Rule], ended: str) -> list[str]:
    """Rules that no share can be given of, as the run's own report judges them; first the one that ended the step early."""
    aborted = model.manifest.get("aborted")
    first = [str(aborted["rule"])] if ended == "aborted" and isinstance(aborted, Mapping) and aborted.get("rule") else []
    counted = {rule.show() for rule in rules if not asks_share(rule) and not is_floor(rule)}
    failed = [result.rule for result in model.rules if result.verdict is Verdict.FAIL and result.rule in counted]
    return [*first, *(name for name in failed if name not in first)]


def _percentile(rules: Sequence[Rule], span: Stretch) -> tuple[float | None, float | None, float | None]:
    """The percentile that the first percentile rule is about, and its interval, in seconds."""
    rule = next((rule for rule in rules if asks_share(rule) and rule.kind == "percentile"), None)
    found = span.histograms.get(f"{rule.subject}|ok|{rule.part}") if rule is not None else None
    if rule is None or found is None or not found.count:
        return None, None, None
    ends = [found.percentile(rule.share), *order_interval(found, rule.share)]
    middle, low, high = (None if value is None else value / 1e6 for value in ends)
    return middle, low, high


# ---------------------------------------------------------------- load and health
def _operations(span: Stretch, still_open: StillOpen) -> tuple[int, int]:
    """How many operations failed, and of how many: a message that did not get there, or whose reply did not come, then or later.

    What was still open when its guest left, as every guest does once a conversation has lasted long enough, is no failure. Of a
    message that its protocol does not confirm only the reply tells.
    """
    open_still = (FailureCause.INTERRUPTED.value, FailureCause.UNCONFIRMED.value)
    excused = sum(
        count
        for name, count in span.counters.items()
        if name.startswith("messages.failed|") and name.rpartition("|")[2] in open_still
    )
    ended = span.count("messages|ok", "messages|fail", "messages|info")
    failed = failed_messages(span.counters) - excused
    unanswered = sum(span.failed("reply").values())
    unanswered += still_open.failed("reply")
    return min(failed + unanswered, ended), ended


def _achieved(model: Model, loaded: Sequence[Interval], guests: float | None, unserved: int) -> float | None:
    """Planned load that was really there: guests (closed), arrivals (open), and messages by their schedule.

    `unserved` guests are there and stand in line for an agent for the whole of the step.
    """
    shares = []
    if loaded and guests:
        shares.append(min(_mean_guests(model, loaded[0].t0_ns, loaded[-1].t1_ns) / guests, 1.0))
        chatting = (Stretch(loaded).present(GUESTS) or 0.0) / guests / _chat_share(model.manifest)
        if chatting < _MOST_CHAT:  # they came, and wait outside: nobody speaks to the target
            shares.append(chatting)
        shares.append(1 - min(unserved / guests, 1.0))
    came, no_place = model.measured.count("guests.arrived"), model.measured.count("noted|arrival.dropped")
    if guests is None and came + no_place:
        shares.append(came / (came + no_place))
    sent, dropped = model.measured.count("messages|invoked"), model.measured.count("noted|send.dropped")
    if sent + dropped:
        shares.append(sent / (sent + dropped))
    return min(shares, default=None)


def _chat_share(manifest: Mapping[str, Any]) -> float:
    """What share of its time a guest means to chat: the rest is the pause between two conversations."""
    scenario = manifest.get("scenario")
    guests = scenario.get("guests") if isinstance(scenario, Mapping) else None
    if not isinstance(guests, Mapping) or not {"session_length", "between"} <= guests.keys():
        return 1.0
    stay, between = (parse_spread(guests[name]).mean for name in ("session_length", "between"))
    return stay / (stay + between) if stay > 0 else 1.0


def _mean_guests(model: Model, begin: int, end: int) -> float:
    area = span = 0
    for before, after in pairwise(model.measured.series):
        if begin <= before.at_ns and after.at_ns <= end:
            here = sum(count for state, count in before.guests.items() if state != "finished")
            area += here * (after.at_ns - before.at_ns)
            span += after.at_ns - before.at_ns
    return area / span if span else 0.0


def _believed(model: Model, flying: Sequence[float], late: int, limits: StepLimits) -> tuple[bool, str]:
    """Whether the generator is to be believed, else why not, by the signs that decide in every run's report.

    `late`: how many of those under way at the end had waited too long already.
    """
    grows = rising(flying[len(flying) // 2 :]).p < limits.rising_p or late * len(flying) > _STUCK * sum(flying)
    excused = _LOADS_OWN | (_QUEUES_TOO if grows else frozenset())
    over = [line.name for line in model.health if line.decides and line.ok is False and line.name not in excused]
    if over:
        return False, f"the generator was over its limits: {', '.join(over)}"
    unequal = [row.name for row in model.truth if row.equal is False]
    if unequal:
        return False, f"the harness contradicts the simulator: {', '.join(unequal[:3])}"
    return True, ""


def _held_back(model: Model, span: Stretch) -> str:
    """Why requests waited on our side: as many left as the approval allows. Empty: there was room."""
    approval = model.manifest.get("authorisation")
    allowed = approval.get("max_requests_per_s") if isinstance(approval, Mapping) else None
    if not allowed or not span.seconds or model.manifest.get("simulated"):
        return ""
    requests = sum(count for name, count in span.counters.items() if name.startswith(_REQUESTS) and not name.startswith(_FRAMES))
    share = requests / span.seconds / float(allowed)
    if not _CEILING[0] <= share <= _CEILING[1]:  # on this machine none is kept to, and more may have left
        return ""
    return f"the approval's max_requests_per_s of {float(allowed):g} held the guests back"


def _think_s(manifest: Mapping[str, Any], span: Stretch) -> float | None:
    """How long guests thought on average, as they did: those who chat and wait for nothing. None: they do not wait for answers."""
    scenario = manifest.get("scenario")
    guests = scenario.get("guests") if isinstance(scenario, Mapping) else None
    if not isinstance(guests, Mapping) or guests.get("pacing", "think") != "think":
        return None
    here, waiting, done = span.present(GUESTS), span.present(REPLIES), span.done(GUESTS)
    return max(here - (waiting or 0.0), 0.0) * span.seconds / done if here is not None and done else None
