"""A service that answers late, or has too few agents, in steps too short for guests to give up: it never looks as if it held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.conformance.runner import Plan, run
from harness.conformance.subject import subject
from harness.core.pacing import Behaviour
from harness.core.spread import Spread, fixed, seconds
from harness.journal.reader import JournalReader
from harness.report.fold import intervals
from harness.report.jobs.capacity_step import measure_step
from harness.search.judge import ACHIEVED, ERRORS, judge_step
from harness.search.plan import StepLimits
from harness.search.steps import StepResult
from tests.report.history import manifest

GUESTS, RAMP, LOAD, DRAIN = 24, 1, 10, 3
RULE = "reply.response p95 < 600 ms"
QUICK = {"accept": "50ms", "reply": "100ms", "typing": "0s"}
THINKING = {
    "think_time": Spread("poisson", seconds(0.7)),
    "session_length": fixed(3600),
    "typing": 0.0,
    "attachments": 0.0,
    "reload": 0.0,
}


def played(folder: Path, agents: dict[str, Any], dialects: tuple[str, ...] = (), rule: str = RULE, **changes: Any) -> StepResult:
    """A step of ten seconds in virtual time: guests who think for 700 ms and give up after 15 s, and these agents."""
    behaviour = Behaviour(**{**THINKING, "reply_timeout": seconds(15), **changes})
    plan = Plan(
        dialects=dialects,
        guests=GUESTS,
        ramp=RAMP,
        seconds=RAMP + LOAD,
        loss_wait=DRAIN,
        interval=0.1,
        behaviour=behaviour,
        settings={"webmessaging": subject("webmessaging").made_settings(messages_per_second=0)},
        simulator={"agents": {**QUICK, **agents}},
    )
    outcome = run(plan, folder)
    records = list(intervals([JournalReader(outcome.journal)]))
    start, last = records[0].t0_ns, records[-1].t1_ns
    at = {"ramp": 0, "load": RAMP, "settle": RAMP + LOAD, "leave": RAMP + LOAD + DRAIN}
    guests = {"pacing": "think", "count": GUESTS, "think_time": "700ms"}
    told = manifest(
        run="soak",
        slo=[rule],
        phases={**{phase: start + seconds(s) for phase, s in at.items()}, "end": last},
        simulated=False,
        guests_planned=GUESTS,
        scenario={"scenario": {"name": "step"}, "guests": guests},
        authorisation={"ticket": "T"},
    )
    (folder / "manifest.json").write_text(json.dumps(told))
    return measure_step(folder, GUESTS, whole=True).result


def verdicts(result: StepResult) -> set[str]:
    return {judge_step(result, StepLimits(), final=final).verdict for final in (False, True)}


def test_agents_enough_hold(tmp_path: Path) -> None:
    result = played(tmp_path, {"number": 100})
    assert verdicts(result) == {"held"}
    assert result.rules[0].kept == result.rules[0].samples > 200
    assert result.rules[0].open < 20
    assert (result.errors, result.achieved) == (0, pytest.approx(1, abs=0.005))


@pytest.mark.parametrize("reply", ["2s", "14s"])
def test_a_late_service_breaks_though_nobody_gave_up(tmp_path: Path, reply: str) -> None:
    result = played(tmp_path, {"number": 100, "reply": reply})
    rule = result.rules[0]
    assert rule.samples - rule.kept >= GUESTS
    assert verdicts(result) == {"broke"}
    assert judge_step(result, StepLimits()).broken_by == RULE


def test_some_who_are_never_answered_are_counted_though_the_others_are_quick(tmp_path: Path) -> None:
    """Sixteen of twenty-four find an agent; the others speak and wait, or stand in line, by dialect."""
    result = played(tmp_path, {"number": 8, "concurrency": 2})
    judged = judge_step(result, StepLimits())
    assert judged.verdict == "broke", judged
    assert judged.broken_by in (RULE, ERRORS, ACHIEVED)


@pytest.mark.parametrize(("dialect", "by"), [("longpoll", ACHIEVED), ("webchat", ACHIEVED), ("engagements", ACHIEVED)])
def test_a_few_too_many_for_the_agents_of_one_dialect(tmp_path: Path, dialect: str, by: str) -> None:
    result = played(tmp_path, {"number": 10, "concurrency": 2}, (dialect,))
    judged = judge_step(result, StepLimits())
    assert (judged.verdict, judged.broken_by) == ("broke", by)


def test_a_step_shorter_than_its_limit_does_not_hold(tmp_path: Path) -> None:
    """Nobody can have missed a limit of 20 s in ten seconds; those who were answered are the quick ones."""
    result = played(tmp_path, {"number": 100, "reply": "8s±90%"}, rule="reply.response p95 < 20 s", reply_timeout=seconds(40))
    rule = result.rules[0]
    assert rule.open > rule.samples / 2
    assert verdicts(result) == {"undecided", "broke"}, judge_step(result, StepLimits())
    assert "were still under way at the end" in judge_step(result, StepLimits(), final=True).sentence
