from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from harness.journal.records import SEND_DELAY, Interval
from harness.metrics.histogram import Histogram, highest_of, lowest_of, sparse_of
from harness.report.live import LiveGenerator, LiveInterval, LiveTotals, live_line, read_interval
from harness.report.live_text import MAX_LINES, clock, elapsed_clock, latency, log_line, plain, view_lines
from harness.report.live_view import LiveFault, LiveModel, LiveRow, LiveRule, LiveView
from harness.report.text import columns

SECOND = 1_000_000_000
RULES = (LiveRule("p99 < 800 ms", False, "echo"), LiveRule("p95 < 12 s", True, "reply"))


def brief() -> LiveView:
    """The view of the design brief."""
    calm = [100.0] * 16
    return LiveView(
        name="first-run",
        dialects=["webchat", "longpoll"],
        where="simulated",
        phase="load",
        elapsed_s=226,
        left_s=134,
        done=0.6,
        guests=600,
        planned=600,
        states={"chatting": 489, "queued": 42, "reconnecting": 61, "rest_only": 8, "finished": 7},
        sent=51_204,
        sent_per_s=238,
        answered_per_s=231,
        failed=236,
        rows=[
            LiveRow("ack", 41, 160, 40, 171, "p90", [*calm, 290.0, 310.0, 120.0, 100.0], 100),
            LiveRow("echo", 77, 3710, 62, 930, "p90", [*calm, 800.0, 700.0, 500.0, None], 100),
            LiveRow("reply", 3100, None, 3150, 11_300, "p50", [*calm, 210.0, 205.0, 130.0, 100.0], 100),
        ],
        lost=(22, 30),
        duplicated=171,
        reordered=52,
        refused=196,
        disconnected=568,
        generator=LiveGenerator(True, 1.9, 40, 0.41, 0.9, ["steal 2.6 of 2 %"]),
        word="ok",
        fault=LiveFault("c", "mass_disconnect", False, 5),
        rules=RULES,
    )


def text(view: LiveView, width: int, *, ascii_only: bool = False) -> str:
    lines = [plain(line) for line in view_lines(view, width, ascii_only=ascii_only)]
    assert len(lines) <= MAX_LINES
    assert all(columns(line) <= min(width, 100) for line in lines), lines
    return "\n".join(lines)


WIDE = """\
first-run · webchat, longpoll · simulated              load ━━━━━━━━━━━━━━━━━╸─────────── 2:14 left

Guests      600 of 600    489 chatting    42 in queue    61 reconnecting    8 REST only
Messages    238/s sent    231/s answered    51,204 sent    236 failed

            p50 now    p99 now    p50 run    p99 run    rule              last minute
ack           41 ms     160 ms      40 ms     171 ms                      ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▅▅▂▂ p90
echo          77 ms     3.71 s      62 ms     930 ms    p99 < 800 ms ✕    ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂██▆  p90
reply        3.10 s          –     3.15 s     11.3 s    p95 < 12 s ✓      ▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▄▄▃▂ p50

Anomalies   lost 22–30    duplicated 171    reordered 52    refused 196    disconnected 568
Generator   ✓ believable    send delay p99 1.9 of 40 ms    loop 41 of 90 %    ! steal 2.6 of 2 %
Fault       c mass disconnect, ended 5 s ago"""

NARROW = """\
first-run · simulated                load ━━━━━━━━━━━━━━━━─────────── 2:14 left

Guests      600 of 600   489 chatting   42 queue   61 reconnecting   8 REST
Messages    238/s sent   231/s answered   236 failed

            p50 now    p99 now    p99 run    rule
ack           41 ms     160 ms     171 ms
echo          77 ms     3.71 s     930 ms    p99 < 800 ms ✕
reply        3.10 s          –     11.3 s    p95 < 12 s ✓

Anomalies   lost 22–30  dup 171  reordered 52  refused 196  disconn. 568
Generator   ✓ believable  send delay 1.9 of 40 ms  loop 41 of 90 %  ! steal
Fault       c mass disconnect, ended 5 s ago"""


def test_the_wide_view() -> None:
    assert text(brief(), 100) == WIDE
    assert text(brief(), 240) == WIDE


def test_the_narrow_view() -> None:
    assert text(brief(), 80) == NARROW


@pytest.mark.parametrize("width", [80, 100])
def test_ascii(width: int) -> None:
    said = text(brief(), width, ascii_only=True)
    assert said.isascii()
    assert "FAIL" in said
    assert "####----" in said
    assert "lost 22-30" in said
    assert "ok believable" in said
    assert "reply        3.10 s          -" in said
    assert "last minute" not in said
    assert "p90" not in said


