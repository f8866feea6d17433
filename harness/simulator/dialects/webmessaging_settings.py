"""webmessaging: what can be set, the vendor's named limits, and the two documents of a deployment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from harness.simulator import spelling
from harness.simulator.spelling import SECOND
from harness.simulator.tables import MINUTE, MS, length, positive, setting

DAY = 24 * 60 * MINUTE
OFF, SEND, READ_ONLY = "off", "Send", "ReadOnly"
CONFIGURING = ("configureSession", "configureAuthenticatedSession")
ACTIONS = (
    *CONFIGURING,
    "getConfiguration",
    "onMessage",
    "echo",
    "getJwt",
    "onAttachment",
    "getAttachment",
    "deleteAttachment",
    "closeSession",
)
UNKNOWN = "unknown"
"""How limits and rows name every other action."""
HISTORY = "GET /api/v2/webmessaging/messages"
HISTORY_KEY, HISTORY_PER_MINUTE = "get.history.rate.per.minute", 10
QUEUES, DETAILS = "GET /api/v2/routing/queues", "GET /api/v2/conversations/messages/{id}/details"
"""What operators ask; their one change shares its path with other dialects' guests, and is not limited."""
OPERATORS_KEY, OPERATORS_PER_MINUTE = "org.app.user.rate.per.minute", 300


CODES = (
    "400",
    "403",
    "404",
    "408",
    "409",
    *[str(code) for code in (*range(4000, 4014), 4017, 4020, 4102, 5000)],
)


def _mishaps(value: Any, where: str) -> dict[str, float]:
    if not isinstance(value, dict):
        raise spelling.wrong(where, f"{value!r} is no table", "Write CODE = SHARE, such as 5000 = 0.01.")
    found = {}
    for code, part in value.items():
        if str(code) not in CODES:
            raise spelling.unknown_key(str(code), CODES, where)
        found[str(code)] = spelling.share(part, f"{where}.{code}")
    if sum(found.values()) > 1.0:
        raise spelling.wrong(where, "the shares are more than the whole")
    return found


@dataclass(frozen=True, slots=True)
class WebmessagingTable:
    """What only the webmessaging half needs."""

    # deployment
    deployments: tuple[str, ...] = setting(spelling.texts, ())
    """Deployment ids that exist; empty: every one does."""
    inactive: tuple[str, ...] = setting(spelling.texts, ())
    """Deployments that exist and are switched off."""
    allowed_domains: tuple[str, ...] = setting(spelling.texts, ())
    """Host names whose pages may connect; empty: those of `credentials.origins`."""
    allow_all_domains: bool = setting(spelling.flag, True)
    """Holds only where no domain is named; false then shuts everybody out."""
    auth: bool = setting(spelling.flag, False)
    """Does the configuration say that guests may sign in? (They may in any case.)"""
    allow_session_upgrade: bool = setting(spelling.flag, True)
    """May a guest's session become an authenticated one?"""
    auto_start: bool = setting(spelling.flag, False)
    user_typing: bool = setting(spelling.flag, True)
    agent_typing: bool = setting(spelling.flag, True)
    clear: bool = setting(spelling.flag, True)
    disconnect: str = setting(spelling.choice(OFF, SEND, READ_ONLY), OFF)
    """What a guest hears when an agent ends the conversation: nothing, that, or that and no further word is taken."""

    # session
    duration: int = setting(length, 3 * DAY)
    """A session's life after its last message."""
    connections_max: int = setting(positive, 3)
    close_within: int = setting(length, 5 * SECOND)
    """A connection that was told to close and does not is closed."""
    sessions_kept: int = setting(positive, 200_000)
    """Beyond that, sessions without connection and conversation are forgotten, oldest first."""
    longest_text: int = setting(positive, 4096)
    """Bytes."""
    max_custom_data_bytes: int = setting(positive, 2048)
    message_routing: bool = setting(spelling.flag, True)

    silent: float = setting(spelling.share, 0.0)
    """Share of configurations that are carried out and never answered."""
    mishaps: dict[str, float] = setting(_mishaps, {})
    """Shares of the other requests that are answered with a code and nothing else, such as `5000 = 0.01`."""

    # attachments
    attachments: bool = setting(spelling.flag, True)
    file_types: tuple[str, ...] = setting(spelling.texts, ("*/*",))
    max_file_kb: int = setting(positive, 10_240)
    blocked_extensions: tuple[str, ...] = setting(spelling.texts, (".exe", ".ade"))
    longest_file_name: int = setting(positive, 1024)
    """A name has fewer characters than that."""
    attachment_life: int = setting(length, 10 * MINUTE)
    """For the upload, and again from the upload to the message."""
    download_life: int = setting(length, 10 * MINUTE)
    scan: int = setting(spelling.duration, 100 * MS)
    """From the upload to the event that tells what became of it."""
    upload_failures: float = setting(spelling.share, 0.0)
    refusal_shape: str = setting(spelling.choice("response", "message"), "response")
    """How a refused upload is told: an answer with code 400, or a message with code 200."""

    # what agents and bots say
    bot: float = setting(spelling.share, 0.25)
    """Share of plain texts that a bot says."""
    quick_replies: float = setting(spelling.share, 0.0)
    cards: float = setting(spelling.share, 0.0)
    carousels: float = setting(spelling.share, 0.0)
    date_pickers: float = setting(spelling.share, 0.0)
    list_pickers: float = setting(spelling.share, 0.0)
    agent_typing_per_minute: int = setting(spelling.whole, 12)

    # HTTP
    jwt_life: int = setting(length, 5 * MINUTE)
    """Of the one for the history."""
    auth_jwt_life: int = setting(length, 15 * MINUTE)
    """Of the one that a guest signs in with."""
    refused_codes: tuple[str, ...] = setting(spelling.texts, ("WRONG",))
    """Codes and id tokens that the identity provider does not know."""
    revoked_jwts: tuple[str, ...] = setting(spelling.texts, ("REVOKED",))
    page: int = setting(positive, 25)
    page_cap: int = setting(positive, 500)

    # limits, for `limit_sets = ["webmessaging"]`
    messages_per_s: int = setting(positive, 5)
    """2 when the limit was introduced, 5 by the later page."""


