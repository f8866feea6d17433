"""webchat's token: asked for with id and secret of the site's application, or of its broker."""

from __future__ import annotations

from harness.core.calling import Ask, Grant
from harness.core.oauth import decode_grant, token_form
from harness.core.readback import ReadBackGuest
from harness.core.session import Context
from harness.dialects.webchat_settings import WebchatSettings


class WebchatRest(ReadBackGuest):
    """The part of a webchat guest that knows what a token request looks like."""

    def __init__(self, context: Context, settings: WebchatSettings) -> None:
        super().__init__(context, settings)
        self.settings = settings

    def _token_request(self) -> Ask:
        target = self.context.target
        body = token_form(self.settings.scopes, target.client_id, target.client_secret.reveal())
        return Ask("login", self.settings.token_path, body, [("Content-Type", "application/x-www-form-urlencoded")])

    def _read_grant(self, body: bytes) -> Grant | None:
        return decode_grant(body)
