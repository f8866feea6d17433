"""The close of the window under clocks that are set, and machines that slept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from harness.config.tables import AuthorisationTable
from harness.swarm.closing import MARGIN_S, Closing

APPROVAL = AuthorisationTable(
    hosts=("chat.example.com",), ticket="T", window="23:00-05:00", timezone="Europe/Dublin", max_guests=5, max_requests_per_s=5.0
)
DRAIN_S = 30.0


class Clocks:
    def __init__(self, wall: datetime) -> None:
        self.wall, self.monotonic = wall, 1_000.0

    def pass_by(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.monotonic += seconds

    def closing(self, unset: datetime | None = None) -> Closing:
        return Closing(APPROVAL, DRAIN_S, wall=lambda: self.wall, monotonic=lambda: self.monotonic, unset=unset)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks(datetime(2026, 11, 22, 4, 0, tzinfo=UTC))


def test_the_drain_fits_in_before_the_close(clocks: Clocks) -> None:
    closing = clocks.closing()
    assert closing.left_s() == 3600 - DRAIN_S - MARGIN_S
    clocks.pass_by(3600 - DRAIN_S - MARGIN_S)
    assert closing.left_s() == 0


@pytest.mark.parametrize(
    ("by_s", "left_s"),
    [
        (90, 3600 - 90),  # believed at once
        (-90, 3600),  # opens nothing for longer
        (3600, 0),
        (20 * 3600, 0),  # another night's window is not this one's
        (-12 * 3600, 0),  # before the window: it is shut as well
    ],
)
def test_a_wall_clock_that_is_set(clocks: Clocks, by_s: float, left_s: float) -> None:
    closing = clocks.closing()
    clocks.wall += timedelta(seconds=by_s)
    assert max(closing.left_s() + DRAIN_S + MARGIN_S, 0) == left_s


def test_steps_there_and_back_do_not_add_up(clocks: Clocks) -> None:
    closing = clocks.closing()
    for by_s in (90, -30, -60, -600, 600):
        clocks.wall += timedelta(seconds=by_s)
        clocks.pass_by(10)
    assert closing.left_s() == 3600 - 50 - DRAIN_S - MARGIN_S


@pytest.mark.parametrize(("by_s", "left_s"), [(0, 3000), (90, 2910), (-1800, 3000), (-4 * 3600, 3000), (3600, 0)])
def test_a_load_child_that_takes_anothers_place_opens_no_window_for_longer(clocks: Clocks, by_s: float, left_s: float) -> None:
    """Ten minutes after the first one began, and the wall clock was set meanwhile."""
    clocks.pass_by(600)
    unset = clocks.wall
    clocks.wall += timedelta(seconds=by_s)
    assert max(clocks.closing(unset).left_s() + DRAIN_S + MARGIN_S, 0) == left_s


def test_after_a_sleep_the_wall_clock_counts(clocks: Clocks) -> None:
    closing = clocks.closing()
    clocks.wall += timedelta(hours=2)  # the monotonic clock stood still
    assert closing.left_s() < 0


def test_a_window_that_is_nearly_shut_is_none(clocks: Clocks) -> None:
    clocks.wall += timedelta(seconds=3600 - DRAIN_S)
    assert clocks.closing().left_s() < 0
