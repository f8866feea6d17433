"""The search itself, with targets that answer by a rule: what is ordered, when it ends, what it says."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest

from harness.search.capacity import Answer, CapacityController, CapacityPlan, StepLimits, StepOrder, StepResult
from harness.search.edge import Seen, find_edge
from harness.search.steps import RuleShare, Step
from harness.verdicts.lattice import Verdict
from tests.search.test_steps_judged import P95, blocks

Target = Callable[[StepOrder], StepResult]


def cliff(limit: float) -> Target:
    """Everything is fine up to the limit and nothing beyond."""

    def run(order: StepOrder) -> StepResult:
        rule = RuleShare(P95, 0.95, blocks(1000 if order.load <= limit else 0, 1000))
        return StepResult(order.load, order.length_s, (rule,), throughput=order.load / 10)

    return run


def curved(limit: float, steepness: float = 15) -> Target:
    """Odds of missing grow with a power of the load; the limit is where one in twenty misses."""

    def run(order: StepOrder) -> StepResult:
        odds = 0.05 / 0.95 * (order.load / limit) ** steepness
        kept = round(4000 / (1 + odds))
        return StepResult(order.load, order.length_s, (RuleShare(P95, 0.95, blocks(kept, 4000)),), throughput=order.load / 10)

    return run


def searched(plan: CapacityPlan, target: Target) -> tuple[CapacityController, Answer]:
    controller = CapacityController(plan)
    while (order := controller.next_step()) is not None:
        assert controller.next_step() is order, "asking twice orders nothing new"
        controller.update(target(order))
        assert len(controller.steps) <= plan.most_steps
    return controller, controller.answer()


PLAN = CapacityPlan(first=100, most=100_000, cycle_s=10)


def test_a_cliff_lies_between_what_held_and_what_broke() -> None:
    controller, answer = searched(PLAN, cliff(2460))
    assert [step.order.load for step in controller.steps[:6]] == [100, 200, 400, 800, 1600, 3200]
    assert answer.verdict is Verdict.PASS
    assert answer.held is not None
    assert answer.broke is not None
    assert answer.held <= 2460 < answer.broke
    assert (answer.broke - answer.held) / answer.broke <= PLAN.tolerance
    assert answer.low is not None
    assert answer.high is not None
    assert answer.estimate is not None
    assert answer.low <= 2460 <= answer.high
    assert abs(answer.estimate - 2460) / 2460 < 0.03
    assert answer.first_broken_slo == P95
    assert answer.by_rule
    assert answer.complete
    assert not answer.generator_bound


def test_edges_are_run_until_most_of_the_runs_agree_and_the_end_is_confirmed() -> None:
    controller, answer = searched(PLAN, curved(2460))
    for load in (answer.held, answer.broke):
        runs = [step for step in controller.steps if step.order.load == load and step.order.kind != "confirm"]
        assert len(runs) >= PLAN.needed
    last = controller.steps[-1]
    assert last.order.kind == "confirm"
    assert last.order.length_factor == 3
    assert last.order.load == answer.confirmed_load == pytest.approx(answer.low, rel=0.002)
    assert answer.confirmed
    assert answer.estimate == pytest.approx(2460, rel=0.01)


def test_one_bad_run_does_not_move_the_answer() -> None:
    seen: list[float] = []

    def disturbed(order: StepOrder) -> StepResult:
        seen.append(order.load)
        return cliff(0)(order) if order.kind == "bisect" and len(seen) == 10 else curved(2460)(order)

    _, answer = searched(PLAN, disturbed)
    assert answer.low is not None
    assert answer.high is not None
    assert answer.low <= 2460 <= answer.high


def test_arrivals_need_not_be_whole() -> None:
    _, answer = searched(CapacityPlan(first=0.5, most=1000, least=0.01, whole=False), curved(3.217))
    assert answer.unit == "arrivals/s"
    assert answer.estimate == pytest.approx(3.217, rel=0.01)
    assert answer.estimate != round(answer.estimate)


def test_guests_are_whole_even_when_there_are_few() -> None:
    controller, answer = searched(CapacityPlan(first=1, most=100, growth=1.5), cliff(5))
    assert all(step.order.load == int(step.order.load) for step in controller.steps)
    assert (answer.held, answer.broke) == (5, 6)
    assert answer.estimate == 5


def test_if_the_first_step_breaks_the_search_goes_down() -> None:
    _, answer = searched(CapacityPlan(first=4000, most=100_000), curved(700))
    assert answer.estimate == pytest.approx(700, rel=0.01)
    _, nothing = searched(CapacityPlan(first=100, most=1000), cliff(0))
    assert nothing.verdict is Verdict.FAIL
    assert nothing.reasons[0].code == "nothing_held"
    assert (nothing.estimate, nothing.low) == (0, 0)
    assert nothing.first_broken_slo == P95


def test_if_nothing_breaks_the_answer_is_a_bound() -> None:
    controller, answer = searched(CapacityPlan(first=100, most=1000), cliff(5000))
    assert max(step.order.load for step in controller.steps) == 1000
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reasons[0].code == "search_bound"
    assert (answer.estimate, answer.low, answer.high, answer.first_broken_slo) == (None, 1000, None, None)
    assert not answer.generator_bound


def weak(limit: float, target: Target) -> Target:
    """The generator cannot make more."""

    def run(order: StepOrder) -> StepResult:
        return msgspec.structs.replace(target(order), generator_healthy=order.load <= limit, generator="achieved rate 0.93")

    return run


def test_a_weak_generator_gives_at_least_and_never_a_number() -> None:
    controller, answer = searched(PLAN, weak(2000, curved(2460)))
    assert [step.order.load for step in controller.steps[-2:]] == [3200, 3200], "repeated once"
    assert controller.steps[-1].order.attempt == 2
    assert answer.generator_bound
    assert answer.verdict is Verdict.UNKNOWN
    assert (answer.estimate, answer.low, answer.high) == (None, 1600, None)
    assert answer.reasons[0].code == "generator_bound"
    assert "at least 1,600 guests" in answer.reasons[0].text
    assert controller.doomed_reason == "achieved rate 0.93"


def test_a_generator_that_fails_while_bisecting_leaves_the_last_valid_bounds() -> None:
    def run(order: StepOrder) -> StepResult:
        return weak(0 if order.kind == "bisect" else 1e9, curved(2460))(order)

    _, answer = searched(PLAN, run)
    assert answer.verdict is Verdict.UNKNOWN
    assert (answer.estimate, answer.low, answer.high) == (None, 1600, 3200)
    assert not answer.generator_bound, "it is known to break"


@pytest.mark.parametrize("kind", ["repeat", "confirm"])
def test_a_generator_that_fails_at_the_end_leaves_the_last_valid_bounds(kind: str) -> None:
    controller, answer = searched(PLAN, lambda order: weak(0 if order.kind == kind else 1e9, curved(2460))(order))
    assert controller.steps[-1].order.attempt == 2
    assert answer.verdict is Verdict.UNKNOWN
    assert (answer.estimate, answer.low, answer.high) == (None, answer.held, answer.broke)
    assert answer.held is not None
    assert answer.held <= 2460


@pytest.mark.parametrize(("holds_below", "low"), [(1000, 970), (0, 800)])
def test_if_only_the_longer_run_breaks_it_is_not_said_that_nothing_broke(holds_below: float, low: float) -> None:
    def run(order: StepOrder) -> StepResult:
        return cliff(5000 if order.kind != "confirm" or order.load < holds_below else 0)(order)

    _, answer = searched(CapacityPlan(first=100, most=1000), run)
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reasons[0].code == "unconfirmed"
    assert (answer.estimate, answer.low, answer.high) == (None, low, 1000 if holds_below else 970)


def test_a_step_with_an_unhealthy_generator_once_changes_nothing() -> None:
    count = 0

    def run(order: StepOrder) -> StepResult:
        nonlocal count
        count += 1
        return weak(0 if count in (3, 8) else 1e9, curved(2460))(order)

    _, answer = searched(PLAN, run)
    assert answer.verdict is Verdict.PASS
    assert answer.estimate == pytest.approx(2460, rel=0.01)


def test_a_confirmation_that_breaks_is_run_lower_and_then_given_up() -> None:
    def run(order: StepOrder) -> StepResult:
        return (cliff(0) if order.kind == "confirm" else curved(2460))(order)

    controller, answer = searched(PLAN, run)
    confirms = [step.order.load for step in controller.steps if step.order.kind == "confirm"]
    assert len(confirms) == 2
    assert confirms[1] < confirms[0]
    assert answer.verdict is Verdict.UNKNOWN
    assert answer.reasons[0].code == "unconfirmed"
    assert answer.confirmed is False


@pytest.mark.parametrize(
    ("planned", "verdict", "code"),
    [(2000, Verdict.PASS, "plan_fits"), (3000, Verdict.FAIL, "plan_too_much"), (2460, Verdict.UNKNOWN, "plan_undecided")],
)
def test_a_plan_is_held_against_the_interval(planned: float, verdict: Verdict, code: str) -> None:
    _, answer = searched(msgspec.structs.replace(PLAN, planned=planned), curved(2460))
    assert answer.verdict is verdict
    assert answer.reasons[0].code == code
    assert answer.head_room is not None
    assert answer.head_room.excess == pytest.approx(planned / 2460 - 1, abs=0.01)
    assert answer.head_room.room == pytest.approx(1 - planned / 2460, abs=0.01)


def test_something_that_no_share_tells_of_breaks_too() -> None:
    def run(order: StepOrder) -> StepResult:
        return msgspec.structs.replace(cliff(1e9)(order), broken=("lost.definite == 0",) if order.load > 900 else ())

    _, answer = searched(PLAN, run)
    assert answer.method == "bracket"
    assert answer.first_broken_slo == "lost.definite == 0"
    assert answer.low is not None
    assert answer.high is not None
    assert answer.low <= 900 <= answer.high
    both = searched(PLAN, lambda order: msgspec.structs.replace(curved(2460)(order), broken=run(order).broken))[1]
    assert both.first_broken_slo == "lost.definite == 0"
    assert both.high is not None
    assert both.high < 1000


def test_of_two_rules_the_first_to_break_counts() -> None:
    other = "echo.response p99 < 1 s"

    def run(order: StepOrder) -> StepResult:
        rule = curved(1000, 20)(order).rules[0]
        return msgspec.structs.replace(
            curved(2460)(order), rules=(*curved(2460)(order).rules, msgspec.structs.replace(rule, rule=other))
        )

    _, answer = searched(PLAN, run)
    assert answer.first_broken_slo == other
    assert answer.estimate == pytest.approx(1000, rel=0.01)


def test_the_answer_is_known_at_any_time_and_the_search_goes_on_where_it_was() -> None:
    controller, answer = searched(PLAN, curved(2460))
    lines = [json.loads(msgspec.json.encode(step)) for step in controller.steps]
    results = [msgspec.convert(line, Step).result for line in lines]
    for count in range(len(results) + 1):
        resumed = CapacityController.resume(PLAN, results[:count])
        known = resumed.answer(interrupted=count < len(results))
        assert known.reasons
        if count < len(results):
            assert known.verdict is Verdict.UNKNOWN
            assert not known.complete
            assert resumed.next_step() == controller.steps[count].order
        if count >= 6:
            assert known.low is not None
            assert known.high is not None
            assert known.low <= 2460 <= known.high
    assert CapacityController.resume(PLAN, results).answer() == answer
    with pytest.raises(ValueError, match="no step was ordered"):
        CapacityController.resume(PLAN, results).update(results[0])


def test_a_step_is_as_long_as_its_evidence_needs() -> None:
    controller = CapacityController(CapacityPlan(first=10, most=1000, cycle_s=30))
    order = controller.next_step()
    assert order is not None
    assert order.length_s == 900, "10 guests say too little in any time: the longest"
    controller.update(msgspec.structs.replace(cliff(500)(order), throughput=10 / 3, response_s=0.5, think_s=2.5))
    second = controller.next_step()
    assert second is not None
    assert second.length_s == pytest.approx(1.25 * 1000 / (20 / 3))
    p99 = CapacityController(CapacityPlan(first=100, most=1000, whole=False, share=0.99, cycle_s=1)).next_step()
    assert p99 is not None
    assert p99.length_s == pytest.approx(1.25 * 5000 / 100)
    visits = CapacityPlan(first=10, most=100, whole=False, cycle_s=2, per_arrival=5, limits=StepLimits(step_min_s=10))
    short = CapacityController(visits).next_step()
    assert short is not None
    assert short.length_s == pytest.approx(1.25 * 10 * 2), "50 operations/s are enough within ten rounds"


def test_time_is_respected() -> None:
    """The same counts, once spread evenly and once in clusters: the second interval is wider."""

    def seen(clustered: bool) -> list[Seen]:
        found = []
        for load, missed in ((90, 20), (95, 30), (100, 50), (105, 80), (110, 120)):
            even = [(50 - missed // 20 - (k < missed % 20), 50) for k in range(20)]
            left, lumpy = missed, []
            for _ in range(20):
                lost = min(left, 40)
                left -= lost
                lumpy.append((50 - lost, 50))
            found.append(Seen(load, missed, 1000, tuple(lumpy if clustered else even)))
        return found

    even, lumpy = find_edge(seen(False), 0.95, 100), find_edge(seen(True), 0.95, 100)
    assert even is not None
    assert lumpy is not None
    assert lumpy.dispersion > 5 * even.dispersion
    assert lumpy.high - lumpy.low > 2 * (even.high - even.low)
    assert even.low < 100 < even.high


def test_a_target_that_hardly_answers_is_no_answer_and_not_the_generator_s_fault() -> None:
    def silent(order: StepOrder) -> StepResult:
        return StepResult(order.load, order.length_s, (RuleShare(P95, 0.95, ((4, 4),)),), throughput=0.01)

    controller, answer = searched(PLAN, silent)
    assert {step.judgement.verdict for step in controller.steps} == {"undecided", "invalid"}
    assert (answer.verdict, answer.estimate, answer.held, answer.generator_bound) == (Verdict.UNKNOWN, None, None, False)
    assert answer.reasons[0].code == "stopped"
    assert "needs 20 to have such a percentile" in answer.reasons[0].text


def test_a_first_step_is_long_beside_what_the_rules_allow() -> None:
    order = CapacityController(CapacityPlan(first=1000, most=1000, cycle_s=1.0, limit_s=19.0)).next_step()
    assert order is not None
    assert order.length_s == pytest.approx(1.25 * 10 * 20)
