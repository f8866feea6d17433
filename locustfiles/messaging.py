"""locust -f locustfiles/messaging.py: guests on WebSockets of the messaging dialect.

By `scenarios/messaging.toml` unless --scenario names another.
"""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import GuestUser


class MessagingGuest(GuestUser):
    """A guest who speaks messaging."""

    dialect = "messaging"
