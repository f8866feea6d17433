"""The manifest's rules, judged where a run folder is rebuilt, and the files that say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.histogram import Histogram
from harness.report.build import build_model, build_report
from harness.report.fold import HEALTH_WINDOW_NS, Damage, Measured
from harness.report.health import health_lines, rule_limits
from harness.report.junit import junit_xml, valid
from harness.report.live_view import LiveModel, LiveRule
from harness.report.markdown import code, escaped, report_markdown
from harness.report.model import Model
from harness.report.summary import read_summary
from harness.verdicts.lattice import RuleResult, Verdict
from harness.verdicts.slo import parse
from tests.report.history import S, leave, webchat, write_run


def run(folder: Path, slo: list[str], **changes: Any) -> Model:
    guests = [leave(webchat(slot, 40), range(1, 41)) for slot in range(1, 6)]
    return build_report(write_run(folder, guests, slo=slo, **changes))


def test_the_report_judges_the_manifests_rules(tmp_path: Path) -> None:
    model = run(tmp_path, ["echo p90 < 800 ms", "lost.possible == 0", "reply.failed rate < 5 %", "guests.failed == 0"])
    assert [rule.verdict for rule in model.rules] == [Verdict.PASS] * 4
    assert (model.verdict, model.exit_code) == (Verdict.PASS, 0)
    assert model.reasons[0].text == "All 4 rules held. The closest was echo p90 with 10 of 800 ms."
    slo = read_summary((tmp_path / "summary.json").read_bytes()).slo
    assert [rule.rule for rule in slo] == [
        "echo p90 < 800 ms",
        "lost.possible == 0",
        "reply.failed rate < 5 %",
        "guests.failed == 0",
    ]
    assert slo[0].samples == 200
    assert [rule.verdict for rule in slo] == ["PASS"] * 4


def test_a_rule_on_windows_is_judged_out_of_the_journal(tmp_path: Path) -> None:
    rules = ["messages.rate > 1000 /s in every 2 s window", "echo p50 < 800 ms in every 2 s window", "echo p50 < 800 ms"]
    model = run(tmp_path, rules, phases={"load": 2 * S, "settle": 7 * S})
    rate, times, plain = read_summary((tmp_path / "summary.json").read_bytes()).slo
    assert plain.windows is None
    assert rate.windows is not None
    assert times.windows is not None
    assert [(one.at_s, one.length_s) for one in rate.windows] == [(2, 2), (4, 2), (6, 1)]
    assert {one.verdict for one in rate.windows} == {"FAIL"}
    assert rate.verdict == "FAIL"
    assert model.rules[0].note.startswith(f"{len(rate.windows)} of {len(rate.windows)} windows over, worst at ")
    page = (tmp_path / "report.html").read_text()
    assert "over the limit or not judged" in page
    assert "windows over, worst at" in (tmp_path / "report.md").read_text()


def test_a_broken_rule_fails_the_run(tmp_path: Path) -> None:
    model = run(tmp_path, ["echo p50 < 1 ms", "guests.failed == 0"])
    assert (model.verdict, model.exit_code) == (Verdict.FAIL, 1)
    assert model.reasons[0].text == "Echo p50 was 10 ms; the rule asks for less than 1 ms. 1 of 2 rules is broken."


def test_a_rule_without_samples_leaves_the_run_unknown(tmp_path: Path) -> None:
    model = run(tmp_path, ["ack p50 < 1 s"])
    assert (model.verdict, model.exit_code) == (Verdict.UNKNOWN, 3)
    assert [reason.code for reason in model.reasons] == ["rule_unknown"]


@pytest.mark.parametrize("ended", [None, "interrupted"])
def test_an_unfinished_run_fails_only_by_what_cannot_be_mended(tmp_path: Path, ended: str | None) -> None:
    model = run(tmp_path, ["echo p50 < 1 ms", "messages.sent < 10"], ended=ended)
    assert [rule.verdict for rule in model.rules] == [Verdict.UNKNOWN, Verdict.FAIL]
    assert model.verdict is Verdict.FAIL
    model = build_model(write_run(tmp_path / "b", [leave(webchat(), (1, 2, 3))], slo=["messages.sent < 10"], ended=ended))
    assert model.verdict is Verdict.UNKNOWN
    assert [reason.code for reason in model.reasons] == ["incomplete" if ended is None else ended]
    assert model.reasons[0].text.endswith(" Until then the rule held.")


def test_an_aborted_run_is_judged_and_says_when(tmp_path: Path) -> None:
    model = run(tmp_path, ["echo p50 < 1 ms"], ended="aborted", phases={"load": 2 * S, "settle": 7 * S})
    assert (model.verdict, model.exit_code) == (Verdict.FAIL, 1)
    assert [reason.code for reason in model.reasons] == ["rule_broken", "aborted"]
    assert "ended early at 0:07 of 0:12" in model.reasons[1].text


def test_a_late_generator_takes_the_blame_for_a_broken_time_but_not_for_a_loss(tmp_path: Path) -> None:
    model = run(tmp_path, ["echo p50 < 1 ms", "messages.sent < 10"], health={"send_delay_p99_ms": -1})
    assert [rule.verdict for rule in model.rules] == [Verdict.UNKNOWN, Verdict.FAIL]


# ---------------------------------------------------------------- health
def test_the_shortest_time_of_a_rule_limits_the_send_delay() -> None:
    def limits(*texts: str) -> dict[str, float]:
        return rule_limits([parse(text) for text in texts])

    assert limits("echo p99 < 800 ms", "reply p99 < 5 s", "ack.service p99 < 10 ms") == {"send_delay_p99_ms": 40.0}
    assert limits("echo p99 < 20 ms") == {"send_delay_p99_ms": 5.0}
    assert limits("lost == 0") == {}


def measured(pressures: list[float]) -> Measured:
    windows = {n * HEALTH_WINDOW_NS: {"pressure.max": pressure} for n, pressure in enumerate(pressures)}
    whole = {"pressure.max": max(pressures)}
    damage = Damage()
    return Measured(["w"], 0, 1, 1, {}, {}, {}, {}, 0, [], whole, "all", damage, None, windows)


@pytest.mark.parametrize(
    ("pressures", "width", "decides"),
    [
        ([95.0] * 10, 0.2, True),
        ([95.0] * 10, 0.1, False),
        ([95.0] * 10, None, False),
        ([95.0] + [1.0] * 9, 0.2, False),
        ([95.0] * 2 + [1.0] * 8, 0.2, True),
    ],
)
def test_circumstances_decide_only_if_they_last_and_the_bracket_is_wide(
    pressures: list[float], width: float | None, decides: bool
) -> None:
    lines = health_lines(measured(pressures), {}, rules=True, width=width, steady=(0, 10 * HEALTH_WINDOW_NS))
    (line,) = [line for line in lines if line.name == "CPU pressure"]
    assert (line.ok, line.decides) == (False, decides)


def test_a_changed_limit_shows_its_default(tmp_path: Path) -> None:
    model = run(tmp_path, ["echo p90 < 800 ms"], health={"send_delay_p99_ms": 60})
    line = model.health[0]
    assert (line.limit, line.default) == (60.0, 40.0)
    assert "| 60 ms (default 40 ms) |" in (tmp_path / "report.md").read_text()
    assert model.health[1].default is None


# ---------------------------------------------------------------- files
def test_junit_has_a_case_for_each_rule_for_truth_and_for_health(tmp_path: Path) -> None:
    run(tmp_path, ["echo p50 < 1 ms", "ack p50 < 1 s", "guests.failed == 0"])
    suite = ET.parse(tmp_path / "junit.xml").getroot()[0]
    cases = {f"{case.get('classname')} {case.get('name')}": [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases == {
        "guestswarm.rules 1. echo p50 < 1 ms": ["failure"],
        "guestswarm.rules 2. ack p50 < 1 s": ["error"],
        "guestswarm.rules 3. guests.failed == 0": [],
        "guestswarm.truth measured equals the simulator's truth": [],
        "guestswarm.health the generator can be believed": [],
        "guestswarm.run verdict": ["failure"],
    }
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("6", "2", "1", "0")


def test_a_mismatch_fails_its_case_and_a_real_target_has_none(tmp_path: Path) -> None:
    guests = [leave(webchat(), (1, 2, 3))]
    truth = [line for line in guests[0].truth if line["row"] != "messages.returned"]
    xml = junit_xml(build_model(write_run(tmp_path / "a", guests, truth=truth)))
    assert "1 of 14 rows are not equal" in xml
    assert "messages.returned: 0 in truth, 3 measured" in xml
    assert "<skipped" in junit_xml(build_model(write_run(tmp_path / "b", guests, simulated=False)))


NASTY = "\x00\x1b[31m</testcase>]]>&\"'\ud800\ufffe\u202e|`*_<script>\n# x"


def test_foreign_text_stays_text(tmp_path: Path) -> None:
    rule = RuleResult(f"rule {NASTY}", Verdict.FAIL, sentence=NASTY, note=NASTY)
    folder = write_run(tmp_path, [leave(webchat(), (1, 2, 3))], scenario={"scenario": {"name": NASTY}})
    model = build_model(folder, verdicts=[rule])
    model.figures.failures = {NASTY: 3}
    root = ET.fromstring(junit_xml(model))
    assert len(list(root.iter("testcase"))) == 4
    text = report_markdown(model)
    text.encode()
    assert "<script>" not in text.replace(code(rule.rule), "")
    assert "\\<script\\>" in escaped(NASTY)
    assert "\x1b" not in text
    assert not any(line.startswith("# x") for line in text.splitlines())


@given(st.text())
def test_whatever_the_text_it_is_valid_xml(text: str) -> None:
    assert ET.fromstring(f"<a>{valid(text).replace('&', '').replace('<', '')}</a>") is not None


def test_markdown_tables_have_as_many_cells_as_their_heads(tmp_path: Path) -> None:
    run(tmp_path, ["echo p90 < 800 ms", "lost.possible == 0"])
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# ✓ PASS: small\n")
    cells = None
    for line in text.splitlines():
        if not line.startswith("|"):
            cells = None
            continue
        number = line.replace("\\|", "").count("|")
        assert cells in (None, number)
        cells = number


def test_files_are_the_same_each_time(tmp_path: Path) -> None:
    run(tmp_path, ["echo p90 < 800 ms"])
    before = {name: (tmp_path / name).read_bytes() for name in ("report.md", "junit.xml")}
    build_report(tmp_path)
    assert before == {name: (tmp_path / name).read_bytes() for name in before}


def test_a_bracket_leaves_a_rule_open_and_the_summary_shows_it(tmp_path: Path) -> None:
    from harness.verdicts.check import Evidence, check

    evidence = Evidence(
        {"echo|ok|response": Histogram.of([860_000] * 20_000), "echo|ok|response_low": Histogram.of([710_000] * 20_000)}, {}
    )
    found = check(parse("echo p99 < 800 ms"), evidence)
    model = build_model(write_run(tmp_path, [leave(webchat(), (1, 2, 3))]), verdicts=[found])
    assert model.verdict is Verdict.UNKNOWN
    assert json.dumps(model.reasons[0].text).startswith('"The bracket gives two answers')


# ---------------------------------------------------------------- while it runs
def test_the_live_view_takes_the_rules_states() -> None:
    live = LiveModel(rules=[LiveRule("p99 < 1 s", None, "echo"), LiveRule("lost.definite == 0")])
    live.take({"kind": "rules", "states": [True, False]}, 1.0)
    assert [rule.state for rule in live.view(1.0).rules] == [True, False]
    for states in ([True], "xx", None, [1, "x"]):
        live.take({"kind": "rules", "states": states}, 2.0)
    assert [rule.state for rule in live.view(2.0).rules] == [None, None]
