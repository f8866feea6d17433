"""The simulator as truth: its clock's true offset and the true one-way delays against what the journal proves of them.

In virtual time both are known exactly. The simulator stamps by its own clock, which the fault `skew` sets wrong; the network's
delays are drawn by the world.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from harness.conformance.runner import WALL, Outcome, Plan, run, wrapped
from harness.core import ops
from harness.core.stamps import read_http_date
from harness.journal.reader import JournalReader
from harness.journal.records import Interval
from harness.metrics.clock import DRIFT, ClockBook
from harness.metrics.one_way import OneWay, OneWayFold
from harness.metrics.refold import intervals_from_rows
from harness.report.fold import fold
from harness.simulator.instants import http_date
from harness.verdicts.check import Evidence, judge_rules
from harness.verdicts.lattice import Verdict

S, MS = 1_000_000_000, 1_000_000
START = 1000 * S
BASE = WALL - START
"""The true offset while nothing is wrong."""
FAST, SLOW = (0.0002, 0.003), (0.02, 0.06)


class Truth:
    """What the simulator did: when it cut which stamp."""

    def __init__(self) -> None:
        self.at: dict[int, list[int]] = defaultdict(list)

    def watch(self, _world: Any, _sessions: Any, _recorder: Any, engine: Any) -> None:
        plain = engine.stamp_ms

        def stamp_ms(now: int) -> int:
            stamp: int = plain(now)
            self.at[stamp * MS].append(now)
            return stamp

        engine.stamp_ms = stamp_ms
        engine.faults.stop = lambda _now: None  # or the settling would end the skew, a step before the run is over


def clocked(
    folder: Path,
    dialect: str,
    faults: list[dict[str, Any]],
    *,
    delay: tuple[float, float] = FAST,
    seed: int = 1,
    seconds: float = 300,
) -> tuple[Outcome, Truth]:
    truth = Truth()
    plan = Plan(
        (dialect,),
        guests=8,
        seconds=seconds,
        ramp=10,
        seed=seed,
        delay=delay,
        simulator={"faults": faults},
        compare=False,
        tamper=truth.watch,
    )
    return run(plan, folder), truth


def records(outcome: Outcome) -> list[Interval]:
    return [record for record in JournalReader(outcome.journal).records() if isinstance(record, Interval)]


def books(found: list[Interval]) -> dict[str, ClockBook]:
    made: dict[str, ClockBook] = defaultdict(ClockBook)
    for record in found:
        for source, span in record.clocks.items():
            made[source].add(record.t0_ns, record.t1_ns, span)
    return made


def one_way(outcome: Outcome) -> OneWay:
    found = fold([outcome.journal]).one_way
    assert found is not None
    return found


def lags(outcome: Outcome) -> list[ops.Arrived]:
    """First pushes of agents' messages."""
    seen = set()
    found = []
    for row in JournalReader(outcome.journal).records():
        if isinstance(row, ops.Arrived) and row.direction == "a" and row.server_ns and (row.label, row.seq) not in seen:
            seen.add((row.label, row.seq))
            if row.channel == "push":
                found.append(row)
    return found


