"""Each fault does what its file says, and truth tells what came of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.simulator.faults.catalogue import CATALOGUE
from harness.simulator.faults.slow_body import OVER
from harness.simulator.spelling import SimConfigError
from tests.simulator.engine_kit import MS, SECOND, Bench

TALK = 5
Plan = dict[str, Any]


def talk(*plans: Plan, messages: int = TALK, table: dict[str, Any] | None = None) -> tuple[Bench, int, str]:
    """One guest says a few things, three seconds apart."""
    bench = Bench({"faults": list(plans), **(table or {})})
    conn, conv = bench.routed()
    bench.run(1.5)
    for seq in range(1, messages + 1):
        if conn in bench.ended:
            break
        bench.message(conn, conv, seq)
        bench.run(3)
    return bench, conn, conv


def agents(bench: Bench, conn: int) -> list[str]:
    return [text for text in bench.texts(conn) if ".a." in text]


def numbers(texts: list[str]) -> list[int]:
    return [int(text.split(" ")[0].rpartition(".")[2]) for text in texts]


# ---------------------------------------------------------------- messages


def test_lose_ingest() -> None:
    bench, conn, conv = talk({"name": "lose_ingest", "at": "2s", "for": "4s"})
    lost = bench.acts("lose_ingest")
    assert lost == ["run.1-1.g.2"]
    assert "run.1-1.g.2" in bench.texts(conn)  # confirmed
    assert "m2" not in [row["messageId"] for row in bench.listing(conv)]
    bench.seal()
    assert bench.ids("lost.ingest") == lost
    assert bench.ids("messages.sent") == [f"run.1-1.g.{seq}" for seq in range(1, TALK + 1)]
    assert not any(text.endswith("re 2") for text in bench.texts(conn))


def test_lose_ingest_made_good_by_another_attempt_is_no_loss() -> None:
    bench, conn, conv = talk({"name": "lose_ingest", "at": "2s", "for": "4s"})
    bench.message(conn, conv, 2)
    bench.seal()
    assert bench.ids("lost.ingest") == []
    assert bench.ids("messages.sent").count("run.1-1.g.2") == 1


def test_lose_ingest_that_nobody_heard_of_is_nothing() -> None:
    bench = Bench({"faults": [{"name": "lose_ingest"}]})
    conn, conv = bench.routed()
    bench.unreadable.add(conn)
    bench.message(conn, conv, 1)
    counts = bench.seal()
    assert "messages.sent" not in counts
    assert "lost.ingest" not in counts


def test_lose_confirm() -> None:
    bench, conn, conv = talk({"name": "lose_confirm", "at": "2s", "for": "4s"})
    assert bench.acts("lose_confirm") == ["run.1-1.g.2"]
    assert "run.1-1.g.2" not in bench.texts(conn)
    assert "run.1-1.a.2 re 2" in bench.texts(conn)
    assert "run.1-1.g.2" not in bench.ids("messages.returned")
    assert "m2" in [row["messageId"] for row in bench.listing(conv)]
    assert "run.1-1.g.2" in bench.ids("messages.returned")


def test_lose_push() -> None:
    bench, conn, conv = talk({"name": "lose_push", "at": "5s", "for": "3s"})
    assert bench.acts("lose_push") == ["run.1-1.a.2"]
    assert numbers(agents(bench, conn)) == [1, 3, 4, 5]
    assert "run.1-1.a.2" not in bench.ids("messages.delivered")
    rows = bench.listing(conv)
    assert any(row["text"].endswith(".a.2 re 2]") for row in rows)
    bench.seal()
    assert bench.ids("lost.agent") == []
    assert bench.ids("reordered") == []  # listed first: not in the sample


def test_lose_push_that_is_never_listed_is_lost() -> None:
    bench, _, _ = talk({"name": "lose_push", "at": "5s", "for": "3s"})
    bench.seal()
    assert [(row["id"], row["kind"]) for row in bench.rows("lost.agent")] == [("run.1-1.a.2", "lose_push")]


def test_lose_all_is_never_the_last() -> None:
    bench, conn, conv = talk({"name": "lose_all"}, messages=1)
    bench.run(10)
    assert bench.acts("lose_all") == ["run.1-1.a.1"]
    assert bench.texts(conn) == ["run.1-1.g.1", "run.1-1.a.2"]
    assert len(bench.listing(conv)) == 2
    bench.seal()
    assert [(row["id"], row["kind"]) for row in bench.rows("lost.agent")] == [("run.1-1.a.1", "lose_all")]


def test_lose_all_before_an_early_end_is_an_unseen_tail() -> None:
    bench, conn, conv = talk({"name": "lose_all"}, messages=1)
    bench.say(conn, type="conversation", conversationId=conv, status="closed")
    bench.seal()
    assert bench.ids("unseen_tail") == ["run.1-1.a.1"]
    assert bench.ids("lost.agent") == []


def test_duplicate_on_the_same_connection() -> None:
    bench, conn, _ = talk({"name": "duplicate", "at": "5s", "for": "3s", "copies": 2})
    assert numbers(agents(bench, conn)) == [1, 2, 2, 2, 3, 4, 5]
    assert bench.ids("duplicated.same_connection") == ["run.1-1.a.2"] * 2
    assert bench.ids("reordered") == []


def test_duplicate_after_a_gap_on_another_connection() -> None:
    bench, conn, conv = talk({"name": "duplicate", "gap": "10s"}, messages=1)
    bench.leave(conn)
    new = bench.socket("127.0.0.1:3001")
    bench.say(new, type="routing", routing={}, conversationId=conv)
    bench.run(20)
    assert bench.texts(new) == ["run.1-1.a.1 re 1"]
    assert [(row["id"], row["via"]) for row in bench.rows("duplicated.cross_connection")] == [("run.1-1.a.1", "127.0.0.1:3001/1")]


def test_duplicate_store() -> None:
    bench, conn, conv = talk({"name": "duplicate_store"}, messages=1)
    assert agents(bench, conn) == ["run.1-1.a.1 re 1"] * 2
    assert len({frame["messageId"] for frame in bench.frames(conn, "message")}) == 3
    assert len(bench.listing(conv)) == 3
    counts = bench.seal()
    assert counts["duplicated.resend"] == 1
    assert "duplicated.same_connection" not in counts
    assert counts["messages.delivered"] == 1


@pytest.mark.parametrize("extent", [1, 2])
def test_reorder(extent: int) -> None:
    plan = {"name": "reorder", "at": "5s", "for": "3s", "extent": extent, "within": "60s"}
    bench, conn, _ = talk(plan)
    want = [1, 3, 2, 4, 5] if extent == 1 else [1, 3, 4, 2, 5]
    assert numbers(agents(bench, conn)) == want
    assert bench.ids("reordered") == ["run.1-1.a.2"]


def test_reorder_waits_no_longer_than_it_may() -> None:
    bench, conn, _ = talk({"name": "reorder", "within": "4s"}, messages=1)
    assert agents(bench, conn) == []
    bench.run(4)
    assert len(agents(bench, conn)) == 1
    assert bench.ids("reordered") == []


def test_what_is_held_goes_out_before_the_end() -> None:
    bench, conn, conv = talk({"name": "reorder", "within": "60s"}, messages=1)
    bench.say(conn, type="conversation", conversationId=conv, status="closed")
    assert [frame["type"] for frame in bench.frames(conn)[-2:]] == ["message", "conversation"]
    bench.run(120)
    assert bench.last(conn)["type"] == "conversation"


def test_what_is_held_goes_out_at_settle() -> None:
    bench, conn, _ = talk({"name": "delay", "by": "60s"}, messages=1)
    assert agents(bench, conn) == []
    bench.engine.settle(bench.now)
    assert len(agents(bench, conn)) == 1


def test_delay() -> None:
    bench, conn, _ = talk({"name": "delay", "at": "5s", "for": "3s", "by": "4s"})
    assert numbers(agents(bench, conn)) == [1, 3, 2, 4, 5]
    assert bench.ids("reordered") == bench.acts("delay") == ["run.1-1.a.2"]


def test_corrupt_replaces_the_frame() -> None:
    bench, conn, conv = talk({"name": "corrupt", "at": "5s", "for": "3s"})
    assert numbers(agents(bench, conn)) == [1, 3, 4, 5]
    broken = [data for data in bench.pushed[conn] if isinstance(data, str) and data.endswith("\ufffd")]
    assert len(broken) == 1
    with pytest.raises(ValueError):
        json.loads(broken[0])
    bench.listing(conv)
    assert sorted(bench.ids("messages.delivered"))[1] == "run.1-1.a.2"


def test_corrupt_answers_hand_nothing_over() -> None:
    bench, conn, conv = talk(messages=1)
    bench.engine.set_faults(bench.now, [{"name": "corrupt", "at": 0, "endpoint": "GET /api/v2/conversations/messages"}])
    token = bench.token()
    bench.leave(conn)
    number = bench.request("GET", f"/api/v2/conversations/messages?conversationId={conv}", token=token)
    with pytest.raises(ValueError):
        json.loads(bench.answers[number].body)
    assert bench.acts("corrupt") == [f"req-{number}"]


@pytest.mark.parametrize("name", ["wrong_id", "oversize", "malformed", "unknown_type", "binary"])
def test_odd_frames_come_besides(name: str) -> None:
    bench, conn, conv = talk({"name": name}, messages=1)
    before, odd = bench.pushed[conn][-2:]
    assert isinstance(before, str)
    assert before.count(".a.1 re 1]") == 1
    if name == "binary":
        assert isinstance(odd, bytes)
    else:
        assert isinstance(odd, str)
        if name == "malformed":
            with pytest.raises(ValueError):
                json.loads(odd)
        elif name == "wrong_id":
            assert json.loads(odd)["conversationId"] not in (conv, None)
        elif name == "oversize":
            assert len(odd) > 500_000
        else:
            assert json.loads(odd)["type"] not in ("message", "typing", "conversation")
    assert bench.acts(name) == ["run.1-1.a.1"]
    assert bench.seal()["messages.delivered"] == 1


# ---------------------------------------------------------------- connections


def test_reset_per_delivery() -> None:
    bench, conn, conv = talk({"name": "reset", "share": 1.0, "direction": "agent"}, messages=1)
    assert bench.ended[conn] == ("reset", 0)
    assert bench.texts(conn) == ["run.1-1.g.1", "run.1-1.a.1 re 1"]
    assert [(row["id"], row["fault"]) for row in bench.rows("disconnects")] == [("127.0.0.1:3000/1", "reset")]
    assert bench.engine.conversations[conv].bound is None


def test_reset_at_one_moment() -> None:
    bench = Bench({"faults": [{"name": "reset", "at": "10s"}]})
    conns = [bench.routed(f"127.0.0.1:{3000 + place}")[0] for place in range(4)]
    silent = bench.socket("127.0.0.1:3999", token="")
    bench.run(9)
    assert not bench.ended
    bench.run(2)
    assert sorted(bench.ended) == sorted(conns)
    assert silent not in bench.ended  # not ready: not one of them
    assert bench.seal()["disconnects"] == 4


def test_reset_cuts_answers() -> None:
    bench = Bench({"faults": [{"name": "reset", "share": 1.0, "endpoint": "POST /oauth/token"}]})
    number = bench.request("POST", "/oauth/token", b"grant_type=client_credentials", rid="the-one")
    assert bench.cuts == [number]
    assert bench.ids("cut") == ["the-one"]
    bench.engine.on_request_gone(bench.now, number)
    assert bench.seal() == {"act": 1, "cut": 1, "fault": 1}


def test_tear() -> None:
    bench, conn, _ = talk({"name": "tear", "at": "2s", "for": "4s"})
    assert bench.ended[conn] == ("tear", 0)
    assert [(row["id"], row["of"]) for row in bench.rows("torn")] == [("run.1-1.a.1", "messages.delivered")]
    assert bench.ids("messages.delivered") == []
    assert bench.rows("disconnects")[0]["fault"] == "tear"


def test_stall_lets_intake_in_before_output() -> None:
    bench = Bench({"faults": [{"name": "stall", "at": "4s", "length": "20s"}]})
    conn, conv = bench.routed()
    bench.run(2)
    bench.message(conn, conv, 1)
    bench.run(2.5)
    said = len(bench.pushed[conn])
    bench.message(conn, conv, 2)
    bench.run(19)
    assert len(bench.pushed[conn]) == said
    assert bench.ids("messages.sent") == ["run.1-1.g.1"]
    bench.run(5)
    assert bench.texts(conn) == ["run.1-1.g.1", "run.1-1.a.1 re 1", "run.1-1.g.2", "run.1-1.a.2 re 2"]
    assert bench.rows("disconnects") == []


def test_a_close_during_a_stall_drops_the_output_and_keeps_the_intake() -> None:
    bench = Bench({"faults": [{"name": "stall", "at": "4s", "length": "20s"}]})
    conn, conv = bench.routed()
    bench.run(2)
    bench.message(conn, conv, 1)
    bench.run(2.5)
    bench.message(conn, conv, 2)
    bench.leave(conn)
    bench.run(30)
    assert bench.texts(conn) == ["run.1-1.g.1"]
    assert bench.ids("messages.sent") == ["run.1-1.g.1", "run.1-1.g.2"]
    assert bench.ids("messages.delivered") == []
    assert bench.engine.health(bench.now)["stalled"] == 0


def test_half_open_loses_what_comes_in_and_ends_some_time() -> None:
    bench = Bench({"faults": [{"name": "half_open", "at": "4s", "limit": "40s"}]})
    conn, conv = bench.routed()
    bench.run(5)
    bench.message(conn, conv, 1)
    bench.run(60)
    assert bench.ended[conn] == ("reset", 0)
    assert bench.ids("messages.sent") == []
    assert bench.rows("disconnects")[0]["fault"] == "half_open"


def test_half_open_is_over_when_the_guest_gives_up_or_the_run_settles() -> None:
    bench = Bench({"faults": [{"name": "half_open", "at": "4s"}]})
    one, _ = bench.routed("127.0.0.1:3000")
    two, _ = bench.routed("127.0.0.1:3001")
    bench.run(5)
    bench.leave(one)
    assert bench.engine.health(bench.now)["stalled"] == 1
    bench.engine.settle(bench.now)
    bench.tell()
    assert bench.ended[two] == ("reset", 0)
    assert [row["id"] for row in bench.rows("disconnects")] == ["127.0.0.1:3001/1"]


def test_close_code() -> None:
    bench = Bench({"faults": [{"name": "close_code", "at": "5s", "every": "10s", "code": 4321}]})
    conn, _ = bench.routed()
    bench.run(6)
    assert bench.ended[conn] == ("close", 4321)


def test_mass_disconnect_repeats() -> None:
    bench = Bench({"faults": [{"name": "mass_disconnect", "at": "5s", "every": "10s", "share": 0.5, "mode": "close"}]})
    for place in range(40):
        bench.routed(f"127.0.0.1:{3000 + place}")
    bench.run(6)
    first = len(bench.ended)
    assert 8 < first < 32
    bench.run(10)
    assert first < len(bench.ended)
    assert set(bench.ended.values()) == {("close", 1012)}
    assert len(bench.acts("mass_disconnect")) == len(bench.ended) == len(bench.rows("disconnects"))


def test_revoke() -> None:
    bench = Bench({"faults": [{"name": "revoke", "at": "5s"}], "webchat": {"expiry_grace": "3s"}})
    conn, _ = bench.routed()
    bench.run(5)
    assert bench.last(conn) == {"type": "error", "code": "TOKEN_EXPIRED"}
    bench.run(3)
    assert bench.ended[conn] == ("close", 4001)


def test_revoke_by_use() -> None:
    bench, conn, conv = talk({"name": "revoke", "share": 1.0, "at": "2s"}, messages=1)
    assert bench.frames(conn, "error") == [{"type": "error", "code": "TOKEN_EXPIRED"}]
    assert len(bench.acts("revoke")) == 1  # once is enough
    token = bench.token()
    assert bench.answer(bench.request("GET", f"/api/v2/conversations/messages?conversationId={conv}", token=token))[0] == 401


@pytest.mark.parametrize("status", [0, 503])
def test_refuse_upgrade(status: int) -> None:
    bench = Bench({"faults": [{"name": "refuse_upgrade", "status": status}]})
    refused = bench.engine.on_upgrade(bench.now, 9, "127.0.0.1:3000", "/webchat", {})
    assert refused is not None
    assert refused.status == status
    bench.engine.set_faults(bench.now, [])
    bench.routed()
    bench.engine.end(bench.now, next(iter(bench.engine.conns.values())), "x", how="reset")
    bench.tell()
    assert bench.ids("disconnects") == ["127.0.0.1:3000/1"]  # a refused one has no number


def test_maintenance() -> None:
    bench = Bench({"faults": [{"name": "maintenance", "at": "10s", "for": "20s", "retry_after": "5s"}], "latency": {"list": "8s"}})
    conn, conv = bench.routed()
    token = bench.token()
    bench.run(9)
    late = bench.request("GET", f"/api/v2/conversations/messages?conversationId={conv}", token=token)
    bench.run(2)
    assert bench.ended[conn] == ("close", 1012)
    assert bench.answers[late].status == 503
    assert bench.engine.on_upgrade(bench.now, 99, "127.0.0.1:1", "/webchat", {}) is not None
    refused = bench.answers[bench.request("POST", "/oauth/token")]
    assert (refused.status, refused.headers) == (503, {"retry-after": "5"})
    bench.run(20)
    bench.routed("127.0.0.1:3001")
    assert [(row["name"], row["on"]) for row in bench.rows("fault")] == [("maintenance", True), ("maintenance", False)]


def test_maintenance_comes_again() -> None:
    bench = Bench({"faults": [{"name": "maintenance", "at": "10s", "for": "5s", "every": "20s"}]})
    bench.run(60)
    assert [(row["t"] - bench.start) // SECOND for row in bench.rows("fault")] == [10, 15, 30, 35, 50, 55]


def test_slow_accept() -> None:
    bench = Bench({"faults": [{"name": "slow_accept", "by": "3s"}]})
    conn = bench.socket()
    bench.run(2.9)
    assert conn not in bench.pushed
    bench.run(0.2)
    assert bench.last(conn)["status"] == "success"


def test_http_error() -> None:
    bench = Bench({"faults": [{"name": "http_error", "status": 502, "endpoint": "POST /oauth/token"}]})
    assert bench.answer(bench.request("POST", "/oauth/token"))[0] == 502
    assert bench.answer(bench.request("GET", "/api/v2/routing/skillgroups"))[0] == 401
    assert bench.ids("tokens.client_credentials") == []


def test_slow_body() -> None:
    bench = Bench({"faults": [{"name": "slow_body", "over": "3s"}]})
    number = bench.request("GET", "/api/v2/routing/skillgroups")
    assert bench.answers[number].headers[OVER] == str(3 * SECOND)


def test_throttle() -> None:
    bench, conn, conv = talk(messages=0)
    token = bench.token()
    bench.engine.set_faults(bench.now, [{"name": "throttle", "retry_after": "7s"}])
    bench.message(conn, conv, 1)
    assert bench.last(conn) == {"type": "error", "code": "RATE_LIMITED", "retryAfter": 7, "messageId": "m1"}
    number = bench.request("GET", "/api/v2/routing/skillgroups", token=token, rid="limited")
    assert bench.answers[number].status == 429
    assert bench.answers[number].headers == {"retry-after": "7"}
    assert bench.ids("refused") == ["127.0.0.1:3000/1#1", "limited"]
    assert bench.ids("messages.sent") == []


def test_drift() -> None:
    bench = Bench({"faults": [{"name": "drift", "factor": 1.0, "add": "100ms", "step": "10ms"}], "latency": {"list": "100ms"}})
    assert bench.engine.latency(bench.now, "list") == 110 * MS
    bench.run(7200)
    assert bench.engine.latency(bench.now, "list") == 510 * MS
    assert bench.engine.latency(bench.now, "token") == 210 * MS


def taken(bench: Bench, kind: str = "list") -> float:
    return bench.engine.latency(bench.now, kind) / MS


def test_creep() -> None:
    plan = {"name": "creep", "at": "1h", "by": "50%", "over": "2h"}
    bench = Bench({"faults": [plan], "latency": {"list": "100ms"}})
    assert taken(bench) == 100
    bench.run(2 * 3600)
    assert taken(bench) == 125
    bench.run(3 * 3600)
    assert taken(bench) == 200  # on and on
    bench.engine.set_faults(bench.now, [{**plan, "hold": True}])
    assert taken(bench) == 100
    bench.run(9 * 3600)
    assert taken(bench) == 150
    bench.engine.set_faults(bench.now, [])
    assert taken(bench) == 100
    assert taken(bench, "token") == 0  # a part of nothing


def test_step() -> None:
    bench = Bench({"faults": [{"name": "step", "at": "3h", "by": "20%", "add": "5ms"}], "latency": {"list": "100ms"}})
    bench.run(3 * 3600 - 1)
    assert taken(bench) == 100
    bench.run(1)
    assert taken(bench) == 125


@pytest.mark.parametrize("plan", [{"name": "creep", "by": 1.0, "over": "1h"}, {"name": "step", "at": "1h", "by": 1.0}])
@pytest.mark.parametrize("service", [False, True])
def test_capacity_may_shrink_as_well(plan: Plan, service: bool) -> None:
    bench = Bench({"faults": [{**plan, "service": service}], "capacity": {"servers": 1, "service": "1s"}, "token_life": "9h"})
    conn, conv = bench.routed()
    bench.run(3600)
    bench.message(conn, conv, 1)
    bench.run(1.1)
    assert ("run.1-1.g.1" in bench.texts(conn)) is not service
    bench.run(1.1)  # a creep goes on
    assert "run.1-1.g.1" in bench.texts(conn)


def test_error_creep() -> None:
    """By requests and by messages: nothing at first, then more and more, and what failed was not worked on."""
    plan = {"name": "error_creep", "to": "50%", "over": "1h", "status": 500}
    bench = Bench({"faults": [plan], "capacity": {"servers": 4, "service": "1ms"}, "token_life": "9h"})
    conn, conv = bench.routed()
    token = bench.token()
    failed = []
    for part in range(4):
        numbers = [bench.request("GET", "/api/v2/routing/skillgroups", token=token) for _ in range(100)]
        failed.append(sum(bench.answers[number].status == 500 for number in numbers))
        for seq in range(100 * part + 1, 100 * part + 101):
            bench.message(conn, conv, seq)
        bench.run(1200)
    assert failed[0] == 0
    assert failed[1] < failed[2] < failed[3]
    assert 30 <= failed[3] <= 70
    errors = [frame["messageId"] for frame in bench.frames(conn, "error")]
    stored = {row.rpartition(".")[2] for row in bench.ids("messages.sent")}
    assert 30 < len(errors) < 150
    assert {f"m{seq}" for seq in stored}.isdisjoint(errors)
    assert len(stored) + len(errors) == 400
    assert len(bench.acts("error_creep")) == sum(failed) + len(errors)


def test_error_creep_needs_no_queue_and_keeps_to_its_endpoint() -> None:
    plan = {"name": "error_creep", "to": 1.0, "over": "1s", "hold": True}
    bench, conn, conv = talk(plan, messages=0)
    bench.message(conn, conv, 1)
    assert bench.frames(conn, "error")[-1]["code"] == "OVERLOADED"
    bench.engine.set_faults(bench.now, [{**plan, "endpoint": "GET /api/v2/routing/skillgroups"}])
    bench.run(2)
    bench.message(conn, conv, 2)
    assert "run.1-1.g.2" in bench.texts(conn)
    assert bench.answers[bench.request("GET", "/api/v2/routing/skillgroups")].status == 503


@pytest.mark.parametrize("real", [False, True])
def test_leak(real: bool) -> None:
    bench = Bench({"faults": [{"name": "leak", "size": "8MiB", "over": "1h", "for": "3h", "real": real}]})

    def leaked() -> int:
        held = sum(len(piece) for _, fault in bench.engine.faults._plan for piece in getattr(fault, "_held", []))
        return int(bench.engine.health(bench.now)["planted_bytes"]) + held

    assert leaked() == 0
    bench.run(1800)
    assert leaked() == pytest.approx(4 * 2**20, abs=8192)
    bench.run(3600)
    assert leaked() == pytest.approx(12 * 2**20, abs=8192)
    assert (bench.engine.health(bench.now)["planted_bytes"] == 0) is real
    bench.run(3 * 3600)
    assert leaked() == 0


def test_backlog() -> None:
    plan = {"name": "backlog", "lag": "10s", "count": 60, "over": "1min", "hold": True}
    bench, conn, conv = talk(plan, messages=1)
    assert agents(bench, conn)
    bench.run(120)
    for seq in range(2, 6):
        bench.message(conn, conv, seq)
    bench.run(3)
    assert bench.engine.health(bench.now)["undelivered"] == 60 + 4
    assert len(agents(bench, conn)) == 1
    bench.run(10)
    assert bench.engine.health(bench.now)["undelivered"] == 60
    assert numbers(agents(bench, conn)) == [1, 2, 3, 4, 5]
    assert len(bench.acts("backlog")) == 5  # the first by half a second


def test_skew() -> None:
    bench = Bench({"faults": [{"name": "skew", "by": "90s"}]})
    assert bench.engine.stamp_ms(bench.now) - bench.engine.wall_ms(bench.now) == 90_000


# ---------------------------------------------------------------- the whole server


def test_standstill() -> None:
    """Frames, requests and new sockets alike wait for its end; what came in and when is not forgotten."""
    table = {"timings": True, "latency": {"echo": "50ms"}, "agents": {"accept": "100ms", "reply": "500ms", "typing": 0}}
    bench = Bench({"faults": [{"name": "standstill", "at": "5s", "every": "10s", "length": "2s"}], **table})
    conn, conv = bench.routed()
    token = bench.token()
    bench.run(4.98)
    began = bench.start + 5 * SECOND
    bench.message(conn, conv, 1)
    bench.run(0.5)
    came = bench.now
    bench.message(conn, conv, 2)
    other = bench.socket("127.0.0.1:3001", token=token)
    number = bench.request("GET", f"/api/v2/conversations/messages?conversationId={conv}", token="none", rid="r1")
    bench.run(1)
    assert bench.texts(conn) == []
    assert bench.frames(other, "auth") == []
    assert bench.engine.health(bench.now)["parked"] == 0
    bench.run(1)
    assert bench.texts(conn)[:2] == ["run.1-1.g.1", "run.1-1.g.2"]
    assert [frame["status"] for frame in bench.frames(other, "auth")] == ["success"]
    assert bench.answer(number)[0] == 401
    assert bench.acts("standstill") == ["server"]
    times = {row["id"]: row for row in bench.rows("timing") if row["of"] == "echo"}
    assert times["run.1-1.g.1"]["t"] == began + 2 * SECOND  # was due within it
    assert times["run.1-1.g.2"]["received"] == came
    assert times["run.1-1.g.2"]["t"] == began + 2 * SECOND + 50 * MS
    asked = next(row for row in bench.rows("timing") if row["id"] == "r1")
    assert (asked["of"], asked["received"]) == ("http", came)
    bench.run(8)
    assert len(bench.acts("standstill")) == 2


def test_standstill_ends_when_the_run_settles() -> None:
    bench, conn, conv = talk({"name": "standstill", "at": "2s", "length": "60s"}, messages=1)
    bench.message(conn, conv, 2)
    assert "run.1-1.g.2" not in bench.texts(conn)
    bench.engine.settle(bench.now)
    assert "run.1-1.g.2" in bench.texts(conn)


def test_what_a_guest_did_before_it_left_a_standing_server_is_done_all_the_same() -> None:
    bench, conn, conv = talk({"name": "standstill", "at": "2s", "length": "20s"}, messages=1)
    bench.message(conn, conv, 2)
    bench.leave(conn)
    bench.run(30)
    assert "run.1-1.g.2" in bench.ids("messages.sent")
    assert bench.engine.health(bench.now)["connections"] == 0


# ---------------------------------------------------------------- plans


def test_every_fault_is_tested_here() -> None:
    from pathlib import Path

    text = Path(__file__).read_text()
    assert not [name for name in CATALOGUE if f'"{name}"' not in text]


def test_faults_compose_and_can_be_switched() -> None:
    bench, conn, conv = talk({"name": "duplicate"}, {"name": "unknown_type"}, messages=1)
    assert len(agents(bench, conn)) == 2
    assert bench.frames(conn, "presence")
    bench.engine.set_faults(bench.now, {"faults": [{"name": "lose_push"}]})
    bench.message(conn, conv, 2)
    bench.run(3)
    assert len(agents(bench, conn)) == 2
    assert [row["on"] for row in bench.rows("fault")] == [True, True, False, False, True]


def test_a_share_is_kept_to() -> None:
    bench, _, _ = talk({"name": "duplicate", "share": 0.25}, messages=400)
    assert 70 <= len(bench.acts("duplicate")) <= 130


def test_a_plan_for_another_dialect_leaves_this_one_alone() -> None:
    bench, _, _ = talk(
        {"name": "lose_all", "dialect": "longpoll"}, {"name": "reset", "dialect": "longpoll", "share": 1.0}, messages=1
    )
    assert bench.acts("lose_all") == bench.acts("reset") == []


def test_begin_moves_the_windows() -> None:
    bench = Bench({"faults": [{"name": "lose_push", "at": "10s", "for": "5s"}]})
    bench.run(8)
    bench.engine.begin(bench.now)
    bench.run(20)
    assert [(row["t"] - bench.start) // SECOND for row in bench.rows("fault")] == [18, 23]


@pytest.mark.parametrize(
    ("plan", "where"),
    [
        ({"name": "lose_pushes"}, "faults[0].name"),
        ({"name": "lose_push", "shar": 1}, "faults[0].shar"),
        ({"name": "lose_push", "share": 2}, "faults[0].share"),
        ({"name": "maintenance"}, "faults[0]"),
        ({"name": "close_code", "code": 1000}, "faults[0].code"),
        ({"name": "http_error", "status": 429}, "faults[0].status"),
        ({"name": "reset", "every": 0}, "faults[0].every"),
        ("lose_push", "faults[0]"),
        ({"at": "1s"}, "faults[0].name"),
    ],
)
def test_wrong_plans_change_nothing(plan: Any, where: str) -> None:
    bench = Bench({"faults": [{"name": "lose_push"}]})
    with pytest.raises(SimConfigError) as caught:
        bench.engine.set_faults(bench.now, [plan])
    assert caught.value.where == where
    assert isinstance(caught.value, ValueError)
    assert len(bench.engine.faults.on_delivery) == 1
