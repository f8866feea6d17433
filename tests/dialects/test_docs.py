"""What `docs/dialects.md` says of numbers and names is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from harness.cli.dialects import describe
from harness.dialects.registry import all_dialects
from harness.findings.registry import detectors
from harness.simulator.dialects import registry

TEXT = (Path(__file__).parent.parent.parent / "docs" / "dialects.md").read_text("utf-8")
NAMES = ("longpoll", "webchat", "engagements", "guests", "messaging", "webmessaging")


def _table(head: str) -> list[list[str]]:
    """The rows below a head that begins so, as cells."""
    assert TEXT.count(head) == 1, head
    lines = TEXT.partition(head)[2].partition("\n\n")[0].splitlines()[2:]
    return [line.strip("| ").split(" | ") for line in lines]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([a-z]\w*)`", cell)


@pytest.mark.parametrize("name", NAMES)
def test_the_lines_that_are_ours_are_counted_right(name: str) -> None:
    told = describe(all_dialects()[name])
    rows = {row[0]: row for row in _table("| dialect | published by |")}
    assert set(rows) == {f"`{one}`" for one in NAMES}
    publisher = "the vendor" if told["published"] else "community"
    assert rows[f"`{name}`"][1:4] == [publisher, str(told["transcript_lines"]), str(told["ours_lines"])]


@pytest.mark.parametrize("name", NAMES)
def test_every_source_that_the_command_names_is_in_the_table(name: str) -> None:
    rows = {row[0]: row[1] for row in _table("| dialect | source |")}
    for source in all_dialects()[name].sources:
        for part in source.partition(" (seed")[0].split(" "):
            assert part.strip("(),;") in rows[f"`{name}`"], source


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_named_in_a_table_exists(name: str) -> None:
    known = {field.name for field in dataclasses.fields(all_dialects()[name].settings)}
    named = [key for row in _table(f"| setting `[dialects.{name}]` | default | what it decides |") for key in _names(row[0])]
    assert len(named) > 8
    assert set(named) <= known


@pytest.mark.parametrize("name", NAMES)
def test_every_key_of_the_simulators_half_named_in_a_table_exists(name: str) -> None:
    known = {field.name for field in dataclasses.fields(registry.half(name).table)}
    named = [key for row in _table(f"| `[simulator.{name}]` | default | what |") for key in _names(row[0])]
    assert len(named) > 2
    assert set(named) <= known


def test_the_limit_sets_are_those_there_are() -> None:
    told: dict[str, str] = {name: row[1] for row in _table("| limit set | holds |") for name in _names(row[0])}
    assert set(told) == set(NAMES)
    for name in NAMES:
        half = registry.half(name)
        assert bool(half.limit_set(half.table())) != told[name].startswith("nothing")


def test_every_client_fault_is_told_of_and_no_other() -> None:
    told: dict[str, set[str]] = {name: set() for name in NAMES}
    for fault, whom, *_ in _table("| client fault | dialects |"):
        for name in NAMES if whom == "all" else whom.split(", "):
            assert fault.strip("`") not in told[name], f"{fault} of {name} stands there twice"
            told[name].add(fault.strip("`"))
    assert told == {name: set(all_dialects()[name].client_faults) for name in NAMES}


def test_every_finding_that_is_promised_exists() -> None:
    known = {one.id for one in detectors()}
    named = [key for row in _table("| client fault | dialects |") for key in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", row[3])]
    assert len(named) > 30
    assert set(named) <= known
