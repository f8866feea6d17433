"""webmessaging before the socket: the deployment's files, the session token that the guest makes, and signing in."""

from __future__ import annotations

from functools import partial
from hashlib import sha256
from urllib.parse import quote
from uuid import UUID

import msgspec

from harness.core.calling import Ask, Done, Grant
from harness.core.credentials import Secret
from harness.core.readback import ReadBackGuest
from harness.core.session import Context
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse
from harness.dialects.guests_jwt import read_claims
from harness.dialects.webmessaging_deployment import Deployment, decode_deployment, decode_domains
from harness.dialects.webmessaging_frames import decode_exchange
from harness.dialects.webmessaging_settings import WebmessagingSettings
from harness.errors import FailureCause

_JSON = [("Content-Type", "application/json")]


class WebmessagingRest(ReadBackGuest):
    """The part of a webmessaging guest that gets what a socket needs."""

    _grant_measure = "jwt"

    def __init__(self, context: Context, settings: WebmessagingSettings) -> None:
        super().__init__(context, settings)
        self.settings = settings
        self._session = Secret("")
        """The session token: whoever has it is the guest."""
        self._token_spent = True
        """The session token must not be used again."""
        self._earlier_ns = 0
        """The latest server time that was known of the session token's earlier conversations."""
        self._start_new = False
        """The next session is to begin a new conversation with an old token."""
        self._deployment: Deployment | None = None
        self._signs_in = False
        self._refresh_token = Secret("")

    # ---------------------------------------------------------------- tokens
    def _uuid(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def _choose_token(self) -> None:
        """A page that kept the token goes on with it, anybody else is a new guest on a new page."""
        if not self._token_spent:
            return
        self._earlier_ns = 0
        self._session = Secret(self._uuid())
        self._token_spent = self._start_new = False
        self._deployment = None
        self._forget_sign_in()
        self._signs_in = self.rng.random() < self.settings.authenticated

    def _public_id(self) -> str:
        """A name for the session that gives nothing away."""
        return sha256(self._session.reveal().encode()).hexdigest()[:16]

    def _forget_sign_in(self) -> None:
        self.credential = None
        self._refresh_token = Secret("")
        self._disarm("token.due")

    # ---------------------------------------------------------------- what comes before the socket
    def _prepare(self, now: int) -> None:
        if self.settings.fetch_configuration and self._deployment is None:
            path = self.settings.configuration_path
            self._public(now, path, self._configuration_answered)
        elif self._signs_in and (self._deployment is None or self._deployment.signs_in):
            self._need_token(now, partial(self._signed_in, self._life), fresh=True)
        else:
            self._signs_in = False
            self._connect(now)

    def _public(self, now: int, path: str, done: Done) -> None:
        ident = quote(self.context.target.deployment_id, safe="")
        self._call(now, "lookup", "GET " + path, path.replace("{id}", ident), done, base="cdn", bearer=False, lane="cdn")

    def _configuration_answered(self, now: int, request_id: str, answer: HttpResponse | None) -> None:  # noqa: ARG002
        if self.phase != "preparing":
            return
        found = decode_deployment(answer.body) if answer is not None and answer.status == 200 else None
        if found is None:
            refused = answer is not None and answer.status == 403
            cause = FailureCause.FORBIDDEN if refused else self._gave_up if answer is None else FailureCause.MALFORMED
            self._not_prepared(now, cause)
        elif not found.active:
            self._note(now, "deployment.inactive")
            self._not_prepared(now, FailureCause.FORBIDDEN)
        else:
            self._deployment = found
            if self.settings.check_origin and self.context.target.origin:
                self._public(now, self.settings.domains_path, self._domains_answered)
            else:
                self._prepare(now)

    def _domains_answered(self, now: int, request_id: str, answer: HttpResponse | None) -> None:  # noqa: ARG002
        if self.phase != "preparing":
            return
        domains = decode_domains(answer.body) if answer is not None and answer.status == 200 else None
        if domains is None:
            self._note(now, "domains.unchecked")  # the server enforces its list in any case
        elif not domains.allow(self.context.target.origin):
            self._note(now, "origin.refused")
            self._not_prepared(now, FailureCause.FORBIDDEN)
            return
        self._prepare(now)

    def _signed_in(self, life: int, now: int, ok: bool) -> None:
        if life != self._life or self.phase != "preparing":
            return
        if ok:
            self._connect(now)
        else:
            self._not_prepared(now, self._gave_up)

    def _not_prepared(self, now: int, cause: FailureCause) -> None:
        """There will be no socket this time."""
        if self.conversation_id:
            self._down(now, cause)
        else:
            self._deployment = None
            self._token_spent = True
            self._start_failed(now, cause)

    # ---------------------------------------------------------------- signing in
    def _token_request(self) -> Ask:
        settings = self.settings
        if self._refresh_token.reveal():
            body: dict[str, object] = {"refreshToken": self._refresh_token.reveal()}
            return Ask("api", settings.refresh_path, msgspec.json.encode(body), list(_JSON))
        oauth = {"code": self._uuid(), "redirectUri": settings.redirect_uri, "codeVerifier": self._uuid()}
        if settings.exchange == "id_token":
            oauth = {"idToken": self._uuid(), "nonce": self._uuid()}
        body = {"deploymentId": self.context.target.deployment_id, "oauth": oauth}
        return Ask("api", settings.exchange_path, msgspec.json.encode(body), list(_JSON))

    def _read_grant(self, body: bytes) -> Grant | None:
        granted = decode_exchange(body)
        return None if granted is None else Grant(Secret(granted.jwt), 0)

    def _token_answered(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        granted = decode_exchange(outcome.body) if isinstance(outcome, HttpResponse) and outcome.status == 200 else None
        if granted is not None and granted.refresh:
            self._refresh_token = Secret(granted.refresh)
        super()._token_answered(now, request, outcome)

    def _hopeless(self, outcome: HttpResponse | HttpFailure) -> bool:
        hopeless = super()._hopeless(outcome)
        if hopeless and self._refresh_token.reveal():
            self._refresh_token = Secret("")  # it has died: sign in anew
            return False
        return hopeless

    def _take_token(self, now: int, acquired_ns: int, value: Secret, lifetime_ns: int) -> None:  # noqa: ARG002
        # The JWT says itself how long it lives; where it does not, or the clocks disagree, the server is left to judge.
        expires_ns = read_claims(value.reveal()).expires_ns
        left = expires_ns - (acquired_ns + self.context.wall_offset_ns) if expires_ns else 0
        super()._take_token(now, acquired_ns, value, max(left, 0))

    def _sign_out(self, now: int) -> None:
        """Revoke the JWT; nobody waits for the answer."""
        credential = self.credential
        if credential is None:
            return
        headers = [("Authorization", "bearer " + credential.value.reveal())]
        path = self.settings.revoke_path
        self._request(now, "leave", "DELETE " + path, "api", path, _nothing, headers=headers, lane="login")
        self._forget_sign_in()
        self._token_spent = True  # the session was an authenticated one, and cannot be a guest's again


def _nothing(now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
    """What a revocation answers changes nothing for the guest."""
