"""locust -f locustfiles/webchat.py: guests on WebSockets, by `scenarios/webchat.toml` unless --scenario names another."""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import GuestUser


class WebchatGuest(GuestUser):
    """A guest on a WebSocket."""

    dialect = "webchat"
