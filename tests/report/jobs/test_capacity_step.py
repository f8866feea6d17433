"""What a step measured, from its journal: the steady part alone, by blocks of time, every figure as it was put in."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from harness.journal.codec import INTERVAL, array_of, chunk, header_chunk
from harness.journal.records import Interval
from harness.metrics.histogram import Histogram
from harness.report.jobs.capacity_step import BLOCKS, measure_step
from harness.search.steps import StepResult
from tests.report.history import MS, RUN, S, manifest

EVERY = S // 10
RAMP = 2 * S
GUESTS = 50
RULES = ["reply p95 < 600 ms", "messages.failed rate < 1 %", "lost.definite == 0", "messages.rate > 5 /s"]


def interval(
    number: int,
    *,
    response_ms: list[int],
    waiting: float,
    guests: int = 0,
    failed: int = 0,
    timeouts: int = 0,
    leaving: int = 0,
    lost: int = 0,
    delay_ms: int = 1,
    requests: int = 0,
) -> Interval:
    """A tenth of a second in which these replies came, `waiting` guests waited on average and the others thought."""
    t0 = number * EVERY
    counters = {"messages|invoked": len(response_ms) + failed, "messages|ok": len(response_ms), "messages|info": failed}
    if requests:
        counters["requests|POST /api/v2/guests|ok"] = requests
        counters["requests|WS /api/v2/guests/{id}/ws|ok"] = requests
    if timeouts:
        counters["failed|reply|info|reply_timeout"] = timeouts
    if leaving:
        counters["failed|reply|info|interrupted"] = leaving
        counters["messages.failed|info|unconfirmed"] = leaving
        counters["messages|info"] += leaving
    if lost:
        counters["lost.definite|a"] = lost
    if guests:
        counters["guests.arrived"] = guests
    histograms = {
        "reply|ok|response": Histogram.of([1000 * ms for ms in response_ms]).sparse(),
        "reply|ok|service": Histogram.of([1000 * ms for ms in response_ms]).sparse(),
        "send_delay|message|delay": Histogram.of([1000 * delay_ms] * len(response_ms)).sparse(),
    }
    health = {
        "little.replies.area_ns": waiting * EVERY,
        "little.guests.area_ns": float(GUESTS * EVERY),
        "little.guests.spent_ns": float(sum(response_ms) * MS),
        "little.guests.done": float(len(response_ms)),
        "wall_ns": float(EVERY),
        "loop.busy_ns": 0.1 * EVERY,
    }
    gauges = {"guests|chatting": guests} if guests else {}
    return Interval(t0, t0 + EVERY, "1", number, False, "all", 0, counters, gauges, histograms, {}, health)


def step(folder: Path, records: list[Interval], *, load_s: float = 12, **changes: Any) -> Path:
    """The run folder of a step: 2 s of ramp, then the load, then 1 s in which nothing more is said."""
    folder.mkdir()
    settle = RAMP + round(load_s * S)
    phases = {"ramp": 0, "load": RAMP, "settle": settle, "end": settle + S}
    base = manifest(
        slo=RULES,
        phases=phases,
        simulated=False,
        guests_planned=GUESTS,
        scenario={"scenario": {"name": "step"}, "guests": {"pacing": "think", "count": GUESTS, "think_time": "1s"}},
        authorisation={"ticket": "T"},
    )
    (folder / "manifest.json").write_text(json.dumps({**base, **changes}))
    last = records[-1].index
    data = [header_chunk(RUN, "1")]
    for number, record in enumerate(records, 1):
        whole = msgspec.structs.replace(record, final=record.index == last)
        data.append(chunk(INTERVAL, number, array_of(1, msgspec.msgpack.encode(whole))))
    (folder / "journal-1.bin").write_bytes(b"".join(data))
    return folder


def even(*, slow_every: int = 0, warm: int = 0, **more: Any) -> list[Interval]:
    """12 s of load: four replies in each tenth of a second, in 200 ms, each `slow_every`-th in 900 ms; `warm` tenths are slow."""
    found, count = [], 0
    rng = Random(1)
    for number in range(int((RAMP + 13 * S) / EVERY)):
        loaded = 20 <= number < 140
        times = []
        for _ in range(4 if loaded else 0):
            count += 1
            slow = (slow_every and count % slow_every == 0) or 20 <= number < 20 + warm
            times.append(900 if slow else 200)
        waiting = (40.0 if 20 <= number < 20 + warm else 8.0) + rng.uniform(-0.5, 0.5)
        found.append(interval(number, response_ms=times, waiting=waiting, guests=GUESTS if number == 5 else 0, **more))
    return found


def measured(folder: Path, **more: Any) -> StepResult:
    return measure_step(folder, GUESTS, whole=True, **{"warm_up_ns": 0, **more}).result


def test_shares_are_counted_by_blocks_of_the_full_load(tmp_path: Path) -> None:
    result = measured(step(tmp_path / "s", even(slow_every=10)))
    reply, failed = result.rules
    assert (reply.rule, reply.share) == ("reply.response p95 < 600 ms", 0.95)
    assert len(reply.blocks) == BLOCKS
    assert {samples for _, samples in reply.blocks} == {20}
    assert (reply.kept, reply.samples) == (432, 480)
    assert (failed.share, failed.point, failed.kept, failed.samples) == (0.99, True, 480, 480)
    assert result.length_s == pytest.approx(12)
    assert result.throughput == pytest.approx(40)
    assert result.response_s == pytest.approx(0.27)
    assert result.think_s == pytest.approx((GUESTS - 8) / 40, rel=0.02)
    assert result.present == pytest.approx(GUESTS)
    assert result.achieved == pytest.approx(1)
    assert result.percentile_s == pytest.approx(0.9, rel=0.01)
    assert (result.percentile_low_s or 0) <= 0.9 <= (result.percentile_high_s or 0) * 1.001
    assert len(result.in_flight) == BLOCKS
    assert all(7 < waiting < 9 for waiting in result.in_flight)
    assert (result.generator_healthy, result.broken, result.errors) == (True, (), 0)
    assert result.reference == "s"


def test_the_warm_up_is_found_or_given(tmp_path: Path) -> None:
    folder = step(tmp_path / "s", even(warm=20))
    whole = measured(folder)
    found = measured(folder, warm_up_ns=None)
    given = measured(folder, warm_up_ns=3 * S)
    assert whole.rules[0].samples - whole.rules[0].kept == 80
    assert found.rules[0].kept == found.rules[0].samples
    assert 6 <= found.length_s <= 10
    assert given.length_s == pytest.approx(9)


def test_what_timed_out_did_not_keep_to_the_limit(tmp_path: Path) -> None:
    result = measured(step(tmp_path / "s", even(timeouts=1)))
    assert result.rules[0].samples - result.rules[0].kept == 120 + 10  # ten more in the drain, which had begun in the load
    assert result.errors == 120 + 10
    assert result.operations == 480


def test_what_was_open_when_a_guest_left_is_no_error(tmp_path: Path) -> None:
    result = measured(step(tmp_path / "s", even(leaving=1)))
    assert (result.errors, result.operations) == (0, 480 + 120)
    assert result.rules[0].kept == result.rules[0].samples == 480


def test_other_rules_break_as_the_run_says_and_floors_are_no_limit(tmp_path: Path) -> None:
    result = measured(step(tmp_path / "s", even(lost=1)))
    assert result.broken == ("lost.definite == 0",)
    assert "messages.rate" not in " ".join(rule.rule for rule in result.rules)


def test_guests_who_never_came_are_planned_load_that_was_not_there(tmp_path: Path) -> None:
    folder = step(tmp_path / "s", even())
    assert measure_step(folder, 2 * GUESTS, whole=True, warm_up_ns=0).result.achieved == pytest.approx(0.5, rel=0.01)


def test_guests_who_wait_for_an_agent_all_the_time_are_no_load(tmp_path: Path) -> None:
    records = [
        msgspec.structs.replace(one, health={**one.health, "little.guests.area_ns": 3.0 * EVERY}, gauges=one.gauges)
        for one in even()
    ]
    assert measured(step(tmp_path / "s", records)).achieved == pytest.approx(3 / GUESTS, rel=0.01)


def test_a_late_generator_does_not_count(tmp_path: Path) -> None:
    result = measured(step(tmp_path / "s", even(delay_ms=500)))
    assert not result.generator_healthy
    assert result.generator == "the generator was over its limits: send delay p99"


@pytest.mark.parametrize(
    ("allowed", "simulated", "said"),
    [
        (50, False, "the approval's max_requests_per_s of 50 held the guests back"),
        (60, False, ""),
        (40, False, ""),  # more than that left: it was not kept to, as on this machine
        (50, True, ""),
    ],
)
def test_the_approval_s_ceiling_is_no_limit_of_the_target(tmp_path: Path, allowed: int, simulated: bool, said: str) -> None:
    approval = {"ticket": "T", "max_requests_per_s": allowed}
    result = measured(step(tmp_path / "s", even(requests=5), authorisation=approval, simulated=simulated))
    assert (result.generator_healthy, result.generator) == (not said, said)


def test_a_step_that_a_rule_ended_is_complete_and_broken(tmp_path: Path) -> None:
    folder = step(tmp_path / "s", even(), ended="aborted", aborted={"rule": "lost.definite == 0", "at_ns": 1})
    found = measure_step(folder, GUESTS, whole=True)
    assert found.complete
    assert found.result.broken == ("lost.definite == 0",)
    lost = step(tmp_path / "l", even(), ended="simulator_lost")
    assert not measure_step(lost, GUESTS, whole=True).complete


def test_a_step_without_a_steady_part_has_no_samples(tmp_path: Path) -> None:
    folder = step(tmp_path / "s", even(), phases={"ramp": 0})
    found = measure_step(folder, GUESTS, whole=True)
    assert found.result.rules[0].samples == 0
    assert (found.result.throughput, found.result.length_s, found.messages_per_s) == (None, 0.0, None)
