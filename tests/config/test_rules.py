"""Rules and health limits are judged when the scenario is read, before any load."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.config import Scenario, load_scenario
from harness.core.ops import MEASURES
from harness.dialects.registry import all_dialects
from harness.errors import ExitCode, ScenarioError
from harness.verdicts.limits import LIMITS, WRITTEN, read_limits


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the real dialects count, not the made-up ones."""
    for name in list(os.environ):
        if name.startswith("GUESTSWARM_"):
            monkeypatch.delenv(name)


def load(folder: Path, more: str, mix: str = "{ webchat = 0.5, longpoll = 0.5 }") -> Scenario:
    path = folder / "s.toml"
    path.write_text(f"[guests]\ncount = 3\nmix = {mix}\n{more}\n")
    return load_scenario(path, environ={})


def problem(folder: Path, more: str, **given: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        load(folder, more, **given)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def test_rules_that_can_be_judged(tmp_path: Path) -> None:
    scenario = load(tmp_path, "[slo]\nrules = ['echo p99 < 800 ms', 'ack p95 < 1 s', 'loss.possible == 0']")
    assert scenario.slo == ("echo p99 < 800 ms", "ack p95 < 1 s", "loss.possible == 0")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("ekko p99 < 800 ms", "did you mean `echo`?"),
        ("echo p99 < 800", "has no unit; write it as `800 ms`"),
        ("lost = 3", "is no comparison"),
    ],
)
def test_a_rule_that_cannot_be_read_is_an_error_with_its_line(tmp_path: Path, rule: str, words: str) -> None:
    said = problem(tmp_path, f"[slo]\nrules = ['{rule}']")
    assert "s.toml:5: slo.rules: " in said
    assert f"`{rule}`" in said
    assert words in said


def test_a_rule_on_what_no_guest_measures_is_an_error(tmp_path: Path) -> None:
    said = problem(tmp_path, "[slo]\nrules = ['echo p99 < 1 s', 'connect.failed rate < 1 %']", mix="{ longpoll = 1.0 }")
    assert "longpoll guests have no `echo`; it is a measure of webchat" in said
    assert "longpoll guests have no `connect`" in said
    load(tmp_path, "[slo]\nrules = ['echo p99 < 1 s']", mix="{ webchat = 1.0 }")


def test_dialects_measure_only_what_there_is() -> None:
    for dialect in all_dialects().values():
        assert set(dialect.measures) <= set(MEASURES)
        assert dialect.measures


# ---------------------------------------------------------------- health
def test_health_limits_carry_units_and_survive_being_resolved(tmp_path: Path) -> None:
    text = "[health]\nsend_delay_p99 = '60ms'\nsteal = '3 %'\ncpu_wait = 0.1\njournal_errors = 1\npressure = '20%'"
    scenario = load(tmp_path, text)
    wanted = {"send_delay_p99_ms": 60.0, "steal": 0.03, "cpu_wait": 0.1, "journal_errors": 1.0, "pressure": 20.0}
    assert scenario.health == wanted
    assert scenario.resolved()["health"]["send_delay_p99"] == "60ms"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("send_delay = '60ms'", "health.send_delay: unknown limit; did you mean `send_delay_p99`?"),
        ("send_delay_p99_ms = 60", "did you mean `send_delay_p99`?"),
        ("xyzzy = 1", "known are send_delay_p99, bracket, loop_busy"),
        ("send_delay_p99 = 60", 'needs a time with its unit, such as "40ms"'),
        ("gc_pause = '20'", 'such as "20ms"'),
        ("steal = '3ms'", 'needs a share, such as "2 %" or 0.02'),
        ("steal = 2", "needs a share"),
        ("steal = true", "needs a share"),
        ("pressure = 10", 'needs percent, such as "10 %"'),
        ("journal_errors = '1'", "needs a whole number"),
    ],
)
def test_a_wrong_limit_is_an_error(tmp_path: Path, line: str, words: str) -> None:
    assert words in problem(tmp_path, f"[health]\n{line}")


def test_every_limit_can_be_written() -> None:
    assert set(WRITTEN.values()) == set(LIMITS)
    written = {"send_delay_p99": "40ms", "gc_pause": "20ms", "pressure": "10 %", "refused_by_system": 0, "journal_errors": 0}
    for name, value in LIMITS.items():
        written.setdefault(name.removesuffix("_ms"), value)
    assert read_limits(written) == (LIMITS, [])
