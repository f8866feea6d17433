"""From a trace to an answer: models compared, the figures of the one that is left, and what else was noticed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from harness.search.limits.finding import Candidate, Finding, Interval
from harness.search.limits.models import EVERY, explain, rough_rate
from harness.search.limits.orders import UNEXPLAINED
from harness.search.limits.plan import ProbePlan
from harness.search.limits.retry_after import judge_retry_after
from harness.search.limits.snap import known_well, snap_count, snap_window, wholes
from harness.search.limits.trace import Asked, evidence

_USELESS = 0.2
"""Width of a limit's interval over its middle above which unanswered requests have left too much open to speak of a limit."""
_LOOSE = 4.0
"""A bucket's rate is settled while its interval is no wider than so many times the tolerance that was asked for."""


def judge(rows: Sequence[Asked], plan: ProbePlan, *, stopped: str = "") -> Finding:
    """The finding of one endpoint and identity; pure, so that a report can make it again from the rows stored."""
    seen = evidence(rows)
    refused = int((~seen.ok).sum())
    shared: dict[str, Any] = {
        "requests": len(rows),
        "refused": refused,
        "lost": sum(1 for row in rows if row.accepted is None),
        "took_s": (max((row.received_ns or row.sent_ns) for row in rows) - rows[0].sent_ns) / 1e9 if rows else 0.0,
        "retry_after": judge_retry_after(rows),
        "stopped": stopped,
    }
    if not refused:
        enough = int(seen.ok.sum()) >= plan.burst_cap  # what was lost on the way proves nothing
        told = "no refusal below the ceiling" if enough else "no refusal, and too few requests to say that there is no limit"
        return Finding("none" if enough else "unknown", enough, (told,), highest_per_s=_highest(rows), **shared)
    models = explain(seen, highest_per_s=plan.max_per_s, most_spare=plan.spare(len(seen.ok)))
    fitting = sorted(models.fitting(), key=lambda one: EVERY.index(one.model))
    safe = rough_rate(seen)
    unsure = shared["lost"] > plan.wrong_share * len(rows) if not fitting else shared["lost"] and _vague(fitting)
    if unsure:
        return _spoilt(models.by_model.values(), safe, shared)
    if not fitting or stopped == UNEXPLAINED:
        return _unexplained(models.by_model.values(), safe, shared)
    best = fitting[0]
    others = tuple(_told(one, best, len(fitting) > 1) for one in models.by_model.values() if one is not best)
    reasons = [f"{_named(one)} agrees with every answer as well" for one in fitting[1:]]
    twins = [one for one in fitting if one.kind == best.kind == "fixed_window"]
    best = _either(twins) if len(twins) > 1 else best
    finding = _figures(best, others, safe, shared)
    if best.wrong:
        reasons.append(f"{best.wrong} of {best.asked} answers do not fit and were left out as accidents: each of them stands alone")
    unsettled = _unsettled(best, plan)
    if unsettled:
        reasons.append(unsettled)
        finding = replace(finding, confirmed=False)
    if not stopped.startswith("answered"):
        reasons.append(f"ended early: {stopped}")
        return replace(finding, confirmed=False, reasons=tuple(reasons))
    return replace(finding, reasons=tuple(reasons))


def _unsettled(best: Candidate, plan: ProbePlan) -> str:
    """Which figure is not settled by the answers, in words."""
    rate = best.rate_per_s
    if best.kind == "token_bucket" and rate is not None and rate.width > _LOOSE * plan.tolerance * rate.middle:
        return f"the rate is only known to lie between {rate.low:.4g} and {rate.high:.4g} a second"
    if best.window_s is None or best.limit is None:
        return ""
    if best.limit.width >= 1:
        return f"the limit is only known to lie between {best.limit.low:g} and {best.limit.high:g}"
    if best.wrong and best.window_s.middle >= 2.0 and not wholes(best.window_s):
        return "answers had to be left out, and the window would still be no whole number of seconds"
    if not known_well(best.window_s, plan.window_tolerance):
        return f"the window is only known to lie between {best.window_s.low:.4g} s and {best.window_s.high:.4g} s"
    return ""


