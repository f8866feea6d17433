"""Reading a listing by time, against a model of a server that lists in stored order."""

from __future__ import annotations

from urllib.parse import parse_qs

from hypothesis import given
from hypothesis import strategies as st

from harness.core.events import Delivered
from harness.core.stamps import read_iso
from harness.dialects.webchat_frames import Listing
from harness.dialects.webchat_paging import Pager

MS = 10**6


def serve(pager: Pager, stored: list[Delivered], cap: int, pages: int = 500) -> set[str]:
    """Answer until the pager has enough; the ids listed."""
    seen: set[str] = set()
    for _ in range(pages):
        query = {name: values[0] for name, values in parse_qs(pager.query()).items()}
        assert query["conversationId"] == "c"
        since, limit = read_iso(query.get("since", "1970")), min(int(query["limit"]), cap)
        rows = [row for row in stored if row.server_ns >= since][:limit]
        seen |= {row.message_id for row in rows}
        if not pager.feed(Listing(rows, len(rows), 0)):
            return seen
    raise AssertionError("no end")


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 6), st.integers(0, 12))
def test_all_of_it_is_read_whatever_ties(gaps: list[int], limit: int, since: int) -> None:
    at, stored = 1000, []
    for n, gap in enumerate(gaps):
        at += max(gap - 8, 0)  # two thirds of them tie
        stored.append(Delivered("", message_id=str(n), server_ns=at * MS + 999))
    pager = Pager("c", (1000 + since) * MS + 5, limit, 500, 500)
    assert serve(pager, stored, 500) == {row.message_id for row in stored if row.server_ns // MS >= 1000 + since}
    assert pager.complete


def test_more_ties_than_the_server_lists_are_owned_up_to() -> None:
    stored = [Delivered("", message_id=str(n), server_ns=10**18) for n in range(30)]
    stored.append(Delivered("", message_id="last", server_ns=10**18 + 5 * MS))
    pager = Pager("c", 0, 4, 16, 100)
    seen = serve(pager, stored, 16)
    assert not pager.complete
    assert "last" in seen


def test_pages_are_bounded() -> None:
    stored = [Delivered("", message_id=str(n), server_ns=10**18 + n * MS) for n in range(100)]
    pager = Pager("c", 0, 2, 4, 3)
    serve(pager, stored, 4)
    assert not pager.complete


def test_rows_without_stamps_end_the_reading() -> None:
    pager = Pager("c", 0, 1, 4, 9)
    assert not pager.feed(Listing([Delivered("")], 1, 0))
    assert not pager.complete
