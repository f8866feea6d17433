"""The bearer token of `longpoll` and the calls that need it: proactive refresh, one shared refresh after a 401, one retry."""

from __future__ import annotations

from abc import abstractmethod
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from harness.core import ops
from harness.core.backoff import Backoff
from harness.core.credentials import Credential, Secret
from harness.core.http import cause_of_status, retry_after_ns
from harness.core.session import Context, GuestSession, Op
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse
from harness.dialects.longpoll_events import decode_token, refused_origin
from harness.dialects.longpoll_settings import LongpollSettings
from harness.errors import FailureCause

TOKEN_PATH = "/api/v2/oauth2/token"  # noqa: S105
TOKEN_ENDPOINT = "POST " + TOKEN_PATH
FORM = "application/x-www-form-urlencoded"

Outcome = HttpResponse | HttpFailure


@dataclass(slots=True)
class Call:
    """One request that carries the token, with what is needed to ask it again."""

    measure: str
    endpoint: str
    path: str
    go_on: Callable[[int, Call, Outcome], None]
    timeout_ns: int
    intended_ns: int
    lane: str = "main"
    body: bytes = b""
    content_type: str = ""
    free_ns: int = 0
    op: Op | None = None
    """The message that a POST carries or a file is for."""
    attempt: int = 0
    """How often it was tried and is to be tried again, 401 not counted."""
    retried: bool = False
    """It was refused with 401 and asked again; the next 401 counts."""
    hold_ns: int = 0
    """How long the server was asked to hold it."""
    generation: int = 0
    """Which token it carried."""
    request: HttpRequest | None = None

    @property
    def start_ns(self) -> int:
        """When its bytes were written; 0: not yet."""
        return self.request.start_ns if self.request is not None else 0


