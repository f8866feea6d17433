"""The guests server against the literal transcript, then what the transcript does not show."""

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

from harness.conformance.bench import SECOND, SECRET, Bench, faults
from harness.simulator import jwt
from harness.simulator.config import SimConfig
from harness.simulator.spelling import SimConfigError
from tests.simulator.scene_kit import CROWDED, JSON, recount
from tests.simulator.scene_kit import Player as Plain

NAME = "guests"
NOT_OURS = {"odd frames"}
PATH = "/api/v2/guests"
SCOPE = "guest:create guest:read webchat:send"
SKILLS = {"skills": {"routing-skill-id": True, "night": False}}
LIMITED = {"rate": "1/h", "burst": 1, "scope": "session", "retry_after": "2s"}
WITNESSED = 1_715_524_200 * SECOND
"""2024-05-12T14:30:00Z."""


class Player(Plain):
    dialect = NAME
    spelt = {"YOUR_CLIENT_ID": "guestswarm"}  # noqa: RUF012

    def __init__(self, table: dict[str, Any] | None = None, **names: Any) -> None:
        super().__init__({**SKILLS, **(table or {})}, iso="2024-05-12T14:30:00.000Z", any="some", **names)


def own(**table: Any) -> dict[str, Any]:
    return {**SKILLS, NAME: table}


def client(bench: Bench, scope: str = SCOPE) -> str:
    form = f"grant_type=client_credentials&client_id=guestswarm&client_secret={SECRET}&scope={scope.replace(' ', '+')}"
    return str(bench.answer(bench.request("POST", "/oauth/token", form.encode()))[1]["access_token"])


def created(bench: Bench, token: str = "", **more: Any) -> dict[str, Any]:
    body = {"name": "G", "attributes": {"source": "x"}, "routing": {"skill": {"id": "routing-skill-id"}}, **more}
    status, answer = bench.answer(bench.request("POST", PATH, body, token=token or client(bench)))
    assert status == 200, answer
    return dict(answer)


def path_of(guest: dict[str, Any]) -> str:
    return f"{PATH}/{guest['id']}/sessions/{guest['sessions'][0]['id']}/ws"


def entered(bench: Bench, guest: dict[str, Any] | None = None, peer: str = "127.0.0.1:3000") -> int:
    guest = guest or created(bench)
    conn = bench.socket(peer, path=path_of(guest))
    bench.say(conn, type="handshake", token=guest["guestToken"])
    return conn


def message(bench: Bench, conn: int, seq: int, label: str = "1-1") -> None:
    bench.say(conn, type="message", payload={"text": f"Hello [#run.{label}.g.{seq}]"})


def texts(bench: Bench, conn: int) -> list[str]:
    """Markers of the message frames, in order."""
    return [(text := frame["payload"]["text"])[text.rfind("#") + 1 : -1] for frame in bench.frames(conn, "message")]


def claims_of(token: str) -> dict[str, Any]:
    data = jwt.decode(token.split(".")[1])
    assert data is not None
    return dict(json.loads(data))


# ---------------------------------------------------------------- the transcript


@pytest.mark.parametrize(
    "scene",
    [
        "token",
        "token refused",
        "guest",
        "guest, expired token",
        "upgrade",
        "upgrade refused",
        "handshake",
        "handshake refused",
        "no handshake",
        "too early",
        "typing, guest",
        "profile",
        "profile, unknown guest",
        "profile, expired token",
        "end, guest",
        "end, guest waits",
    ],
)
def test_a_scene_as_written(scene: str) -> None:
    player = Player()
    player.play(scene)
    assert player.quiet()


@pytest.mark.parametrize("scene", ["token limited", "token limited, no header", "token limited, date"])
def test_token_limited(scene: str) -> None:
    how = {"token limited": "2s", "token limited, no header": "none"}.get(scene, "date")
    limit = {"endpoint": "POST /oauth/token", "rate": "30/min", "burst": 1, "scope": "client", "retry_after": how}
    player = Player({"limits": [limit]})
    player.bench.engine.wall_offset_ns = WITNESSED - player.bench.now
    player.play("token")

    def later() -> None:
        player.bench.run(2)
        del player.witness.names["token"]

    player.play(scene, {2: later})
    assert [row["endpoint"] for row in player.bench.rows("refused")] == ["POST /oauth/token"]


