"""Each row of the truth table, equal and unequal, from hand-written histories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.report.identities import NAMES, Collector, Identities
from harness.report.truth import TruthRow, join, load_truth
from tests.report.history import RUN, Guest, finish, leave, longpoll, webchat, write_truth


def measured(*guests: Guest) -> Identities:
    collector = Collector(RUN)
    for guest in guests:
        for row in guest.rows:
            collector.take(row)
    return collector.finish()


def table(tmp_path: Path, *guests: Guest, sealed: bool = True) -> dict[str, TruthRow]:
    write_truth(tmp_path / "truth.jsonl", [line for guest in guests for line in guest.truth], sealed=sealed)
    rows = join(measured(*guests), load_truth(tmp_path / "truth.jsonl"))
    assert [row.name for row in rows] == list(NAMES)
    return {row.name: row for row in rows}


def unequal(rows: dict[str, TruthRow]) -> set[str]:
    return {name for name, row in rows.items() if not row.equal}


def drop(guest: Guest, row: str, name: str = "") -> None:
    """The simulator forgets one line."""
    line = next(line for line in guest.truth if line["row"] == row and name in line["id"])
    guest.truth.remove(line)


def test_two_quiet_guests_are_equal_in_every_row(tmp_path: Path) -> None:
    rows = table(tmp_path, leave(webchat(), (1, 2, 3), (1, 2, 3)), finish(longpoll()))
    assert unequal(rows) == set()
    assert rows["messages.sent"] == TruthRow("messages.sent", 5, 5, 5, 5, True, [])
    assert rows["messages.delivered"].measured == 5
    assert rows["messages.returned"].measured == 5
    assert rows["tokens.client_credentials"].expected == 2
    assert rows["reordered"] == TruthRow("reordered", 0, 0, 0, 0, True, [])


# ---------------------------------------------------------------- each row: an event that both saw


def a_copy_on_the_same_connection(guest: Guest) -> None:
    guest.copy("a", 2, true=["duplicated.same_connection"])


def a_copy_on_another_connection(guest: Guest) -> None:
    guest.copy("a", 2, epoch=2, true=["duplicated.cross_connection"])


def a_second_stored_copy(guest: Guest) -> None:
    guest.copy("g", 2, mid="again", true=["duplicated.resend"])


def an_overtaken_message(guest: Guest) -> None:
    guest.copy("a", 5, true=["messages.delivered"])
    guest.copy("a", 4, true=["messages.delivered", "reordered"])


def an_agents_message_lost(guest: Guest) -> None:
    guest.copy("a", 5, true=["messages.delivered"])
    guest.true("lost.agent", guest.nonce("a", 4), kind="lose_all")


def a_confirmed_message_never_stored(guest: Guest) -> None:
    guest.say(4)
    guest.copy("g", 4, true=["messages.returned"])
    guest.true("lost.ingest", guest.nonce("g", 4))


def a_refused_request(guest: Guest) -> None:
    guest.refused()


def a_cut_request(guest: Guest) -> None:
    guest.request("lookup", "GET /api/v2/routing/skillgroups", "info", "connection_reset", true=["cut"])


def a_refreshed_token(guest: Guest) -> None:
    guest.token("refresh_token")


def a_token(guest: Guest) -> None:
    guest.token()


def a_disconnect(guest: Guest) -> None:
    guest.close("server", 1012)
    guest.address = "127.0.0.1:40777"
    guest.open()


EVENTS: dict[str, tuple[Callable[[Guest], None], str]] = {
    "duplicated.same_connection": (a_copy_on_the_same_connection, ".a.2"),
    "duplicated.cross_connection": (a_copy_on_another_connection, ".a.2"),
    "duplicated.resend": (a_second_stored_copy, ".g.2"),
    "reordered": (an_overtaken_message, ".a.4"),
    "lost.agent": (an_agents_message_lost, ".a.4"),
    "lost.ingest": (a_confirmed_message_never_stored, ".g.4"),
    "refused": (a_refused_request, ""),
    "cut": (a_cut_request, ""),
    "tokens.refresh_token": (a_refreshed_token, ""),
    "tokens.client_credentials": (a_token, ""),
    "disconnects": (a_disconnect, "/1"),
    "messages.delivered": (lambda guest: guest.reply(4, 3), ".a.4"),
    "messages.returned": (lambda guest: None, ".g.3"),
    "messages.sent": (lambda guest: None, ".g.3"),
}


@pytest.mark.parametrize("name", NAMES)
def test_an_event_that_both_saw_is_equal(tmp_path: Path, name: str) -> None:
    guest = webchat()
    EVENTS[name][0](guest)
    rows = table(tmp_path, leave(guest, (1, 2, 3), (1, 2, 3)))
    assert unequal(rows) == set()
    assert rows[name].expected == rows[name].measured
    assert rows[name].expected


@pytest.mark.parametrize("name", NAMES)
def test_an_event_that_truth_does_not_hold_is_unequal_and_named(tmp_path: Path, name: str) -> None:
    event, which = EVENTS[name]
    guest = webchat()
    event(guest)
    drop(guest, name, which)
    rows = table(tmp_path, leave(guest, (1, 2, 3), (1, 2, 3)))
    assert unequal(rows) == {name}
    assert rows[name].ids
    assert rows[name].ids[0].endswith(which)


@pytest.mark.parametrize("name", NAMES)
def test_an_event_that_only_truth_holds_is_unequal_and_named(tmp_path: Path, name: str) -> None:
    guest = webchat()
    guest.true(name, f"{RUN}.9-9.a.99")
    rows = table(tmp_path, leave(guest, (1, 2, 3), (1, 2, 3)))
    assert unequal(rows) == {name}
    assert rows[name].ids[0] == f"{RUN}.9-9.a.99"


@pytest.mark.parametrize("name", NAMES)
def test_equal_totals_of_unlike_ids_are_unequal(tmp_path: Path, name: str) -> None:
    event, which = EVENTS[name]
    guest = webchat()
    event(guest)
    drop(guest, name, which)
    guest.true(name, f"{RUN}.9-9.a.99")
    rows = table(tmp_path, leave(guest, (1, 2, 3), (1, 2, 3)))
    assert unequal(rows) == {name}
    assert rows[name].expected == rows[name].measured
    assert rows[name].differ == 2


# ---------------------------------------------------------------- what nobody can know


def test_an_unknown_outcome_may_be_stored_or_not(tmp_path: Path) -> None:
    for stored in (True, False):
        guest = webchat()
        guest.say(4, "info", "end", "interrupted", stored=stored)
        rows = table(tmp_path, leave(guest, (1, 2, 3), complete=False))
        assert unequal(rows) == set()
        row = rows["messages.sent"]
        assert (row.expected, row.measured, row.low, row.high) == (3 + stored, 3, 3, 4)
        assert row.ids == [guest.nonce("g", 4)]


def test_a_message_without_an_outcome_counts_as_unknown(tmp_path: Path) -> None:
    guest = webchat()
    guest.say(4, "info", "end")
    guest.rows.pop()  # its Closed row was never written
    assert table(tmp_path, guest)["messages.sent"].equal


def test_a_message_that_certainly_failed_must_not_be_stored(tmp_path: Path) -> None:
    guest = webchat()
    guest.say(4, "fail", "refusal", "refused", stored=False)
    assert unequal(table(tmp_path, leave(guest, (1, 2, 3)))) == set()
    guest.true("messages.sent", guest.nonce("g", 4))
    rows = table(tmp_path, guest)
    assert unequal(rows) == {"messages.sent"}
    assert rows["messages.sent"].ids == [guest.nonce("g", 4)]


def test_a_torn_push_is_allowed_either_way(tmp_path: Path) -> None:
    for handed in (True, False):
        guest = webchat()
        if handed:
            guest.true("messages.delivered", guest.nonce("a", 4), via=guest.conn)
        guest.true("torn", guest.nonce("a", 4), of="messages.delivered")
        rows = table(tmp_path, leave(guest, (1, 2, 3)))
        assert unequal(rows) == set()
        row = rows["messages.delivered"]
        assert (row.low, row.high) == (3, 3 + handed)
        assert row.ids == [guest.nonce("a", 4)] * handed


def test_a_torn_answer_is_allowed_either_way(tmp_path: Path) -> None:
    guest = webchat()
    guest.request("lookup", "GET /api", "info", "connection_reset")
    name = guest.request("lookup", "GET /api", "info", "connection_reset", true=["refused"])
    guest.true("torn", name, of="refused")
    rows = table(tmp_path, leave(guest, (1, 2, 3)))
    assert unequal(rows) == {"cut"}  # the first was reset, and nobody tore it
    assert rows["cut"].differ == 1
    assert rows["refused"].equal


def test_a_message_above_a_torn_one_may_look_reordered(tmp_path: Path) -> None:
    guest = webchat()
    guest.true("messages.delivered", guest.nonce("a", 6), via=guest.conn)
    guest.true("torn", guest.nonce("a", 6), of="messages.delivered")
    guest.copy("a", 4, true=["messages.delivered", "reordered"])
    guest.copy("a", 5, true=["messages.delivered", "reordered"])
    rows = table(tmp_path, leave(guest, (1, 2, 3)))
    assert unequal(rows) == set()
    assert rows["reordered"].ids == [guest.nonce("a", 4), guest.nonce("a", 5)]


def test_of_pushes_over_two_sockets_it_is_open_which_was_first(tmp_path: Path) -> None:
    """4 was let go of before 5, which was quicker on the other socket."""

    def crossed(epoch: int) -> dict[str, TruthRow]:
        guest = webchat()
        guest.copy("a", 5, epoch=epoch, true=["messages.delivered"])
        guest.copy("a", 4, epoch=1, true=["messages.delivered"])
        return table(tmp_path, leave(guest, (1, 2, 3)))

    assert unequal(crossed(2)) == set()
    assert crossed(2)["reordered"].ids == [webchat().nonce("a", 4)]
    assert unequal(crossed(1)) == {"reordered"}


def test_what_came_in_an_answer_that_was_not_read_whole_is_open(tmp_path: Path) -> None:
    """The server handed a poll's answer over just as the guest gave up; the next poll brings the same again."""
    guest = longpoll()
    lost = guest.request("poll.hold", "GET /events", "info", "timeout")
    guest.true("messages.delivered", guest.nonce("a", 3), via=lost)
    poll = guest.request("poll.hold", "GET /events")
    guest.copy("a", 3, via=poll, true=["duplicated.same_connection"])
    rows = table(tmp_path, finish(guest))
    assert unequal(rows) == set()
    assert guest.nonce("a", 3) in rows["duplicated.same_connection"].ids
    guest.rows = [row for row in guest.rows if getattr(row, "ref", "") != lost]
    assert unequal(table(tmp_path, guest)) == {"duplicated.same_connection"}


