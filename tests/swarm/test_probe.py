"""The probe engine: in a process, against a real simulator and small servers of the test's own."""

from __future__ import annotations

import dataclasses
import json
import socket
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from harness.config import load_scenario
from harness.config.ratelimit import RatelimitTable
from harness.core.credentials import Secret
from harness.core.pace import Pace
from harness.core.probing import Answer, Identity
from harness.errors import UsageError
from harness.runs.folder import create_run, read_manifest
from harness.runs.manifest import SimulatorAddress
from harness.runs.simulated import SIM_SECRET_ENV, SimulatorProcess
from harness.search.limits.finding import Finding, Interval, RetryAfterFinding
from harness.search.limits.plan import Done, ProbePlan, Send, WaitUntil
from harness.search.limits.prober import Prober
from harness.search.limits.recommend import advise
from harness.swarm.guard import check_source
from harness.swarm.load import network_of
from harness.swarm.probe import PROBES, ProbeOrder, ProbeRun
from harness.swarm.probe_drive import Halt, Line, drive, paced
from harness.swarm.probe_proof import ProofRun, judge_at, judge_over, tally
from harness.swarm.probe_scope import allowed_meanwhile, scope_of, scope_search
from tests.swarm.scenario import manifest_of

SECRET = "s3cr3t-for-tests"
S = 10**9


# ------------------------------------------------------------------ driving
class Answering:
    """A shooter whose server answers at once by a rule."""

    def __init__(self, rule: Callable[[int], Answer], wait_s: float = 0.0) -> None:
        self.rule, self.wait_s = rule, wait_s
        self.shot: list[int] = []

    def shoot(self, n: int, on_sent: Any, on_answer: Any) -> None:
        self.shot.append(n)
        on_sent(n, time.monotonic_ns())
        gevent.spawn_later(self.wait_s, lambda: on_answer(n, time.monotonic_ns(), self.rule(n)))

    def end(self) -> None:
        pass


class Script:
    """A prober that asks for three requests in a burst, then waits for the last answer."""

    phase = "burst"

    def __init__(self, count: int) -> None:
        self.count, self.next_n = count, 0
        self.sent: dict[int, int] = {}
        self.told: list[tuple[int, bool | None, float | None, str]] = []
        self.stopped = ""

    def next(self, now_ns: int) -> Any:
        if self.stopped:
            return Done(self.stopped)
        if self.next_n < self.count and self.next_n in self.sent:
            self.next_n += 1
        if self.next_n < self.count:
            return Send(self.next_n, "burst")
        return Done("answered") if len(self.told) == self.count else WaitUntil(now_ns + 60 * S)

    def on_sent(self, n: int, at_ns: int) -> None:
        self.sent[n] = at_ns

    def on_answer(
        self, n: int, received_ns: int, accepted: bool, retry_after_s: float | None = None, form: str = "seconds"
    ) -> None:
        assert received_ns >= self.sent[n]
        self.told.append((n, accepted, retry_after_s, form))

    def on_lost(self, n: int, at_ns: int) -> None:
        self.told.append((n, None, None, ""))

    def stop(self, reason: str) -> None:
        self.stopped = self.stopped or reason


def line_of(rows: list[dict[str, Any]]) -> Line:
    return Line(rows.append, "webchat: x", Identity(), wall_offset_ns=0)


def test_a_burst_goes_out_without_waiting_for_answers_and_each_is_told() -> None:
    answers = [Answer(True, 200), Answer(False, 429, "3"), Answer(None, 503)]
    shooter, script = Answering(lambda n: answers[n], 0.02), Script(3)
    rows: list[dict[str, Any]] = []
    drive(script, shooter, Halt(lambda: ""), line_of(rows), lambda: None)
    assert shooter.shot == [0, 1, 2]
    assert sorted(script.told) == [(0, True, None, "seconds"), (1, False, 3.0, "seconds"), (2, None, None, "")]
    assert max(script.sent.values()) < min(row["received_ns"] for row in rows)  # all were under way together
    assert [row["accepted"] for row in sorted(rows, key=lambda row: row["n"])] == [True, False, None]


