"""locust -f locustfiles/longpoll.py --scenario locustfiles/scenarios/first-run.toml"""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import LongpollUser


class LongpollGuest(LongpollUser):
    """A guest who polls."""
