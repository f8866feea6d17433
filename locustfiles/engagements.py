"""locust -f locustfiles/engagements.py: guests on WebSockets of the engagements dialect.

By `scenarios/engagements.toml` unless --scenario names another.
"""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import GuestUser


class EngagementsGuest(GuestUser):
    """A guest who speaks engagements."""

    dialect = "engagements"
