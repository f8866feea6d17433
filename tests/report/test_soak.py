"""A soak's report: series found in the journal, leaks told from steps, sentences, verdict, page, and what befell the run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.drift.model import State
from harness.errors import ExitCode
from harness.report.build import build_model, build_report
from harness.report.model import Model, Reason
from harness.report.soak.judge import judged
from harness.report.soak.series import gather, step_of
from harness.report.summary import read_summary
from harness.verdicts.lattice import Verdict
from tests.report.soak_kit import START, Night, S, write_night

WINDOWED = "echo p95 < 130 ms in every 5 min window"


def states(model: Model) -> dict[str, State]:
    assert model.soak is not None
    return {one.name: one.state for one in model.soak.verdicts}


@pytest.fixture(scope="module")
def leaking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight hours: memory that grows, a step in the echo at hour 5, an hour 6 that is bad for twelve minutes."""
    night = Night(
        interval_s=30.0,
        target_memory=lambda h: 1 + 0.03 * h,
        echo=lambda h: 1.15 if h > 5 else 1.0,
        failing=lambda h: 0.2 if 6.0 <= h < 6.2 else 0.001,
        rules=("echo p95 < 2 s", WINDOWED, "messages.failed rate < 1 % in every 5 min window"),
        events=[(2.0, {"what": "target_lost"}), (2.01, {"what": "target_restarted"}), (3.0, {"what": "rotated", "file": "j"})],
    )
    return write_night(tmp_path_factory.mktemp("soak") / "leaking", night)


def test_a_leak_is_found_and_fails(leaking: Path) -> None:
    model = build_report(leaking)
    found = states(model)
    assert found["target memory"] is State.LEAK
    assert {found["echo response p95"], found["echo service p95"]} == {State.STEP}
    assert State.LEAK not in {found["generator memory"], found["target sockets"], found["ack response p50"]}
    assert (model.verdict, model.exit_code) == (Verdict.FAIL, int(ExitCode.FAIL))
    leak = next(reason.text for reason in model.reasons if reason.code == "leak")
    assert leak.startswith("Target memory grew by ")
    assert "1 of 20 series leaks." in leak
    assert model.soak is not None
    step = next(one for one in model.soak.series if one.verdict.name == "echo response p95")
    assert step.verdict.step is not None
    assert abs((step.verdict.step.at_s or 0) - 5 * 3600) <= 60


def test_a_bad_quarter_of_an_hour_cannot_hide_in_a_good_night(leaking: Path) -> None:
    rules = {rule.rule: rule for rule in build_model(leaking).rules}
    assert rules["echo p95 < 2 s"].verdict is Verdict.PASS
    failed = rules["messages.failed rate < 1 % in every 5 min window"]
    assert failed.verdict is Verdict.FAIL
    over = [one.t0_ns / 1e9 / 3600 for one in failed.windows or () if one.verdict is Verdict.FAIL]
    assert over
    assert all(5.9 <= hour <= 6.2 for hour in over)


def test_the_answer_as_json(leaking: Path) -> None:
    build_report(leaking)
    raw = (leaking / "summary.json").read_bytes()
    value: dict[str, Any] = json.loads(raw)
    assert value["series"][0] | {"name": "target memory", "verdict": "LEAK"} == value["series"][0]
    assert value["soak"]["target_restarts"] == 1
    assert value["soak"]["trends_judged"] is True
    assert {one["kind"] for one in value["soak"]["happenings"]} == {"target_lost", "target_restarted", "rotated"}
    summary = read_summary(raw)
    assert not isinstance(summary.series, msgspec.UnsetType)
    assert summary.series[0].change is not None
    assert summary.series[0].budget is not None
    assert summary.series[0].change > summary.series[0].budget


def test_the_page_says_the_series_first_and_keeps_its_size(leaking: Path) -> None:
    build_report(leaking)
    page = (leaking / "report.html").read_text()
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections[:5] == ["series", "windows", "course", "befell", "health"]
    assert "Theil–Sen" in page
    assert "Benjamini–Hochberg" in page
    assert page.count('class="spark"') == 20
    assert len(page) < 1_500_000
    assert "Target memory grew by" in page
    for drawn in re.findall(r"<svg class=\"plot (?:wide|narrow)\".*?</svg>", page, re.S):
        assert len(drawn) <= 60_000
    first = (leaking / "report.html").read_bytes()
    build_report(leaking)
    assert (leaking / "report.html").read_bytes() == first


def test_a_clean_night(tmp_path: Path) -> None:
    model = build_model(write_night(tmp_path / "clean", Night(interval_s=30.0, rules=("echo p95 < 2 s", "lost.definite == 0"))))
    assert State.LEAK not in states(model).values()
    assert model.verdict in (Verdict.PASS, Verdict.UNKNOWN)  # noise may be too much for a series, and then that is said
    if model.verdict is Verdict.PASS:
        assert "All 2 rules held and all 20 series are stable" in model.reasons[0].text
    else:
        assert model.reasons[0].code == "trend_unknown"


