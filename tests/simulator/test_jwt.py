"""HS256 tokens: the example of RFC 7515, every padding, and whatever else may come."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.simulator import jwt

KEY = b"a key of the tests"
RFC_KEY = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
RFC_TOKEN = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)


@pytest.mark.parametrize("size", range(7))
def test_every_padding(size: int) -> None:
    data = bytes(range(250, 250 + min(size, 6))) + b"\xff" * max(0, size - 6)
    text = jwt.encode(data)
    assert "=" not in text
    assert jwt.decode(text) == data
    if size % 3:
        assert jwt.decode(text + "=" * (3 - size % 3)) is None


@pytest.mark.parametrize("text", ["a", "a=", "ab==", "a+b/", "ab cd", "äöü", "ab\n", "QQE", "QR", "aaaaa"])
def test_what_is_no_base64url(text: str) -> None:
    got = jwt.decode(text)
    assert got is None or jwt.encode(got) == text


def test_the_example_of_the_standard() -> None:
    key = jwt.decode(RFC_KEY)
    assert key is not None
    found = jwt.check(RFC_TOKEN, key, 1300819379.0)
    assert (found.state, found.claims["iss"]) == (jwt.GOOD, "joe")
    assert jwt.check(RFC_TOKEN, key, 1300819380.0).state == jwt.EXPIRED
    assert jwt.check(RFC_TOKEN, key).state == jwt.GOOD
    assert jwt.check(RFC_TOKEN, b"another", 0).state == jwt.FORGED


@given(
    st.dictionaries(
        st.text(max_size=8).filter(lambda name: name not in ("exp", "nbf")), st.text() | st.integers() | st.none(), max_size=5
    )
)
def test_round_trip(claims: dict[str, object]) -> None:
    token = jwt.make(claims, KEY)
    assert jwt.check(token, KEY, 0) == jwt.Checked(jwt.GOOD, claims)
    assert jwt.check(token[:-1], KEY, 0).state in (jwt.MALFORMED, jwt.FORGED)


def _token(head: object, claims: object) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (head, claims)]
    return f"{parts[0]}.{parts[1]}.{jwt._sign('.'.join(parts), KEY)}"


@pytest.mark.parametrize(
    ("token", "state"),
    [
        ("", "malformed"),
        ("a.b", "malformed"),
        ("a.b.c.d", "malformed"),
        ("e30.e30.", "forged"),
        ("e30.!!!.e30", "malformed"),
        (_token({"alg": "none"}, {}), "forged"),
        (_token({"alg": "HS512"}, {}), "forged"),
        (_token([], {}), "malformed"),
        (_token({"alg": "HS256"}, []), "malformed"),
        (_token({"alg": "HS256"}, {"exp": "soon"}), "malformed"),
        (_token({"alg": "HS256"}, {"exp": True}), "malformed"),
        (_token({"alg": "HS256"}, {"exp": 10}), "good"),
        (_token({"alg": "HS256"}, {"exp": 5}), "expired"),
        (_token({"alg": "HS256"}, {"nbf": 6}), "expired"),
        ("e30." + "A" * 70_000 + ".e30", "malformed"),
        ("ä.ö.ü", "malformed"),
    ],
)
def test_what_may_come(token: str, state: str) -> None:
    assert jwt.check(token, KEY, 5.0).state == state


@given(st.text())
def test_nothing_raises(text: str) -> None:
    jwt.check(text, KEY, 0)
    jwt.check(f"{text}.{text}.{text}", KEY, 0)
    jwt.decode(text)
