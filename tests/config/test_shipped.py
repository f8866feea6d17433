"""The scenarios that ship, read with the real dialects and judged by the real simulator's reader."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from harness.cli.options import judge_simulator
from harness.config import load_scenario, scenario_schema
from harness.config.scenario import least_loss_wait_ns
from harness.core.spread import seconds
from harness.dialects import registry
from harness.errors import ScenarioError

SCENARIOS = sorted((Path(__file__).parent.parent.parent / "locustfiles" / "scenarios").glob("*.toml"))


@pytest.fixture(autouse=True)
def real(fakes: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    registry.all_dialects.cache_clear()
    from harness.config.tables import document_model

    document_model.cache_clear()


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_every_shipped_scenario_can_be_run(path: Path) -> None:
    scenario = load_scenario(path, environ={}, validate_simulator=judge_simulator)
    assert scenario.name == path.stem
    assert scenario.simulated


def test_the_first_run_is_what_the_readme_says() -> None:
    scenario = load_scenario(SCENARIOS[0].parent / "first-run.toml", environ={})
    assert scenario.guests.planned == 300
    assert scenario.mix == {"webchat": 0.5, "longpoll": 0.5}
    assert (scenario.load.ramp, scenario.load.duration) == (seconds(15), seconds(60))


@pytest.mark.parametrize("name", sorted(registry.all_dialects()))
def test_every_setting_of_every_dialect_has_a_spelling_and_says_its_longest_back_off(name: str) -> None:
    dialect = registry.all_dialects()[name]
    table = scenario_schema()["$defs"][f"{name}_settings"]
    assert set(table["properties"]) == {field.name for field in dataclasses.fields(dialect.settings)}
    assert least_loss_wait_ns(dialect.settings()) > 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('[dialects.webchat]\nresend = "always"\n', "dialects.webchat.resend: must be"),
        ("[dialects.longpoll]\nnaive_share = 2\n", "dialects.longpoll.naive_share: needs a share"),
        ("[dialects.longpoll]\ndownload = -1\n", "dialects.longpoll.download: needs a share"),
        ('[simulator]\ntoken_life = "30 parsecs"\n', "simulator.token_life"),
        ('[simulator.latency]\nsend = {uniform = {min = "3s", max = "1s"}}\n', "simulator.latency.send"),
    ],
)
def test_wrong_settings_of_the_real_dialects_and_the_simulator_are_told(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "s.toml"
    path.write_text("[guests]\ncount = 1\nmix = { webchat = 0.5, longpoll = 0.5 }\n" + line)
    with pytest.raises(ScenarioError, match=re.escape(said)):
        load_scenario(path, environ={}, validate_simulator=judge_simulator)


def test_one_spelling_of_distributions_for_guests_and_simulator(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    spreads = ['"8s"', '"8s±20%"', '{uniform = {min = "1s", max = "3s"}}', '{poisson = {mean = "2s"}}']
    spreads.append('{lognormal = {median = "8s", p95 = "20s"}}')
    for spread in spreads:
        path.write_text(
            f'[scenario]\ndialect = "webchat"\n[guests]\ncount = 1\nthink_time = {spread}\n[simulator.agents]\nreply = {spread}\n'
        )
        assert load_scenario(path, environ={}, validate_simulator=judge_simulator).simulated
