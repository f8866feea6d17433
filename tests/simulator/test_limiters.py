"""The five limiters behave as the handbook's table has it; scopes and `Retry-After`."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from random import Random

import pytest

from harness.simulator.limiters import Caller, Limits, Places, read_limits
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


def test_a_sliding_log_is_a_sliding_window() -> None:
    assert read_limits([{"kind": "sliding_log", "limit": 2, "window": "1s"}], "limits")[0].kind == "sliding_window"


def test_a_window_says_its_limit_or_its_rate() -> None:
    by_limit, by_rate = read_limits(
        [{"kind": "fixed_window", "limit": 20, "window": "10s"}, {"kind": "fixed_window", "rate": "2/s", "window": "10s"}], "limits"
    )
    assert by_limit == by_rate
    assert by_limit.burst == 20


def test_windows_begin_where_their_phase_says() -> None:
    put_off = limits(kind="fixed_window", limit=2, window="10s", phase="3s")
    assert accepted(put_off, 2.0, 2.5, 2.9, 3.0, 3.1, 12.9, 13.0) == [True, True, False, True, True, False, True]
    first = limits(kind="fixed_window", limit=2, window="10s", phase="first")
    assert accepted(first, 4.0, 13.9, 13.95, 14.0, 14.1, 23.9, 60.0, 69.9) == [True, True, False, True, True, False, True, True]


def test_sliding_counter() -> None:
    """All is back at once after two windows, else what the last window had fades evenly."""
    made = limits(kind="sliding_counter", limit=10, window="10s")
    assert accepted(made, *[9.0] * 11) == [True] * 10 + [False]
    assert accepted(made, 10.0, 10.9, 11.0001, 11.0002, 12.0001) == [False, True, True, False, True]
    assert accepted(made, *[31.0] * 11) == [True] * 10 + [False]


@pytest.mark.parametrize("kind", ["token_bucket", "fixed_window", "sliding_window", "sliding_counter"])
@pytest.mark.parametrize("seed", range(20))
def test_the_wait_that_is_told_is_the_true_one(kind: str, seed: int) -> None:
    """One ns before it is over nothing is accepted; then something is."""
    rng = Random(f"{kind}/{seed}")
    table: dict[str, object] = {"limit": rng.randrange(1, 9), "window": f"{rng.randrange(1, 20)}s"}
    if kind == "token_bucket":
        table = {"rate": f"{rng.choice((0.7, 3, 11))}/s", "burst": rng.randrange(1, 9)}
    now = rng.randrange(100 * SECOND)
    early, made = (limits(kind=kind, **table) for _ in range(2))
    for _ in range(60):
        now += rng.randrange(2 * SECOND)
        refused = made.ask(now, "GET /x", ONE)
        assert early.ask(now, "GET /x", ONE) == refused
        if refused is not None:
            if kind != "token_bucket":  # whose tokens are fractions, to some rounding
                assert early.ask(now + refused[0] - 1, "GET /x", ONE) is not None
            assert early.ask(now + refused[0], "GET /x", ONE) is None
            assert made.ask(now + refused[0], "GET /x", ONE) is None
            now += refused[0]


@pytest.mark.parametrize("kind", ["fixed_window", "sliding_window", "sliding_counter"])
@pytest.mark.parametrize("seed", range(10))
def test_windows_against_counting_them_out(kind: str, seed: int) -> None:
    rng = Random(f"{kind}/{seed}")
    limit, window = rng.randrange(1, 12), rng.randrange(1, 15) * SECOND
    made = limits(kind=kind, limit=limit, window=f"{window // SECOND}s")
    taken: list[int] = []
    now = rng.randrange(50 * SECOND)
    for _ in range(400):
        now += round(rng.expovariate(1.2 * limit / window))
        begins = now - now % window
        here = sum(begins <= at for at in taken)
        before = sum(begins - window <= at < begins for at in taken)
        used = {
            "fixed_window": float(here),
            "sliding_window": float(sum(at > now - window for at in taken)),
            "sliding_counter": here + before * (1 - (now - begins) / window),
        }[kind]
        ok = made.ask(now, "GET /x", ONE) is None
        assert ok is (used < limit)
        if ok:
            taken.append(now)


def test_concurrency_counts_what_is_open_and_not_how_often() -> None:
    made = limits(kind="concurrency", limit=2)
    first: Places = []
    second: Places = []
    assert made.ask(0, "GET /x", ONE, first) is None
    assert made.ask(0, "GET /x", ONE, second) is None
    assert made.ask(0, "GET /x", ONE, []) == (SECOND, "none")
    for count in first:
        count.give_back()
    for _ in range(100):
        again: Places = []
        assert made.ask(0, "GET /x", ONE, again) is None
        again.pop().give_back()
    assert made.ask(0, "frame message", ONE) is None  # a frame is open for no time


def test_several_limits_are_all_asked_and_a_refusal_counts_at_none_of_the_others() -> None:
    made = Limits(
        read_limits(
            [
                {"kind": "fixed_window", "limit": 3, "window": "1s"},
                {"kind": "fixed_window", "limit": 4, "window": "1min", "retry_after": "none"},
                {"kind": "concurrency", "limit": 1},
            ],
            "limits",
        )
    )
    assert accepted(made, 0, 0.1, 0.2, 0.3, 1.0, 1.1) == [True, True, True, False, True, False]
    assert made.ask(round(1.2 * SECOND), "GET /x", ONE) == (round(58.8 * SECOND), "none")  # the longest wait is told
    assert accepted(made, 60.0, 60.1, 60.2, 60.3) == [True, True, True, False]  # refused ones took nothing of the second limit
    made.ask(60 * SECOND, "GET /x", ONE, held := [])
    assert not held  # nor has what was refused a place


def test_refusals_may_count_in_a_sliding_counter() -> None:
    table = {"kind": "sliding_counter", "limit": 2, "window": "1s"}
    assert accepted(limits(**table), 0, 0, 0.1, 0.2, 1.01, 1.6) == [True, True, False, False, True, True]
    assert accepted(limits(**table, count_refused=True), 0, 0, 0.1, 0.2, 1.01, 1.6) == [True, True, False, False, False, False]


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
        {"kind": "fixed_window", "window": "1s"},
        {"rate": "1/s", "burst": 1, "limit": 1},
        {"rate": "1/s", "phase": "1s"},
        {"kind": "sliding_counter", "limit": 1, "phase": "first"},
        {"kind": "concurrency"},
        {"kind": "concurrency", "limit": 1, "rate": "1/s"},
        {"kind": "concurrency", "limit": 1, "endpoint": "GET /x|frame message"},
    ],
)
def test_wrong_limits(table: dict[str, object]) -> None:
    with pytest.raises(SimConfigError):
        read_limits([table], "limits")
