"""The engagements server against the literal transcript, then what the transcript does not show."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.conformance.bench import Bench, faults
from harness.simulator.config import SimConfig
from harness.simulator.instants import parse
from harness.simulator.spelling import SimConfigError
from tests.simulator.scene_kit import CROWDED, JSON, recount
from tests.simulator.scene_kit import Player as Plain

NAME = "engagements"
NOT_OURS = {"JSON, no card", "fields missing", "unknown type", "error, message only"}
PATH = "/api/v2/engagements/guests"
LIMITED = {"rate": "1/h", "burst": 1, "scope": "session", "retry_after": "2s"}


class Player(Plain):
    dialect = NAME
    spelt = {"your-public-client-id": "guestswarm"}  # noqa: RUF012

    def compare(self, pattern: dict[str, Any], frame: dict[str, Any]) -> None:
        for side in (pattern, frame):
            content = side.get("content")
            if isinstance(content, str) and content.startswith("{"):
                side["content"] = {"parsed": json.loads(content)}
        super().compare(pattern, frame)


def own(**table: Any) -> dict[str, Any]:
    return {NAME: table}


def registered(bench: Bench, **metadata: str) -> tuple[str, str]:
    """Session and token."""
    body = {"channelId": "c", "clientId": "guestswarm", "metadata": metadata}
    status, answer = bench.answer(bench.request("POST", PATH, body))
    assert status == 200, answer
    return answer["sessionId"], answer["guestToken"]


def socket(bench: Bench, session: str, token: str, peer: str = "127.0.0.1:3000") -> int:
    return bench.socket(peer, path=f"{PATH}/{session}/ws?guestToken={token}")


def entered(bench: Bench, peer: str = "127.0.0.1:3000") -> tuple[int, str, str]:
    session, token = registered(bench)
    return socket(bench, session, token, peer), session, token


def message(bench: Bench, conn: int, seq: int, label: str = "1-1") -> None:
    bench.say(conn, type="message", content=f"Hello [#run.{label}.g.{seq}]")


def texts(bench: Bench, conn: int) -> list[str]:
    """Markers of the message frames, in order."""
    found = []
    for frame in bench.frames(conn, "message"):
        content = frame.get("content", frame.get("body"))
        if isinstance(content, str) and content.startswith("{"):
            content = json.loads(content)
        text = content["text"] if isinstance(content, dict) else content
        assert isinstance(text, str)
        found.append(text[text.rfind("#") + 1 : -1])
    return found


# ---------------------------------------------------------------- the transcript


@pytest.mark.parametrize(
    "scene",
    ["token", "token, other metadata", "upgrade", "message", "typing, guest", "end, guest", "end, guest waits", "lost silently"],
)
def test_a_scene_as_written(scene: str) -> None:
    player = Player()
    player.play(scene)
    assert player.quiet()


@pytest.mark.parametrize("switch", [{"public": False}, {"enabled": False}])
def test_token_refused(switch: dict[str, Any]) -> None:
    Player(own(**switch)).play("token refused")


def test_token_refused_to_an_unknown_client() -> None:
    Player({"credentials": {"client_id": "another"}}).play("token refused")


def test_token_without_scope() -> None:
    Player(own(scopes=["chat:guest:read"])).play("token, no scope")


def test_scopes_take_a_while() -> None:
    player = Player(own(scopes_after="3min"))
    player.play("token, no scope")
    player.bench.run(179)
    player.play("token, no scope")
    player.bench.run(1)
    player.play("token")


def test_token_limited() -> None:
    player = Player({"limits": [{**LIMITED, "endpoint": f"POST {PATH}", "scope": "client"}]})
    player.play("token")
    player.play("token limited")
    assert player.bench.rows("refused")[0]["endpoint"] == f"POST {PATH}"


def test_upgrade_limited() -> None:
    player = Player({"limits": [{**LIMITED, "endpoint": f"GET {PATH}/{{sessionId}}/ws"}]})
    player.play("upgrade")
    player.go("upgrade limited")


@pytest.mark.parametrize("token", ["BAD", "", "another's"])
def test_upgrade_refused(token: str) -> None:
    player = Player()
    player.play("token")
    player.go("upgrade refused")
    other, theirs = registered(player.bench)
    mine = player.witness.names["sessionId"]
    assert other != mine
    path = f"{PATH}/{mine}/ws?guestToken={theirs if token.startswith('a') else token}"
    refused = player.bench.upgrade(path)[1]
    assert refused is not None
    assert refused.status == 401
    assert player.bench.rows("disconnects") == []


def test_upgrade_closed() -> None:
    player = Player(own(refuse="close"))
    player.play("token")
    player.go("upgrade closed", {2: lambda: player.bench.run(0)})
    assert [row["fault"] for row in player.bench.rows("disconnects")] == ["invalid_token"]
    player.bench.run(60)
    assert player.bench.engine.health(player.bench.now)["connections"] == 0


def test_typing_of_the_agent() -> None:
    player = Player()
    player.play("typing, agent", {0: player.types})


@pytest.mark.parametrize(
    ("scene", "switch"),
    [
        ("card as string", {"cards": 1.0, "card_form": "string"}),
        ("card as object", {"cards": 1.0, "card_form": "object"}),
        ("body for content", {"body": 1.0}),
    ],
)
def test_forms_of_a_message(scene: str, switch: dict[str, Any]) -> None:
    player = Player()
    player.play("message")
    player.switch(**switch)
    player.go(scene, {0: lambda: player.says(1)})
    assert player.bench.ids("messages.delivered") == ["run1.1-1.a.1", "run1.1-1.a.2"]


def test_message_limited() -> None:
    player = Player({"limits": [{**LIMITED, "endpoint": "frame message"}]})
    player.play("limited")
    player.bench.run(60)
    assert player.quiet()
    assert player.bench.ids("messages.sent") == ["run1.1-1.g.1"]
    assert [(row["id"], row["endpoint"]) for row in player.bench.rows("refused")] == [("127.0.0.1:4001/1#1", "frame message")]


def test_typing_limited() -> None:
    player = Player({"limits": [{**LIMITED, "endpoint": "frame typing"}]})
    player.play("typing, guest")
    assert player.quiet()
    player.go("typing limited")


@pytest.mark.parametrize("silent", [False, True])
def test_expiry(silent: bool) -> None:
    player = Player(own(token_life="60s", silent_expiry=silent))
    player.play("message")
    player.run_to(60)
    assert player.quiet() is silent
    player.run_to(69.9)
    assert player.conn not in player.bench.ended
    player.go("expiry", start=int(silent))
    assert [row["fault"] for row in player.bench.rows("disconnects")] == ["expiry"]
    assert [row["by"] for row in player.bench.rows("ended")] == ["expiry"]
    player.go("reconnect, expired")
    assert player.refusal is None


def test_renewal_is_another_session() -> None:
    player = Player()
    player.play("message")
    old = player.conn
    player.go("renewal")
    assert player.conn != old
    assert player.refusal is None
    ended = player.bench.rows("ended")
    assert [(row["id"], row["by"]) for row in ended] == [(player.witness.names["sessionId"], "guest")]
    assert player.conv.id == player.witness.names["sessionId2"]


def test_reconnect_loses_what_was_said_meanwhile() -> None:
    player = Player()
    player.play("reconnect", {0: player.drop, 1: lambda: player.says(1)})
    player.bench.seal()
    assert player.bench.ids("lost.agent") == ["run1.1-1.a.2"]
    assert [row["fault"] for row in player.bench.rows("disconnects")] == ["test"]


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


def test_every_scene_is_played_somewhere() -> None:
    played = {"token", "token, other metadata", "upgrade", "message", "typing, guest", "end, guest", "end, guest waits"}
    played |= {"lost silently", "token refused", "token, no scope", "token limited", "upgrade limited", "upgrade refused"}
    played |= {
        "upgrade closed",
        "typing, agent",
        "card as string",
        "card as object",
        "body for content",
        "limited",
        "typing limited",
    }
    played |= {"expiry", "reconnect, expired", "renewal", "reconnect", "dropped", "end, agent", "end, agent, guest silent"}
    assert set(Player().scenes) == played | NOT_OURS


# ---------------------------------------------------------------- beyond the transcript


def test_tokens_live_between_a_quarter_and_half_an_hour() -> None:
    bench = Bench(dialects=[NAME])
    lives = []
    for _ in range(50):
        status, answer = bench.answer(bench.request("POST", PATH, {"channelId": "c", "clientId": "guestswarm"}))
        assert status == 200
        ends = parse(answer["expiresAt"])
        assert ends is not None
        lives.append(ends / 1000 - bench.engine.wall_ms(bench.now) / 1000)
    assert 899 <= min(lives) < 1100
    assert 1600 < max(lives) <= 1800
    assert len(bench.rows("tokens.client_credentials")) == 50


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"channelId":1,"clientId":"guestswarm"}', b'{"channelId":"c"}', b"\xff"])
def test_a_bad_registration(body: bytes) -> None:
    bench = Bench(dialects=[NAME])
    status, answer = bench.answer(bench.request("POST", PATH, body))
    assert status == 400
    assert list(answer) == ["message"]


def test_lost_frames_are_noted() -> None:
    bench = Bench(dialects=[NAME])
    conn, _, _ = entered(bench)
    for frame in ('{"type":"message"}', '{"type":"Message","content":"x"}', '{"type":"typing","to":"a"}', "no", b"\x00", "[1]"):
        bench.frame(conn, frame)
    assert [row["why"] for row in bench.rows("ignored")] == [
        "content",
        "unknown_type",
        "extra_field",
        "malformed",
        "malformed",
        "malformed",
    ]
    bench.say(conn, type="sessionEnded", reason="x")
    message(bench, conn, 1)
    assert bench.rows("ignored")[-1]["why"] == "over"
    assert bench.rows("messages.sent") == []


def test_messages_may_lack_fields_but_not_their_text() -> None:
    bench = Bench({"agents": {"accept": "1s", "reply": "1s", "typing": 0}, **own(missing=1.0)}, dialects=[NAME])
    conn, _, _ = entered(bench)
    for seq in range(1, 30):
        message(bench, conn, seq)
        bench.run(1)
    bench.run(3)
    frames = bench.frames(conn, "message")
    assert texts(bench, conn) == [f"run.1-1.a.{seq} re {seq}" for seq in range(1, 30)]
    for name in ("id", "from", "to", "timestamp", "metadata"):
        assert 0 < sum(name in frame for frame in frames) < len(frames)


def test_where_a_message_may_be_stored_twice_its_id_stays() -> None:
    plan = faults({"name": "duplicate_store", "share": 0.5}, {"name": "duplicate", "share": 0.3})
    bench = Bench({**plan, **own(missing=1.0)}, dialects=[NAME])
    conn, _, _ = entered(bench)
    for seq in range(1, 40):
        message(bench, conn, seq)
        bench.run(1)
    bench.run(5)
    by_text: dict[str, Counter[str]] = {}
    for frame, text in zip(bench.frames(conn, "message"), texts(bench, conn), strict=True):
        by_text.setdefault(text, Counter())[frame["id"]] += 1
    counts = bench.seal()
    assert counts["duplicated.resend"] == sum(len(copies) - 1 for copies in by_text.values()) > 0
    assert counts["duplicated.same_connection"] == sum(n - 1 for copies in by_text.values() for n in copies.values()) > 0


def test_a_repeated_push_is_the_same_frame() -> None:
    bench = Bench({**faults({"name": "duplicate"}), **own(cards=0.5, missing=0.5, body=0.5)}, dialects=[NAME])
    conn, _, _ = entered(bench)
    for seq in range(1, 20):
        message(bench, conn, seq)
    bench.run(10)
    pushed = [data for data in bench.pushed[conn] if '"message"' in str(data)]
    assert pushed[::2] == pushed[1::2]
    assert len(pushed) == 38


def test_the_newest_socket_of_a_session_gets_what_is_said_and_an_older_one_may_take_over() -> None:
    bench = Bench(dialects=[NAME])
    old, session, token = entered(bench)
    new = socket(bench, session, token, "127.0.0.1:3001")
    message(bench, old, 1)
    bench.run(5)
    assert (texts(bench, old), texts(bench, new)) == ([], ["run.1-1.a.1 re 1"])
    bench.leave(new)
    message(bench, old, 2)
    bench.run(5)
    assert texts(bench, old) == ["run.1-1.a.2 re 2"]


def test_a_session_that_is_over_lets_nobody_in() -> None:
    bench = Bench(dialects=[NAME])
    conn, session, token = entered(bench)
    bench.say(conn, type="sessionEnded", reason="x")
    bench.leave(conn)
    refused = bench.upgrade(f"{PATH}/{session}/ws?guestToken={token}", "127.0.0.1:3001")[1]
    assert refused is not None
    assert refused.status == 401


def test_an_absent_guest_may_lose_its_session() -> None:
    bench = Bench({"auto_close": "30s"}, dialects=[NAME])
    conn, session, token = entered(bench)
    bench.leave(conn)
    bench.run(31)
    assert [row["by"] for row in bench.rows("ended")] == ["absence"]
    assert bench.upgrade(f"{PATH}/{session}/ws?guestToken={token}", "127.0.0.1:3001")[1] is not None


def test_agents_close_and_type() -> None:
    bench = Bench({"agents": {"accept": "1s", "reply": "1s", "typing": "500ms", "close": 1.0}}, dialects=[NAME])
    conn, _, _ = entered(bench)
    message(bench, conn, 1)
    bench.run(10)
    assert [frame["type"] for frame in bench.frames(conn)] == ["typing", "message", "sessionEnded"]
    assert bench.ended[conn] == ("close", 1001)


def test_its_own_limits_are_kept_by_a_sensible_guest() -> None:
    bench = Bench({"limit_sets": [NAME], **own(message_rate="2/s", typing_rate="1/s")}, dialects=[NAME])
    conn, session, token = entered(bench)
    for seq in range(1, 6):
        bench.say(conn, type="typing")
        message(bench, conn, seq)
        bench.run(2.5)
    assert bench.frames(conn, "error") == []
    for _ in range(4):
        message(bench, conn, 9)
    assert bench.last(conn, "error")["retryAfter"] == 1
    assert len(bench.frames(conn, "error")) == 2
    again = socket(bench, session, token, "127.0.0.1:3001")
    message(bench, again, 10)
    assert bench.last(again)["error"] == "rate_limited"  # counted per session, not per socket


@pytest.mark.parametrize(
    "table", [{"message_rate": "often"}, {"refuse": "never"}, {"cards": 2}, {"tokenlife": "1s"}, {"public": 1}]
)
def test_what_cannot_be_set(table: dict[str, Any]) -> None:
    with pytest.raises(SimConfigError, match=r"simulator\.engagements"):
        SimConfig.from_table(own(**table))


def test_everything_is_forgotten() -> None:
    bench = Bench({"forget_after": "60s", **own(token_life="120s")}, dialects=[NAME])
    for place in range(20):
        conn, _, _ = entered(bench, f"127.0.0.1:{5000 + place}")
        message(bench, conn, 1, f"{place}-1")
        registered(bench)
        bench.run(1)
        if place % 2:
            bench.leave(conn)
    bench.run(400)
    half: Any = bench.engine.halves[NAME]
    assert half.sessions == {}
    assert not bench.engine.conversations
    assert bench.engine.agents.busy == 0
    assert bench.engine.timers.live == 0
    assert bench.engine.conns == {}


# ---------------------------------------------------------------- properties

BUSY = {
    **CROWDED,
    NAME: {"token_life": "60s±50%", "cards": 0.3, "body": 0.2, "missing": 0.2},
}


def crowd(seed: int, turns: int = 500) -> Bench:
    """Guests without much sense: they talk, drop, come back, and leave."""
    bench = Bench(BUSY, seed=seed, dialects=[NAME])
    rng = Random(f"crowd/{seed}")
    guests: dict[int, tuple[int, str]] = {}
    seqs: Counter[str] = Counter()
    for turn in range(turns):
        bench.run(rng.random() * 0.7)
        guest = rng.randrange(10)
        conn, path = guests.get(guest, (0, ""))
        if conn == 0 or conn in bench.ended:
            if not path or rng.random() < 0.3:
                answer = bench.answers.get(bench.request("POST", PATH, {"channelId": "c", "clientId": "guestswarm"}))
                if answer is None or answer.status != 200 or not answer.body.endswith(b"}"):
                    continue
                made = json.loads(answer.body)
                path = f"{PATH}/{made['sessionId']}/ws?guestToken={made['guestToken']}"
            conn, refused = bench.upgrade(path, f"127.0.0.1:{5000 + turn}")
            guests[guest] = (0, "") if refused else (conn, path)
        elif rng.random() < 0.1:
            bench.leave(conn)
        elif rng.random() < 0.03:
            bench.say(conn, type="sessionEnded", reason="x")
        else:
            label = path[len(PATH) + 1 :][:8]
            seqs[label] += 1
            message(bench, conn, seqs[label], f"{guest}-{label}")
    bench.engine.settle(bench.now)
    bench.run(40)
    return bench


def test_truth_agrees_with_what_the_outlet_was_given() -> None:
    """Counted again from the frames that went out, by another way of counting."""
    lost = 0
    for seed in range(4):
        bench = crowd(seed)
        counts = Counter(bench.seal())
        pushed: dict[str, list[tuple[int, str]]] = {}
        for conn in bench.pushed:
            for frame, text in zip(bench.frames(conn, "message"), texts(bench, conn), strict=True):
                if ".a." in text:
                    pushed.setdefault(text.split(" ")[0], []).append((conn, frame.get("id", "")))
        recount(bench, pushed)
        assert counts["lost.ingest"] == 0  # nothing confirms, so nothing confirmed was lost
        lost += counts["lost.agent"]
    assert lost > 0


def test_the_same_seed_gives_the_same_truth() -> None:
    one, two = crowd(7, 200), crowd(7, 200)
    one.seal()
    two.seal()
    assert one.lines == two.lines


FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "typing", "sessionEnded", "wat", "", None, 3])},
    optional={"content": JSON | st.just("Hi [#r.1.g.1]"), "metadata": JSON, "reason": JSON, "to": JSON},
)
FRAMES = st.one_of(st.binary(max_size=60), st.text(max_size=60), JSON.map(json.dumps), FIELDS.map(json.dumps))


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAMES, max_size=25), st.booleans())
def test_no_frame_raises(frames: list[str | bytes], inside: bool) -> None:
    bench = Bench(
        {"limits": [{"rate": "10/s", "endpoint": "frame message"}], **own(refuse="close", cards=0.5, missing=0.5)}, dialects=[NAME]
    )
    session, token = registered(bench)
    conn = socket(bench, session, token if inside else "bad")
    for data in frames:
        bench.frame(conn, data)
    bench.run(5)
    bench.seal()


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["channelId", "clientId", "metadata"]), JSON, max_size=3).map(
        lambda body: json.dumps(body).encode()
    )
    | st.binary(max_size=60),
    st.text(max_size=30),
    st.text(max_size=30),
)
def test_no_request_raises(body: bytes, session: str, query: str) -> None:
    bench = Bench(dialects=[NAME])
    number = bench.request("POST", PATH, body.replace(b'"clientId": ""', b'"clientId": "guestswarm"'))
    assert bench.answers[number].status in (200, 400, 401)
    bench.engine.on_upgrade(bench.now, bench.number(), "127.0.0.1:9", f"{PATH}/{session}/ws?{query}", {})
    bench.run(2000)
    bench.seal()
