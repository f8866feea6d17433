"""Rules that must hold in every window: grammar, windows out of interval records, results, and the watch while the run goes on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.journal.records import ONE_WAY, Interval
from harness.metrics.histogram import Histogram
from harness.verdicts.abort import RuleWatch
from harness.verdicts.check import Evidence, check, judge_rules
from harness.verdicts.lattice import RuleResult, Verdict
from harness.verdicts.slo import SloError, parse
from harness.verdicts.windowed import WindowFold
from tests.verdicts.test_slo import spelled

S = 1_000_000_000
MIN = 60 * S
PASS, FAIL, UNKNOWN = Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN


def interval(t0_s: float, t1_s: float, *, ms: float = 50, n: int = 0, worker: str = "w0", **counters: int) -> Interval:
    """An interval of answers that took so long; in counters `__` stands for `|` and `_` for `.`."""
    found = {"messages|invoked": n or 1, **{name.replace("__", "|").replace("_", "."): v for name, v in counters.items()}}
    histograms = {
        "reply|ok|response": Histogram.of([round(1000 * ms)] * n).sparse(),
        "reply|ok|service": Histogram.of([1] * n).sparse(),
    }
    return Interval(round(t0_s * S), round(t1_s * S), worker, 0, False, "all", 0, found, {}, histograms if n else {}, {}, {})


def judged(
    text: str, records: list[Interval], *, begin_s: float = 0, end_s: float | None = None, finished: bool = True
) -> RuleResult:
    rule = parse(text)
    fold = WindowFold([rule], begin_ns=round(begin_s * S), end_ns=None if end_s is None else round(end_s * S))
    for record in sorted(records, key=lambda one: one.t0_ns):
        fold.take(record)
    return check(rule, Evidence({}, {}, windows=fold.finish(), finished=finished))


def night(minutes: int, bad: range = range(0), *, ms: float = 50, slow: float = 900, n: int = 500) -> list[Interval]:
    """One interval every 10 s."""
    return [interval(10 * i, 10 * i + 10, ms=slow if i // 6 in bad else ms, n=n, worker=f"w{i % 1}") for i in range(6 * minutes)]


# ------------------------------------------------------------------ grammar
@settings(deadline=None)
@given(spelled(), st.sampled_from(["1s", "90 s", "5 min", "1.5 h", "2d", "300  s"]))
def test_what_a_windowed_rule_shows_reads_back(text: str, length: str) -> None:
    windowed, plain = f"{text} in every {length} window", parse(text)
    if plain.subject.startswith("guests.") or (plain.kind == "percentile" and plain.subject in ONE_WAY):
        with pytest.raises(SloError, match=r"whole run|by window"):
            parse(windowed)
        return
    rule = parse(windowed)
    assert rule.window_ns
    assert parse(rule.show()) == rule
    assert rule.each == parse(text)


def test_spellings() -> None:
    rule = parse("reply.response p99 < 1 s in every 5 min window")
    assert (rule.window_ns, rule.show()) == (5 * MIN, "reply.response p99 < 1 s in every 5 min window")
    assert parse("reply  p99<1s   in  every 300s  window") == rule
    assert parse("reply p99 < 1 s").window_ns == 0
    assert parse("lost == 0 in every 1 h window").show() == "lost.definite == 0 in every 1 h window"
    assert parse("messages.rate > 50 /s in every 90 s window").show() == "messages.rate > 50 /s in every 90 s window"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("reply p99 < 1 s in each 5 min window", "write `… in every 5 min window`"),
        ("reply p99 < 1 s every 10 min", "write `… in every 10 min window`"),
        ("reply p99 < 1 s per window", "write `… in every 5 min window`"),
        ("reply p99 < 1 s in every 5 min windows", "write `… in every 5 min window`"),
        ("reply p99 < 1 s in every 5 windows", "names no windows"),
        ("reply p99 < 1 s in every 5 y window", "no length of a window"),
        ("reply p99 < 1 s in every 5 ms window", "must last 1 s to 30 d"),
        ("guests.peak == 5 in every 5 min window", "known of the whole run"),
        ("event.lag p90 < 5 s in every 5 min window", "no figures by window"),
        ("ekko p99 < 1 s in every 5 min window", "did you mean"),
    ],
)
def test_errors_say_how_to_write_it(text: str, words: str) -> None:
    with pytest.raises(SloError) as error:
        parse(text)
    assert words in str(error.value)


# ------------------------------------------------------------------ results
def test_a_bad_hour_cannot_hide_in_a_good_night() -> None:
    records = night(480, range(385, 390))  # five bad minutes of eight hours: one per cent
    whole = Histogram()
    for record in records:
        whole.add_sparse(record.histograms["reply|ok|response"])
    assert check(parse("reply p95 < 500 ms"), Evidence({"reply|ok|response": whole}, {})).verdict is PASS
    found = judged("reply p95 < 500 ms in every 5 min window", records)
    assert found.verdict is FAIL
    assert found.windows is not None
    assert len(found.windows) == 96
    (over,) = [one for one in found.windows if one.verdict is FAIL]
    assert (over.t0_ns, over.t1_ns) == (385 * MIN, 390 * MIN)
    assert over.samples == 15_000
    assert found.observed.value == pytest.approx(900, rel=0.001)
    assert found.note == "1 of 96 windows over, worst at 6:25:00"
    assert found.sentence.startswith("1 of 96 5 min windows is over the limit (6:25:00); the worst, at 6:25:00: ")


def test_all_windows_held_and_the_worst_is_named() -> None:
    found = judged("reply p90 < 500 ms in every 10 min window", night(60, range(20, 30), slow=300))
    assert found.verdict is PASS
    assert found.observed.value == pytest.approx(300, rel=0.001)
    assert found.note == "6 windows, the worst at 20:00"
    assert found.sentence.startswith("All 6 10 min windows held; the worst, at 20:00: ")


def test_windows_begin_with_the_full_load() -> None:
    records = night(30, range(5), slow=5000)
    assert judged("reply p95 < 1 s in every 5 min window", records).verdict is FAIL
    found = judged("reply p95 < 1 s in every 5 min window", records, begin_s=300)
    assert found.windows is not None
    assert (found.verdict, len(found.windows), found.windows[0].t0_ns) == (PASS, 5, 5 * MIN)


@pytest.mark.parametrize(("minutes", "number"), [(20, 4), (22, 4), (23, 5), (24, 5)])
def test_a_last_window_shorter_than_half_is_not_judged(minutes: int, number: int) -> None:
    found = judged("reply p95 < 1 s in every 5 min window", night(minutes), end_s=60 * minutes)
    assert found.windows is not None
    assert len(found.windows) == number
    assert found.verdict is PASS


def test_too_few_samples_in_a_window_is_named_and_no_pass() -> None:
    records = night(30)
    thin = [interval(10 * i, 10 * i + 10, n=1) if 60 <= i < 90 else one for i, one in enumerate(records)]
    found = judged("reply p99 < 1 s in every 5 min window", thin)
    assert found.verdict is UNKNOWN
    assert found.windows is not None
    assert [one.verdict for one in found.windows] == [PASS, PASS, UNKNOWN, PASS, PASS, PASS]
    assert found.note == "1 of 6 windows not judged (10:00): needs 1,000"
    # An hour of nothing is no pass either, and none is skipped.
    gone = [one for i, one in enumerate(records) if not 60 <= i < 120]
    found = judged("reply p95 < 1 s in every 5 min window", gone)
    assert found.windows is not None
    assert [one.verdict for one in found.windows] == [PASS, PASS, UNKNOWN, UNKNOWN, PASS, PASS]


def test_counts_rates_ratios_and_throughput() -> None:
    records = night(20, n=100)
    records[70] = interval(700, 710, n=100, reordered__a=3, push_messages__a=100, failed__reply__fail__closed=40)
    records[70].counters["failed|reply|fail|closed"] = 40
    for text, over in (
        ("reordered == 0 in every 5 min window", [PASS, PASS, FAIL, PASS]),
        ("reordered <= 3 in every 5 min window", [PASS, PASS, PASS, PASS]),
        ("reply.failed rate < 1 % in every 5 min window", [PASS, PASS, FAIL, PASS]),
        ("reply.failed == 0 in every 10 min window", [PASS, FAIL]),
        ("messages.rate > 9 /s in every 5 min window", [PASS] * 4),
        ("messages.rate > 11 /s in every 5 min window", [FAIL] * 4),
    ):
        found = judged(text, records)
        assert found.windows is not None
        assert [one.verdict for one in found.windows] == over, text
    ratio = judged("reordered.ratio < 1 % in every 10 min window", records)
    assert ratio.windows is not None
    assert [one.verdict for one in ratio.windows] == [UNKNOWN, FAIL]


def test_what_comes_to_light_after_the_load_is_in_the_last_window() -> None:
    records = [*night(10), interval(600, 640, lost_definite__g=2), interval(640, 641, lost_definite__a=1)]
    found = judged("lost == 0 in every 5 min window", records, end_s=600)
    assert found.windows is not None
    assert [one.verdict for one in found.windows] == [PASS, FAIL]
    assert found.windows[1].observed.value == 3
    # Also behind a rest that is too short to be judged.
    found = judged("lost == 0 in every 5 min window", records, end_s=601)
    assert found.windows is not None
    assert [one.verdict for one in found.windows] == [PASS, PASS, FAIL]
    # But it adds nothing to the rate of the load.
    rate = judged("messages.rate > 49 /s in every 5 min window", records, end_s=600)
    assert rate.verdict is PASS


def test_workers_side_by_side_and_in_any_order_of_records() -> None:
    noise = random.Random(1)
    one = night(20, range(10, 15))
    two = [interval(10 * i + 3.7, 10 * i + 13.7, n=500, worker="w1") for i in range(119)]
    fold = judged("reply p60 < 500 ms in every 5 min window", one + two)
    assert fold.windows is not None
    assert [window.verdict for window in fold.windows] == [PASS, PASS, FAIL, PASS]
    # Intervals whose middle lies in the window: all are in exactly one.
    assert sum(window.samples or 0 for window in fold.windows) == 500 * 239
    shuffled = one + two
    noise.shuffle(shuffled)
    assert judged("reply p60 < 500 ms in every 5 min window", shuffled) == fold
    rate = judged("messages.rate > 95 /s in every 5 min window", one + two)
    assert rate.observed.value == pytest.approx(100, rel=0.04)


def test_a_run_cut_short() -> None:
    bad = judged("reply p95 < 500 ms in every 5 min window", night(20, range(5, 10)), finished=False)
    assert bad.verdict is FAIL, "a window that is past is never mended"
    good = judged("reply p95 < 500 ms in every 5 min window", night(20), finished=False)
    assert (good.verdict, good.note) == (UNKNOWN, "until then it held")


def test_no_window_at_all_is_unknown() -> None:
    found = judged("reply p95 < 500 ms in every 5 min window", night(2), end_s=120)
    assert (found.verdict, found.note, found.windows) == (UNKNOWN, "no window", ())
    (read,) = judge_rules(["reply p95<500ms in every 5min window"], Evidence({}, {}))
    assert (read.verdict, read.rule) == (UNKNOWN, "reply p95<500ms in every 5min window")


def test_the_windows_kept_do_not_grow_with_the_run() -> None:
    rule = parse("reply p95 < 500 ms in every 1 min window")
    fold = WindowFold([rule, parse("reply p95 < 1 s")], begin_ns=0)
    for record in night(120):
        fold.take(record)
        assert all(len(group._open) <= 2 for group in fold._groups.values())
    assert len(fold.finish()[rule.show()]) == 120


# ------------------------------------------------------------------ while the run goes on
def test_the_watch_judges_windows_that_are_past() -> None:
    watch = RuleWatch(["reply p95 < 500 ms in every 1 min window"], grace_ns=90 * S, abort=True)
    records = night(6, range(2, 3))
    states, aborts = [], []
    for record in records:
        aborts.append(watch.take(record, 0))
        states.append(watch.states[0])
    assert states[:6] == [None] * 6
    assert states[6:18] == [True] * 12
    assert states[18:] == [False] * 18
    first = next(one for one in aborts if one is not None)
    assert first.at_ns == 290 * S, "the window is seen to be past at 190 s, and the grace is over a minute and a half later"
    assert "1 of" in first.sentence


def test_the_watch_ends_a_run_at_once_for_a_count_and_waits_for_the_load() -> None:
    watch = RuleWatch(["reordered == 0 in every 1 min window"], grace_ns=3600 * S, abort=True)
    ramp = interval(0, 10, n=5, reordered__a=9)
    assert watch.take(ramp) is None
    aborts = [watch.take(interval(t, t + 10, n=5, reordered__a=int(t == 80)), 10 * S) for t in range(10, 200, 10)]
    assert [one is not None for one in aborts].index(True) == 12
