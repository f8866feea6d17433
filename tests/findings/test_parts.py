"""The small parts, and look-alikes that are easier written by hand than made to happen."""

from __future__ import annotations

from itertools import count
from random import Random

import pytest

from harness.core import ops
from harness.findings import Board
from harness.findings import bins as bins_module
from harness.findings.bins import Bins
from harness.findings.detector import Tally
from harness.findings.registry import detectors, watchers
from harness.findings.timeline import words
from tests.findings.bench import found_in, ids

S = 10**9
WALL = 1_700_000_000 * S
_GIVEN = count(1)


def sample(
    at: float, label: str, measure: str, outcome: str = "ok", cause: str = "", *, took: float = 0.01, endpoint: str = ""
) -> ops.Sample:
    end = round(at * S)
    start = end - round(took * S)
    return ops.Sample(end, label, measure, outcome, cause, start, start, end, 0, f"r{next(_GIVEN)}", endpoint)


def socket(
    at: float, label: str, opened: float, begun: str = "server", code: int = 0, cause: str = "connection_reset"
) -> ops.Connection:
    return ops.Connection(
        round(at * S), label, 1, "127.0.0.1:1", round(opened * S), round(opened * S) + 1, round(at * S), begun, code, cause
    )


def test_bins_give_the_same_in_any_order_even_when_they_grow_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bins_module, "MAX_BINS", 16)
    events = [(Random(n).randrange(10**6), f"{n}-1") for n in range(300)]
    results = []
    for seed in range(4):
        Random(seed).shuffle(events)
        bins = Bins(10)
        for at, label in events:
            bins.add(at, label)
        results.append((bins.width_ns, bins.waves(2, least=1, share=0.0, around_ns=bins.width_ns)))
    assert all(result == results[0] for result in results)
    assert results[0][0] > 10


def test_a_wave_is_what_stands_out_from_what_is_around_it() -> None:
    bins = Bins(100)
    for n in range(10):
        bins.add(1000 + n, f"{n}-1")
    assert [wave.number for wave in bins.waves(3, least=8, share=0.8, around_ns=1000)] == [10]
    for n in range(10):
        bins.add(1500 + 7 * n, f"{n}-2")
    assert bins.waves(3, least=8, share=0.8, around_ns=1000) == []


def test_a_spike_is_what_stands_out_from_others_that_are_spread() -> None:
    spread = Bins(10)
    for n in range(100):
        spread.add(1000 + n * 5, f"{n}-1")
    assert spread.spikes(4, least=8, sigmas=4.0, around_ns=400) == []
    for n in range(30):
        spread.add(1200 + n, f"{n}-2")
    (spike,) = spread.spikes(4, least=8, sigmas=4.0, around_ns=400)
    assert spike.number == 38
    assert spike.first[0] in range(1190, 1211)
    few = Bins(10)
    for n in range(7):
        few.add(1000, f"{n}-1")
    assert few.spikes(4, least=8, sigmas=4.0, around_ns=400) == []


def test_a_tally_keeps_the_first_whatever_the_order() -> None:
    one, other = Tally(), Tally()
    for at, label in ((5, "2-1"), (5, "1-1"), (9, "1-2")):
        one.hit(at, label)
    for at, label in ((9, "1-2"), (5, "1-1"), (5, "2-1")):
        other.hit(at, label)
    assert (one.first, one.count, one.guests) == (other.first, other.count, other.guests) == ((5, "1-1"), 3, {"1", "2"})


def test_ids_are_unique_and_everything_is_said() -> None:
    known = detectors()
    assert len({one.id for one in known}) == len(known)
    for one in known:
        assert one.id == one.id.lower().replace("_", "-")
        for text in (one.title, one.cause, one.advice, one.source):
            assert text
        assert not one.title.endswith(".")


def test_nobody_asks_for_the_name_of_the_fault() -> None:
    assert all("misbehaves" not in one.notes for one in watchers())
    assert words(ops.Noted(1, "1-1", "misbehaves", "no_jitter")) == ""


def test_what_belongs_to_a_guest_is_forgotten_with_it() -> None:
    board = Board()
    rows: list[ops.Row] = []
    for slot in range(1, 50):
        label = f"{slot}-1"
        rows += [
            sample(1, label, "token", endpoint="POST /oauth/token"),
            sample(1.1, label, "connect", endpoint="GET /webchat"),
            sample(1.2, label, "queue"),
            sample(1.3, label, "poll.hold", endpoint="GET /events"),
            sample(1.4, label, "upload", "fail", "server_error", endpoint="POST /upload"),
            ops.Invoked(2 * S, label, 1, 1, 2 * S, 10),
            ops.Refused(2 * S, label, "POST /messages", "r", S),
            ops.Arrived(3 * S, label, "a", 1, 1, "push", 1, "m", 0, "127.0.0.1:1"),
            ops.Noted(3 * S, label, "zombie"),
            socket(4, label, 1.1),
            ops.State(5 * S, label, "leaving", "finished"),
        ]
    for row in rows:
        board.take(row)
    for one in board._watchers:
        for name, kept in vars(one).items():
            if isinstance(kept, dict) and name not in ("by_endpoint",):
                assert not kept, f"{type(one).__name__}.{name} keeps {len(kept)}"


