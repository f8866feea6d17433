"""From advice to a fragment that a scenario can include: only keys that exist, and what is shared is shared."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from harness.cli.options import leaves
from harness.config import load_scenario
from harness.config.probed import chosen, without_probes
from harness.config.recommended import Advised, fragment, remarks, to_toml
from harness.dialects.registry import all_dialects
from harness.errors import ScenarioError
from harness.search.limits.finding import Finding, Interval
from harness.search.limits.recommend import advise

SCENARIO = '[scenario]\nname = "x"\ndialect = "{dialect}"\n[guests]\ncount = 60\n'
BUCKET = Finding(
    "token_bucket", True, rate_per_s=4.0, rate_interval=Interval(3.99, 4.01), burst=20, burst_interval=Interval(20, 20)
)
SLOW = Finding("fixed_window", True, rate_per_s=0.2, limit=2, window_s=10.0)


@pytest.fixture(autouse=True)
def real(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    all_dialects.cache_clear()
    from harness.config.tables import document_model

    document_model.cache_clear()


def advised(dialect: str, endpoint: str, scope: str, finding: Finding = BUCKET, guests: int = 60) -> Advised:
    return Advised(dialect, endpoint, scope, advise(endpoint, finding, guests=guests), all_dialects()[dialect].settings)


def test_what_counts_all_guests_together_becomes_one_pace_for_all() -> None:
    tables = fragment([advised("webchat", "frame message", "client")], 60, {"webchat": 1.0})
    assert tables["guests"]["send_rate_all"] == pytest.approx(3.87, abs=0.02)
    assert "send_rate" not in tables["guests"]


def test_what_counts_each_session_becomes_a_pace_of_each_guest() -> None:
    tables = fragment([advised("webchat", "frame message", "session")], 60, {"webchat": 1.0})
    assert tables["guests"] == {"send_rate": pytest.approx(3.87, abs=0.02), "send_burst": 16}


def test_a_dialect_with_a_share_of_the_guests_sends_a_share_of_what_all_send() -> None:
    tables = fragment([advised("webchat", "frame message", "ip")], 60, {"webchat": 0.5, "longpoll": 0.5})
    assert tables["guests"]["send_rate_all"] == pytest.approx(7.74, abs=0.02)


def test_tokens_are_spread_by_back_off_jitter_and_ramp() -> None:
    tables = fragment([advised("webchat", "POST /oauth/token", "client", SLOW)], 60, {"webchat": 1.0})
    webchat = tables["dialects"]["webchat"]
    assert set(webchat) >= {"retry_base", "retry_jitter", "reconnect_jitter", "reconnect_cap"}
    assert tables["load"]["ramp"].endswith(("s", "min"))


def held(scope: str, most: int = 12, dialect: str = "webchat") -> Advised:
    finding = Finding("concurrency", True, limit=most, limit_interval=Interval(most, most))
    return dataclasses.replace(advised(dialect, "GET /webchat", scope, finding), hold=most)


@pytest.mark.parametrize(
    ("one", "mixed", "planned", "key", "tables", "said"),
    [
        (held("ip"), {"webchat": 1.0}, 60, "count", {"guests": {"count": 12}}, "no more than 12 guests at a time ([guests] count)"),
        (held("unknown"), {"webchat": 0.5}, 60, "max_guests", {"guests": {"max_guests": 24}}, "([guests] max_guests)"),
        (held("ip"), {"webchat": 1.0}, 12, "count", {}, "12 guests at a time keep within that"),
        (held("session"), {"webchat": 1.0}, 60, "count", {}, "for each session: a guest holds one"),
    ],
)
def test_what_may_be_open_at_once_is_as_many_guests(
    one: Advised, mixed: dict[str, float], planned: int, key: str, tables: dict[str, object], said: str
) -> None:
    assert fragment([one], 60, mixed, planned=planned, count_key=key) == tables
    (line,) = remarks([one], mixed, planned=planned, count_key=key)
    assert said in line
    assert "webchat: GET /webchat: 12 open at once" in line


@pytest.mark.parametrize("dialect", sorted(all_dialects()))
@pytest.mark.parametrize("scope", ["client", "session", "unknown"])
def test_whatever_is_recommended_a_scenario_can_include(tmp_path: Path, dialect: str, scope: str) -> None:
    found = all_dialects()[dialect]
    assert found.probes is not None
    probes = found.probes(found.settings()).probes
    tables = fragment([advised(dialect, probe.endpoint, scope, SLOW) for probe in probes], 60, {dialect: 1.0})
    text = to_toml(tables, "what it is for")
    assert tomllib.loads(text) == tables
    path = tmp_path / "x.toml"
    path.write_text(SCENARIO.format(dialect=dialect))
    scenario = load_scenario(path, leaves(tables))
    assert scenario.guests.behaviour().send_rate + scenario.guests.behaviour().send_rate_all > 0


def chosen_of(tmp_path: Path, endpoints: str) -> list[str]:
    path = tmp_path / "x.toml"
    path.write_text(SCENARIO.format(dialect="webchat") + f"[ratelimit]\nendpoints = {endpoints}\n")
    return [one.name for one in chosen(load_scenario(path))]


def test_endpoints_are_chosen_by_name_and_all_of_them_by_none(tmp_path: Path) -> None:
    assert len(chosen_of(tmp_path, "[]")) == 9
    assert chosen_of(tmp_path, '["frame message"]') == ["webchat: frame message"]
    assert chosen_of(tmp_path, '["webchat: GET /webchat"]') == ["webchat: GET /webchat"]
    assert chosen_of(tmp_path, '["webchat: GET /webchat, open at once"]') == ["webchat: GET /webchat, open at once"]
    with pytest.raises(ScenarioError, match="no dialect in use has 'POST /x'"):
        chosen_of(tmp_path, '["POST /x"]')


def test_a_dialect_that_does_not_say_what_can_be_limited_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = {**all_dialects(), "webchat": dataclasses.replace(all_dialects()["webchat"], probes=None)}
    path = tmp_path / "x.toml"
    path.write_text(SCENARIO.format(dialect="webchat"))
    scenario = load_scenario(path)
    monkeypatch.setattr("harness.config.scenario.all_dialects", lambda: silent)
    assert chosen(scenario) == []
    assert without_probes(scenario) == ["webchat"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('addresses = ["not an address"]', "no IPv4 address"),
        ('addresses = ["127.0.0.1", "127.0.0.1"]', "each one once"),
        ('credentials = [{ client_id = "a", secret = "hush" }]', "not a reference to a secret"),
        ("over = 0.9", "must be above 1"),
        ("max_per_s = 0", "must be above 0"),
        ('suspected_window = "0s"', "must be above 0s"),
    ],
)
def test_what_cannot_be_meant_is_refused_without_a_secret_in_the_words(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(SCENARIO.format(dialect="webchat") + f"[ratelimit]\n{line}\n")
    with pytest.raises(ScenarioError, match=said) as caught:
        load_scenario(path)
    assert "hush" not in str(caught.value)
