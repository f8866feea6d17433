"""The suite of each registered dialect, with the stages that its tests give."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from harness.conformance.suite import Suite
from harness.dialects.registry import all_dialects
from harness.simulator.dialects import registry

NAMES = tuple(name for name in all_dialects() if name in registry.specs())
"""Every dialect that has both halves, so that a new one is examined as soon as it is registered."""
TESTS = Path(__file__).parent.parent


def staged(name: str) -> bool:
    """Whether the stages of its scenes are kept here; else the tests of each half play them themselves."""
    return find_spec(f"{__package__}.stages.{name}") is not None


@cache
def suite(name: str) -> Suite:
    return Suite(name, import_module(f"{__package__}.stages.{name}").STAGING if staged(name) else None)


def scenes(half: str) -> list[tuple[str, str]]:
    return [(name, scene) for name in NAMES if staged(name) for scene in suite(name).scenes(half)]


def players(name: str, folder: str) -> list[str]:
    """Test files of one half that hold themselves to every scene of the transcript."""
    return [path.name for path in (TESTS / folder).glob(f"test_{name}_*.py") if "def test_every_scene" in path.read_text("utf-8")]