# ---------------------------------------------------------------- look-alikes


def deaf(idle: float, dead: float) -> list[ops.Row]:
    """A guest who was silent for a while, spoke, and heard nothing until the socket was reset."""
    return [
        sample(1, "1-1", "connect", endpoint="GET /webchat"),
        sample(1.1, "1-1", "auth", endpoint="WS /webchat"),
        sample(2, "1-1", "echo"),
        ops.Invoked(round((2 + idle) * S), "1-1", 2, 1, 0, 10),
        socket(2 + idle + dead, "1-1", 1),
        ops.Ended(round((3 + idle + dead) * S), "1-1", "c", True, ""),
    ]


@pytest.mark.parametrize(
    ("idle", "dead", "expected"),
    [(75, 40, "idle-connection-cut"), (20, 40, "zombie-connection"), (20, 0.5, ""), (75, 0.5, "")],
)
def test_zombie_idle_cut_and_plain_reset(idle: float, dead: float, expected: str) -> None:
    assert ids(found_in(deaf(idle, dead))) == ({expected} if expected else set())


def test_a_reset_while_an_agent_takes_his_time_is_no_zombie_where_nothing_is_confirmed() -> None:
    rows = [row for row in deaf(20, 40) if not (isinstance(row, ops.Sample) and row.measure in ("echo", "auth"))]
    rows.insert(1, ops.Arrived(2 * S, "1-1", "a", 1, 0, "push", 1, "", 0, "127.0.0.1:1"))
    assert ids(found_in(rows)) == set()


def lives(ages: list[float], instants: list[float]) -> list[ops.Row]:
    """Tokens of these ages, refused at these instants."""
    rows: list[ops.Row] = []
    for slot, (age, at) in enumerate(zip(ages, instants, strict=True), 1):
        label = f"{slot}-1"
        rows += [
            sample(at - age, label, "token", endpoint="POST /oauth/token", took=0),
            sample(at - age + 0.1, label, "guest", endpoint="POST /guest"),
            sample(at, label, "ack", "fail", "unauthorised", endpoint="POST /messages"),
        ]
    return rows


@pytest.mark.parametrize(
    ("ages", "instants", "expected", "sure"),
    [
        ([300, 301, 302], [400, 500, 600], {"token-expired-in-session", "refresh-not-proactive"}, True),
        ([20, 200, 300], [400, 500, 600], {"token-revoked-early"}, True),
        ([300, 310, 320], [400, 400.5, 401], {"token-revoked-early"}, True),
        ([300, 301, 302], [400, 401, 402], {"token-expired-in-session", "refresh-not-proactive"}, False),
        ([300], [400], {"token-expired-in-session", "refresh-not-proactive"}, False),
    ],
)
def test_expiry_and_revocation(ages: list[float], instants: list[float], expected: set[str], sure: bool) -> None:
    found = found_in(lives(ages, instants))
    assert ids(found) == expected
    assert all((one.certainty == "") is sure for one in found)


def test_one_long_wait_is_a_stall_where_nobody_is_served_and_an_overflow_where_others_wait_long() -> None:
    stalled: list[ops.Row] = [
        sample(200, "1-1", "queue", "fail", "queue_timeout", took=130),
        ops.Ended(201 * S, "1-1", "c", True, ""),
    ]
    for served, expected in ((5.0, "queue-stall-nobody-on-shift"), (70.0, "queue-overflow")):
        other: list[ops.Row] = [sample(150, "2-1", "queue", took=served), ops.Ended(201 * S, "2-1", "c", True, "")]
        assert ids(found_in([*stalled, *other])) == {expected}


def test_one_refused_typing_frame_for_each_message_is_no_flood() -> None:
    def refused(each: int) -> list[ops.Row]:
        rows: list[ops.Row] = []
        for n in range(1, 6):
            rows.append(ops.Invoked(10 * n * S, "1-1", n, 1, 10 * n * S, 10))
            rows += [ops.Refused((10 * n + 1) * S, "1-1", "WS /x", f"a#{n}", 0) for _ in range(each)]
        return rows

    assert ids(found_in(refused(1))) == {"rate-limited"}
    found = {one.id: one for one in found_in(refused(3))}
    assert set(found) == {"rate-limited", "typing-flood"}
    assert found["typing-flood"].count == 15


def test_a_conflict_after_an_agent_came_is_no_routing_loop() -> None:
    loop = [
        sample(1, "1-1", "guest", endpoint="POST /guest"),
        sample(9, "1-1", "poll.hold", "fail", "conflict", endpoint="GET /events"),
    ]
    assert ids(found_in(loop)) == {"routing-loop"}
    closed = [loop[0], sample(2, "1-1", "queue"), loop[1]]
    assert ids(found_in(closed)) == set()


