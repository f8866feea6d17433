"""What the dialects share at `/oauth/token`: client credentials against a bearer token (RFC 6749), shown in its answer's terms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import unquote

from harness.simulator import bodies
from harness.simulator.connections import Exchange
from harness.simulator.credentials import Grant
from harness.simulator.spelling import SECOND

if TYPE_CHECKING:
    from harness.simulator.engine import Engine

LIMITED = '{"error":"rate_limited"}'


def basic(header: str) -> tuple[str, str]:
    """Id and secret of `Basic base64(pct(id):pct(secret))` (RFC 6749, 2.3.1); twice nothing where it is none."""
    client, secret = bodies.basic(header)
    return unquote(client), unquote(secret)


def uses_basic(exchange: Exchange) -> bool:
    """Does a request show its secret in the header (and not in the form)?"""
    return exchange.headers.get("authorization", "").lower().startswith("basic ")


def client_named(exchange: Exchange) -> str:
    """The client that a request without a token says it is: in its header, or in a form."""
    named = basic(exchange.headers.get("authorization", ""))[0]
    return named or (exchange.form.get("client_id", "") if exchange.body[:1].isalpha() else "")  # JSON and files begin otherwise


def grant_token(engine: Engine, now: int, exchange: Exchange, client: str, secret: str, *, tells_scope: bool = True) -> None:
    """Answer a request for a token; `tells_scope`: the answer names the scopes that were granted."""
    form, credentials, truth = exchange.form, engine.credentials, engine.truth
    if form.get("grant_type") != "client_credentials":
        return engine.answer(now, exchange, 400, {"error": "unsupported_grant_type"})
    if not credentials.known_client(client, secret):
        asked_for = {"www-authenticate": "Basic"} if uses_basic(exchange) else None  # RFC 6749, 5.2
        return engine.answer(now, exchange, 401, {"error": "invalid_client"}, headers=asked_for)
    asked = form["scope"].split() if "scope" in form else None
    grant = credentials.grant(now, client, None if asked is None else frozenset(asked))
    body = {
        "access_token": grant.token,
        "token_type": "bearer",
        "expires_in": credentials.life // SECOND,
    }
    if tells_scope:
        body["scope"] = scope_text(engine, grant, asked)
    return engine.answer(now, exchange, 200, body, handed=lambda at: truth.row(at, "tokens.client_credentials", exchange.id))


def scope_text(engine: Engine, grant: Grant, asked: Iterable[str] | None = None) -> str:
    """The scopes of a grant in the order in which they were asked for, or else that of the settings."""
    order = engine.config.credentials.scopes if asked is None else dict.fromkeys(asked)
    return " ".join([name for name in order if name in grant.scopes])
