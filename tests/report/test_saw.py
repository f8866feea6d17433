"""What we saw: the section of the page, of the markdown and of the terminal; findings never change the verdict."""

from __future__ import annotations

from pathlib import Path

from harness.findings import Example, Finding, Moment
from harness.report import saw
from harness.report.build import build_model, build_report
from harness.report.html import render
from harness.report.markdown import report_markdown
from harness.report.summary import read_summary, summary_json
from harness.report.text import verdict_lines
from tests.report.history import leave, webchat, write_run
from tests.report.test_report import party


def finding(name: str = "zombie-connection", **more: object) -> Finding:
    given: dict[str, object] = {
        "title": "Connections stayed open while nothing flowed",
        "severity": "high",
        "count": 3,
        "guests": 2,
        "evidence": {"not_noticed": 1, "longest_deaf_s": 31.25, "least_lag_ms": 4},
        "example": Example("7-1", [Moment(61_250.5, "guest sends message 3"), Moment(70_001.0, "noted zombie (<b>|`x`)")]),
        "cause": "Gone without a close.",
        "advice": "Send `ping` every 20 s.",
        "certainty": "",
    }
    return Finding(id=name, **{**given, **more})  # type: ignore[arg-type]


def test_a_clean_run_says_that_nothing_was_seen(tmp_path: Path) -> None:
    model = build_model(write_run(tmp_path, [leave(webchat(1), (1, 2, 3), (1, 2, 3))]))
    assert model.findings == []
    assert model.findings_complete
    assert saw.saw_words(model).startswith("None of the ")
    assert "Seen:" not in "\n".join(verdict_lines(model))
    assert '<section id="saw">' in render(model, tmp_path)


def test_the_verdict_is_the_same_with_and_without_findings(tmp_path: Path) -> None:
    model = build_model(write_run(tmp_path, party()))
    assert {one.id for one in model.findings} == {"duplicates-by-server", "out-of-order", "rate-limited"}
    assert (model.verdict.value, model.exit_code) == ("PASS", 0)


def test_everything_that_is_known_is_shown(tmp_path: Path) -> None:
    model = build_model(write_run(tmp_path, party()))
    model.findings = [finding(certainty="An idle cut looks alike."), finding("out-of-order", severity="low", guests=1, count=1)]
    page, text = render(model, tmp_path), report_markdown(model)
    assert saw.saw_words(model) == (
        "2 known traps were seen. The first: connections stayed open while nothing flowed (3 times, 2 guests)."
    )
    for words in ("zombie-connection", "An idle cut looks alike.", "Gone without a close.", "31.2\u00a0s", "1:01.250", "7-1"):
        assert words in page
    assert "<code>ping</code>" in page
    assert "&lt;b&gt;|`x`" in page
    assert "<b>|" not in page.replace("<b>What", "")
    assert "## What we saw" in text
    assert "An idle cut looks alike" in text
    assert "noted zombie (<b>\\|'x')" in text
    assert "Seen: zombie-connection, out-of-order." in verdict_lines(model)


def test_what_is_not_whole_is_said(tmp_path: Path) -> None:
    model = build_model(write_run(tmp_path, party()))
    model.measured.rows_kept = "anomalies"
    assert not model.findings_complete
    assert saw.saw_words(model).endswith("Not all rows were kept: findings may be incomplete.")
    assert not read_summary(summary_json(model)).findings_complete
    model.measured.rows_kept, model.findings = "none", []
    assert saw.saw_words(model) == "Rows were not kept, so nobody could look for known traps."


def test_the_summary_holds_them_with_timelines_of_at_most_twenty_lines(tmp_path: Path) -> None:
    build_report(write_run(tmp_path, party()))
    written = read_summary((tmp_path / "summary.json").read_bytes())
    assert [one.id for one in written.findings] == ["duplicates-by-server", "out-of-order", "rate-limited"]
    for one in written.findings:
        assert 0 < len(one.example.timeline) <= 20
        assert all(moment.t_ms >= 0 for moment in one.example.timeline)
