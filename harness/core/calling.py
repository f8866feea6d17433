"""A guest that asks by HTTP: one token fetch at a time, proactive refresh, bounded retries, one renewal and one retry after a 401.

For dialects whose calls carry a bearer token. What a token request looks like is the dialect's.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import msgspec

from harness.core.backoff import Backoff
from harness.core.credentials import Credential, Secret
from harness.core.guest import Usable
from harness.core.http import cause_of_status, retry_after_ns
from harness.core.session import Context, GuestSession
from harness.core.spread import Duration, seconds
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse
from harness.errors import FailureCause

Done = Callable[[int, str, HttpResponse | None], None]
"""Told (now, request id, answer); None: no usable answer within the bounds."""
WithToken = Callable[[int, bool], None]
CAUSES = {cause.value: cause for cause in FailureCause}
"""By value, as a shell gives them."""


@dataclass(frozen=True, slots=True)
class CallSettings:
    """How a guest asks by HTTP; a dialect's settings inherit these. Durations in nanoseconds."""

    token_attempts: int = 5
    """Requests for one token before the guest gives up for a while (ours)."""
    proactive_refresh: bool = True
    """False: the token is only replaced once it was refused."""
    refresh_ahead: Duration = seconds(60)
    refresh_jitter: Duration = seconds(10)
    """A refresh begins up to so much earlier, so that guests who came together do not refresh together (ours)."""
    http_timeout: Duration = seconds(10)
    rest_attempts: int = 3
    retry_base: Duration = seconds(1)
    retry_jitter: Duration = seconds(1)
    retry_cap: Duration = seconds(30)
    retry_after_cap: Duration = seconds(120)
    """A longer `Retry-After` is cut to this."""

    def retry_backoff(self) -> Backoff:
        """Delays before HTTP retries."""
        return Backoff(self.retry_base, self.retry_cap, self.retry_jitter)


class Ask(msgspec.Struct):
    """A token request, as the dialect has it."""

    base: str
    path: str
    body: bytes
    headers: list[tuple[str, str]]

    def __repr__(self) -> str:
        return f"Ask(base={self.base!r}, path={self.path!r})"


class Grant(msgspec.Struct):
    """A granted token."""

    token: Secret
    lifetime_ns: int
    """-1: the answer gives none."""


class Call(msgspec.Struct):
    """One HTTP call with its retries."""

    measure: str
    endpoint: str
    path: str
    attempts: int
    life: int
    done: Done
    stale: Callable[[int, str, HttpResponse], None] | None
    """Told of an answer that came after the conversation it was meant for."""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    base: str = "api"
    bearer: bool = True
    """Whether it carries the guest's token; what does not asks at once."""
    usable: Usable | None = None
    """Whether a 2xx body can be used: else the exchange counts as malformed."""
    timeout_ns: int = 0
    """0: the usual one."""
    lane: str = "main"
    tried: int = 0
    generation: int = 0
    renewed: bool = False

    def __repr__(self) -> str:
        return f"Call(endpoint={self.endpoint!r}, tried={self.tried})"


def _why(outcome: HttpResponse | HttpFailure) -> FailureCause:
    """What was wrong with an answer; one that cannot be read was malformed."""
    if isinstance(outcome, HttpResponse):
        return cause_of_status(outcome.status) or FailureCause.MALFORMED
    return CAUSES.get(outcome.cause, FailureCause.CONNECTION_CLOSED)


