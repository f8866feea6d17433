"""locust -f locustfile.py --scenario toy.toml: toy guests; `guestswarm run toy.toml` needs no locustfile."""

from harness.swarm import hosting  # noqa: F401
from harness.swarm.user import GuestUser


class ToyShopper(GuestUser):
    """A guest who speaks toy."""

    dialect = "toy"
