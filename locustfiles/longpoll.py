"""locust -f locustfiles/longpoll.py: guests on long polling, by `scenarios/longpoll.toml` unless --scenario names another."""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import LongpollUser


class LongpollGuest(LongpollUser):
    """A guest who polls."""
