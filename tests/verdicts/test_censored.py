"""What guests cut off by leaving as planned is in no rate, and hides neither a broken service nor a slow one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.journal.records import Interval
from harness.metrics.censored import censored, failed_messages, failures, is_censored, outwaited
from harness.metrics.histogram import Histogram
from harness.verdicts.abort import RuleWatch
from harness.verdicts.check import Evidence, check
from harness.verdicts.lattice import RuleResult, Verdict
from harness.verdicts.slo import parse
from harness.verdicts.windowed import WindowFold

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
S = 10**9
CUT = "failed|reply|info|interrupted"
RATE = "reply.failed rate < 1 %"
P95 = "reply p95 < 1 s"


def counted(cut: int = 0, **failed: int) -> dict[str, int]:
    named = {f"failed|reply|fail|{cause}": count for cause, count in failed.items()}
    return {**named, **({CUT: cut} if cut else {}), "messages|invoked": 1}


def waits(answered_ms: Sequence[float], cut_ms: Sequence[float] = (), late_ms: Sequence[float] = ()) -> dict[str, Histogram]:
    ends = {"ok": answered_ms, "info": cut_ms, "fail": late_ms}
    return {
        f"reply|{outcome}|{part}": Histogram.of([round(1000 * one) for one in values])
        for outcome, values in ends.items()
        for part in ("service", "response")
        if values
    }


def evidence(answered: int, cut: int = 0, **failed: int) -> Evidence:
    return Evidence(waits([500.0] * answered, [300.0] * cut), counted(cut, **failed))


def judged(rule: str, found: Evidence) -> RuleResult:
    return check(parse(rule), found)


# ---------------------------------------------------------------- which samples they are
def test_only_a_reply_that_its_guest_left_behind_is_censored() -> None:
    assert is_censored("reply", "info", "interrupted")
    assert not is_censored("reply", "fail", "interrupted")
    assert not is_censored("reply", "info", "session_closed")
    assert not is_censored("echo", "info", "interrupted")


def test_failures_by_measure_and_cause_without_them() -> None:
    counters = {**counted(7, reply_timeout=2), "failed|echo|info|interrupted": 3, "failed|odd|name": 1, "messages|info": 9}
    assert failures(counters) == {"reply": {"reply_timeout": 2}, "echo": {"interrupted": 3}, "odd": {"name": 1}}
    assert censored(counters) == {"reply": 7}
    assert censored({}) == {}


@given(st.dictionaries(st.text("ab|", max_size=9).map("failed|".__add__), st.integers(1, 9)))
def test_any_name_of_a_counter_is_taken(counters: dict[str, int]) -> None:
    assert sum(sum(causes.values()) for causes in failures(counters).values()) == sum(counters.values())


def test_a_wait_that_was_cut_off_is_longer_than_that() -> None:
    found = waits([1.0], [200.0, 1500.0, 2500.0])
    assert outwaited(found, "reply", "response", 1_000_000) == 2
    assert outwaited(found, "echo", "response", 0) == 0
    assert outwaited({}, "reply", "response", 0) == 0


# ---------------------------------------------------------------- shares
def test_a_healthy_service_is_not_failed_for_guests_who_leave() -> None:
    """The figures of a clean soak: 235 of 21,784 were still awaited, 1.08 %."""
    result = judged(RATE, evidence(21_549, 235))
    assert (result.verdict, result.observed.value, result.samples) == (PASS, 0.0, 21_549)
    assert "235 still awaited when their guest left, in no rate" in result.note
    assert judged("reply.failed == 0", evidence(21_549, 235)).verdict is PASS


@pytest.mark.parametrize("cause", ["session_closed", "connection_reset", "timeout", "reply_timeout", "interrupted"])
def test_a_service_that_breaks_conversations_off_still_breaks_the_rule(cause: str) -> None:
    result = judged(RATE, evidence(21_549, 0, **{cause: 235}))
    assert (result.verdict, result.samples) == (FAIL, 21_784)
    assert "in no rate" not in result.note
    assert judged("reply.failed == 0", evidence(100, 5, **{cause: 1})).verdict is FAIL


def test_where_nothing_but_that_is_known_it_is_no_pass() -> None:
    assert judged(RATE, evidence(0, 50)).verdict is UNKNOWN


def test_messages_that_only_that_reply_would_have_confirmed_are_left_out_with_it() -> None:
    cut = {"messages|invoked": 10_000, "messages|ok": 9_700, "messages|fail": 20, "messages|info": 280}
    healthy = {**cut, "messages.failed|info|unanswered": 250, "messages.failed|info|unconfirmed": 30}
    assert failed_messages(healthy) == 50
    result = judged("messages.failed rate < 1 %", Evidence({}, healthy))
    assert (result.verdict, result.samples) == (PASS, 9_750)
    assert "250 still awaited" in result.note
    broken = {**cut, "messages.failed|info|unconfirmed": 280}
    result = judged("messages.failed rate < 1 %", Evidence({}, broken))
    assert (result.verdict, result.samples) == (FAIL, 10_000)


# ---------------------------------------------------------------- percentiles
def test_guests_who_leave_sooner_than_the_limit_say_nothing_of_it() -> None:
    found = Evidence(waits([500.0] * 10_000, [900.0] * 2_000), counted(2_000))
    assert judged(P95, found).verdict is PASS


@pytest.mark.parametrize(("gone", "verdict"), [(100, PASS), (104, PASS), (106, FAIL), (400, FAIL), (4_000, FAIL)])
def test_guests_who_had_waited_past_the_limit_when_they_left_missed_it(gone: int, verdict: Verdict) -> None:
    """Of 10,000 answers 4 % were late; one in twenty of all may be."""
    answered = [500.0] * 9_600 + [1_500.0] * 400
    result = judged(P95, Evidence(waits(answered, [3_000.0] * gone), counted(gone)))
    assert result.verdict is verdict, f"{400 + gone} of {10_000 + gone} were late"
    if verdict is FAIL:
        assert f"{gone:,} of {10_000 + gone:,} still awaited past the limit when their guest left" in result.note
        assert result.observed.value is None
        assert result.observed.low == 1000


@pytest.mark.parametrize(
    ("answered", "slow", "gone", "verdict"),
    [
        (10, 0, 1, UNKNOWN),  # as one of eleven who is answered too late
        (0, 0, 1, UNKNOWN),
        (0, 0, 50, FAIL),
        (40, 0, 10, FAIL),
        (300, 0, 16, UNKNOWN),
        (300, 0, 40, FAIL),
        (1_000, 10, 45, UNKNOWN),
        (1_000, 10, 95, FAIL),
        (2_000, 50, 60, FAIL),
    ],
)
def test_a_few_who_had_waited_past_the_limit_may_be_chance(answered: int, slow: int, gone: int, verdict: Verdict) -> None:
    """A thin window in which one guest left a slow answer behind is no proof, and breaks no rule for good."""
    found = Evidence(waits([100.0] * answered + [5_000.0] * slow, [5_000.0] * gone), counted(gone))
    assert judged(P95, found).verdict is verdict


def test_waits_that_were_cut_off_add_to_those_that_timed_out() -> None:
    answered, late = [500.0] * 2_000, [15_000.0] * 60
    alone = Evidence(waits(answered, late_ms=late), counted(reply_timeout=60))
    both = Evidence(waits(answered, [3_000.0] * 60, late), counted(60, reply_timeout=60))
    short = Evidence(waits(answered, [300.0] * 600, late), counted(600, reply_timeout=60))
    assert [judged(P95, one).verdict for one in (alone, both, short)] == [PASS, FAIL, PASS]
    assert "60 of 2,120 timed out, 60 still awaited past the limit" in judged(P95, both).note


def test_a_lower_limit_is_not_missed_by_a_long_wait() -> None:
    found = Evidence(waits([1_500.0] * 10_000, [3_000.0] * 5_000), counted(5_000))
    assert judged("reply p95 > 1 s", found).verdict is PASS


# ---------------------------------------------------------------- while it runs, and in windows
def second(at: int, answered: int, cut: int = 0, *, cut_ms: float = 300.0, **failed: int) -> Interval:
    found = {name: one.sparse() for name, one in waits([500.0] * answered, [cut_ms] * cut).items()}
    return Interval(at * S, (at + 1) * S, "w", at, False, "all", 0, counted(cut, **failed), {}, found, {}, {})


def windows(records: list[Interval], rule: str) -> list[Verdict]:
    fold = WindowFold([parse(rule)], begin_ns=0)
    for record in records:
        fold.take(record)
    return [one.verdict for one in fold.finish()[parse(rule).show()]]


def test_windows_leave_them_out_as_well() -> None:
    records = [second(at, 500, 20 if at >= 60 else 0) for at in range(120)]
    assert windows(records, f"{RATE} in every 1 min window") == [PASS, PASS]
    broken = [second(at, 500, 0, session_closed=20 if at >= 60 else 0) for at in range(120)]
    assert windows(broken, f"{RATE} in every 1 min window") == [PASS, FAIL]


def test_windows_see_the_slowness_that_guests_left_for() -> None:
    records = [second(at, 500, 50, cut_ms=5_000.0 if at >= 60 else 300.0) for at in range(120)]
    assert windows(records, f"{P95} in every 1 min window") == [PASS, FAIL]


def test_a_run_is_not_ended_for_guests_who_leave() -> None:
    watch = RuleWatch([RATE, "reply.failed == 0"], grace_ns=3 * S, abort=True)
    assert [watch.take(second(at, 50, 5)) for at in range(60)] == [None] * 60
    assert watch.states == [True, True]
    assert watch.take(second(60, 50, 5, connection_closed=1)) is not None


def test_a_run_is_ended_for_slowness_that_guests_left_for() -> None:
    watch = RuleWatch([P95], grace_ns=3 * S, abort=True)
    found = [watch.take(second(at, 500, 50, cut_ms=5_000.0)) for at in range(6)]
    assert [one is None for one in found] == [True, True, True, True, False, False]