@pytest.mark.parametrize("missing", ["guest:create", "webchat:send"])
def test_guest_without_scope(missing: str) -> None:
    player = Player()
    player.witness.names["token"] = client(player.bench, SCOPE.replace(missing, "user:read"))
    player.go("guest, no scope")


@pytest.mark.parametrize(
    ("scene", "endpoint"),
    [
        ("guest limited", f"POST {PATH}"),
        ("upgrade limited", f"GET {PATH}/{{guestId}}/sessions/{{sessionId}}/ws"),
        ("profile limited", f"PUT {PATH}/{{guestId}}"),
        ("limited", "frame message"),
        ("typing limited", "frame typing"),
    ],
)
def test_limits(scene: str, endpoint: str) -> None:
    player = Player({"limits": [{**LIMITED, "endpoint": endpoint}]})
    before = {
        "guest limited": "guest",
        "upgrade limited": "upgrade",
        "profile limited": "profile",
        "typing limited": "typing, guest",
    }
    player.play(before.get(scene, "handshake"))
    player.go(scene)
    assert [row["endpoint"] for row in player.bench.rows("refused")] == [endpoint]
    assert player.bench.ids("messages.sent") == (["run1.1-1.g.1"] if "frame" in endpoint or "PUT" in endpoint else [])


@pytest.mark.parametrize("scene", [scene for scene in Player().scenes if scene.startswith("JWT")])
def test_tokens_of_the_transcript_are_judged_alike(scene: str) -> None:
    """These lines are for the guest half; here: the answer has that shape, and our own reader thinks of the token the same."""
    player = Player()
    player.witness.names["token"] = client(player.bench)
    line = player.scenes[scene][1]
    token = line["body"]["guestToken"]
    line["body"].update(id="<any>", guestToken="<jwt>", sessions=[{"id": "<any>"}])
    player.go(scene)
    checked = jwt.check(token, b"witness", WITNESSED / SECOND)
    if scene in ("JWT, two parts", "JWT, no base64url", "JWT, no JSON"):
        assert checked.state == jwt.MALFORMED
    elif scene == "JWT, expired":
        assert checked.state == jwt.EXPIRED
    else:
        assert checked.state == jwt.GOOD
        ours = claims_of(player.witness.names["jwt"])
        flaw = scene.startswith("JWT, no ") or "hints" in scene
        assert ("padding" in scene) or flaw
        assert set(checked.claims) <= set(ours)


def test_renewal_is_another_guest() -> None:
    player = Player()
    player.play("renewal", {0: lambda: player.witness.names.pop("token")})
    assert player.quiet()
    assert player.conv.id == player.witness.names["sessionId2"]
    assert [(row["id"], row["by"]) for row in player.bench.rows("ended")] == [(player.witness.names["sessionId"], "guest")]


def test_typing_of_the_agent() -> None:
    player = Player()
    player.play("typing, agent", {0: player.types})


def test_expiry_is_a_cut() -> None:
    player = Player(own(token_life="60s"))
    player.play("handshake")
    player.run_to(59.9)
    assert player.conn not in player.bench.ended
    player.go("expiry")
    assert [row["fault"] for row in player.bench.rows("disconnects")] == ["expiry"]
    assert [row["by"] for row in player.bench.rows("ended")] == ["expiry"]
    token = player.witness.names["jwt"]
    conn = player.bench.socket("127.0.0.1:9", path=f"{PATH}/{player.witness.names['guestId']}/sessions/{player.conv.id}/ws")
    player.bench.say(conn, type="handshake", token=token)
    assert player.bench.ended[conn] == ("reset", 0)
    line = player.scenes["profile, unknown guest"][0]
    player._guest_http({**line, "path": f"{PATH}/{player.witness.names['guestId']}"})
    player._server_http(player.scenes["profile, unknown guest"][1])


def test_reconnect_loses_what_was_said_meanwhile() -> None:
    player = Player()
    player.play("reconnect", {0: player.drop, 1: lambda: player.says(1)})
    player.bench.seal()
    assert player.bench.ids("lost.agent") == ["run1.1-1.a.2"]


