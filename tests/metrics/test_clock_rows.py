"""From rows to clocks: what the recorder makes of stamps, what of them a server cannot spoil, and clocks of this machine."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import ops
from harness.core.http import date_ns
from harness.core.stamps import LATEST_NS, believable, read_http_date, read_iso
from harness.journal.codec import decode_records
from harness.journal.records import Interval
from harness.metrics.health import Health, Readings
from harness.metrics.one_way import OneWay, OneWayFold
from harness.metrics.recorder import Recorder
from harness.verdicts.check import Evidence, check
from harness.verdicts.lattice import Verdict
from harness.verdicts.slo import parse

S, MS = 1_000_000_000, 1_000_000
WALL = 1_700_000_000 * S


def own(at: int, seq: int, stamp: int, sent: int, label: str = "1-1") -> ops.Arrived:
    return ops.Arrived(at, label, "g", seq, 0, "push", 1, f"g{seq}", stamp, "x:1", "d message", sent)


def agents(at: int, seq: int, stamp: int, label: str = "1-1") -> ops.Arrived:
    return ops.Arrived(at, label, "a", seq, 0, "push", 1, f"a{seq}", stamp, "x:1", "d message")


def talk(rng: Random, label: str, *, ahead: int, seconds: int = 60, delay: int = 8 * MS) -> list[ops.Row]:
    """A message and its answer each second, each way taking about `delay`."""
    rows: list[ops.Row] = []
    for second in range(1, seconds):
        asked = second * S
        at = asked + round(delay * (0.8 + 0.4 * rng.random()))
        rows.append(ops.Invoked(asked, label, second, 1, asked, 20))
        rows.append(own(at + round(delay * (0.8 + 0.4 * rng.random())), second, (at + ahead) // MS * MS, asked, label))
        pushed = at + 100 * MS
        rows.append(agents(pushed + round(delay * (0.8 + 0.4 * rng.random())), second, (pushed + ahead) // MS * MS, label))
    return rows


def folded(workers: list[list[ops.Row]]) -> tuple[OneWay, list[Interval]]:
    fold, found = OneWayFold(), []
    for number, rows in enumerate(workers):
        recorder = Recorder("ab12", str(number))
        now = S
        for row in sorted(rows, key=lambda row: row.at_ns):
            while row.at_ns >= now:
                found.append(recorder.close_interval(now))
                now += S
            recorder.record(row)
        found.append(recorder.close_interval(now, final=True))
        assert not recorder.fault
    for record in found:
        fold.take(record)
    return fold.finish(), found


def test_both_directions_make_a_clock_and_delays() -> None:
    found, _ = folded([talk(Random(1), "1-1", ahead=WALL)])
    (source,) = found.sources
    assert (source.source, source.state, source.answers, source.both, source.grain_ns) == ("d message", "too wide", 118, 59, MS)
    assert source.offset.low_ns is not None
    assert source.offset.high_ns is not None
    assert source.offset.low_ns <= WALL <= source.offset.high_ns
    assert source.half_ns is not None
    assert source.half_ns <= 8 * MS
    assert found.state == "too wide", "8 ms of delay and 7 ms of doubt"
    near, _ = folded([talk(Random(1), "1-1", ahead=WALL, delay=3 * MS)])
    assert near.state == "ok"
    middle = near.histograms["middle"].percentile("0.5")
    assert middle is not None
    assert 2400 <= middle <= 3700


def test_how_guests_are_spread_over_workers_changes_nothing() -> None:
    """To the last bucket, and in whichever order the records come."""
    guests = [talk(Random(slot), f"{slot}-1", ahead=WALL, delay=3 * MS) for slot in range(1, 6)]
    together, records = folded([[row for rows in guests for row in rows]])
    apart, pieces = folded(guests)
    assert len(pieces) == 5 * len(records)
    assert apart == together
    fold = OneWayFold()
    Random(1).shuffle(pieces)
    for record in pieces:
        fold.take(record)
    assert fold.finish() == together


def test_a_message_that_bears_the_future_is_a_fault_of_the_clock() -> None:
    rows = talk(Random(2), "1-1", ahead=WALL, delay=3 * MS)
    strange = agents(30 * S + 500 * MS, 60, WALL + 31 * S)
    found, _ = folded([[*rows, strange]])
    assert found.state == "unresolvable"
    assert found.faults == 1
    assert found.histograms == {}
    assert "clock_unresolvable" in found.why


def test_old_rows_without_clock_and_asking_bound_one_side() -> None:
    found, _ = folded([[ops.Arrived(2 * S, "1-1", "a", 1, 0, "push", 1, "a1", WALL, "x:1")]])
    assert [(one.source, one.state) for one in found.sources] == [("message", "one-sided")]


def test_a_date_makes_a_clock_of_its_own() -> None:
    found, records = folded([[ops.Clocked(2 * S, "1-1", "Date of host", S, WALL // S * S, S)]])
    assert found.state == "none"
    assert [one.source for one in found.sources] == ["Date of host"]
    assert records[-1].clocks["Date of host"].grain_ns == S


@given(st.lists(st.integers(1, LATEST_NS), min_size=1, max_size=20), st.booleans())
def test_no_stamp_of_a_server_can_break_the_books(stamps: list[int], asked: bool) -> None:
    rows: list[ops.Row] = [ops.Invoked(S, "1-1", 1, 1, S, 20)]
    for number, stamp in enumerate(stamps, 1):
        rows += [agents(number * S, number, stamp), own(number * S, number, stamp, number * S - MS if asked else 0)]
    found, _ = folded([rows])
    assert found.state in ("ok", "too wide", "one-sided", "unresolvable")
    written = bytearray()
    recorder = Recorder("ab12", "0", written.extend)
    for row in rows:
        recorder.record(row)
    interval = recorder.close_interval(100 * S, final=True)
    assert not recorder.fault
    assert decode_records(bytes(written[written.rfind(b"GSJ\xf1") + 24 :])) == [interval]


@given(st.text(max_size=50))
def test_reading_a_date_is_total(text: str) -> None:
    assert 0 <= believable(read_http_date(text)) <= LATEST_NS
    assert date_ns({"date": text}) == read_http_date(text)


@pytest.mark.parametrize(
    ("headers", "stamp"),
    [
        ({"date": "Tue, 14 Nov 2023 22:13:20 GMT"}, WALL),
        ({"date": "Tue, 14 Nov 2023 22:13:20 -0000"}, WALL),
        ({"date": "Tue, 14 Nov 2023 22:13:20 GMT", "age": "0"}, 0),
        ({}, 0),
        ({"date": "Sun, 06 Nov 1994 08:49:37 GMT"}, 784_111_777 * S),
    ],
)
def test_a_date(headers: dict[str, str], stamp: int) -> None:
    assert date_ns(headers) == stamp


def test_a_stamp_that_no_journal_could_hold_is_none() -> None:
    assert believable(read_iso("9999-12-31T23:59:59Z")) == 0
    assert believable(read_http_date("Fri, 31 Dec 9999 23:59:59 GMT")) == 0
    assert believable(WALL) == WALL
    assert read_iso("2023-11-14T22:13:20Z") == WALL


# ------------------------------------------------------------ this machine's clocks
@pytest.mark.parametrize(
    ("wall", "asleep", "steps", "slept"),
    [
        (0, 0, 0, 0),
        (49 * MS, 0, 0, 0),  # slewed
        (-51 * MS, 0, 1, 0),
        (3600 * S, 0, 1, 0),
        (30 * S, 30 * S, 0, 1),  # asleep: the wall clock went on
        (31 * S, 30 * S, 1, 1),
        (0, 20 * MS, 0, 0),
    ],
)
def test_steps_and_sleep_are_told_apart_and_lengthen_nothing(wall: int, asleep: int, steps: int, slept: int) -> None:
    first = Readings(S, 0, wall_offset_ns=WALL, asleep_ns=7 * S)
    health = Health(first)
    figures, _ = health.close(Readings(2 * S, 0, wall_offset_ns=WALL + wall, asleep_ns=7 * S + asleep))
    assert figures["wall_ns"] == S
    assert (figures["clock.wall_steps"], figures["clock.suspensions"]) == (steps, slept)
    assert figures["clock.suspended_ns"] == (asleep if slept else 0)
    assert all(type(value) in (int, float) for value in figures.values()), "a bool is no figure to a decoder"


def test_where_no_clock_was_read_nothing_is_said() -> None:
    figures, _ = Health(Readings(S, 0)).close(Readings(2 * S, 0))
    assert not [name for name in figures if name.startswith("clock.")]


def one_sided(label: str, *, seconds: int = 60) -> list[ops.Row]:
    """Agents' messages of another dialect, none of whose own messages ever comes back."""
    rows: list[ops.Row] = [ops.Invoked(S, label, 1, 1, S, 20)]
    for second in range(1, seconds):
        at = second * S + 500 * MS
        stamp = (at + WALL) // MS * MS
        rows.append(ops.Arrived(at + 30 * MS, label, "a", second, 0, "push", 1, f"a{second}", stamp, "x:2", "guests message"))
    return rows


