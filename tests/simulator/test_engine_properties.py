"""The engine as a whole: repeatable, total over garbage, bounded, and true to its own rows."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.engine_kit import SECRET, Bench

EVERYTHING = [
    {"name": "lose_ingest", "share": 0.05},
    {"name": "lose_confirm", "share": 0.05},
    {"name": "lose_push", "share": 0.05},
    {"name": "lose_all", "share": 0.05},
    {"name": "duplicate", "share": 0.05, "gap": "1s±100%", "direction": "both"},
    {"name": "duplicate_store", "share": 0.05},
    {"name": "reorder", "share": 0.05, "extent": 2},
    {"name": "delay", "share": 0.05, "by": "3s±50%", "direction": "both"},
    {"name": "corrupt", "share": 0.02},
    {"name": "wrong_id", "share": 0.02},
    {"name": "malformed", "share": 0.02},
    {"name": "unknown_type", "share": 0.02},
    {"name": "binary", "share": 0.02},
    {"name": "reset", "share": 0.01},
    {"name": "tear", "share": 0.01},
    {"name": "stall", "share": 0.01, "length": "5s"},
    {"name": "half_open", "share": 0.005, "limit": "8s"},
    {"name": "close_code", "every": "40s", "share": 0.1},
    {"name": "mass_disconnect", "at": "50s", "every": "60s", "share": 0.3},
    {"name": "maintenance", "at": "90s", "for": "5s"},
    {"name": "http_error", "share": 0.02},
    {"name": "throttle", "share": 0.02},
    {"name": "revoke", "every": "70s", "share": 0.1},
    {"name": "drift", "add": "1ms"},
    {"name": "slow_accept", "share": 0.1, "by": "500ms"},
    {"name": "refuse_upgrade", "share": 0.05},
]
BUSY = {
    "agents": {
        "number": 20,
        "concurrency": 2,
        "accept": "1s±50%",
        "reply": "2s±80%",
        "typing": "300ms",
        "extra": 0.3,
        "close": 0.01,
    },
    "latency": {"echo": "20ms±100%", "list": "30ms", "token": "10ms"},
    "forget_after": "30s",
    "auto_close": "60s",
    "faults": EVERYTHING,
}


def crowd(seed: int, *, guests: int = 12, turns: int = 400, table: dict[str, Any] | None = None) -> Bench:
    """Guests without much sense: they talk, drop, come back, list, and leave."""
    bench = Bench(table or BUSY, seed=seed)
    rng = Random(f"crowd/{seed}")
    conns: dict[int, tuple[int, str]] = {}
    seqs: Counter[str] = Counter()
    for turn in range(turns):
        bench.run(rng.random() * 0.7)
        guest = rng.randrange(guests)
        conn, conv = conns.get(guest, (0, ""))
        if conn == 0 or conn in bench.ended:
            number = bench.number()
            if bench.engine.on_upgrade(bench.now, number, f"127.0.0.1:{5000 + turn}", "/webchat", {}) is not None:
                continue
            request = bench.request(
                "POST",
                "/oauth/token",
                f"grant_type=client_credentials&client_id=guestswarm&client_secret={SECRET}".encode(),
            )
            bench.run(0.05)
            answer = bench.answers.get(request)
            if answer is None or answer.status != 200 or not answer.body.endswith(b"}") or number in bench.ended:
                continue
            bench.say(number, type="auth", token=json.loads(answer.body)["access_token"])
            if conv:
                bench.say(number, type="routing", routing={}, conversationId=conv)
            else:
                bench.say(number, type="routing", routing={"skillGroups": ["Billing"], "attributes": {}})
                bench.run(0.1)
                made = bench.frames(number, "conversation")
                conv = made[-1]["conversationId"] if made else ""
            conns[guest] = (number, conv)
        elif rng.random() < 0.08:
            bench.leave(conn)
        elif rng.random() < 0.05 and conv:
            bench.request(
                "GET", f"/api/v2/conversations/messages?conversationId={conv}&limit=500", token="x" if rng.random() < 0.3 else ""
            )
        elif rng.random() < 0.04 and conv:
            bench.say(conn, type="conversation", conversationId=conv, status="closed")
            conns[guest] = (conn, "")
        elif conv:
            seqs[conv] += 1
            bench.message(conn, conv, seqs[conv], label=f"{guest}-{len(conv)}{conv[5:9]}", mid=f"{conv[5:9]}-{seqs[conv]}")
    bench.engine.settle(bench.now)
    bench.run(40)
    return bench


def test_the_same_seed_gives_the_same_truth() -> None:
    one, two, other = crowd(1), crowd(1), crowd(2)
    for bench in (one, two, other):
        bench.seal()
    assert one.lines == two.lines
    assert len(one.lines) > 500
    assert one.lines != other.lines


def test_truth_agrees_with_what_the_outlet_was_given() -> None:
    """Counted again from the frames that went out, by another way of counting."""
    for seed in range(4):
        bench = crowd(seed, turns=600)
        counts = Counter(bench.seal())
        pushed: dict[str, list[tuple[int, str, str]]] = {}
        for conn in bench.pushed:
            for frame in bench.frames(conn, "message"):
                if " [#" in frame["text"]:
                    nonce = frame["text"].rpartition("#")[2].split(" ")[0].rstrip("]")
                    pushed.setdefault(nonce, []).append((conn, frame["messageId"], frame["timestamp"]))
        handed = {row["id"] for row in bench.rows("messages.delivered", "messages.returned")}
        assert set(pushed) <= handed
        same = cross = 0
        for copies in pushed.values():
            by_copy: dict[tuple[str, str], list[int]] = {}
            for conn, mid, stamp in copies:
                by_copy.setdefault((mid, stamp), []).append(conn)
            for conns in by_copy.values():
                for place, conn in enumerate(conns[1:], 1):
                    same += conn in conns[:place]
                    cross += conn not in conns[:place]
        assert (counts["duplicated.same_connection"], counts["duplicated.cross_connection"]) == (same, cross)
        assert not set(bench.ids("lost.agent")) & handed
        ended = [conn for conn, (how, _) in bench.ended.items() if how != "guest"]
        assert 0 < counts["disconnects"] <= len(ended)
        assert counts["cut"] == len(bench.cuts)


def test_memory_follows_what_is_open() -> None:
    bench = crowd(3, turns=800)
    bench.run(2000)
    engine = bench.engine
    assert engine.health(bench.now)["stalled"] == 0
    assert engine.health(bench.now)["backlog"] == 0
    assert not engine.pending
    assert not engine._handing
    for conn in list(engine.conns):
        bench.leave(conn)
    bench.run(200)
    assert not engine.conversations
    assert not bench.truth.streams
    assert engine.agents.busy == 0
    assert engine.timers.live <= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(["auth", "routing", "message", "typing", "read", "ping", "pong", "conversation", "wat", "", None, 3])
FIELDS = st.fixed_dictionaries(
    {"type": KINDS},
    optional=dict.fromkeys(
        ("token", "routing", "conversationId", "messageId", "text", "status", "payload", "attributes", "skillGroups", "priority"),
        JSON,
    ),
)
FRAMES = st.one_of(st.binary(max_size=60), st.text(max_size=60), JSON.map(json.dumps), FIELDS.map(json.dumps))


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAMES, max_size=25), st.booleans())
def test_no_frame_raises(frames: list[str | bytes], inside: bool) -> None:
    bench = Bench(
        {"faults": [{"name": "duplicate", "direction": "both"}], "limits": [{"rate": "10/s", "endpoint": "frame message"}]}
    )
    conn, conv = bench.routed() if inside else (bench.socket(token=""), "")
    for data in frames:
        bench.frame(conn, data.replace("CONV", conv) if isinstance(data, str) else data)
    bench.run(5)
    bench.seal()


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_no_field_raises_in_a_conversation(data: st.DataObject) -> None:
    bench = Bench()
    conn, conv = bench.routed()
    for _ in range(5):
        frame = dict(data.draw(FIELDS))
        if data.draw(st.booleans()):
            frame["conversationId"] = conv
        if data.draw(st.booleans()):
            frame["text"] = data.draw(st.text(max_size=10)) + " [#r.1.g.1]"
        bench.frame(conn, json.dumps(frame))
    bench.run(5)
    bench.seal()


METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "", "\x00"])
PATHS = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["/oauth/token", "/api/v2/routing/skillgroups", "/api/v2/conversations/messages"]).flatmap(
        lambda path: st.text(max_size=30).map(lambda query: f"{path}?{query}")
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(["authorization", "content-type", "x-request-id", "origin"]), st.text(max_size=30), max_size=4
)


@settings(max_examples=200, deadline=None)
@given(METHODS, PATHS, HEADERS, st.binary(max_size=200))
def test_no_request_raises_and_each_is_answered_or_held(method: str, path: str, headers: dict[str, str], body: bytes) -> None:
    bench = Bench({"limits": [{"rate": "10/s"}]})
    number = bench.number()
    bench.engine.on_request(bench.now, number, "127.0.0.1:9", method, path, headers, body)
    bench.engine.on_upgrade(bench.now, bench.number(), "127.0.0.1:9", path, headers)
    bench.tell()
    bench.run(1)
    assert number in bench.answers or number in bench.engine.pending
    bench.engine.on_request_gone(bench.now, number)
    bench.seal()


@settings(max_examples=60, deadline=None)
@given(st.recursive(JSON, lambda inner: st.lists(inner, max_size=3)))
def test_no_plan_raises_anything_but_value_errors(plan: Any) -> None:
    bench = Bench()
    try:
        bench.engine.set_faults(bench.now, plan)
    except ValueError:
        assert not bench.rows()