def test_resume() -> None:
    player = Player()
    player.play("resume", {0: lambda: player.bench.leave(player.conn, 1001)})
    assert player.quiet()


def test_unknown_guest_as_400() -> None:
    Player(own(unknown_as_400=True)).play("profile, unknown guest as 400")


def test_a_share_of_guests_is_not_known_any_more() -> None:
    player = Player(own(unknown_guest=1.0))
    player.play("handshake")
    player.go("profile", stop=1)
    player._server_http(player.scenes["profile, unknown guest"][1])


def test_profile_too_large() -> None:
    player = Player()
    player.play("profile")
    profile = dict(player.half.sessions[player.witness.names["guestId"]].attributes)
    player.witness.names["any"] = "x" * 10_240
    player.go("profile too large")
    assert player.half.sessions[player.witness.names["guestId"]].attributes == profile


@pytest.mark.parametrize(("user", "scope"), [(False, "guest:create webchat:send"), (True, SCOPE)])
def test_profile_without_scope(user: bool, scope: str) -> None:
    player = Player(own(user_read=user))
    player.play("handshake")
    player.witness.names["token"] = client(player.bench, scope)
    player.go("profile, no scope")
    player.witness.names["token"] = client(player.bench, f"{SCOPE} user:read")
    player.go("profile")


@pytest.mark.parametrize("scene", ["end, agent", "end, agent, guest silent"])
def test_the_agent_ends_it(scene: str) -> None:
    player = Player()
    player.play("handshake")
    player.bench.engine.close(player.bench.now, player.conv, by="agent")
    player.go(scene)
    assert [row["fault"] for row in player.bench.rows("disconnects")] == (["unclosed"] if scene.endswith("silent") else [])


def test_every_scene_is_played_somewhere() -> None:
    scenes = set(Player().scenes)
    source = Path(__file__).read_text()
    assert all(f'"{scene}"' in source or scene.startswith("JWT") for scene in scenes - NOT_OURS), scenes


# ---------------------------------------------------------------- tokens


def test_a_good_token() -> None:
    bench = Bench(own(token_life="20min"), dialects=[NAME])
    routing = {"queue": {"id": "q"}, "skill": {"id": "routing-skill-id"}, "language": "de"}
    guest = created(bench, routing=routing)
    half: Any = bench.engine.halves[NAME]
    now_s = bench.engine.wall_ms(bench.now) // 1000
    checked = jwt.check(guest["guestToken"], half._key, now_s)
    assert checked.state == jwt.GOOD
    assert dict(checked.claims) == {
        "sub": guest["id"],
        "iat": now_s,
        "exp": now_s + 1200,
        "routing_hints": {"queue": "q", "skill": "routing-skill-id", "language": "de"},
        "attributes": {"source": "x"},
    }


def test_the_servers_clock_is_in_the_token() -> None:
    bench = Bench({**own(token_life="20min"), **faults({"name": "skew", "by": "1h"})}, dialects=[NAME])
    guest = created(bench)
    assert claims_of(guest["guestToken"])["iat"] == bench.engine.wall_ms(bench.now) // 1000 + 3600
    conn = entered(bench, guest)
    bench.run(1100)
    assert conn not in bench.ended  # its own clock the server believes
    bench.run(110)
    assert bench.ended[conn] == ("reset", 0)


@pytest.mark.parametrize("flaw", ["no_hints", "expired", "malformed", "missing_claim"])
def test_flawed_tokens(flaw: str) -> None:
    bench = Bench(own(**{flaw: 1.0}), dialects=[NAME])
    half: Any = bench.engine.halves[NAME]
    lacking = set()
    for _ in range(40):
        guest = created(bench)
        checked = jwt.check(guest["guestToken"], half._key, bench.engine.wall_ms(bench.now) / 1000)
        claims = checked.claims
        lacking |= {"sub", "exp", "iat", "routing_hints", "attributes"} - set(claims)
        states = {"malformed": {jwt.MALFORMED}, "expired": {jwt.EXPIRED}}.get(flaw, {jwt.GOOD})
        assert checked.state in states
        assert flaw != "no_hints" or claims["routing_hints"] == {}
        conn = bench.socket(path=path_of(guest))
        bench.say(conn, type="handshake", token=guest["guestToken"])
        assert bench.ended[conn] == ("reset", 0)
    if flaw == "missing_claim":
        assert lacking == {"sub", "exp", "iat", "routing_hints"}
    assert [row["why"] for row in bench.rows("flawed_token")] == [flaw] * 40