def test_only_the_eight_colours_and_only_where_they_mean_something() -> None:
    lines = view_lines(brief(), 100)
    styled = {(span.text.strip(), span.style) for line in lines for span in line if span.style and span.text.strip()}
    assert {("✓", "green"), ("✕", "red"), ("3.71 s", "red"), ("930 ms", "red"), ("!", "yellow"), ("Guests", "dim")} <= styled
    assert {style for _, style in styled} == {"dim", "green", "red", "yellow", "blue"}
    assert not any(style for word, style in styled if word in ("160 ms", "77 ms", "11.3 s"))


def test_what_is_not_known_is_a_dash_and_never_a_nought() -> None:
    said = text(LiveView(rows=[LiveRow(name) for name in ("ack", "echo", "reply")]), 100)
    assert "0" not in said.replace("p50", "")
    assert said.splitlines()[2:4] == ["Guests      – of –", "Messages    – sent    – answered    – sent    – failed"]
    assert "Anomalies   lost –    duplicated –" in said
    assert "Generator   –" in said
    assert said.splitlines()[6] == "ack               –          –          –          –"


@pytest.mark.parametrize("width", [80, 90, 100])
def test_nothing_is_ever_wider_than_the_terminal(width: int) -> None:
    view = brief()
    huge = 123_456_789_012
    for field in ("sent", "failed", "duplicated", "reordered", "refused", "disconnected", "guests", "planned"):
        setattr(view, field, huge)
    view.lost = (huge, huge + 1)
    view.name = "名" * 80
    view.states = dict.fromkeys(("chatting", "queued", "reconnecting", "rest_only", "arriving", "leaving"), huge)
    view.generator.warn = ["longest GC pause 31 of 20 ms"] * 9
    view.journal_error = "x" * 300
    view.fault = LiveFault("z", "y" * 300, True, 7.0)
    view.rules = [
        LiveRule("p99 < 8 s " * 30, None, "echo"),
        LiveRule("p50 < 1 s", False, "echo"),
        LiveRule("lost = 0 " * 30, False),
    ]
    for ascii_only in (False, True):
        assert len(text(view, width, ascii_only=ascii_only).splitlines()) == MAX_LINES


def test_the_generator_row_says_what_is_wrong() -> None:
    view = brief()
    view.generator, view.word = LiveGenerator(False, 61, 40, 0.41, 0.9), "late"
    assert "Generator   ✕ not believable (late)    send delay p99 61 of 40 ms" in text(view, 100)
    view.silent_s = 12.3
    assert "Generator   ! no news for 12 s" in text(view, 100)
    view.journal_error = "No space left on device"
    assert "Generator   ✕ the journal cannot be written: No space left on device" in text(view, 100)


def test_rules_without_a_row_of_their_own() -> None:
    view = brief()
    view.rules = [*RULES, LiveRule("lost = 0", False), LiveRule("refused = 0", True), LiveRule("duplicated = 0", True)]
    assert "Rules       ✕ lost = 0    ✓ 2 more hold" in text(view, 100)
    view.rules = [LiveRule("lost = 0"), LiveRule("refused = 0", True)]
    said = text(view, 100)
    assert "Rules       ? 1 of 2 not judged yet" in said
    assert " rule " not in said


def test_the_notice_takes_the_last_line() -> None:
    view = brief()
    view.notice = "Draining, up to 10 s. Ctrl-C again stops at once."
    assert text(view, 100).splitlines()[-1] == view.notice
    assert "Fault" not in text(view, 100)


def test_the_line_of_a_log() -> None:
    assert log_line(brief()) == (
        "03:46 load guests=600/600 sent=238/s echo_p50=77ms echo_p99=3710ms failed=236 lost=22-30 generator=ok left=2:14"
    )
    assert log_line(LiveView(phase="ramp")) == (
        "00:00 ramp guests=-/- sent=- echo_p50=- echo_p99=- failed=- lost=- generator=- left=-"
    )
    assert "lost=5 " in log_line(LiveView(lost=(5, 5)))


def test_figures_in_words() -> None:
    assert [clock(s) for s in (None, -1, 0, 59.4, 134, 3734)] == ["-", "0:00", "0:00", "0:59", "2:14", "1:02:14"]
    assert elapsed_clock(226.9) == "03:46"
    values = [0.0, 0.414, 0.996, 9.94, 9.96, 999.4, 999.6, 3710, 9996, 11_300, 99_960, 3_600_000]
    assert [latency(ms) for ms in values] == [
        *("0.00 ms", "0.41 ms", "1.0 ms", "9.9 ms", "10 ms", "999 ms", "1.00 s", "3.71 s", "10.0 s", "11.3 s", "100 s", "3,600 s")
    ]


