"""What guests send is decoded whatever it is, and token requests are judged."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulator import bodies
from harness.simulator.connections import Exchange
from harness.simulator.dialects import oauth
from tests.simulator.engine_kit import SECRET, Bench


@given(st.text() | st.binary())
def test_nothing_raises(data: str | bytes) -> None:
    assert isinstance(bodies.table(data), dict | None)
    assert isinstance(bodies.frame(data), dict | None)
    found = bodies.basic(data if isinstance(data, str) else data.decode("latin-1"))
    assert found is None or all(isinstance(part, str) for part in found)


def test_tables_and_texts() -> None:
    assert bodies.table(b'{"a": "x", "b": 3}') == {"a": "x", "b": 3}
    assert bodies.table("[1]") is None
    assert bodies.table("[" * 100_000) is None
    assert bodies.frame('{"a": 1}') == {"a": 1}
    assert bodies.frame(b'{"a": 1}') is None
    assert (bodies.text({"a": "x"}, "a"), bodies.text({"a": 3}, "a"), bodies.text({}, "a")) == ("x", "", "")


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("Basic " + base64.b64encode(b"me:a:b").decode(), ("me", "a:b")),
        ("basic " + base64.b64encode(b"me").decode(), ("me", "")),
        ("Bearer abc", ("", "")),
        ("Basic !!", ("", "")),
        ("Basic " + base64.b64encode(b"\xff\xfe:x").decode(), ("", "")),
        ("", ("", "")),
    ],
)
def test_basic(header: str, found: tuple[str, str]) -> None:
    assert bodies.basic(header) == found


@pytest.mark.parametrize(
    ("form", "secret", "status", "says"),
    [
        ("grant_type=client_credentials&scope=guest%3Acreate+webchat%3Asend+admin", SECRET, 200, "guest:create webchat:send"),
        ("grant_type=client_credentials", "wrong", 401, "invalid_client"),
        ("grant_type=password", SECRET, 400, "unsupported_grant_type"),
    ],
)
def test_client_credentials(form: str, secret: str, status: int, says: str) -> None:
    bench = Bench()
    engine = bench.engine
    exchange = Exchange(900, "127.0.0.1:1", "POST", "/oauth/token", {"authorization": "Basic x"}, form.encode(), bench.now)
    engine.pending[900] = exchange
    oauth.grant_token(engine, bench.now, exchange, "guestswarm", secret)
    bench.tell()
    got, body = bench.answer(900)
    assert got == status
    assert says in body.values()
    assert ("www-authenticate" in bench.answers[900].headers) == (status == 401)
    assert len(bench.ids("tokens.client_credentials")) == (status == 200)
