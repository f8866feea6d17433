"""locust -f locustfiles/mixed.py: both dialects, by `scenarios/mixed.toml` unless --scenario names another.

The shares of the two come from the scenario's `mix`.
"""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import LongpollUser, WebchatUser


class WebchatGuest(WebchatUser):
    """A guest on a WebSocket."""


class LongpollGuest(LongpollUser):
    """A guest who polls."""