class AuthorisedSession(GuestSession):
    """Keeps the guest's token usable and makes calls wait for it."""

    def __init__(self, context: Context, settings: LongpollSettings) -> None:
        super().__init__(context)
        self.settings = settings
        self.backoff = Backoff(settings.retry_base, settings.retry_cap, proportional=settings.retry_jitter)
        self._credential: Credential | None = None
        self._generation = 0
        self._unusable_ns = 0
        """When the server first refused the current token; 0: it did not."""
        self._acquiring = False
        self._held_ns = 0
        """Until when the server has asked to be left alone, by the refusal over which the last row of tries ended."""
        self._token_attempt = 0
        self._waiting: list[Call] = []
        """Calls that are held until there is a token."""

    # ---------------------------------------------------------------- what the session says
    @abstractmethod
    def _silenced(self) -> bool:
        """Whether nothing more may be asked for in this conversation."""

    @abstractmethod
    def _token_ready(self, now: int) -> None:
        """There is a new token; held calls are on their way already."""

    @abstractmethod
    def _token_failed(self, now: int, cause: FailureCause) -> None:
        """There is none, and the guest's credentials are cleared."""

    # ---------------------------------------------------------------- calls
    def _call(self, now: int, call: Call) -> None:
        """Ask for it with a usable token, now or as soon as there is one."""
        if self._silenced():
            return
        if not self._token_usable(now):
            self._waiting.append(call)
            self._acquire(now, now)
            return
        credential = self._credential
        assert credential is not None
        if call.retried and call.measure == "ack" and call.op is not None:
            # The same message leaves once more: written down like every attempt.
            call.op.attempts += 1
            self.context.observer.record(
                ops.Invoked(now, call.op.label, call.op.seq, call.op.attempts, call.op.intended_ns, len(call.op.text))
            )
        headers = [("Authorization", f"Bearer {credential.value.reveal()}")]
        if call.content_type:
            headers.append(("Content-Type", call.content_type))
        call.generation = self._generation
        call.request = self._request(
            now,
            call.measure,
            call.endpoint,
            "api",
            call.path,
            lambda at, _, outcome: self._on_answer(at, call, outcome),
            body=call.body,
            headers=headers,
            timeout_ns=call.timeout_ns,
            lane=call.lane,
            intended_ns=call.intended_ns,
            free_ns=call.free_ns,
        )

    def _on_answer(self, now: int, call: Call, outcome: Outcome) -> None:
        refused = isinstance(outcome, HttpResponse) and outcome.status == 401
        if refused and self.settings.refresh_refused and not call.retried and not self._silenced():
            call.retried, call.request = True, None
            if call.op is not None and call.measure == "ack":
                call.op.sent_ns = 0  # certainly not taken
            if call.generation == self._generation and self._credential is not None and not self._unusable_ns:
                self._unusable_ns = now
                self._credential.rejected = True
            call.free_ns = now
            self._call(now, call)
            return
        call.go_on(now, call, outcome)

    def _retry_wait(self, now: int, outcome: Outcome, attempt: int, limit: int, *, repeatable: bool = True) -> int | None:
        """How long to wait before asking again after `attempt` tries; None: not again.

        429 waits as told. A server error, or a connection that broke when the request may have been read, is asked again
        only if that does no harm (`repeatable`); a request that never left may always be.
        """
        if attempt >= limit:
            if isinstance(outcome, HttpResponse) and outcome.status == 429:
                self._held_ns = now + self._asked_wait(now, outcome, 0)
            return None
        pause = self.backoff.delay(max(attempt - 1, 0), self.rng)
        if isinstance(outcome, HttpFailure):
            return pause if repeatable or not outcome.written else None
        if outcome.status == 429:
            return self._asked_wait(now, outcome, pause)
        return pause if repeatable and outcome.status >= 500 else None

    def _asked_wait(self, now: int, response: HttpResponse, default_ns: int) -> int:
        return retry_after_ns(
            response.headers.get("retry-after"),
            now + self.context.wall_offset_ns,
            default_ns=default_ns,
            cap_ns=self.settings.retry_after_cap,
        )

    # ---------------------------------------------------------------- the token
    def _token_usable(self, now: int) -> bool:
        if self._credential is None:
            return False
        return not self.settings.refresh_refused or self._credential.state(now) in ("valid", "due")

    def _clear_credentials(self) -> None:
        self._credential = None
        self._unusable_ns = 0
        self._disarm("refresh")

    def _acquire(self, now: int, due: int) -> None:
        """Get a token: by the refresh token where there is one, else as at first. One request serves all who wait."""
        if not self._acquiring:
            self._acquiring, self._token_attempt = True, 0
            self._disarm("refresh")
            self._ask_token(now, due)

    def _ask_token(self, now: int, due: int) -> None:
        target = self.context.target
        self._token_attempt += 1
        basic = b64encode(f"{target.client_id}:{target.client_secret.reveal()}".encode()).decode()
        renewal = self._credential.refresh_value if self._credential is not None else None
        if renewal is None:
            endpoint, body = TOKEN_ENDPOINT, "grant_type=client_credentials"
        else:
            endpoint = TOKEN_ENDPOINT + "#refresh_token"
            body = f"grant_type=refresh_token&refresh_token={quote(renewal.reveal(), safe='')}"
        self._request(
            now,
            "token",
            endpoint,
            "api",
            TOKEN_PATH,
            self._on_token,
            body=body.encode(),
            headers=[("Authorization", f"Basic {basic}"), ("Content-Type", FORM)],
            timeout_ns=self.settings.token_timeout,
            intended_ns=due,
            usable=lambda answer: decode_token(answer) is not None,
        )

    def _on_token(self, now: int, request: HttpRequest, outcome: Outcome) -> None:
        if isinstance(outcome, HttpResponse):
            granted = decode_token(outcome.body) if 200 <= outcome.status < 300 else None
            if granted is not None:
                self._acquiring = False
                self._accept_token(now, request, granted.access, granted.refresh, granted.life_ns or self.settings.token_life)
                return
            cause = cause_of_status(outcome.status) or FailureCause.MALFORMED
            if cause is FailureCause.FORBIDDEN:
                self._note(now, "origin.refused" if refused_origin(outcome.body) else "scope.refused")
        else:
            cause = _cause(outcome.cause)
        wait = None
        if not self._silenced() and cause is not FailureCause.TIMEOUT:
            repeatable = isinstance(outcome, HttpResponse)
            wait = self._retry_wait(now, outcome, self._token_attempt, self.settings.token_attempts, repeatable=repeatable)
        if wait is not None:
            self._arm("token", now + wait)
            return
        self._acquiring = False
        if self._credential is not None:
            self._gap(now, request.id, ops.FAIL, cause.value)
            self._note(now, "refresh.failed", cause.value)
        self._clear_credentials()
        self._token_failed(now, cause)

    def _accept_token(self, now: int, request: HttpRequest, access: str, refresh: str, life_ns: int) -> None:
        old = self._credential
        if old is not None:
            self._gap(now, request.id, ops.OK, "")
        # A server that gives no new refresh token leaves the old one in force (RFC 6749 section 6).
        renewal = Secret(refresh) if refresh else old.refresh_value if old is not None else None
        # The server's count began before its answer was read: ours begins when the request was written.
        self._credential = Credential(Secret(access), request.start_ns or now, life_ns, self.settings.refresh_ahead, renewal)
        self._generation += 1
        self._unusable_ns = 0
        self._arm_refresh()
        held, self._waiting = self._waiting, []
        for call in held:
            call.free_ns = now
            self._call(now, call)
        self._token_ready(now)

    def _gap(self, now: int, ref: str, outcome: str, cause: str) -> None:
        """From when the old token could not be used to now; no length if it still can."""
        credential = self._credential
        since = now
        if credential is not None:
            if credential.expires_ns:
                since = min(since, credential.expires_ns)
            if self._unusable_ns:
                since = min(since, self._unusable_ns)
        self.context.observer.record(ops.Sample(now, self.label, "refresh.gap", outcome, cause, since, since, now, 0, ref, ""))

    def _arm_refresh(self) -> None:
        credential = self._credential
        if credential is not None and credential.refresh_ns and self.settings.proactive_refresh:
            lead = credential.expires_ns - credential.refresh_ns
            self._arm("refresh", credential.refresh_ns - round(self.rng.random() * self.settings.refresh_jitter * lead))


def _cause(text: str) -> FailureCause:
    try:
        return FailureCause(text)
    except ValueError:
        return FailureCause.INTERNAL


def cause_of(outcome: Outcome) -> FailureCause:
    """The failure's name; a 2xx that is not usable is malformed."""
    if isinstance(outcome, HttpFailure):
        return _cause(outcome.cause)
    return cause_of_status(outcome.status) or FailureCause.MALFORMED
