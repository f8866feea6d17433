"""`report.html`: the same bytes for the same run, in one file, within its budget, and safe whatever a server wrote."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.core import ops
from harness.journal.reader import JournalReader
from harness.journal.records import Interval
from harness.report import sentences, wording
from harness.report.build import build_model, build_report
from harness.report.examples import examples
from harness.report.fold import journals
from harness.report.html import render
from harness.report.model import Model
from harness.report.series import Timeline, _fit, counts_over_time, guests_over_time, step_for, timeline
from harness.report.truth import TruthRow
from harness.report.windows import Windows, fault_windows
from harness.verdicts.lattice import Bound, RuleResult, Verdict
from tests.report.history import S, longpoll, webchat, write_run
from tests.report.test_report import party

ROOT = Path(__file__).parents[2]
NASTY = "<script>alert(1)</script>\"'&$x^2$ \u202edlrow\u2066\u200f\x00\x1b[31m </style> {{ 7*7 }} ]]> "
HUGE = NASTY * (1_000_000 // len(NASTY))
PAGE_BYTES, SVG_BYTES = 600_000, 60_000


class _Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]


def page_of(folder: Path) -> str:
    return render(build_model(folder), folder)


def svgs(page: str) -> list[str]:
    return re.findall(r"<svg.*?</svg>", page, re.S)


def faults() -> list[dict[str, Any]]:
    def row(at: int, name: str, on: bool) -> dict[str, Any]:
        return {"t": at, "row": "fault", "id": f"{name}#0", "name": name, "on": on}

    return [row(2 * S, "throttle", True), row(4 * S, "throttle", False)]


def check_safe(page: str) -> None:
    parsed = _Page(page)
    assert parsed.tags.count("script") == 1
    assert parsed.tags.count("style") == 1
    assert {name for name, _ in parsed.attributes if name.startswith("on") or name in ("src", "srcset", "action")} == set()
    assert {value[:1] for name, value in parsed.attributes if name in ("href", "xlink:href")} <= {"#"}
    assert "http:" not in page.replace("http-equiv", "")
    assert "https:" not in page
    assert not {c for c in page if c in "\u202e\u2066\u200f\x00\x1b"}
    assert len(parsed.ids) == len(set(parsed.ids))
    assert len(page.encode()) <= PAGE_BYTES
    for svg in svgs(page):
        assert len(svg.encode()) <= SVG_BYTES
        ElementTree.fromstring(svg)


# ---------------------------------------------------------------- whole pages


def test_the_same_run_gives_the_same_page_and_it_is_whole(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    build_report(folder)
    first = (folder / "report.html").read_bytes()
    build_report(folder)
    assert (folder / "report.html").read_bytes() == first
    page = first.decode()
    check_safe(page)
    order = ["Can it be believed?", ">Truth<", ">Rules<", ">Latency<", ">Guests and messages<", ">Order, duplication, loss<"]
    order += [">Failures<", ">Examples<", ">About this run<"]
    places = [page.index(f"<h2>{name.strip('><')}") for name in order]
    assert places == sorted(places)
    assert page.index('class="word"') < places[0]
    assert len(re.findall("<h1", page)) == 1
    assert "default-src 'none'" in page
    assert all('role="img" aria-label="' in svg for svg in svgs(page))
    assert page.count('class="plot wide"') == page.count('class="plot narrow"') > 4


def test_splitting_by_guest_gives_the_same_pictures(tmp_path: Path) -> None:
    whole, split = (write_run(tmp_path / name, party(), split=name == "split") for name in ("whole", "split"))
    assert svgs(page_of(whole)) == svgs(page_of(split))


def test_a_killed_run_a_real_target_and_an_empty_journal_have_pages(tmp_path: Path) -> None:
    killed = write_run(tmp_path / "a", party(), ended=None, planned={"ramp_ns": 60 * S, "duration_ns": 300 * S})
    page = page_of(killed)
    assert "INCOMPLETE" in page
    assert "no data" in page
    real = page_of(write_run(tmp_path / "b", party(), simulated=False))
    assert "The target is real, so there is no truth to compare with." in real
    empty = write_run(tmp_path / "c", party(), ended=None)
    (empty / "journal-0.bin").unlink()
    page = page_of(empty)
    assert "Truth was not compared" in page
    check_safe(page)


def test_no_text_of_others_can_break_out(tmp_path: Path) -> None:
    rough = webchat(1, messages=4)
    rough.copy("a", 9, re=2, true=["messages.delivered"])
    rough.row(ops.Refused(rough.tick(), rough.label, NASTY, NASTY, S))
    rough.row(
        ops.Sample(rough.tick(), rough.label, "reply", "fail", NASTY, rough.at - S, rough.at - S, rough.at, 0, "1", NASTY, NASTY)
    )
    rough.end(complete=False, cause=NASTY)
    rough.close("server", 1012, NASTY)
    table: dict[str, Any] = {NASTY: HUGE, "x": [HUGE], "y": {"z": HUGE}}
    scenario = {"scenario": {"name": HUGE}, "guests": {"mix": {NASTY: NASTY}}, "slo": {"rules": []}}
    folder = write_run(
        tmp_path,
        [rough, longpoll(2)],
        truth=[{"t": 2 * S, "row": "fault", "id": NASTY, "name": HUGE, "on": True}, *faults()],
        sealed=False,
        id=HUGE,
        ended=NASTY,
        started_utc=HUGE,
        seed=HUGE,
        scenario=scenario,
        dialects=[NASTY, HUGE],
        versions=table,
        host=table,
        authorisation=table,
        target=HUGE,
    )
    model = build_model(folder)
    model.truth = [TruthRow(HUGE, 1, 2, 2, 3, False, [HUGE] * 20, 20)]
    model.truth_detail = HUGE
    model.rules = [RuleResult(f"echo p50 < 3 s {HUGE}", Verdict.FAIL, Bound(4, 1, 9), HUGE, 3, HUGE, HUGE)]
    for reason in model.reasons:
        reason.text = HUGE
    model.figures.failures[HUGE] = 3
    check_safe(render(model, folder))


def test_a_page_that_cannot_be_made_does_not_cost_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_run(tmp_path, party())
    (folder / "report.html").write_text("of another build")

    def fails(*_: object) -> str:
        raise ValueError("no \x1b ink")

    monkeypatch.setattr("harness.report.html.render", fails)
    build_report(folder)
    assert (folder / "summary.json").is_file()
    assert not (folder / "report.html").exists()
    assert capsys.readouterr().err == "guestswarm: report.html could not be made (ValueError: no ␀ ink)\n"


def test_rules_are_drawn_and_the_broken_one_comes_first(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    model = build_model(folder)
    model.rules = [
        RuleResult("echo p95 < 800 ms", Verdict.PASS, Bound(62, 60, 64), "ms", 400),
        RuleResult("ack p99 < 1 s", Verdict.UNKNOWN, unit="ms", samples=12, note="needs 1,000"),
        RuleResult("reply p90 < 2 s", Verdict.FAIL, Bound(2500, 2400, 2600), "ms", 400),
    ]
    page = render(model, folder)
    assert page.index("<code>reply p90") < page.index("<code>ack p99") < page.index("<code>echo p95")
    assert "rule: echo p95 &lt; 800 ms" in page
    assert "1 of 3 rules is broken, 1 could not be judged, 1 held." in page


def test_the_load_process_loads_neither_pandas_nor_matplotlib() -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        "import harness.report, harness.swarm.child\n"
        "drawn = {'html', 'series', 'plots'}\n"
        "for m in pkgutil.iter_modules(harness.report.__path__):\n"
        "    if m.name not in drawn: importlib.import_module('harness.report.' + m.name)\n"
        "bad = sorted({'pandas', 'matplotlib', 'jinja2.environment'} & set(sys.modules) - {'jinja2.environment'})\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]


# ---------------------------------------------------------------- over time


def lines_of(folder: Path, *measures: str) -> tuple[Model, Timeline]:
    model = build_model(folder)
    line = timeline(journals(folder), model.manifest, measures, planned_ns=None)
    assert line is not None
    return model, line


def test_bins_add_up_to_the_run(tmp_path: Path) -> None:
    model, line = lines_of(write_run(tmp_path, party()), "echo")
    for step in (1, 2, 5):
        table = counts_over_time(model.measured.series, line, step, {"sent": ["messages|invoked"], "refused": ["refused|"]})
        assert table["sent"].sum() == model.figures.messages["invoked"]
        assert table["refused"].sum() == model.figures.anomalies["refused"].low
    guests = guests_over_time(model.measured.series, line, 1)
    assert guests.drop(columns="finished").sum(axis=1).max() == model.figures.guests.peak


def test_a_missing_interval_is_a_gap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path, party())
    read = JournalReader.intervals

    def holed(reader: JournalReader) -> Any:
        record: Interval
        for record in read(reader):
            if record.index not in (3, 4):
                yield record

    monkeypatch.setattr(JournalReader, "intervals", holed)
    model, line = lines_of(folder, "echo")
    assert len(line.gaps) == 1
    low, high = line.gaps[0]
    assert high - low > 1.5
    sent = counts_over_time(model.measured.series, line, 1, {"sent": ["messages|invoked"]})["sent"]
    assert sent.isna().sum() == 2


def test_bins_are_as_fine_as_nine_of_ten_can_carry() -> None:
    widths = (1, 2, 5, 10)
    even = dict.fromkeys(range(100), 40)
    from harness.report.series import P50, P90, P99

    assert _fit(even, widths, 100, P50) == 1
    assert _fit(even, widths, 100, P90) == 5  # 100 samples are needed
    assert _fit(even, widths, 100, P99) is None
    assert _fit({n: count for n, count in even.items() if n % 9}, (1,), 99, P50) is None
    assert _fit({n: count for n, count in even.items() if n % 11}, (1,), 99, P50) == 1
    assert step_for(360, 360) == 1
    assert step_for(361, 360) == 2


def test_fault_windows_shade_and_those_of_the_whole_load_do_not(tmp_path: Path) -> None:
    def row(name: str, low: int, high: int) -> list[str]:
        return [
            json.dumps({"t": at * S, "row": "fault", "id": name, "name": name, "on": on}, separators=(",", ":"))
            for at, on in ((low, True), (high, False))
        ]

    path = tmp_path / "truth.jsonl"
    lines = [*row("always", 10, 70), *row("b", 30, 30), *row("a", 20, 25), "rubbish", *row("open", 60, 60)[:1]]
    path.write_text("\n".join(lines) + "\n")
    found = fault_windows(path, 10 * S, 70.0, 60.0)
    assert found == Windows([(10.0, 15.0, "a"), (20.0, 20.0, "b"), (50.0, 70.0, "open")], ["always"], 0)
    assert fault_windows(tmp_path / "none", 0, 1.0, 1.0) == Windows([], [], 0)
    assert sentences.faults_words(found, "abc") == (
        "Grey: the simulator was told to misbehave (a a, b b, c open). All the time: always."
    )


# ---------------------------------------------------------------- examples and words


def test_each_kind_that_occurred_has_one_example(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    model, line = lines_of(folder)
    found = examples(journals(folder), model.measured, start_ns=line.start_ns, anchor=model.manifest["anchor"])
    kinds = [one.kind for one in found]
    assert kinds == list(dict.fromkeys(kinds))
    assert {"lost.definite", "dup_same_connection", "dup_resend", "reordered", "refused", "disconnect"} <= set(kinds)
    for one in found:
        assert one.calls
        assert [arrow.call for arrow in one.arrows if arrow.call] == list(range(1, len(one.calls) + 1))
        assert all(0 <= arrow.start_s <= one.length_s for arrow in one.arrows)
        assert len(one.arrows) <= 40


def test_sentences_state_the_finding_with_its_number(tmp_path: Path) -> None:
    model = build_model(write_run(tmp_path, party()))
    say = sentences
    assert say.truth_words(model) == "Truth and measurement agree, id by id, in all 14 rows."
    assert say.rules_words([]) == "No rule was asked for, so no figure below was held against a limit."
    held = RuleResult("a", Verdict.PASS)
    assert say.rules_words([held]) == "The one rule held."
    assert say.rules_words([held, held]) == "All 2 rules held."
    assert say.rules_words([held, RuleResult("b", Verdict.UNKNOWN)]) == "1 of 2 rules could not be judged, 1 held."
    model.figures.messages = {"invoked": 1000, "attempts": 1001, "ok": 990, "fail": 7, "info": 3}
    assert say.load_words(model).endswith("sent 1,000 messages; 10 of them (1\u00a0%) failed or have no known outcome.")
    lost = model.figures.anomalies["lost"]
    lost.low, lost.high = 31, 45
    assert say.order_words(model).startswith("31 to 45 messages were lost, ")
    lost.low = lost.high = 0
    assert say.order_words(model).startswith("No messages were lost, ")
    model.figures.failures = {"timeout": 3, "rate_limited": 1}
    assert say.failures_words(model) == "4 operations did not end well; the most frequent cause is “timeout” with 3 (75\u00a0%)."
    model.figures.failures = {}
    assert say.failures_words(model) == "Nothing failed."
    assert say.censored_words(model.figures) == ""
    model.figures.censored = {"reply": 1}
    alone = "1 reply was still awaited when its guest left as planned; it is in no rate."
    assert say.censored_words(model.figures) == alone
    model.figures.censored = {"reply": 235, "messages": 40}
    many = "235 replies were still awaited when their guests left as planned; they are in no rate, nor are the 40 messages "
    assert say.censored_words(model.figures) == f"{many}that nothing else would have confirmed."
    model.truth[3:4] = [TruthRow("reordered", 3, 2, 2, 2, False, ["x"], 1)]
    assert say.truth_words(model).startswith("Truth and measurement disagree in 1 of 14 rows: “reordered”.")


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        ("echo p99 < 800 ms", ("echo", 800.0)),
        ("echo.response p99.9 <= 2 s", ("echo", 2000.0)),
        ("refresh.gap p90 < 3s", ("refresh.gap", 3000.0)),
        ("echo.service p90 < 3 s", None),
        ("reply.failed rate < 20 %", None),
        ("lost.definite == 0", None),
        ("echo p99 < . s", None),
    ],
)
def test_the_limit_of_a_rule_is_read_for_the_plots(rule: str, limit: tuple[str, float] | None) -> None:
    assert sentences.latency_limit(rule) == limit


def test_figures_and_foreign_text_as_written() -> None:
    assert [wording.ms(value) for value in (None, 0.0, 0.4412, 9.999, 62.04, 999.4, 1016.0)] == [
        "–", "0\u00a0ms", "0.441\u00a0ms", "10.0\u00a0ms", "62.0\u00a0ms", "999\u00a0ms", "1.02\u00a0s",
    ]  # fmt: skip
    assert wording.shown("a\x00b\u202ec\x7f\ud800") == "a␀b\\u202ec␡\\ud800"
    assert len(wording.shown("x" * 1000)) == 120
    assert [wording.clock(seconds) for seconds in (0, 61.9, 3661)] == ["0:00", "1:01", "1:01:01"]
    assert [wording.percent(part, 100) for part in (0, 0.001, 1.234, 12.6)] == [
        "0\u00a0%",
        "< 0.01\u00a0%",
        "1.2\u00a0%",
        "13\u00a0%",
    ]
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
