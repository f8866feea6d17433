"""From a run folder to its summary: split and shuffled journals, spoilt truth, ends that were none, and one golden summary."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from harness.core import ops
from harness.errors import ExitCode, JournalError, RunFolderError
from harness.metrics.hlog import read_hlog
from harness.report.build import build_model, build_report
from harness.report.model import Model, measured_json
from harness.report.summary import read_summary, summary_json, summary_schema
from harness.report.text import columns, verdict_box, verdict_lines, verdict_text
from harness.verdicts.lattice import Bound, RuleResult, Verdict, compose
from tests.report import test_truth
from tests.report.history import MS, RUN, Guest, S, finish, leave, longpoll, webchat, write_journal, write_run

GOLDEN = Path(__file__).parent / "golden_summary.json"


def party() -> list[Guest]:
    """Some of everything."""
    rough = webchat(1, messages=6)
    test_truth.a_copy_on_the_same_connection(rough)
    test_truth.a_second_stored_copy(rough)
    rough.copy("a", 9, re=6, true=["messages.delivered"])
    rough.copy("a", 8, true=["messages.delivered", "reordered"])
    rough.true("lost.agent", rough.nonce("a", 7))
    rough.refused()
    rough.say(7)
    rough.true("lost.ingest", rough.nonce("g", 7))
    rough.say(8, "fail", "refusal", "refused", stored=False)
    leave(rough, range(1, 7), range(1, 7))
    cut = webchat(3)
    cut.say(4, "info", "end", "interrupted")
    cut.request("lookup", "GET /api/v2/routing/skillgroups", "info", "connection_reset", true=["cut"])
    cut.tick(2 * S)
    cut.end(complete=False)
    cut.close("server", 1012)
    cut.state("chatting", "finished")
    calm = [leave(webchat(slot), (1, 2, 3), (1, 2, 3)) for slot in range(4, 12)]
    return [rough, finish(longpoll(2)), cut, *calm]


def summary_of(folder: Path) -> bytes:
    build_report(folder)
    return (folder / "summary.json").read_bytes()


def codes(model: Model) -> list[str]:
    return [reason.code for reason in model.reasons]


# ---------------------------------------------------------------- laws


def test_splitting_by_guest_and_shuffling_files_gives_the_same_bytes(tmp_path: Path) -> None:
    whole = write_run(tmp_path / "whole", party())
    parts = write_run(tmp_path / "parts", party(), split=True)
    expected = summary_of(whole)
    assert summary_of(parts) == expected
    latencies = (whole / "latency.hlog").read_bytes()
    assert (parts / "latency.hlog").read_bytes() == latencies
    files = sorted(parts.glob("journal-*.bin"))
    for number, path in enumerate(files):
        path.rename(parts / f"journal-{(number * 7 + 3) % len(files)}-x.bin")
    assert summary_of(parts) == expected
    assert (parts / "latency.hlog").read_bytes() == latencies


def test_the_measured_part_does_not_know_the_truth(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    model = build_model(folder)
    assert model.verdict is Verdict.PASS
    measured = measured_json(model)
    truth = folder / "truth.jsonl"
    for content in (truth.read_bytes().replace(b'"', b"?"), b"", truth.read_bytes()[::-1], None):
        if content is None:
            truth.unlink()
        else:
            truth.write_bytes(content)
        spoilt = build_model(folder)
        assert measured_json(spoilt) == measured
        assert spoilt.verdict is Verdict.UNKNOWN
        assert {row.equal for row in spoilt.truth} == {None}


def test_building_twice_gives_the_same_bytes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    assert summary_of(folder) == summary_of(folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "journal-0.bin",
        "junit.xml",
        "latency.hlog",
        "manifest.json",
        "report.html",
        "report.md",
        "summary.json",
        "truth.jsonl",
    ]


def test_the_golden_summary(tmp_path: Path) -> None:
    raw = summary_of(write_run(tmp_path, party()))
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.write_bytes(raw)
    assert raw == GOLDEN.read_bytes()


def test_every_summary_fits_its_schema(tmp_path: Path) -> None:
    every: tuple[dict[str, Any], ...] = ({}, {"ended": None}, {"simulated": False})
    validator = jsonschema.Draft202012Validator(summary_schema())
    validator.check_schema(summary_schema())
    rules = [RuleResult("loss.possible == 0", Verdict.FAIL, Bound(2, 1, 3), samples=9)]
    for number, changes in enumerate(every):
        folder = write_run(tmp_path / str(number), party(), **changes)
        for given in ([], rules):
            raw = summary_json(build_model(folder, verdicts=given))
            validator.validate(json.loads(raw))
            assert read_summary(raw).run == f"2026-11-21T02-14-07Z-small-{RUN}"
    assert not validator.is_valid({**json.loads(raw), "extra": 1})
    assert list(json.loads(raw)) == sorted(json.loads(raw))


# ---------------------------------------------------------------- verdicts


def test_no_rules_and_equal_truth_pass(tmp_path: Path) -> None:
    model = build_model(write_run(tmp_path, party()))
    assert (model.verdict, model.exit_code, codes(model)) == (Verdict.PASS, ExitCode.PASS, ["truth_equal"])
    assert model.figures.complete
    assert model.reasons[0].text == "No rule was asked for; truth equal in 14 of 14 rows."


def test_a_mismatch_comes_before_all_else(tmp_path: Path) -> None:
    guests = party()
    test_truth.drop(guests[0], "reordered")
    folder = write_run(tmp_path, guests, ended=None)
    model = build_model(folder, verdicts=[RuleResult("x", Verdict.FAIL)])
    assert (model.verdict, model.exit_code) == (Verdict.UNKNOWN, 70)
    assert codes(model) == ["harness_mismatch", "rule_broken", "incomplete"]
    assert model.reasons[0].text == (
        "The harness contradicts the simulator: `reordered` is 0 in truth and 1 measured (ab12.1-1.a.8)."
        " This is a fault of guestswarm."
    )
    guests[0].true("reordered", f"{RUN}.9-9.a.1")
    text = build_model(write_run(tmp_path, guests)).reasons[0].text
    assert "`reordered` is 1 in truth and 1 measured, but they are not the same ones (ab12.1-1.a.8, ab12.9-9.a.1)" in text


def test_rules_decide(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    held, broken, unknown = (RuleResult(str(v), v, sentence=f"It is {v}.") for v in (Verdict.PASS, Verdict.FAIL, Verdict.UNKNOWN))
    for given, verdict, code in (
        ([held], Verdict.PASS, ExitCode.PASS),
        ([held, broken, unknown], Verdict.FAIL, ExitCode.FAIL),
        ([held, unknown], Verdict.UNKNOWN, ExitCode.UNKNOWN),
    ):
        model = build_model(folder, verdicts=given)
        assert (model.verdict, model.exit_code) == (verdict, code)
    (folder / "truth.jsonl").unlink()
    model = build_model(folder, verdicts=[held])
    assert (model.verdict, codes(model)) == (Verdict.PASS, ["rules_held"])


def test_a_broken_truth_is_unknown_even_where_rules_hold(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    path = folder / "truth.jsonl"
    path.write_bytes(path.read_bytes().replace(b"reordered", b"neordered"))
    model = build_model(folder, verdicts=[RuleResult("x", Verdict.PASS)])
    assert (model.verdict, codes(model), model.truth_state) == (Verdict.UNKNOWN, ["truth_broken"], "broken")


def test_a_real_target_has_no_truth_and_needs_a_rule(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party(), simulated=False)
    model = build_model(folder)
    assert (model.verdict, codes(model), model.truth) == (Verdict.UNKNOWN, ["no_rules"], [])
    assert build_model(folder, verdicts=[RuleResult("x", Verdict.PASS)]).verdict is Verdict.PASS


def test_nothing_sent_is_unknown(tmp_path: Path) -> None:
    guest = Guest("1-0")
    guest.state("", "arriving")
    for _ in range(3):
        guest.token(outcome="fail", cause="connect_refused", granted=False)
    model = build_model(write_run(tmp_path, [guest]), verdicts=[RuleResult("x", Verdict.PASS)])
    assert (model.verdict, codes(model)) == (Verdict.UNKNOWN, ["no_samples"])
    assert "`connect_refused` (3 times)" in model.reasons[0].text
    assert model.figures.guests.failed == 1


def test_a_late_generator_makes_rules_unknown_and_without_rules_only_warns(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party(), health={"send_delay_p99_ms": -1})
    model = build_model(folder, verdicts=[RuleResult("x", Verdict.PASS)])
    assert (model.verdict, codes(model)) == (Verdict.UNKNOWN, ["generator"])
    said = "The generator cannot be believed: send delay p99 was 0 ms, the limit is -1 ms."
    assert model.reasons[0].text == f"{said} The rule would have held."
    model = build_model(folder)
    assert model.verdict is Verdict.PASS
    assert [(line.name, line.ok) for line in model.health if line.value is not None] == [
        ("send delay p99", False),
        ("sent/planned", True),
        ("workers lost", True),
        ("guests come/planned", True),
        ("late sends", False),
    ]
    assert "Believable: generator healthy but for send delay p99, late sends, truth equal in 14 of 14 rows." in verdict_lines(model)


def test_rows_that_the_recorder_could_not_take_are_unknown(tmp_path: Path) -> None:
    guest = leave(webchat(), (1, 2, 3))
    guest.row(ops.Noted(guest.at, guest.label, "recorder.fault"))
    model = build_model(write_run(tmp_path, [guest]), verdicts=[RuleResult("x", Verdict.PASS)])
    assert (model.verdict, codes(model)) == (Verdict.UNKNOWN, ["recorder_fault"])


def test_composition() -> None:
    assert compose([]) is Verdict.UNKNOWN
    assert compose([Verdict.PASS, Verdict.PASS]) is Verdict.PASS
    assert compose([Verdict.PASS, Verdict.UNKNOWN]) is Verdict.UNKNOWN
    assert compose([Verdict.UNKNOWN, Verdict.FAIL, Verdict.PASS]) is Verdict.FAIL


# ---------------------------------------------------------------- ends that were none


def test_a_killed_run_says_where_it_ended(tmp_path: Path) -> None:
    guests = [webchat(1), longpoll(2)]
    folder = write_run(tmp_path, guests, sealed=False, ended=None, planned={"ramp_ns": 60 * S, "duration_ns": 300 * S})
    write_journal(folder / "journal-0.bin", sorted((r for g in guests for r in g.rows), key=lambda r: r.at_ns), "w0", final=False)
    path = folder / "journal-0.bin"
    path.write_bytes(path.read_bytes()[:-5])
    model = build_model(folder)
    assert (model.verdict, model.exit_code, codes(model)) == (Verdict.UNKNOWN, 3, ["incomplete", "truth_not_compared"])
    assert model.reasons[0].text == "The run ended at 0:18 of 6:00 (killed). Up to 1 s is missing."
    assert not model.figures.complete
    assert model.figures.guests.failed is None


def test_a_killed_run_before_its_first_interval(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party(), ended=None)
    for name in ("journal-0.bin", "truth.jsonl"):
        (folder / name).unlink()
    model = build_model(folder)
    assert model.reasons[0].text == "The run ended (killed). Nothing was journalled."
    assert codes(model)[1:] == ["no_samples", "truth_not_compared"]
    summary = json.loads(summary_json(model))
    assert summary["guests"] == {"planned": 2, "peak": None, "finished": None, "failed": None}
    assert {row["measured"] for row in summary["truth"]} == {None}


@pytest.mark.parametrize(
    ("ended", "code", "text"),
    [
        ("interrupted", 130, "Stopped by Ctrl-C at 0:20 of 6:00."),
        ("terminated", 143, "Stopped by SIGTERM at 0:20 of 6:00."),
        ("window", 3, "The run ended at 0:20 of 6:00 (window)."),
    ],
)
def test_a_stopped_run(tmp_path: Path, ended: str, code: int, text: str) -> None:
    folder = write_run(tmp_path, party(), ended=ended, planned={"ramp_ns": 60 * S, "duration_ns": 300 * S})
    model = build_model(folder)
    assert (model.verdict, model.exit_code, model.reasons[0].text) == (Verdict.UNKNOWN, code, text)
    assert not model.figures.complete
    assert {row.equal for row in model.truth} == {True}
    failed = build_model(folder, verdicts=[RuleResult("x", Verdict.FAIL)])
    assert failed.verdict is Verdict.FAIL


def test_a_lost_worker_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party(), split=True)
    path = folder / "journal-3.bin"
    raw = path.read_bytes()
    path.write_bytes(raw[: len(raw) - 40])
    model = build_model(folder)
    assert not model.figures.complete
    assert codes(model) == ["worker_lost"]
    assert model.reasons[0].text == "The journal of worker w3 has no end. Up to 1 s is missing."


def test_a_spoilt_chunk_in_the_middle_is_said(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    path = folder / "journal-0.bin"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    model = build_model(folder)
    assert model.verdict is Verdict.UNKNOWN
    assert "cannot be read" in " ".join(reason.text for reason in model.reasons)


def test_rows_left_out_are_no_basis_for_truth(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [])
    from harness.journal.writer import JournalWriter
    from harness.metrics.recorder import Recorder

    (folder / "journal-0.bin").unlink()
    writer = JournalWriter(folder / "journal-0.bin", RUN, "w0")
    recorder = Recorder(RUN, "w0", writer.write, rows="anomalies")
    for row in leave(webchat(), (1, 2, 3)).rows:
        recorder.record(row)
    recorder.close_interval(9 * S, final=True)
    writer.close()
    model = build_model(folder)
    assert (model.truth_state, codes(model)) == ("rows", ["truth_not_compared"])
    assert {row.equal for row in model.truth} == {None}


def test_what_is_no_run_or_no_journal_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError):
        build_report(tmp_path)
    folder = write_run(tmp_path, [])
    (folder / "journal-7.bin").write_bytes(b"something else entirely, and long enough")
    with pytest.raises(JournalError):
        build_report(folder)


# ---------------------------------------------------------------- figures


def test_what_guests_left_behind_is_told_and_in_no_rate(tmp_path: Path) -> None:
    guest = webchat(1, messages=6)
    for seq, cause in ((1, "interrupted"), (2, "interrupted"), (3, "interrupted"), (4, "session_closed")):
        end, outcome = guest.tick(), "info" if cause == "interrupted" else "fail"
        guest.row(ops.Sample(end, guest.label, "reply", outcome, cause, end - 70 * MS, end - 60 * MS, end, 0, str(seq), ""))
    folder = write_run(tmp_path, [leave(guest, range(1, 7))], slo=["reply.failed == 0"])
    summary = json.loads(summary_of(folder))
    assert summary["censored"] == {"reply": 3}
    assert summary["failures"] == {"session_closed": 1}
    assert summary["measures"]["reply"]["failed"]["service"]["n"] == 1
    assert [(rule["observed"], rule["verdict"]) for rule in summary["slo"]] == [(1, "FAIL")]
    words = "3 replies were still awaited when their guests left as planned; they are in no rate."
    assert words in (folder / "report.html").read_text()
    assert words in (folder / "report.md").read_text()


def test_figures_are_in_milliseconds_and_withheld_where_samples_are_few(tmp_path: Path) -> None:
    summary = json.loads(summary_of(write_run(tmp_path, party())))
    echo = summary["measures"]["echo"]["ok"]["service"]
    assert echo["n"] == 34
    assert echo["p50_ms"] == pytest.approx(10, rel=0.01)
    assert echo["p90_ms"] is None
    assert echo["max_ms"] == echo["p50_ms"]
    assert set(summary["measures"]["poll.hold"]["ok"]) == {"span"}
    assert summary["measures"]["lookup"]["failed"]["response"]["n"] == 1
    assert summary["failures"] == {"connection_reset": 1, "rate_limited": 1}
    assert summary["anomalies"]["reordered"] == {"low": 1, "high": 1, "ids": ["ab12.1-1.a.8"]}
    assert summary["anomalies"]["lost"]["low"] == 2
    assert summary["anomalies"]["disconnects"]["low"] == 1
    assert summary["guests"] == {"planned": 2, "peak": 11, "finished": 11, "failed": 0}


def test_the_log_holds_every_latency(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    build_report(folder)
    with (folder / "latency.hlog").open() as source:
        lines = read_hlog(source)
    tagged = [line for line in lines if line.tag == "echo|ok|service"]
    assert sum(line.histogram.count for line in tagged) == 34
    whole = sum(line.histogram.count for line in lines if not line.tag)
    assert whole == sum(line.histogram.count for line in lines if line.tag.endswith("|ok|response"))


# ---------------------------------------------------------------- words


def rules() -> list[RuleResult]:
    return [
        RuleResult("ack.response p99 < 1 s", Verdict.PASS),
        RuleResult("echo.response p99 < 800 ms", Verdict.FAIL, Bound(1016, 894, 1146), "ms", 71276, "Echo p99 was 1,016 ms."),
        RuleResult("refresh.gap p99.9 < 2 s", Verdict.UNKNOWN, samples=1204, note="needs 10,000"),
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 300])
@pytest.mark.parametrize("ascii_only", [False, True])
def test_the_box_is_as_wide_as_it_should_be(tmp_path: Path, width: int, ascii_only: bool) -> None:
    model = build_model(write_run(tmp_path, party()), verdicts=rules())
    lines = verdict_box(model, width, ascii_only=ascii_only).split("\n")
    assert {columns(line) for line in lines} == {max(40, min(width, 100))}
    assert "FAIL" in lines[0]
    assert "exit 1" in lines[-1]
    assert not ascii_only or "".join(lines).isascii()


def test_the_box_says_what_the_lines_say(tmp_path: Path) -> None:
    folder = write_run(tmp_path, party())
    model = build_model(folder, verdicts=rules())
    assert verdict_box(model, 90) == "\n".join(
        [
            "┏━ ✕ FAIL ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓",
            "┃ Echo p99 was 1,016 ms. 1 of 3 rules is broken, 1 not judged.                           ┃",
            "┃ `refresh.gap p99.9 < 2 s`: nothing was measured.                                       ┃",
            "┃                                                                                        ┃",
            "┃ ✕ echo.response p99 < 800 ms   1,016 ms   894 – 1,146   n 71,276                       ┃",
            "┃ ? refresh.gap p99.9 < 2 s      –   needs 10,000   n 1,204                              ┃",
            "┃ ✓ 1 more held                                                                          ┃",
            "┃                                                                                        ┃",
            "┃ Believable: generator healthy, truth equal in 14 of 14 rows.                           ┃",
            "┃ 11 guests, 38 messages, lost 2, duplicated 2, reordered 1.                             ┃",
            "┃ Seen: duplicates-by-server, out-of-order, rate-limited.                                ┃",
            "┗" + "━" * 77 + " exit 1 ━━━┛",
        ]
    )
    plain = verdict_lines(build_model(folder))
    assert plain == [
        "✓ PASS",
        "No rule was asked for; truth equal in 14 of 14 rows.",
        "Believable: generator healthy, truth equal in 14 of 14 rows.",
        "11 guests, 38 messages, lost 2, duplicated 2, reordered 1.",
        "Seen: duplicates-by-server, out-of-order, rate-limited.",
        "exit 0",
    ]
    assert verdict_text(model, width=None) == "\n".join(verdict_lines(model))
    assert verdict_text(model, width=80, color=True).startswith("\x1b[31m┏━ ✕ FAIL")


def test_what_a_server_wrote_cannot_steer_the_terminal(tmp_path: Path) -> None:
    rule = RuleResult("x", Verdict.FAIL, sentence="say \x1b[2J\u202etxt\r\n twice")
    text = verdict_text(build_model(write_run(tmp_path, party()), verdicts=[rule]), width=80)
    assert not {"\x1b", "\u202e", "\r"} & set(text)


# ------------------------------------------------------------------ clocks
def stamped(*, jump_ns: int = 0, slow_ns: int = 0) -> Guest:
    """A guest whose messages come back with stamps of a server 3 s ahead, which at half time steps."""
    guest = webchat(1, messages=0)
    wall = 1_795_227_250 * S
    for seq in range(1, 31):
        guest.say(seq)
        sent, stamp = guest.at - 10_000_000, guest.at - 9_000_000 + wall + (jump_ns if seq > 15 else 0)
        for direction in ("g", "a"):
            guest.copy(
                direction,
                seq,
                re=seq if direction == "a" else 0,
                true=["messages.delivered" if direction == "a" else "messages.returned"],
            )
            row = guest.rows[-1]
            assert isinstance(row, ops.Arrived)
            row.server_ns, row.clock, row.sent_ns = stamp // 1000 * 1000, "webchat message", sent if direction == "g" else 0
        guest.tick(slow_ns)
    return leave(guest, range(1, 31), range(1, 31))


def test_one_way_figures_are_given_only_where_the_clock_resolves(tmp_path: Path) -> None:
    rule = "event.lag p50 < 1 min"
    good = build_report(write_run(tmp_path / "good", [stamped()], slo=[rule]))
    assert good.figures.one_way.state == "too wide"  # 19 ms of doubt and 29 ms of delay
    assert set(good.figures.measures["event.lag"]["ok"]) == {"spread"}
    step = build_report(write_run(tmp_path / "step", [stamped(jump_ns=-2 * S)], slo=[rule]))
    for model, words in ((good, "skew not resolved"), (step, "clock_unresolvable")):
        assert model.rules[0].verdict is Verdict.UNKNOWN
        assert words in model.rules[0].sentence
        assert any(words in line.lower() for line in verdict_lines(model))
    assert "event.lag" not in step.figures.measures
    found = read_summary((tmp_path / "step" / "summary.json").read_bytes())
    assert found.one_way.state == "unresolvable"
    assert found.clocks[0].contradiction_ms == pytest.approx(2000, abs=50)
    assert "figures are dropped" in (tmp_path / "step" / "report.md").read_text()
    assert "All one-way figures are dropped" in (tmp_path / "step" / "report.html").read_text()
    clock = good.figures.clocks[0]
    assert clock.low_ms is not None
    assert clock.high_ms is not None
    assert clock.low_ms <= 3000 <= clock.high_ms