@pytest.mark.parametrize("delay", [FAST, SLOW], ids=["near", "far"])
@pytest.mark.parametrize(
    ("by", "ppm"), [("0ms", 0.0), ("500ms", 0.0), ("1h", 0.0), ("90s", 40.0), ("90s", -40.0)], ids=lambda value: str(value)
)
@pytest.mark.parametrize("dialect", ["webchat", "longpoll", "webmessaging"])
def test_the_certain_interval_always_holds_the_true_offset(
    tmp_path: Path, dialect: str, by: str, ppm: float, delay: tuple[float, float]
) -> None:
    outcome, _ = clocked(tmp_path, dialect, [{"name": "skew", "by": by, "ppm": ppm}], delay=delay)
    ahead = {"0ms": 0, "500ms": 500 * MS, "90s": 90 * S, "1h": 3600 * S}[by]

    def true_offset(at: int) -> float:
        return BASE + ahead + (at - START) * ppm / 1e6

    checked = 0
    for source, book in books(records(outcome)).items():
        for (t0, t1), offset in book.offsets().items():
            for at in (t0, (t0 + t1) // 2, t1):
                assert offset.low_ns is None or offset.low_ns <= true_offset(at), (source, at)
                assert offset.high_ns is None or true_offset(at) <= offset.high_ns, (source, at)
                if offset.middle_ns is not None and offset.half_ns is not None:
                    assert abs(offset.middle_ns - true_offset(at)) <= offset.half_ns + 1
                    checked += 1
    assert checked > 60


@pytest.mark.parametrize(("by", "ppm"), [("500ms", 0.0), ("1h", 0.0), ("2s", 40.0)])
@pytest.mark.parametrize("dialect", ["webchat", "longpoll", "webmessaging"])
def test_low_and_high_bracket_the_true_one_way_delays(tmp_path: Path, dialect: str, by: str, ppm: float) -> None:
    outcome, truth = clocked(tmp_path, dialect, [{"name": "skew", "by": by, "ppm": ppm}], seed=2)
    found = one_way(outcome)
    assert (found.state, found.why) == ("ok", "")
    rows = lags(outcome)
    least, most = [], []
    for row in rows:
        # A stamp names its millisecond: where two were cut in one, the message's may be either.
        cut = [at for at in truth.at[row.server_ns] if at <= row.at_ns]
        if dialect == "webmessaging":  # a session's stamps are moved on so that no two are equal, and the message waits
            cut = cut or [at for bump in range(1, 6) for at in truth.at[row.server_ns - bump * MS] if at <= row.at_ns]
        assert cut, row
        least.append(row.at_ns - max(cut))
        most.append(row.at_ns - min(cut))
    least.sort()
    most.sort()
    low, middle, high = (found.histograms[kind] for kind in ("low", "middle", "high"))
    assert low.count == middle.count == high.count == len(rows) > 150
    for share in (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10), Fraction(99, 100)):
        rank = max(1, -(-share.numerator * len(rows) // share.denominator)) - 1
        bottom, top = low.percentile(share), high.percentile(share)
        assert bottom is not None
        assert top is not None
        assert bottom * 1000 <= most[rank]
        assert least[rank] <= (top + 1) * 1000
        estimate = middle.percentile(share)
        half = max(one.half_ns or 0 for one in found.sources if one.messages)
        assert estimate is not None
        assert abs(estimate * 1000 - least[rank]) <= half + MS


@pytest.mark.parametrize("dialect", ["webchat", "longpoll"])
def test_a_step_of_the_server_is_noticed_and_drops_every_one_way_figure(tmp_path: Path, dialect: str) -> None:
    outcome, _ = clocked(tmp_path, dialect, [{"name": "skew", "at": "100s", "for": "60s", "by": "2s"}])
    measured = fold([outcome.journal])
    found = measured.one_way
    assert found is not None
    assert found.state == "unresolvable"
    assert found.why.startswith("clock_unresolvable")
    assert found.histograms == {}
    assert found.faults > 0
    assert not [name for name in measured.histograms if name.startswith("event.lag")]
    source = next(one for one in found.sources if one.messages)
    assert 1.9 * S < source.gap_ns < 2.1 * S
    evidence = Evidence(measured.histograms, measured.counters, unresolved={"event.lag": found.why})
    (result,) = judge_rules(["event.lag p50 < 2 s"], evidence)
    assert result.verdict is Verdict.UNKNOWN
    assert "clock_unresolvable" in result.sentence
    # What has one clock stays.
    assert measured.histograms["reply|ok|response"].count > 100


def test_a_clock_that_runs_away_faster_than_any_does_is_no_clock(tmp_path: Path) -> None:
    outcome, _ = clocked(tmp_path, "webchat", [{"name": "skew", "by": "0ms", "ppm": 500.0}])
    assert one_way(outcome).state == "unresolvable"


def test_drift_is_followed(tmp_path: Path) -> None:
    outcome, _ = clocked(tmp_path, "webchat", [{"name": "skew", "by": "0ms", "ppm": 40.0}], seconds=1500)
    found = one_way(outcome)
    source = next(one for one in found.sources if one.messages)
    assert found.state == "ok"
    assert source.drift_ns == pytest.approx(1500 * S * 40e-6, abs=5 * MS)
    assert 1 / DRIFT == 50e-6


def test_a_far_server_is_not_resolved_and_differences_remain(tmp_path: Path) -> None:
    outcome, _ = clocked(tmp_path, "webchat", [{"name": "skew", "by": "500ms"}], delay=(0.04, 0.06))
    found = one_way(outcome)
    assert found.state == "too wide"
    assert "skew not resolved" in found.why
    assert list(found.histograms) == ["spread"]
    assert (found.histograms["spread"].percentile("0.99") or 0) <= 21_100
    measured = fold([outcome.journal])
    evidence = Evidence(measured.histograms, measured.counters, unresolved={"event.lag": found.why})
    assert judge_rules(["event.lag p50 < 10 s"], evidence)[0].verdict is Verdict.UNKNOWN


def test_agents_alone_bound_one_side(tmp_path: Path) -> None:
    outcome, _ = clocked(tmp_path, "guests", [])
    found = one_way(outcome)
    assert found.state == "one-sided"
    assert list(found.histograms) == ["spread"]


def test_the_rows_give_the_same_clocks(tmp_path: Path) -> None:
    outcome, _ = clocked(tmp_path, "webchat", [{"name": "skew", "by": "90s", "ppm": 20.0}])
    again = intervals_from_rows(JournalReader(outcome.journal).records(), run="soak", worker="0")
    assert [record.clocks for record in again] == [record.clocks for record in records(outcome)]
    assert any(record.clocks for record in again)


def test_a_machine_that_slept_loses_the_interval_and_no_more(tmp_path: Path) -> None:
    outcome, _ = clocked(tmp_path, "webchat", [{"name": "skew", "at": "155s", "by": "30s"}])
    found = records(outcome)
    fold_plain, fold_told = OneWayFold(), OneWayFold()
    for record in found:
        fold_plain.take(record)
        if record.t0_ns <= START + 155 * S < record.t1_ns:
            record.health["clock.suspensions"] = 1
        fold_told.take(record)
    assert fold_plain.finish().state == "unresolvable"
    told = fold_told.finish()
    assert told.state == "ok"
    source = next(one for one in told.sources if one.messages)
    assert 0 < source.left_out < 20
    assert told.histograms["high"].overflow == source.left_out
    assert told.histograms["middle"].count == source.messages - source.left_out


def dated(age: bool) -> Callable[..., Callable[..., Any]]:
    """A server that sends `Date`, as HTTP shells do; behind a cache with an `Age` too."""

    def make(respond: Callable[..., Any]) -> Callable[..., Any]:
        def with_date(world: Any, request: int, response: Any) -> Any:
            wall = (world.now + BASE) // MS
            response.headers = {**response.headers, "date": http_date(wall), **({"age": "3"} if age else {})}
            return respond(world, request, response)

        return with_date

    return make


@pytest.mark.parametrize("age", [False, True])
def test_a_date_bounds_the_clock_of_its_host(tmp_path: Path, age: bool) -> None:
    from harness.conformance.world import World

    with wrapped(World, "respond", dated(age)):
        outcome, _ = clocked(tmp_path, "longpoll", [])
    dates = {source: book for source, book in books(records(outcome)).items() if source.startswith("Date of")}
    if age:
        assert not dates
        return
    (book,) = dates.values()
    for offset in book.offsets().values():
        assert offset.low_ns is not None
        assert offset.high_ns is not None
        assert offset.low_ns <= BASE <= offset.high_ns
    whole = book.whole()
    assert whole is not None
    assert whole.grain_ns == S
    assert whole.answers <= 8 * (450 / 5 + 1), "a guest looks at a date every 5 s at most"
    best = min(offset.half_ns for offset in book.offsets().values() if offset.half_ns is not None)
    assert best < 100 * MS
    assert read_http_date(http_date(WALL // MS)) == WALL
