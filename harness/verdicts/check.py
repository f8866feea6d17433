"""Rules against what was measured: PASS, FAIL, or UNKNOWN with what is missing. Pure.

What is not known is never a pass: no sample is UNKNOWN, too few for the percentile is UNKNOWN, and so is a percentile that
the generator's own delay blurs. Counts go by their bounds: `lost.definite` by what is certain, `lost.possible` by the most.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec
import numpy as np

from harness.errors import FailureCause
from harness.journal.records import ONE_WAY, SPANS
from harness.metrics.censored import censored, failed_messages, failures, is_cut_wait, outwaited
from harness.metrics.histogram import HIGHEST, Histogram, highest_of, lowest_of
from harness.verdicts.intervals import ranks, share_interval
from harness.verdicts.lattice import Bound, RuleResult, Verdict, WindowResult
from harness.verdicts.slo import Rule, SloError, parse
from harness.verdicts.windows import composed

PRINTED_BEYOND = 10
"""A percentile is shown only with so many samples beyond it."""
JUDGED_BEYOND = 100
"""With so many beyond it, a percentile is judged as it is; with fewer only if its whole interval is on one side of the limit."""
NARROW, WIDE = 0.10, 0.30
"""Width of the bracket over the percentile: valid up to the first; up to the second if both ends give the same verdict."""
SHARP_US = 5_000
"""A bracket no wider than that is never too wide, if both ends give the same verdict: an idle loop looks up every 2 ms, and that is
much of a percentile of 3 ms, and says nothing against the generator. The send delay has the same floor."""
TIMEOUTS = frozenset(
    cause.value
    for cause in (
        FailureCause.TIMEOUT,
        FailureCause.CONNECT_TIMEOUT,
        FailureCause.AUTH_TIMEOUT,
        FailureCause.CONFIRM_TIMEOUT,
        FailureCause.REPLY_TIMEOUT,
        FailureCause.QUEUE_STALLED,
    )
)
"""Causes of samples that are cut off: they would have taken longer than they were given."""
UNTIL_THEN = "until then"
HELD, BROKEN = f"{UNTIL_THEN} it held", f"{UNTIL_THEN} it was broken"
"""Notes of rules that are not judged since the run did not finish."""
_BOTH = ("g", "a")
_COPIES = ("same_connection", "cross_connection", "resend")


class Evidence(msgspec.Struct):
    """Everything that a rule can be judged by."""

    histograms: Mapping[str, Histogram]
    """By the journal's keys, `MEASURE|OUTCOME|KIND`, in microseconds."""
    counters: Mapping[str, int]
    guests: Mapping[str, int | None] = {}
    """`finished`, `failed`, `peak`; None or absent where it is not known (yet)."""
    steady_sent: int | None = None
    """Messages of guests within the steady load."""
    steady_s: float | None = None
    finished: bool = True
    """Whether this is all that there will be. If not, only what can never be mended is judged."""
    unresolved: Mapping[str, str] = {}
    """Measures that came and yet have no figures, or not all, since a server's clock is not known well enough: why."""
    windows: Mapping[str, Sequence[WindowResult]] = {}
    """By `rule.show()`, what the windows of a rule came to that must hold in every one (see `verdicts.windowed`)."""
    wide: float = WIDE
    """Bracket width beyond which the generator was too slow to tell."""

    def count(self, *names: str) -> int:
        """Sum of counters by their full names."""
        return sum(self.counters.get(name, 0) for name in names)

    def family(self, head: str) -> int:
        """Sum of the counters `head|…`."""
        return sum(count for name, count in self.counters.items() if name.startswith(head + "|"))


