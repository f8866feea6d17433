"""guests' REST calls: the client's token, the guest's creation, the profile."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

from harness.core.calling import Ask, Call, Grant
from harness.core.chat import ChatGuest
from harness.core.http import cause_of_status, retry_after_ns
from harness.core.oauth import decode_grant, token_form
from harness.core.session import Context
from harness.core.stamps import show_iso
from harness.core.wire import HttpFailure, HttpResponse
from harness.dialects.guests_frames import (
    Created,
    decode_code,
    decode_guest,
    guest_body,
    guest_path,
    profile_body,
)
from harness.dialects.guests_jwt import EXPIRED, Claims, read_claims
from harness.dialects.guests_settings import GuestsSettings
from harness.errors import FailureCause

_JSON = ("Content-Type", "application/json")


class GuestsRest(ChatGuest):
    """The part of a guest that asks by HTTP."""

    def __init__(self, context: Context, settings: GuestsSettings) -> None:
        super().__init__(context, settings)
        self.settings = settings

    def _wall(self, now: int) -> int:
        """The guest's own clock."""
        return now + self.context.wall_offset_ns + self.settings.clock_ahead

    # ---------------------------------------------------------------- token
    def _token_request(self) -> Ask:
        target = self.context.target
        body = token_form(self.settings.scopes, target.client_id, target.client_secret.reveal())
        return Ask("org", self.settings.token_path, body, [("Content-Type", "application/x-www-form-urlencoded")])

    def _read_grant(self, body: bytes) -> Grant | None:
        return decode_grant(body)

    def _hopeless(self, outcome: HttpResponse | HttpFailure) -> bool:
        if self.settings.retry_refusals and isinstance(outcome, HttpResponse) and outcome.status in (401, 403):
            return False
        return super()._hopeless(outcome)

    def _retry_delay(self, now: int, attempt: int, outcome: HttpResponse | HttpFailure) -> int:
        settings = self.settings
        if isinstance(outcome, HttpResponse) and outcome.status == 429:
            asked = outcome.headers.get("retry-after", "")
            if settings.date_at_once and asked and not asked.strip().isdigit():
                return 0
            wall = self._wall(now)
            wait = retry_after_ns(asked, wall, default_ns=settings.retry_after_default, cap_ns=settings.retry_after_cap)
            return wait + round(self.rng.random() * settings.retry_jitter)
        return super()._retry_delay(now, attempt, outcome)

    def _on_call_refused(self, now: int, call: Call, answer: HttpResponse) -> None:
        if answer.status == 403:
            self._note(now, "scope.refused", f"{call.measure} {decode_code(answer.body)}"[:64].strip())

    # ---------------------------------------------------------------- the guest
    def _create_guest(self, now: int) -> None:
        settings, target = self.settings, self.context.target
        attributes = {
            "source": settings.source,
            "locale": settings.language,
            "user_agent": settings.user_agent,
            **target.attributes,
        }
        skill = target.skills[0] if target.skills else settings.skill_id
        self._call(
            now,
            "guest",
            "POST /api/v2/guests",
            "/api/v2/guests",
            self._guest_created,
            base="org",
            body=guest_body(settings.guest_name, attributes, target.queue_id, skill, settings.language),
            headers=(_JSON, ("Accept", "application/json")),
            usable=lambda body: decode_guest(body) is not None,
        )

    def _guest_created(self, now: int, request_id: str, answer: HttpResponse | None) -> None:  # noqa: ARG002
        if answer is None:
            self._start_failed(now, self._gave_up)
            return
        cause = cause_of_status(answer.status)
        created = None if cause else decode_guest(answer.body)
        if created is None:
            self._start_failed(now, cause or FailureCause.MALFORMED)
            return
        claims = read_claims(created.guest_token, naive_padding=self.settings.naive_padding)
        wall = self._wall(now)
        if self.settings.check_jwt and (why := claims.refusal(wall)):
            self._note(now, "jwt.refused", why)
            if why == EXPIRED:  # nobody issues an expired token: one of the two clocks is wrong
                self._note(now, "clock.skew", f"{round((wall - claims.issued_ns) / 1e9)} s since its issue")
            self._start_failed(now, FailureCause.TOKEN_EXPIRED if why == EXPIRED else FailureCause.MALFORMED)
            return
        self._adopt(now, created, claims)

    @abstractmethod
    def _adopt(self, now: int, created: Created, claims: Claims) -> None:
        """The guest exists and its token is fit for use."""

    # ---------------------------------------------------------------- the profile
    def _sync_profile(self, now: int, guest_id: str) -> None:
        """Merge what an identity provider says into the guest's attributes."""
        settings = self.settings
        body = profile_body(settings.provider_id, settings.provider_email, show_iso(self._wall(now)), settings.profile_bytes)
        self._call(
            now,
            "profile",
            "PUT /api/v2/guests/{id}",
            guest_path(guest_id),
            partial(self._profile_answered, len(body)),
            base="org",
            body=body,
            headers=(_JSON,),
        )

    def _profile_answered(self, size: int, now: int, request_id: str, answer: HttpResponse | None) -> None:  # noqa: ARG002
        if answer is None:
            return  # the exchanges are on record
        if 200 <= answer.status < 300:
            self._profile_synced(now)
        elif answer.status == 404:
            self._note(now, "session.not_found", "profile")
            self._guest_unknown(now)
        elif answer.status == 400:
            code = decode_code(answer.body)
            if code == "attributes.too.large" or (code != "not.found" and size > self.settings.profile_limit):
                self._note(now, "profile.too_large")
            elif code == "not.found":
                self._note(now, "profile.unknown_guest")
                self._guest_unknown(now)
            else:
                self._note(now, "profile.refused", code[:64])

    @abstractmethod
    def _profile_synced(self, now: int) -> None:
        """The server has merged the attributes."""

    @abstractmethod
    def _guest_unknown(self, now: int) -> None:
        """The server does not know the guest (any more)."""
