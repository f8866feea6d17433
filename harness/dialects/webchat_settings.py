"""Every number of the webchat dialect, with the source's value as default (`ours` where the source gives none)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.core.backoff import Backoff
from harness.core.spread import Duration, Share, seconds


@dataclass(frozen=True, slots=True)
class WebchatSettings:
    """The `[dialect.webchat]` table of a scenario."""

    # credentials
    token_path: str = "/oauth/token"  # noqa: S105
    """Path of the token endpoint, or of the broker that hands tokens out, under base `login`."""
    scopes: tuple[str, ...] = ("webchat:send", "webchat:read", "conversation:read")
    token_attempts: int = 5
    """Requests for one token before the guest gives up for a while (ours)."""
    refresh_ahead: Duration = seconds(60)
    refresh_jitter: Duration = seconds(10)
    """A refresh begins up to so much earlier, so that guests who came together do not refresh together (ours)."""
    refresh_patience: Duration = seconds(2)
    """How long a fresh token waits for outstanding echoes before the socket is changed (ours)."""
    old_socket_wait: Duration = seconds(2)
    """How long a controlled reconnect waits for the old socket's end (ours)."""

    # REST
    http_timeout: Duration = seconds(10)
    rest_attempts: int = 3
    retry_base: Duration = seconds(1)
    retry_jitter: Duration = seconds(1)
    retry_cap: Duration = seconds(30)
    retry_after_cap: Duration = seconds(120)
    """A longer `Retry-After` is cut to this."""
    skills_path: str = "/api/v2/routing/skillgroups"
    check_skills: bool = True
    """Look the canonical names up before routing, and start with no others. False: a mismatch stalls, and is looked up then."""
    attribute_keys: tuple[str, ...] = ()
    """Canonical attribute keys: others are treated like unknown skill groups (ours; there is no look-up). Empty: not known."""
    listing_path: str = "/api/v2/conversations/messages"
    page_limit: int = 50
    page_limit_cap: int = 500
    max_pages: int = 200

    # socket
    socket_path: str = "/webchat"
    connect_timeout: Duration = seconds(10)
    auth_timeout: Duration = seconds(10)
    routing_timeout: Duration = seconds(10)
    priority: int = 0
    """Sent in the routing frame where it is not 0."""
    ping_every: Duration = seconds(20)
    """0: the guest sends no keep-alive, and what lies between may cut the idle socket."""
    ping_jitter: Share = 0.1
    pong_within: Duration = seconds(10)
    max_frame_bytes: int = 1 << 20
    reconnect_base: Duration = seconds(2)
    reconnect_jitter: Duration = seconds(1)
    reconnect_cap: Duration = seconds(30)
    reconnect_attempts: int = 5
    """Failed reconnects after which the circuit breaker goes over to polling by REST."""
    poll_every: Duration = seconds(5)
    poll_jitter: Share = 0.1
    probe_every: Duration = seconds(30)
    probe_jitter: Share = 0.2

    # conversation
    queue_timeout: Duration = seconds(120)
    queue_give_up: Share = 0.5
    """Share of guests that leave when the queue has stalled; the others wait on (ours)."""
    start_pause: Duration = seconds(5)
    start_pause_cap: Duration = seconds(60)
    """Pause before another try where no conversation came about: doubled each time up to the cap (ours)."""
    sequence_timeout: Duration = seconds(2)
    """How long a missing agent message holds back the later ones before the listing is asked (ours)."""
    seen_limit: int = 4096
    typing_every: Duration = seconds(3)
    """Typing frames are not repeated sooner (ours)."""
    read_receipts: Share = 1.0
    retry_after_default: Duration = seconds(1)
    """Pause after a rate-limit frame that names none."""
    resend: Literal["checked", "never"] = "checked"
    """`checked`: what the listing does not hold after a reconnect is sent again with the same id. `never`: it is not."""
    max_resends: int = 2
    leave_timeout: Duration = seconds(5)
    leave_reconnect: Duration = seconds(15)
    """A guest whose socket is down when it leaves tries so long to get back before it reads back by REST alone."""
    leave_limit: Duration = seconds(60)
    """Leaving takes no longer, whatever happens."""
    read_back_attempts: int = 3

    def reconnect_backoff(self) -> Backoff:
        """Delays before reconnects."""
        return Backoff(self.reconnect_base, self.reconnect_cap, self.reconnect_jitter)

    def retry_backoff(self) -> Backoff:
        """Delays before REST retries."""
        return Backoff(self.retry_base, self.retry_cap, self.retry_jitter)

    def start_backoff(self) -> Backoff:
        """Pauses between failed starts."""
        return Backoff(self.start_pause, self.start_pause_cap, proportional=0.5)
