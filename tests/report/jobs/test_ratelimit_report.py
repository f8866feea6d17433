"""The report of a rate-limit job: a fold over its folder, whatever that holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from harness.report.jobs.ratelimit import build
from harness.report.jobs.ratelimit_summary import RatelimitSummary, ratelimit_schema
from harness.report.plots.ratelimit import levels, traced
from harness.search.limits.judge import judge
from harness.search.limits.plan import ProbePlan
from harness.search.limits.trace import Asked
from harness.verdicts.lattice import Verdict

S = 10**9
MANIFEST: dict[str, Any] = {
    "schema": "guestswarm.manifest/1",
    "id": "2026-11-21T10-00-00Z-limits-abcd",
    "run": "abcd",
    "job": {"kind": "ratelimit"},
    "scenario": {"scenario": {"name": "limits"}, "ratelimit": {"suspected_window": "5s", "max_requests": 100, "sessions": 2}},
    "seed": 1,
    "dialects": ["webchat"],
    "simulated": True,
    "started_utc": "2026-11-21T10:00:00Z",
    "versions": {"guestswarm": "0.1.0"},
    "authorisation": None,
    "ended": "finished",
}
WHAT = "webchat: POST /oauth/token"


def trace(rate: float = 5.0, burst: float = 10.0) -> list[dict[str, Any]]:
    """Requests to a token bucket: a burst, then rounds."""
    tokens, stamp, lines, at = burst, 0.0, [], 0.0
    for n in range(90):
        at += 0.013 if n % 12 else 1.1
        tokens = min(burst, tokens + (at - stamp) * rate)
        stamp = at
        accepted = tokens >= 1
        tokens -= accepted
        lines.append(request(n, at, accepted))
    return lines


def request(n: int, at: float, accepted: bool | None, part: str = "rate") -> dict[str, Any]:
    return {
        "kind": "request",
        "what": WHAT,
        "part": part,
        "phase": "round",
        "as": [0, 0, 0, 0],
        "n": n,
        "sent_ns": round(at * S),
        "received_ns": round(at * S) + 400_000,
        "accepted": accepted,
        "status": 200 if accepted else 429,
        "retry_after_s": None if accepted else 1.0,
        "form": "seconds",
    }


def finding(lines: list[dict[str, Any]]) -> dict[str, Any]:
    rows = [
        Asked(n, "round", line["sent_ns"], line["received_ns"], line["accepted"], line["retry_after_s"])
        for n, line in enumerate(lines)
    ]
    return json.loads(json.dumps(judge(rows, ProbePlan(), stopped="answered").as_data(), default=float))  # type: ignore[no-any-return]


HEAD = {"kind": "probe", "what": WHAT, "dialect": "webchat", "endpoint": "POST /oauth/token", "held": False, "note": ""}
ADVICE = {"rate_per_s": 4.85, "burst": 8, "allowed_per_s": 5.0}
SCOPE = {"scope": "client", "why": "", "tried": [{"dimension": "credential", "result": "let in while the first was refused"}]}


def proof(ok: bool, refused: int, **more: Any) -> dict[str, Any]:
    known = {"n": 300, "refused": refused, "ok": ok, "sentence": f"{refused} of 300.", "sent_per_s": 4.85, "factor": 0.97}
    return {**known, "expected": "0", **more}


def folder(tmp_path: Path, *lines: dict[str, Any], **manifest: Any) -> Path:
    (tmp_path / "manifest.json").write_text(json.dumps({**MANIFEST, **manifest}))
    (tmp_path / "probes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def whole(tmp_path: Path, at: dict[str, Any] | None = None, over: dict[str, Any] | None = None, **manifest: Any) -> Path:
    lines = trace()
    return folder(
        tmp_path,
        {"kind": "begin", "at_ns": 0, "max_per_s": 100.0},
        HEAD,
        *lines,
        {"kind": "finding", "what": WHAT, "finding": finding(lines)},
        {"kind": "scope", "what": WHAT, "scope": SCOPE},
        {"kind": "recommendation", "what": WHAT, "recommendation": ADVICE},
        {"kind": "verification", "what": WHAT, "part": "at", "verification": at or proof(True, 0)},
        {"kind": "verification", "what": WHAT, "part": "over", "verification": over or proof(True, 27, factor=1.1)},
        {"kind": "end", "ended": "finished", "at_ns": 9},
        **manifest,
    )


def test_a_limit_that_was_found_and_proven_is_a_pass_said_in_the_first_sentence(tmp_path: Path) -> None:
    path = whole(tmp_path)
    (path / "recommended.toml").write_text("[guests]\nsend_rate = 1.0\n")
    report = build(path)
    assert (report.verdict, report.exit_code) == (Verdict.PASS, 0)
    assert report.reasons[0].text == "1 limit found on 1 endpoint or frame kind: `POST /oauth/token` 5.00/s, 10 at once."
    assert "Token bucket: 10 at once, then 5.00 a second, per credential. Send at most 4.85 a second in bursts of 8." in report.page
    assert "send_rate = 1.0" in report.page
    assert "send_rate = 1.0" in report.markdown
    summary = msgspec.json.decode(report.summary, type=RatelimitSummary)
    (limit,) = summary.limits
    assert (limit.kind, limit.scope, limit.burst) == ("token_bucket", "client", 10)
    assert limit.rate_per_s == pytest.approx(5.0, rel=0.05)
    assert limit.intervals.rate_per_s is not None
    assert limit.recommendation == ADVICE
    assert limit.verification["at"]["refused"] == 0
    assert summary.verification == {"proven": 1, "refused": 0, "not_proven": 0, "not_tried": 0}
    assert {case.get("name") for case in ElementTree.fromstring(report.junit).iter("testcase")} == {WHAT, "verdict"}


@pytest.mark.parametrize(
    ("again", "accepted", "said"),
    [(101.1, True, ("true", 1, 0)), (101.1, False, ("too short", 1, 1)), (None, True, ("not tested", 0, 0))],
)
def test_what_retry_after_promised_is_held_against_the_request_that_waited(
    tmp_path: Path, again: float | None, accepted: bool, said: tuple[str, int, int]
) -> None:
    """Where the identification never waited so long, the proof does once."""
    found = finding(trace())
    found["retry_after"] |= {"verdict": "not tested", "tested": 0, "broken": 0, "low_s": 1.0, "high_s": 1.0}
    pressed = [request(0, 100.0, True, "over"), request(1, 100.09, False, "over")]
    waited = [] if again is None else [request(0, again, accepted, "promise")]
    report = build(folder(tmp_path, HEAD, *trace(), {"kind": "finding", "what": WHAT, "finding": found}, *pressed, *waited))
    (limit,) = msgspec.json.decode(report.summary, type=RatelimitSummary).limits
    told = limit.retry_after or {}
    assert (told["verdict"], told["tested"], told["broken"]) == said
    assert (told["sent"], told["low_s"]) == (True, 1.0)


def test_the_same_folder_gives_the_same_bytes_within_their_budget(tmp_path: Path) -> None:
    path = whole(tmp_path)
    first, second = build(path), build(path)
    assert (first.page, first.summary, first.markdown, first.junit) == (
        second.page,
        second.summary,
        second.markdown,
        second.junit,
    )
    assert len(first.page) < 200_000
    assert first.page.count('role="img"') == 2


def test_a_refusal_at_the_setting_fails(tmp_path: Path) -> None:
    report = build(whole(tmp_path, at=proof(False, 3)))
    assert (report.verdict, report.exit_code) == (Verdict.FAIL, 1)
    assert report.reasons[0].code == "refused_at_setting"
    assert "3 of 300." in report.reasons[0].text
    assert [case.find("failure") is not None for case in ElementTree.fromstring(report.junit).iter("testcase")] == [True, True]


def test_a_limit_that_is_not_where_it_was_found_is_unknown(tmp_path: Path) -> None:
    report = build(whole(tmp_path, over=proof(False, 0, factor=1.1)))
    assert report.verdict == Verdict.UNKNOWN
    assert report.reasons[0].code == "not_proven"


def test_an_interrupted_job_says_what_its_requests_say(tmp_path: Path) -> None:
    path = folder(tmp_path, {"kind": "begin", "at_ns": 0, "max_per_s": 50.0}, HEAD, *trace(), ended="interrupted")
    with (path / "probes.jsonl").open("a") as file:
        file.write('{"kind":"request","what":"webc')
    report = build(path)
    assert (report.verdict, report.exit_code) == (Verdict.UNKNOWN, 130)
    assert [reason.code for reason in report.reasons] == ["incomplete", "incomplete", "answer"]
    assert "INCOMPLETE" in report.page
    (limit,) = json.loads(report.summary)["limits"]
    assert limit["kind"] == "token_bucket"
    assert limit["scope"] == "unknown"


def test_a_simulator_that_ended_is_said_and_nobody_stopped_the_job(tmp_path: Path) -> None:
    """Its probe process was told to end, and says so: that is no signal of the user's."""
    lines = [{"kind": "begin", "at_ns": 0, "max_per_s": 50.0}, HEAD, *trace(), {"kind": "end", "ended": "terminated", "at_ns": 9}]
    report = build(folder(tmp_path, *lines, ended="simulator_lost"))
    assert (report.verdict, report.exit_code) == (Verdict.UNKNOWN, 3)
    assert report.reasons[0].text == "The job did not come to its end: the simulator has ended."