# ------------------------------------------------------------------ the line of a load process
def interval(index: int = 0, *, worker: str = "0", replies: int = 231, echo_us: list[int] | None = None, **more: Any) -> Interval:
    echoes = echo_us if echo_us is not None else [40_000 + 100 * number for number in range(238)]
    counters = {
        "messages|invoked": 238,
        "messages|fail": 2,
        "messages|info": 1,
        "failed|ack|fail|limit": 2,
        "failed|reply|info|end": 1,
        "failed|connect|fail|refused": 4,
        "lost.definite|g": 1,
        "unlisted|g": 1,
        "lost.unread|a": 3,
        "copies|a|dup_same_connection": 2,
        "copies|g|dup_resend": 1,
        "copies|a|first_push": 99,
        "reordered|a": 5,
        "refused|send": 6,
        "refused|token": 1,
        "disconnects|server": 7,
        "disconnects|contested": 8,
    }
    health = {
        "wall_ns": 1e9,
        "loop.turns": 500,
        "loop.busy_ns": 4.1e8,
        "host.ticks": 1000,
        "host.steal_ticks": 26,
        "journal.errors": 0,
    }
    return Interval(
        index * SECOND,
        (index + 1) * SECOND,
        worker,
        index,
        False,
        "all",
        0,
        counters,
        {"guests|chatting": 10, "guests|queued": 5 if index == 0 else -5, "open|messages": 3} if index < 2 else {},
        {
            "echo|ok|response": sparse_of(echoes),
            "echo|fail|response": sparse_of([1]),
            "reply|ok|response": sparse_of([3_000_000] * replies),
            SEND_DELAY: sparse_of([1900] * 238),
        },
        {},
        {**health, **more},
    )


def test_a_line_holds_totals_and_its_own_samples() -> None:
    totals = LiveTotals()
    live_line(interval(0), totals, planned=15)
    made = live_line(interval(1), totals, planned=15, phase="load", left_s=60.0)
    hist = made.pop("hist")
    assert made == {
        "kind": "interval",
        "worker": "0",
        "at_s": 2.0,
        "left_s": 60.0,
        "phase": "load",
        "planned": 15,
        "guests": {"chatting": 20},
        "sent": 476,
        "sent_per_s": 238.0,
        "answered": 462,
        "answered_per_s": 231.0,
        "failed": 2 * (3 + 4),
        "p50_ms": {},
        "p99_ms": {},
        "lost": (4, 10),
        "duplicated": 6,
        "reordered": 10,
        "refused": 14,
        "disconnected": 14,
        "generator": {
            "ok": True,
            "send_delay_p99_ms": pytest.approx(1.9, rel=1e-3),
            "send_delay_limit_ms": 40.0,
            "loop_busy": 0.41,
            "loop_busy_limit": 0.9,
            "warn": ["steal 2.6 of 2 %"],
        },
        "journal_error": "",
    }
    assert set(hist) == {"echo", "reply"}
    assert sum(hist["echo"][1::2]) == 238
    assert [lowest_of(index, 2) <= 3_000_000 <= highest_of(index, 2) for index in hist["reply"][::2]] == [True]
    read = read_interval(json.loads(json.dumps(made)))
    assert msgspec.to_builtins(read) == {**made, "lost": (4, 10), "hist": {}}


def test_coarse_counters_are_those_of_the_two_digit_histogram() -> None:
    values = [3, 255, 256, 999, 54_321, 1_000_000, 77_777_777, 3_600_000_000, 54_322]
    made = live_line(interval(echo_us=values), LiveTotals())
    pairs = made["hist"]["echo"]
    sparse = Histogram.of(values).coarse().sparse()
    assert dict(zip(pairs[::2], pairs[1::2], strict=True)) == dict(zip(sparse.indexes, sparse.counts, strict=True))


def test_a_line_fits_into_a_pipe_whatever_the_samples() -> None:
    values = [17 * 2**bit + 31 * step for bit in range(26) for step in range(400)]
    made = live_line(interval(echo_us=values), LiveTotals(), journal_error="\x1b[31m" + "ü" * 500)
    assert len(json.dumps(made, separators=(",", ":"))) < 3_900
    assert sum(made["hist"]["echo"][1::2]) == len(values)
    assert "\x1b" not in made["journal_error"]
    model = LiveModel()
    model.take(made, 1.0)
    exact = Histogram.of(values, 2)
    row = model.view(1.0).rows[1]
    assert row.p99_now == pytest.approx((exact.percentile("0.99") or 0) / 1000, rel=0.2)


