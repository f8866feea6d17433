"""locust -f locustfiles/guests.py: guests on WebSockets of the guests dialect.

By `scenarios/guests.toml` unless --scenario names another.
"""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import GuestUser


class GuestsGuest(GuestUser):
    """A guest who speaks guests."""

    dialect = "guests"
