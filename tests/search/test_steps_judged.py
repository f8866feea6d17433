"""Judging one step, and what it rests on: trend, Little's law."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pymannkendall
import pytest

from harness.metrics.kendall import mann_kendall
from harness.search.judge import ACHIEVED, ERRORS, RISING, judge_step
from harness.search.little import little
from harness.search.plan import StepLimits
from harness.search.rising import rising
from harness.search.steps import RuleShare, StepResult
from tests.search.measured import measured
from tests.search.queues.exact import Station
from tests.search.queues.played import closed, opened

P95 = "reply.response p95 < 800 ms"
LIMITS = StepLimits()


def blocks(kept: int, samples: int, parts: int = 20) -> tuple[tuple[int, int], ...]:
    return tuple(
        (kept * (k + 1) // parts - kept * k // parts, samples * (k + 1) // parts - samples * k // parts) for k in range(parts)
    )


def step(kept: int, samples: int = 1000, **more: object) -> StepResult:
    return StepResult(100, 60.0, (RuleShare(P95, 0.95, blocks(kept, samples)),), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kept", "verdict", "final"),
    [
        (970, "held", "held"),
        (955, "undecided", "held"),
        (950, "undecided", "held"),
        (949, "undecided", "broke"),
        (930, "broke", "broke"),
    ],
)
def test_the_exact_interval_decides_and_at_last_the_point_estimate(kept: int, verdict: str, final: str) -> None:
    assert judge_step(step(kept), LIMITS).verdict == verdict
    last = judge_step(step(kept), LIMITS, final=True)
    assert last.verdict == final
    assert last.low is not None
    assert last.high is not None
    assert last.low < kept / 1000 < last.high
    assert last.nearest == P95
    if final == "broke":
        assert last.broken_by == P95
        assert last.by_rule


def test_two_runs_of_a_load_are_one_longer_step() -> None:
    one = judge_step([step(960), step(960)], LIMITS)
    assert (one.kept, one.samples) == (1920, 2000)
    assert judge_step(step(961), LIMITS).verdict == "undecided"
    assert judge_step([step(962)] * 3, LIMITS).verdict == "held"


@pytest.mark.parametrize(
    ("more", "by"),
    [
        ({"errors": 2, "operations": 1000}, ERRORS),
        ({"achieved": 0.98}, ACHIEVED),
        ({"in_flight": tuple(float(k) for k in range(20))}, RISING),
        ({"broken": ("lost.definite == 0",)}, "lost.definite == 0"),
    ],
)
def test_other_things_break_a_step_whose_percentiles_hold(more: dict[str, object], by: str) -> None:
    assert judge_step(step(990), LIMITS).verdict == "held"
    broke = judge_step(step(990, **more), LIMITS)
    assert (broke.verdict, broke.broken_by) == ("broke", by)
    assert broke.by_rule == (by == "lost.definite == 0")


@pytest.mark.parametrize(
    "more",
    [
        {"errors": 1, "operations": 1000},
        {"achieved": 0.99},
        {"in_flight": tuple(100 + 0.1 * k for k in range(20))},  # sure, but far too little
        {"in_flight": (3.0, 9.0, 5.0, 2.0, 8.0) * 4},
        {"in_flight": tuple(abs(12.0 - k) + 10 for k in range(24))},  # one swing: it came back to where it had been
    ],
)
def test_what_does_not_break_a_step(more: dict[str, object]) -> None:
    assert judge_step(step(990, **more), LIMITS).verdict == "held"


def test_a_queue_that_is_steady_does_not_rise_and_one_that_grows_does() -> None:
    """Steps of 10 s at and beyond what a server bears: 12 at 100 ms each, guests who think for 800 ms."""

    def broken(load: float, seed: int) -> bool:
        rng = np.random.default_rng(seed)
        if load > 1:
            one = opened(Station(12, 0.1), 120 * load, 14.0, rng)
        else:
            one = closed(Station(12, 0.1), 126, 0.8, 14.0, rng)
        seen = measured(one, load, share=0.95, limit_s=0.6, begin_s=4.0, end_s=14.0, think_s=0.8)
        return judge_step(msgspec.structs.replace(seen, rules=()), LIMITS).broken_by == RISING

    assert sum(broken(1.0, seed) for seed in range(200)) <= 3
    assert sum(broken(2.0, seed) for seed in range(20)) >= 12


def test_a_step_with_an_unhealthy_generator_says_nothing() -> None:
    for final in (False, True):
        judged = judge_step([step(990), step(100, generator_healthy=False, generator="busy 0.95")], LIMITS, final=final)
        assert (judged.verdict, judged.broken_by, judged.sentence) == ("invalid", "", "busy 0.95")


def test_a_failed_rate_is_decided_by_its_point_estimate() -> None:
    def with_failures(failed: int) -> StepResult:
        rule = RuleShare("reply.failed rate < 0.1 %", 0.999, blocks(2000 - failed, 2000), point=True)
        return StepResult(100, 60.0, (RuleShare(P95, 0.95, blocks(1990, 2000)), rule))

    assert judge_step(with_failures(2), LIMITS).verdict == "held"
    assert judge_step(with_failures(3), LIMITS).broken_by == "reply.failed rate < 0.1 %"


def test_a_rule_without_samples_never_holds() -> None:
    empty = StepResult(100, 60.0, (RuleShare(P95, 0.95, ()),))
    assert judge_step(empty, LIMITS).verdict == "undecided"
    assert judge_step(empty, LIMITS, final=True).verdict == "broke"


def test_a_step_most_of_whose_answers_did_not_come_within_it_never_holds() -> None:
    def with_open(count: int) -> StepResult:
        return StepResult(100, 60.0, (RuleShare(P95, 0.95, blocks(1000, 1000), open=count),))

    assert judge_step(with_open(500), LIMITS).verdict == "held"
    assert judge_step(with_open(501), LIMITS).verdict == "undecided"
    last = judge_step(with_open(501), LIMITS, final=True)
    assert (last.verdict, last.broken_by, last.by_rule) == ("broke", P95, True)
    assert last.sentence == f"501 were still under way at the end beside 1,000 samples for {P95}"
    assert judge_step([with_open(900), with_open(0)], LIMITS, final=True).verdict == "held", "together they are one longer step"


@pytest.mark.parametrize(("samples", "verdict"), [(3, "invalid"), (19, "invalid"), (20, "held")])
def test_fewer_samples_than_a_percentile_needs_do_not_count(samples: int, verdict: str) -> None:
    few = StepResult(100, 60.0, (RuleShare(P95, 0.95, ((samples, samples),)),))
    assert judge_step(few, LIMITS).verdict == "undecided"
    judged = judge_step(few, LIMITS, final=True)
    assert judged.verdict == verdict
    if verdict == "invalid":
        assert judged.sentence == f"{P95} has {samples} samples and needs 20 to have such a percentile"


@pytest.mark.parametrize(
    ("values", "s", "variance", "z"),
    [
        ([10.1, 10.4, 10.2, 10.8, 10.6, 11.0, 11.3, 10.9, 11.6, 11.4], 35, 125, 3.041052),
        ([5, 5, 6, 6, 6, 7, 5, 8, 8, 9], 30, 116.6667, 2.684878),
    ],
)
def test_mann_kendall_and_the_median_slope(values: list[float], s: int, variance: float, z: float) -> None:
    assert mann_kendall(values)[:3] == (s, pytest.approx(variance, abs=1e-4), pytest.approx(z, abs=1e-6))
    theirs = pymannkendall.original_test(values)
    assert theirs.s == s
    assert theirs.z == pytest.approx(z, abs=1e-6)
    assert rising(values).slope == pytest.approx(theirs.slope)


def test_a_trend_is_rarely_seen_where_there_is_none() -> None:
    rng = random.Random(1)
    false = 0
    for _ in range(400):
        value, series = 0.0, []
        for _ in range(10):
            value = 0.6 * value + rng.gauss(0, 1)
            series.append(value)
        false += rising(series).p < 0.01
    assert false <= 16
    assert rising([1.0] * 12).p == 1.0
    assert rising([1, 2, 3]).p == 1.0
    assert rising([-float(k) for k in range(12)]).p > 0.9


def test_littles_law() -> None:
    ok = StepResult(100, 60.0, throughput=20.0, response_s=1.0, think_s=4.0)
    law = little(ok, closed=True)
    assert law is not None
    assert law.ratio == pytest.approx(1.0)
    assert law.tolerance == pytest.approx(0.01 + 0.5 * 5 / 60)
    assert law.holds
    lost = little(msgspec.structs.replace(ok, throughput=18.0), closed=True)
    assert lost is not None
    assert not lost.holds
    opened = little(StepResult(20.0, 60.0, throughput=20.0, response_s=1.0, in_flight=(19.0, 21.0)), closed=False)
    assert opened is not None
    assert opened.ratio == pytest.approx(1.0)
    assert little(StepResult(100, 60.0), closed=True) is None
