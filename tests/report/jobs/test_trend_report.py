"""`guestswarm trend` over folders of nights: verdicts, exit codes, refusals, the page, and acceptance."""

from __future__ import annotations

import json
from pathlib import Path
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
        ("versions.guestswarm", "0.2.0"),
        ("host.cpus", 8),
        ("workers", 4),
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
    [("scenario.scenario.seed", 9), ("versions.numpy", "3"), ("scenario.slo.rules", []), ("host.python", "3.13.0")],
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
    moved = {"series": [{"name": "target memory", "verdict": "SUSPECT"}, {"name": "rss", "verdict": "STABLE"}]}
    nights(tmp_path, 12)
    night(tmp_path, 13, soak=moved)
    assert trend(tmp_path, capsys)[0] == 0
    night(tmp_path, 14, soak=moved)
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