def anomaly_counts(counters: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """How often each kind of anomaly occurred, from certain to possible; those that never did as well."""
    evidence = Evidence({}, counters)
    count = evidence.count

    def each(head: str) -> int:
        return count(*(f"{head}|{direction}" for direction in _BOTH))

    definite = each("lost.definite") + count("unlisted|g")
    server = count("disconnects|server")
    exact = {
        "reordered": each("reordered"),
        **{f"duplicated.{how}": count(*(f"copies|{d}|dup_{how}" for d in _BOTH)) for how in _COPIES},
        "aborted": count("aborted|g"),
        "recovered": count("recovered|g"),
        "undetermined": count("undetermined|g"),
        "late": each("late"),
        "after_end": each("after_end"),
        "unexpected": count(*(f"copies|{d}|unexpected" for d in _BOTH)),
        "refused": evidence.family("refused"),
    }
    return {
        "lost": (definite, definite + each("lost.unread")),
        **{name: (number, number) for name, number in exact.items()},
        "disconnects": (server, server + count("disconnects|contested")),
    }


def judge_rules(texts: Sequence[str], evidence: Evidence) -> list[RuleResult]:
    """What each rule came to, in order. A text that is no rule (any more) is UNKNOWN."""
    results = []
    for text in texts:
        try:
            results.append(msgspec.structs.replace(check(parse(text), evidence), rule=text))
        except SloError as error:
            results.append(RuleResult(text, Verdict.UNKNOWN, sentence=f"`{text}` is not a rule: {error}.", note="not a rule"))
    return results


def readable(texts: Sequence[str]) -> list[Rule]:
    """Those of the rules that can be read."""
    rules = []
    for text in texts:
        try:
            rules.append(parse(text))
        except SloError:
            continue
    return rules


def doubted(result: RuleResult) -> RuleResult:
    """The same where the generator cannot be believed: its own delay may be what broke a time or a rate, so that is not judged."""
    if result.verdict is not Verdict.FAIL or result.unit not in ("ms", "/s"):
        return result
    note = "; ".join(part for part in (result.note, "generator not to be believed") if part)
    sentence = f"{result.sentence} The generator cannot be believed, so this is not judged."
    return msgspec.structs.replace(result, verdict=Verdict.UNKNOWN, note=note, sentence=sentence)


def check(rule: Rule, evidence: Evidence) -> RuleResult:
    """What one rule came to."""
    if rule.window_ns:
        result = composed(rule, evidence.windows.get(rule.show(), ()), _checked(rule.each, evidence))
    else:
        result = _checked(rule, evidence)
    return result if evidence.finished else _so_far(rule, result)


def _checked(rule: Rule, evidence: Evidence) -> RuleResult:
    if rule.kind == "percentile" and rule.subject in ONE_WAY:
        return _one_way(rule, evidence)
    if rule.kind == "percentile":
        return _percentile(rule, evidence)
    if rule.kind == "failed rate":
        return _failed_rate(rule, evidence)
    if rule.kind == "throughput":
        return _throughput(rule, evidence)
    return _ratio(rule, evidence) if rule.kind == "ratio" else _count(rule, evidence)


def broken_for_good(rule: Rule, result: RuleResult) -> bool:
    """Whether nothing that may still come can mend it: a number that only grows is over its limit, or a window is past."""
    if rule.window_ns:
        return result.verdict is Verdict.FAIL
    if result.verdict is not Verdict.FAIL or rule.kind not in ("count", "failed") or rule.op not in ("<", "<=", "=="):
        return False
    return result.observed.value is not None and result.observed.value >= rule.limit


def _so_far(rule: Rule, result: RuleResult) -> RuleResult:
    if broken_for_good(rule, result) or result.verdict is Verdict.UNKNOWN:
        return result
    note = HELD if result.verdict is Verdict.PASS else BROKEN
    return msgspec.structs.replace(
        result,
        verdict=Verdict.UNKNOWN,
        sentence=f"The run did not finish, so `{rule.show()}` was not judged; {note}.",
        note=note,
    )


# ------------------------------------------------------------------ percentiles
def order_interval(histogram: Histogram, share: Fraction) -> tuple[int | None, int | None]:
    """The 95 % interval of a percentile by order statistics, to the outer ends of their buckets; None: not known."""
    low, high = ranks(histogram.count, share)
    sums = np.cumsum(histogram.counts)

    def bucket(rank: int) -> int:
        return int(np.searchsorted(sums, rank))

    return (
        None if low is None else lowest_of(bucket(low), histogram.digits),
        None if high is None else highest_of(bucket(high), histogram.digits),
    )


def bracket(rule: Rule, evidence: Evidence) -> tuple[int, int] | None:
    """The least and the most that a rule's percentile can truly be, in microseconds, given how long the loop looked away."""
    if rule.kind != "percentile" or rule.subject in SPANS:
        return None
    high = evidence.histograms.get(f"{rule.subject}|ok|{rule.part}")
    low = evidence.histograms.get(f"{rule.subject}|ok|{rule.part}_low")
    if high is None or low is None or low.count != high.count:
        return None
    top, bottom = high.percentile(rule.share), low.least(rule.share)
    return None if top is None or bottom is None else (min(bottom, top), top)


def bracket_width(rule: Rule, evidence: Evidence) -> float | None:
    """Width of the bracket over the percentile, as a sign of the generator's health: what is sharp enough counts as narrow."""
    found = bracket(rule, evidence)
    if found is None:
        return None
    width = _width(found)
    return min(width, NARROW) if found[1] - found[0] <= SHARP_US else width


def _width(found: tuple[int, int]) -> float:
    return (found[1] - found[0]) / found[1] if found[1] else 0.0


def _percentile(rule: Rule, evidence: Evidence) -> RuleResult:
    histogram = evidence.histograms.get(f"{rule.subject}|ok|{rule.part}")
    n = histogram.count if histogram is not None else 0
    value = histogram.percentile(rule.share) if histogram is not None else None
    if (cut := _cut_off(rule, evidence, n)) is not None:
        return cut
    if histogram is None or value is None:
        return _no_samples(rule)
    beyond = n * (1 - rule.share)
    if beyond < PRINTED_BEYOND:
        return _too_few(rule, n, PRINTED_BEYOND)
    if histogram.count - histogram.overflow < math.ceil(rule.share * n):
        return _beyond_range(rule, histogram)
    low, high = order_interval(histogram, rule.share)
    observed = Bound(value / 1000, None if low is None else low / 1000, None if high is None else high / 1000)
    one_sided = low is not None and high is not None and rule.holds(_ns(low)) == rule.holds(_ns(high))
    if beyond < JUDGED_BEYOND and not one_sided:
        return _too_few(rule, n, JUDGED_BEYOND, observed)
    verdict = _verdict(rule.holds(_ns(value)))
    blurred = _blurred(rule, evidence, observed, n)
    if blurred is not None:
        return blurred
    if verdict is Verdict.PASS and (over := _outwaited(rule, evidence)):
        # They lie beyond the limit, wherever that is: the percentile of all is that much further up among the others.
        share = rule.share * (n + over) / n
        further = histogram.percentile(share) if share <= 1 else None
        if further is None or not rule.holds(_ns(further)):
            slow = n - histogram.at_or_below(math.ceil(rule.limit / 1000))
            return _few_missed(rule, slow + over, n + over) or _given_up(rule, observed, n, over)
    note = _missed(rule, value / 1000) if verdict is Verdict.FAIL else ""
    if not one_sided:
        note = "; ".join(part for part in (note, "interval straddles the limit") if part)
    return _result(rule, verdict, observed, "ms", n, _milliseconds(value), note)


def _outwaited(rule: Rule, evidence: Evidence) -> int:
    """Replies that were still awaited, past the limit already, when their guest left by its plan."""
    return outwaited(evidence.histograms, rule.subject, rule.part, math.ceil(rule.limit / 1000)) if rule.upper else 0


def _few_missed(rule: Rule, missed: int, whole: int) -> RuleResult | None:
    """UNKNOWN where so many who missed the limit may be chance: waits that were cut off need as much evidence as answers do."""
    beyond = whole * (1 - rule.share)
    if beyond >= JUDGED_BEYOND or share_interval(missed, whole)[0] > 1 - rule.share:
        return None
    return _too_few(rule, whole, PRINTED_BEYOND if beyond < PRINTED_BEYOND else JUDGED_BEYOND)


def _given_up(rule: Rule, observed: Bound, n: int, over: int) -> RuleResult:
    """Too few of all were within the limit, those counted whose guest had waited longer than that when it left."""
    note = f"{over:,} of {n + over:,} still awaited past the limit when their guest left"
    sentence = f"{_capital(_name(rule))} is longer than the limit: {note}; the rule asks for {rule.asks()}."
    low = Bound(None, float(rule.limit) / 1e6, observed.high)
    return RuleResult(rule.show(), Verdict.FAIL, low, "ms", n, sentence, note, _limit_of(rule), rule.what())


def _cut_off(rule: Rule, evidence: Evidence, n: int) -> RuleResult | None:
    """Where more timed out than may lie beyond the percentile, it is longer than the time-out, however quick the others were."""
    causes = failures(evidence.counters).get(rule.subject, {})
    late = sum(count for cause, count in causes.items() if cause in TIMEOUTS)
    others = sum(causes.values()) - late
    over = _outwaited(rule, evidence)
    room = (n + late + over) * (1 - rule.share)
    if late + over <= room:
        return None
    if late <= (n + late) * (1 - rule.share) and (few := _few_missed(rule, late + over, n + late + over)) is not None:
        return few
    if not late:
        return _given_up(rule, Bound(), n, over)
    kinds = [outcome for outcome in ("fail", "info") if not is_cut_wait(rule.subject, outcome)]
    ends = [evidence.histograms.get(f"{rule.subject}|{outcome}|{rule.part}") for outcome in kinds]
    limit_us = math.ceil(rule.limit / 1000)
    slow = sum(end.count - end.at_or_below(limit_us) for end in ends if end is not None)
    # Those that failed otherwise may be among the slow ones: what remains timed out beyond the limit for certain.
    broken = rule.upper and over + max(slow - others, 0) > room
    note = f"{late:,} of {n + late + over:,} timed out"
    if over:
        note = f"{note}, {over:,} still awaited past the limit when their guest left"
    sentence = f"{_capital(_name(rule))} is longer than the time-out: {note}; the rule asks for {rule.asks()}."
    verdict = Verdict.FAIL if broken else Verdict.UNKNOWN
    low = float(rule.limit) / 1e6 if broken else None
    return RuleResult(rule.show(), verdict, Bound(None, low), "ms", n, sentence, note, _limit_of(rule), rule.what())


def _beyond_range(rule: Rule, histogram: Histogram) -> RuleResult:
    """A percentile among values that are not told apart any more: they took over an hour, and nobody knows by how much."""
    broken = not rule.holds(_ns(HIGHEST)) and rule.upper
    note = f"{histogram.overflow:,} of {histogram.count:,} took more than an hour"
    sentence = f"{_capital(_name(rule))} was more than an hour; the rule asks for {rule.asks()}."
    verdict = Verdict.FAIL if broken else Verdict.UNKNOWN
    bound = Bound(None, HIGHEST / 1000)
    return RuleResult(rule.show(), verdict, bound, "ms", histogram.count, sentence, note, _limit_of(rule), rule.what())


def _one_way(rule: Rule, evidence: Evidence) -> RuleResult:
    """A delay between two clocks lies between what it is by either bound of their offset: judged where both say the same."""
    why = evidence.unresolved.get(rule.subject)
    if why is not None and f"{rule.subject}|ok|middle" not in evidence.histograms:
        sentence = f"`{rule.show()}` cannot be judged: {why}."
        return RuleResult(rule.show(), Verdict.UNKNOWN, Bound(), "ms", None, sentence, why, _limit_of(rule), rule.what())
    low, middle, high = (evidence.histograms.get(f"{rule.subject}|ok|{kind}") for kind in ("low", "middle", "high"))
    if low is None or middle is None or high is None or not high.count:
        return _no_samples(rule)
    n, beyond = high.count, high.count * (1 - rule.share)
    if beyond < PRINTED_BEYOND:
        return _too_few(rule, n, PRINTED_BEYOND)
    value = middle.percentile(rule.share)
    # The interval of the sample at each end of the interval of the clock: what may be is what either allows.
    (bottom, _), (_, top) = order_interval(low, rule.share), order_interval(high, rule.share)
    ends = [found for histogram in (low, high) if (found := histogram.percentile(rule.share)) is not None]
    outer = [end for end in (bottom, top) if end is not None]
    one_sided = len(outer) == 2 and rule.holds(_ns(outer[0])) == rule.holds(_ns(outer[1]))
    shown = Bound(None if value is None else value / 1000, ends[0] / 1000, ends[-1] / 1000)
    if beyond < JUDGED_BEYOND and not one_sided:
        return _too_few(rule, n, JUDGED_BEYOND, shown)
    if value is None or rule.holds(_ns(ends[0])) != rule.holds(_ns(ends[-1])):
        between = f"{_name(rule)} lies between {_amount(ends[0] / 1000)} and {_amount(ends[-1] / 1000)} ms"
        sentence = f"The server's clock is not known well enough: {between}; the rule asks for {rule.asks()}."
        note = f"clock: {_amount(ends[0] / 1000)} to {_amount(ends[-1] / 1000)} ms"
        if why is not None:
            sentence, note = f"{sentence} {_capital(why)}.", f"{note}; {why}"
        return RuleResult(rule.show(), Verdict.UNKNOWN, _rounded(shown), "ms", n, sentence, note, _limit_of(rule), rule.what())
    verdict = _verdict(rule.holds(_ns(value)))
    note = _missed(rule, value / 1000) if verdict is Verdict.FAIL else ""
    return _result(rule, verdict, shown, "ms", n, _milliseconds(value), note)


def _blurred(rule: Rule, evidence: Evidence, observed: Bound, n: int) -> RuleResult | None:
    """UNKNOWN where the bracket is too wide to say; None where it is narrow enough, or not known."""
    found = bracket(rule, evidence)
    if found is None or (width := _width(found)) <= NARROW:
        return None
    ends = [rule.holds(_ns(end)) for end in found]
    told = width <= evidence.wide or found[1] - found[0] <= SHARP_US
    if told and ends[0] == ends[1]:
        return None
    low, high = found[0] / 1000, found[1] / 1000
    between = f"{_name(rule)} lies between {_amount(low)} and {_amount(high)} ms"
    if told:
        sentence = f"The bracket gives two answers: {between}, the rule is {rule.show_limit()}."
        note = f"{_verdict(ends[0])} at {_amount(low)} ms, {_verdict(ends[1])} at {_amount(high)} ms"
    else:
        sentence = f"The generator was too slow to tell: {between}; the rule asks for {rule.asks()}."
        note = f"generator-limited: {_amount(low)} to {_amount(high)} ms"
    seen = Bound(observed.value, low, high)
    return RuleResult(rule.show(), Verdict.UNKNOWN, seen, "ms", n, sentence, note, _limit_of(rule), rule.what())


def _ns(microseconds: int) -> int:
    return 1000 * microseconds


# ------------------------------------------------------------------ shares and counts
def _failed_rate(rule: Rule, evidence: Evidence) -> RuleResult:
    failed, n = _failures(rule.subject, evidence)
    if not n:
        return _no_samples(rule)
    low, high = (100 * end for end in share_interval(failed, n))
    observed = Bound(100 * failed / n, low, high)
    limit = Fraction(rule.limit)
    one_sided = rule.holds(Fraction(low) / 100) == rule.holds(Fraction(high) / 100)
    if limit and not one_sided and n * limit < PRINTED_BEYOND:
        needed = math.ceil(PRINTED_BEYOND / limit)
        return RuleResult(
            rule.show(),
            Verdict.UNKNOWN,
            observed,
            "%",
            n,
            f"`{rule.what()}` has {n:,} samples and needs {needed:,}.",
            f"needs {needed:,}",
            _limit_of(rule),
            rule.what(),
        )
    verdict = _verdict(rule.holds(Fraction(failed, n)))
    note = "" if one_sided or not limit else "interval straddles the limit"
    if verdict is Verdict.PASS and not failed and not limit:
        note = f"none of {n:,}; the true share is below {high:.2g} %"
    if left_out := censored(evidence.counters).get(rule.subject, 0):
        note = "; ".join(part for part in (note, f"{left_out:,} still awaited when their guest left, in no rate") if part)
    return _result(rule, verdict, observed, "%", n, f"{_amount(100 * failed / n)} % ({failed:,} of {n:,})", note)


def _failures(subject: str, evidence: Evidence) -> tuple[int, int]:
    """How many failed, and of how many; what guests cut off themselves is in neither."""
    if subject == "messages":
        failed = failed_messages(evidence.counters)
        return failed, failed + evidence.count("messages|ok")
    kind = "high" if subject in ONE_WAY else "span" if subject in SPANS else "service"
    failed = sum(failures(evidence.counters).get(subject, {}).values())
    found = evidence.histograms.get(f"{subject}|ok|{kind}")
    ok = found.count + found.negative if found is not None else 0
    return failed, failed + ok


def _ratio(rule: Rule, evidence: Evidence) -> RuleResult:
    low, high = _bounds(rule.subject, evidence)
    whole = _whole(rule.subject, evidence, high)
    if not whole:
        return _no_samples(rule)
    value = high if rule.subject == "lost.possible" else low
    observed = Bound(100 * value / whole, 100 * low / whole, 100 * high / whole) if low != high else Bound(100 * value / whole)
    verdict = _verdict(rule.holds(Fraction(value, whole)))
    text = f"{_amount(100 * value / whole)} % ({value:,} of {whole:,})"
    note = f"missed by {_amount(abs(100 * value / whole - 100 * float(rule.limit)))} %" if verdict is Verdict.FAIL else ""
    return _result(rule, verdict, observed, "%", whole, text, note)


def _whole(subject: str, evidence: Evidence, possible: int) -> int:
    """Of how many: what was pushed, asked for, or connected; of losses, what there was to receive."""
    pushed = evidence.count("push.messages|g", "push.messages|a")
    if subject.startswith("lost"):
        return evidence.count("messages|ok") + evidence.count("push.messages|a") + possible
    if subject == "refused":
        return evidence.family("requests")
    return evidence.count("connections|ready") if subject == "disconnects" else pushed


def _bounds(subject: str, evidence: Evidence) -> tuple[int, int]:
    found = anomaly_counts(evidence.counters)
    if subject.startswith("lost"):
        return found["lost"]
    if subject == "duplicated":
        total = sum(found[f"duplicated.{how}"][0] for how in _COPIES)
        return total, total
    return found[subject]


def _count(rule: Rule, evidence: Evidence) -> RuleResult:
    if rule.kind == "failed":
        value: int | None = _failures(rule.subject, evidence)[0]
        low = high = value
        measured = _failures(rule.subject, evidence)[1] > 0
    elif rule.subject.startswith("guests."):
        low = high = value = evidence.guests.get(rule.subject.removeprefix("guests."))
        measured = value is not None
    elif rule.subject.startswith("messages."):
        failed, _ = _failures("messages", evidence)
        low = high = value = evidence.count("messages|invoked") if rule.subject == "messages.sent" else failed
        measured = evidence.count("messages|invoked") > 0
    else:
        low, high = _bounds(rule.subject, evidence)
        value = high if rule.subject == "lost.possible" else low
        measured = bool(value) or any(evidence.counters.get(name) for name in ("messages|invoked", "connections|ended"))
        measured = measured or (rule.subject == "refused" and evidence.family("requests") > 0)
    if value is None or not measured:
        return _no_samples(rule)
    verdict = _verdict(rule.holds(value))
    note = ""
    if verdict is Verdict.FAIL:
        note = f"missed by {_amount(abs(value - float(rule.limit)))}" + (" or more" if low != high and value == low else "")
    elif low != high:
        note = f"possibly {high:,}" if value == low else f"certainly {low:,}"
    bound = Bound(value, low, high) if low != high else Bound(value)
    text = f"{low:,} to {high:,}" if low != high else f"{value:,}"
    return _result(rule, verdict, bound, "", None, text, note)


def _throughput(rule: Rule, evidence: Evidence) -> RuleResult:
    sent, seconds = evidence.steady_sent, evidence.steady_s
    if sent is None or not seconds or seconds <= 0:
        return _no_samples(rule)
    rate = sent / seconds
    verdict = _verdict(rule.holds(Fraction(rate)))
    note = f"missed by {_amount(abs(rate - float(rule.limit)))} /s" if verdict is Verdict.FAIL else ""
    return _result(rule, verdict, Bound(rate), "/s", sent, f"{_amount(rate)} /s", note)


# ------------------------------------------------------------------ words
_SUBJECTS = {
    "lost.definite": "messages lost",
    "lost.possible": "messages lost, at most,",
    "duplicated": "messages duplicated",
    "reordered": "messages reordered",
    "late": "late messages",
    "refused": "requests refused",
    "disconnects": "connections ended by the server",
    "messages.sent": "messages sent",
    "messages.failed": "failed messages",
    "guests.failed": "failed guests",
    "guests.finished": "finished guests",
    "guests.peak": "guests at once",
}


def _result(rule: Rule, verdict: Verdict, observed: Bound, unit: str, n: int | None, seen: str, note: str) -> RuleResult:
    sentence = f"{_capital(_name(rule))} was {seen}; the rule asks for {rule.asks()}."
    if rule.kind == "count":
        sentence = f"{_capital(_SUBJECTS.get(rule.subject, rule.subject))}: {seen}; the rule asks for {rule.asks()}."
    return RuleResult(rule.show(), verdict, _rounded(observed), unit, n, sentence, note, _limit_of(rule), rule.what())


def _rounded(bound: Bound) -> Bound:
    return Bound(*(None if end is None else round(end, 6) for end in (bound.value, bound.low, bound.high)))


def _no_samples(rule: Rule) -> RuleResult:
    sentence = f"Nothing was measured for `{rule.show()}`, so it cannot be judged."
    return RuleResult(rule.show(), Verdict.UNKNOWN, Bound(), _unit(rule), 0, sentence, "no samples", _limit_of(rule), rule.what())


def _too_few(rule: Rule, n: int, beyond: int, observed: Bound = Bound()) -> RuleResult:  # noqa: B008 - frozen
    needed = math.ceil(beyond / (1 - rule.share))
    sentence = f"`{rule.what()}` has {n:,} {'sample' if n == 1 else 'samples'} and needs {needed:,}."
    return RuleResult(rule.show(), Verdict.UNKNOWN, observed, "ms", n, sentence, f"needs {needed:,}", _limit_of(rule), rule.what())


def _name(rule: Rule) -> str:
    if rule.kind == "percentile":
        what = f"{rule.subject} p{rule.what().rpartition(' p')[2]}"
        return f"{what} (service)" if rule.part == "service" else what
    return f"{rule.subject} failed rate" if rule.kind == "failed rate" else rule.what()


def _limit_of(rule: Rule) -> float:
    scale = {"percentile": 1e-6, "failed rate": 100.0, "ratio": 100.0}.get(rule.kind, 1.0)
    return float(rule.limit) * scale


def _unit(rule: Rule) -> str:
    return {"percentile": "ms", "failed rate": "%", "ratio": "%", "throughput": "/s"}.get(rule.kind, "")


def _verdict(holds: bool) -> Verdict:
    return Verdict.PASS if holds else Verdict.FAIL


def _missed(rule: Rule, value_ms: float) -> str:
    return f"missed by {_amount(abs(value_ms - float(rule.limit) / 1e6))} ms"


def _milliseconds(microseconds: int) -> str:
    return f"{_amount(microseconds / 1000)} ms"


def _amount(value: float) -> str:
    """Three significant digits, whole numbers in full."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