def test_a_job_without_a_line_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({**MANIFEST, "ended": "killed"}))
    report = build(tmp_path)
    assert report.verdict == Verdict.UNKNOWN
    assert json.loads(report.summary)["limits"] == []


def test_what_no_dialect_says_is_said(tmp_path: Path) -> None:
    path = whole(tmp_path)
    lines = (path / "probes.jsonl").read_text()
    (path / "probes.jsonl").write_text('{"kind":"unprobed","dialect":"elsewhere"}\n' + lines)
    report = build(path)
    assert json.loads(report.summary)["unprobed"] == ["elsewhere"]
    assert any("elsewhere" in fact for fact in report.facts)


def test_somebody_elses_share_is_told_as_what_was_available_and_not_as_the_limit(tmp_path: Path) -> None:
    found = {**finding(trace()), "kind": "unknown", "shared": True, "available_per_s": 3.2, "confirmed": False}
    found = {**found, "rate_per_s": None, "burst": None}
    path = folder(
        tmp_path, HEAD, *trace(), {"kind": "finding", "what": WHAT, "finding": found}, {"kind": "end", "ended": "finished"}
    )
    report = build(path)
    assert report.verdict == Verdict.UNKNOWN
    assert "3.20 a second were available to us, which is not the limit" in report.reasons[0].text
    words = {"kind": "verification", "what": WHAT, "part": "at", "verification": proof(False, 2)}
    with (path / "probes.jsonl").open("a") as file:
        file.write(json.dumps(words) + "\n")
    report = build(path)
    assert report.verdict == Verdict.UNKNOWN  # what somebody else spends is no fault of the setting
    assert report.reasons[0].text.endswith("or several limits are at work. 2 of 300.")


