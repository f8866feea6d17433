"""Percentiles with their intervals, withheld where samples do not suffice, and the log that other tools open."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader
from hypothesis import given
from hypothesis import strategies as st

from harness.core import ops
from harness.metrics.histogram import HIGHEST, Histogram, highest_of, index_of, lowest_of
from harness.metrics.hlog import read_hlog
from harness.report.build import build_report
from harness.report.figures import percentiles
from harness.report.sentences import added_words, range_words
from harness.verdicts.intervals import ranks
from tests.report.history import MS, Guest, leave, webchat, write_run

SHARES = {
    "p50": Fraction(1, 2),
    "p90": Fraction(9, 10),
    "p95": Fraction(19, 20),
    "p99": Fraction(99, 100),
    "p999": Fraction(999, 1000),
}


@pytest.mark.parametrize(
    ("n", "given", "bounded"),
    [
        (0, "", ""),
        (1, "", ""),
        (19, "", "p50"),
        (20, "p50", "p50"),
        (99, "p50", "p50 p90 p95"),
        (100, "p50 p90", "p50 p90 p95"),
        (300, "p50 p90 p95", "p50 p90 p95"),
        (1_000, "p50 p90 p95 p99", "p50 p90 p95 p99"),
        (9_999, "p50 p90 p95 p99", "p50 p90 p95 p99 p999"),
        (10_000, "p50 p90 p95 p99 p999", "p50 p90 p95 p99 p999"),
    ],
)
def test_what_samples_do_not_carry_is_withheld(n: int, given: str, bounded: str) -> None:
    found = percentiles(Histogram.of([1000 * value for value in range(1, n + 1)]))
    assert [name for name in SHARES if getattr(found, f"{name}_ms") is not None] == given.split()
    assert [name for name, (low, high) in found.ci_ms.items() if low is not None and high is not None] == bounded.split()


@given(st.lists(st.integers(0, HIGHEST), min_size=1, max_size=1500))
def test_intervals_are_the_order_statistics_of_the_sorted_list(values: list[int]) -> None:
    found, ordered = percentiles(Histogram.of(values)), sorted(values)
    for name, share in SHARES.items():
        low, high = ranks(len(values), share)
        expected = (
            None if low is None else lowest_of(index_of(ordered[low - 1])) / 1000,
            None if high is None else highest_of(index_of(ordered[high - 1])) / 1000,
        )
        assert found.ci_ms[name] == expected
        value = getattr(found, f"{name}_ms")
        if value is not None:
            assert expected[0] is not None
            assert expected[1] is not None
            assert expected[0] <= value <= expected[1]


def test_values_beyond_the_range_are_counted_and_no_percentile_is_invented_of_them() -> None:
    found = percentiles(Histogram.of([1000] * 800 + [2 * HIGHEST] * 200 + [-5] * 3))
    assert (found.n, found.beyond, found.negative) == (1000, 200, 3)
    assert (found.p50_ms, found.p90_ms) == (1.0, None)
    assert found.ci_ms["p90"] == (lowest_of(index_of(HIGHEST)) / 1000, None)
    assert found.max_ms == 2 * HIGHEST / 1000


def test_what_the_generator_may_have_added() -> None:
    found = percentiles(Histogram.of([20_000] * 1000), Histogram.of([18_000] * 1000))
    assert found.added_ms == {"p50": pytest.approx(2, abs=0.03), "p90": 2.0, "p95": 2.0, "p99": 2.0, "p999": None} | {
        name: pytest.approx(2, abs=0.03) for name in ("p50", "p90", "p95", "p99")
    }
    assert found.added_most_ms == pytest.approx(2, abs=0.03)
    unwatched = percentiles(Histogram.of([20_000] * 1000), Histogram.of([18_000] * 999))
    assert set(unwatched.added_ms.values()) == {None}
    assert unwatched.added_most_ms is None


def guest() -> Guest:
    """Forty exchanges, each sent 3 ms late, whose answers may have lain unread for 2 ms; one took over an hour."""
    one = Guest("1-1")
    one.state("", "chatting")
    for seq in range(1, 41):
        intended = one.tick(100 * MS)
        sent = one.tick(3 * MS)
        one.row(ops.Invoked(sent, one.label, seq, 1, intended, 60))
        got = one.tick(20 * MS)
        took = got if seq < 40 else sent + 2 * HIGHEST * 1000
        one.row(ops.Closed(got, one.label, seq, "ok", "", intended, sent, 1, "echo"))
        one.row(ops.Sample(got, one.label, "echo", "ok", "", intended, sent, took, 0, str(seq), "", "", took - 2 * MS))
    return one


def test_send_delay_and_the_generators_share_stand_beside_service_and_response(tmp_path: Path) -> None:
    model = build_report(write_run(tmp_path, [guest()], simulated=False))
    found = model.figures.measures["echo"]["ok"]
    assert list(found) == ["service", "response", "delay"]
    assert (found["delay"].n, found["delay"].p50_ms) == (40, pytest.approx(3, abs=0.01))
    assert found["service"].added_ms["p50"] == pytest.approx(2, abs=0.03)
    assert found["response"].added_ms["p50"] == pytest.approx(5, abs=0.03), "what was sent late is the generator's doing too"
    assert found["response"].beyond == 1
    assert added_words(model) == "The generator may have added up to 5.01\u00a0ms to the percentiles of echo."
    assert range_words(model) == "1 sample took more than an hour and is not told apart."
    page, text = (tmp_path / "report.html").read_text(), (tmp_path / "report.md").read_text()
    for words in (added_words(model), range_words(model)):
        assert words in page
        assert words in text.replace("\\", "")
    assert "| echo | ok | delay | 40 | 3 (3 – 3) |" in text
    low, high = found["response"].ci_ms["p50"]
    assert low is not None
    assert high is not None
    assert f"{low:.3g} – {high:.3g}" in text


def test_another_implementation_opens_the_log_and_finds_our_percentiles(tmp_path: Path) -> None:
    """The Python package reads one tag at a time; of what it reads all totals and percentiles must be ours."""
    model = build_report(write_run(tmp_path, [leave(webchat(slot), (1, 2, 3), (1, 2, 3)) for slot in range(1, 9)]))
    log = (tmp_path / "latency.hlog").read_text()
    ours: dict[str, Histogram] = {}
    for line in read_hlog(io.StringIO(log)):
        ours.setdefault(line.tag, Histogram()).merge(line.histogram)
    assert {"", "echo|ok|response", "echo|ok|delay", "send_delay|message|delay"} <= set(ours)
    for tag, histogram in ours.items():
        head = f"Tag={tag}," if tag else ""
        path = tmp_path / "one.hlog"
        lines = log.splitlines()
        kept = [line for line in lines if line[0] in '#"' or (line.startswith(head) if head else line[0] != "T")]
        path.write_text("".join(line.removeprefix(head) + "\n" for line in kept))
        whole = HdrHistogram(1, HIGHEST, 3)
        reader = HistogramLogReader(str(path), whole)
        while (one := reader.get_next_interval_histogram()) is not None:
            whole.add(one)
        reader.close()
        assert whole.total_count == histogram.count
        assert [whole.get_count_at_index(index) for index in range(whole.counts_len)] == histogram.counts.tolist()
        assert whole.get_value_at_percentile(100) == (histogram.top or 0)
    found = model.figures.measures["echo"]["ok"]["response"]
    assert (found.n, found.p50_ms) == (ours["echo|ok|response"].count, (ours["echo|ok|response"].percentile("0.5") or 0) / 1000)


def test_the_log_says_what_it_has_no_room_for(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [guest()], simulated=False)
    build_report(folder)
    log = (folder / "latency.hlog").read_text()
    tags = [f"#[Beyond the range: 1 of echo|ok|{kind}]" for kind in ("response", "response_low", "service", "service_low")]
    assert log.splitlines()[-4:] == tags
    assert sum(line.histogram.count for line in read_hlog(io.StringIO(log)) if not line.tag) == 40
