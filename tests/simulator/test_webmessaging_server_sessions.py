"""webmessaging: sessions, connections, switches and limits beyond the transcript."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from harness.conformance.bench import SECRET
from harness.simulator.config import SimConfig
from harness.simulator.spelling import SimConfigError
from tests.simulator.webmessaging_kit import DEPLOYMENT, TOKEN, Desk


# ------------------------------------------------------------ upgrade and deployment
@pytest.mark.parametrize(
    ("own", "origin", "welcome"),
    [
        ({}, "https://anything.example", True),
        ({"allowed_domains": ["Shop.example"]}, "http://shop.EXAMPLE:8080", True),
        ({"allowed_domains": ["shop.example"]}, "https://www.shop.example", True),
        ({"allowed_domains": ["shop.example"]}, "https://workshop.example", False),
        ({"allowed_domains": ["shop.example"]}, "", False),
        ({"allow_all_domains": False}, "https://shop.example", False),
    ],
)
def test_who_may_connect(own: dict[str, Any], origin: str, welcome: bool) -> None:
    desk = Desk(own)
    _, refused = desk.upgrade(f"/v1?deploymentId={DEPLOYMENT}", host="h", origin=origin)
    assert (refused is None) == welcome
    if refused is not None:
        assert (refused.status, refused.body) == (403, b'{"message":"Forbidden"}')


def test_the_origins_of_the_credentials_are_the_domains() -> None:
    desk = Desk(table={"credentials": {"origins": ["https://shop.example:443"]}})
    number = desk.request("GET", f"/webdeployments/v1/deployments/{DEPLOYMENT}/domains.json")
    assert desk.answer(number) == (200, {"allowAllDomains": False, "allowedDomains": ["shop.example"]})
    assert desk.upgrade(f"/v1?deploymentId={DEPLOYMENT}", origin="https://other.example")[1] is not None


@pytest.mark.parametrize("query", ["", "?deploymentId=", "?deploymentId=d-other", "?deploymentId=d-off"])
def test_only_to_an_active_deployment(query: str) -> None:
    desk = Desk({"deployments": [DEPLOYMENT], "inactive": ["d-off"]})
    _, refused = desk.upgrade(f"/v1{query}", origin="https://shop.example")
    assert refused is not None
    assert refused.status == 403


def test_config_names_this_server_and_the_switches() -> None:
    own = {"disconnect": "ReadOnly", "clear": False, "auto_start": True, "user_typing": False, "auth": True, "duration": "1h"}
    desk = Desk(own)
    number = desk.request("GET", f"/webdeployments/v1/deployments/{DEPLOYMENT}/config.json", host="127.0.0.1:9")
    status, body = desk.answer(number)
    talks = body["messenger"]["apps"]["conversations"]
    assert status == 200
    assert (body["apiEndpoint"], talks["messagingEndpoint"]) == ("http://127.0.0.1:9", "ws://127.0.0.1:9")
    assert talks["conversationDisconnect"] == {"enabled": True, "type": "ReadOnly"}
    assert (talks["conversationClear"], talks["autoStart"]) == ({"enabled": False}, {"enabled": True})
    assert (talks["showUserTypingIndicator"], talks["sessionDurationSeconds"]) == (False, 3600)
    assert body["auth"] == {"enabled": True, "allowSessionUpgrade": True}


# ------------------------------------------------------------ sessions
def test_the_upgrade_and_the_configure_must_agree() -> None:
    desk = Desk()
    conn = desk.open()
    assert desk.configure(conn, deploymentId="d-2")["code"] == 400
    assert desk.configure(conn, deploymentId=None)["code"] == 4020
    assert desk.configure(conn, token="")["code"] == 400
    assert desk.ask(conn, "configureSession", deploymentId=DEPLOYMENT)["code"] == 200
    assert desk.ask(conn, "getJwt", "another")["code"] == 4007


def test_a_session_lives_on_with_each_message_and_then_expires() -> None:
    desk = Desk({"duration": "60s"})
    first = desk.session()
    second = desk.session(peer="127.0.0.1:3001")
    desk.run(50)
    desk.text(first, 1)
    desk.run(50)
    assert "SessionExpiredEvent" not in desk.classes(first)
    desk.run(11)
    assert desk.classes(first)[-1] == desk.classes(second)[-1] == "SessionExpiredEvent"
    assert desk.text(first, 2)["code"] == 4006
    desk.leave(second)
    desk.run(5)
    assert desk.ended[first] == ("close", 1001)
    assert [row["fault"] for row in desk.rows("disconnects")] == ["expiry"]
    assert desk.rows("ended")[0]["by"] == "expiry"
    assert desk.configure(desk.open())["code"] == 4006
    assert desk.configure(desk.open(), "another")["body"]["newSession"] is True


def test_the_oldest_of_four_makes_room_and_may_come_back() -> None:
    desk = Desk()
    conns = [desk.session(peer=f"127.0.0.1:{3000 + number}") for number in range(4)]
    assert desk.classes(conns[0])[-1] == "ConnectionClosedEvent"
    assert desk.text(conns[0], 1)["code"] == 4007
    desk.text(conns[1], 1)
    assert [len(desk.messages(conn)) for conn in conns] == [0, 1, 1, 1]
    desk.run(6)
    assert desk.ended[conns[0]] == ("close", 1001)
    assert len(desk.of().conns) == 3


def test_configure_twice_on_one_connection_is_one_connection() -> None:
    desk = Desk()
    conn = desk.session()
    assert desk.configure(conn)["body"]["newSession"] is False
    assert desk.of().conns == [desk.engine.conns[conn]]


def test_one_connection_less() -> None:
    desk = Desk()
    first, second = desk.session(), desk.session(peer="127.0.0.1:3001")
    desk.text(second, 1)
    desk.leave(second)
    desk.run(5)
    assert [body["direction"] for body in desk.messages(first)] == ["Inbound", "Outbound"]


def test_close_session_without_the_others() -> None:
    desk = Desk()
    first, second = desk.session(), desk.session(peer="127.0.0.1:3001")
    desk.text(first, 1)
    answer = desk.ask(first, "closeSession", closeAllConnections=False)
    assert answer["body"] == {"connected": False, "readOnly": True}
    assert "ConnectionClosedEvent" not in desk.classes(second)
    assert desk.text(first, 2)["code"] == 409
    assert desk.ask(first, "closeSession")["code"] == 4020
    assert desk.configure(first, startNew=True)["body"]["readOnly"] is False
    assert desk.text(first, 3)["code"] == 200
    assert [row["by"] for row in desk.rows("ended")] == ["guest"]


def test_a_disconnect_that_is_off_is_not_told() -> None:
    desk = Desk()
    conn = desk.session()
    desk.text(conn, 1)
    before = len(desk.pushed[conn])
    desk.engine.close(desk.now, desk.conv(), by="agent")
    assert len(desk.pushed[conn]) == before
    assert desk.text(conn, 2)["code"] == 200  # another conversation begins
    desk.run(4)
    assert desk.messages(conn)[-1]["text"].endswith("re 2]")


def test_a_barrier_after_the_disconnect() -> None:
    desk = Desk({"disconnect": "Send"})
    conn = desk.session()
    desk.text(conn, 1)
    desk.engine.close(desk.now, desk.conv(), by="agent")
    desk.run(60)
    assert desk.messages(conn)[-1]["events"] == [{"eventType": "Presence", "presence": {"type": "Disconnect"}}]


def test_nothing_comes_after_close_session() -> None:
    desk = Desk()
    conn = desk.session()
    desk.text(conn, 1)
    desk.ask(conn, "closeSession", closeAllConnections=True)
    desk.run(30)
    assert desk.last(conn)["class"] == "SessionResponse"
    assert conn not in desk.ended


def test_a_cleared_session_leaves_no_name_behind() -> None:
    desk = Desk()
    clear = {"type": "Event", "events": [{"eventType": "Presence", "presence": {"type": "Clear"}}]}
    for number in (1, 2):
        conn = desk.session()
        desk.text(conn, number)
        desk.ask(conn, "onMessage", message=clear)
    assert len(desk.engine.conversations) == 2
    assert len({row["id"] for row in desk.rows("ended")}) == 2
    times = [body["channel"]["time"] for number in desk.pushed for body in desk.messages(number)]
    assert times == sorted(set(times))


def test_the_end_is_in_the_history_at_its_time() -> None:
    desk = Desk({"disconnect": "ReadOnly"})
    conn = desk.session()
    desk.text(conn, 1)
    desk.run(10)
    desk.engine.close(desk.now, desk.conv(), by="agent")
    newest, answer, _ = desk.history(desk.jwt(conn))["entities"]
    assert newest["events"][0]["presence"] == {"type": "Disconnect"}
    assert newest["metadata"]["readOnly"] == "true"
    assert (newest["channel"]["time"], answer["channel"]["time"]) == ("2023-11-14T22:13:30.000Z", "2023-11-14T22:13:23.000Z")


def test_step_up_may_be_shut() -> None:
    desk = Desk({"allow_session_upgrade": False})
    conn = desk.session()
    jwt = desk.sign_in()["jwt"]
    assert desk.ask(conn, "configureAuthenticatedSession", deploymentId=DEPLOYMENT, data={"code": jwt})["code"] == 403
    assert desk.ask(conn, "configureAuthenticatedSession", deploymentId=DEPLOYMENT)["code"] == 4020


def test_an_expired_jwt_is_refreshed_and_taken_again() -> None:
    desk = Desk({"auth_jwt_life": "60s"})
    tokens = desk.sign_in()
    desk.run(61)
    conn = desk.open()
    fields = {"deploymentId": DEPLOYMENT, "data": {"code": tokens["jwt"]}}
    assert desk.ask(conn, "configureAuthenticatedSession", **fields)["code"] == 401
    number = desk.request("POST", "/api/v2/webdeployments/token/refresh", {"refreshToken": tokens["refreshToken"]})
    fields["data"] = {"code": desk.answer(number)[1]["jwt"]}
    assert desk.ask(conn, "configureAuthenticatedSession", **fields)["code"] == 200
    assert desk.configure(desk.open())["code"] == 4017


def test_a_code_is_good_once_and_only_in_a_deployment_that_exists() -> None:
    desk = Desk({"deployments": [DEPLOYMENT]})
    path = "/api/v2/webdeployments/token/oauthcodegrantjwtexchange"
    desk.sign_in()
    given = {"deploymentId": DEPLOYMENT, "oauth": {"code": "code-1"}}
    assert desk.answer(desk.request("POST", path, given))[0] == 401
    status, body = desk.answer(desk.request("POST", path, {**given, "deploymentId": "d-9"}))
    assert (status, body["code"]) == (404, "deployment.not.found")
    assert desk.answer(desk.request("POST", path, {"deploymentId": DEPLOYMENT}))[0] == 400


def test_idle_sessions_are_forgotten_above_the_bound() -> None:
    desk = Desk({"sessions_kept": 20})
    for number in range(60):
        desk.leave(desk.session(f"token-{number}"))
    assert len(desk.half.sessions) <= 22
    assert len(desk.half.sessions.by_digest) <= 22


def test_a_configuration_that_is_never_answered() -> None:
    desk = Desk({"silent": 1.0})
    conn = desk.open()
    desk.say(conn, action="configureSession", deploymentId=DEPLOYMENT, token=TOKEN)
    assert conn not in desk.pushed
    assert not desk.engine.conns[conn].ready
    assert [row["code"] for row in desk.rows("mishap")] == [0]


def test_mishaps_take_a_requests_place() -> None:
    desk = Desk({"mishaps": {"5000": 0.3, "4007": "30%"}})
    conn = desk.session()
    codes = [desk.text(conn, number)["code"] for number in range(1, 101)]
    assert set(codes) == {200, 4007, 5000}
    assert len(desk.ids("messages.sent")) == codes.count(200)
    assert [row["code"] for row in desk.rows("mishap")] == [code for code in codes if code != 200]


# ------------------------------------------------------------ limits
def test_the_vendors_limits_by_name() -> None:
    desk = Desk({"messages_per_s": 2}, {"limit_sets": ["webmessaging"]})
    desk.run(0.5)
    conn = desk.session()
    assert [desk.text(conn, number)["code"] for number in (1, 2, 3)] == [200, 200, 429]
    body = desk.last(conn)["body"]
    assert (body["errorCode"], body["retryAfter"]) == (4029, 1)
    other = desk.session(peer="127.0.0.1:3001")
    assert desk.text(other, 4)["code"] == 429  # the session's, whichever connection
    assert desk.text(desk.session("else"), 1, "else")["code"] == 200
    assert [row["endpoint"] for row in desk.rows("refused")] == ["frame onMessage"] * 2
    pings = [desk.ask(conn, "echo", message={"type": "Text", "text": "ping"})["code"] for _ in range(3)]
    assert pings == [200, 200, 429]


def test_sixty_requests_a_minute_over_one_connection_whatever_they_are() -> None:
    desk = Desk({}, {"limit_sets": ["webmessaging"]})
    conn = desk.session()
    codes = [desk.ask(conn, "getJwt" if number % 2 else "dance")["code"] for number in range(60)]
    assert codes.count(429) == 1
    assert codes[-1] == 429
    assert desk.configure(desk.open(peer="127.0.0.1:3001"))["code"] == 200


def test_operators_are_limited_by_their_client() -> None:
    desk = Desk({}, {"limit_sets": ["webmessaging"], "queues": ["q-1"]})
    basic = b64encode(f"guestswarm:{SECRET}".encode()).decode()
    number = desk.request("POST", "/oauth/token", b"grant_type=client_credentials", authorization=f"Basic {basic}")
    token = desk.answer(number)[1]["access_token"]
    asked = [desk.request("GET", "/api/v2/routing/queues", token=token) for _ in range(301)]
    desk.run(1)
    assert [desk.answer(number)[0] for number in asked].count(429) == 1
    number = desk.request("GET", "/api/v2/conversations/messages/x/details", token=token)
    status, body = desk.answer(number)
    assert (status, body["limit"]["key"], body["limit"]["value"]) == (429, "org.app.user.rate.per.minute", 300)


def test_history_limit_and_connections_of_a_deployment() -> None:
    table = {
        "limit_sets": ["webmessaging"],
        "limits": [{"endpoint": "GET /v1", "rate": "3/min", "scope": "deployment", "burst": 2}],
    }
    desk = Desk({}, table)
    jwt = desk.jwt(desk.session())
    for _ in range(10):
        desk.history(jwt)
    number = desk.request("GET", "/api/v2/webmessaging/messages", token=jwt)
    status, body = desk.answer(number)
    assert status == 429
    wait = desk.answers[number].headers["retry-after"]
    assert body["message"] == f"Rate limit exceeded the maximum. Retry the request in [{wait}] seconds"
    desk.open(peer="127.0.0.1:3001")
    _, refused = desk.upgrade(f"/v1?deploymentId={DEPLOYMENT}", "127.0.0.1:3002")
    assert refused is not None
    assert (refused.status, refused.body) == (429, b'{"message":"Too Many Requests"}')
    assert desk.upgrade("/v1?deploymentId=d-2", "127.0.0.1:3003")[1] is None


@pytest.mark.parametrize(
    "own",
    [
        {"disconnect": "on"},
        {"connections_max": 0},
        {"cards": 2},
        {"refusal_shape": "x"},
        {"duration": "0s"},
        {"dance": 1},
        {"mishaps": {"9": 1}},
        {"mishaps": 1},
    ],
)
def test_settings_are_checked(own: dict[str, Any]) -> None:
    with pytest.raises(SimConfigError, match="webmessaging"):
        SimConfig.parse({"webmessaging": own})


# ------------------------------------------------------------ operators
def test_what_an_operator_may_ask() -> None:
    desk = Desk({"disconnect": "Send"}, {"queues": ["q-1", "q-2", "q-3"]})
    conn = desk.session()
    mid = desk.text(conn, 1)["body"]["channel"]["messageId"]
    basic = b64encode(f"guestswarm:{SECRET}".encode()).decode()
    wrong = b64encode(b"guestswarm:no").decode()
    form = b"grant_type=client_credentials"
    assert desk.answer(desk.request("POST", "/oauth/token", form, authorization=f"Basic {wrong}"))[0] == 401
    status, body = desk.answer(desk.request("POST", "/oauth/token", form, authorization=f"Basic {basic}"))
    assert (status, body["token_type"], body["expires_in"]) == (200, "bearer", 1800)
    token = body["access_token"]
    status, page = desk.answer(desk.request("GET", "/api/v2/routing/queues?pageSize=2&pageNumber=2", token=token))
    assert (status, page["entities"], page["pageCount"]) == (200, [{"id": "q-3", "name": "q-3"}], 2)
    path = f"/api/v2/conversations/messages/{mid}/details"
    assert desk.answer(desk.request("GET", path))[0] == 401
    status, found = desk.answer(desk.request("GET", path, token=token))
    assert (status, found) == (200, {"id": mid, "conversationId": desk.conv().id})
    status, refused = desk.answer(desk.request("GET", path.replace(mid, "none"), token=token))
    assert (status, refused["code"]) == (404, "not.found")
    change = f"/api/v2/conversations/messages/{found['conversationId']}"
    assert desk.answer(desk.request("PATCH", change, {"state": "held"}, token=token))[0] == 400
    assert desk.answer(desk.request("PATCH", change, {"state": "disconnected"}, token=token))[0] == 200
    assert desk.messages(conn)[-1]["events"][0]["presence"] == {"type": "Disconnect"}


def test_push_devices_are_taken_note_of() -> None:
    desk = Desk({"deployments": [DEPLOYMENT]})
    for method in ("POST", "PATCH", "DELETE"):
        path = f"/api/v2/webmessaging/deployments/{{}}/pushdevices/{TOKEN}"
        assert desk.answer(desk.request(method, path.format(DEPLOYMENT)))[0] == 204
        assert desk.answer(desk.request(method, path.format("d-9")))[0] == 404
