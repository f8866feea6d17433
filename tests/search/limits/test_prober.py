"""The prober in virtual time against limiters of its own (`tests/proofs/limiters.py`): the short form of the proofs."""

from __future__ import annotations

import random

import pytest

from harness.search.limits import Done, ProbePlan, Prober, Send, WaitUntil
from tests.proofs import accidents, ratelimit
from tests.proofs.limit_world import Told, walk
from tests.proofs.limiters import Bucket, Counter, First, Fixed, Limiter, Log


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["token_bucket", "fixed_window", "first_window", "sliding_log", "sliding_counter"])
def test_named_with_its_figures(kind: str, seed: int) -> None:
    row = ratelimit._trial(kind, seed)
    assert row["within_ceilings"]
    assert row["named"] == kind
    assert row["error"] <= 0.02


def test_nothing_below_the_ceiling() -> None:
    seen = walk([Bucket(500.0, 1000)], ProbePlan(burst_cap=300, idle_s=1.0), random.Random(1), 0.0)
    assert seen.finding.kind == "none"
    assert seen.finding.highest_per_s == pytest.approx(100.0, rel=0.01)
    assert seen.finding.requests == 300


def test_never_faster_and_never_more_than_allowed() -> None:
    plan = ProbePlan(max_per_s=20.0, max_requests=150, idle_s=1.0)
    seen = walk([Fixed(100, 10_000_000_000, 0)], plan, random.Random(3), 5.0)
    assert seen.peak_per_s <= 20
    assert seen.finding.requests <= 150
    assert "budget" in seen.finding.stopped
    assert not seen.finding.confirmed


def test_retry_after_that_lies_is_told() -> None:
    plan = ProbePlan(idle_s=1.0)
    honest = walk([Log(30, 10_000_000_000)], plan, random.Random(4), 5.0, told=Told("seconds"))
    lying = walk([Log(30, 10_000_000_000)], plan, random.Random(4), 5.0, told=Told("seconds", lie_s=1.0))
    silent = walk([Log(30, 10_000_000_000)], plan, random.Random(4), 5.0)
    assert [one.finding.retry_after.verdict for one in (honest, lying, silent) if one.finding.retry_after] == [
        "true",
        "too short",
        "not sent",
    ]


def test_a_second_user_is_noticed() -> None:
    seen = walk([Log(100, 10_000_000_000)], ProbePlan(idle_s=30.0), random.Random(5), 5.0, rival_per_s=0.5)
    assert seen.finding.shared
    assert seen.finding.rate_per_s is None
    assert seen.finding.available_per_s


def test_interrupted_and_lost() -> None:
    prober = Prober(ProbePlan(idle_s=0.0, answer_timeout_s=1.0, burst_cap=2), 0)
    first = prober.next(0)
    assert first == Send(0, "burst")
    prober.on_sent(0, 0)
    waiting = prober.next(0)
    assert isinstance(waiting, WaitUntil)
    assert waiting.at_ns == 10_000_000
    prober.stop("interrupted")
    assert prober.next(5) == Done("interrupted")
    assert prober.finding().kind == "unknown"


SECONDS = 1_000_000_000
ALONE: list[tuple[str, Limiter]] = [
    ("token_bucket", Bucket(4.0, 60)),
    ("fixed_window", Fixed(60, 10 * SECONDS, 3 * SECONDS)),
    ("fixed_window", First(60, 10 * SECONDS)),
    ("sliding_log", Log(60, 10 * SECONDS)),
]


@pytest.mark.parametrize(("kind", "limiter"), ALONE)
def test_one_strange_answer_does_not_spoil_the_others(kind: str, limiter: Limiter) -> None:
    seen = walk([limiter], ProbePlan(idle_s=30.0), random.Random(7), 5.0, spurious=frozenset([30])).finding
    assert seen.kind == kind
    assert seen.confirmed
    assert not seen.shared
    assert any("left out" in one for one in seen.reasons)
    assert seen.rate_per_s == pytest.approx(4.0 if kind == "token_bucket" else 6.0, rel=0.01)


def test_more_strange_answers_than_that_are_no_accidents() -> None:
    often = frozenset(range(10, 3000, 12))
    seen = walk([Log(60, 10 * SECONDS)], ProbePlan(idle_s=30.0), random.Random(7), 5.0, spurious=often).finding
    assert not seen.confirmed
    assert seen.safe_per_s is not None


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_requests_that_go_wrong_on_the_way_never_make_the_answer_wrong(seed: int) -> None:
    row = accidents.trial(seed, errors=0.01, lost=0.002)
    assert row["lost"]
    assert row["ok"], row


@pytest.mark.parametrize("jitter_ms", [0.0, 30.0])
@pytest.mark.parametrize("window_s", [1, 4])
def test_where_short_windows_begin(window_s: int, jitter_ms: float) -> None:
    """At moments of a clock or with a first request: told apart, whether or not the probe began at such a moment."""
    plan = ProbePlan(idle_s=3.0, spacing_s=0.01)
    for limiter, anchor in (
        (First(40, window_s * SECONDS), "first_request"),
        (Fixed(40, window_s * SECONDS, 300_000_000), "clock"),
        (Fixed(40, window_s * SECONDS, 3 * SECONDS + 20_000_000), "clock"),
    ):
        seen = walk([limiter], plan, random.Random(11), jitter_ms, server_offset_ns=0).finding
        assert (seen.kind, seen.anchor, seen.limit, seen.window_s) == ("fixed_window", anchor, 40, window_s)
        # how long a window from a first request is each of them tells by itself, no sharper than the way lets see
        assert seen.confirmed or (anchor == "first_request" and "only known to lie between" in " ".join(seen.reasons))


@pytest.mark.parametrize("charged", [True, False])
def test_refused_requests_that_count(charged: bool) -> None:
    for kind, limiter in (
        ("token_bucket", Bucket(4.0, 60, charge_refused=charged)),
        ("sliding_log", Log(60, 10 * SECONDS, charge_refused=charged)),
    ):
        seen = walk([limiter], ProbePlan(idle_s=30.0), random.Random(8), 5.0).finding
        assert (seen.kind, seen.counts_refused) == (kind, charged)
        assert seen.rate_per_s == pytest.approx(4.0 if kind == "token_bucket" else 6.0, rel=0.02)


def test_a_counter_that_counts_refused_ones_is_never_taken_for_what_it_is_not() -> None:
    limiter = Counter(60, 10 * SECONDS, 3 * SECONDS, charge_refused=True)
    seen = walk([limiter], ProbePlan(idle_s=30.0), random.Random(9), 5.0).finding
    assert (seen.kind == "sliding_counter" and seen.counts_refused) or not seen.confirmed