def test_totals_stay_bounded_and_forget_what_is_over() -> None:
    totals = LiveTotals()
    slow = {"loop.busy_ns": 9.9e8}
    made: dict[str, Any] = {}
    for index in range(3):
        made = live_line(interval(index, **slow), totals)
    assert made["generator"]["ok"] is False
    assert made["generator"]["loop_busy"] == 0.99
    for index in range(3, 40):
        made = live_line(interval(index), totals)
    assert made["generator"]["ok"] is True
    assert made["generator"]["loop_busy"] == pytest.approx(0.41)
    assert len(totals.recent) == 5


def test_a_run_over_its_limit_is_not_believable_though_it_has_calmed_down() -> None:
    totals = LiveTotals()
    for index in range(30):
        made = live_line(interval(index, **({"loop.busy_ns": 9.9e8} if index < 24 else {})), totals, limits={"loop_busy": 0.8})
    assert made["generator"]["ok"] is False
    assert made["generator"]["loop_busy"] > made["generator"]["loop_busy_limit"] == 0.8


def test_deciding_signs_without_a_figure_of_their_own_are_named() -> None:
    made = live_line(interval(0, **{"ports.exhausted": 3, "journal.errors": 1}), LiveTotals())
    assert made["generator"]["ok"] is False
    assert made["generator"]["warn"][:2] == ["refused by the system 3 of 0", "journal errors 1 of 0"]


# ------------------------------------------------------------------ the model
def fed(model: LiveModel, seconds: int, *, workers: int = 1, **more: Any) -> LiveModel:
    totals = [LiveTotals() for _ in range(workers)]
    for index in range(seconds):
        for worker in range(workers):
            model.take(live_line(interval(index, worker=str(worker), **more), totals[worker], planned=15), index + 1.0)
    return model


def test_percentiles_now_cover_five_seconds_and_are_withheld_without_ten_samples_beyond() -> None:
    model = fed(LiveModel(), 3)
    row = {row.measure: row for row in model.view(3).rows}["echo"]
    assert row.p50_now == pytest.approx(52, rel=0.02)
    assert row.p99_now is None  # 3 * 238 samples: seven beyond
    row = fed(LiveModel(), 5).view(5).rows[1]
    assert row.p99_now == pytest.approx(63.5, rel=0.02)
    totals = LiveTotals()
    model = LiveModel()
    for index in range(20):
        made = live_line(interval(index, echo_us=[1000 if index < 14 else 9000] * 238), totals)
        model.take(made, index + 1.0)
    row = model.view(20).rows[1]
    assert row.p50_now == row.p99_now == pytest.approx(9, rel=0.01)
    assert row.p50_run == pytest.approx(1, rel=0.01)
    assert row.p99_run == pytest.approx(9, rel=0.01)
    assert row.level == "p90"
    assert [cell is None for cell in row.cells] == [True] * 13 + [False] * 7


def test_few_samples_give_the_median_or_no_cells_at_all() -> None:
    totals, model = LiveTotals(), LiveModel()
    for index in range(9):
        model.take(live_line(interval(index, echo_us=[1000] * 10, replies=2), totals), index + 1.0)
    rows = {row.measure: row for row in model.view(9).rows}
    assert rows["echo"].level == "p50"
    assert rows["echo"].cells[-1] == pytest.approx(1, rel=0.01)
    assert rows["reply"].cells == []
    assert rows["ack"].p50_run is None


def test_workers_are_added_up() -> None:
    view = fed(LiveModel(), 5, workers=3).view(5)
    assert (view.guests, view.planned, view.sent, view.sent_per_s) == (60, 45, 3 * 5 * 238, 714)
    assert view.states == {"chatting": 60}
    assert view.lost == (30, 75)
    assert view.rows[1].p99_now is not None
    assert view.generator.ok is True
    assert view.generator.warn == ["steal 2.6 of 2 %"]
    assert fed(LiveModel(planned=50), 1, workers=3).view(5).planned == 50


def test_the_worst_worker_judges() -> None:
    model = LiveModel()
    fine = {"ok": True, "send_delay_p99_ms": 1, "send_delay_limit_ms": 40}
    model.take({"kind": "interval", "worker": "0", "generator": fine}, 1)
    assert model.view(1).word == "ok"
    model.take({"kind": "interval", "worker": "1", "generator": {**fine, "ok": False, "send_delay_p99_ms": 61}}, 1)
    assert (model.view(1).word, model.view(1).generator.ok, model.view(1).generator.send_delay_p99_ms) == ("late", False, 61)
    model.take({"kind": "interval", "worker": "2", "journal_error": "disk full"}, 1)
    assert (model.view(1).word, model.view(1).journal_error) == ("journal", "disk full")


