"""Each case, in virtual time: what is to be found is found, and nothing else that has no reason."""

from __future__ import annotations

import pytest

from harness.core import ops
from harness.findings.model import MAX_MOMENTS
from harness.findings.registry import detectors
from tests.findings.bench import found_in, ids, played
from tests.findings.cases import CASES


@pytest.mark.parametrize("name", CASES)
def test_what_is_there_is_found_and_nothing_else(name: str) -> None:
    case = CASES[name]
    found = found_in(played(name))
    got = ids(found)
    told = {one.id: one.evidence for one in found}
    assert case.expects <= got, f"missed {sorted(case.expects - got)}; found {told}"
    assert got <= case.expects | set(case.also), f"false alarm {sorted(got - case.expects - set(case.also))}: {told}"
    for one in found:
        assert one.count > 0
        assert one.guests > 0
        assert 0 < len(one.example.timeline) <= MAX_MOMENTS
        assert one.example.timeline == sorted(one.example.timeline, key=lambda moment: moment.t_ms)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.faults])
def test_nobody_looks_at_the_name_of_the_fault(name: str) -> None:
    rows = played(name)
    bare = [row for row in rows if not (isinstance(row, ops.Noted) and row.what == "misbehaves")]
    assert len(bare) < len(rows)
    assert found_in(bare) == found_in(rows)


def test_every_finding_has_a_case_of_its_own() -> None:
    covered = set().union(*(case.expects for case in CASES.values()))
    assert {one.id for one in detectors()} <= covered


def test_every_dialect_has_a_clean_run() -> None:
    clean = {case.dialect for case in CASES.values() if case.name.startswith(f"{case.dialect} clean") and not case.expects}
    assert clean == {case.dialect for case in CASES.values()}
