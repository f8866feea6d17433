"""Every number of dialect `longpoll`, with the source's value as default. *Ours* marks what the source does not give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.core.spread import Duration, Share, seconds


@dataclass(frozen=True, slots=True)
class LongpollSettings:
    """The `[dialects.longpoll]` table. Durations in nanoseconds."""

    # receiving
    wait: Duration = seconds(30)
    """How long the server may hold a poll; asked for in whole seconds, a part counts as one."""
    poll_margin: Duration = seconds(10)
    """Ours: how much longer than `wait` a poll may take before the guest gives it up."""
    poll_early: Share = 0.9
    """Ours: an empty answer after less than this share of `wait` is noted as early."""
    reconnect_probe: bool = True
    """Ours: the first poll after a drop asks for no hold, so that the gap's end is seen at once."""
    naive_poll: bool = False
    """The anti-pattern: poll at a fixed interval, without a hold."""
    naive_share: Share = 0.0
    """Ours: share of guests that poll naively where `naive_poll` is false, so that one run shows both ways and what they cost."""
    naive_interval: Duration = seconds(2)
    max_answer: int = 4_000_000
    """Ours: a poll's answer of more bytes is not read."""
    retry_base: Duration = seconds(1)
    retry_cap: Duration = seconds(30)
    retry_jitter: Share = 0.1
    """Ours: every back-off is spread by ± this share."""
    reconnect_limit: Duration = seconds(60)
    """A longer gap is noted: the server may have closed the conversation."""

    # credentials
    token_life: Duration = seconds(1800)
    """Life of a token whose answer does not tell it."""
    refresh_ahead: Duration = seconds(60)
    refresh_jitter: Share = 0.1
    """Ours: the refresh is begun earlier by up to this share of `refresh_ahead`."""
    proactive_refresh: bool = True
    """False: refresh only once the server has refused the old token."""
    refresh_refused: bool = True
    """False: not even then; the guest goes on with what it has, and freezes."""
    token_timeout: Duration = seconds(10)
    token_attempts: int = 3
    """Ours: tries of one refresh that met a limit, a server error, or never left the machine."""

    # conversation
    email: str = "guest-{slot}@example.com"
    """`{slot}` and `{run}` are filled in: one address for each guest, the same in all its conversations."""
    first_name: str = "Jane"
    last_name: str = "Doe"
    source: str = "custom-widget"
    page_url: str = "https://yourdomain.com/product-page"
    user_agent: str = "Mozilla/5.0"
    routing: bool = True
    """False: create the conversation without `routing` and leave it to the default strategy."""
    late_routing: bool = False
    """Create without `routing`, then add it by PUT: races with the agent's acceptance."""
    late_routing_after: Duration = 0
    request_timeout: Duration = seconds(10)
    resend: Literal["never", "blind"] = "never"
    """`blind`: a message whose POST ended without an answer is sent again, unchecked."""
    limit_attempts: int = 3
    """Ours: tries of one call that meets 429."""
    retry_after_cap: Duration = seconds(60)
    """Ours: the longest `Retry-After` that is obeyed to the letter."""
    queue_limit: Duration = seconds(120)
    stalled_callback: Share = 0.4
    """Ours: share of guests that ask for a callback when the queue stalls."""
    stalled_transfer: Share = 0.3
    """Ours: share that asks for the fallback queue instead; the rest waits on."""
    leave_attempts: int = 3
    """Ours: tries of the closing PUT."""
    leave_drain: Duration = seconds(10)
    """Ours: how long a leaving guest goes on sending what it still holds."""
    leave_timeout: Duration = seconds(60)
    """Ours: how long a leaving guest waits for the stream's last event."""

    # attachments
    allowed_types: tuple[str, ...] = ("application/pdf", "image/png", "image/jpeg", "text/plain")
    check_types: bool = True
    """False: upload whatever there is and let the server refuse it."""
    attachment_name: str = "invoice.pdf"
    attachment_type: str = "application/pdf"
    attachment_bytes: int = 245678
    forbidden_attachments: Share = 0.0
    """Ours: share of guests that try a file of a forbidden type."""
    forbidden_name: str = "run.exe"
    forbidden_type: str = "application/x-msdownload"
    upload_attempts: int = 3
    upload_timeout: Duration = seconds(30)
    race_attachments: bool = False
    """Send the message before the upload returns: it arrives with an empty, null or broken attachment."""
    download: Share = 0.0
    """Ours: share of the files seen in the stream that are fetched from where they say they are, if that is on one of the target's
    own bases; any other address is refused and counted."""
    download_timeout: Duration = seconds(30)

    def longest_wait_ns(self) -> int:
        """The longest pause of the back-off; a scenario's loss wait is judged by it."""
        return self.retry_cap