def test_a_share_of_flaws() -> None:
    bench = Bench(own(no_hints=0.2, malformed=0.3), dialects=[NAME])
    token = client(bench)
    for _ in range(400):
        created(bench, token)
    found = Counter(row["why"] for row in bench.rows("flawed_token"))
    assert 50 < found["no_hints"] < 110
    assert 70 < found["malformed"] < 130


# ---------------------------------------------------------------- guests and profiles


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"name":1}',
        b'{"name":"x","attributes":[]}',
        b'{"name":"x","routing":3}',
        b'{"name":"x","attributes":null}',
    ],
)
def test_a_bad_guest(body: bytes) -> None:
    bench = Bench(dialects=[NAME])
    assert bench.answer(bench.request("POST", PATH, body, token=client(bench))) == (400, {"code": "bad.request"})


def test_attributes_have_a_limit_from_the_first() -> None:
    bench = Bench(own(attributes_limit=100), dialects=[NAME])
    token = client(bench)
    body = {"name": "x", "attributes": {"k": "x" * 100}}
    assert bench.answer(bench.request("POST", PATH, body, token=token)) == (400, {"code": "attributes.too.large"})
    guest = created(bench, token)
    room = 100 - len('{"source":"x","k":""}')
    for length, status in ((room, 200), (room + 1, 400)):
        change = {"attributes": {"k": "y" * length}}
        assert bench.answer(bench.request("PUT", f"{PATH}/{guest['id']}", change, token=token))[0] == status


def test_absurd_attributes() -> None:
    bench = Bench(dialects=[NAME])
    token = client(bench)
    for depth in (40, 500, 900, 950, 980, 5000):
        body = b'{"name":"x","attributes":{"k":' + b"[" * depth + b"]" * depth + b"}}"
        assert bench.answer(bench.request("POST", PATH, body, token=token))[0] == 400


def test_the_whole_swarm_shares_two_hundred_calls_a_minute() -> None:
    bench = Bench({**SKILLS, "limit_sets": [NAME]}, dialects=[NAME])
    token, other = client(bench), client(bench)
    guest = created(bench, token)
    codes = []
    for place in range(300):
        if place % 2:
            codes.append(bench.answers[bench.request("PUT", f"{PATH}/{guest['id']}", {"attributes": {}}, token=token)].status)
        else:
            codes.append(bench.answers[bench.request("POST", PATH, {"name": "x"}, token=other)].status)
    assert codes == [200] * 199 + [429] * 101
    bench.run(0.3)
    assert bench.answers[bench.request("POST", PATH, {"name": "x"}, token=token)].status == 200
    bench.run(60)
    assert created(bench, token)


@pytest.mark.parametrize(
    ("table", "routing", "why"),
    [
        ({}, {"skill": {"id": "ROUTING-SKILL-ID"}}, "unknown_skill"),
        ({}, {"skill": {"id": "night"}}, "nobody_on_shift"),
        ({"queues": ["other"]}, {"queue": {"id": "q"}}, "unknown_queue"),
    ],
)
def test_routing_that_fits_nobody(table: dict[str, Any], routing: dict[str, Any], why: str) -> None:
    bench = Bench({**SKILLS, **table}, dialects=[NAME])
    conn = entered(bench, created(bench, routing=routing))
    message(bench, conn, 1)
    bench.run(600)
    assert bench.frames(conn) == []
    assert [row["why"] for row in bench.rows("stalled")] == [why]


# ---------------------------------------------------------------- sockets


