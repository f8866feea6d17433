"""Whom a limit counts: several clients, deployments, addresses, sessions, connections; and what is open at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from harness.simulator.config import SimConfig
from harness.simulator.spelling import SimConfigError
from tests.simulator.engine_kit import SCOPE, SECOND, SECRET, Bench
from tests.simulator.test_intake import guest_of_longpoll, post

SKILLS = "/api/v2/routing/skillgroups"


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    monkeypatch.setenv("SECOND_SECRET", "second-secret")
    (tmp_path / "third").write_text("third-secret\n")
    return {"clients": {"second": "env:SECOND_SECRET", "third": f"file:{tmp_path / 'third'}", "mute": "env:NOT_SET_ANYWHERE"}}


def token(bench: Bench, client: str, secret: str, **options: Any) -> int:
    form = f"grant_type=client_credentials&client_id={client}&client_secret={secret}&scope={quote(SCOPE)}"
    return bench.request("POST", "/oauth/token", form.encode(), **options)


def bearer(bench: Bench, client: str, secret: str, **options: Any) -> str:
    return str(bench.answer(token(bench, client, secret, **options))[1]["access_token"])


def test_every_client_has_its_own_secret(clients: dict[str, Any]) -> None:
    bench = Bench({"credentials": clients})
    for client, secret in (("guestswarm", SECRET), ("second", "second-secret"), ("third", "third-secret")):
        assert bench.answer(token(bench, client, secret))[0] == 200
    for client, secret in (("second", SECRET), ("third", ""), ("mute", ""), ("nobody", SECRET), ("guestswarm", "second-secret")):
        assert bench.answer(token(bench, client, secret))[0] == 401
    assert "second-secret" not in repr(bench.engine.config)


def test_a_secret_is_not_written_in_the_table() -> None:
    with pytest.raises(SimConfigError, match="env:NAME"):
        SimConfig.from_table({"credentials": {"clients": {"second": "plain"}}})
    with pytest.raises(SimConfigError, match="no table"):
        SimConfig.from_table({"credentials": {"clients": ["second"]}})


def test_clients_are_counted_apart_with_a_token_and_without_one(clients: dict[str, Any]) -> None:
    limit = {"endpoint": f"GET {SKILLS}|POST /oauth/token", "rate": "1/h", "burst": 2, "scope": "client"}
    bench = Bench({"credentials": clients, "limits": [limit]})
    one, two = bearer(bench, "guestswarm", SECRET), bearer(bench, "second", "second-secret")

    def status(shown: str, peer: str = "127.0.0.1:2000") -> int:
        return bench.answers[bench.request("GET", SKILLS, token=shown, peer=peer)].status

    assert (status(one), status(one)) == (200, 429)
    assert status(one, "127.0.0.9:1") == 429
    assert (status(two), status(two)) == (200, 429)
    assert bench.answer(token(bench, "second", "second-secret"))[0] == 429
    assert bench.answer(token(bench, "third", "third-secret"))[0] == 200


@pytest.mark.parametrize(
    ("scope", "same_token", "other_token", "other_address", "other_client"),
    [
        ("client", 429, 429, 429, 200),
        ("ip", 429, 429, 200, 429),
        ("session", 429, 200, 429, 200),
        ("connection", 429, 429, 200, 429),
        ("organisation", 429, 429, 429, 429),
    ],
)
def test_what_has_to_be_changed_to_be_counted_anew(
    clients: dict[str, Any], scope: str, same_token: int, other_token: int, other_address: int, other_client: int
) -> None:
    bench = Bench({"credentials": clients, "limits": [{"endpoint": f"GET {SKILLS}", "rate": "1/h", "burst": 1, "scope": scope}]})
    one, again = bearer(bench, "guestswarm", SECRET), bearer(bench, "guestswarm", SECRET)
    two = bearer(bench, "second", "second-secret")
    asked = [(one, "127.0.0.1:1"), (one, "127.0.0.1:1"), (again, "127.0.0.1:1"), (one, "127.0.0.2:1"), (two, "127.0.0.1:1")]
    got = [bench.answers[bench.request("GET", SKILLS, token=shown, peer=peer)].status for shown, peer in asked]
    assert got == [200, same_token, other_token, other_address, other_client]


def test_deployments_are_counted_apart_on_the_upgrade_and_the_handshake_is_refused() -> None:
    bench = Bench({"limits": [{"endpoint": "GET /v1", "rate": "1/h", "burst": 1, "scope": "deployment", "retry_after": "2s"}]})
    assert bench.upgrade("/v1?deploymentId=a")[1] is None
    refused = bench.upgrade("/v1?deploymentId=a", "127.0.0.2:5", x_request_id="up")[1]
    assert refused is not None
    assert (refused.status, refused.headers["retry-after"]) == (429, "2")  # a lie: it is an hour
    assert bench.upgrade("/v1?deploymentId=b")[1] is None
    assert bench.ids("refused") == ["up"]


def test_a_channel_is_a_deployment_and_a_registration_names_its_client(clients: dict[str, Any]) -> None:
    for scope in ("deployment", "client"):
        register = {"endpoint": "POST /api/v2/engagements/guests", "rate": "1/h", "burst": 1, "scope": scope}
        bench = Bench({"credentials": clients, "limits": [register]})

        def status(client: str, channel: str, bench: Bench = bench) -> int:
            body = {"clientId": client, "channelId": channel}
            return bench.answers[bench.request("POST", "/api/v2/engagements/guests", body)].status

        got = [status("guestswarm", "a"), status("second", "a"), status("guestswarm", "b"), status("nobody", "c")]
        assert got == ([200, 429, 200, 401] if scope == "deployment" else [200, 200, 429, 429])


def test_frames_of_a_session_count_for_the_client_that_registered_it(clients: dict[str, Any]) -> None:
    limits = [{"endpoint": "frame message", "rate": "1/h", "burst": 1, "scope": "client"}]
    bench = Bench({"credentials": clients, "limits": limits})
    refused = []
    for place, client in enumerate(("guestswarm", "guestswarm", "second")):
        body = {"clientId": client, "channelId": "a"}
        made = bench.answer(bench.request("POST", "/api/v2/engagements/guests", body))[1]
        path = f"/api/v2/engagements/guests/{made['sessionId']}/ws?guestToken={made['guestToken']}"
        conn = bench.socket(f"127.0.0.1:{4000 + place}", path=path)
        bench.say(conn, type="message", content="Hello")
        refused.append(bool(bench.frames(conn, "error")))
    assert refused == [False, True, False]


# ---------------------------------------------------------------- open at once


def test_so_many_sockets_and_a_place_is_free_when_one_ends() -> None:
    bench = Bench({"limits": [{"endpoint": "GET /webchat", "kind": "concurrency", "limit": 2, "scope": "ip"}]})
    first = bench.socket("127.0.0.1:1")
    second = bench.socket("127.0.0.1:2")
    refused = bench.upgrade("/webchat", "127.0.0.1:3")[1]
    assert refused is not None
    assert refused.status == 429
    assert "retry-after" not in refused.headers
    assert bench.upgrade("/webchat", "127.0.0.2:3")[1] is None
    bench.leave(first)
    assert bench.upgrade("/webchat", "127.0.0.1:4")[1] is None
    bench.engine.end(bench.now, bench.engine.conns[second], "reset", how="reset")
    bench.tell()
    assert bench.upgrade("/webchat", "127.0.0.1:5")[1] is None
    assert bench.upgrade("/webchat", "127.0.0.1:6")[1] is not None


def test_an_upgrade_that_its_half_refuses_holds_no_place() -> None:
    bench = Bench({"limits": [{"endpoint": "GET /v1", "kind": "concurrency", "limit": 1}]})
    for _ in range(3):
        refused = bench.upgrade("/v1")[1]  # without a deployment
        assert refused is not None
        assert refused.status == 403
    assert bench.upgrade("/v1?deploymentId=a")[1] is None


def test_a_request_is_open_as_long_as_a_poll_is_held_or_a_latency_lasts() -> None:
    events = "GET /api/v2/conversations/{conversationId}/events"
    sends = "POST /api/v2/conversations/{conversationId}/messages"
    limits = [{"endpoint": f"{events}|{sends}", "kind": "concurrency", "limit": 2, "scope": "client", "retry_after": "seconds"}]
    bench = Bench({"limits": limits, "latency": {"send": "1s"}})
    who = guest_of_longpoll(bench)
    access, _, conv = who

    def poll(since: int) -> int:
        return bench.request("GET", f"/api/v2/conversations/{conv}/events?wait=30&since={since}", token=access)

    bench.run(3)
    held = poll(10_000)
    sent = post(bench, who, 1)
    refused = post(bench, who, 2)
    assert bench.answers[refused].status == 429
    assert bench.answers[refused].headers["retry-after"] == "1"
    bench.run(0.5)
    assert sent not in bench.answers
    bench.run(0.6)
    assert bench.answers[sent].status == 200
    assert held not in bench.answers
    gone = post(bench, who, 3)
    bench.engine.on_request_gone(bench.now, gone)
    assert post(bench, who, 4) not in bench.answers
    assert bench.now > SECOND
