"""Short forms of `make prove PART=metrics`: what recording costs in units of one `json.loads`, and that memory stays flat."""

from __future__ import annotations

from tests.metrics.costs import CASES, ratios
from tests.metrics.flat import GROWTH, recorder_sizes, suite_sizes

SLACK = 1.3
"""For what a busy machine does even to the least of many rounds; the proof grants none."""


def test_the_cost_of_a_message() -> None:
    found = ratios(CASES, messages=1500, rounds=60, enough=SLACK)  # one good round of each is enough
    assert {case.name: found[case.name] for case in CASES if found[case.name] > SLACK * case.limit} == {}


def test_many_messages_leave_memory_flat() -> None:
    sizes, suite = suite_sizes(60_000)
    assert sizes[-1] - sizes[0] < GROWTH
    suite.close()
    assert suite.ordering.places.reordered == 30_000
    assert suite.copies.fates.replicated == 6_000
    sizes, recorder = recorder_sizes(15_000)
    assert recorder.fault == ""
    assert sizes[-1] - sizes[0] < GROWTH
