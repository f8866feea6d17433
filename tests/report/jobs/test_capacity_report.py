"""The report of a capacity search: what it says, in every file, for every way in which a search can end."""

from __future__ import annotations

import errno
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import jsonschema
import pytest

from harness.errors import RunFolderError
from harness.report.jobs import JobReport, build_job, capacity_folder, job_kind, write_job
from harness.report.jobs.capacity_folder import STEPS, append_step, read_steps
from harness.report.jobs.capacity_summary import capacity_schema
from harness.runs.folder import read_manifest
from harness.verdicts.lattice import Verdict
from tests.report.jobs.searches import plan, search_folder
from tests.report.test_page import NASTY, PAGE_BYTES, SVG_BYTES, svgs


def build(folder: Path) -> JobReport:
    assert job_kind(read_manifest(folder)) == "capacity"
    return build_job(folder, "capacity")


def test_the_first_sentence_is_the_answer_everywhere(tmp_path: Path) -> None:
    report = build(search_folder(tmp_path / "search", asked=plan(planned=150.0)))
    summary = json.loads(report.summary)
    assert (report.verdict, report.exit_code) == (Verdict.FAIL, 1)  # the plan is too much
    assert 123 <= summary["low"] <= summary["estimate"] <= summary["high"] <= 137
    assert (summary["unit"], summary["first_broken_slo"], summary["confirmed"]) == ("guests", "reply.response p95 < 600 ms", True)
    first = report.reasons[0].text
    span = f"95 % interval {summary['low']:.0f} – {summary['high']:.0f}"
    assert first.startswith(f"{summary['estimate']:.0f} guests hold all rules ({span}). Reply p95 breaks first. A plan of 150 is ")
    assert first.endswith("too much.")
    assert first in report.page.replace("\u00a0", " ")
    assert re.sub(r"\\(.)", r"\1", report.markdown).splitlines()[2] == first
    suite = ElementTree.fromstring(report.junit)
    assert suite.find(".//testcase[@name='answer']/failure").get("message") == first  # type: ignore[union-attr]
    assert suite.find(".//testcase[@name='the planned load fits']/failure") is not None


def test_the_page_is_one_file_within_its_budget_and_the_same_twice(tmp_path: Path) -> None:
    folder = search_folder(tmp_path / "search")
    report, again = build(folder), build(folder)
    assert (report.page, report.summary, report.markdown, report.junit) == (again.page, again.summary, again.markdown, again.junit)
    assert len(report.page.encode()) < PAGE_BYTES
    drawn = svgs(report.page)
    assert len(drawn) == 2  # wide and narrow
    assert all(len(one.encode()) < SVG_BYTES for one in drawn)
    assert 'role="img"' in drawn[0]
    assert "guests hold all rules" in drawn[0]
    write_job(folder, report)
    assert sorted(path.name for path in folder.iterdir()) == [
        "junit.xml", "manifest.json", "report.html", "report.md", STEPS, "summary.json",
    ]  # fmt: skip
    jsonschema.validate(json.loads((folder / "summary.json").read_text()), capacity_schema())


def test_a_generator_that_is_the_limit_makes_no_answer(tmp_path: Path) -> None:
    report = build(search_folder(tmp_path / "search", healthy_to=100))
    summary = json.loads(report.summary)
    assert (report.verdict, report.exit_code, summary["generator_bound"], summary["estimate"]) == (Verdict.UNKNOWN, 3, True, None)
    assert report.reasons[0].text == "At least 80 guests; beyond that the generator is the limit."
    assert "not counted" in report.page
    assert "send delay p99" in report.page
    assert ElementTree.fromstring(report.junit).find(".//testcase[@name='the generator can be believed']/error") is not None


@pytest.mark.parametrize(
    ("steps", "ended", "stopped", "said"),
    [
        (0, "interrupted", "", "Stopped by Ctrl-C after 0 steps. Nothing is known."),
        (1, "interrupted", "", "Stopped by Ctrl-C after 1 step. Until then: at least 40 guests."),
        (2, "stopped", "the window is shut", "The search ended after 2 steps, before it was done: the window is shut. Until then:"),
        (4, "terminated", "", "Stopped by SIGTERM after 4 steps. Until then:"),
    ],
)
def test_a_search_that_was_cut_off_says_what_is_known(tmp_path: Path, steps: int, ended: str, stopped: str, said: str) -> None:
    report = build(search_folder(tmp_path / "search", steps=steps, ended=ended, stopped=stopped))
    summary = json.loads(report.summary)
    assert (report.verdict, summary["complete"], summary["stopped"]) == (Verdict.UNKNOWN, False, stopped)
    assert report.reasons[0].text.startswith(said)
    assert "INCOMPLETE RUN" in report.page


def test_nothing_broke_and_nothing_held(tmp_path: Path) -> None:
    most = build(search_folder(tmp_path / "most", limit=1e6))
    assert most.verdict is Verdict.UNKNOWN
    assert most.reasons[0].text == "At least 640 guests: no more was tried, and nothing broke."
    none = build(search_folder(tmp_path / "none", limit=0.4))
    assert (none.verdict, none.exit_code) == (Verdict.FAIL, 1)
    assert none.reasons[0].text == "Not even 1 guest holds all rules: reply p95 breaks."