def changed(path: Path, kind: str, **changes: Any) -> Path:
    """The folder with other words in the lines of one kind."""
    lines = [json.loads(line) for line in (path / "probes.jsonl").read_text().splitlines()]
    for line in lines:
        if line["kind"] == kind:
            line[kind] = {**line[kind], **changes}
    (path / "probes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_figure_that_is_hardly_known_is_no_pass_and_is_said_with_both_ends(tmp_path: Path) -> None:
    path = changed(whole(tmp_path), "recommendation", share_of_allowed=0.33)
    report = build(changed(path, "finding", rate_per_s=60.0, rate_interval={"low": 20.0, "high": 100.0}))
    assert report.verdict == Verdict.UNKNOWN
    assert report.reasons[0].code == "not_settled"
    assert "then 20 to 100 a second" in report.reasons[0].text


def test_no_refusal_means_nothing_where_nothing_was_answered(tmp_path: Path) -> None:
    none = {"kind": "none", "confirmed": True, "requests": 1000, "refused": 0, "lost": 1000}
    lines: list[dict[str, Any]] = [HEAD, {"kind": "finding", "what": WHAT, "finding": none}, {"kind": "end", "ended": "finished"}]
    report = build(folder(tmp_path, *lines))
    assert report.verdict == Verdict.UNKNOWN
    assert report.reasons[0].code == "unanswered"
    assert "1,000 of 1,000 requests had no answer" in report.reasons[0].text


def test_what_was_not_tried_above_the_limit_is_said_and_spoils_nothing(tmp_path: Path) -> None:
    over = {"n": 0, "refused": 0, "ok": None, "sentence": "10 % above the limit was not tried.", "factor": 1.1, "expected": ""}
    report = build(whole(tmp_path, over=over))
    assert report.verdict == Verdict.PASS
    assert "was not tried" in report.page


@pytest.mark.parametrize(
    ("part", "held"),
    [({"refused": 2, "ok": False}, "refused"), ({"refused": 0, "ok": False}, "not_proven"), ({"refused": 0, "ok": True}, "proven")],
)
def test_a_proof_that_was_too_short_is_not_called_a_refusal(tmp_path: Path, part: dict[str, Any], held: str) -> None:
    report = build(whole(tmp_path, at=proof(**part)))
    counts = json.loads(report.summary)["verification"]
    assert counts == {name: int(name == held) for name in ("proven", "refused", "not_proven", "not_tried")}


def test_the_schema_describes_what_is_written(tmp_path: Path) -> None:
    schema = ratelimit_schema()
    summary = json.loads(build(whole(tmp_path)).summary)
    whole_job = schema["$defs"]["RatelimitSummary"]
    assert set(whole_job["required"]) == set(whole_job["properties"]) == set(summary)
    assert set(schema["$defs"]["Limit"]["properties"]) == set(summary["limits"][0])


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "\u202e gnp.exe", "$x^2$", "\"'&"])
def test_nothing_that_a_server_or_a_name_says_reaches_the_page_as_it_is(tmp_path: Path, text: str) -> None:
    head = {**HEAD, "endpoint": text, "note": text}
    end = {"kind": "end", "ended": "finished"}
    report = build(folder(tmp_path, head, {"kind": "skipped", "what": WHAT, "dialect": text, "why": text}, end))
    assert "<script>alert" not in report.page
    assert "\u202e" not in report.page + report.junit
    ElementTree.fromstring(report.junit)


