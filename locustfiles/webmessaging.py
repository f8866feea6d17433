"""locust -f locustfiles/webmessaging.py: guests of the vendor's own web messaging.

By `scenarios/webmessaging.toml` unless --scenario names another.
"""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import GuestUser


class WebmessagingGuest(GuestUser):
    """A guest who speaks webmessaging."""

    dialect = "webmessaging"
