from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.times import INSTANT, UNITS, times_in


@given(st.sampled_from(sorted(UNITS)), st.integers(0, 10**15), st.integers(0, 9))
def test_decimals_are_exact(unit: str, value: int, places: int) -> None:
    places = min(places, UNITS[unit])
    text = f"{value // 10**places}.{value % 10**places:0{places}d}" if places else str(value)
    wanted = Fraction(value, 10**places) * 10 ** UNITS[unit]
    if wanted < 1 << 62:
        assert times_in(unit)(text) == wanted


@pytest.mark.parametrize(
    ("unit", "value", "wanted"),
    [
        ("s", "1700000000.1", 1_700_000_000_100_000_000),
        ("s", 1700000000.1, 1_700_000_000_100_000_000),
        ("s", "-1.5", -1_500_000_000),
        ("s", "-0.5", -500_000_000),
        ("s", "1.7e9", 1_700_000_000_000_000_000),
        ("s", " 2 ", 2_000_000_000),
        ("s", "0.00000000049", 0),
        ("ms", 3, 3_000_000),
        ("ms", "0.25", 250_000),
        ("ns", "12", 12),
        ("ns", "12.0", 12),
        (INSTANT, "1970-01-01T00:00:01.5Z", 1_500_000_000),
        (INSTANT, "1970-01-01t01:00:00.000000001+01:00", 1),
        (INSTANT, "2024-02-29 23:59:59Z", 1_709_251_199_000_000_000),
    ],
)
def test_times(unit: str, value: object, wanted: int) -> None:
    assert times_in(unit)(value) == wanted


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("s", "soon"),
        ("s", "nan"),
        ("s", "inf"),
        ("s", float("nan")),
        ("s", True),
        ("s", None),
        ("s", "1.2.3"),
        ("s", "1e400"),
        ("s", 1_700_000_000_000_000_000),
        (INSTANT, "2023-02-29T00:00:00Z"),
        (INSTANT, "2023-02-28T00:00:00"),
        (INSTANT, 5),
    ],
)
def test_what_is_no_time(unit: str, value: object) -> None:
    with pytest.raises(ValueError, match=r"is (no|out)"):
        times_in(unit)(value)