def test_a_date_is_read_against_the_answers_own_moment() -> None:
    line = Line(lambda _row: None, "x", Identity(), wall_offset_ns=1_700_000_000 * S)
    wait, form = line.wait_s(5 * S, Answer(False, 429, "Tue, 14 Nov 2023 22:13:30 GMT"))
    assert (wait, form) == (5.0, "date")
    assert line.wait_s(0, Answer(False, 429, "soon")) == (None, "seconds")


def test_a_target_that_answers_neither_yes_nor_no_is_not_asked_to_the_ceiling() -> None:
    shooter, prober = Answering(lambda _n: Answer(None, 503)), Prober(ProbePlan(idle_s=0.0), time.monotonic_ns())
    drive(prober, shooter, Halt(lambda: ""), line_of([]), lambda: None)
    finding = prober.finding()
    assert 20 <= len(shooter.shot) < 40
    assert (finding.kind, finding.confirmed) == ("unknown", False)
    assert "status 503" in finding.stopped


def test_a_job_that_is_told_to_end_stops_its_prober() -> None:
    halt, script = Halt(lambda: ""), Script(1)
    halt.tell("interrupted")
    drive(script, Answering(lambda _n: Answer(True)), halt, line_of([]), lambda: None)
    assert script.stopped == "interrupted"


def test_a_paced_client_keeps_its_pace() -> None:
    rows: list[dict[str, Any]] = []
    sent = paced(
        Pace(50.0, 5, time.monotonic_ns()),
        Answering(lambda _n: Answer(True, 200)),
        Halt(lambda: ""),
        line_of(rows),
        "at",
        most=30,
        until_ns=time.monotonic_ns() + 30 * S,
        drain_ns=S,
    )
    assert len(sent) == len(rows) == 30
    times = [at for at, _, _ in sent]
    for first in range(30):
        for last in range(first, 30):
            assert last - first + 1 <= 5 + 50.0 * ((times[last] - times[first]) / S + 0.021) + 1
    assert {row["part"] for row in rows} == {"at"}


# ------------------------------------------------------------------ judging
RATE, SIZE = Interval(9.98, 10.02), Interval(20, 20)
BUCKET = Finding("token_bucket", True, rate_per_s=10.0, burst=20, rate_interval=RATE, burst_interval=SIZE)


def series(count: int, per_s: float, refused: Callable[[int], bool]) -> list[tuple[int, int, Answer]]:
    return [(round(n * S / per_s), 0, Answer(not refused(n), 200)) for n in range(count)]


def test_no_refusal_at_the_setting_is_a_proof_only_near_the_allowed_rate_and_with_enough_requests() -> None:
    advice = advise("x", BUCKET)
    held = judge_at(series(300, 9.7, lambda _n: False), advice, BUCKET, wanted=300)
    assert held.ok
    assert held.bound == pytest.approx(0.01)
    assert not judge_at(series(300, 9.0, lambda _n: False), advice, BUCKET, wanted=300).ok
    assert not judge_at(series(50, 9.7, lambda _n: False), advice, BUCKET, wanted=300).ok
    assert not judge_at(series(300, 9.7, lambda _n: False), advice, BUCKET, wanted=300, stopped="interrupted").ok
    cut = judge_at(series(8, 79.1, lambda _n: False), advice, BUCKET, wanted=300, stopped="interrupted")
    assert (cut.ok, cut.sent_per_s) == (False, None)
    assert cut.sentence.startswith("After 8 of 300 requests, none of 8 was refused")
    broken = judge_at(series(300, 9.7, lambda n: n == 7), advice, BUCKET, wanted=300)
    assert (broken.ok, broken.refused) == (False, 1)


def test_above_the_limit_the_expected_share_has_to_be_refused() -> None:
    assert judge_over(series(220, 11.0, lambda n: n % 11 == 0), BUCKET, factor=1.1).ok
    assert not judge_over(series(220, 11.0, lambda _n: False), BUCKET, factor=1.1).ok
    assert not judge_over(series(220, 11.0, lambda n: n % 3 == 0), BUCKET, factor=1.1).ok
    assert not judge_over(series(220, 9.0, lambda _n: False), BUCKET, factor=1.1).ok


