"""A whole run in this process, against a real simulator, judged by the report's own code."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket as gsocket
from locust import task
from locust.env import Environment
from locust.event import Events

from harness.config.tables import AuthorisationTable
from harness.core.ops import Noted
from harness.core.spread import seconds
from harness.errors import NotAuthorisedError, UnreachableError
from harness.report.build import build_report
from harness.runs.folder import update_manifest
from harness.runs.manifest import Session
from harness.swarm.arrivals import Arrivals
from harness.swarm.load import LoadRun, Place, Plan, network_of
from harness.swarm.user import GuestUser, Reply
from tests.swarm.kit import until
from tests.swarm.scenario import Prepared

pytestmark = pytest.mark.e2e


@pytest.fixture
def prepared(tmp_path: Path) -> Iterator[Callable[..., Prepared]]:
    made: list[Prepared] = []

    def make(**changes: Any) -> Prepared:
        made.append(Prepared(tmp_path, **changes))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def load_of(prepared: Prepared, said: list[dict[str, Any]] | None = None, **more: Any) -> LoadRun:
    anchor = prepared.manifest["anchor"]
    plan = Plan(
        prepared.scenario,
        prepared.folder,
        prepared.manifest["run"],
        prepared.secret,
        anchor["wall_ns"] - anchor["monotonic_ns"],
        **more,
    )
    network = network_of(prepared.scenario, prepared.address)
    return LoadRun(
        plan, network, control=prepared.control if prepared.simulator else None, say=said.append if said is not None else None
    )


def live(load: LoadRun, count: int) -> list[gevent.Greenlet]:
    """As many users as there are places, as Locust would have them."""

    def user() -> None:
        while True:
            place = Place("webchat")
            load.take_place(place)
            place.arrived.wait()
            assert place.guest is not None
            place.guest.run()
            load.gone(place)
            if not load.visits:
                return

    return [gevent.spawn(user) for _ in range(count)]


def equal(prepared: Prepared) -> dict[str, object]:
    model = build_report(prepared.folder)
    return {row.name: row.equal for row in model.truth if not row.equal}


@pytest.mark.parametrize("tls", [False, True])
def test_a_run_from_arrival_to_seal(prepared: Callable[..., Prepared], tls: bool) -> None:
    one = prepared(tls=tls)
    said: list[dict[str, Any]] = []
    load = load_of(one, said)
    load.preflight()
    load.begin()
    users = live(load, 8)
    load.wait()
    load.drain()
    gevent.killall(users)
    assert [line["phase"] for line in said if line["kind"] == "phase"] == ["ramp", "load", "settle", "loss_wait", "leave", "end"]
    assert [line["kind"] for line in said].count("end") == 1
    assert list(one.manifest["phases"]) == ["ramp", "load", "settle", "loss_wait", "leave", "end"]
    assert one.manifest["ended"] == "finished"
    model = build_report(one.folder)
    assert model.truth_state == "sealed"
    assert {row.name for row in model.truth if not row.equal} == set()
    assert model.figures.complete
    assert model.figures.guests.finished == 8
    assert model.figures.guests.failed == 0
    assert model.figures.messages["invoked"] > 20
    assert model.measured.health["loop.turns"] > 100
    assert model.measured.histograms["reply|ok|service_low"].count > 0
    assert load.faults == []
    assert not load._guests


def test_guests_arrive_evenly_though_places_are_taken_all_at_once(
    prepared: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = prepared(duration='"1s"', settle='"0s"')
    load = load_of(one)
    planned: list[int] = []
    arrived: list[int] = []
    real, plan = load._arrive, Arrivals.next

    def intended(self: Arrivals, _now: int) -> int:
        planned.append(plan(self, 0))  # as on a machine that never falls behind
        return planned[-1]

    def noted(place: Place) -> None:
        arrived.append(time.monotonic_ns())
        real(place)

    load._arrive = noted  # type: ignore[method-assign]
    monkeypatch.setattr(Arrivals, "next", intended)
    load.begin()
    assert load._arrivals is not None
    began = load._arrivals._base_ns
    users = live(load, 8)
    deadline = time.monotonic() + 30
    while len(arrived) < 8 and time.monotonic() < deadline:
        gevent.sleep(0.01)
    load.hurry()
    load.drain()
    gevent.killall(users)
    assert [(at - began) // 125_000_000 for at in planned[:8]] == list(range(8))
    assert len(arrived) == 8
    assert all(came >= at for came, at in zip(arrived, planned, strict=False)), "nobody comes before the plan"


def test_hurry_writes_down_what_there_is_at_once(prepared: Callable[..., Prepared]) -> None:
    one = prepared(duration='"60s"', loss_wait='"60s"', drain='"60s"')
    load = load_of(one)
    load.begin()
    users = live(load, 8)
    gevent.sleep(2)
    load.told_to_stop("interrupted")
    drain = gevent.spawn(load.drain)
    gevent.sleep(0.3)
    assert not drain.ready()
    began = time.monotonic()
    load.told_to_stop("interrupted")
    drain.join(3)
    assert drain.ready()
    assert time.monotonic() - began < 1.5
    gevent.killall(users)
    assert one.manifest["ended"] == "interrupted"
    assert False not in equal(one).values(), "who does not wait cannot have read everything: nothing is compared"
    assert not build_report(one.folder).measured.damage.any, "the journal is whole all the same"


def test_open_model_visitors_come_and_go_and_those_without_a_place_are_counted(
    prepared: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prepared()
    scenario = made.scenario
    guests = scenario.guests.model_copy(update={"count": None, "arrivals_per_s": 8.0, "max_guests": 4})
    made.scenario = dataclasses.replace(scenario, guests=guests)
    load = load_of(made)
    dropped: list[Noted] = []
    real = load.recorder.record

    def record(row: Any) -> None:
        if isinstance(row, Noted) and row.what == "arrival.dropped":
            dropped.append(row)
        real(row)

    monkeypatch.setattr(load.recorder, "record", record)
    assert load.visits
    load.begin()
    users = live(load, 4)
    load.wait()
    load.drain()
    gevent.killall(users)
    assert dropped
    model = build_report(made.folder)
    assert model.figures.guests.peak is not None
    assert model.figures.guests.peak <= 4
    assert model.figures.guests.finished is not None
    assert model.figures.guests.finished > 4, "a place is taken by one visitor after the other"
    assert {row.name for row in model.truth if not row.equal} == set()


def test_a_fault_in_one_session_leaves_the_others_alone(prepared: Callable[..., Prepared]) -> None:
    one = prepared()
    said: list[dict[str, Any]] = []
    load = load_of(one, said)
    load.begin()
    users = live(load, 8)
    until(lambda: len(load._guests) == 8)
    victim = next(iter(load._guests))

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    victim.session._on_frame = broken  # type: ignore[method-assign]
    until(lambda: victim.finished)
    load.wait()
    load.drain()
    gevent.killall(users)
    assert len(load.faults) == 1
    assert "a defect" in load.faults[0]
    assert [line["name"] for line in said if line["kind"] == "fault"] == ["internal"]
    model = build_report(one.folder)
    assert model.figures.counters["noted|internal"] == 1
    assert model.figures.messages["invoked"] > 10


def test_a_simulator_that_has_gone_does_not_keep_the_journal_open(prepared: Callable[..., Prepared]) -> None:
    one = prepared(settle='"200ms"', drain='"1s"')
    said: list[dict[str, Any]] = []
    load = load_of(one, said)
    load.begin()
    users = live(load, 8)
    gevent.sleep(1)
    one.stop()
    load.end("terminated")
    load.drain()
    gevent.killall(users)
    assert load.closed
    assert any(line["kind"] == "note" and "settle" in line["text"] for line in said)
    assert build_report(one.folder).truth_state == "unsealed"


# ------------------------------------------------------------------ before the load
def test_preflight_tells_a_target_that_does_not_answer(prepared: Callable[..., Prepared]) -> None:
    one = prepared()
    load = load_of(one)
    one.stop()
    with pytest.raises(UnreachableError) as refused:
        load.preflight()
    assert "connect_refused" in str(refused.value)
    load.discard()
    assert list(one.folder.glob("journal-*")) == []


def test_preflight_refuses_a_foreign_target_without_a_word_to_it(
    prepared: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    acts: list[object] = []
    one = prepared(simulate=False)
    target = one.scenario.target.model_copy(update={"domain": "example.com"})
    foreign = dataclasses.replace(one.scenario, target=target)
    monkeypatch.setattr(gsocket.socket, "connect", lambda *args: acts.append(args))
    monkeypatch.setattr(gsocket, "getaddrinfo", lambda *args, **_: acts.append(args))
    one.scenario = foreign
    load = load_of(one)
    with pytest.raises(NotAuthorisedError):
        load.preflight()
    load.discard()
    approval = AuthorisationTable(
        hosts=("*.example.com",), ticket="T", window="00:00-00:01", timezone="UTC", max_guests=50, max_requests_per_s=5.0
    )
    one.scenario = dataclasses.replace(foreign, authorisation=approval)
    load = load_of(one)
    if time.gmtime()[3:5] != (0, 0):
        with pytest.raises(NotAuthorisedError, match="shut"):
            load.preflight()
    load.discard()
    assert acts == []
    assert load.network.ceiling is not None


def test_the_clock_was_put_back_before_a_lost_load_child_got_a_follower(prepared: Callable[..., Prepared]) -> None:
    """By the wall clock as it stands now the window is open; by what it said when the run began, it has shut meanwhile."""
    one = prepared()
    now = datetime.now(UTC)
    at = [f"{now + timedelta(hours=hours):%H:%M}" for hours in (-1, 2)]
    approval = AuthorisationTable(
        hosts=("*.example.com",), ticket="T", window="-".join(at), timezone="UTC", max_guests=50, max_requests_per_s=5.0
    )
    one.scenario = dataclasses.replace(one.scenario, authorisation=approval)
    anchor = one.manifest["anchor"]
    update_manifest(one.folder, {"anchor": {**anchor, "wall_ns": anchor["wall_ns"] + seconds(4 * 3600)}})
    first, follower = load_of(one, session=Session(1)), load_of(one, session=Session(2, begins=False))
    first._check_window()
    with pytest.raises(NotAuthorisedError, match="shuts before"):
        follower._check_window()
    first.discard()
    follower.discard()


# ------------------------------------------------------------------ users with tasks
def test_a_task_says_something_and_waits_for_the_reply(prepared: Callable[..., Prepared]) -> None:
    heard: list[Reply | None] = []
    states: list[bool] = []

    class Asker(GuestUser):
        dialect = "webchat"
        wait_time = lambda self: 0.05  # noqa: E731

        @task
        def ask(self) -> None:
            states.append(self.wait_until_chatting(3))
            heard.append(self.say("Where is my parcel?"))

    class Plain(GuestUser):
        dialect = "webchat"

    assert not Asker.scripted
    assert Plain.scripted
    one = prepared(count="2", session_length='"30s"')
    load = load_of(one)
    Asker.load = load
    runner = Environment(user_classes=[Asker], events=Events()).create_local_runner()  # type: ignore[no-untyped-call]
    load.begin()
    runner.start(2, spawn_rate=2)
    load.wait()
    load.drain()
    runner.quit()
    replies = [reply for reply in heard if reply is not None]
    assert len(replies) >= 4
    assert all(0.05 < reply.service_s <= reply.response_s < 2 for reply in replies)
    assert states[0]
    model = build_report(one.folder)
    assert model.figures.messages["invoked"] >= len(replies)
    assert {row.name for row in model.truth if not row.equal} == set()