def test_a_short_soak_is_judged_by_its_rules_alone(tmp_path: Path) -> None:
    night = Night(hours=0.1, interval_s=1.0, rules=("echo p95 < 2 s", "lost.definite == 0"), target_memory=lambda h: 1 + h)
    model = build_model(write_night(tmp_path / "short", night))
    assert model.verdict is Verdict.PASS
    assert model.reasons[0].text.startswith("All 2 rules held; trends were not judged (5 min 50 s < 6 h).")
    assert set(states(model).values()) == {State.NOT_JUDGED}
    assert model.soak is not None
    assert all("< 6 h" in one.verdict.note for one in model.soak.series)


def test_planned_but_cut_short_is_unknown(tmp_path: Path) -> None:
    night = Night(hours=2.0, planned_hours=8.0, interval_s=30.0, ended="interrupted")
    model = build_model(write_night(tmp_path / "cut", night))
    assert (model.verdict, model.exit_code) == (Verdict.UNKNOWN, int(ExitCode.INTERRUPTED))
    codes = [reason.code for reason in model.reasons]
    assert codes[0] == "interrupted"
    assert "trend_unknown" in codes
    assert set(states(model).values()) == {State.NOT_JUDGED}


def test_a_gap_stays_a_gap_and_a_lost_session_is_unknown(tmp_path: Path) -> None:
    night = Night(hours=8.0, interval_s=30.0, gaps=[(3.0, 3.2)], sessions=[(3.2, 2)])
    folder = write_night(tmp_path / "gap", night)
    model = build_model(folder)
    assert model.verdict is Verdict.UNKNOWN
    assert model.reasons[0].code == "worker_lost"
    assert "720 s" in model.reasons[0].text
    assert model.soak is not None
    assert model.soak.sessions == 2
    assert "session" in {one.kind for one in model.soak.happenings}
    memory = next(one for one in model.soak.series if one.verdict.name == "generator memory")
    assert not any(3.01 * 3600 < at < 3.19 * 3600 for at, _ in memory.raw)


def test_a_wall_clock_that_was_set_is_said_and_spoils_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.journal.segments import journals
    from harness.report.fold import intervals

    folder = write_night(tmp_path / "clock", Night(hours=0.2, interval_s=10.0))
    files = journals(folder)

    def stepped(readers: Any) -> Any:
        for number, record in enumerate(intervals(readers)):
            if number == 30:
                record.health["clock.wall_steps"] = 1.0
            yield record

    before = gather(files, [], interval_s=10.0, planned_s=720.0, end_ns=None)
    monkeypatch.setattr("harness.report.soak.series.intervals", stepped)
    after = gather(files, [], interval_s=10.0, planned_s=720.0, end_ns=None)
    assert before is not None
    assert after is not None
    assert after.wall_steps == [(310.0, 1.0)]
    assert before.latencies == after.latencies


def test_gathering_does_not_hang_on_the_spread_over_workers_or_files(tmp_path: Path) -> None:
    from harness.journal.segments import journals

    many = write_night(tmp_path / "many", Night(hours=0.5, segment_bytes=40_000))
    one = write_night(tmp_path / "one", Night(hours=0.5, segment_bytes=1 << 30))
    assert len(journals(many)) > 3
    assert len(journals(one)) == 1
    found = [gather(journals(folder)[::-1], [], interval_s=10.0, planned_s=1800.0, end_ns=None) for folder in (many, one)]
    assert found[0] == found[1]
    assert found[0] is not None
    assert found[0].start_ns == START
    assert found[0].latencies["echo response p50"][0].count(None) == 0


@pytest.mark.parametrize(("interval_s", "planned_s", "expected"), [(10, 86_400, 10), (30, 86_400, 30), (1, 300, 1), (1, 1800, 5)])
def test_steps(interval_s: float, planned_s: float, expected: float) -> None:
    assert step_of(interval_s, planned_s) == expected


def test_a_contradiction_with_the_simulator_stays_the_first_word(leaking: Path) -> None:
    model = build_model(leaking)
    assert model.soak is not None
    mismatch = [Reason("harness_mismatch", "The harness contradicts the simulator.")]
    verdict, reasons = judged(model.soak, Verdict.UNKNOWN, mismatch, mismatch=True)
    assert verdict is Verdict.UNKNOWN
    assert [reason.code for reason in reasons][:2] == ["harness_mismatch", "leak"]


def test_instants_are_of_the_run(leaking: Path) -> None:
    model = build_model(leaking)
    assert model.soak is not None
    assert model.soak.happenings[0].at_s == pytest.approx(2 * 3600)
    assert model.soak.load_s == pytest.approx(8 * 3600, abs=31)
    assert S == 1_000_000_000