def test_what_left_at_once_is_no_part_of_the_rate() -> None:
    sent = [(0, 0, Answer(True))] * 5 + [(n * S, 0, Answer(True)) for n in range(1, 6)]
    assert tally(sent, 5).per_s == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("outcomes", "scope"),
    [
        ({"session": (6, 0)}, "session"),
        ({"session": (0, 6), "address": (6, 0), "credential": (0, 6)}, "ip"),
        ({"session": (0, 6), "address": (0, 6), "credential": (6, 0)}, "client"),
        ({"session": (0, 6), "address": (0, 6), "credential": (0, 6)}, "organisation"),
        ({"session": (3, 3), "address": (6, 0), "credential": (6, 0)}, "unknown"),
    ],
)
def test_what_is_changed_tells_whom_a_limit_counts(outcomes: dict[str, tuple[int, int]], scope: str) -> None:
    search = scope_search(("credential", "address", "session"), {"credential": 2, "address": 2, "session": 2}, 20.0, retries=0)
    while (wanted := search.next()) is not None:
        accepted, refused = outcomes[wanted.changed]
        search.update(wanted, accepted=accepted, refused=refused, allowed=1)
    assert search.answer().scope == scope


def test_what_is_not_varied_is_unknown_and_never_guessed() -> None:
    able = ("credential", "address", "session")
    alone = scope_search(able, {}, 20.0)
    assert alone.next() is None
    assert alone.answer().scope == "unknown"
    search = scope_search(able, {"credential": 2, "address": 2, "session": 1}, 20.0)
    while (wanted := search.next()) is not None:
        search.update(wanted, accepted=6, refused=0)
    assert search.answer().scope == "unknown"  # each came with another session


@pytest.mark.parametrize(("separate", "scope"), [((), "unknown"), (("address",), "ip"), (("session",), "session")])
def test_what_a_request_carries_no_trace_of_is_not_said_to_be_varied(separate: tuple[str, ...], scope: str) -> None:
    search = scope_search(("address", "session"), {"credential": 2, "address": 2, "session": 2}, 20.0)
    outcomes = {}
    while (wanted := search.next()) is not None:
        alone = wanted.changed in separate
        outcomes[wanted.changed] = search.update(wanted, accepted=6 * alone, refused=6 * (not alone), allowed=1)
    found = scope_of(search, outcomes, {"credential"})
    assert found["scope"] == scope
    assert ("it carries no credential" in found["why"]) == (scope == "unknown")


def test_an_address_that_is_not_ours_is_told_before_anything_is_sent() -> None:
    check_source("127.0.0.2", "here")
    with pytest.raises(UsageError, match=r"192\.0\.2\.7 is not an address of this machine"):
        check_source("192.0.2.7", "here")


def test_beyond_the_ceiling_nothing_is_tried_and_that_is_said() -> None:
    table = RatelimitTable()
    shooter = Answering(lambda _n: Answer(True))
    proof = ProofRun(shooter, line_of([]), Halt(lambda: ""), table, 10.5).over(BUCKET)
    assert (proof.n, proof.ok, shooter.shot) == (0, None, [])
    assert "10 % above the limit was not tried" in proof.sentence


@pytest.mark.parametrize(("verdict", "more"), [("not tested", 9), ("true", 0)])
def test_who_was_told_to_wait_waits_once_and_asks_again(verdict: Any, more: int) -> None:
    """Where the identification has not seen whether `Retry-After` is true."""
    rows: list[dict[str, Any]] = []
    told = RetryAfterFinding(True, "seconds", verdict, 0, 0, 0.3, 0.3)
    limit = Finding("fixed_window", True, rate_per_s=100.0, limit=20, window_s=0.2, retry_after=told)
    shooter = Answering(lambda n: Answer(False, 429, "0.3") if n % 8 > 5 else Answer(True))
    table = RatelimitTable(over_n=22)
    ProofRun(shooter, line_of(rows), Halt(lambda: ""), table, 200.0).over(limit)
    asked = [row for row in rows if row["part"] == "promise"]
    assert len(asked) == more
    if asked:
        *_, last, again = asked
        assert (last["accepted"], again["accepted"]) == (False, True)
        assert again["sent_ns"] - last["received_ns"] >= 0.3 * S