def test_a_torn_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    folder = search_folder(tmp_path / "search", steps=3, ended="killed")
    with (folder / STEPS).open("ab") as out:
        out.write(b'{"step":{"order":{"num')
    assert len(read_steps(folder)[0]) == 3
    report = build(folder)
    assert len(json.loads(report.summary)["steps"]) == 3
    assert "1 line of the steps could not be read." in report.facts


def test_without_any_step_nothing_is_said_to_hold(tmp_path: Path) -> None:
    folder = search_folder(tmp_path / "search")
    (folder / STEPS).unlink()
    report = build(folder)
    assert (report.verdict, report.exit_code) == (Verdict.UNKNOWN, 3)
    assert report.reasons[0].text == "Nothing is known: the search has left no step that can be read."
    assert report.facts[0] == "There was nothing that a longer run could confirm."


def test_where_only_the_longer_run_breaks_it_is_not_said_that_nothing_broke(tmp_path: Path) -> None:
    folder = search_folder(tmp_path / "search", limit=1e6)
    lines = [json.loads(line) for line in (folder / STEPS).read_text().splitlines()]
    assert lines[-1]["step"]["order"]["kind"] == "confirm"
    lines[-1]["step"]["judgement"]["verdict"] = "broke"
    (folder / STEPS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = build(folder)
    assert report.verdict is Verdict.UNKNOWN
    assert report.reasons[0].text == "At least 320 guests: the longer run at 640 guests did not hold all rules."


def test_cut_off_in_the_longer_run_the_answer_is_told_and_not_confirmed(tmp_path: Path) -> None:
    whole = search_folder(tmp_path / "whole")
    steps = len(read_steps(whole)[0])
    report = build(search_folder(tmp_path / "search", steps=steps - 1, ended="interrupted"))
    summary = json.loads(report.summary)
    assert (report.verdict, report.exit_code, summary["confirmed"]) == (Verdict.UNKNOWN, 130, None)
    assert summary["low"] <= 130 <= summary["high"]
    assert re.search(r"Until then: about 1\d\d guests \(95 % interval 1\d\d – 1\d\d\), not confirmed\.", report.reasons[0].text)


def test_beyond_the_calibration_is_said(tmp_path: Path) -> None:
    report = build(search_folder(tmp_path / "search", beyond=["160 guests, calibrated to 150"]))
    assert any("beyond the calibrated load of this machine (160 guests, calibrated to 150" in fact for fact in report.facts)
    assert "beyond the calibrated load of this machine" in report.page


def test_what_others_wrote_cannot_reach_the_page(tmp_path: Path) -> None:
    folder = search_folder(
        tmp_path / "search", scenario={"scenario": {"name": NASTY}}, stopped=NASTY, ended="stopped", steps=3, dialects=[NASTY]
    )
    report = build(folder)
    assert "<script>alert" not in report.page
    assert "\u202e" not in report.page + report.markdown + report.junit
    ElementTree.fromstring(report.junit)


def test_a_folder_without_a_plan_is_refused(tmp_path: Path) -> None:
    folder = search_folder(tmp_path / "search", steps=1)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["job"]["plan"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunFolderError, match="no plan of a capacity search"):
        build_job(folder, "capacity")


def test_a_full_disk_takes_a_step_from_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = search_folder(tmp_path / "search", steps=2)
    whole = (folder / STEPS).read_bytes()
    line = read_steps(folder)[0][0]
    (folder / ".reserve").write_bytes(b"x")
    written = capacity_folder._append

    def full(path: Path, data: bytes) -> None:
        if (folder / ".reserve").exists():
            written(path, data[:20])
            raise OSError(errno.ENOSPC, "No space left on device")
        written(path, data)

    monkeypatch.setattr(capacity_folder, "_append", full)
    append_step(folder, line)
    assert (folder / STEPS).read_bytes() == whole + whole[: whole.index(b"\n") + 1]
    monkeypatch.setattr(
        capacity_folder, "_append", lambda path, data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
    )
    with pytest.raises(RunFolderError, match="No space left"):
        append_step(folder, line)


def test_a_rule_without_a_percentile_has_no_curve_of_one(tmp_path: Path) -> None:
    report = build(search_folder(tmp_path / "search", rule="messages.failed rate < 5 %"))
    assert report.reasons[0].text.endswith("Messages failed rate breaks first.")
    assert "There is no percentile to draw against load." in report.page
    assert json.loads(report.summary)["cost"] is None


def test_little_s_law_and_cost_are_told(tmp_path: Path) -> None:
    folder = search_folder(tmp_path / "search")
    summary = json.loads(build(folder).summary)
    assert {step["little"]["ok"] for step in summary["steps"]} == {True}
    cost = summary["cost"]
    assert cost["more"] == 10
    assert cost["extra_ms"]["low"] <= cost["extra_ms"]["value"] <= cost["extra_ms"]["high"]
    assert cost["extra_ms"]["value"] == pytest.approx(1000 * 0.6 * 1.2 / 130 * 10, rel=0.2)  # slope of what the world says
    assert "Little's law holds in all" in build(folder).markdown.replace("\\", "")