def test_a_contested_end_is_a_disconnect_or_not(tmp_path: Path) -> None:
    for server in (True, False):
        guest = webchat()
        guest.end(complete=False)
        guest.close("contested", 0, "timeout")
        if server:
            guest.true("disconnects", guest.conn)
        guest.true("messages.delivered", guest.nonce("a", 4), via=guest.conn)  # nobody read it
        rows = table(tmp_path, guest)
        assert unequal(rows) == set()
        assert (rows["disconnects"].low, rows["disconnects"].high) == (0, 1)


def test_a_socket_that_never_was_ready_is_no_disconnect(tmp_path: Path) -> None:
    guest = webchat()
    guest.close("server", 1008, ready=False)
    assert table(tmp_path, guest)["disconnects"].measured == 0


def test_connections_of_one_address_are_numbered_by_their_opening(tmp_path: Path) -> None:
    first, second = webchat(1), webchat(2)
    second.address = first.address
    second.opened = first.opened + 1
    second.close("server", 1001)
    second.truth[-1]["id"] = f"{first.address}/2"
    rows = table(tmp_path, second, leave(first, (1, 2, 3)))
    assert rows["disconnects"].equal
    assert rows["disconnects"].expected == 1


def test_refusals_on_a_socket_are_named_by_connection_and_number(tmp_path: Path) -> None:
    from harness.core import ops

    guest = webchat()
    for number in (1, 2):
        guest.row(ops.Refused(guest.tick(), guest.label, "message", f"{guest.address}#{number}", 0))
        guest.true("refused", f"{guest.conn}#{number}", endpoint="message")
    rows = table(tmp_path, leave(guest, (1, 2, 3)))
    assert unequal(rows) == set()
    assert rows["refused"].measured == 2