def test_what_came_back_meanwhile_is_counted_off() -> None:
    assert allowed_meanwhile(10.0, 0.15) == 2
    assert allowed_meanwhile(None, 0.15) == 0


# ------------------------------------------------------------------ against a simulator
TOML = """
[scenario]
name = "limits"
seed = 2
dialect = "{dialect}"
[target]
queue = "support"
[guests]
count = 5
[ratelimit]
endpoints = {endpoints}
suspected_window = "500ms"
max_time = "20s"
max_requests = 400
addresses = ["127.0.0.1", "127.0.0.2"]
credentials = [{{ client_id = "second" }}]
verify = false
max_open = 6
ready_within = "20s"
[simulator]
limits = {limits}
"""


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., ProbeRun]]:
    started: list[SimulatorProcess] = []

    def make(dialect: str, endpoints: str, limits: str) -> ProbeRun:
        path = tmp_path / "limits.toml"
        path.write_text(TOML.format(dialect=dialect, endpoints=endpoints, limits=limits))
        scenario = load_scenario(path)
        folder = create_run(tmp_path / "runs", scenario.name, manifest_of(scenario))
        table = {**scenario.simulator, "credentials": {"clients": {"second": "env:SECOND_SECRET"}}}
        env = {SIM_SECRET_ENV: SECRET, "SECOND_SECRET": SECRET}
        simulator = SimulatorProcess.start(table, folder, seed=2, secret_env=env)
        started.append(simulator)
        make.simulator = simulator  # type: ignore[attr-defined]
        address = SimulatorAddress(simulator.port, simulator.control, simulator.ca)
        anchor = read_manifest(folder)["anchor"]
        clients = [("guestswarm", Secret(SECRET)), ("second", Secret(SECRET))]
        order = ProbeOrder(scenario, folder, "run1", clients, anchor["wall_ns"] - anchor["monotonic_ns"])
        return ProbeRun(order, network_of(scenario, address), lambda _line: None)

    yield make
    for one in started:
        one.stop()


def lines_of(run: ProbeRun) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.order.folder / PROBES).read_text().splitlines()]


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("dialect", "endpoint", "limited", "scope"),
    [
        ("webchat", "frame message", "frame message", "session"),
        ("engagements", "frame typing", "frame typing", "session"),
        ("guests", "POST /api/v2/guests", "POST /api/v2/guests", "client"),
        ("messaging", "frame message", "frame message", "ip"),
        ("longpoll", "POST /api/v2/conversations/{id}/messages", "POST /api/v2/conversations/{conversationId}/messages", "client"),
        ("webmessaging", "frame onMessage", "frame onMessage", "session"),
    ],
)
def test_every_dialect_is_probed_over_its_own_protocol(
    job: Callable[..., ProbeRun], dialect: str, endpoint: str, limited: str, scope: str
) -> None:
    limit = f'{{ endpoint = "{limited}", kind = "token_bucket", rate = "8/s", burst = 10, scope = "{scope}" }}'
    run = job(dialect, f'["{endpoint}"]', f"[{limit}]")
    run.preflight()
    run.carry_out()
    lines = lines_of(run)
    (finding,) = [line["finding"] for line in lines if line["kind"] == "finding"]
    assert finding["kind"] == "token_bucket"
    assert finding["rate_per_s"] == pytest.approx(8.0, rel=0.05)
    assert finding["burst"] == pytest.approx(10, abs=1)
    (found,) = [line["scope"] for line in lines if line["kind"] == "scope"]
    assert found["scope"] == scope
    requests = [line for line in lines if line["kind"] == "request"]
    assert all(line["received_ns"] >= line["sent_ns"] for line in requests)
    assert len([line for line in requests if line["part"] == "rate"]) <= 400
    assert lines[-1] == {"kind": "end", "ended": "finished", "at_ns": lines[-1]["at_ns"]}


