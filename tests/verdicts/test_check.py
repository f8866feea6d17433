"""Rules against figures."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.journal.records import Interval
from harness.metrics.histogram import Histogram, sparse_of
from harness.verdicts.abort import RuleWatch
from harness.verdicts.check import NARROW, Evidence, bracket_width, check, doubted, judge_rules, order_interval
from harness.verdicts.intervals import ranks, share_interval
from harness.verdicts.lattice import RuleResult, Verdict
from harness.verdicts.slo import parse

PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN
S = 10**9
SENT = {"messages|invoked": 100, "messages|ok": 100}


def times(ms: list[float], name: str = "echo|ok|response", **more: list[float]) -> Evidence:
    histograms = {name: Histogram.of([round(1000 * one) for one in ms])}
    for kind, values in more.items():
        histograms[f"echo|ok|{kind}"] = Histogram.of([round(1000 * one) for one in values])
    return Evidence(histograms, SENT)


def judged(text: str, evidence: Evidence) -> RuleResult:
    return check(parse(text), evidence)


# ---------------------------------------------------------------- intervals
@pytest.mark.parametrize(
    ("n", "row"),
    [
        (50, "18–33 41–50 44–null 48–null 49–null"),
        (100, "40–61 84–96 90–100 97–null 99–null"),
        (300, "133–168 259–281 277–293 293–null 298–null"),
        (500, "228–273 436–464 465–485 490–500 498–null"),
        (1_000, "469–532 881–919 936–964 983–997 997–null"),
        (10_000, "4902–5099 8941–9059 9457–9543 9880–9920 9983–9997"),
        (100_000, "49690–50311 89814–90187 94864–95136 98938–99062 99880–99920"),
    ],
)
def test_ranks_of_the_order_statistics(n: int, row: str) -> None:
    found = [ranks(n, Fraction(share)) for share in ("0.5", "0.9", "0.95", "0.99", "0.999")]
    assert " ".join(f"{low}–{'null' if high is None else high}" for low, high in found) == row


@pytest.mark.parametrize(("share", "least"), [("0.9", 36), ("0.95", 72), ("0.99", 368), ("0.999", 3688)])
def test_fewest_samples_that_have_an_upper_bound(share: str, least: int) -> None:
    assert ranks(least, Fraction(share))[1] == least
    assert ranks(least - 1, Fraction(share))[1] is None


def test_few_samples_have_no_bounds() -> None:
    assert ranks(0, Fraction(1, 2)) == (None, None)
    assert ranks(1, Fraction(1, 2)) == (None, None)


def test_exact_interval_of_a_share() -> None:
    low, high = share_interval(5, 100)
    assert (round(low, 5), round(high, 5)) == (0.01643, 0.11283)
    assert share_interval(0, 100)[0] == 0
    assert share_interval(100, 100)[1] == 1
    assert round(share_interval(0, 1000)[1], 6) == round(1 - 0.025 ** (1 / 1000), 6)
    assert share_interval(0, 0) == (0.0, 1.0)


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=400), st.sampled_from(["0.5", "0.9", "0.99"]))
def test_the_interval_holds_the_percentile(values: list[int], share: str) -> None:
    histogram = Histogram.of(values)
    low, high = order_interval(histogram, Fraction(share))
    value = histogram.percentile(Fraction(share))
    assert value is not None
    assert low is None or low <= value
    assert high is None or value <= high


# ---------------------------------------------------------------- percentiles
def test_enough_samples_are_judged_as_they_are() -> None:
    result = judged("echo p99 < 800 ms", times([50.0] * 20_000))
    assert (result.verdict, result.samples, result.note) == (PASS, 20_000, "")
    result = judged("echo p99 < 40 ms", times([50.0] * 20_000))
    assert (result.verdict, result.note) == (FAIL, "missed by 10 ms")
    assert result.sentence == "Echo p99 was 50 ms; the rule asks for less than 40 ms."


def test_no_samples_are_never_a_pass() -> None:
    for text in ("ack p99 < 800 ms", "ack p99 > 1 ms", "ack.failed rate < 1 %", "ack.failed == 0", "messages.rate > 0 /s"):
        result = judged(text, times([50.0] * 10))
        assert (result.verdict, result.note) == (UNKNOWN, "no samples"), text
    for text in ("lost.possible == 0", "duplicated == 0", "lost.ratio < 1 %", "messages.failed == 0", "guests.failed == 0"):
        assert judged(text, Evidence({}, {})).verdict is UNKNOWN, text


def test_too_few_samples_say_how_many_are_needed() -> None:
    result = judged("refresh.gap p99.9 < 2 s", times([50.0] * 1204, "refresh.gap|ok|span"))
    assert (result.verdict, result.note, result.observed.value) == (UNKNOWN, "needs 10,000", None)
    assert result.sentence == "`refresh.gap p99.9` has 1,204 samples and needs 10,000."


def test_few_samples_count_if_their_interval_is_on_one_side() -> None:
    assert judged("echo p95 < 60 ms", times([50.0] * 300)).verdict is PASS
    assert judged("echo p95 < 40 ms", times([50.0] * 300)).verdict is FAIL
    mixed = [float(value) for value in range(1, 301)]
    result = judged("echo p95 < 290 ms", times(mixed))
    assert (result.verdict, result.note) == (UNKNOWN, "needs 2,000")


def test_with_many_samples_the_observed_value_decides_and_the_doubt_is_noted() -> None:
    mixed = [float(value) / 10 for value in range(1, 10_001)]
    result = judged("echo p95 < 951 ms", times(mixed))
    assert (result.verdict, result.note) == (PASS, "interval straddles the limit")
    result = judged("echo p95 < 949 ms", times(mixed))
    assert result.verdict is FAIL
    assert result.note.endswith("; interval straddles the limit")


def test_a_bracket_that_gives_two_answers_is_unknown() -> None:
    evidence = times([860.0] * 20_000, response_low=[710.0] * 20_000)
    result = judged("echo p99 < 800 ms", evidence)
    assert (result.verdict, result.note) == (UNKNOWN, "PASS at 710 ms, FAIL at 860 ms")
    assert result.sentence == "The bracket gives two answers: echo p99 lies between 710 and 860 ms, the rule is 800 ms."
    assert judged("echo p99 < 900 ms", evidence).verdict is PASS
    assert judged("echo p99 < 700 ms", evidence).verdict is FAIL


def test_a_wide_bracket_is_no_verdict_however_far_the_limit_is() -> None:
    evidence = times([100.0] * 20_000, response_low=[50.0] * 20_000)
    result = judged("echo p99 < 120 ms", evidence)
    assert result.verdict is UNKNOWN
    assert result.note.startswith("generator-limited")
    assert judged("echo p99 < 90 ms", evidence).verdict is UNKNOWN
    assert judged("echo p99 < 2 s", evidence).verdict is UNKNOWN
    assert bracket_width(parse("echo p99 < 2 s"), evidence) == pytest.approx(0.5, abs=0.01)
    evidence.wide = 0.6
    assert judged("echo p99 < 2 s", evidence).verdict is PASS
    assert judged("echo p99 < 120 ms", times([100.0] * 20_000, response_low=[50.0] * 10)).verdict is PASS


def test_a_bracket_of_a_few_milliseconds_is_sharp_but_still_gives_no_two_answers() -> None:
    evidence = times([4.0] * 20_000, response_low=[1.0] * 20_000)
    assert judged("echo p99 < 2 s", evidence).verdict is PASS
    assert judged("echo p99 < 500 us", evidence).verdict is FAIL
    assert judged("echo p99 < 3 ms", evidence).verdict is UNKNOWN
    assert bracket_width(parse("echo p99 < 3 ms"), evidence) == NARROW
    assert judged("echo p99 < 2 s", times([9.0] * 20_000, response_low=[3.0] * 20_000)).verdict is UNKNOWN


def timed_out(ok: int, late: int, **failed: int) -> Evidence:
    """So many that took 50 ms, so many that were given 15 s, and failures that came at once."""
    slow = Histogram.of([15_000_000] * late + [1000] * sum(failed.values()))
    histograms = {"reply|ok|response": Histogram.of([50_000] * ok), "reply|fail|response": slow}
    counters = {**SENT, "failed|reply|fail|reply_timeout": late}
    counters |= {f"failed|reply|fail|{cause}": number for cause, number in failed.items()}
    return Evidence(histograms, counters)


def test_where_too_many_timed_out_the_percentile_is_longer_than_the_time_out() -> None:
    assert judged("reply p99 < 800 ms", timed_out(99_000, 1_000)).verdict is PASS
    result = judged("reply p99 < 800 ms", timed_out(98_900, 1_100))
    assert (result.verdict, result.observed.value, result.observed.low) == (FAIL, None, 800)
    assert result.note == "1,100 of 100,000 timed out"
    assert judged("reply p90 < 800 ms", timed_out(98_900, 1_100)).verdict is PASS
    assert judged("reply p99 < 20 s", timed_out(98_900, 1_100)).verdict is UNKNOWN, "nobody knows how long they would have taken"
    assert judged("reply p99 > 20 s", timed_out(98_900, 1_100)).verdict is UNKNOWN
    assert judged("reply p50 < 800 ms", timed_out(0, 100)).verdict is FAIL
    assert judged("reply p99 < 800 ms", timed_out(99_000, 100, refused=5_000)).verdict is PASS
    blurred = timed_out(98_900, 1_100, refused=5_000)
    blurred.histograms = {**blurred.histograms, "reply|fail|response": Histogram.of([15_000_000] * 3_000 + [1000] * 3_100)}
    assert judged("reply p99 < 800 ms", blurred).verdict is UNKNOWN, "the slow ones may be those that were refused"


def test_a_percentile_beyond_the_range_is_not_invented() -> None:
    hour = 3_600_000.0
    evidence = times([50.0] * 9_000 + [2 * hour] * 1_000)
    assert judged("echo p50 < 1 s", evidence).verdict is PASS
    result = judged("echo p95 < 1 s", evidence)
    assert (result.verdict, result.observed.value, result.observed.low) == (FAIL, None, hour)
    assert judged("echo p95 < 3 h", evidence).verdict is UNKNOWN


@given(
    st.lists(st.integers(1, 10_000), min_size=1, max_size=3000),
    st.sampled_from(["p50", "p90", "p99"]),
    st.integers(1, 10_000),
)
def test_a_pass_is_never_above_the_limit(values: list[int], percentile: str, limit: int) -> None:
    evidence = Evidence({"echo|ok|response": Histogram.of([1000 * value for value in values])}, SENT)
    result = judged(f"echo {percentile} < {limit} ms", evidence)
    if result.verdict is not UNKNOWN:
        assert result.observed.value is not None
        assert (result.verdict is PASS) == (result.observed.value < limit)


# ---------------------------------------------------------------- counts
def counted(**counters: int) -> Evidence:
    return Evidence(
        {}, {**SENT, **{name.replace("__", "|").replace("_D", ".d").replace("_U", ".u"): n for name, n in counters.items()}}
    )


def test_losses_go_by_their_bounds() -> None:
    evidence = counted(**{"lost.definite|a": 31, "lost.unread|g": 14})
    result = judged("lost.definite <= 31", evidence)
    assert (result.verdict, result.observed.low, result.observed.high, result.note) == (PASS, 31, 45, "possibly 45")
    result = judged("lost == 0", evidence)
    assert (result.verdict, result.note) == (FAIL, "missed by 31 or more")
    assert result.sentence == "Messages lost: 31 to 45; the rule asks for none."
    assert judged("lost.possible <= 44", evidence).verdict is FAIL
    assert judged("lost.possible <= 45", evidence).verdict is PASS
    assert judged("lost.possible == 0", counted(**{"lost.unread|g": 1})).verdict is FAIL


def test_failed_rates_have_an_exact_interval() -> None:
    evidence = Evidence({"reply|ok|service": Histogram.of([1] * 1980)}, {**SENT, "failed|reply|fail|reply_timeout": 20})
    result = judged("reply.failed rate <= 1 %", evidence)
    assert (result.verdict, result.observed.value, result.samples) == (PASS, 1.0, 2000)
    assert result.note == "interval straddles the limit"
    assert judged("reply.failed rate < 1 %", evidence).verdict is FAIL
    assert judged("reply.failed == 20", evidence).verdict is PASS
    few = Evidence({"reply|ok|service": Histogram.of([1] * 20)}, SENT)
    assert judged("reply.failed rate < 1 %", few).note == "needs 1,000"
    assert judged("reply.failed rate == 0 %", few).verdict is PASS


def test_shares_of_anomalies() -> None:
    evidence = Evidence({}, {"push.messages|a": 600, "push.messages|g": 400, "reordered|a": 1})
    assert judged("reordered.ratio <= 0.1 %", evidence).verdict is PASS
    assert judged("reordered.ratio < 0.1 %", evidence).verdict is FAIL
    assert judged("lost.ratio < 1 %", evidence).verdict is PASS
    assert judged("disconnects.ratio < 1 %", evidence).verdict is UNKNOWN


def test_throughput_and_guests() -> None:
    evidence = Evidence({}, SENT, {"failed": 0, "finished": 10, "peak": 10}, 600, 10.0)
    assert judged("messages.rate > 50 /s", evidence).verdict is PASS
    assert judged("messages.rate > 60 /s", evidence).verdict is FAIL
    assert judged("guests.failed == 0", evidence).verdict is PASS
    assert judged("guests.finished >= 11", evidence).note == "missed by 1"


def test_a_run_that_did_not_finish() -> None:
    evidence = times([50.0] * 20_000)
    evidence.finished = False
    evidence.counters = {**SENT, "reordered|a": 3}
    assert judged("echo p99 < 40 ms", evidence).note == "until then it was broken"
    assert judged("echo p99 < 60 ms", evidence).note == "until then it held"
    assert judged("reordered <= 2", evidence).verdict is FAIL
    assert judged("reordered <= 3", evidence).verdict is UNKNOWN
    assert judged("reordered == 4", evidence).verdict is UNKNOWN
    assert judged("messages.sent > 1000", evidence).verdict is UNKNOWN


def test_a_rule_that_cannot_be_read_is_unknown() -> None:
    (result,) = judge_rules(["ekko p99 < 1 s"], Evidence({}, SENT))
    assert (result.verdict, result.rule) == (UNKNOWN, "ekko p99 < 1 s")


def test_the_rule_is_given_back_as_it_was_written() -> None:
    (result,) = judge_rules(["echo  p99<1s"], times([50.0] * 20_000))
    assert (result.rule, result.what, result.limit) == ("echo  p99<1s", "echo.response p99", 1000.0)


def test_a_time_that_a_late_generator_may_have_broken_is_doubted() -> None:
    assert doubted(RuleResult("x", FAIL, unit="ms")).verdict is UNKNOWN
    assert doubted(RuleResult("x", FAIL)).verdict is FAIL
    assert doubted(RuleResult("x", PASS, unit="ms")).verdict is PASS


# ---------------------------------------------------------------- while it runs
def interval(second: int, *, echo_ms: float | None = None, **counters: int) -> Interval:
    found = {"echo|ok|response": sparse_of([round(1000 * echo_ms)] * 500)} if echo_ms is not None else {}
    names = {name.replace("_", "|"): count for name, count in counters.items()}
    return Interval(
        second * S, (second + 1) * S, "w", second, False, "all", 0, {"messages|invoked": 10, **names}, {}, found, {}, {}
    )


def test_a_count_that_cannot_be_mended_ends_the_run_at_once() -> None:
    watch = RuleWatch(["reordered <= 2", "guests.failed == 0"], grace_ns=30 * S, abort=True)
    assert watch.take(interval(0, reordered_a=2)) is None
    assert watch.states == [True, None]
    abort = watch.take(interval(1, reordered_g=1))
    assert abort is not None
    assert (abort.rule, abort.at_ns) == ("reordered <= 2", 2 * S)
    assert watch.states == [False, None]


def test_a_percentile_ends_the_run_once_it_was_broken_for_longer_than_the_grace() -> None:
    watch = RuleWatch(["echo p90 < 100 ms"], grace_ns=3 * S, abort=True)
    assert [watch.take(interval(n, echo_ms=200)) is None for n in range(5)] == [True, True, True, True, False]


def test_a_percentile_that_recovers_does_not() -> None:
    watch = RuleWatch(["echo p50 < 100 ms"], grace_ns=6 * S, abort=True)
    for n in range(3):
        assert watch.take(interval(n, echo_ms=200)) is None
    for n in range(3, 8):
        assert watch.take(interval(n, echo_ms=10)) is None
    assert watch.states == [True]
    for n in range(8, 12):
        assert watch.take(interval(n, echo_ms=200)) is None


def test_without_abort_the_rules_are_only_watched() -> None:
    watch = RuleWatch(["reordered == 0"], grace_ns=0, abort=False)
    assert watch.take(interval(0, reordered_a=5)) is None
    assert watch.states == [False]


def test_what_may_still_be_reached_is_not_broken_yet() -> None:
    watch = RuleWatch(["messages.sent >= 1000", "messages.rate > 100 /s", "messages.sent == 30"], grace_ns=0, abort=True)
    for n in range(3):
        assert watch.take(interval(n)) is None
    assert watch.states == [None, None, None]
    assert watch.take(interval(3)) is not None


# ------------------------------------------------------------------ between two clocks
def lags(low: int, middle: int, high: int, n: int = 2000) -> Evidence:
    """All messages alike, in milliseconds."""
    found = zip(("low", "middle", "high"), (low, middle, high), strict=True)
    return Evidence({f"event.lag|ok|{kind}": Histogram.of([1000 * value] * n) for kind, value in found}, SENT)


def test_a_one_way_delay_is_judged_where_both_ends_of_the_clock_say_the_same() -> None:
    assert judged("event.lag p95 < 100 ms", lags(50, 60, 70)).verdict is PASS
    assert judged("event.lag p95 < 40 ms", lags(50, 60, 70)).verdict is FAIL
    between = judged("event.lag p95 < 60 ms", lags(50, 55, 70))
    assert between.verdict is UNKNOWN
    assert between.sentence.startswith("The server's clock is not known well enough: event.lag p95 lies between")
    assert (between.observed.low, between.observed.high) == pytest.approx((50, 70), rel=0.01)
    assert judged("event.lag p99 < 100 ms", lags(50, 60, 70, n=900)).verdict is UNKNOWN


def test_a_clock_that_does_not_resolve_is_unknown_with_its_reason() -> None:
    why = "clock_unresolvable: stamps of webchat message contradict each other by 2000 ms"
    result = judged("event.lag p95 < 10 s", Evidence({}, SENT, unresolved={"event.lag": why}))
    assert (result.verdict, result.note) == (UNKNOWN, why)
    assert why in result.sentence
    assert judged("reply p95 < 10 s", Evidence({}, SENT, unresolved={"event.lag": why})).note == "no samples"