class CallingGuest(GuestSession):
    """The part of a guest that asks by HTTP."""

    _grant_measure: ClassVar[str] = "token"
    """What a token request is timed as."""

    def __init__(self, context: Context, settings: CallSettings) -> None:
        super().__init__(context)
        self._call_settings = settings
        self.credential: Credential | None = None
        self._generation = 0
        """Counts tokens, to tell which one a socket or a call used."""
        self._life = 0
        """Counts conversations begun and ended: what was asked for in an earlier life goes no further."""
        self._retry: Backoff = settings.retry_backoff()
        self._waiting: list[WithToken] = []
        self._fetching = False
        self._fetch_tried = 0
        self._gave_up = FailureCause.UNAUTHORISED
        """Why the last token or call that came to nothing did so: what `Done` is not told."""
        self._held_ns = 0
        """Until when the server has asked to be left alone, by the refusal over which the last row of tries ended."""
        self._later: dict[str, Callable[[int], None]] = {}
        self._last_later = 0

    def _secrets(self) -> tuple[str, ...]:
        own = super()._secrets()
        return own if self.credential is None else (*own, self.credential.value.reveal())

    # ---------------------------------------------------------------- delayed calls
    def _after(self, now: int, delay_ns: int, act: Callable[[int], None]) -> None:
        """Call `act` later, unless the conversation is over by then."""
        self._last_later += 1
        name = f"later:{self._last_later}"
        self._later[name] = act
        self._arm(name, now + delay_ns)

    def _forget_later(self) -> None:
        for name in self._later:
            self._disarm(name)
        self._later.clear()

    def _on_rest_timer(self, name: str, now: int) -> bool:
        """Whether the timer was one of this part's."""
        if name == "token.retry":
            self._ask_token(now)
        elif name == "token.due":
            self._refresh(now)
        elif name.startswith("later:"):
            act = self._later.pop(name, None)
            if act is not None:
                act(now)
        else:
            return False
        return True

    def on_http(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        """As in the base; a guest that only waited for this answer is finished."""
        super().on_http(now, request, outcome)
        self._finish_if_done(now)

    def on_deadline(self, now: int) -> None:
        """As in the base; a guest that only waited for this timer is finished."""
        super().on_deadline(now)
        self._finish_if_done(now)

    # ---------------------------------------------------------------- token
    def _need_token(self, now: int, then: WithToken, *, fresh: bool = False) -> None:
        """Go on as soon as there is a usable token; `fresh` also replaces one that is due for refresh."""
        state = self.credential.state(now) if self.credential else "none"
        if state == "valid" or (state == "due" and not fresh):
            if self._overdue():
                self._fetch_token(now)
            then(now, True)
            return
        self._waiting.append(then)
        self._fetch_token(now)

    def _overdue(self) -> bool:
        """Whether the token's renewal came due between two conversations: nothing else would renew it any more."""
        planned = self._call_settings.proactive_refresh and self.credential is not None and self.credential.refresh_ns > 0
        return planned and "token.due" not in self._timers and not self.closing

    def _refresh(self, now: int) -> None:
        """Fetch the next token while the present one still works."""
        if self.conversation_id:
            self._fetch_token(now)

    def _fetch_token(self, now: int) -> None:
        if not self._fetching:
            self._fetching, self._fetch_tried = True, 0
            self._ask_token(now)

    def _ask_token(self, now: int) -> None:
        ask = self._token_request()
        self._fetch_tried += 1
        self._request(
            now,
            self._grant_measure,
            "POST " + ask.path,
            ask.base,
            ask.path,
            self._token_answered,
            body=ask.body,
            headers=ask.headers,
            timeout_ns=self._call_settings.http_timeout,
            lane="login",
            usable=lambda answer: self._read_grant(answer) is not None,
        )

    def _token_answered(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        if isinstance(outcome, HttpResponse) and 200 <= outcome.status < 300:
            grant = self._read_grant(outcome.body)
            if grant is not None:
                if grant.lifetime_ns < 0:
                    self._note(now, "token.no_lifetime")
                # The server began to count no later than when it answered and no earlier than when it was asked.
                self._take_token(now, request.start_ns or now, grant.token, max(grant.lifetime_ns, 0))
                return
            self._note(now, "token.malformed")
        self._gave_up = _why(outcome)
        if self._hopeless(outcome) or self._fetch_tried >= self._call_settings.token_attempts or self.finished:
            self._heed(now, self._fetch_tried - 1, outcome)
            self._token_failed(now)
            return
        self._arm("token.retry", now + self._retry_delay(now, self._fetch_tried - 1, outcome))

    def _hopeless(self, outcome: HttpResponse | HttpFailure) -> bool:
        """Whether asking for a token again cannot help."""
        return isinstance(outcome, HttpResponse) and outcome.status in (400, 401, 403, 404)

    def _retry_delay(self, now: int, attempt: int, outcome: HttpResponse | HttpFailure) -> int:
        """Back-off, or what the server asks for and a little more, so that those it held back do not return as one."""
        delay = self._retry.delay(attempt, self.rng)
        if isinstance(outcome, HttpResponse) and outcome.status in (429, 503) and "retry-after" in outcome.headers:
            asked = retry_after_ns(
                outcome.headers["retry-after"],
                now + self.context.wall_offset_ns,
                default_ns=delay,
                cap_ns=self._call_settings.retry_after_cap,
            )
            return asked + round(self.rng.random() * self._call_settings.retry_jitter)
        return delay

    def _heed(self, now: int, attempt: int, outcome: HttpResponse | HttpFailure) -> None:
        """There is no further try: what the server has asked to wait still holds for whoever starts anew."""
        if isinstance(outcome, HttpResponse) and outcome.status in (429, 503) and "retry-after" in outcome.headers:
            self._held_ns = now + self._retry_delay(now, attempt, outcome)

    def _not_before(self, now: int, pause_ns: int) -> int:
        """This pause, or as long as the server has asked for where that is longer."""
        return max(pause_ns, self._held_ns - now)

    def _take_token(self, now: int, acquired_ns: int, value: Secret, lifetime_ns: int) -> None:
        self.credential = credential = Credential(value, acquired_ns, lifetime_ns, self._call_settings.refresh_ahead)
        self._generation += 1
        self._fetching = False
        if credential.refresh_ns and self._call_settings.proactive_refresh:
            room = min(self._call_settings.refresh_jitter, (credential.refresh_ns - acquired_ns) // 4)
            due = credential.refresh_ns - round(self.rng.random() * room)
            self._arm("token.due", max(due, now + self._call_settings.retry_base))  # no busy loop, however short the life
        self._tell_waiting(now, True)
        self._on_new_token(now)

    def _token_failed(self, now: int) -> None:
        self._fetching = False
        credential = self.credential
        usable = credential is not None and credential.state(now) in ("valid", "due")
        if usable and not self.closing:
            self._arm("token.due", now + self._retry.delay(self._call_settings.token_attempts, self.rng))
        self._tell_waiting(now, usable)

    def _tell_waiting(self, now: int, ok: bool) -> None:
        waiting, self._waiting = self._waiting, []
        for then in waiting:
            then(now, ok)

    def _reject_token(self, generation: int) -> None:
        """The server said that this token is no good; a newer one is not meant."""
        if self.credential is not None and generation == self._generation:
            self.credential.rejected = True

    @abstractmethod
    def _token_request(self) -> Ask:
        """What to post for a token."""

    @abstractmethod
    def _read_grant(self, body: bytes) -> Grant | None:
        """The token in a 2xx answer; None where there is none. Total."""

    def _on_new_token(self, now: int) -> None:
        """A token was granted."""

    def _on_call_refused(self, now: int, call: Call, answer: HttpResponse) -> None:
        """A call was refused with 401 or 403; it goes on as it would."""

    # ---------------------------------------------------------------- calls
    def _get(
        self,
        now: int,
        measure: str,
        template: str,
        path: str,
        done: Done,
        attempts: int,
        stale: Callable[[int, str, HttpResponse], None] | None = None,
    ) -> None:
        """GET from the API with the bearer token, with at most `attempts` tries of the same kind."""
        self._begin_call(now, Call(measure, "GET " + template, path, attempts, self._life, done, stale))

    def _call(self, now: int, measure: str, endpoint: str, path: str, done: Done, **more: Any) -> None:
        """Ask for anything; `endpoint` is `METHOD /template`, `more` are fields of `Call`. Bounded retries, as settings say."""
        attempts = more.pop("attempts", self._call_settings.rest_attempts)
        self._begin_call(now, Call(measure, endpoint, path, attempts, self._life, done, more.pop("stale", None), **more))

    def _begin_call(self, now: int, call: Call) -> None:
        if call.life != self._life:
            return
        if call.bearer:
            self._need_token(now, partial(self._call_with_token, call))
        else:
            self._send_call(now, call, list(call.headers))

    def _call_with_token(self, call: Call, now: int, ok: bool) -> None:
        if call.life != self._life:
            return
        credential = self.credential
        if not ok or credential is None:
            call.done(now, "", None)
            return
        call.generation = self._generation
        self._send_call(now, call, [("Authorization", "Bearer " + credential.value.reveal()), *call.headers])

    def _send_call(self, now: int, call: Call, headers: list[tuple[str, str]]) -> None:
        self._request(
            now,
            call.measure,
            call.endpoint,
            call.base,
            call.path,
            partial(self._call_answered, call),
            body=call.body,
            headers=headers,
            timeout_ns=call.timeout_ns or self._call_settings.http_timeout,
            lane=call.lane,
            usable=call.usable,
        )

    def _call_answered(self, call: Call, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        if call.life != self._life:
            if call.stale is not None and isinstance(outcome, HttpResponse):
                call.stale(now, request.id, outcome)
            return
        if isinstance(outcome, HttpResponse):
            if outcome.status in (401, 403):
                self._on_call_refused(now, call, outcome)
            if outcome.status == 401 and call.bearer and not call.renewed:
                call.renewed = True
                self._reject_token(call.generation)
                self._begin_call(now, call)
                return
            if outcome.status < 500 and outcome.status != 429:
                call.done(now, request.id, outcome)
                return
        call.tried += 1
        if call.tried >= call.attempts:
            self._gave_up = _why(outcome)
            self._heed(now, call.tried - 1, outcome)
            call.done(now, request.id, None)
            return
        self._after(now, self._retry_delay(now, call.tried - 1, outcome), partial(self._recall, call))

    def _recall(self, call: Call, now: int) -> None:
        self._begin_call(now, call)
