"""The webchat server against the literal transcript, then what the transcript does not show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.conformance.witness import Witness, scenes
from tests.simulator.engine_kit import SECOND, SECRET, Bench

SCENES = scenes("webchat")
TABLE = {
    "skills": {"Tier1_Support": True, "Billing": True},
    "agents": {"accept": "1s", "reply": "2s", "typing": 0},
    "keepalive": {"ping_every": "30s"},
}
ALONE = (
    "token",
    "token refused",
    "skill groups",
    "handshake",
    "handshake refused",
    "too early",
    "routing",
    "message",
    "reconnect, unknown",
)


class Player:
    """Plays scenes against a bench."""

    def __init__(self, table: dict[str, Any]) -> None:
        self.bench = Bench({**TABLE, **table})
        self.witness = Witness(token=self.bench.token(), messageId="mid-1")
        self.conn = 0
        self.request = 0
        self.seen: dict[int, int] = {}

    def play(self, scene: str, only: str = "") -> None:
        if scene == "token":
            del self.witness.names["token"]
        for line in SCENES[scene]:
            if not only or line["from"] == only:
                getattr(self, f"_{line['from']}")(line)

    def _guest(self, line: dict[str, Any]) -> None:
        bench, fill = self.bench, self.witness.fill
        if line["kind"] == "upgrade":
            self.conn = bench.socket(f"127.0.0.1:{4000 + self.conn}", token="", path=line["path"])
        elif line["kind"] == "frame":
            bench.say(self.conn, **fill(line["body"]))
        else:
            body = line["body"]
            if isinstance(body, str):
                body = body.replace("YOUR_APP_ID", "guestswarm").replace("YOUR_APP_SECRET", SECRET).encode()
            self.request = bench.request(line["method"], fill(line["path"]), body or b"", **fill(line.get("headers", {})))

    def _server(self, line: dict[str, Any]) -> None:
        bench = self.bench
        if line["kind"] == "frame":
            at = self.seen.get(self.conn, 0)
            if at >= len(bench.pushed.get(self.conn, [])):
                bench.run(31)
            frame = bench.pushed[self.conn][at]
            self.seen[self.conn] = at + 1
            self.witness.check(line["body"], json.loads(frame))
        elif line["kind"] == "close":
            assert bench.ended[self.conn] == ("close", line["code"])
        else:
            answer = bench.answers[self.request]
            assert answer.status == line["status"]
            assert answer.headers == line["headers"]
            self.witness.check(line["body"], json.loads(answer.body))


@pytest.mark.parametrize("scene", ALONE)
def test_a_scene_as_written(scene: str) -> None:
    player = Player({"keepalive": {"ping_every": 0}})
    player.play(scene)
    if scene == "too early":
        assert player.bench.rows("disconnects") == []  # it never was ready
        assert not player.bench.pushed


def test_token_limited() -> None:
    player = Player({"limits": [{"endpoint": "POST /oauth/token", "rate": "1/h", "burst": 1, "scope": "app", "retry_after": "2s"}]})
    player.play("token limited")
    assert player.bench.rows("refused")[0]["endpoint"] == "POST /oauth/token"


def test_reconnect_binds_and_lists() -> None:
    player = Player({"keepalive": {"ping_every": 0}})
    player.play("message")
    old = player.conn
    conv = player.witness.names["conversationId"]
    player.bench.say(old, type="message", conversationId=conv, messageId="m2", text="More. [#run1.1-1.g.2]")
    player.bench.leave(old)
    lines = SCENES["reconnect"]
    for line in lines[:5]:
        getattr(player, f"_{line['from']}")(line)
    player.witness.names["iso"] = "2020-01-01T00:00:00.000Z"
    player._guest(lines[5])
    status, body = player.bench.answer(player.request)
    assert status == 200
    row = lines[6]["body"]["messages"][0]
    assert [message["text"].rpartition("#")[2] for message in body["messages"]] == [
        "run1.1-1.g.1]",
        "run1.1-1.a.1 re 1]",
        "run1.1-1.g.2]",
    ]
    for message in body["messages"]:
        player.witness.check(row, message)
    player.bench.run(3)
    assert player.bench.texts(player.conn) == ["run1.1-1.a.2 re 2"]


def test_keep_alive_of_the_server() -> None:
    player = Player({})
    player.play("routing")
    conn = player.conn
    player.play("keep-alive, server")  # half a minute has gone by
    player.bench.run(20)
    assert conn not in player.bench.ended
    player.bench.run(200)
    assert player.bench.ended[conn] == ("close", 1011)
    assert [(row["id"], row["fault"]) for row in player.bench.rows("disconnects")] == [("127.0.0.1:4000/1", "keepalive")]


def test_keep_alive_of_the_guest_and_typing() -> None:
    player = Player({"keepalive": {"ping_every": 0}})
    player.play("message")
    before = len(player.bench.pushed[player.conn])
    player.play("typing")
    assert len(player.bench.pushed[player.conn]) == before
    player.play("keep-alive, guest")


def test_expiry() -> None:
    player = Player({"token_life": "60s", "keepalive": {"ping_every": 0}})
    player.play("handshake")
    player.bench.run(60)
    player.play("expiry")
    player.bench.run(9)
    assert player.conn not in player.bench.ended
    player.bench.run(2)
    assert player.bench.ended[player.conn] == ("close", 4001)
    assert player.bench.rows("disconnects")[0]["fault"] == "expiry"


def test_resync_of_nothing_and_without_a_good_token() -> None:
    player = Player({})
    player.play("resync, unknown")
    player.play("resync, expired token")


def test_limited_frame() -> None:
    player = Player(
        {"limits": [{"endpoint": "frame message", "rate": "1/min", "burst": 1, "scope": "session"}], "keepalive": {"ping_every": 0}}
    )
    player.play("message")
    conn, conv = player.conn, player.witness.names["conversationId"]
    player.bench.message(conn, conv, 2, mid="mid-1")
    player.seen[conn] = len(player.bench.pushed[conn]) - 1
    player.play("limited")
    assert [row["id"] for row in player.bench.rows("refused")] == [f"127.0.0.1:{4000}/1#1"]
    assert player.bench.ids("messages.sent") == ["run1.1-1.g.1"]


def test_scope_is_looked_at_per_frame() -> None:
    player = Player({"keepalive": {"ping_every": 0}})
    player.witness.names["token"] = player.bench.token("webchat:read")
    player.play("handshake")
    player.bench.say(player.conn, type="routing", routing={"skillGroups": ["Billing"], "attributes": {}})
    player.play("scope")


def test_leave_is_the_barrier() -> None:
    player = Player({"keepalive": {"ping_every": 0}})
    player.play("message")
    player.play("leave")
    bench, conn, conv = player.bench, player.conn, player.witness.names["conversationId"]
    before = len(bench.pushed[conn])
    bench.run(60)
    assert len(bench.pushed[conn]) == before
    bench.message(conn, conv, 9)
    assert bench.last(conn) == {"type": "error", "code": "CONVERSATION_CLOSED", "conversationId": conv, "messageId": "m9"}
    assert "run.1-1.g.9" not in bench.ids("messages.sent")


def test_every_scene_is_played_somewhere() -> None:
    played = {*ALONE, "token limited", "reconnect", "keep-alive, server", "keep-alive, guest", "typing", "expiry"}
    played |= {"resync, unknown", "resync, expired token", "limited", "scope", "leave"}
    assert set(SCENES) == played


# ---------------------------------------------------------------- beyond the transcript


def test_a_broad_token_is_met_with_silence() -> None:
    bench = Bench()
    conn = bench.socket(token=bench.token("platform:read:all"))
    assert conn not in bench.pushed
    bench.run(61)
    assert bench.ended[conn] == ("close", 1008)


@pytest.mark.parametrize(
    "routing",
    [
        {"skillGroups": ["billing"], "attributes": {}},
        {"skillGroups": ["Billing"], "attributes": {"Source": "x"}},
        {"skillGroups": ["Night"], "attributes": {}},
        {"skillGroups": "Billing", "attributes": {}},
    ],
)
def test_routing_that_fits_nobody_stalls_for_ever(routing: dict[str, Any]) -> None:
    bench = Bench({"skills": {"Billing": True, "Night": False}})
    conn = bench.socket()
    bench.say(conn, type="routing", routing=routing)
    assert bench.last(conn)["status"] == "queued"
    bench.run(600)
    assert [frame["type"] for frame in bench.frames(conn)] == ["auth", "conversation"]
    assert len(bench.rows("stalled")) == 1


@pytest.mark.parametrize(
    ("routing", "why"),
    [
        ({"skillGroups": ["billing"]}, "unknown_skill"),
        ({"skillGroups": ["Night"]}, "nobody_on_shift"),
        ({"skillGroups": ["Billing"], "attributes": {"usertier": "x"}}, "unknown_attribute"),
        ({"skillGroups": "Billing"}, "malformed"),
    ],
)
def test_the_truth_knows_why_a_conversation_stalls(routing: dict[str, Any], why: str) -> None:
    bench = Bench({"skills": {"Billing": True, "Night": False}})
    bench.say(bench.socket(), type="routing", routing=routing)
    assert [row["why"] for row in bench.rows("stalled")] == [why]


def test_a_middlebox_cuts_what_is_idle_and_nobody_is_told() -> None:
    bench = Bench({"keepalive": {"ping_every": 0, "idle_cut": "60s", "cut_told": "100s"}})
    busy, idle = bench.socket("127.0.0.1:1"), bench.socket("127.0.0.1:2")
    for _ in range(10):
        bench.run(20)
        bench.say(busy, type="ping")
        if bench.now - bench.start == 80 * SECOND:
            before = len(bench.pushed[idle])
            bench.say(idle, type="ping")
            assert len(bench.pushed[idle]) == before  # open to look at, and nothing flows
            assert idle not in bench.ended
    assert busy not in bench.ended
    assert bench.ended[idle] == ("reset", 0)
    assert [row["fault"] for row in bench.rows("disconnects")] == ["idle_cut"]
    assert bench.acts("idle_cut") == ["127.0.0.1:2/1"]


def test_a_message_without_a_conversation_opens_another() -> None:
    bench = Bench()
    conn, conv = bench.routed()
    bench.say(conn, type="message", messageId="m1", text="Hi [#run.1-1.g.1]")
    frames = bench.frames(conn)
    assert [frame["type"] for frame in frames[-2:]] == ["conversation", "message"]
    assert frames[-1]["conversationId"] == frames[-2]["conversationId"] != conv


def test_pushes_go_to_the_newest_connection_only() -> None:
    bench = Bench()
    old, conv = bench.routed()
    new = bench.socket("127.0.0.1:3001")
    bench.say(new, type="routing", routing={"skillGroups": ["Billing"], "attributes": {}}, conversationId=conv)
    bench.message(new, conv, 1)
    bench.run(5)
    assert bench.texts(old) == []
    assert bench.texts(new) == ["run.1-1.g.1", "run.1-1.a.1 re 1"]


def test_nobody_connected_means_stored_only_and_listed_later() -> None:
    bench = Bench()
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.leave(conn)
    bench.run(5)
    assert bench.ids("messages.delivered") == []
    assert next(row["messageId"] for row in bench.listing(conv, rid="the-list")) == "m1"
    assert [(row["id"], row["via"]) for row in bench.rows("messages.delivered")] == [("run.1-1.a.1", "the-list")]


def test_listing_pages_from_an_instant() -> None:
    bench = Bench()
    conn, conv = bench.routed()
    for seq in range(1, 6):
        bench.message(conn, conv, seq)
        bench.run(0.5)
    rows = bench.listing(conv)
    assert len(bench.listing(conv, since=rows[2]["timestamp"])) == len(rows) - 2
    assert len(bench.listing(conv, limit=2)) == 2
    assert (
        bench.answer(bench.request("GET", f"/api/v2/conversations/messages?conversationId={conv}&since=soon", token=bench.token()))[
            0
        ]
        == 400
    )


@pytest.mark.parametrize(("stores", "kept"), [(True, 2), (False, 1)])
def test_a_frame_sent_again(stores: bool, kept: int) -> None:
    bench = Bench({"server_stores_resend": stores})
    conn, conv = bench.routed()
    bench.message(conn, conv, 1, mid="same")
    bench.message(conn, conv, 1, mid="same")
    assert bench.texts(conn) == ["run.1-1.g.1"] * 2
    assert len(bench.listing(conv)) == kept
    assert bench.ids("messages.sent") == ["run.1-1.g.1"]
    bench.run(10)
    assert bench.texts(conn)[2:] == ["run.1-1.a.1 re 1"]


def test_agents_wait_for_places_and_close() -> None:
    bench = Bench({"agents": {"number": 1, "concurrency": 1, "accept": "1s", "reply": "1s", "typing": "500ms", "close": 1.0}})
    first, one = bench.routed("127.0.0.1:3000")
    second, two = bench.routed("127.0.0.1:3001")
    bench.message(first, one, 1, label="1-1")
    bench.message(second, two, 1, label="2-1")
    bench.run(2.5)
    assert bench.texts(second) == ["run.2-1.g.1"]
    assert bench.engine.health(bench.now)["queue"] == 1
    bench.run(10)
    assert bench.last(first) == {"type": "conversation", "conversationId": one, "status": "closed"}
    assert bench.texts(second) == ["run.2-1.g.1", "run.2-1.a.1 re 1"]
    assert len(bench.frames(second, "typing")) == 2


def test_further_messages_answer_nothing() -> None:
    bench = Bench({"agents": {"accept": "1s", "reply": "1s", "typing": 0, "extra": 1.0}})
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.run(10)
    assert bench.texts(conn) == ["run.1-1.g.1", "run.1-1.a.1 re 1", "run.1-1.a.2"]


def test_an_absent_guest_may_lose_the_conversation() -> None:
    bench = Bench({"auto_close": "30s"})
    conn, conv = bench.routed()
    bench.leave(conn)
    bench.run(31)
    back = bench.socket("127.0.0.1:3001")
    bench.say(back, type="routing", routing={}, conversationId=conv)
    assert bench.last(back)["status"] == "closed"


def test_a_closed_conversation_is_forgotten_and_judged() -> None:
    bench = Bench({"forget_after": "60s"})
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.run(5)
    bench.say(conn, type="conversation", conversationId=conv, status="closed")
    bench.run(61)
    assert not bench.engine.conversations
    assert not bench.truth.streams
    assert bench.engine.health(bench.now)["kept"] == 0


def test_tokens_leave_memory() -> None:
    bench = Bench({"token_life": "10s"})
    for _ in range(50):
        bench.token()
        bench.run(1)
    assert len(bench.engine.credentials) <= 11


def test_timestamps_never_fall() -> None:
    bench = Bench({"faults": [{"name": "skew", "at": 0, "for": "1s", "by": "10s"}]})
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.run(2)
    bench.message(conn, conv, 2)
    stamps = [row["timestamp"] for row in bench.listing(conv)]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) == 1


def test_echo_latency_keeps_the_order() -> None:
    bench = Bench({"latency": {"echo": "200ms±100%", "list": "50ms"}})
    conn, conv = bench.routed()
    for seq in range(1, 40):
        bench.message(conn, conv, seq)
        bench.run(0.02)
    bench.run(1)
    assert [text for text in bench.texts(conn) if ".g." in text] == [f"run.1-1.g.{seq}" for seq in range(1, 40)]
    number = bench.request("GET", f"/api/v2/conversations/messages?conversationId={conv}", token=bench.token())
    assert number not in bench.answers
    bench.run(0.05)
    assert bench.answer(number)[0] == 200


def test_settle_lets_agents_answer_and_start_nothing() -> None:
    bench = Bench({"agents": {"accept": "1s", "reply": "1s", "typing": 0, "extra": 1.0, "close": 1.0}})
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.engine.settle(bench.now)
    bench.run(60)
    assert bench.texts(conn) == ["run.1-1.g.1", "run.1-1.a.1 re 1"]
    assert not bench.engine.conversations[conv].closed


def test_unknown_paths_and_methods() -> None:
    bench = Bench()
    assert bench.answer(bench.request("GET", "/nowhere"))[0] == 404
    assert bench.answer(bench.request("GET", "/oauth/token"))[0] == 405
    refused = bench.engine.on_upgrade(bench.now, 999, "127.0.0.1:1", "/nowhere", {})
    assert refused is not None
    assert refused.status == 404
    assert bench.now == bench.start
    assert SECOND
