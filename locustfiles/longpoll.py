"""locust -f locustfiles/longpoll.py: guests on long polling, by `scenarios/longpoll.toml` unless --scenario names another."""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import GuestUser


class LongpollGuest(GuestUser):
    """A guest who polls."""

    dialect = "longpoll"
