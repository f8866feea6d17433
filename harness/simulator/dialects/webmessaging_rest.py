"""webmessaging: everything over HTTP but files: a deployment's documents, the history, signing in, and what operators ask."""

from __future__ import annotations

import json
from random import Random
from typing import TYPE_CHECKING, Any

from harness.simulator import bodies, jwt
from harness.simulator.connections import Exchange
from harness.simulator.conversations import Message
from harness.simulator.dialects import webmessaging_settings as settings_of
from harness.simulator.dialects.base import Route
from harness.simulator.dialects.webmessaging_session import Session
from harness.simulator.spelling import SECOND
from harness.simulator.tickets import Tickets

if TYPE_CHECKING:
    from harness.simulator.dialects.webmessaging import Webmessaging

Body = dict[str, Any]
TOKENS = "/api/v2/webdeployments/token"
DEPLOYMENT = "/webdeployments/v1/deployments/{deploymentId}"
DEVICES = "/api/v2/webmessaging/deployments/{deploymentId}/pushdevices/{deviceToken}"
NO_BEARER = "No authentication bearer token specified in authorization header."
TALKS = "/api/v2/conversations/messages/{id}"
_HISTORY = (settings_of.HISTORY_KEY, settings_of.HISTORY_PER_MINUTE)


def error(status: int, code: str, message: str, context: str, **more: Any) -> Body:
    """The body of a refusal."""
    return {
        "message": message,
        "code": code,
        "status": status,
        "messageWithParams": message,
        "messageParams": {},
        "contextId": context,
        "details": [],
        "errors": [],
        **more,
    }


class SignIn:
    """Somebody who has signed in. Their JWTs are good until it is revoked."""

    __slots__ = ("deployment", "id", "refresh", "revoked")

    def __init__(self, sid: str, deployment: str) -> None:
        self.id, self.deployment = sid, deployment
        self.refresh = ""
        self.revoked = False