def test_frames_that_are_lost_are_noted() -> None:
    bench = Bench(SKILLS, dialects=[NAME])
    guest = created(bench)
    conn = bench.socket(path=path_of(guest))
    message(bench, conn, 1)
    bench.say(conn, type="handshake", token=guest["guestToken"])
    for frame in ("no", b"\x00", '{"type":[]}', '{"type":"read"}', '{"type":"message"}', '{"type":"message","payload":{"text":1}}'):
        bench.frame(conn, frame)
    bench.say(conn, type="sessionEnded", payload={"reason": "x"})
    message(bench, conn, 2)
    expected = ["before_handshake", "malformed", "malformed", "unknown_type", "unknown_type", "text", "text", "over"]
    assert [row["why"] for row in bench.rows("ignored")] == expected
    assert bench.rows("messages.sent") == []


def test_a_second_handshake_may_still_be_a_bad_one() -> None:
    bench = Bench(SKILLS, dialects=[NAME])
    guest = created(bench)
    conn = entered(bench, guest)
    bench.say(conn, type="handshake", token=guest["guestToken"])
    assert conn not in bench.ended
    bench.say(conn, type="handshake", token=created(bench)["guestToken"])
    assert bench.ended[conn] == ("reset", 0)
    assert [row["fault"] for row in bench.rows("disconnects")] == ["handshake"]


def test_a_handshake_that_waits_in_a_stall_is_not_too_late() -> None:
    bench = Bench({**SKILLS, **faults({"name": "slow_accept", "by": "15s"})}, dialects=[NAME])
    conn = entered(bench)
    message(bench, conn, 1)
    bench.run(30)
    assert conn not in bench.ended
    assert texts(bench, conn) == ["run.1-1.a.1 re 1"]


def test_dialects_that_share_the_token_endpoint() -> None:
    """Each is answered in its own words, whichever comes first."""
    bench = Bench()
    basic = {"authorization": "Basic " + b64encode(f"guestswarm:{SECRET}".encode()).decode()}
    form = f"client_id=guestswarm&client_secret={SECRET}"
    for body, headers, scope in (
        (f"{form}&scope=webchat:send+webchat:read", {}, None),
        (f"{form}&scope=webchat:send+guest:read+guest:create", {}, "webchat:send guest:read guest:create"),
        ("scope=webchat:guest:write+nonsense", basic, "webchat:guest:write"),
    ):
        number = bench.request("POST", "/oauth/token", f"grant_type=client_credentials&{body}".encode(), **headers)
        status, answer = bench.answer(number)
        assert (status, answer.get("scope")) == (200, scope)


def test_the_session_of_another() -> None:
    bench = Bench(SKILLS, dialects=[NAME])
    one, two = created(bench), created(bench)
    refused = bench.upgrade(f"{PATH}/{one['id']}/sessions/{two['sessions'][0]['id']}/ws")[1]
    assert refused is not None
    assert refused.status == 404


def test_who_was_away_when_it_ended_is_told_at_the_handshake() -> None:
    bench = Bench({**SKILLS, "auto_close": "30s"}, dialects=[NAME])
    guest = created(bench)
    bench.leave(entered(bench, guest))
    bench.run(31)
    conn = entered(bench, guest, "127.0.0.1:3001")
    assert bench.frames(conn) == [{"type": "sessionEnded", "payload": {"reason": "agent_left"}}]
    bench.run(5)
    assert bench.ended[conn] == ("close", 1001)


def test_agents_close_and_type() -> None:
    bench = Bench({**SKILLS, "agents": {"accept": "1s", "reply": "1s", "typing": "500ms", "close": 1.0}}, dialects=[NAME])
    conn = entered(bench)
    message(bench, conn, 1)
    bench.run(10)
    assert [frame["type"] for frame in bench.frames(conn)] == ["typing", "message", "sessionEnded"]


@pytest.mark.parametrize(
    "table", [{"no_hints": 2}, {"request_rate": "200"}, {"attributes_limit": 0}, {"life": "1s"}, {"user_read": 1}]
)
def test_what_cannot_be_set(table: dict[str, Any]) -> None:
    with pytest.raises(SimConfigError, match=r"simulator\.guests"):
        SimConfig.from_table(own(**table))


