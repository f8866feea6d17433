"""The `[simulator]` table: spellings, defaults, and errors that name the nearest key."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.core.spread import parse_spread
from harness.errors import UsageError
from harness.simulator import instants, spelling
from harness.simulator.config import SimConfig
from harness.simulator.credentials import Credentials
from harness.simulator.files import simulator_table
from harness.simulator.spelling import SECOND, SimConfigError

FULL: dict[str, Any] = {
    "credentials": {"client_id": "me", "origins": ["https://shop.example"], "refresh": False},
    "token_life": "15min",
    "agents": {
        "number": 3,
        "concurrency": 2,
        "accept": "1s±50%",
        "reply": {"lognormal": {"median": "2s", "p95": "5s"}},
        "extra": "5%",
    },
    "latency": {"token": {"poisson": "20ms"}, "echo": "5ms"},
    "limits": [{"endpoint": "*", "rate": "100/s", "scope": "ip"}],
    "queues": ["support"],
    "skills": {"Billing": True, "Night": False},
    "keepalive": {"ping_every": "20s", "pong_within": "15s"},
    "faults": [{"name": "reset", "share": 0.01}, {"name": "delay", "by": "1s±20%", "at": "10s", "for": "1min"}],
    "server_stores_resend": False,
}


def test_a_full_table() -> None:
    config = SimConfig.from_table(FULL)
    assert config.token_life == 900 * SECOND
    assert config.agents.extra == 0.05
    assert config.agents.accept.kind == "uniform"
    assert config.limits[0].burst == 100
    assert config.faults[1].options["by"].centre == SECOND
    assert SimConfig.from_table({}) == SimConfig()


@pytest.mark.parametrize(
    ("table", "where", "says"),
    [
        ({"agnets": {}}, "simulator.agnets", "agents"),
        ({"agents": {"replay": "1s"}}, "simulator.agents.replay", "reply"),
        ({"agents": {"reply": 5}}, "simulator.agents.reply", "unit"),
        ({"agents": {"reply": "1s±150%"}}, "simulator.agents.reply", "below zero"),
        ({"agents": {"number": 0}}, "simulator.agents.number", "at least 1"),
        ({"agents": {"order": "random"}}, "simulator.agents.order", "fifo"),
        ({"agents": []}, "simulator.agents", "no table"),
        ({"token_life": "1 week"}, "simulator.token_life", "no duration"),
        ({"latency": {"echo": {"normal": "1s"}}}, "simulator.latency.echo", "lognormal"),
        ({"latency": {"echo": {"lognormal": {"median": "2s", "p95": "1s"}}}}, "simulator.latency.echo", "median"),
        ({"latency": {"echo": {"pareto": {"min": "0s", "p99": "1s", "max": "9s"}}}}, "simulator.latency.echo.pareto", "min"),
        ({"latency": {"echo": {"bimodal": {"most": "1s"}}}}, "simulator.latency.echo.bimodal", "most, rest, share"),
        ({"limits": [{"rate": "5 per s"}]}, "simulator.limits[0].rate", "5/s"),
        ({"skills": {"Billing": "yes"}}, "simulator.skills.Billing", "true"),
        ({"faults": [{"name": "dely"}]}, "simulator.faults[0].name", "delay"),
        ({"faults": [{"name": "delay", "bye": "1s"}]}, "simulator.faults[0].bye", "by"),
        ({"credentials": {"client_secret": "plain"}}, "simulator.credentials.client_secret", "env:NAME"),
        ({"credentials": {"client_secret": "file:/nowhere/at/all"}}, "simulator.credentials.client_secret", "cannot be read"),
    ],
)
def test_errors_name_key_and_way_out(table: dict[str, Any], where: str, says: str) -> None:
    with pytest.raises(SimConfigError) as caught:
        SimConfig.from_table(table)
    assert caught.value.where == where
    assert says in str(caught.value)


def test_secrets_come_from_elsewhere_and_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret"
    path.write_text("hush-1\n")
    monkeypatch.setenv("SOME_SECRET", "hush-2")
    monkeypatch.setenv("GUESTSWARM_SIM_SECRET", "hush-3")
    one = SimConfig.from_table({"credentials": {"client_secret": f"file:{path}"}})
    two = SimConfig.from_table({"credentials": {"client_secret": "env:SOME_SECRET"}})
    assert (one.secret(), two.secret(), SimConfig().secret()) == ("hush-1", "hush-2", "hush-3")
    assert "hush" not in repr((one, two))


@pytest.mark.parametrize(
    ("value", "mean", "low", "high"),
    [
        ("2s", 2.0, 2.0, 2.0),
        ("2s±50%", 2.0, 1.0, 3.0),
        ({"poisson": "2s"}, 2.0, 0.0, 60.0),
        ({"lognormal": {"median": "2s", "p95": "4s"}}, 2.19, 0.05, 60.0),
    ],
)
def test_spreads(value: Any, mean: float, low: float, high: float) -> None:
    spread = spelling.spread(value, "x")
    rng = Random(5)
    drawn = [spread.sample(rng) / SECOND for _ in range(20_000)]
    assert sum(drawn) / len(drawn) == pytest.approx(mean, rel=0.03)
    assert low <= min(drawn)
    assert max(drawn) <= high


@pytest.mark.parametrize(
    "value",
    [
        "8s",
        "8s±20%",
        "300µs",
        {"lognormal": {"median": "8s", "p95": "20s"}},
        {"uniform": {"min": "1s", "max": "3s"}},
        {"uniform": {"min": "0s", "max": "0s"}},
        {"poisson": {"mean": "2s"}},
    ],
)
def test_what_a_scenario_may_write_the_simulator_reads_alike(value: Any) -> None:
    ours, theirs = spelling.spread(value, "x"), parse_spread(value)
    one, other = Random(3), Random(4)
    mine = sorted(ours.sample(one) for _ in range(4000))
    other_mine = sorted(theirs.sample(other) for _ in range(4000))
    for place in (400, 2000, 3600):
        assert mine[place] == pytest.approx(other_mine[place], rel=0.15)


def test_instants() -> None:
    assert instants.iso(1715524330007) == "2024-05-12T14:32:10.007Z"
    assert instants.iso_seconds(1715524330999) == "2024-05-12T14:32:10Z"
    assert instants.parse("2024-05-12T14:32:10.007Z") == 1715524330007
    assert instants.parse("2024-05-12T14:32:10Z") == 1715524330000
    for wrong in ("", "now", "2024-13-12T14:32:10Z", "2024-05-12", "2024-05-12T14:32:10+02:00"):
        assert instants.parse(wrong) is None


def test_refresh_tokens_are_used_up_and_grow_old() -> None:
    table = SimConfig.from_table({"credentials": {"refresh_life": "60s"}}).credentials
    store = Credentials(table, "hush", 10 * SECOND, Random(1))
    first = store.grant(0, "me")
    refresh = store.refresh_token(0, first)
    second = store.refreshed(SECOND, refresh)
    assert second is not None
    assert second.scopes == first.scopes
    assert store.refreshed(SECOND, refresh) is None
    late = store.refresh_token(SECOND, second)
    assert store.refreshed(62 * SECOND, late) is None
    assert store.find(9 * SECOND, first.token) is first
    assert store.find(10 * SECOND, first.token) is None
    short = store.grant(11 * SECOND, "me", frozenset(), SECOND)
    assert store.find(12 * SECOND - 1, short.token) is short
    assert store.find(12 * SECOND, short.token) is None


def test_origins() -> None:
    store = Credentials(SimConfig.from_table(FULL).credentials, "hush", SECOND, Random(1))
    assert store.origin_allowed(None)
    assert store.origin_allowed("https://shop.example")
    assert not store.origin_allowed("https://evil.example")
    assert not store.known_client("me", "wrong")
    assert not Credentials(SimConfig().credentials, "", SECOND, Random(1)).known_client("guestswarm", "")


def test_latencies_of_two_kinds_and_with_a_heavy_tail() -> None:
    rng = Random(1)
    two = spelling.spread({"bimodal": {"most": "50ms", "rest": "500ms", "share": "1%"}}, "x")
    drawn = [two.sample(rng) for _ in range(20_000)]
    assert set(drawn) == {SECOND // 20, SECOND // 2}
    assert 150 <= drawn.count(SECOND // 2) <= 250
    heavy = spelling.spread({"pareto": {"min": "20ms", "p99": "400ms", "max": "3s"}}, "x")
    drawn = sorted(heavy.sample(rng) for _ in range(20_000))
    assert drawn[0] >= SECOND // 50
    assert drawn[-1] == 3 * SECOND
    assert drawn[19_800] == pytest.approx(0.4 * SECOND, rel=0.2)
    assert drawn[9_999] == pytest.approx(20e6 * 2 ** (1 / (math.log(100) / math.log(20))), rel=0.02)


# ---------------------------------------------------------------- files


def test_a_file_is_the_table_or_has_it(tmp_path: Path) -> None:
    bare, scenario, as_json = tmp_path / "bare.toml", tmp_path / "whole.toml", tmp_path / "some.json"
    bare.write_text('token_life = "5min"\n[capacity]\nservers = 3\nservice = {exponential = "40ms"}\n')
    scenario.write_text('[scenario]\nname = "x"\n[simulator]\ntoken_life = "5min"\n[simulator.capacity]\nservers = 3\n')
    as_json.write_text(json.dumps({"simulator": {"capacity": {"servers": 3}}}))
    for path in (bare, scenario, as_json):
        assert SimConfig.from_table(simulator_table(path)).capacity.servers == 3
    assert SimConfig.from_table(simulator_table(bare)).capacity.service.kind == "exponential"


@pytest.mark.parametrize(
    ("name", "text"), [("a.toml", '[scenario]\nname = "x"\n'), ("a.toml", "[guests]\n"), ("a.json", '{"scenario": {}}')]
)
def test_a_scenario_without_a_simulator_means_the_default_one(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert simulator_table(tmp_path / name) == {}


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.toml", "servers = = 3", "cannot be read"),
        ("a.json", "[1, 2]", "is not a table"),
        ("a.json", '{"simulator": 3}', "is not a table"),
        ("a.toml", "[[simulator]]", "is not a table"),
        ("a.toml", "# " + "x" * (1 << 20), "too large"),
        ("nowhere.toml", "", "cannot be read"),
    ],
)
def test_a_file_that_is_none(name: str, text: str, says: str, tmp_path: Path) -> None:
    if text:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=says):
        simulator_table(tmp_path / name)


@pytest.mark.parametrize(
    ("table", "where"),
    [
        ({"servers": -1}, "simulator.capacity.servers"),
        ({"service": 40}, "simulator.capacity.service"),
        ({"cliff_answer": "shrug"}, "simulator.capacity.cliff_answer"),
        ({"slowdown": -0.1}, "simulator.capacity.slowdown"),
        ({"silence": 0}, "simulator.capacity.silence"),
        ({"also": "POST /oauth/token"}, "simulator.capacity.also"),
        ({"workers": 3}, "simulator.capacity.workers"),
    ],
)
def test_a_wrong_capacity(table: dict[str, object], where: str) -> None:
    with pytest.raises(SimConfigError) as caught:
        SimConfig.from_table({"capacity": table})
    assert caught.value.where == where


def test_growth_and_sizes() -> None:
    assert [spelling.growth(value, "x") for value in ("10%", "250%", 0.1, 3)] == [0.1, 2.5, 0.1, 3.0]
    assert [spelling.size(value, "x") for value in ("1.5MiB", "10kB", 0, "3B")] == [3 * 2**19, 10_000, 0, 3]
    for read, value in ((spelling.growth, "much"), (spelling.growth, -1), (spelling.size, "3 parsecs"), (spelling.size, 3)):
        with pytest.raises(SimConfigError):
            read(value, "x")
