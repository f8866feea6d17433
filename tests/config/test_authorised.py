from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.config import Scenario, check_authorised, covers, load_scenario, window_left
from harness.errors import ExitCode, NotAuthorisedError

TARGET = "[scenario]\ndialect = 'talk'\n[guests]\ncount = 10\n[target]\ndomain = 'x.com'\nclient_id = 'a'\ncredentials = 'env:A'\n"
AUTHORISED = """[authorisation]
hosts = ["*.x.com"]
ticket = "T-1"
window = "23:00-05:00"
timezone = "Europe/Dublin"
max_guests = 10
max_requests_per_s = 5
"""


def scenario(tmp_path: Path, text: str) -> Scenario:
    path = tmp_path / "s.toml"
    path.write_text(text)
    return load_scenario(path, environ={})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def test_inside_the_window_and_below_the_ceiling(tmp_path: Path) -> None:
    check_authorised(scenario(tmp_path, TARGET + AUTHORISED), ("api.x.com",), at("2026-01-10T23:30"))


def test_this_machine_needs_nothing(tmp_path: Path) -> None:
    check_authorised(scenario(tmp_path, TARGET), (), at("2026-01-10T12:00"))


@pytest.mark.parametrize(
    ("text", "hosts", "now", "words"),
    [
        (TARGET, ("api.x.com",), "2026-01-10T23:30", "no [authorisation]"),
        (TARGET + AUTHORISED, ("api.y.com",), "2026-01-10T23:30", "does not name this host"),
        (TARGET + AUTHORISED, ("x.com.evil.org",), "2026-01-10T23:30", "does not name this host"),
        (TARGET + AUTHORISED, ("api.x.com",), "2026-01-10T12:00", "is shut now"),
        (TARGET + AUTHORISED, ("api.x.com",), "2026-01-10T05:00", "is shut now"),
        (
            TARGET.replace("10", "11") + AUTHORISED,
            ("api.x.com",),
            "2026-01-10T23:30",
            "11 guests are planned, the approval allows 10",
        ),
    ],
)
def test_not_authorised(tmp_path: Path, text: str, hosts: tuple[str, ...], now: str, words: str) -> None:
    with pytest.raises(NotAuthorisedError) as caught:
        check_authorised(scenario(tmp_path, text), hosts, at(now))
    assert words in str(caught.value)
    assert caught.value.exit_code == ExitCode.NOT_AUTHORISED


@pytest.mark.parametrize(
    ("now", "left"),
    [
        ("2026-01-10T22:59:59", timedelta(0)),
        ("2026-01-10T23:00", timedelta(hours=6)),
        ("2026-01-11T04:59", timedelta(minutes=1)),
        ("2026-01-11T05:00", timedelta(0)),
        ("2026-07-10T22:00", timedelta(hours=6)),  # summer time: 23:00 there
        ("2026-03-28T23:00", timedelta(hours=5)),  # the clocks go forward in this night
        ("2026-10-24T22:00", timedelta(hours=7)),  # and back in this one
    ],
)
def test_the_window_is_told_by_the_zones_own_clock(tmp_path: Path, now: str, left: timedelta) -> None:
    authorisation = scenario(tmp_path, TARGET + AUTHORISED).authorisation
    assert authorisation is not None
    assert window_left(authorisation, at(now)) == left


def test_hosts_are_covered_by_name_or_domain(tmp_path: Path) -> None:
    authorisation = scenario(tmp_path, TARGET + AUTHORISED).authorisation
    assert authorisation is not None
    assert covers(authorisation, "API.x.com.")
    assert not covers(authorisation, "x.com")
    assert not covers(authorisation, "evilx.com")
