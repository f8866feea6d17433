"""locust -f locustfiles/mixed.py: every dialect at once, by `scenarios/mixed.toml` unless --scenario names another.

The shares come from the scenario's `mix`; a dialect that it does not name gets no guest.
"""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import GuestUser


class WebchatGuest(GuestUser):
    """A guest who speaks webchat."""

    dialect = "webchat"


class LongpollGuest(GuestUser):
    """A guest who polls."""

    dialect = "longpoll"


class EngagementsGuest(GuestUser):
    """A guest who speaks engagements."""

    dialect = "engagements"


class GuestsGuest(GuestUser):
    """A guest who speaks guests."""

    dialect = "guests"


class MessagingGuest(GuestUser):
    """A guest who speaks messaging."""

    dialect = "messaging"


class WebmessagingGuest(GuestUser):
    """A guest who speaks the vendor's published protocol."""

    dialect = "webmessaging"
