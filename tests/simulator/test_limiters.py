"""The three limiters behave as the handbook's table has it; scopes and `Retry-After`."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

import pytest

from harness.simulator.limiters import Caller, Limits, read_limits
from harness.simulator.spelling import SimConfigError
from tests.simulator.engine_kit import SECOND, SECRET, WALL, Bench

ONE = Caller("app", "10.0.0.1", "s1", "all")


def limits(**table: object) -> Limits:
    return Limits(read_limits([table], "limits"))


def accepted(made: Limits, *instants: float, caller: Caller = ONE) -> list[bool]:
    return [made.ask(round(at * SECOND), "GET /x", caller) is None for at in instants]


def test_token_bucket() -> None:
    made = limits(rate="2/s", burst=3)
    assert accepted(made, 0, 0, 0, 0) == [True, True, True, False]
    assert accepted(made, 0.49, 0.5, 0.6, 1.0) == [False, True, False, True]
    assert accepted(made, 100, 100, 100, 100) == [True, True, True, False]
    assert made.ask(100 * SECOND, "GET /x", ONE) == (SECOND // 2, "seconds")


def test_fixed_window_lets_double_through_at_its_edge() -> None:
    made = limits(kind="fixed_window", rate="3/s", window="1s")
    assert accepted(made, 0.9, 0.9, 0.9, 0.95, 1.0, 1.0, 1.0, 1.1) == [True, True, True, False, True, True, True, False]
    assert made.ask(round(1.25 * SECOND), "GET /x", ONE) == (round(0.75 * SECOND), "seconds")


def test_sliding_window_gives_back_in_the_rhythm_of_spending() -> None:
    made = limits(kind="sliding_window", rate="2/s", window="1s")
    assert accepted(made, 0.0, 0.6, 0.9, 1.0, 1.1, 1.59, 1.6) == [True, True, False, True, False, False, True]


@pytest.mark.parametrize("kind", ["token_bucket", "sliding_window"])
def test_refusals_may_count_as_well(kind: str) -> None:
    made = limits(kind=kind, rate="1/s", window="1s", burst=1, count_refused=True)
    assert accepted(made, 0, 0.9, 1.0) == [True, False, False]
    assert accepted(limits(kind=kind, rate="1/s", window="1s", burst=1), 0, 0.9, 1.0) == [True, False, True]


@pytest.mark.parametrize(
    ("scope", "free"), [("client", False), ("ip", True), ("session", True), ("app", False), ("deployment", False)]
)
def test_scopes(scope: str, free: bool) -> None:
    made = limits(rate="1/h", burst=1, scope=scope)
    assert accepted(made, 0) == [True]
    assert accepted(made, 0, caller=Caller("app", "10.0.0.2", "s2", "all")) == [free]


def test_endpoints_and_memory() -> None:
    made = limits(endpoint="GET /x", rate="10/s", burst=1, scope="ip")
    assert made.ask(0, "GET /y", ONE) is None
    for place in range(20_000):
        made.ask(place * SECOND, "GET /x", Caller("a", f"ip{place}", "s", "a"))
    assert len(made._counts) < 5000


@pytest.mark.parametrize(
    ("said", "header"), [(True, "3600"), (False, None), ("5s", "5"), ("none", None), ("seconds", "3600"), ("date", "a date")]
)
def test_retry_after(said: object, header: str | None) -> None:
    bench = Bench({"limits": [{"rate": "1/h", "burst": 1, "scope": "app", "retry_after": said}]})
    bench.request("GET", "/api/v2/routing/skillgroups")
    answer = bench.answers[bench.request("GET", "/api/v2/routing/skillgroups", rid="no")]
    assert answer.status == 429
    if said == "date":
        at = parsedate_to_datetime(answer.headers["retry-after"]).timestamp()
        assert 0 <= at - WALL / SECOND - 3600 < 1.1
    else:
        assert answer.headers.get("retry-after") == header
    assert [(row["id"], row["endpoint"]) for row in bench.rows("refused")] == [("no", "GET /api/v2/routing/skillgroups")]


def test_an_upgrade_can_be_limited() -> None:
    bench = Bench({"limits": [{"endpoint": "GET /webchat", "rate": "1/h", "burst": 1, "scope": "ip"}]})
    bench.socket()
    refused = bench.engine.on_upgrade(bench.now, 77, "127.0.0.1:4000", "/webchat", {"x-request-id": "up"})
    assert refused is not None
    assert refused.status == 429
    assert bench.ids("refused") == ["up"]
    assert SECRET


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"rate": 5},
        {"rate": "0/s"},
        {"rate": "1/s", "kind": "leaky"},
        {"rate": "1/s", "bursts": 1},
        {"rate": "1/s", "window": 0},
    ],
)
def test_wrong_limits(table: dict[str, object]) -> None:
    with pytest.raises(SimConfigError):
        read_limits([table], "limits")
