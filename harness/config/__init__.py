"""Scenarios: what a run is to do, read from TOML, the environment and flags, and judged before any socket is opened."""

from harness.config.load import load_scenario, scenario_schema
from harness.config.problems import BadScenarioError, Problem
from harness.config.scenario import Scenario, check_authorised, covers, window_left

__all__ = [
    "BadScenarioError",
    "Problem",
    "Scenario",
    "check_authorised",
    "covers",
    "load_scenario",
    "scenario_schema",
    "window_left",
]