class Rest:
    """The HTTP side."""

    def __init__(self, half: Webmessaging) -> None:
        self._half, self._engine, self._settings = half, half.engine, half.settings
        rng = Random(f"{half.engine.seed}/webmessaging/jwt")
        self._key = rng.randbytes(32)
        life = half.engine.config.credentials.refresh_life
        self._codes = Tickets(rng)
        self._refresh = Tickets(rng, prefix="refresh.")
        self._sign_ins = Tickets(rng)
        self._life = life
        self._operators = Tickets(rng)

    def routes(self) -> list[Route]:
        """All endpoints."""
        operators = self._limited_body("platform.api", settings_of.OPERATORS_KEY, settings_of.OPERATORS_PER_MINUTE)
        return [
            Route("GET", f"{DEPLOYMENT}/config.json", self._config),
            Route("GET", f"{DEPLOYMENT}/domains.json", self._domains),
            Route("GET", "/api/v2/webmessaging/messages", self._history, "list", self._limited_body("webmessaging", *_HISTORY)),
            Route("POST", f"{TOKENS}/oauthcodegrantjwtexchange", self._exchange, "token"),
            Route("POST", f"{TOKENS}/refresh", self._renew, "token"),
            Route("DELETE", f"{TOKENS}/revoke", self._revoke, "token"),
            *[Route(method, DEVICES, self._device) for method in ("POST", "PATCH", "DELETE")],
            Route("POST", "/oauth/token", self._operator, "token", '{"error":"rate_limited"}', self._is_operators),
            Route("GET", "/api/v2/routing/queues", self._queues, "list", operators, self._by_operator),
            Route("GET", f"{TALKS}/details", self._details, "list", operators),
            Route("PATCH", TALKS, self._change, "send", claims=self._by_operator),
        ]

    def _refuse(self, now: int, exchange: Exchange, status: int, code: str, message: str) -> None:
        self._engine.answer(now, exchange, status, error(status, code, message, self._engine.new_uuid()))

    def _limited_body(self, namespace: str, key: str, value: int) -> str:
        """What is answered with the 429 of a limit."""
        text = "Rate limit exceeded the maximum. Retry the request in [{wait}] seconds"
        limit = {"namespace": namespace, "key": key, "value": value}
        return json.dumps(error(429, "too.many.requests", text, self._engine.new_uuid(), limit=limit))

    # ------------------------------------------------------------ deployment
    def _config(self, now: int, exchange: Exchange) -> None:
        deployment = exchange.params[0]
        if not self._half.exists(deployment):
            return self._engine.answer(now, exchange, 403, {"message": "Forbidden"})
        http = self._half.host_of(exchange.headers)
        found = settings_of.deployment_config(self._settings, deployment, http, "ws" + http.removeprefix("http"))
        return self._engine.answer(now, exchange, 200, found)

    def _domains(self, now: int, exchange: Exchange) -> None:
        if not self._half.exists(exchange.params[0]):
            return self._engine.answer(now, exchange, 403, {"message": "Forbidden"})
        names = list(self._half.domains)
        everybody = self._settings.allow_all_domains and not names
        return self._engine.answer(now, exchange, 200, {"allowAllDomains": everybody, "allowedDomains": names})

    # ------------------------------------------------------------ history
    def history_jwt(self, now: int, session: Session) -> Body:
        """The answer to `getJwt`."""
        exp = self._engine.wall_ms(now + self._settings.jwt_life) // 1000
        return {"jwt": jwt.make({"kind": "history", "sub": session.digest, "exp": exp}, self._key), "exp": exp}

    def session_of(self, now: int, exchange: Exchange) -> Session | None:
        """The session whose history a request may see."""
        claims = self._claims(now, _bearer(exchange), "history")
        session = self._half.sessions.by_digest.get(str(claims.get("sub"))) if claims else None
        return session if session is not None and session.alive else None

    def _history(self, now: int, exchange: Exchange) -> None:
        engine, settings = self._engine, self._settings
        session = self.session_of(now, exchange)
        if session is None:
            return self._refuse(now, exchange, 401, "unauthorized", NO_BEARER)
        query = exchange.query
        size, number = _number(query.get("pageSize", str(settings.page))), _number(query.get("pageNumber", "1"))
        if size is None or number is None:
            return self._refuse(now, exchange, 400, "bad.request", "pageSize and pageNumber are whole numbers of at least 1")
        size = min(size, settings.page_cap)
        if session.conv is not None:
            self._half.sessions.catch_up(session.conv)
        ahead = self._half.sessions.ahead(now, session)
        if ahead:
            exchange.timer = engine.timers.at(now + ahead, self._history, exchange)
            return None
        entries = session.history()
        total = len(entries)
        page = entries[max(0, total - size * number) : max(0, total - size * (number - 1))][::-1]
        messages: list[Message] = [message for _, message in page if message is not None]
        body = {
            "entities": [entity for entity, _ in page],
            "pageSize": size,
            "pageNumber": number,
            "total": total,
            "pageCount": -(-total // size),
        }
        return engine.answer(now, exchange, 200, body, handed=lambda at: engine.listed(at, messages, exchange.id))

    # ------------------------------------------------------------ signing in
    def signed_in(self, now: int, code: str, deployment: str) -> SignIn | tuple[int, str]:
        """Who shows this JWT, or code and text of the refusal."""
        if code in self._settings.revoked_jwts:
            return 403, "Session authentication failed"
        claims = self._claims(now, code, "guest")
        ticket = self._sign_ins.look(now, str(claims.get("sub"))) if claims else None
        if ticket is None:
            return 401, "the JWT is malformed, expired or not known"
        who: SignIn = ticket.data
        if who.revoked:
            return 403, "Session authentication failed"
        return who if who.deployment == deployment else (403, "Try to authenticate again")

    def _exchange(self, now: int, exchange: Exchange) -> None:
        body = bodies.table(exchange.body) or {}
        deployment, given = bodies.text(body, "deploymentId"), body.get("oauth")
        oauth_given: Body = given if isinstance(given, dict) else {}
        code, id_token = bodies.text(oauth_given, "code"), bodies.text(oauth_given, "idToken")
        if not deployment or not (code or id_token):
            return self._refuse(now, exchange, 400, "bad.request", "deploymentId and oauth are needed")
        if not self._half.exists(deployment):
            return self._refuse(now, exchange, 404, "deployment.not.found", "The deployment was not found")
        shown = code or id_token
        if shown in self._settings.refused_codes or (code and self._codes.look(now, code) is not None):
            return self._refuse(now, exchange, 401, "unauthorized", "The identity provider has refused the grant")
        who = SignIn(self._engine.new_uuid(), deployment)
        self._sign_ins.issue(now, self._life, who, token=who.id)
        answer = {"jwt": self._guest_jwt(now, who)}
        if code:
            self._codes.issue(now, self._life, token=code)
            who.refresh = answer["refreshToken"] = self._refresh.issue(now, self._life, who)
        return self._engine.answer(now, exchange, 200, answer)

    def _renew(self, now: int, exchange: Exchange) -> None:
        ticket = self._refresh.look(now, bodies.text(bodies.table(exchange.body) or {}, "refreshToken"))
        if ticket is None or not ticket.live(now) or ticket.data.revoked:
            return self._refuse(now, exchange, 401, "unauthorized", "The refresh token is not good")
        return self._engine.answer(now, exchange, 200, {"jwt": self._guest_jwt(now, ticket.data)})

    def _revoke(self, now: int, exchange: Exchange) -> None:
        claims = self._claims(now, _bearer(exchange), "guest")
        ticket = self._sign_ins.look(now, str(claims.get("sub"))) if claims else None
        if ticket is None or ticket.data.revoked:
            return self._refuse(now, exchange, 401, "unauthorized", "The JWT is not good")
        ticket.data.revoked = True
        self._engine.answer(now, exchange, 204)
        return self._half.door.log_out(now, ticket.data.id)

    def _guest_jwt(self, now: int, who: SignIn) -> str:
        wall = self._engine.wall_ms(now)
        claims = {
            "kind": "guest",
            "sub": who.id,
            "jti": self._engine.new_uuid(),
            "iat": wall // 1000,
            "exp": (wall + self._settings.auth_jwt_life // 1_000_000) // 1000,
        }
        return jwt.make(claims, self._key)

    def _claims(self, now: int, token: str, kind: str) -> Body:
        """The claims of a JWT of ours that is good; none: it is not."""
        checked = jwt.check(token, self._key, self._engine.wall_ms(now) / 1000)
        return dict(checked.claims) if checked.state == jwt.GOOD and checked.claims.get("kind") == kind else {}

    # ------------------------------------------------------------ push devices
    def _device(self, now: int, exchange: Exchange) -> None:
        """A device is to be woken, or not any more: it is taken note of, and nothing is ever sent."""
        if not self._half.exists(exchange.params[0]):
            return self._refuse(now, exchange, 404, "deployment.not.found", "The deployment was not found")
        return self._engine.answer(now, exchange, 204)

    # ------------------------------------------------------------ operators
    def _is_operators(self, exchange: Exchange) -> bool:
        """A tool with its own credentials: `Basic`, and no scope asked for."""
        return bool(bodies.basic(exchange.headers.get("authorization", ""))[0]) and "scope" not in exchange.form

    def _operator(self, now: int, exchange: Exchange) -> None:
        client, secret = bodies.basic(exchange.headers.get("authorization", ""))
        engine, credentials = self._engine, self._engine.credentials
        if exchange.form.get("grant_type") != "client_credentials":
            return engine.answer(now, exchange, 400, {"error": "unsupported_grant_type"})
        if not credentials.known_client(client, secret):
            return engine.answer(now, exchange, 401, {"error": "invalid_client"}, headers={"www-authenticate": "Basic"})
        grant = credentials.grant(now, client)
        self._operators.issue(now, credentials.life, token=grant.token)
        body = {"access_token": grant.token, "token_type": "bearer", "expires_in": credentials.life // SECOND}
        truth = engine.truth
        return engine.answer(now, exchange, 200, body, handed=lambda at: truth.row(at, "tokens.client_credentials", exchange.id))

    def _by_operator(self, exchange: Exchange) -> bool:
        """Is it shown a token of ours? What other halves make of that path is then not asked."""
        ticket = self._operators.look(exchange.received, _bearer(exchange))
        return ticket is not None and ticket.live(exchange.received)

    def _allowed(self, now: int, exchange: Exchange) -> bool:
        if self._by_operator(exchange) and self._engine.credentials.bearer(now, exchange.headers) is not None:
            return True
        self._refuse(now, exchange, 401, "unauthorized", NO_BEARER)
        return False

    def _queues(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange):
            return
        settings, query = self._settings, exchange.query
        size = min(_number(query.get("pageSize", "")) or settings.page, settings.page_cap)
        number = _number(query.get("pageNumber", "")) or 1
        names = self._engine.config.queues or ("default",)
        shown = names[size * (number - 1) : size * number]
        body = {
            "entities": [{"id": name, "name": name} for name in shown],
            "pageSize": size,
            "pageNumber": number,
            "total": len(names),
            "pageCount": -(-len(names) // size),
        }
        self._engine.answer(now, exchange, 200, body)

    def _details(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange):
            return
        asked = exchange.params[0]
        for conv in self._engine.conversations.values():
            if conv.dialect is not self._half:
                continue
            self._half.sessions.catch_up(conv)
            for body, _ in conv.data.entries:
                if asked in (body["id"], body["channel"].get("messageId")):
                    self._engine.answer(now, exchange, 200, {"id": asked, "conversationId": conv.id})
                    return
        self._refuse(now, exchange, 404, "not.found", "The message was not found")

    def _change(self, now: int, exchange: Exchange) -> None:
        if not self._allowed(now, exchange):
            return
        conv = self._engine.conversations.get(exchange.params[0])
        if conv is None or conv.dialect is not self._half:
            self._refuse(now, exchange, 404, "not.found", "The conversation was not found")
        elif (bodies.table(exchange.body) or {}).get("state") != "disconnected":
            self._refuse(now, exchange, 400, "bad.request", "state can only become disconnected")
        else:
            self._engine.close(now, conv, by="operator")
            self._engine.answer(now, exchange, 200, {"id": conv.id})


def _bearer(exchange: Exchange) -> str:
    kind, _, token = exchange.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _number(text: str) -> int | None:
    """A whole number of at least 1."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0 else None
