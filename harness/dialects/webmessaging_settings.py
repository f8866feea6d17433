"""Every number of the webmessaging dialect, with the protocol's value as default (`ours` where it gives none).

A connection takes 60 requests a minute, so a guest never averages above one action a second, whatever a burst may be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.core.listed import ListedSettings
from harness.core.misbehaviour import no_backoff, no_jitter
from harness.core.spread import Duration, Share, seconds


@dataclass(frozen=True, slots=True)
class WebmessagingSettings(ListedSettings):
    """The `[dialects.webmessaging]` table of a scenario: these beside those of every guest with a listing."""

    # reconnect and keep-alive, as the mobile SDK has them
    ping_every: Duration = seconds(15)
    """Ping control frames; health checks are another matter."""
    reconnect_base: Duration = seconds(5)
    reconnect_factor: float = 1.0
    reconnect_attempts: int = 60
    retry_base: Duration = seconds(3)
    typing_every: Duration = seconds(5)

    # deployment
    fetch_configuration: bool = True
    """Read the deployment's files before connecting, as the mobile SDK does; without them it does not connect."""
    check_origin: bool = True
    """Obey the deployment's list of domains, as the browser SDK does."""
    configuration_path: str = "/webdeployments/v1/deployments/{id}/config.json"
    domains_path: str = "/webdeployments/v1/deployments/{id}/domains.json"
    auto_start: bool = False
    """Whether a new session begins with a `Join`, where no configuration says so."""

    # session
    socket_path: str = "/v1"
    application: str = ""
    """Sent in the socket's query where it is not empty."""
    send_start_new: bool = True
    """Send `startNew: false` in the first request as well (mobile SDK); False: leave it out (the testers)."""
    journey: bool = True
    """Send `journeyContext`."""
    keep_token: Share = 0.5
    """Share of returning guests whose page has kept the token: they start a new conversation with it (ours)."""
    get_configuration: Share = 0.0
    """Share of conversations that ask for the configuration on the socket as well."""
    expiry_warning: Duration = seconds(300)
    """A session with less to live is noted once."""
    configure_again: int = 1
    """Times that a session which was not found is configured again, before the token is given up."""

    # authenticated sessions
    authenticated: Share = 0.1
    """Share of guests that sign in, where the deployment allows it."""
    exchange_path: str = "/api/v2/webdeployments/token/oauthcodegrantjwtexchange"
    refresh_path: str = "/api/v2/webdeployments/token/refresh"
    revoke_path: str = "/api/v2/webdeployments/token/revoke"
    exchange: Literal["code", "id_token"] = "code"
    redirect_uri: str = "https://www.example.com/signed-in"
    auth_refreshes: int = 3
    """Refreshes (or new sign-ins) after a refused JWT, until one is taken."""
    refresh_refused: bool = True
    """False: a refused JWT is not replaced."""
    sign_out: Share = 0.5
    """Share of signed-in guests that revoke their JWT at the end (ours)."""

    # health checks
    health_every: Duration = seconds(30)
    """0: none."""
    health_jitter: Share = 0.1
    """Up to so much later, never sooner: two a minute are allowed."""
    ask_timeout: Duration = seconds(10)
    """How long an answer on the socket is waited for."""

    # pace, so that the guest keeps the limits by itself; 0: no limit
    requests_per_minute: int = 60
    """All actions of one connection."""
    messages_per_second: int = 2
    """`onMessage` of one session: 2 when the limit came, 5 in later documents."""
    history_per_minute: int = 10
    health_per_minute: int = 2
    reserve: int = 8
    """Of a connection's requests, so many are kept for other things than messages (ours)."""

    # messages
    attributes: Literal["first", "every", "never"] = "first"
    """Which messages of a conversation carry the target's custom attributes."""
    attributes_in: Literal["message", "request"] = "message"
    """Inside the message (mobile, browser) or beside it (Java, testers)."""
    attribute_bytes: int = 0
    """A further attribute `note` of this size with every message, sent unchecked."""
    answer_structured: Share = 0.7
    """Share of quick replies, cards and pickers that are answered by a button."""
    typing_duration: Duration = seconds(5)
    long_text: Share = 0.0
    """Share of messages that are too long."""
    long_text_bytes: int = 5000
    read_only_tries: int = 0
    """Messages that are sent although the session has become read-only."""
    clear: Share = 0.0
    """Share of guests that end by clearing the conversation, where the deployment allows it."""
    early_frames: int = 0
    """Messages sent before `configureSession`."""

    # tabs
    tabs: Share = 0.0
    """Share of guests with more than one tab."""
    tab_count: int = 2
    """Their connections, the first included; the fourth makes the server close the oldest."""
    tab_pause: Duration = seconds(3)
    """Between the opening of one tab and the next."""

    # history
    history_path: str = "/api/v2/webmessaging/messages"
    page_size: int = 25
    """Mobile SDK; the Java SDK asks for 100."""
    until_empty: bool = False
    """Ask until a page is empty (Java SDK) instead of believing `pageCount`."""
    jwt_margin: Duration = seconds(5)
    """A JWT with less to live is replaced."""
    refresh_jwt: bool = True
    """False: one JWT is used to the end, however old."""
    leave_limit: Duration = seconds(120)

    # attachments
    attachment_name: str = "photo.png"
    attachment_type: str = "image/png"
    attachment_bytes: int = 84_000
    forbidden_attachments: Share = 0.0
    """Share of files that the deployment does not take."""
    forbidden_name: str = "tool.exe"
    forbidden_type: str = "application/x-msdownload"
    upload_timeout: Duration = seconds(30)
    upload_attempts: int = 3
    delete_attachments: Share = 0.02
    """Share of uploaded files that the guest takes back before sending."""
    downloads: Share = 0.2
    """Share of attachments that are looked at."""
    refresh_downloads: Share = 0.5
    """Share of those looked at whose address is asked for anew afterwards."""
    race_attachments: bool = False
    """Send the message before the upload is confirmed."""


CLIENT_FAULTS: dict[str, dict[str, object]] = {
    "no_refresh": {"proactive_refresh": False, "refresh_refused": False, "refresh_jwt": False},
    "no_jitter": no_jitter(WebmessagingSettings),
    "no_resync": {"resync": False},
    "no_backoff": no_backoff(WebmessagingSettings),
    "no_keepalive": {"ping_every": 0, "health_every": 0},
    "blind_resend": {"resend": "blind"},
    "race_attachments": {"race_attachments": True},
    "typing_flood": {"typing_frames": 20},
    "frames_before_auth": {"early_frames": 1},
    "long_text": {"long_text": 0.5},
    "big_attributes": {"attribute_bytes": 3000},
    "many_tabs": {"tabs": 1.0, "tab_count": 4},
    "ignore_read_only": {"read_only_tries": 3},
}
"""Name of a client fault -> the settings that make it so."""
