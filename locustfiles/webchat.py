"""locust -f locustfiles/webchat.py --scenario locustfiles/scenarios/first-run.toml"""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import WebchatUser


class WebchatGuest(WebchatUser):
    """A guest on a WebSocket."""
