"""The toy's own tests: pytest toy_tests.py, once guestswarm and the toy are installed."""

import pytest

from harness.conformance.suite import Stage, Staging, Suite
from harness.core.credentials import Secret

RATE = {"endpoint": "frame message", "rate": "1/min", "burst": 1, "scope": "session"}

STAGING = Staging(
    target={"client_id": "YOUR_APP_ID"},
    client={
        "hello refused": Stage(target={"client_secret": Secret("WRONG")}),
        "back again": Stage(),
        "guest leaves": Stage(begin=lambda player: player.leave()),
        "gone": Stage(after=(), given={"token": "WRONG"}, begin=lambda player: player.answer({"guest": "g", "token": "WRONG"})),
    },
    server={
        "talk": Stage(given={"id": "m1"}),
        "slow down": Stage(given={"id": "m1", "second": "m2"}, table={"limits": [RATE]}),
        "back again": Stage(given={"id": "m1"}, begin=lambda player: player.bench.leave(player.conn, 1006), only=(1,)),
        "guest leaves": Stage(given={"id": "m1"}),
        "agent leaves": Stage(given={"id": "m1"}, table={"agents": {"accept": "1s", "reply": "2s", "typing": 0, "close": 1.0}}),
    },
)
SUITE = Suite("toy", STAGING)


@pytest.mark.parametrize("scene", SUITE.scenes("client"))
def test_the_guest_half(scene: str) -> None:
    SUITE.client_scene(scene)


@pytest.mark.parametrize("scene", SUITE.scenes("server"))
def test_the_server_half(scene: str) -> None:
    SUITE.server_scene(scene)


@pytest.mark.parametrize("seed", range(10))
def test_whatever_comes(seed: int) -> None:
    SUITE.survives(seed)


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order(seed: int) -> None:
    SUITE.any_order(seed)


def test_an_hour_of_every_fault() -> None:
    SUITE.soak(hours=1)