def from_first(limit: int = 12, window_s: float = 2.0) -> list[dict[str, Any]]:
    """Requests to a fixed window that begins with the first request after the last one's end: spent, and asked until it is back."""
    lines: list[dict[str, Any]] = []
    began, used, at = -window_s, 0, 0.0
    for pause in (0.0, 0.9, 0.1, 2.9, 0.5, 3.4):
        at += pause
        for n in range(limit + 20):
            if at - began >= window_s:
                began, used = at, 0
            used += 1
            lines.append(request(len(lines), at, used <= limit))
            at += 0.02 if n < limit + 2 else 0.11
    return lines


def test_where_a_fixed_window_begins_is_said_and_drawn(tmp_path: Path) -> None:
    lines = from_first()
    found = finding(lines)
    assert (found["kind"], found["anchor"], found["limit"], found["window_s"]) == ("fixed_window", "first_request", 12, 2.0)
    report = build(
        folder(
            tmp_path,
            {"kind": "begin", "at_ns": 0, "max_per_s": 100.0},
            HEAD,
            *lines,
            {"kind": "finding", "what": WHAT, "finding": found},
            {"kind": "end", "ended": "finished", "at_ns": 9},
        )
    )
    assert "Fixed window: 12 in each 2 s from a first request on" in report.page
    assert "with the first request after the last one&#39;s end" in report.page
    assert "fixed window from a first request" in report.markdown
    (limit,) = msgspec.json.decode(report.summary, type=RatelimitSummary).limits
    assert limit.anchor == "first_request"
    at, level, top = levels(
        found, traced([Asked(n, "", one["sent_ns"], one["received_ns"], one["accepted"]) for n, one in enumerate(lines)])
    )
    assert (top, level.max()) == (12, 12)
    assert level[at > at[-1] - 0.5].max() > 0


def test_what_may_be_open_at_once_is_said_as_so_many_guests(tmp_path: Path) -> None:
    found = {"kind": "concurrency", "confirmed": True, "limit": 4, "requests": 9, "refused": 3, "stopped": "answered"}
    advice = {"rate_per_s": None, "burst": 1, "hold": 4, "most_guests": 8, "most_guests_key": "count"}
    lines: list[dict[str, Any]] = [
        {"kind": "begin", "at_ns": 0, "max_per_s": 100.0},
        {**HEAD, "held": True},
        {"kind": "finding", "what": WHAT, "finding": found},
        {"kind": "recommendation", "what": WHAT, "recommendation": advice},
        {"kind": "end", "ended": "finished", "at_ns": 9},
    ]
    page = build(folder(tmp_path, *lines)).page
    assert "Hold at most 4 open, which is 8 guests at a time." in page
    assert "[guests] count; each holds one open" in page
