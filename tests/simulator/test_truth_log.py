"""Rows for histories made by hand, the seal, and the marker."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from harness.simulator import marker
from harness.simulator.truth import Copy, Stream, TruthBuffer, TruthLog


class Book:
    """A truth log with its rows at hand; every call is one ns later."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.log = TruthLog(self.lines.append)
        self.now = 0
        self.stream: Stream = self.log.stream("run.1-1")

    def agent(self, count: int) -> list[Copy]:
        copies = []
        for _ in range(count):
            nonce = self.stream.next_agent_nonce()
            self.log.agent_stored(self.now, nonce)
            copies.append(Copy(nonce))
        return copies

    def push(self, copy: Copy, key: str = "a") -> None:
        self.now += 1
        self.log.pushed(self.now, copy, key, key)

    def list(self, copy: Copy) -> None:
        self.now += 1
        self.log.listed(self.now, copy, "listing")

    def ids(self, row: str) -> list[int]:
        rows = [json.loads(line) for line in self.lines]
        return [int(found["id"].rpartition(".")[2]) for found in rows if found["row"] == row]


def test_first_hand_overs_count_once() -> None:
    book = Book()
    one, two = book.agent(2)
    book.push(one)
    book.list(one)
    book.list(two)
    book.list(two)
    assert book.ids("messages.delivered") == [1, 2]
    assert not book.ids("duplicated.same_connection")


def test_duplicates_by_connection() -> None:
    book = Book()
    (one,) = book.agent(1)
    for key in "abab":
        book.push(one, key)
    assert book.ids("duplicated.cross_connection") == [1]
    assert book.ids("duplicated.same_connection") == [1, 1]


def test_a_push_after_a_listing_is_no_duplicate() -> None:
    book = Book()
    (one,) = book.agent(1)
    book.list(one)
    book.push(one)
    assert not book.ids("duplicated.same_connection")
    book.push(one)
    assert book.ids("duplicated.same_connection") == [1]


def test_a_second_copy_counts_at_its_first_hand_over() -> None:
    book = Book()
    (one,) = book.agent(1)
    other = Copy(one.nonce)
    book.push(one)
    book.list(other)
    book.push(other)
    assert book.ids("duplicated.resend") == [1]
    assert not book.ids("duplicated.same_connection")
    book.push(other)
    assert book.ids("duplicated.same_connection") == [1]


def test_reordered_is_about_first_pushes() -> None:
    book = Book()
    one, two, three, four = book.agent(4)
    book.push(two)
    book.push(one)
    book.push(one)
    book.push(four)
    book.list(three)
    book.push(three)
    assert book.ids("reordered") == [1]


def test_directions_are_two_streams() -> None:
    book = Book()
    (one,) = book.agent(1)
    guest = book.stream.guest_nonce(7)
    book.log.guest_stored(0, guest)
    book.push(Copy(guest))
    book.push(one)
    assert not book.ids("reordered")
    assert book.ids("messages.returned") == [7]


def test_losses_are_judged_at_the_end() -> None:
    book = Book()
    copies = book.agent(5)
    copies[0].nonce.fault = "lose_all"  # type: ignore[union-attr]
    book.push(copies[2])
    book.list(copies[3])
    counts = book.log.seal(9)
    rows = [json.loads(line) for line in book.lines]
    assert [(row["id"], row["kind"]) for row in rows if row["row"] == "lost.agent"] == [
        ("run.1-1.a.1", "lose_all"),
        ("run.1-1.a.2", "cut"),
    ]
    assert book.ids("unseen_tail") == [5]
    assert counts == {"lost.agent": 2, "messages.delivered": 2, "stored": 5, "unseen_tail": 1}


def test_a_stream_is_judged_when_its_last_conversation_is_forgotten() -> None:
    book = Book()
    book.stream.users = 2
    one, two = book.agent(2)
    book.push(two)
    book.log.release(1, book.stream)
    assert not book.ids("lost.agent")
    book.log.release(2, book.stream)
    assert book.ids("lost.agent") == [1]
    assert not book.log.streams
    book.push(one)  # as late as this it makes no difference
    book.log.seal(9)
    assert book.ids("lost.agent") == [1]


def test_the_seal_proves_the_file() -> None:
    book = Book()
    book.agent(2)
    counts = book.log.seal(5)
    assert book.log.seal(6) == counts
    book.log.row(7, "stored", "late")
    last = json.loads(book.lines[-1])
    assert last["row"] == "seal"
    assert last["counts"] == counts == {"stored": 2, "unseen_tail": 2}
    assert last["sha256"] == hashlib.sha256("".join(book.lines[:-1]).encode()).hexdigest()


def test_any_id_is_one_line_of_json() -> None:
    book = Book()
    wild = 'a"b\\\n\u2028\ud800é'
    book.log.row(1, "cut", wild, n=1, on=True, text=wild)
    assert json.loads(book.lines[0]) == {"t": 1, "row": "cut", "id": wild, "n": 1, "on": True, "text": wild}
    assert book.lines[0].count("\n") == 1


def test_the_buffer_gives_each_line_once() -> None:
    buffer = TruthBuffer()
    TruthLog(buffer.write).row(1, "cut", "x")
    assert buffer.take() == b'{"t":1,"row":"cut","id":"x"}\n'
    assert buffer.take() == b""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello [#run1.1-1.g.7]", ("run1.1-1", "g", 7, 0)),
        (" [#run1.1-1.a.5 re 7]", ("run1.1-1", "a", 5, 7)),
        ("Quote [#x.1.g.1] and own [#x.1.g.2]", ("x.1", "g", 2, 0)),
        ("[#run1.1-1.g.7]", None),
        ("Hello [#run1.1-1.g.7] ", None),
        ("Hello [#run1.1-1.g.07]", None),
        ("Hello [#run1.1-1.g.0]", None),
        ("Hello [#run1.1-1.x.7]", None),
        ("Hello [#run1.1.1.g.7]", None),
        ("Hello [#run1.1-1.g.٧]", None),
        ("Hello [#" + "r" * 60 + ".1.g.7]", None),
        ("", None),
    ],
)
def test_markers(text: str, found: Any) -> None:
    assert marker.read(text) == found


def test_what_is_written_can_be_read() -> None:
    assert marker.read("x" + marker.write("run.1-1", 12, 3)) == ("run.1-1", "a", 12, 3)
    assert marker.read("x" + marker.write("run.1-1", 12)) == ("run.1-1", "a", 12, 0)
