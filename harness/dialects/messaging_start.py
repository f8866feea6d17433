"""messaging up to the socket: the application's token, what it may do, and the guest that is registered with it."""

from __future__ import annotations

from functools import partial

from harness.core.calling import Ask, Grant
from harness.core.chat import ChatGuest
from harness.core.http import cause_of_status
from harness.core.oauth import decode_grant, token_form
from harness.core.session import Context
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse
from harness.dialects.messaging_frames import (
    Guest,
    basic,
    decode_code,
    decode_guest,
    decode_rights,
    guest_body,
    introspect_form,
)
from harness.dialects.messaging_settings import MessagingSettings
from harness.errors import FailureCause

_FORM = ("Content-Type", "application/x-www-form-urlencoded")
_JSON = ("Content-Type", "application/json")


class MessagingStart(ChatGuest):
    """The part of a messaging guest that asks to be let in."""

    def __init__(self, context: Context, settings: MessagingSettings) -> None:
        super().__init__(context, settings)
        self.settings = settings
        self._guest: Guest | None = None
        """The present conversation's registration."""
        self._registered_ns = 0

    # ---------------------------------------------------------------- token
    def _authorization(self) -> tuple[str, str]:
        target = self.context.target
        return "Authorization", basic(target.client_id, target.client_secret.reveal(), self.settings.basic_base64)

    def _token_request(self) -> Ask:
        return Ask("api", self.settings.token_path, token_form(self.settings.scopes), [self._authorization(), _FORM])

    def _read_grant(self, body: bytes) -> Grant | None:
        return decode_grant(body)

    def _token_answered(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        if isinstance(outcome, HttpResponse) and outcome.status in (400, 401, 403):
            self._note(now, "auth.rejected", str(outcome.status))
        super()._token_answered(now, request, outcome)

    # ---------------------------------------------------------------- registration
    def _prepare(self, now: int) -> None:
        if self._guest is not None and not self.settings.register_anew:
            self._connect(now)
        elif self.settings.introspect == "always":
            self._need_token(now, partial(self._look_first, self._life))
        else:
            self._register(now)

    def _look_first(self, life: int, now: int, ok: bool) -> None:
        if life != self._life:
            return
        if ok:
            self._introspect(now, None)
        else:
            self._start_failed(now, self._gave_up)

    def _register(self, now: int) -> None:
        target, settings = self.context.target, self.settings
        email = settings.email.replace("{slot}", str(self.context.slot)).replace("{run}", self.context.run)
        body = guest_body(settings.guest_name, email, settings.locale, target.queue_id, settings.priority, target.skills)
        path = settings.guests_path
        self._call(
            now,
            "guest",
            "POST " + path,
            path,
            self._register_answered,
            body=body,
            headers=(_JSON,),
            usable=lambda answer: decode_guest(answer) is not None,
        )

    def _register_answered(self, now: int, request_id: str, answer: HttpResponse | None) -> None:  # noqa: ARG002
        if answer is None:  # no token, or no usable answer within the bounds
            self._start_failed(now, self._gave_up)
            return
        refusal = cause_of_status(answer.status)
        guest = decode_guest(answer.body) if refusal is None else None
        if guest is not None:
            self._guest, self._registered_ns = guest, now
            self.conversation_id = guest.conversation_id
            self._queued(now)
            self._connect(now)
        elif refusal is None:
            self._start_failed(now, FailureCause.MALFORMED)
        else:
            self._note(now, "registration.refused", f"{answer.status} {decode_code(answer.body)[:48]}".strip())
            if answer.status in (400, 401, 403) and self.settings.introspect != "never":
                self._introspect(now, refusal)
            else:
                self._start_failed(now, refusal)

    def _queued(self, now: int) -> None:
        """The guest has its place in the queue."""

    # ---------------------------------------------------------------- introspection
    def _introspect(self, now: int, refusal: FailureCause | None) -> None:
        """Ask what the token may do: after a refusal, or (None) before the registration."""
        credential = self.credential
        if credential is None:
            self._start_failed(now, refusal or FailureCause.UNAUTHORISED)
            return
        path = self.settings.introspect_path
        self._call(
            now,
            "introspect",
            "POST " + path,
            path,
            partial(self._introspected, refusal, self._generation),
            body=introspect_form(credential.value.reveal()),
            headers=(self._authorization(), _FORM),
            bearer=False,
            usable=lambda answer: decode_rights(answer) is not None,
        )

    def _introspected(
        self,
        refusal: FailureCause | None,
        generation: int,
        now: int,
        request_id: str,  # noqa: ARG002
        answer: HttpResponse | None,
    ) -> None:
        rights = decode_rights(answer.body) if answer is not None and answer.status == 200 else None
        if rights is None:
            self._note(now, "introspection.failed", str(answer.status) if answer is not None else "")
        elif not rights.active:
            self._reject_token(generation)
            self._note(now, "auth.rejected", "inactive token")
            refusal = refusal or FailureCause.UNAUTHORISED
        elif rights.scopes is not None and (missing := [one for one in self.settings.scopes if one not in rights.scopes]):
            self._note(now, "scope.refused", " ".join(missing)[:200])
            refusal = refusal or FailureCause.FORBIDDEN
        if refusal is None:
            self._register(now)
        else:
            self._start_failed(now, refusal)
