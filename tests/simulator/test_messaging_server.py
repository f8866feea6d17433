"""The messaging server against the literal transcript, then what the transcript does not show."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.conformance.bench import SECRET, Bench, faults
from harness.simulator.config import SimConfig
from harness.simulator.spelling import SimConfigError
from tests.simulator.scene_kit import CROWDED, JSON, recount
from tests.simulator.scene_kit import Player as Plain

NAME = "messaging"
NOT_OURS = {"upgrade, wrong host", "ack unexpected", "odd frames"}
PATH = "/api/v2/conversations/messaging/guests"
SCOPE = "webchat:guest:read webchat:guest:write webchat:guest:send"
LIMITED = {"rate": "1/h", "burst": 1, "scope": "session", "retry_after": "2s"}
BASIC = b64encode(f"guestswarm:{SECRET}".encode()).decode()


class Player(Plain):
    dialect = NAME

    def __init__(self, table: dict[str, Any] | None = None, **names: Any) -> None:
        super().__init__(
            {"queues": ["queue-1"], **(table or {})}, **{"basic": BASIC, "queueId": "queue-1", "any": "Billing", **names}
        )


def own(**table: Any) -> dict[str, Any]:
    return {NAME: table}


def client(bench: Bench, scope: str = SCOPE) -> str:
    form = f"grant_type=client_credentials&scope={scope.replace(' ', '+')}"
    number = bench.request("POST", "/oauth/token", form.encode(), authorization=f"Basic {BASIC}")
    return str(bench.answer(number)[1]["access_token"])


def registered(bench: Bench, token: str = "", **more: Any) -> dict[str, Any]:
    body = {"name": "G", "queueId": "queue-1", **more}
    status, answer = bench.answer(bench.request("POST", PATH, body, token=token or client(bench)))
    assert status == 200, answer
    return dict(answer)


def path_of(guest: dict[str, Any]) -> str:
    return f"{PATH}/{guest['id']}/websocket?webChatToken={guest['webChatToken']}"


def entered(bench: Bench, peer: str = "127.0.0.1:3000", **more: Any) -> tuple[int, dict[str, Any]]:
    guest = registered(bench, **more)
    return bench.socket(peer, path=path_of(guest)), guest


def message(bench: Bench, conn: int, guest: dict[str, Any], seq: int, label: str = "1-1") -> None:
    text = f"Hello [#run.{label}.g.{seq}]"
    bench.say(conn, type="message", conversationId=guest["conversationId"], senderId=guest["id"], text=text, messageType="text")


def texts(bench: Bench, conn: int) -> list[str]:
    """Markers of the message frames, in order."""
    return [frame["text"][frame["text"].rfind("#") + 1 : -1] for frame in bench.frames(conn, "message")]


def in_bytes(body: Any) -> bytes:
    return json.dumps(body).encode()


def kinds(bench: Bench, conn: int) -> list[str]:
    return [frame["type"] for frame in bench.frames(conn)]


# ---------------------------------------------------------------- the transcript


@pytest.mark.parametrize(
    "scene",
    [
        "token",
        "introspect",
        "introspect, inactive",
        "registration",
        "registration, skills",
        "registration, bad queue",
        "registration, expired token",
        "upgrade",
        "upgrade refused",
        "upgrade, token used",
        "upgrade, no token",
        "message",
        "typing, guest",
        "wrong conversation",
        "wrong sender",
    ],
)
def test_a_scene_as_written(scene: str) -> None:
    player = Player()
    player.play(scene)
    assert player.quiet()


def test_ids_and_secrets_are_percent_encoded() -> None:
    player = Player({"credentials": {"client_id": "client/1"}})
    player.bench.engine.credentials._secret = "s:e+c%"
    player.play("token, percent-encoded")
    player.play("token, no base64")


@pytest.mark.parametrize("who", ["guestswarm:wrong", f"other:{SECRET}", "guestswarm", ""])
@pytest.mark.parametrize("scene", ["token refused", "introspect refused"])
def test_unknown_clients(scene: str, who: str) -> None:
    Player(basic=b64encode(who.encode()).decode()).play(scene)


@pytest.mark.parametrize(
    ("scene", "endpoint", "before"),
    [
        ("token limited", "POST /oauth/token", "token"),
        ("introspect limited", "POST /oauth/introspect", "introspect"),
        ("registration limited", f"POST {PATH}", "registration"),
        ("upgrade limited", f"GET {PATH}/{{guestId}}/websocket", "upgrade"),
        ("typing limited", "frame typing", "typing, guest"),
    ],
)
def test_limits(scene: str, endpoint: str, before: str) -> None:
    scope = "client" if endpoint.startswith("POST") else "session"
    player = Player({"limits": [{**LIMITED, "endpoint": endpoint, "scope": scope}]})
    player.play(before)
    player.go(scene)
    assert [row["endpoint"] for row in player.bench.rows("refused")] == [endpoint]


def test_introspection_tells_what_was_not_granted() -> None:
    player = Player()
    player.witness.names["token"] = client(player.bench, SCOPE.replace("webchat:guest:write ", ""))
    player.play("introspect, scope missing")


def test_registration_without_scope() -> None:
    player = Player({"credentials": {"scopes": ["webchat:guest:read", "webchat:guest:send"]}})
    player.witness.names["token"] = client(player.bench)
    player.go("registration, no scope")


@pytest.mark.parametrize("missing", ["webchat:guest:read", "webchat:guest:send"])
def test_the_other_scopes_are_a_bad_request(missing: str) -> None:
    player = Player()
    player.witness.names["token"] = client(player.bench, SCOPE.replace(missing, ""))
    player._guest_http(player.scenes["registration"][0])
    player._server_http(player.scenes["registration, bad queue"][1])


def test_a_token_is_soon_too_old() -> None:
    player = Player()
    player.play("upgrade, token expired", {0: lambda: player.bench.run(60)})
    assert [row["by"] for row in player.bench.rows("ended")] == ["expiry"]
    player = Player(own(web_chat_token_life="90s"))
    player.play("upgrade", {0: lambda: player.bench.run(89)})


def test_typing_of_the_agent() -> None:
    player = Player()
    player.play("typing, agent", {0: player.types})


@pytest.mark.parametrize(
    ("scene", "hook"),
    [
        ("typing before the ack", lambda player: player.types()),
        ("message before the ack", lambda player: player.says()),
        ("metadata before the ack", lambda player: None),
        ("reply before the ack", lambda player: None),
    ],
)
def test_what_may_go_before_the_ack(scene: str, hook: Any) -> None:
    player = Player()
    player.play(scene, {0: lambda: player.switch(late_acks=1.0), 1: lambda: hook(player)})
    assert player.quiet()


def test_acks_keep_their_order() -> None:
    player = Player()
    late = {1: lambda: player.switch(late_acks=1.0), 3: player.types}
    player.play("acks in order", late)
    assert player.witness.names["ack3"] != player.witness.names["ack4"]


def test_an_ack_that_never_comes() -> None:
    player = Player()
    player.play("ack missing", {0: lambda: player.faults({"name": "lose_confirm"})})
    player.bench.run(60)
    assert kinds(player.bench, player.conn)[-1] == "message"
    assert player.bench.ids("messages.sent")[-1] == "run1.1-1.g.3"


def test_a_refusal_takes_the_acks_place() -> None:
    player = Player()
    player.play("limited", {1: lambda: player.faults({"name": "throttle"}), 2: lambda: player.faults()})
    assert player.bench.ids("messages.sent") == [f"run1.1-1.g.{seq}" for seq in (1, 2, 3, 5)]
    assert [row["endpoint"] for row in player.bench.rows("refused")] == ["frame message"]


def test_wrong_ids_may_be_acked() -> None:
    player = Player(own(wrong_acked=True))
    player.play("wrong conversation, acked")
    player.bench.run(60)
    assert player.quiet()
    assert len(player.bench.ids("messages.sent")) == 3, "the guest was told of each"
    assert [row["why"] for row in player.bench.rows("ignored")] == ["wrong_id"]
    player.bench.seal()
    assert player.bench.ids("lost.ingest") == ["run1.1-1.g.3"]


def test_reconnect_is_another_registration() -> None:
    player = Player()
    player.play("reconnect", {0: player.drop})
    ids = player.witness.names
    assert [(row["id"], row["by"]) for row in player.bench.rows("ended")] == [(ids["conversationId"], "gone")]
    assert ids["conversationId"] != ids["conversationId2"]


def test_a_token_is_not_used_again() -> None:
    player = Player()
    player.play("reconnect, token reused", {0: player.drop})


def test_dropped() -> None:
    player = Player(faults({"name": "close_code", "at": "100s", "every": "100s"}))
    player.play("message")
    player.run_to(100)
    player.go("dropped")
    assert player.refusal is None


@pytest.mark.parametrize("scene", ["end, agent", "end, agent, guest silent"])
def test_the_agent_ends_it(scene: str) -> None:
    player = Player()
    player.play("message")
    player.bench.engine.close(player.bench.now, player.conv, by="agent")
    player.go(scene)
    assert [row["fault"] for row in player.bench.rows("disconnects")] == (["unclosed"] if scene.endswith("silent") else [])


def test_the_guest_ends_it_by_its_close() -> None:
    player = Player()
    player.play("end, guest")
    assert [row["by"] for row in player.bench.rows("ended")] == ["guest"]
    assert player.bench.engine.agents.busy == 0


def test_every_scene_is_played_somewhere() -> None:
    source = Path(__file__).read_text()
    assert all(f'"{scene}"' in source for scene in Player().scenes)


# ---------------------------------------------------------------- registrations


@pytest.mark.parametrize(
    "more",
    [
        {"queueId": None},
        {"queueId": "queue-2"},
        {"routingData": 3},
        {"routingData": {"skillRequirements": "Billing"}},
        {"routingData": {"skillRequirements": [1]}},
    ],
)
def test_a_bad_registration(more: dict[str, Any]) -> None:
    bench = Bench({"queues": ["queue-1"]}, dialects=[NAME])
    status, answer = bench.answer(bench.request("POST", PATH, {"name": "G", "queueId": "queue-1", **more}, token=client(bench)))
    assert (status, sorted(answer)) == (400, ["code", "message"])
    assert not bench.engine.conversations


@pytest.mark.parametrize(("skills", "why"), [(["billing"], "unknown_skill"), (["Night"], "nobody_on_shift")])
def test_routing_that_fits_nobody(skills: list[str], why: str) -> None:
    bench = Bench({"skills": {"Billing": True, "Night": False}}, dialects=[NAME])
    conn, guest = entered(bench, routingData={"priority": 1, "skillRequirements": skills})
    message(bench, conn, guest, 1)
    bench.run(600)
    assert kinds(bench, conn) == ["ack"]
    assert [row["why"] for row in bench.rows("stalled")] == [why]


def test_priority_goes_first() -> None:
    bench = Bench({"agents": {"number": 1, "concurrency": 1, "accept": "1s", "reply": "1s", "typing": 0}}, dialects=[NAME])
    first, _ = entered(bench, "127.0.0.1:1")
    plain, _ = entered(bench, "127.0.0.1:2", routingData={"priority": 0, "skillRequirements": []})
    urgent, _ = entered(bench, "127.0.0.1:3", routingData={"priority": 5, "skillRequirements": []})
    bench.run(5)
    bench.leave(first)
    bench.run(5)
    assert (kinds(bench, urgent), kinds(bench, plain)) == (["conversationMetadata"], [])


def test_an_agent_who_was_there_first_is_told_of() -> None:
    bench = Bench(dialects=[NAME])
    guest = registered(bench)
    bench.run(30)
    conn = bench.socket(path=path_of(guest))
    bench.run(0)
    assert bench.frames(conn) == [{"type": "conversationMetadata", "event": "agentJoined"}]
    bench.run(60)
    assert len(bench.frames(conn)) == 1


def test_a_token_of_another_guest_is_no_use_and_stays_good() -> None:
    bench = Bench(dialects=[NAME])
    one, two = registered(bench), registered(bench)
    refused = bench.upgrade(f"{PATH}/{one['id']}/websocket?webChatToken={two['webChatToken']}")[1]
    assert refused is not None
    assert refused.status == 403
    assert bench.socket(path=path_of(two))


# ---------------------------------------------------------------- acks


def test_acks_take_their_time_and_keep_their_order() -> None:
    bench = Bench({"latency": {"echo": "300ms±100%"}, "agents": {"accept": "1s", "reply": "30s", "typing": 0}}, dialects=[NAME])
    conn, guest = entered(bench)
    for seq in range(1, 30):
        message(bench, conn, guest, seq)
        bench.run(0.05)
    assert 0 < len(bench.frames(conn, "ack")) < 29
    bench.run(2)
    kept: Any = bench.engine.conversations[guest["conversationId"]]
    assert [frame["messageId"] for frame in bench.frames(conn, "ack")] == [stored.id for stored in kept.messages]


def test_a_late_ack_does_not_wait_for_ever() -> None:
    bench = Bench(
        {"agents": {"accept": "1s", "reply": "60s", "typing": 0}, **own(late_acks=1.0, late_within="3s")}, dialects=[NAME]
    )
    conn, guest = entered(bench)
    bench.run(2)
    message(bench, conn, guest, 1)
    bench.run(2.9)
    assert kinds(bench, conn) == ["conversationMetadata"]
    bench.run(0.1)
    assert kinds(bench, conn) == ["conversationMetadata", "ack"]


def test_what_is_owed_goes_before_the_end() -> None:
    bench = Bench({"agents": {"accept": "1s", "reply": "60s", "typing": 0}, **own(late_acks=1.0)}, dialects=[NAME])
    conn, guest = entered(bench)
    bench.run(2)
    message(bench, conn, guest, 1)
    message(bench, conn, guest, 2)
    bench.engine.close(bench.now, bench.engine.conversations[guest["conversationId"]], by="agent")
    assert kinds(bench, conn) == ["conversationMetadata", "ack", "ack", "conversationMetadata"]
    message(bench, conn, guest, 3)
    assert bench.rows("ignored")[-1]["why"] == "over"


def test_a_message_that_was_acked_and_not_stored_is_lost() -> None:
    bench = Bench(faults({"name": "lose_ingest"}), dialects=[NAME])
    conn, guest = entered(bench)
    message(bench, conn, guest, 1)
    assert kinds(bench, conn) == ["ack"]
    bench.seal()
    assert bench.ids("lost.ingest") == ["run.1-1.g.1"]
    assert [row["lost"] for row in bench.rows("messages.sent")] == ["ingest"]


def test_copies_cannot_be_told_apart() -> None:
    bench = Bench(faults({"name": "duplicate_store"}), dialects=[NAME])
    conn, guest = entered(bench)
    message(bench, conn, guest, 1)
    bench.run(5)
    assert texts(bench, conn) == ["run.1-1.a.1 re 1"] * 2
    counts = bench.seal()
    assert (counts["duplicated.same_connection"], counts.get("duplicated.resend", 0)) == (1, 0)


# ---------------------------------------------------------------- frames and the rest


def test_frames_that_are_lost_are_noted() -> None:
    bench = Bench(dialects=[NAME])
    conn, guest = entered(bench)
    for frame in ("no", b"\x00", '{"type":[]}', '{"type":"read"}', '{"type":"typing"}', '{"type":"message"}'):
        bench.frame(conn, frame)
    bench.say(conn, type="message", conversationId=guest["conversationId"], senderId=guest["id"], text="x", messageType="file")
    expected = ["malformed", "malformed", "unknown_type", "unknown_type", "wrong_id", "text", "text"]
    assert [row["why"] for row in bench.rows("ignored")] == expected
    assert conn not in bench.pushed


def test_its_own_limits_are_kept_by_a_sensible_guest() -> None:
    bench = Bench({"limit_sets": [NAME]}, dialects=[NAME])
    conn, guest = entered(bench)
    for seq in range(1, 6):
        bench.say(conn, type="typing", senderId=guest["id"])
        message(bench, conn, guest, seq)
        bench.run(2.5)
    assert bench.frames(conn, "error") == []
    for seq in range(6, 12):
        message(bench, conn, guest, seq)
    assert [frame["retryAfter"] for frame in bench.frames(conn, "error")] == [1] * 4


@pytest.mark.parametrize("table", [{"late_acks": 2}, {"web_chat_token_life": 0}, {"wrong_acked": 1}, {"token_life": "1s"}])
def test_what_cannot_be_set(table: dict[str, Any]) -> None:
    with pytest.raises(SimConfigError, match=r"simulator\.messaging"):
        SimConfig.from_table(own(**table))


def test_everything_is_forgotten() -> None:
    bench = Bench({"forget_after": "60s"}, dialects=[NAME])
    for place in range(20):
        conn, guest = entered(bench, f"127.0.0.1:{5000 + place}")
        message(bench, conn, guest, 1, f"{place}-1")
        registered(bench)
        bench.run(1)
        bench.leave(conn)
    bench.run(400)
    half: Any = bench.engine.halves[NAME]
    assert half.sessions == {}
    assert not bench.engine.conversations
    assert bench.engine.agents.busy == 0
    assert bench.engine.timers.live == 0
    registered(bench)
    assert len(half._tickets) == 1


# ---------------------------------------------------------------- properties

BUSY = {**CROWDED, **own(late_acks=0.2, wrong_acked=True), "latency": {"guest": "10ms±50%", "echo": "30ms±90%"}}


def crowd(seed: int, turns: int = 500) -> Bench:
    """Guests without much sense: they talk, drop, come back, and leave."""
    bench = Bench(BUSY, seed=seed, dialects=[NAME])
    rng = Random(f"crowd/{seed}")
    guests: dict[int, tuple[int, dict[str, Any]]] = {}
    seqs: Counter[str] = Counter()
    token = bench.engine.credentials.grant(bench.now, "guestswarm").token
    for turn in range(turns):
        bench.run(rng.random() * 0.7)
        number = rng.randrange(10)
        conn, guest = guests.get(number, (0, {}))
        if conn == 0 or conn in bench.ended:
            if not guest or rng.random() < 0.9:
                request = bench.request("POST", PATH, {"queueId": "q"}, token=token)
                bench.run(0.05)
                answer = bench.answers.get(request)
                if answer is None or answer.status != 200 or not answer.body.endswith(b"}"):
                    continue
                guest = json.loads(answer.body)
            conn, refused = bench.upgrade(path_of(guest), f"127.0.0.1:{5000 + turn}")
            guests[number] = (0, {}) if refused else (conn, guest)
        elif rng.random() < 0.1:
            bench.leave(conn)
        else:
            label = guest["id"][:8]
            seqs[label] += 1
            sent = guest if rng.random() < 0.95 else {**guest, "id": "x"}
            message(bench, conn, sent, seqs[label], f"{number}-{label}")
    bench.engine.settle(bench.now)
    bench.run(40)
    return bench


def test_truth_agrees_with_what_the_outlet_was_given() -> None:
    """Counted again from the frames that went out, by another way of counting."""
    counts: Counter[str] = Counter()
    for seed in range(4):
        bench = crowd(seed)
        counts.update(bench.seal())
        pushed: dict[str, list[tuple[int, str]]] = {}
        for conn in bench.pushed:
            for text in texts(bench, conn):
                if ".a." in text:
                    pushed.setdefault(text.split(" ")[0], []).append((conn, ""))
        recount(bench, pushed)
        acks = [frame["messageId"] for conn in bench.pushed for frame in bench.frames(conn, "ack")]
        assert len(set(acks)) == len(acks)
    assert counts["lost.agent"] > 0
    assert counts["lost.ingest"] > 0


def test_the_same_seed_gives_the_same_truth() -> None:
    one, two = crowd(7, 200), crowd(7, 200)
    one.seal()
    two.seal()
    assert one.lines == two.lines


FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "typing", "ack", "wat", "", None, 3])},
    optional={
        "conversationId": JSON | st.just("CONV"),
        "senderId": JSON | st.just("GUEST"),
        "text": JSON | st.just("Hi [#r.1.g.1]"),
        "messageType": JSON,
    },
)
FRAMES = st.one_of(st.binary(max_size=60), st.text(max_size=60), JSON.map(json.dumps), FIELDS.map(json.dumps))


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAMES, max_size=25), st.sampled_from([0.0, 0.5, 1.0]))
def test_no_frame_raises(frames: list[str | bytes], late: float) -> None:
    bench = Bench(
        {"limits": [{"rate": "10/s", "endpoint": "frame message"}], **own(late_acks=late, wrong_acked=True)}, dialects=[NAME]
    )
    conn, guest = entered(bench)
    for data in frames:
        shown = data.replace("CONV", guest["conversationId"]).replace("GUEST", guest["id"]) if isinstance(data, str) else data
        bench.frame(conn, shown)
    bench.run(20)
    bench.leave(conn)
    bench.seal()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["/oauth/token", "/oauth/introspect", PATH]),
    st.dictionaries(st.sampled_from(["name", "queueId", "routingData"]), JSON, max_size=3).map(
        lambda body: json.dumps(body).encode()
    )
    | st.binary(max_size=60),
    st.booleans() | st.text(max_size=20),
    st.text(max_size=30),
)
def test_no_request_raises(path: str, body: bytes, header: bool | str, query: str) -> None:
    bench = Bench(dialects=[NAME])
    known = f"Bearer {client(bench)}" if path == PATH else f"Basic {BASIC}"
    number = bench.request("POST", path, body, authorization=known if header is True else f"Basic {header}")
    assert bench.answers[number].status in (200, 400, 401)
    bench.upgrade(f"{PATH}/x/websocket?{query}")
    bench.run(70)
    bench.seal()