def test_everything_is_forgotten() -> None:
    bench = Bench({"forget_after": "60s", **own(token_life="120s")}, dialects=[NAME])
    for place in range(20):
        conn = entered(bench, None, f"127.0.0.1:{5000 + place}")
        message(bench, conn, 1, f"{place}-1")
        bench.socket(f"127.0.0.1:{6000 + place}", path=path_of(created(bench)))
        bench.run(1)
        if place % 2:
            bench.say(conn, type="sessionEnded", payload={})
    bench.run(400)
    half: Any = bench.engine.halves[NAME]
    assert half.sessions == {}
    assert not bench.engine.conversations
    assert bench.engine.agents.busy == 0
    assert bench.engine.timers.live == 0
    assert bench.engine.conns == {}


# ---------------------------------------------------------------- properties

BUSY = {**CROWDED, **own(token_life="60s", malformed=0.05, expired=0.05), "latency": {"guest": "10ms±50%"}}


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
            if not guest or rng.random() < 0.3:
                request = bench.request("POST", PATH, {"name": "x"}, token=token)
                bench.run(0.05)
                answer = bench.answers.get(request)
                if answer is None or answer.status != 200 or not answer.body.endswith(b"}"):
                    continue
                guest = json.loads(answer.body)
            conn, refused = bench.upgrade(path_of(guest), f"127.0.0.1:{5000 + turn}")
            guests[number] = (0, {}) if refused else (conn, guest)
            if not refused and rng.random() < 0.95:
                bench.say(conn, type="handshake", token=guest["guestToken"])
        elif rng.random() < 0.1:
            bench.leave(conn)
        elif rng.random() < 0.03:
            bench.say(conn, type="sessionEnded")
        elif rng.random() < 0.05:
            bench.request("PUT", f"{PATH}/{guest['id']}", {"attributes": {"turn": turn}}, token=token)
        else:
            label = guest["id"][:8]
            seqs[label] += 1
            message(bench, conn, seqs[label], f"{number}-{label}")
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
                    pushed.setdefault(text.split(" ")[0], []).append((conn, frame["payload"]["id"]))
        recount(bench, pushed)
        assert counts["lost.ingest"] == 0
        lost += counts["lost.agent"]
    assert lost > 0


def test_the_same_seed_gives_the_same_truth() -> None:
    one, two = crowd(7, 200), crowd(7, 200)
    one.seal()
    two.seal()
    assert one.lines == two.lines


FIELDS = st.fixed_dictionaries(
    {"type": st.sampled_from(["handshake", "message", "typing", "sessionEnded", "wat", "", None, 3])},
    optional={"token": JSON | st.just("GOOD"), "payload": JSON | st.fixed_dictionaries({"text": JSON | st.just("Hi [#r.1.g.1]")})},
)
FRAMES = st.one_of(st.binary(max_size=60), st.text(max_size=60), JSON.map(json.dumps), FIELDS.map(json.dumps))


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAMES, max_size=25), st.booleans())
def test_no_frame_raises(frames: list[str | bytes], inside: bool) -> None:
    bench = Bench({"limits": [{"rate": "10/s", "endpoint": "frame message"}]}, dialects=[NAME])
    guest = created(bench, routing={})
    conn = entered(bench, guest) if inside else bench.socket(path=path_of(guest))
    for data in frames:
        bench.frame(conn, data.replace("GOOD", guest["guestToken"]) if isinstance(data, str) else data)
    bench.run(20)
    bench.seal()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([("POST", "/oauth/token"), ("POST", PATH), ("PUT", f"{PATH}/GUEST"), ("PUT", f"{PATH}/x"), ("GET", PATH)]),
    st.dictionaries(st.sampled_from(["name", "attributes", "routing"]), JSON, max_size=3).map(
        lambda body: json.dumps(body).encode()
    )
    | st.binary(max_size=60),
    st.booleans() | st.text(max_size=20),
    st.text(max_size=30),
)
def test_no_request_raises(call: tuple[str, str], body: bytes, header: bool | str, session: str) -> None:
    bench = Bench(dialects=[NAME])
    guest = created(bench, routing={})
    header = f"Bearer {client(bench)}" if header is True else str(header)
    number = bench.request(call[0], call[1].replace("GUEST", guest["id"]), body, authorization=header)
    assert bench.answers[number].status in (200, 400, 401, 404, 405)
    bench.upgrade(f"{PATH}/{guest['id']}/sessions/{session}/ws")
    bench.run(30)
    bench.seal()
