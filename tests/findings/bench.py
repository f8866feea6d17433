"""One case in virtual time: a few guests, a few minutes, a journal, and what the detectors say about it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from harness.conformance.runner import Plan, run
from harness.conformance.subject import subject
from harness.core import ops
from harness.core.pacing import Behaviour
from harness.core.spread import around
from harness.findings import Board, Finding
from harness.journal.reader import read_records
from harness.journal.records import Interval

QUIET = Behaviour(reload=0.0, attachments=0.0, session_length=around(90.0, 0.2))
"""Guests who do nothing out of the ordinary, in conversations of a minute and a half."""


@dataclass(frozen=True)
class Case:
    """What is run, and what is to be found in it."""

    name: str
    dialect: str
    expects: frozenset[str]
    about: str
    """What is wrong, in words for the matrix."""
    faults: tuple[str, ...] = ()
    """Client faults."""
    share: float = 1.0
    """Of the guests that have them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    simulator: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    """Further findings that are right here as well, and why."""
    tamper: Callable[..., None] | None = None
    """Breaks what no fault of the simulator's can break, see `Plan.tamper`."""
    guests: int = 6
    seconds: float = 240.0
    ramp: float = 10.0
    seed: int = 1


def rows_of(case: Case, folder: Path) -> list[ops.Row]:
    """Run a case and read its journal back."""
    one = subject(case.dialect)
    dialect = one.dialect
    for name in case.faults:
        assert name in dialect.client_faults, f"{case.dialect} has no client fault {name}"
    settings = one.made_settings(**case.settings)
    behaviour = {name: getattr(QUIET, name) for name in QUIET.__slots__} | dict(case.behaviour)
    plan = Plan(
        dialects=(case.dialect,),
        guests=case.guests,
        seconds=case.seconds,
        ramp=case.ramp,
        seed=case.seed,
        loss_wait=20.0,
        behaviour=Behaviour(**behaviour),
        settings={case.dialect: settings},
        simulator=dict(case.simulator),
        target=dict(case.target),
        client_faults=dict.fromkeys(case.faults, case.share),
        compare=False,
        tamper=case.tamper,
    )
    outcome = run(plan, folder)
    return [row for row in read_records([outcome.journal]) if not isinstance(row, Interval)]


@cache
def played(case_name: str) -> tuple[ops.Row, ...]:
    """The rows of a case by its name, run once."""
    from tests.findings.cases import CASES

    with tempfile.TemporaryDirectory() as folder:
        return tuple(rows_of(CASES[case_name], Path(folder)))


def found_in(rows: Iterable[ops.Row]) -> list[Finding]:
    """What is found in these rows, with timelines."""
    kept = list(rows)
    board = Board()
    for row in kept:
        board.take(row)
    return board.tell(lambda: iter(kept), min((row.at_ns for row in kept), default=0))


def ids(findings: Iterable[Finding]) -> set[str]:
    """Their ids."""
    return {finding.id for finding in findings}


def by_guest(rows: Iterable[ops.Row]) -> Iterator[list[ops.Row]]:
    """The rows of each guest, in order."""
    guests: dict[str, list[ops.Row]] = {}
    for row in rows:
        guests.setdefault(row.label.partition("-")[0], []).append(row)
    return iter(guests.values())