@pytest.mark.parametrize("outcome", ["ok", "info"])
def test_a_grant_in_an_answer_that_never_came_is_open(tmp_path: Path, outcome: str) -> None:
    guest = webchat()
    guest.token("refresh_token", "info", "timeout", granted=outcome == "ok")
    row = table(tmp_path, leave(guest, (1, 2, 3)))["tokens.refresh_token"]
    assert (row.equal, row.low, row.high) == (True, 0, 1)


# ---------------------------------------------------------------- loss of what was confirmed


def test_without_a_whole_read_back_a_loss_is_only_possible(tmp_path: Path) -> None:
    for lost in ((), (2,), (1, 2, 3)):
        guest = webchat()
        for seq in lost:
            guest.true("lost.ingest", guest.nonce("g", seq))
        guest.rows = [row for row in guest.rows if getattr(row, "re", 0) not in lost]  # nobody answers what is not stored
        rows = table(tmp_path, leave(guest, (), complete=False))
        assert rows["lost.ingest"].equal
        assert (rows["lost.ingest"].low, rows["lost.ingest"].high) == (0, len(lost))


def test_a_missing_read_back_without_a_reason_proves_nothing(tmp_path: Path) -> None:
    guest = webchat()
    guest.end(complete=False, cause="")
    rows = table(tmp_path, guest)
    assert not rows["lost.ingest"].equal
    assert not rows["lost.agent"].equal
    assert rows["messages.sent"].equal