def test_a_source_that_cannot_be_resolved_takes_nothing_from_another() -> None:
    alone, _ = folded([talk(Random(1), "1-1", ahead=WALL, delay=3 * MS)])
    mixed, _ = folded([talk(Random(1), "1-1", ahead=WALL, delay=3 * MS), one_sided("2-1")])
    assert (alone.state, alone.why, alone.without) == ("ok", "", 0)
    assert [(one.source, one.state) for one in mixed.sources] == [("d message", "ok"), ("guests message", "one-sided")]
    assert (mixed.state, mixed.without) == ("ok", 59)
    assert "guests message" in mixed.why
    for kind in ("low", "middle", "high"):
        assert mixed.histograms[kind] == alone.histograms[kind] == mixed.sources[0].histograms[kind]
    assert mixed.histograms["spread"].count == 2 * alone.histograms["spread"].count
    assert list(mixed.sources[1].histograms) == ["spread"]
    assert mixed.bounds["low"].count == mixed.bounds["high"].count == 118
    assert mixed.bounds["high"].overflow == 59, "they may have taken for ever"
    assert alone.bounds["high"] == alone.histograms["high"]


def test_a_clock_that_steps_takes_nothing_from_another() -> None:
    stepping = [*talk(Random(2), "2-1", ahead=WALL, delay=3 * MS)]
    for row in stepping:
        if isinstance(row, ops.Arrived):
            row.clock = "e message"
            row.server_ns += 2 * S if row.at_ns > 30 * S else 0
    mixed, _ = folded([talk(Random(1), "1-1", ahead=WALL, delay=3 * MS), stepping])
    assert [(one.source, one.state) for one in mixed.sources] == [("d message", "ok"), ("e message", "unresolvable")]
    assert mixed.histograms["spread"].count == 59
    assert mixed.sources[1].histograms == {}
    assert "contradict" in mixed.why


def test_a_rule_holds_only_if_it_does_whatever_the_unresolved_messages_took() -> None:
    few = one_sided("2-1", seconds=3)
    rows = [talk(Random(n), f"{n}-1", ahead=WALL, delay=3 * MS, seconds=200) for n in range(3, 9)]
    found, _ = folded([*rows, few])
    histograms = {f"event.lag|ok|{kind}": one for kind, one in {**found.histograms, **found.bounds}.items()}
    evidence = Evidence(histograms, {}, unresolved={"event.lag": found.why})
    assert check(parse("event.lag p90 < 50 ms"), evidence).verdict is Verdict.PASS
    assert check(parse("event.lag p90 < 200 us"), evidence).verdict is Verdict.FAIL
    found, _ = folded([*rows, one_sided("2-1", seconds=200)])
    histograms = {f"event.lag|ok|{kind}": one for kind, one in {**found.histograms, **found.bounds}.items()}
    result = check(parse("event.lag p90 < 50 ms"), Evidence(histograms, {}, unresolved={"event.lag": found.why}))
    assert result.verdict is Verdict.UNKNOWN
    assert "guests message" in result.sentence
