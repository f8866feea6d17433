"""What the base gives every server half: templates, tables, limit sets, fan-out, pings, readiness, losses without a listing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.simulator.config import SimConfig
from harness.simulator.dialects import registry
from harness.simulator.limiters import Caller
from harness.simulator.spelling import SimConfigError
from tests.simulator.engine_kit import SECOND, Bench, faults

SPECS = {**registry.specs(), "toy": "tests.simulator.toy_half:Toy"}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "specs", lambda: SPECS)


def bench(table: dict[str, Any] | None = None, **options: Any) -> Bench:
    return Bench(table, dialects=("toy", "webchat"), **options)


def enter(made: Bench, room: str = "r1", *, peer: str = "127.0.0.1:3000", query: str = "") -> int:
    number = made.number()
    assert made.engine.on_upgrade(made.now, number, peer, f"/toy/{room}/ws{query}", {}) is None
    made.run(0)
    return number


def speak(made: Bench, conn: int, seq: int) -> None:
    made.frame(conn, f"Hello [#run.1-1.g.{seq}]")


# ------------------------------------------------------------ paths
def test_an_upgrade_path_has_holes_and_a_query() -> None:
    made = bench()
    conn = made.engine.conns[enter(made, "a%20b", query="?deployment=d%2F1&x=")]
    assert (conn.path, conn.endpoint, conn.params) == ("/toy/a%20b/ws", "GET /toy/{room}/ws", ("a b",))
    assert conn.query == {"deployment": "d/1", "x": ""}
    for path in ("/toy/ws", "/toy/a/ws/b", "/toy/a/w"):
        refused = made.engine.on_upgrade(made.now, made.number(), "127.0.0.1:1", path, {})
        assert refused is not None
        assert refused.status == 404


def test_limits_and_faults_name_an_upgrade_by_its_template() -> None:
    made = bench({"limits": [{"endpoint": "GET /toy/{room}/ws", "rate": "1/h", "burst": 1, "scope": "deployment"}]})
    enter(made, "r1", query="?deployment=d1")
    enter(made, "r2", query="?deployment=d2")
    refused = made.engine.on_upgrade(made.now, 90, "127.0.0.1:3", "/toy/r3/ws?deployment=d1", {"x-request-id": "up"})
    assert refused is not None
    assert refused.status == 429
    assert [(row["id"], row["endpoint"]) for row in made.rows("refused")] == [("up", "GET /toy/{room}/ws")]
    made = bench(faults({"name": "refuse_upgrade", "endpoint": "GET /toy/{room}/ws"}))
    assert made.engine.on_upgrade(made.now, 1, "127.0.0.1:3", "/toy/r3/ws", {}) is not None
    assert made.engine.on_upgrade(made.now, 2, "127.0.0.1:4", "/webchat", {}) is None


def test_halves_share_a_path_by_what_they_claim() -> None:
    made = bench({"toy": {"greeting": "good day"}})
    assert made.answer(made.request("POST", "/oauth/token", b"scope=toy:all")) == (200, {"toy": "good day"})
    assert made.answer(made.request("POST", "/oauth/token", b"scope=else")) == (400, {"error": "unsupported_grant_type"})
    assert made.token()
    assert made.answer(made.request("GET", "/oauth/token"))[0] == 405
    only = Bench(dialects=("toy",))
    assert only.answer(only.request("POST", "/oauth/token", b"scope=else")) == (200, {"toy": "hello"})


# ------------------------------------------------------------ tables and sets
def test_a_half_has_a_table_of_its_own() -> None:
    config = SimConfig.from_table({"toy": {"most": 5}, "token_life": "15min", "webchat": {"page": 7}})
    assert config.settings_of(registry.half("toy")).most == 5
    assert config.settings_of(registry.half("webchat")).page == 7
    assert config.settings_of(registry.half("longpoll")).max_message == 256 * 1024
    assert config != SimConfig.from_table({"token_life": "15min"})
    for table, where, says in (
        ({"toy": {"mots": 5}}, "simulator.toy.mots", "most"),
        ({"toy": {"most": 0}}, "simulator.toy.most", "at least 1"),
        ({"toy": 5}, "simulator.toy", "no table"),
        ({"webcaht": {}}, "simulator.webcaht", "webchat"),
        ({"dialects": {}}, "simulator.dialects", "unknown"),
        ({"limit_sets": ["tyo"]}, "simulator.limit_sets[0].tyo", "toy"),
    ):
        with pytest.raises(SimConfigError) as caught:
            SimConfig.from_table(table)
        assert caught.value.where == where
        assert says in str(caught.value)


def test_a_limit_set_is_switched_on_by_name() -> None:
    table = {"toy": {"most": 2}}
    for limit_sets, refused in (([], 0), (["toy"], 1)):
        made = bench({**table, "limit_sets": limit_sets})
        one, other = enter(made), enter(made, peer="127.0.0.1:3001")
        for seq in (1, 2, 3):
            speak(made, one, seq)
        speak(made, other, 4)
        assert len(made.ids("messages.sent")) == 4 - refused
        assert [row["endpoint"] for row in made.rows("refused")] == ["frame say"] * refused
        assert [frame["retryAfter"] for frame in made.frames(one, "error")] == [1800] * refused


def test_what_a_limit_counts() -> None:
    who = Caller("c", "ip", "s")
    assert [who.key(scope) for scope in ("client", "ip", "session", "connection", "deployment", "organisation")] == [
        "c",
        "ip",
        "s",
        "s",
        "app",
        "app",
    ]
    full = Caller("c", "ip", "s", "o", "k", "d")
    assert [full.key(scope) for scope in ("connection", "deployment", "organisation")] == ["k", "d", "o"]


def test_halves_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    entries = [
        SimpleNamespace(name="toy", value="tests.simulator.toy_half:Toy"),
        SimpleNamespace(name="webchat", value="nowhere:Webchat"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: entries if group == "guestswarm.simulators" else [])
    for clear in (registry.specs.cache_clear, registry.half.cache_clear):
        clear()
    try:
        assert list(registry.specs())[:2] == ["longpoll", "webchat"]
        assert registry.half("webchat").__module__ == "harness.simulator.dialects.webchat"
        assert registry.half("toy").__name__ == "Toy"
        entries.append(SimpleNamespace(name="other", value="tests.simulator.toy_half:Toy"))
        registry.specs.cache_clear()
        with pytest.raises(TypeError):
            registry.half("other")
        with pytest.raises(KeyError):
            registry.half("nobody")
    finally:
        monkeypatch.undo()
        for clear in (registry.specs.cache_clear, registry.half.cache_clear):
            clear()


# ------------------------------------------------------------ several connections
def test_a_message_goes_over_every_connection() -> None:
    made = bench({"agents": {"accept": "1s", "reply": "2s", "typing": "1s"}})
    one, other = enter(made), enter(made, peer="127.0.0.1:3001")
    speak(made, one, 1)
    made.run(10)
    assert made.texts(one) == made.texts(other) == ["run.1-1.a.1 re 1"]
    assert len(made.frames(one, "typing")) == len(made.frames(other, "typing")) == 1
    assert made.ids("messages.delivered") == ["run.1-1.a.1"]
    assert made.ids("duplicated.cross_connection") == ["run.1-1.a.1"]


def test_the_newest_that_is_left_takes_over() -> None:
    made = bench({"auto_close": "30s"})
    one, other = enter(made), enter(made, peer="127.0.0.1:3001")
    conv = made.engine.conversations["r1"]
    assert conv.bound is made.engine.conns[other]
    made.leave(other)
    assert conv.bound is made.engine.conns[one]
    made.run(60)
    assert not conv.closed
    made.leave(one)
    assert conv.bound is None
    made.run(29)
    assert not conv.closed
    made.run(2)
    assert conv.closed


def test_one_may_belong_without_being_the_newest() -> None:
    made = bench()
    one, other = enter(made), enter(made, peer="127.0.0.1:3001")
    engine, conv = made.engine, made.engine.conversations["r1"]
    first, second = engine.conns[one], engine.conns[other]
    engine.join(made.now, first, conv)
    assert (first.conv, conv.bound) == (conv, second)
    made.leave(one)
    assert conv.bound is second
    made.leave(other)
    third = engine.conns[enter(made, peer="127.0.0.1:3002")]
    conv.bound = None
    engine.join(made.now, third, conv)
    assert conv.bound is third


@pytest.mark.parametrize(("name", "ended"), [("tear", "tear"), ("reset", "reset")])
def test_what_strikes_a_delivery_strikes_all_of_its_connections(name: str, ended: str) -> None:
    made = bench(faults({"name": name, "direction": "agent"}))
    one, other = enter(made), enter(made, peer="127.0.0.1:3001")
    speak(made, one, 1)
    made.run(10)
    assert made.ended[one][0] == made.ended[other][0] == ended
    assert len(made.ids("disconnects")) == 2


@pytest.mark.parametrize("kind", ["corrupt", "binary", "malformed", "oversize", "unknown_type", "wrong_id"])
def test_odd_frames_go_everywhere_as_well(kind: str) -> None:
    made = bench(faults({"name": kind}))
    one, other = enter(made), enter(made, peer="127.0.0.1:3001")
    speak(made, one, 1)
    made.run(10)
    assert made.pushed[one] == made.pushed[other]
    assert len(made.pushed[one]) == (1 if kind == "corrupt" else 2)
    assert made.acts(kind) == ["run.1-1.a.1"]


# ------------------------------------------------------------ pings
def pongs(made: Bench) -> list[tuple[int, bytes]]:
    return list(made.pongs)


def test_a_ping_is_answered_at_once() -> None:
    made = bench()
    conn = enter(made)
    made.engine.on_ping(made.now, conn, b"\x00\xff")
    made.engine.on_ping(made.now, 999, b"nobody")
    assert pongs(made) == [(conn, b"\x00\xff")]
    made.engine.end(made.now, made.engine.conns[conn], "why")
    made.engine.on_ping(made.now, conn, b"late")
    assert len(pongs(made)) == 1


def test_a_stalled_connection_answers_when_it_opens() -> None:
    made = bench()
    conn = enter(made)
    made.engine.stall(made.now, made.engine.conns[conn], 5 * SECOND)
    made.engine.on_ping(made.now, conn, b"1")
    made.engine.on_ping(made.now, conn, b"2")
    made.run(4)
    assert pongs(made) == []
    made.run(2)
    assert pongs(made) == [(conn, b"1"), (conn, b"2")]


def test_one_that_left_in_the_meantime_gets_no_answer() -> None:
    made = bench()
    conn = enter(made)
    made.engine.stall(made.now, made.engine.conns[conn], 5 * SECOND)
    speak(made, conn, 1)
    made.engine.on_ping(made.now, conn, b"1")
    made.leave(conn)
    made.run(10)
    assert pongs(made) == []
    assert made.ids("messages.sent") == ["run.1-1.g.1"]


def test_a_deaf_connection_never_answers() -> None:
    made = bench()
    conn = enter(made)
    made.engine.stall(made.now, made.engine.conns[conn], 5 * SECOND, deaf="half_open")
    made.engine.on_ping(made.now, conn, b"1")
    made.run(10)
    assert pongs(made) == []
    assert made.ended[conn][0] == "reset"


def test_a_ping_is_traffic_to_a_middlebox() -> None:
    made = bench({"keepalive": {"idle_cut": "30s", "ping_every": 0}})
    quiet, lively = enter(made, "r1"), enter(made, "r2", peer="127.0.0.1:3001")
    for _ in range(6):
        made.run(20)
        made.engine.on_ping(made.now, lively, b"")
    assert made.acts("idle_cut") == ["127.0.0.1:3000/1"]
    assert made.ids("disconnects") == []
    made.run(40)
    assert made.ended[quiet][0] == "reset"


# ------------------------------------------------------------ ends
@pytest.mark.parametrize("leaves", [True, False])
def test_a_guest_has_a_while_to_close_by_itself(leaves: bool) -> None:
    made = bench()
    conn = enter(made)
    made.engine.end_later(made.now, made.engine.conns[conn], 5 * SECOND, "session_over", reason="bye")
    made.run(4.9)
    if leaves:
        made.leave(conn)
    made.run(1)
    assert made.ended[conn] == (("guest", 1000) if leaves else ("close", 1001))
    assert [row["fault"] for row in made.rows("disconnects")] == ([] if leaves else ["session_over"])


# ------------------------------------------------------------ truth
def test_an_open_socket_is_enough_where_the_half_says_so() -> None:
    made = bench()
    conn = enter(made)
    assert made.engine.conns[conn].ready
    made.engine.end(made.now, made.engine.conns[conn], "gone")
    made.tell()
    assert [(row["id"], row["fault"]) for row in made.rows("disconnects")] == [("127.0.0.1:3000/1", "gone")]
    refused = made.engine.on_upgrade(made.now, 50, "127.0.0.1:3005", "/toy/r/ws?token=bad", {})
    assert refused is not None
    made.engine.on_socket_closed(made.now, 50, "server", 1008)
    assert len(made.ids("disconnects")) == 1


@pytest.mark.parametrize(("name", "kind"), [("lose_push", "lose_push"), ("corrupt", "corrupt"), ("lose_all", "lose_all")])
def test_without_a_listing_what_was_not_pushed_is_lost(name: str, kind: str) -> None:
    made = bench(faults({"name": name, "for": "4s"}))
    conn = enter(made)
    speak(made, conn, 1)
    made.run(5)
    speak(made, conn, 2)
    made.run(5)
    assert "run.1-1.a.1 re 1" not in made.texts(conn)
    made.seal()
    assert [(row["id"], row["kind"]) for row in made.rows("lost.agent")] == [("run.1-1.a.1", kind)]
    assert made.ids("unseen_tail") == []


def test_what_is_pushed_while_nobody_is_there_is_lost_too() -> None:
    made = bench()
    conn = enter(made)
    speak(made, conn, 1)
    made.run(1.5)
    made.leave(conn)
    made.run(5)
    again = enter(made, peer="127.0.0.1:3001")
    speak(made, again, 2)
    made.run(5)
    made.seal()
    assert [(row["id"], row["kind"]) for row in made.rows("lost.agent")] == [("run.1-1.a.1", "cut")]


def test_two_copies_look_alike_where_frames_show_neither_id_nor_time() -> None:
    made = bench(faults({"name": "duplicate_store"}))
    conn = enter(made)
    speak(made, conn, 1)
    made.run(5)
    assert made.texts(conn) == ["run.1-1.a.1 re 1"] * 2
    assert made.ids("duplicated.same_connection") == ["run.1-1.a.1"]
    assert made.ids("duplicated.resend") == []
