"""locust -f locustfiles/webchat.py: guests on WebSockets, by `scenarios/webchat.toml` unless --scenario names another."""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import WebchatUser


class WebchatGuest(WebchatUser):
    """A guest on a WebSocket."""