def stamped(offset: float, way: float = 0.02, *, own: bool = False, start: float = 100, grain: int = 1) -> list[ops.Row]:
    """Twenty of the agent's messages by a clock that is ahead by this; `own`: and as many of the guest's come back."""
    rows: list[ops.Row] = []
    for n in range(20):
        at = round((start + n) * S)
        stamp = (at + round((offset - way) * S)) // grain * grain
        rows += [
            ops.Arrived(at, "1-1", "a", n + 1, 0, "push", 1, f"a{n}", WALL + stamp, "127.0.0.1:1", "x message"),
            sample(start + n, "1-1", "event.lag", took=(at - stamp) / S),
        ]
        if own:
            sent = at - round(2 * way * S)
            rows.append(ops.Arrived(at, "1-1", "g", n + 1, 0, "push", 1, f"g{n}", WALL + stamp, "127.0.0.1:1", "x message", sent))
    return rows


@pytest.mark.parametrize("own", [False, True])
def test_clocks_that_agree_are_none(own: bool) -> None:
    assert ids(found_in(stamped(0, own=own))) == set()
    assert ids(found_in(stamped(0.2, own=own))) == set()
    assert ids(found_in(stamped(0, way=2, own=own))) == set()
    assert ids(found_in(stamped(0, grain=S, own=own))) == set()


def test_a_clock_ahead_is_proven_by_any_stamp_from_the_future() -> None:
    for own in (False, True):
        (ahead,) = found_in(stamped(2, own=own))
        assert (ahead.id, ahead.certainty) == ("server-clock-skew", "")
        assert ahead.evidence["ahead_at_least_ms"] == 1980
    assert ids(found_in(stamped(0.5, way=0.4))) == set()  # 100 ms of it can be told from the way


def test_a_clock_behind_is_proven_by_what_the_guest_wrote_itself_and_else_only_suspected() -> None:
    (sure,) = found_in(stamped(-0.6, own=True))
    assert (sure.id, sure.certainty, sure.evidence["behind_at_least_ms"]) == ("server-clock-skew", "", 579)  # stamped in ms
    assert ids(found_in(stamped(-0.6))) == set()
    (behind,) = found_in(stamped(-5))
    assert "look alike" in behind.certainty
    assert "server-clock-skew" not in ids(found_in([*stamped(-5), *stamped(0, start=200)]))
    assert ids(found_in(stamped(0, way=5, own=True))) == set()  # all are slow, and the clock is proven right
    assert ids(found_in(stamped(-2, grain=S, own=True))) == {"server-clock-skew"}


def test_an_answers_date_is_worth_its_whole_second() -> None:
    def dates(offset: float) -> list[ops.Row]:
        rows = stamped(0)
        for n in range(20):
            at = round((100 + n * 1.037) * S)
            stamp = (WALL + at + round(offset * S)) // S * S
            rows.append(ops.Clocked(at, "1-1", "Date of x", at - S // 100, stamp, S))
        return rows

    assert ids(found_in(dates(0))) == set()
    assert ids(found_in(dates(-2))) == ids(found_in(dates(2))) == {"server-clock-skew"}


def test_a_clock_that_drifts_as_clocks_do_is_none_however_long_the_run() -> None:
    rows: list[ops.Row] = []
    for hour in range(12):
        rows += stamped(hour * 3600 * 40e-6, own=True, start=100 + hour * 3600)
    assert "server-clock-skew" not in ids(found_in(rows))


def test_tabs_are_no_duplicates_but_a_copy_after_a_reconnect_is_one() -> None:
    def copy(at: float, epoch: int) -> ops.Arrived:
        return ops.Arrived(round(at * S), "1-1", "a", 1, 1, "push", epoch, "m1", 0, "127.0.0.1:1")

    assert ids(found_in([copy(1, 1), copy(1.1, 2)])) == set()
    assert ids(found_in([copy(1, 1), socket(1.05, "1-1", 0.5), copy(1.1, 2)])) == {"duplicates-by-server"}
    assert ids(found_in([copy(1, 1), copy(9, 2)])) == {"duplicates-by-server"}
    assert ids(found_in([copy(1, 1), copy(1.1, 1)])) == {"duplicates-by-server"}


def test_a_limit_that_refuses_at_the_first_is_a_common_one() -> None:
    def refused(label: str, before: int) -> list[ops.Row]:
        rows: list[ops.Row] = [sample(n, label, "ack", endpoint="POST /messages") for n in range(1, before + 1)]
        return [*rows, ops.Refused(50 * S, label, "POST /messages", "r", S)]

    (common,) = found_in([row for slot in range(1, 4) for row in refused(f"{slot}-1", 0)])
    assert "the limit is common" in common.certainty
    (own,) = found_in([row for slot in range(1, 4) for row in refused(f"{slot}-1", 5)])
    assert "look alike" in own.certainty