def _told(one: Candidate, best: Candidate, several: bool) -> Candidate:
    if one.why_rejected:
        return one
    if one.wrong:
        return one.rejected(f"contradicts {one.wrong} of {one.asked} answers")
    return one.rejected(f"agrees as well; {_named(best)} needs less" if several else "")


def _named(one: Candidate) -> str:
    return "fixed window from a first request" if one.model == "first_window" else one.kind.replace("_", " ")


def _either(ones: Sequence[Candidate]) -> Candidate:
    """One kind with either anchor: the figures that both allow."""
    limits, windows = ([one.limit for one in ones if one.limit], [one.window_s for one in ones if one.window_s])
    limit = Interval(min(one.low for one in limits), max(one.high for one in limits))
    window = Interval(min(one.low for one in windows), max(one.high for one in windows))
    return replace(ones[0], anchor=None, limit=limit, window_s=window)


def _highest(rows: Sequence[Asked]) -> float | None:
    """Requests/s over the longest burst."""
    times = sorted(row.sent_ns for row in rows if row.phase == "burst")
    return (len(times) - 1) / ((times[-1] - times[0]) / 1e9) if len(times) > 1 and times[-1] > times[0] else None


def _unexplained(tried: Iterable[Candidate], safe: float, shared: dict[str, Any]) -> Finding:
    """No model of one limit and one user explains the answers: somebody else spends too, or there is more than one limit.

    Both make refusals come too early, and a trace does not tell them apart for sure: so neither is called the limit.
    """
    told = tuple(_told(one, one, False) for one in tried)
    nearest = min(told, key=lambda one: one.wrong)
    reasons = (
        "no single limit used by us alone explains the answers: somebody else spends the same count, or several limits are at work",
        f"nearest: {_named(nearest)}, {nearest.wrong} of {nearest.asked} answers wrong",
        f"{safe:.4g}/s were available to us; that is not the limit",
    )
    available = Interval(0.0, safe)
    return Finding(
        "unknown",
        False,
        reasons,
        shared=True,
        several=True,
        available_per_s=safe,
        available_interval=available,
        safe_per_s=safe,
        alternatives=told,
        **shared,
    )


def _vague(fitting: Sequence[Candidate]) -> bool:
    """Is the kind open, or the limit all but open?"""
    limit = fitting[0].limit
    return len({one.kind for one in fitting}) > 1 or (limit is not None and limit.width > _USELESS * limit.middle)


def _spoilt(tried: Iterable[Candidate], safe: float, shared: dict[str, Any]) -> Finding:
    """Requests without an answer may have been counted or not, which leaves too much open."""
    told = tuple(_told(one, one, False) for one in tried)
    reasons = (
        f"{shared['lost']} of {shared['requests']} requests had no answer that says yes or no, and may have been counted: "
        "the others do not settle what limit there is",
    )
    return Finding("unknown", False, reasons, safe_per_s=safe, alternatives=told, **shared)


def _figures(best: Candidate, others: tuple[Candidate, ...], safe: float, shared: dict[str, Any]) -> Finding:
    counts = None if best.kind == "fixed_window" else best.counts_refused
    common: dict[str, Any] = {"safe_per_s": safe, "alternatives": others, "counts_refused": counts, **shared}
    if best.window_s is not None and best.limit is not None:
        limit, window = snap_count(best.limit), snap_window(best.window_s)
        rate = (
            Interval(best.limit.low / best.window_s.high, best.limit.high / best.window_s.low)
            if best.window_s.low > 0
            else best.rate_per_s
        )
        return Finding(
            best.kind,
            True,
            rate_per_s=limit / window,
            rate_interval=rate,
            limit=limit,
            limit_interval=best.limit,
            window_s=window,
            window_interval=best.window_s,
            anchor=best.anchor,
            **common,
        )
    rate, burst = best.rate_per_s or Interval(0.0, 0.0), best.burst or Interval(1.0, 1.0)
    size = snap_count(burst) if wholes(burst) else burst.middle
    return Finding(best.kind, True, rate_per_s=rate.middle, rate_interval=rate, burst=size, burst_interval=burst, **common)
