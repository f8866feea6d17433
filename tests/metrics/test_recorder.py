from __future__ import annotations

from collections import Counter, defaultdict
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core import ops
from harness.journal.codec import HEAD_BYTES, INTERVAL, ROWS, decode_records, read_head
from harness.journal.records import MAX_NAMES, Interval, Record, SparseHistogram, merge_counts, merge_examples
from harness.metrics.histogram import merge_sparse
from harness.metrics.recorder import CHUNK_BYTES, Recorder
from harness.metrics.refold import intervals_from_rows
from tests.metrics.rows import MS, RUN, slot_of, swarm_rows

SECOND = 1000 * MS


class Tape:
    """An `emit` that keeps the records."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.kinds: list[int] = []
        self.sizes: list[int] = []

    def __call__(self, data: bytes) -> None:
        head = read_head(data)
        assert head is not None
        assert head.number == len(self.kinds) + 1
        assert len(data) == HEAD_BYTES + head.length
        self.kinds.append(head.kind)
        self.sizes.append(len(data))
        self.records += decode_records(data[HEAD_BYTES:])


def record(rows: list[ops.Row], every: int = SECOND, **options: Any) -> tuple[Tape, list[Interval]]:
    tape = Tape()
    recorder = Recorder(RUN, "w0", tape, start_ns=SECOND, **options)
    intervals = []
    due = SECOND + every
    for row in rows:
        while row.at_ns >= due:
            intervals.append(recorder.close_interval(due, {"cpu_ns": 5.0}, {"loop": SparseHistogram(1, 0, 0, 7, 7, 7, [7], [1])}))
            due += every
        recorder.record(row)
    intervals.append(recorder.close_interval(due, final=True))
    assert recorder.fault == ""
    return tape, intervals


def total(intervals: list[Interval]) -> dict[str, Any]:
    """Everything of a run that is judged."""
    counters: dict[str, int] = {}
    gauges: dict[str, int] = {}
    histograms: dict[str, SparseHistogram] = {}
    anomalies: dict[str, Any] = {}
    for interval in intervals:
        merge_counts(counters, interval.counters)
        merge_counts(gauges, interval.gauges)
        for name, histogram in interval.histograms.items():
            histograms[name] = merge_sparse(histograms[name], histogram) if name in histograms else histogram
        for kind, examples in interval.anomalies.items():
            anomalies[kind] = merge_examples(anomalies.get(kind, []), examples)
    return {
        "counters": counters,
        "gauges": {name: change for name, change in gauges.items() if change},
        "histograms": histograms,
        "anomalies": anomalies,
    }


swarms = st.builds(swarm_rows, st.integers(0, 1 << 32), st.integers(1, 5))


@settings(max_examples=60, deadline=None)
@given(swarms, st.sampled_from([SECOND // 3, SECOND, 10 * SECOND]))
def test_folding_the_rows_gives_the_recorded_intervals(rows: list[ops.Row], every: int) -> None:
    tape, intervals = record(rows, every)
    assert [one for one in tape.records if isinstance(one, Interval)] == intervals
    assert [one for one in tape.records if not isinstance(one, Interval)] == rows
    assert intervals_from_rows(tape.records, run=RUN) == intervals
    assert [one.index for one in intervals] == list(range(len(intervals)))
    assert [one.t0_ns for one in intervals[1:]] == [one.t1_ns for one in intervals[:-1]]


@settings(max_examples=60, deadline=None)
@given(swarms)
def test_the_short_way_of_an_arrival_changes_no_figure(rows: list[ops.Row]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.metrics.streams.StreamStats.straight", lambda *_: False)
        long = record(rows)[1]
    assert record(rows)[1] == long


@settings(max_examples=60, deadline=None)
@given(swarms, st.randoms(use_true_random=False))
def test_splitting_by_guest_and_shuffling_changes_no_total(rows: list[ops.Row], rng: Random) -> None:
    _, intervals = record(rows)
    files: defaultdict[int, list[ops.Row]] = defaultdict(list)
    place: dict[str, int] = {}
    for row in rows:
        files[place.setdefault(slot_of(row), rng.randrange(3))].append(row)
    parts = [part for file in files.values() for part in intervals_from_rows(file, run=RUN)]
    rng.shuffle(parts)
    whole = total(intervals)
    whole["histograms"] = {name: one for name, one in whole["histograms"].items() if not name.startswith("health|")}
    merged = total(parts)
    # conversations without an end are closed at the file's last row: their examples carry that instant
    assert {kind: sorted(ref for _, ref in some) for kind, some in merged.pop("anomalies").items() if len(some) < 20}.items() >= {
        kind: sorted(ref for _, ref in some) for kind, some in whole.pop("anomalies").items() if len(some) < 20
    }.items()
    assert merged == whole


@settings(max_examples=40, deadline=None)
@given(swarms, st.integers(1, 10**15))
def test_a_shift_of_time_shifts_intervals_and_nothing_else(rows: list[ops.Row], shift: int) -> None:
    rows_moved = []
    for row in rows:
        changes = {
            name: getattr(row, name) + shift
            for name in row.__struct_fields__
            if name.endswith("_ns") and name not in ("retry_after_ns", "server_ns") and getattr(row, name)
        }
        rows_moved.append(msgspec.structs.replace(row, **changes))
    one, other = intervals_from_rows(rows, run=RUN), intervals_from_rows(rows_moved, run=RUN)
    assert [i.counters for i in one] == [i.counters for i in other]
    assert [i.gauges for i in one] == [i.gauges for i in other]
    assert [i.histograms for i in one] == [i.histograms for i in other]


@settings(max_examples=60, deadline=None)
@given(swarms)
def test_the_books_balance(rows: list[ops.Row]) -> None:
    _, intervals = record(rows)
    whole = total(intervals)
    counters, gauges = whole["counters"], whole["gauges"]
    of = Counter(type(row).__name__ for row in rows)
    arrived = sum(n for name, n in counters.items() if name.startswith(("copies|", "after_end|")))
    assert arrived == of["Arrived"]
    assert sum(counters.get(f"messages|{what}", 0) for what in ("ok", "fail", "info")) == of["Closed"]
    assert counters.get("connections|ended", 0) == of["Connection"]
    assert sum(n for name, n in counters.items() if name.startswith("refused|")) == of["Refused"]
    assert gauges.get("open|messages", 0) == counters.get("messages|invoked", 0) - of["Closed"]
    assert "open|conversations" not in gauges
    assert "open|gaps" not in gauges
    guests = {name: n for name, n in gauges.items() if name.startswith("guests|")}
    assert guests == {"guests|finished": len({slot_of(row) for row in rows})}
    timed = Counter((row.measure, row.outcome) for row in rows if isinstance(row, ops.Sample))
    for (measure, outcome), n in timed.items():
        kinds = ["span"] if measure == "poll.hold" else ["service", "response"]
        for kind in kinds:
            histogram = whole["histograms"][f"{measure}|{outcome}|{kind}"]
            assert histogram.count + histogram.negative == n
    for direction in "ga":
        numbers = {(r.label, r.seq) for r in rows if isinstance(r, ops.Arrived) and r.direction == direction}
        received = sum(counters.get(f"copies|{direction}|{kind}", 0) for kind in ("first_push", "first_resync"))
        assert received <= len(numbers)


def lone(*rows: ops.Row, **options: Any) -> Interval:
    """The single final interval of these rows of guest 1, who has arrived."""
    recorder = Recorder(RUN, "w0", **options)
    for row in (ops.State(1, "1-0", "", "arriving"), *rows):
        recorder.record(row)
    interval = recorder.close_interval(10**12, final=True)
    assert recorder.fault == ""
    return interval


def agent(at: int, seq: int, label: str = "1-1", **more: Any) -> ops.Arrived:
    return msgspec.structs.replace(ops.Arrived(at, label, "a", seq, 0, "push", 1, f"m{seq}", 0, "v"), **more)


def test_loss_is_definite_after_a_complete_read_back_and_else_unread() -> None:
    rows = (agent(2, 1), agent(3, 4), ops.Invoked(4, "1-1", 1, 1, 4, 9), ops.Closed(5, "1-1", 1, "ok", "", 4, 4, 1, "ack"))
    whole = lone(*rows, ops.Ended(9, "1-1", "c", True, ""))
    assert whole.counters["lost.definite|a"] == 2
    assert whole.counters["lost.definite|g"] == 1
    assert whole.anomalies["lost.definite"] == [(9, "ab12.1-1.a.2"), (9, "ab12.1-1.a.3"), (9, "ab12.1-1.g.1")]
    partly = lone(*rows, ops.Ended(9, "1-1", "c", False, ""))
    assert (partly.counters["lost.unread|a"], partly.counters["lost.unread|g"]) == (2, 1)
    assert "lost.definite|a" not in partly.counters
    assert lone(*rows).counters["lost.unread|a"] == 2
    answered = lone(*rows, agent(6, 5, re=1), ops.Ended(9, "1-1", "c", True, ""))
    assert "lost.definite|g" not in answered.counters


def test_an_echo_proves_nothing_but_an_answer_to_a_request_does() -> None:
    def echoed(via: str, complete: bool) -> dict[str, int]:
        rows: list[ops.Row] = [ops.Invoked(4, "1-1", 1, 1, 4, 9), ops.Arrived(5, "1-1", "g", 1, 0, "push", 1, "m", 0, via)]
        rows += [ops.Closed(5, "1-1", 1, "ok", "", 4, 4, 1, "echo"), ops.Ended(9, "1-1", "c", complete, "")]
        return lone(*rows).counters

    assert echoed("127.0.0.1:9", True)["unlisted|g"] == 1
    assert echoed("127.0.0.1:9", False)["unproven|g"] == 1
    assert not {"unlisted|g", "unproven|g"} & {*echoed("ab12.1.7", True), *echoed("ab12.1.7", False)}


def test_live_gaps_open_and_close() -> None:
    recorder = Recorder(RUN, "w0")
    changes = []
    for row in (ops.State(1, "1-0", "", "arriving"), agent(2, 1), agent(3, 4), agent(4, 2), agent(5, 3)):
        recorder.record(row)
        changes.append(recorder.close_interval(row.at_ns).gauges.get("open|gaps", 0))
    assert changes == [0, 0, 2, -1, -1]


def test_a_late_copy_is_judged_while_books_linger_and_only_counted_after() -> None:
    recorder = Recorder(RUN, "w0", linger_ns=10)
    for row in (ops.State(1, "1-0", "", "arriving"), agent(2, 1), ops.Ended(100, "1-1", "c", True, ""), agent(109, 1)):
        recorder.record(row)
    assert recorder.close_interval(109).counters["copies|a|dup_same_connection"] == 1
    recorder.record(agent(111, 1))
    assert recorder.close_interval(112).counters == {"after_end|a": 1}
    assert recorder._labels == {}
    recorder.record(agent(200, 1))
    assert recorder.close_interval(300).counters == {"after_end|a": 1}


def test_an_invented_label_makes_no_books() -> None:
    interval = lone(agent(2, 1, "77-1"), agent(3, 1, "1-5"), agent(4, 1, "what-ever"), agent(5, 1, "nonsense"), agent(6, 1, "1-1"))
    assert interval.counters["after_end|a"] == 4
    assert interval.counters["copies|a|first_push"] == 1


def test_a_conversation_that_was_never_ended_is_over_when_the_next_begins() -> None:
    recorder = Recorder(RUN, "w0", linger_ns=0)
    for row in (ops.State(1, "1-0", "", "arriving"), agent(2, 3), ops.State(5, "1-2", "chatting", "queued"), agent(6, 1, "1-2")):
        recorder.record(row)
    assert recorder.close_interval(7).counters["lost.unread|a"] == 2
    assert set(recorder._labels) == {"1-2"}


def test_late_is_counted_apart_and_received_all_the_same() -> None:
    sent = ops.Invoked(10, "1-1", 1, 1, 10, 9)
    echo = ops.Arrived(200, "1-1", "g", 1, 0, "push", 1, "m", 0, "v")
    counters = lone(sent, echo, loss_wait_ns=100).counters
    assert (counters["late|g"], counters["copies|g|first_push"]) == (1, 1)
    assert "late|g" not in lone(sent, echo, loss_wait_ns=190).counters


def sample(at: int = 50, **more: Any) -> ops.Sample:
    row = ops.Sample(at, "1-1", "reply", "ok", "", 10_000, 12_000, 40_000, 0, "1", "")
    return msgspec.structs.replace(row, **more)


def test_service_response_and_send_delay() -> None:
    found = lone(sample()).histograms
    assert found["reply|ok|service"].total == 28
    assert found["reply|ok|response"].total == 30
    assert found["send_delay|message|delay"].total == 2
    held = lone(sample(free_ns=11_000)).histograms
    assert held["send_delay|message|delay"].total == 1
    never = lone(sample(start_ns=40_000, outcome="fail", cause="reply_timeout"))
    assert "send_delay|message|delay" not in never.histograms
    assert never.counters["failed|reply|fail|reply_timeout"] == 1
    refused = lone(sample(measure="ack", outcome="fail", cause="refused"), sample(measure="ack")).histograms
    assert refused["send_delay|message|delay"].count == 1
    assert set(lone(sample(measure="refresh.gap")).histograms) == {"refresh.gap|ok|span"}
    assert lone(sample(measure="token")).histograms["send_delay|request|delay"].total == 2


def test_the_loops_bracket_bounds_a_latency_from_below() -> None:
    tape = Tape()
    recorder = Recorder(RUN, "w0", tape)
    recorder.poll_return_ns = 30_000
    recorder.record(sample(free_ns=11_000))
    recorder.poll_return_ns = 5_000
    recorder.record(sample())
    interval = recorder.close_interval(60)
    low = interval.histograms["reply|ok|service_low"]
    assert (low.low, low.high, low.count) == (0, 18, 2)
    assert interval.histograms["reply|ok|response_low"].high == 19
    assert intervals_from_rows(tape.records, run=RUN) == [interval]


def test_names_that_a_server_has_a_say_in_are_capped() -> None:
    rows = [ops.Noted(n, "1-1", f"what|{n}") for n in range(2, 2 * MAX_NAMES)]
    counters = lone(*rows).counters
    assert counters["noted|what/2"] == 1
    assert counters["noted|other"] == len(rows) - MAX_NAMES
    assert sum(name.startswith("noted|") for name in counters) <= MAX_NAMES + 1
    hidden = lone(sample(measure="connect", endpoint="GET /ws?token=secret")).counters
    assert hidden["requests|GET /ws|ok"] == 1


def test_disconnects() -> None:
    def ended(begun: str, ready: int) -> ops.Connection:
        return ops.Connection(9, "1-1", 1, "127.0.0.1:5", 1, ready, 9, begun, 1001, "")

    counters = lone(ended("server", 2), ended("server", 0), ended("guest", 2), ended("contested", 2)).counters
    assert counters["disconnects|server"] == counters["disconnects|contested"] == 1
    assert (counters["connections|ended"], counters["connections|ready"]) == (4, 3)
    assert counters["connections.ended|server|1001"] == 2


def test_recovered_and_aborted() -> None:
    def message(seq: int, outcome: str, early: bool) -> list[ops.Row]:
        rows: list[ops.Row] = [
            ops.Closed(20, "1-1", seq, outcome, "timeout", 10, 10, 1, "end"),
            ops.Arrived(30, "1-1", "g", seq, 0, "resync", 1, f"m{seq}", 0, "v"),
        ]
        return [ops.Invoked(10, "1-1", seq, 1, 10, 9), *(reversed(rows) if early else rows)]

    interval = lone(*message(1, "info", True), *message(2, "info", False), *message(3, "fail", True), *message(4, "fail", False))
    assert (interval.counters["recovered|g"], interval.counters["aborted|g"]) == (2, 2)


def test_a_row_that_cannot_be_taken_is_a_defect_that_shows() -> None:
    recorder = Recorder(RUN, "w0")
    recorder.record(object())  # type: ignore[arg-type]
    assert "KeyError" in recorder.fault
    assert recorder.close_interval(1).counters == {"noted|recorder.fault": 1}


def test_half_a_surrogate_pair_is_written_as_a_question_mark() -> None:
    tape = Tape()
    recorder = Recorder(RUN, "w0", tape)
    recorder.record(ops.State(1, "1-0", "", "arriving"))
    recorder.record(agent(2, 1, mid="\ud800"))
    recorder.record(agent(3, 2))
    interval = recorder.close_interval(4)
    assert recorder.fault == ""
    assert [row.mid for row in tape.records if isinstance(row, ops.Arrived)] == ["?", "m2"]
    assert interval.counters["copies|a|first_push"] == 2


def test_chunks_are_of_bounded_size_and_an_interval_comes_after_its_rows() -> None:
    tape = Tape()
    recorder = Recorder(RUN, "w0", tape)
    for n in range(9000):
        recorder.record(sample(n))
    recorder.close_interval(9000)
    assert tape.kinds == [ROWS] * (len(tape.kinds) - 1) + [INTERVAL]
    assert len(tape.kinds) > 2
    assert max(tape.sizes) < CHUNK_BYTES + 400


def test_anomalies_only() -> None:
    tape = Tape()
    recorder = Recorder(RUN, "w0", tape, rows="anomalies")
    plain: list[ops.Row] = [ops.State(1, "1-0", "", "arriving"), agent(2, 1), sample(3), ops.Ended(4, "1-1", "c", True, "")]
    odd: list[ops.Row] = [agent(5, 1), sample(6)]  # the second since its conversation is marked by then
    elsewhere = [agent(7, 1, "1-2"), sample(8, label="1-2"), sample(9, label="1-2", outcome="fail", cause="timeout")]
    for row in (*plain, *odd, *elsewhere):
        recorder.record(row)
    interval = recorder.close_interval(10)
    assert tape.records == [*odd, elsewhere[2], interval]
    assert interval.suppressed == 6
    assert interval.rows == "anomalies"


def test_past_the_limit_only_anomalies_and_past_twice_that_no_rows() -> None:
    tape = Tape()
    recorder = Recorder(RUN, "w0", tape, max_bytes=2000)
    kept = []
    for n in range(60):
        recorder.record(sample(n, outcome="fail", cause="timeout"))
        recorder.record(sample(n))
        kept.append(recorder.close_interval(n).rows)
    assert kept == sorted(kept)
    assert set(kept) == {"all", "anomalies", "none"}
    last = tape.records[-1]
    assert isinstance(last, Interval)
    assert last.suppressed == 2
    assert sum(isinstance(one, Interval) for one in tape.records) == 60


def test_memory_holds_no_conversation_that_is_over() -> None:
    recorder = Recorder(RUN, "w0", linger_ns=SECOND)
    for row in swarm_rows(1, 3):
        recorder.record(row)
    recorder.close_interval(10**15)
    assert all(books.ended_at == 0 for books in recorder._labels.values())
    assert recorder._values.empty


@pytest.mark.parametrize("rows", [[], swarm_rows(3, 1)])
def test_rows_without_any_interval_make_one(rows: list[ops.Row]) -> None:
    (interval,) = intervals_from_rows(rows, run=RUN)
    assert interval.final
