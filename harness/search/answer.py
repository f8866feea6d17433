"""From the steps of a search to its answer, at any time. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.search.answers import Answer, HeadRoom, Method, Reason
from harness.search.bracket import Located, bracket, breaks_first, counted
from harness.search.plan import CapacityPlan
from harness.search.steps import Step
from harness.verdicts.lattice import Verdict


def answer(
    plan: CapacityPlan,
    steps: Sequence[Step],
    *,
    complete: bool,
    doomed: str = "",
    interrupted: bool = False,
    where: Located | None = None,
) -> Answer:
    """What is known. `complete`: the search came to its own end; `doomed`: why it could not go on; `where`: see `locate`."""
    held, broke = bracket(steps)
    estimate, low, high, method = _figures(plan, steps, where)
    first = _first(steps, where)
    confirmed, at = _confirmation(steps)
    too_long = min((step.order.load for step in _confirms(steps) if step.judgement.verdict == "broke"), default=None)
    reasons: list[Reason] = []
    verdict = Verdict.UNKNOWN
    bound_by_generator = False
    unit = plan.unit
    if interrupted or (not complete and not doomed):
        reasons.append(Reason("interrupted", f"the search was ended after {len(steps)} steps, before it was done"))
    elif doomed and broke is None:
        bound_by_generator = _by_generator(steps)
        code = "generator_bound" if bound_by_generator else "stopped"
        least = f"at least {_show(low, plan)} {unit}" if low is not None else "nothing is known"
        reasons.append(Reason(code, f"{least}; beyond that the generator is the limit: {doomed}" if bound_by_generator else doomed))
    elif doomed:
        reasons.append(Reason("stopped", f"the search could not go on: {doomed}"))
        if steps[-1].judgement.verdict == "invalid" or not any(step.order.kind in ("repeat", "confirm") for step in counted(steps)):
            estimate, low, high, method = None, held, broke, "bound"  # the last bounds that were valid
    elif broke is None and too_long is not None:
        low, high = _held_below(steps, too_long), too_long
        reasons.append(Reason("unconfirmed", f"the longer run at {_show(too_long, plan)} {unit} did not hold"))
    elif broke is None:
        reasons.append(Reason("search_bound", f"at least {_show(low, plan)} {unit}: no more was tried, and nothing broke"))
    elif held is None:
        verdict = Verdict.FAIL
        reasons.append(Reason("nothing_held", f"even {_show(broke, plan)} {unit} are too many"))
    elif plan.confirm and not confirmed:
        reasons.append(Reason("unconfirmed", f"the longer run at {_show(at, plan)} {unit} did not hold"))
    else:
        verdict = Verdict.PASS
        reasons.append(Reason("found", f"{_show(estimate, plan)} {unit} hold all rules"))
    room = head_room(plan, estimate, low, high)
    if (room is not None and verdict is Verdict.PASS) or (
        room is not None
        and ((reasons[0].code == "search_bound" and room.verdict is Verdict.PASS) or (complete and room.verdict is Verdict.FAIL))
    ):
        verdict = room.verdict
        reasons.insert(0, _planned(plan, room))
    if verdict is Verdict.PASS and method == "fit" and not _precise(plan, estimate, low, high):
        reasons.append(Reason("imprecise", "the interval is wider than was asked for"))
    return Answer(
        unit=unit,
        verdict=verdict,
        reasons=tuple(reasons),
        estimate=estimate,
        low=low,
        high=high,
        first_broken_slo=first[0] if first else None,
        by_rule=first[1] if first else True,
        generator_bound=bound_by_generator,
        confirmed=confirmed,
        confirmed_load=at,
        complete=complete and not interrupted,
        method=method,
        held=held,
        broke=broke,
        steps=len(steps),
        head_room=room,
    )


def head_room(plan: CapacityPlan, estimate: float | None, low: float | None, high: float | None) -> HeadRoom | None:
    """The planned load beside the answer; None: none is planned."""
    planned = plan.planned
    if planned is None:
        return None
    if low is not None and planned <= low:
        verdict = Verdict.PASS
    elif high is not None and planned > high:
        verdict = Verdict.FAIL
    else:
        verdict = Verdict.UNKNOWN

    def share(capacity: float | None) -> float | None:
        return (capacity - planned) / capacity if capacity else None

    room = share(estimate)
    return HeadRoom(planned, room, share(low), share(high), None if room is None else -room, verdict)


def _figures(
    plan: CapacityPlan, steps: Sequence[Step], where: Located | None
) -> tuple[float | None, float | None, float | None, Method]:
    """Estimate, low, high, and how they were made."""
    held, broke = bracket(steps)
    if where is not None:
        # the highest whole number that holds is the one below the edge
        return _down(where.estimate, plan), _down(where.low, plan), _down(where.high, plan), "fit"
    if held is None and broke is None:
        return None, None, None, "none"
    if held is None or broke is None:
        if held is None and broke is not None and broke <= plan.least:
            return 0.0, 0.0, broke, "bound"
        return None, held, broke, "bound"
    return held, held, max(held, broke - 1) if plan.whole else broke, "bracket"


def _first(steps: Sequence[Step], where: Located | None) -> tuple[str, bool] | None:
    if where is not None:
        return where.rule, True
    return breaks_first(steps, bracket(steps).broke)


def _by_generator(steps: Sequence[Step]) -> bool:
    """Whether the last step does not count because of the generator, and not for want of samples."""
    return bool(steps) and steps[-1].judgement.verdict == "invalid" and not steps[-1].result.generator_healthy


def _confirms(steps: Sequence[Step]) -> list[Step]:
    return [step for step in counted(steps) if step.order.kind == "confirm"]


def _confirmation(steps: Sequence[Step]) -> tuple[bool | None, float | None]:
    """Whether the last of the longer runs held, and its load."""
    for step in reversed(_confirms(steps)):
        return step.judgement.verdict == "held", step.order.load
    return None, None


def _held_below(steps: Sequence[Step], load: float) -> float | None:
    held = (step.order.load for step in counted(steps) if step.judgement.verdict == "held")
    return max((one for one in held if one < load), default=None)


def _planned(plan: CapacityPlan, room: HeadRoom) -> Reason:
    planned = f"{_show(room.plan, plan)} {plan.unit}"
    if room.verdict is Verdict.PASS:
        return Reason("plan_fits", f"a plan of {planned} fits")
    if room.verdict is Verdict.FAIL:
        return Reason("plan_too_much", f"a plan of {planned} is {_percent(room.excess)} too much")
    return Reason("plan_undecided", f"a plan of {planned} lies within the interval of the answer")


def _precise(plan: CapacityPlan, estimate: float | None, low: float | None, high: float | None) -> bool:
    if not estimate or low is None or high is None:
        return False
    whole = 1.0 if plan.whole else 0.0  # rounding down may cost one guest
    return max(high - estimate, estimate - low) <= plan.precision * estimate + whole


def _down(load: float, plan: CapacityPlan) -> float:
    return float(math.floor(load + 1e-9)) if plan.whole else load


def _show(load: float | None, plan: CapacityPlan) -> str:
    if load is None:
        return "?"
    return f"{load:,.0f}" if plan.whole else f"{load:,.4g}"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share * 100:.0f} %"