def test_an_echo_is_no_evidence_of_storage_but_a_polls_answer_is(tmp_path: Path) -> None:
    chat = webchat(messages=0)
    chat.say(1)
    chat.copy("g", 1, true=["messages.returned"])
    chat.true("lost.ingest", chat.nonce("g", 1))
    poll = longpoll(messages=1)
    poll.say(2, via="ack")
    poll.true("lost.ingest", poll.nonce("g", 2))
    rows = table(tmp_path, leave(chat, ()), finish(poll))
    assert unequal(rows) == set()
    assert rows["lost.ingest"].measured == 2


def test_an_agents_gap_is_sure_only_after_a_whole_read_back(tmp_path: Path) -> None:
    for lost in (True, False):
        guest = webchat()
        guest.copy("a", 5, true=["messages.delivered"])
        if lost:
            guest.true("lost.agent", guest.nonce("a", 4))
        row = table(tmp_path, leave(guest, (), complete=False))["lost.agent"]
        assert (row.equal, row.low, row.high) == (True, 0, 1)


# ---------------------------------------------------------------- copies


def test_a_push_of_what_was_only_listed_is_no_duplicate(tmp_path: Path) -> None:
    guest = webchat()
    guest.copy("a", 4, "resync", true=["messages.delivered"])
    guest.copy("a", 4)
    guest.copy("a", 4, true=["duplicated.same_connection"])
    guest.copy("a", 4, "resync")
    assert unequal(table(tmp_path, leave(guest, (1, 2, 3)))) == set()


def test_copies_count_as_often_as_they_come(tmp_path: Path) -> None:
    guest = webchat()
    for _ in range(2):
        guest.copy("a", 2, true=["duplicated.same_connection"])
    assert table(tmp_path, leave(guest, (1, 2, 3)))["duplicated.same_connection"] == TruthRow(
        "duplicated.same_connection", 2, 2, 2, 2, True, []
    )
    drop(guest, "duplicated.same_connection")
    row = table(tmp_path, guest)["duplicated.same_connection"]
    assert (row.expected, row.measured, row.equal) == (1, 2, False)


def test_a_second_stored_copy_has_its_own_pushes(tmp_path: Path) -> None:
    guest = webchat()
    guest.copy("g", 2, mid="again", true=["duplicated.resend"])
    guest.copy("g", 2, mid="again", true=["duplicated.same_connection"])
    guest.copy("g", 2, mid="again", epoch=2, true=["duplicated.cross_connection"])
    guest.copy("g", 2, mid="third", channel="resync", true=["duplicated.resend"])
    assert unequal(table(tmp_path, leave(guest, (1, 2, 3)))) == set()


# ---------------------------------------------------------------- the file


def test_an_absent_or_unsealed_truth_is_not_compared(tmp_path: Path) -> None:
    guest = leave(webchat(), (1, 2, 3))
    truth = load_truth(tmp_path / "nothing.jsonl")
    assert truth.state == "absent"
    rows = join(measured(guest), truth)
    assert {row.equal for row in rows} == {None}
    assert {row.expected for row in rows} == {None}
    assert rows[0].measured == 3
    unsealed = table(tmp_path, guest, sealed=False)
    assert {row.equal for row in unsealed.values()} == {None}


@pytest.mark.parametrize(
    ("spoil", "state"),
    [
        (lambda raw: raw[:-9], "unsealed"),
        (lambda raw: raw.replace(b"messages.sent", b"messages.seen", 1), "broken"),
        (lambda raw: raw[raw.index(b"\n") + 1 :], "broken"),
        (lambda raw: raw + b'{"t":1,"row":"cut","id":"x"}\n', "broken"),
        (lambda raw: b"\xff\x00 nothing\n" + raw, "broken"),
        (lambda raw: b"[1]\n" + raw, "broken"),
        (lambda raw: b"", "unsealed"),
    ],
)
def test_a_spoilt_truth_is_not_compared(tmp_path: Path, spoil: Callable[[bytes], bytes], state: str) -> None:
    guest = leave(webchat(), (1, 2, 3))
    path = tmp_path / "truth.jsonl"
    write_truth(path, guest.truth)
    path.write_bytes(spoil(path.read_bytes()))
    truth = load_truth(path)
    assert truth.state == state
    assert truth.detail
    assert {row.equal for row in join(measured(guest), truth)} == {None}


def test_at_most_twenty_ids_are_listed_the_unequal_ones_first(tmp_path: Path) -> None:
    guest = webchat()
    for seq in range(4, 40):
        guest.say(seq, "info", "end", stored=False)
    guest.true("messages.sent", f"{RUN}.9-9.g.1")
    row = table(tmp_path, leave(guest, (1, 2, 3)))["messages.sent"]
    assert not row.equal
    assert len(row.ids) == 20
    assert row.ids[0] == f"{RUN}.9-9.g.1"
