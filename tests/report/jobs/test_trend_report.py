"""`guestswarm trend` over folders of nights: verdicts, exit codes, refusals, the page, and acceptance."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest

from harness.cli.main import main
from tests.report.jobs.night_folders import night, nights


def trend(runs: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict]:
    code = main(["trend", "nightly", "--runs", str(runs), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


def test_an_unchanged_night_passes_and_a_slower_one_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path / "a", 15)
    code, told = trend(tmp_path / "a", capsys)
    assert (code, told["verdict"], told["exit_code"]) == (0, "PASS", 0)
    assert {one["metric"]["name"] for one in told["metrics"]} == {f"echo.response p{n}" for n in (50, 95, 99)} | {"messages.rate"}
    nights(tmp_path / "b", 15, last=1.25)
    code, told = trend(tmp_path / "b", capsys)
    assert (code, told["verdict"]) == (1, "FAIL")
    assert "above the median of the last 14 good nights" in told["reasons"][0]["text"]
    states = {one["metric"]["name"]: one["state"] for one in told["metrics"]}
    assert states["echo.response p95"] == "REGRESSION"
    assert states["echo.response p99"] == "NO VALUE"  # withheld, not invented


def test_a_few_nights_are_no_baseline_and_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 7, last=3.0)
    code, told = trend(tmp_path, capsys)
    assert (code, told["verdict"]) == (3, "UNKNOWN")
    assert told["reasons"][0]["text"] == "NO BASELINE. There are 6 good nights before tonight; 1 more is needed."


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scenario.guests.count", 120),
        ("scenario.load.duration", "1h"),
        ("scenario.load.duration", "6h20min"),
        ("versions.guestswarm", "0.2.0"),
        ("host.cpus", 8),
        ("workers", 4),
        ("tls", True),
        ("simulated", False),
    ],
)
def test_nights_that_differ_in_what_matters_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    nights(tmp_path, 12)
    night(tmp_path, 13, changes={key: value})
    code, told = trend(tmp_path, capsys)
    assert (code, told["verdict"]) == (3, "UNKNOWN")
    assert all(one["fit"] for one in told["nights"][:-1])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scenario.load.duration", "28791s"),
        ("scenario.load.duration", "7h"),
        ("scenario.health", {}),
        ("scenario.scenario.seed", 9),
        ("versions.numpy", "3"),
        ("scenario.slo.rules", []),
        ("host.python", "3.13.0"),
    ],
)
def test_what_does_not_matter_is_no_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str], key: str, value: object) -> None:
    nights(tmp_path, 12)
    night(tmp_path, 13, changes={key: value})
    assert trend(tmp_path, capsys)[0] == 0


def test_one_more_lost_message_fails_whatever_the_statistics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 12)
    night(tmp_path, 13, anomalies={"lost": 1})
    code, told = trend(tmp_path, capsys)
    assert (code, told["reasons"][0]["code"]) == (1, "correctness")
    assert told["reasons"][0]["text"] == "Messages lost: 1 tonight, 0 accepted. Any increase fails."


def test_a_night_that_was_not_judged_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 12)
    night(tmp_path, 13, verdict="UNKNOWN", p95=900)
    assert trend(tmp_path, capsys)[0] == 3


def test_a_series_of_soaks_that_moves_twice_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = [{"name": "target memory", "verdict": "SUSPECT"}, {"name": "rss", "verdict": "STABLE"}]
    nights(tmp_path, 12)
    night(tmp_path, 13, series=moved)
    assert trend(tmp_path, capsys)[0] == 0
    night(tmp_path, 14, series=moved)
    code, told = trend(tmp_path, capsys)
    assert (code, told["repeated"]) == (1, ["target memory"])


def test_an_accepted_level_is_written_down_and_held(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = nights(tmp_path, 15, last=1.4)
    assert trend(tmp_path, capsys)[0] == 1
    for day in range(16, 24):
        night(tmp_path, day, p95=280 * (1 + 0.02 * (day % 3 - 1)))
    assert trend(tmp_path, capsys)[0] == 1
    code, told = trend(tmp_path, capsys, "--accept", made[-1].name, "--reason", "a slower disk")
    assert code == 0
    assert min(told["baseline"]["echo.response p95"]) == made[-1].name
    kept = json.loads((tmp_path / "accepted.json").read_text())
    assert [(one["id"], one["reason"]) for one in kept["nights"]] == [(made[-1].name, "a slower disk")]


def test_a_broken_list_of_acceptances_is_said_and_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 8)
    (tmp_path / "accepted.json").write_text("{}")
    assert main(["trend", "nightly", "--runs", str(tmp_path)]) != 0
    assert "accepted.json" in capsys.readouterr().err
    assert (tmp_path / "accepted.json").read_text() == "{}"


def test_an_unknown_scenario_names_those_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 2)
    assert main(["trend", "nightlyy", "--runs", str(tmp_path)]) != 0
    assert "nightly" in capsys.readouterr().err.split("Scenarios there:")[1]


def test_page_markdown_and_junit_say_the_same_and_the_same_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 15, last=1.25)
    assert main(["trend", "nightly", "--runs", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    folder = tmp_path / "trend" / "nightly"
    first = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(first) == {"report.html", "report.md", "junit.xml", "summary.json"}
    assert len(first["report.html"]) < 600_000
    assert "REGRESSION. Tonight&#39;s echo.response p" in first["report.html"].decode()
    assert "REGRESSION" in first["report.md"].decode()
    suite = ElementTree.fromstring(first["junit.xml"])
    assert int(suite.attrib["failures"]) == 2
    assert "exit 1" in said
    assert main(["trend", "nightly", "--runs", str(tmp_path)]) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


def test_what_others_wrote_is_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 9)
    night(tmp_path, 10, changes={"versions.guestswarm": "<script>alert(1)</script>"})
    main(["trend", "nightly", "--runs", str(tmp_path)])
    page = (tmp_path / "trend" / "nightly" / "report.html").read_text()
    assert "<script>alert" not in page


def test_a_soak_that_is_open_only_by_its_trends_is_a_night_like_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doubts = [{"code": "trend_unknown", "text": "x"}, {"code": "rules_held", "text": "y"}]
    for day in range(1, 13):
        night(tmp_path, day, p95=200 + day % 3, verdict="UNKNOWN", complete=True, reasons=doubts)
    assert trend(tmp_path, capsys)[0] == 0
    night(tmp_path, 13, p95=300, verdict="UNKNOWN", complete=True, reasons=doubts)
    assert trend(tmp_path, capsys)[0] == 1
    night(tmp_path, 14, p95=300, verdict="UNKNOWN", complete=True, reasons=[*doubts, {"code": "generator", "text": "z"}])
    assert trend(tmp_path, capsys)[0] == 3


@pytest.mark.parametrize(
    "damage", ["{", "[]", '{"schema": "guestswarm.summary/2"}', '{"measures": 3}', None, "manifest", "[" * 100_000]
)
def test_a_damaged_night_is_left_out_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str | None
) -> None:
    made = nights(tmp_path, 12)
    if damage is None:
        (made[3] / "summary.json").unlink()
    elif damage == "manifest":
        (made[3] / "manifest.json").write_text("not JSON")
    else:
        (made[3] / "summary.json").write_text(damage)
    code, told = trend(tmp_path, capsys)
    assert code == 0
    (one,) = [one for one in told["nights"] if one["fit"]]
    assert one["id"] == made[3].name
    assert ("manifest" if damage == "manifest" else "summary") in one["fit"]


def test_a_summary_without_load_or_series_is_of_an_older_version_and_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in nights(tmp_path, 12)[:4]:
        told = json.loads((path / "summary.json").read_text())
        del told["load"]
        (path / "summary.json").write_text(json.dumps(told))
    code, told = trend(tmp_path, capsys)
    assert code == 0
    assert (len(told["baseline"]["messages.rate"]), len(told["baseline"]["echo.response p95"])) == (7, 11)


def test_a_search_of_the_same_scenario_is_no_night(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = nights(tmp_path, 12)
    search = night(tmp_path, 13, p95=900, changes={"job": {"kind": "capacity"}})
    code, told = trend(tmp_path, capsys)
    assert (code, told["run"]) == (0, made[-1].name)
    assert main(["trend", search.name, "--runs", str(tmp_path)]) == 2
    assert "capacity" in capsys.readouterr().err


def test_a_run_that_goes_on_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 9)
    (night(tmp_path, 10, changes={"ended": None}) / "summary.json").unlink()
    assert main(["trend", "nightly", "--runs", str(tmp_path)]) == 2
    assert "goes on, or was killed" in capsys.readouterr().err


def test_a_measure_that_is_gone_is_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = nights(tmp_path, 12)
    told = json.loads((made[-1] / "summary.json").read_text())
    told["measures"] = {}
    (made[-1] / "summary.json").write_text(json.dumps(told))
    code, told = trend(tmp_path, capsys)
    assert (code, told["reasons"][0]["code"]) == (3, "no_value")
    assert told["reasons"][0]["text"] == "Tonight has no figures of echo.response; 11 good nights before had them."


def test_noise_in_every_percentile_is_no_pass_however_steady_the_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for day in range(1, 14):
        night(tmp_path, day, p95=300 if day % 2 else 200)
    code, told = trend(tmp_path, capsys)
    assert (code, told["reasons"][0]["code"]) == (3, "noisy")


def test_entries_by_hand_stay_where_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = nights(tmp_path, 9)
    given = ["by hand", 3, {"id": 7}]
    (tmp_path / "accepted.json").write_text(json.dumps({"schema": "guestswarm.accepted/1", "nights": given}))
    assert trend(tmp_path, capsys, "--accept", made[-1].name)[0] == 0
    kept = json.loads((tmp_path / "accepted.json").read_text())["nights"]
    assert (kept[:3], kept[3]["id"]) == (given, made[-1].name)


def test_only_a_night_of_this_scenario_can_be_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 9)
    other = night(tmp_path, 8 + 12, changes={"scenario.scenario.name": "other"})
    assert main(["trend", "nightly", "--runs", str(tmp_path), "--accept", other.name]) == 2
    assert not (tmp_path / "accepted.json").exists()


def test_pruning_makes_no_regression_the_normal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = nights(tmp_path, 10)
    assert trend(tmp_path, capsys)[0] == 0
    for day in range(11, 27):
        made.append(night(tmp_path, day, p95=280 * (1 + 0.02 * (day % 3 - 1))))
        shutil.rmtree(made[day - 11])
        assert trend(tmp_path, capsys)[0] == 1, day
    made.append(night(tmp_path, 27, p95=280, changes={"scenario.guests.count": 7}))
    assert trend(tmp_path, capsys)[0] == 3  # a single run with another load
    made.append(night(tmp_path, 28, p95=280))
    code, told = trend(tmp_path, capsys)
    assert code == 1
    assert told["baseline"]["echo.response p95"][0] == made[0].name


def test_a_damaged_memory_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 9)
    (tmp_path / "nights-nightly.json").write_text("{}")
    assert main(["trend", "nightly", "--runs", str(tmp_path)]) == 2
    assert "nights-nightly.json" in capsys.readouterr().err


def test_a_lasting_change_fails_in_words_and_in_junit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = Random(3)
    for day in range(1, 30):
        night(tmp_path, day, p95=(200 if day < 18 else 216) * math.exp(rng.gauss(0, 0.025)))
    code, told = trend(tmp_path, capsys)
    assert (code, told["reasons"][0]["code"]) == (1, "standing")
    assert "above its level before 2026-10-" in told["reasons"][0]["text"]
    suite = ElementTree.fromstring((tmp_path / "trend" / "nightly" / "junit.xml").read_text())
    assert int(suite.attrib["failures"]) == len(told["standing"]) > 0


def test_scenarios_of_like_names_share_no_nights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights(tmp_path, 9)
    assert trend(tmp_path, capsys)[0] == 0
    night(tmp_path, 20, changes={"scenario.scenario.name": "Nightly!\x1b[31m"})
    assert main(["trend", "Nightly!\x1b[31m", "--runs", str(tmp_path), "--json"]) == 3
    assert [one["id"][:10] for one in json.loads(capsys.readouterr().out)["nights"]] == ["2026-10-20"]
    assert main(["trend", "nope", "--runs", str(tmp_path)]) == 2
    assert "\x1b" not in capsys.readouterr().err
