"""What is made of a finding: scope, places, settings, verification."""

from __future__ import annotations

import random

import pytest

from harness.search.limits import Finding, Interval, ScopePlan, ScopeSearch, advise, expected_over, recommend, verify
from tests.proofs import ratelimit
from tests.proofs.limiters import Bucket, Counter, First, Fixed

BUCKET = Finding(
    "token_bucket", True, rate_per_s=2.0, rate_interval=Interval(1.99, 2.01), burst=20, burst_interval=Interval(20, 20)
)
WINDOW = Finding(
    "fixed_window",
    True,
    rate_per_s=4.0,
    limit=40,
    limit_interval=Interval(40, 40),
    window_s=10.0,
    window_interval=Interval(9.9, 10.1),
)


def play(search: ScopeSearch, separating: set[str]) -> None:
    while (change := search.next()) is not None:
        own = change.changed in separating
        search.update(change, accepted=change.asks if own else 0, refused=0 if own else change.asks)


@pytest.mark.parametrize(
    ("separating", "scope"),
    [
        ({"session"}, "session"),
        ({"address"}, "ip"),
        ({"credential"}, "client"),
        ({"deployment"}, "deployment"),
        (set(), "organisation"),
    ],
)
def test_scope_by_one_thing_changed(separating: set[str], scope: str) -> None:
    search = ScopeSearch(ScopePlan({"session": 2, "address": 2, "credential": 2, "deployment": 2}))
    play(search, separating)
    assert search.answer().scope == scope


def test_scope_is_never_guessed() -> None:
    search = ScopeSearch(ScopePlan({"session": 2, "credential": 1}))
    play(search, set())
    answer = search.answer()
    assert answer.scope == "unknown"
    assert set(answer.not_varied) == {"address", "credential", "deployment"}


@pytest.mark.parametrize("finding", [BUCKET, WINDOW])
def test_setting_uses_95_percent_and_is_never_refused(finding: Finding) -> None:
    advice = advise("POST /x", finding, guests=100, workers=4)
    assert advice.rate_per_s is not None
    assert advice.share_of_allowed is not None
    assert advice.share_of_allowed >= 0.95
    limiter = Bucket(2.0, 20) if finding is BUCKET else Fixed(40, 10_000_000_000, 3_000_000_000)
    asked, refused = ratelimit.drive(limiter, advice.rate_per_s, advice.burst, 900, random.Random(1))
    assert refused == 0
    judged = verify(finding, requests=asked, refused=refused, achieved_per_s=asked / 900)
    assert judged.verdict == "PASS"
    assert judged.bound == 3 / asked


def test_counter_taken_for_a_bucket_is_caught() -> None:
    wrong = Finding(
        "token_bucket", True, rate_per_s=4.0, rate_interval=Interval(3.98, 4.02), burst=40, burst_interval=Interval(40, 40)
    )
    advice = advise("x", wrong)
    assert advice.rate_per_s is not None
    asked, refused = ratelimit.drive(Counter(40, 10_000_000_000, 0), advice.rate_per_s, advice.burst, 300, random.Random(2))
    assert refused > 0
    assert verify(wrong, requests=asked, refused=refused, achieved_per_s=asked / 300).verdict == "FAIL"


def test_ten_percent_more_is_refused_as_expected() -> None:
    expected = expected_over(BUCKET, 2.2, 1000)
    assert expected is not None
    assert expected.share == pytest.approx(1 - 1 / 1.1)
    assert expected.after_s == pytest.approx(100.0)
    asked, refused = ratelimit.drive(Bucket(2.0, 20), 2.2, 1, 700, random.Random(1), 110)
    assert expected.low <= refused / asked <= expected.high
    assert (
        verify(BUCKET, requests=400, refused=0, achieved_per_s=1.95, over_requests=asked, over_refused=0, over_per_s=2.2).verdict
        == "FAIL"
    )


@pytest.mark.parametrize(("limit", "window_s"), [(5, 2.0), (20, 10.0), (40, 3.0), (200, 60.0)])
def test_windows_from_a_first_request_hold_whole_requests(limit: int, window_s: float) -> None:
    """At the setting never refused; above it as often as the whole requests of each window say, which with few of them is more."""
    found = Finding("fixed_window", True, rate_per_s=limit / window_s, limit=limit, window_s=window_s, anchor="first_request")
    advice = advise("x", found)
    assert advice.rate_per_s is not None
    assert (advice.share_of_allowed or 0.0) >= 0.95
    window = round(window_s * 1e9)
    seconds = 2000 * window_s / limit
    asked, refused = ratelimit.drive(First(limit, window), advice.rate_per_s, 1, seconds, random.Random(3))
    assert refused == 0
    over = 1.1 * limit / window_s
    expected = expected_over(found, over, 1000)
    assert expected is not None
    asked, refused = ratelimit.drive(First(limit, window), over, 1, seconds, random.Random(3), expected.after_s)
    assert expected.low <= refused / asked <= expected.high


def test_too_few_and_too_slow_are_unknown() -> None:
    assert verify(BUCKET, requests=299, refused=0, achieved_per_s=1.95).verdict == "UNKNOWN"
    assert verify(BUCKET, requests=300, refused=0, achieved_per_s=1.5).verdict == "UNKNOWN"


def test_fragment() -> None:
    table = recommend([("POST /x", WINDOW)], guests=10).fragment()["pace"]["POST /x"]
    assert table["burst"] == 1
    assert table["rate"].endswith("/s")


@pytest.mark.parametrize("seed", range(1, 9))
def test_places(seed: int) -> None:
    assert ratelimit.concurrency(seed)["ok"]