def test_a_sender_without_histograms() -> None:
    model = LiveModel()
    line = {"guests": 3, "sent_per_s": 2.4, "p50_ms": {"echo": 77.2}, "p99_ms": {"echo": 3710}, "lost": [0, 2], "generator": "busy"}
    model.take({"kind": "interval", **line}, 1)
    view = model.view(1)
    assert (view.guests, view.states, view.rows[1].p99_now, view.word, view.generator.ok) == (3, None, 3710, "busy", True)


@pytest.mark.parametrize(
    "line",
    [
        {"guests": "many", "sent": 4, "p50_ms": 3, "generator": {"ok": "yes"}},
        {"sent": 4, "hist": {"echo": [1, 2, 3]}, "lost": [1]},
        {"sent": 4, "hist": {"echo": [-1, 2, 99_999, 5, 7, -3, 5]}, "guests": [1]},
        {"sent": 4, "worker": 7, "unheard": {"of": 1}},
    ],
)
def test_wrong_fields_count_as_missing(line: dict[str, Any]) -> None:
    model = LiveModel()
    model.take({"kind": "interval", **line}, 1)
    view = model.view(1)
    assert view.sent == 4
    assert (view.guests, view.lost, view.rows[1].p50_run) == (None, None, None)
    text(view, 100)
    log_line(view)


def test_time_left_counts_down_and_then_counts_the_end() -> None:
    model = LiveModel(planned_s=60, drain_s=20)
    assert (model.view(0).left_s, model.view(0).done) == (None, None)
    model.take({"kind": "phase", "phase": "ramp"}, 100)
    assert (model.view(115).left_s, model.view(115).done) == (45, 0.25)
    model.take({"kind": "interval", "left_s": 30.0, "phase": "load"}, 130)
    assert (model.view(135).left_s, model.phase) == (25, "load")
    model.take({"kind": "phase", "phase": "settle"}, 160)
    model.take({"kind": "phase", "phase": "loss_wait"}, 165)
    assert (model.view(170).left_s, model.view(170).done) == (10, 0.5)
    assert "loss wait ━" in text(model.view(170), 80)
    model.take({"kind": "phase", "phase": "end"}, 171)
    assert (model.view(171).left_s, model.view(171).done) == (0, 1)


def test_faults_get_letters() -> None:
    model = LiveModel()
    assert model.view(0).fault is None
    for at, name, on in ((10, "stall", True), (12, "stall", False), (20, "429", True), (21, "tear", True), (30, "tear", False)):
        model.take({"kind": "fault", "name": name, "on": on}, at)
    assert model.view(31).fault == LiveFault("b", "429", True, 11)
    assert text(model.view(31), 100).splitlines()[-1] == "Fault       b 429, since 11 s"
    model.take({"kind": "fault", "name": "429", "on": False}, 31)
    assert text(model.view(200), 100).splitlines()[-1] == "Fault       b 429, ended 2:49 ago"
    model.take({"kind": "fault", "name": "internal", "text": "guest 7-1: KeyError"}, 32)
    assert model.view(33).fault == LiveFault("b", "429", False, 2)


def test_silence_is_noticed() -> None:
    model = fed(LiveModel(), 3)
    assert model.view(7).silent_s is None
    assert model.view(12).silent_s == 9
    slow = LiveModel()
    for at in (10, 20):
        slow.take({"kind": "interval"}, at)
    assert slow.view(45).silent_s is None
    assert slow.view(51).silent_s == 31


def test_what_others_wrote_cannot_steer_the_terminal() -> None:
    model = LiveModel(name="\x1b[2Jrun", dialects=["\u202ea"], where="h\x07ost")
    model.take({"kind": "phase", "phase": "\x1b]0;x\x07"}, 1)
    model.take({"kind": "fault", "name": "\x1b[31m"}, 1)
    odd = {"ok": False, "warn": ["\x1b[1m 3 of 2 %"]}
    model.take({"kind": "interval", "generator": odd, "guests": {"\x1b": 1}}, 1)
    said = text(model.view(1), 100)
    assert not any(character in said for character in "\x1b\x07\u202e")


def test_every_field_of_a_line_may_be_missing() -> None:
    assert read_interval({"kind": "interval"}) == LiveInterval()
    model = LiveModel()
    model.take({"kind": "interval"}, 1)
    assert model.measured
    text(model.view(1), 100)
    text(model.view(1), 80)