@pytest.mark.e2e
def test_how_many_may_be_open_is_told_from_how_fast_they_are_opened(job: Callable[..., ProbeRun]) -> None:
    limits = """[{ endpoint = "GET /webchat", kind = "concurrency", limit = 3, scope = "ip" },
        { endpoint = "GET /webchat", kind = "token_bucket", rate = "20/s", burst = 8, scope = "client" }]"""
    run = job("webchat", '["webchat: GET /webchat, open at once"]', limits)
    run.carry_out()
    lines = lines_of(run)
    (finding,) = [line["finding"] for line in lines if line["kind"] == "finding"]
    assert (finding["kind"], finding["limit"]) == ("concurrency", 3)
    (found,) = [line["scope"] for line in lines if line["kind"] == "scope"]
    assert found["scope"] == "ip"


@pytest.mark.e2e
def test_a_job_that_is_stopped_has_written_what_it_knows(job: Callable[..., ProbeRun]) -> None:
    run = job("webchat", '["POST /oauth/token", "frame message"]', "[]")
    gevent.spawn_later(1.6, run.told_to_stop, "interrupted")
    run.carry_out()
    lines = lines_of(run)
    assert next(line["kind"] for line in lines if line["kind"] in ("finding", "skipped")) == "finding"
    assert lines[-1]["ended"] == "interrupted"
    assert any(line["kind"] == "skipped" for line in lines)


@pytest.mark.e2e
@pytest.mark.parametrize("limits", ["[]", '[{ endpoint = "POST /oauth/token", kind = "token_bucket", rate = "8/s", burst = 10 }]'])
def test_the_simulator_never_saw_more_than_the_ceilings_allow(job: Callable[..., ProbeRun], limits: str) -> None:
    run = job("webchat", '["POST /oauth/token"]', limits)
    table = run.order.scenario.document.ratelimit
    assert run.per_s == table.max_per_s
    run.carry_out()
    sent = [line for line in lines_of(run) if line["kind"] == "request"]
    job.simulator.stop()  # type: ignore[attr-defined]
    rows = [json.loads(line) for line in (run.order.folder / "truth.jsonl").read_text().splitlines()]
    asked = sorted((row["t"], ".p" in row["id"]) for row in rows if row["row"] in ("tokens.client_credentials", "refused"))
    ours = [at for at, probe in asked if probe]
    assert len(ours) == len(sent) <= table.max_requests
    assert (len(sent) == table.max_requests) == (limits == "[]")
    times = [at for at, _ in asked]  # what the guests themselves ask for is under the same ceiling
    for place, first in enumerate(times):
        assert bisect_right(times, first + S) - place <= table.max_per_s * 1.1 + 2


@pytest.mark.e2e
@pytest.mark.parametrize(("counted", "scope"), [("ip", "ip"), ("client", "unknown"), ("organisation", "unknown")])
def test_an_upgrade_without_a_token_leaves_open_whether_clients_are_counted(
    job: Callable[..., ProbeRun], counted: str, scope: str
) -> None:
    limit = f'{{ endpoint = "GET /webchat", kind = "token_bucket", rate = "8/s", burst = 10, scope = "{counted}" }}'
    run = job("webchat", '["webchat: GET /webchat"]', f"[{limit}]")
    run.carry_out()
    lines = [line for line in lines_of(run) if line.get("what") == "webchat: GET /webchat"]
    (found,) = [line["scope"] for line in lines if line["kind"] == "scope"]
    assert found["scope"] == scope, found


def test_addresses_are_taken_by_identity(serve: Callable[..., Any], tmp_path: Path) -> None:
    from harness.swarm.guard import Guard
    from harness.swarm.network import Network
    from harness.swarm.probe_guests import networks_of

    seen: list[str] = []

    def note(sock: socket.socket) -> None:
        seen.append(sock.getpeername()[0])

    server = serve(note)
    path = tmp_path / "x.toml"
    path.write_text(TOML.format(dialect="webchat", endpoints="[]", limits="[]"))
    scenario = load_scenario(path)
    plain = Network(Guard(), {"api": server.url}, simulated=True)
    for place, network in networks_of(plain, scenario, ("127.0.0.1", "127.0.0.3")).items():
        network.connect(network.origin("api"), 1.0).close()
        gevent.sleep(0.05)
        assert len(seen) == place + 1
    assert seen == ["127.0.0.1", "127.0.0.3"]
    assert dataclasses.replace(Identity(), address=1).address == 1
