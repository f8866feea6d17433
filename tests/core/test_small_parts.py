"""Marker, back-off, credential, status and Retry-After."""

from __future__ import annotations

import pickle
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.backoff import Backoff
from harness.core.calling import Ask, Call
from harness.core.credentials import Credential, Secret, redacted
from harness.core.http import cause_of_status, retry_after_ns
from harness.core.marker import MAX_MARKER, Marker, mark, read_marker
from harness.core.pacing import Behaviour, Pacer
from harness.core.spread import fixed
from harness.core.wire import HttpRequest, HttpResponse, OpenSocket, SendText
from harness.errors import FailureCause

S = 10**9


def test_markers_as_the_document_writes_them() -> None:
    assert mark("Hello", "run", "guest", 7) == "Hello [#run.guest.g.7]"
    assert read_marker("Hello [#run.guest.g.7]") == Marker("run", "guest", "g", 7, 0)
    assert read_marker("Yes [#run.guest.a.5 re 7]") == Marker("run", "guest", "a", 5, 7)


@pytest.mark.parametrize(
    "text", ["", "Hello", "[#run.guest.g.7]", "x [#run.guest.g.7] ", "x [#run.guest.g.0]", "x [#run.guest.h.1]", "x [#r.g.g.1 re]"]
)
def test_what_is_no_marker_is_none(text: str) -> None:
    assert read_marker(text) is None


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    marker = read_marker(text)
    assert marker is None or text.endswith("]")


@given(st.text(), st.integers(1, 10**8), st.integers(0, 99_999), st.integers(1, 9999))
def test_what_is_marked_is_read_back(text: str, seq: int, slot: int, conversation: int) -> None:
    marked = mark(text, "7c3f", f"{slot}-{conversation}", seq)
    assert read_marker(marked) == Marker("7c3f", f"{slot}-{conversation}", "g", seq, 0)
    assert len(marked) - len(text) <= MAX_MARKER


def test_back_off_as_the_seed_writes_it() -> None:
    webchat = Backoff(base_ns=2 * S, cap_ns=30 * S, jitter_ns=S)
    rng = Random(1)
    for attempt, base in enumerate([2, 4, 8, 16]):
        delays = [webchat.delay(attempt, rng) for _ in range(200)]
        assert base * S <= min(delays)
        assert max(delays) <= (base + 1) * S
        assert max(delays) - min(delays) > S // 2
    assert {webchat.delay(4, rng) for _ in range(50)} == {30 * S}, "the cap swallows the fifth's jitter"
    assert webchat.delay(10_000, rng) == 30 * S


def test_long_poll_back_off_doubles_to_its_cap() -> None:
    plain = Backoff(base_ns=S, cap_ns=30 * S)
    assert [plain.delay(n, Random(1)) // S for n in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_a_credential_goes_through_its_life() -> None:
    credential = Credential(Secret("s3cr3t"), acquired_ns=100 * S, lifetime_ns=1800 * S, refresh_ahead_ns=60 * S)
    assert credential.state(100 * S) == "valid"
    assert credential.state(1839 * S) == "valid"
    assert credential.state(1840 * S) == "due"
    assert credential.state(1900 * S) == "expired"
    credential.rejected = True
    assert credential.state(100 * S) == "rejected"


def test_a_life_shorter_than_the_lead_is_refreshed_at_half() -> None:
    credential = Credential(Secret("x"), acquired_ns=0, lifetime_ns=30 * S, refresh_ahead_ns=60 * S)
    assert credential.refresh_ns == 15 * S


def test_a_secret_shows_nowhere() -> None:
    secret = Secret("s3cr3t")
    credential = Credential(secret, 0, S, 0, Secret("r3fr3sh"))
    for shown in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>20}",
        repr(credential),
        repr([secret]),
        repr({"a": credential}),
    ):
        assert "s3cr3t" not in shown
        assert "r3fr3sh" not in shown
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_statuses_have_names() -> None:
    assert cause_of_status(204) is None
    assert cause_of_status(401) is FailureCause.UNAUTHORISED
    assert cause_of_status(429) is FailureCause.RATE_LIMITED
    assert cause_of_status(503) is FailureCause.SERVER_ERROR
    assert cause_of_status(302) is FailureCause.HTTP_STATUS
    assert cause_of_status(418) is FailureCause.HTTP_STATUS


def test_retry_after_in_both_forms() -> None:
    wall = 1_700_000_000 * S
    assert retry_after_ns("7", wall, default_ns=2 * S, cap_ns=60 * S) == 7 * S
    assert retry_after_ns("Tue, 14 Nov 2023 22:13:25 GMT", wall, default_ns=2 * S, cap_ns=60 * S) == 5 * S
    assert retry_after_ns("Tue, 14 Nov 2023 22:13:00 GMT", wall, default_ns=2 * S, cap_ns=60 * S) == 0
    assert retry_after_ns(None, wall, default_ns=2 * S, cap_ns=60 * S) == 2 * S
    assert retry_after_ns("soon", wall, default_ns=2 * S, cap_ns=60 * S) == 2 * S
    assert retry_after_ns("999999", wall, default_ns=2 * S, cap_ns=60 * S) == 60 * S


@given(st.text())
def test_any_retry_after_is_bounded(text: str) -> None:
    assert 0 <= retry_after_ns(text, 1_700_000_000 * S, default_ns=2 * S, cap_ns=60 * S) <= 60 * S


def test_think_pacing_starts_from_the_last_completion_and_schedule_does_not() -> None:
    think = Pacer(Behaviour(think_time=fixed(8)), Random(1))
    assert 0 <= think.begin(100 * S) - 100 * S <= 8 * S
    assert think.next(200 * S) == 208 * S
    plan = Pacer(Behaviour(pacing="schedule", period=fixed(5)), Random(1))
    first = plan.begin(100 * S)
    assert [plan.next(10**15) - first for _ in range(3)] == [5 * S, 10 * S, 15 * S]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", ""),
        ("all is well", "all is well"),
        ("the plover-and-xyzzy twice: plover-and-xyzzy", "the … twice: …"),
        ("cut off: plover-a", "cut off: …"),
        ("cut off: plover-", "cut off: plover-"),
        ("plover-and-xyzz", "…"),
    ],
)
def test_a_secret_is_taken_out_of_a_text_even_where_it_was_cut(text: str, left: str) -> None:
    assert redacted(text, ("", "plover-and-xyzzy")) == left


def test_nothing_that_goes_over_the_wire_shows_in_a_repr() -> None:
    held: list[object] = [
        HttpRequest("r.1.1", "POST /x", "api", "POST", "/x?t=plover", [("A", "plover")], b"plover", 1),
        HttpResponse(200, {"set-cookie": "plover"}, b"plover"),
        OpenSocket(1, "r.1.2", "api", "/x?t=plover", [("A", "plover")], 1),
        SendText(1, "plover"),
        Ask("api", "/x", b"plover", [("A", "plover")]),
        Call("m", "POST /x", "/x?t=plover", 1, 1, print, None, b"plover", (("A", "plover"),)),
    ]
    assert "plover" not in repr(held)