def limit_set(settings: WebmessagingTable) -> list[dict[str, Any]]:
    """The vendor's limits; each one's official key is named beside it."""
    minute = {"kind": "fixed_window", "window": "1min"}
    requests = "|".join(f"frame {action}" for action in (*ACTIONS, UNKNOWN))
    configure = "|".join(f"frame {action}" for action in CONFIGURING)
    return [
        {  # messages.per.session.rate.per.second
            "endpoint": "frame onMessage",
            "rate": f"{settings.messages_per_s}/s",
            "kind": "fixed_window",
            "window": "1s",
            "scope": "session",
        },
        {"endpoint": requests, "rate": "60/min", "scope": "connection", **minute},  # requests.per.connection.rate.per.minute
        {"endpoint": configure, "rate": "60/min", "scope": "session", **minute},  # configure.per.session.rate.per.minute
        {"endpoint": "frame echo", "rate": "2/min", "scope": "connection", **minute},  # health.check.per.connection.rate.per.minute
        {"endpoint": "GET /v1", "rate": "1000/min", "scope": "deployment", **minute},  # connections.rate.per.minute
        {"endpoint": HISTORY, "rate": f"{HISTORY_PER_MINUTE}/min", "scope": "session", **minute},  # get.history.rate.per.minute
        # org.app.user.rate.per.minute, and org.user.rate.per.minute over all clients
        {"endpoint": f"{QUEUES}|{DETAILS}", "rate": f"{OPERATORS_PER_MINUTE}/min", "scope": "client", **minute},
        {"endpoint": f"{QUEUES}|{DETAILS}", "rate": "3000/min", "scope": "organisation", **minute},
    ]


def allowed_domains(settings: WebmessagingTable, origins: tuple[str, ...]) -> tuple[str, ...]:
    """Host names whose pages may connect; empty: there is no list."""
    return settings.allowed_domains or tuple(found for origin in origins if (found := host_of(origin)))


def host_of(origin: str) -> str:
    """The host name of an origin, in lower case; what is none stays as it is."""
    try:
        return urlsplit(origin if "//" in origin else f"//{origin}").hostname or origin.lower()
    except ValueError:
        return origin.lower()


def origin_fits(origin: str, domains: tuple[str, ...]) -> bool:
    """Is the page's host one of these, or below one? Scheme and port do not matter."""
    host = host_of(origin)
    return any(host == name.lower() or host.endswith("." + name.lower()) for name in domains)


def allowed_media(settings: WebmessagingTable) -> dict[str, Any]:
    """`allowedMedia`."""
    return {"inbound": {"fileTypes": [{"type": kind} for kind in settings.file_types], "maxFileSizeKB": settings.max_file_kb}}


def deployment_config(settings: WebmessagingTable, deployment: str, http: str, socket: str) -> dict[str, Any]:
    """`config.json`; `http` and `socket` are this server's bases. One that is switched off says only that."""
    messenger: dict[str, Any] = {"enabled": False}
    active = deployment not in settings.inactive
    if active:
        messenger = {
            "enabled": True,
            "apps": {
                "conversations": {
                    "messagingEndpoint": socket,
                    "showAgentTypingIndicator": settings.agent_typing,
                    "showUserTypingIndicator": settings.user_typing,
                    "autoStart": {"enabled": settings.auto_start},
                    "conversationDisconnect": {
                        "enabled": settings.disconnect != OFF,
                        "type": SEND if settings.disconnect == OFF else settings.disconnect,
                    },
                    "conversationClear": {"enabled": settings.clear},
                    "notifications": {"enabled": False},
                    "markdown": {"enabled": False},
                    "humanize": {"enabled": False},
                    "sessionDurationSeconds": settings.duration // SECOND,
                }
            },
            "styles": {"primaryColor": "#2a60c8"},
            "launcherButton": {"visibility": "On"},
            "fileUpload": {
                "enableAttachments": settings.attachments,
                "modes": [{"fileTypes": list(settings.file_types), "maxFileSizeKB": settings.max_file_kb}],
            },
        }
    return {
        "id": deployment,
        "version": "1",
        "languages": ["en-us"],
        "defaultLanguage": "en-us",
        "apiEndpoint": http,
        "status": "Active" if active else "Inactive",
        "auth": {"enabled": settings.auth, "allowSessionUpgrade": settings.auth and settings.allow_session_upgrade},
        "journeyEvents": {"enabled": False},
        "messenger": messenger,
    }
