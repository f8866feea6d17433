"""Order, duplication and loss of a run: against the simulator's truth, against the definitions, and in any order of the rows."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest

from harness.conformance.runner import Outcome, Plan, run
from harness.conformance.scenarios import every_fault
from harness.core import ops
from harness.core.pacing import Behaviour
from harness.core.spread import around, fixed
from harness.journal.reader import read_records
from harness.journal.records import Interval
from harness.journal.writer import JournalWriter
from harness.metrics.ordering import Params
from harness.metrics.recorder import Recorder
from harness.report.build import build_report
from harness.report.fold import fold
from harness.report.identities import CROSS, LOST_AGENT, LOST_INGEST, REORDERED, RESEND, SAME, Identities
from harness.report.order import Orders
from harness.report.order_figures import order_views
from harness.report.order_pools import OrderFound
from harness.report.summary import read_summary
from tests.report.history import RUN, leave, webchat, write_run
from tests.report.order_reference import reference

S = 1_000_000_000
DIALECTS = ("webchat", "longpoll", "webmessaging", "engagements", "guests", "messaging")
RUSHED = Behaviour(pacing="schedule", period=fixed(1.0), session_length=around(90.0, 0.3))
"""Several messages under way at once: own messages can be reordered."""


@cache
def played(dialect: str, seed: int, rushed: bool = False) -> tuple[Outcome, Identities, tuple[ops.Row, ...]]:
    plan = Plan(
        dialects=(dialect,) if dialect else (),
        seed=seed,
        seconds=400,
        guests=18 if dialect else 30,
        simulator=every_fault(2.0),
        behaviour=RUSHED if rushed else Behaviour(),
    )
    with TemporaryDirectory() as folder:
        outcome = run(plan, Path(folder))
        identities = fold([outcome.journal], run="soak", by_id=True).identities
        assert identities is not None
        return outcome, identities, tuple(row for row in read_records([outcome.journal]) if not isinstance(row, Interval))


def folded(rows: Any, wait_s: float = 60) -> OrderFound:
    orders = Orders(Params(round(wait_s * S)))
    for row in rows:
        orders.take(row)
    return orders.finish()


def views(rows: Any, wait_s: float = 60) -> Any:
    return order_views(folded(rows, wait_s), Params(round(wait_s * S)))


PLAYED = [*((name, seed, rushed) for name in DIALECTS for seed, rushed in ((1, False), (2, True))), ("", 3, False)]


@pytest.mark.parametrize(("dialect", "seed", "rushed"), PLAYED)
def test_with_every_fault_it_says_what_the_truth_says(dialect: str, seed: int, rushed: bool) -> None:
    outcome, identities, rows = played(dialect, seed, rushed)
    assert outcome.unequal() == set()
    truth = {row.name: row for row in outcome.rows}
    for wait_s in (60, 3600):
        e2e, _, ingest, _ = views(rows, wait_s)
        both = [one for one in e2e.values() if one.order is not None]
        found = {
            REORDERED: sum(one.order.reordered for one in both),
            SAME: sum(one.duplication.same_connection for one in both),
            CROSS: sum(one.duplication.cross_connection for one in both),
            RESEND: sum(one.duplication.stored_twice for one in both),
        }
        late = sum(one.duplication.late_first for one in both)
        for name, number in found.items():
            low, high = truth[name].low, truth[name].high
            assert low is not None
            assert high is not None
            assert low - late <= number <= high + late, name
            if not late:
                assert number == identities.rows[name].definite.total(), name
        agent, stored = e2e["a"].loss, ingest["g"].loss
        for name, loss in ((LOST_AGENT, agent), (LOST_INGEST, stored)):
            row, pair = truth[name], identities.rows[name]
            assert (loss.definite, loss.possible) == (pair.definite.total(), pair.possible.total()), name
            assert row.expected is not None
            open_ids = (row.high or 0) - (row.low or 0)
            assert loss.definite - open_ids <= row.expected <= loss.possible + open_ids, name


@pytest.mark.parametrize("wait_s", [60, 8])
@pytest.mark.parametrize(("dialect", "seed", "rushed"), PLAYED)
def test_it_equals_the_definitions(dialect: str, seed: int, rushed: bool, wait_s: int) -> None:
    *_, rows = played(dialect, seed, rushed)
    expected = reference(rows, wait_s * S)
    found = folded(rows, wait_s).pooled()
    assert not folded(rows, 3600).strange
    for direction, heard in (("g", found.guest), ("a", found.agent)):
        if heard.e2e.streams:
            assert heard.e2e.classes == expected["views"]["e2e", direction].classes
        fates, losses = heard.e2e.fates, expected["losses"][direction]
        assert (fates.lost, fates.push_missed, fates.recovered, fates.ok, fates.left_out, fates.sent) == tuple(
            losses[name] for name in ("lost", "push_missed", "recovered", "ok", "left_out", "sent")
        )
        for question, order in (("e2e", heard.e2e.order), ("delivery", heard.by_listing), ("ingest", heard.ingest)):
            by_definition, places = expected["views"][question, direction], order.places
            assert order.streams == by_definition.streams, question
            counts = {
                "L": places.length,
                "x": places.reordered,
                "a": places.length - places.reordered,
                "q": places.squares,
                "free_run_open": places.open_run,
                "RD_N": sum(places.displacements.values()),
                "RBD_N": sum(places.held.values()),
            }
            assert {name: n for name, n in counts.items() if n} == {name: n for name, n in by_definition.counts.items() if n}
            assert {str(k): n for k, n in places.displacements.items()} == by_definition.fd
            assert {str(k): n for k, n in places.held.items()} == by_definition.fb
            assert {str(k): n for k, n in places.steps.items()} == {k: n for k, n in by_definition.degree.items() if n}
            spreads = order.spreads()
            for name, values in by_definition.values.items():
                if question == "ingest" and name in ("late_ms", "gap_times_ms"):
                    continue
                if name == "byte_offset" and (question == "ingest" or direction == "a"):
                    continue
                if question != "e2e" and name.startswith(("loss_", "inter_")):
                    continue
                histogram = spreads.get(name)
                assert (histogram.count if histogram is not None else 0) == len(values), (question, direction, name)
                if histogram is not None and values:
                    unit = 1000 if name in ("late_ms", "gap_times_ms") else 1
                    assert (histogram.low, histogram.high) == (min(values) // unit, max(values) // unit), (question, name)


def test_any_order_of_guests_and_any_split_gives_the_same_bytes() -> None:
    *_, rows = played("", 3)
    guests: dict[str, list[ops.Row]] = {}
    for row in rows:
        guests.setdefault(row.label.partition("-")[0], []).append(row)
    expected = msgspec.json.encode(views(rows), order="sorted")
    for seed in range(5):
        rng = random.Random(seed)
        order = list(guests.values())
        rng.shuffle(order)
        assert msgspec.json.encode(views([row for guest in order for row in guest]), order="sorted") == expected
        merged = OrderFound()
        parts = [order[: len(order) // 3], order[len(order) // 3 :]]
        for part in parts:
            merged.merge(folded([row for guest in part for row in guest]))
        assert msgspec.json.encode(order_views(merged, Params(60 * S)), order="sorted") == expected


def test_what_is_over_is_freed() -> None:
    *_, rows = played("webchat", 1)
    orders, most = Orders(Params(2 * S)), 0
    for row in rows:
        orders.take(row)
        most = max(most, orders.kept)
    slots = {row.label.partition("-")[0] for row in rows}
    assert most <= 3 * len(slots)
    assert orders.finish().conversations > most
    assert orders.kept == 0


# ---------------------------------------------------------------- by hand
class Hand:
    """Rows of one conversation, a second apart unless told otherwise."""

    def __init__(self, label: str = "1-1") -> None:
        self.label, self.rows, self.at = label, [], S
        self.rows.append(ops.State(1, label, "", "arriving"))

    def say(self, seq: int, at_s: float, outcome: str = "ok", known_s: float = 0) -> None:
        at = round(at_s * S)
        self.rows.append(ops.Invoked(at, self.label, seq, 1, at, 50))
        known = round(known_s * S) or at + S // 10
        self.rows.append(ops.Closed(known, self.label, seq, outcome, "", at, at, 1, "echo"))

    def copy(self, direction: str, seq: int, at_s: float, channel: str = "push", **more: Any) -> None:
        stamp, via, epoch = more.get("stamp", 0), more.get("via", "h:1" if channel == "push" else "r1"), more.get("epoch", 1)
        mid = more.get("mid", f"{direction}{seq}")
        self.rows.append(ops.Arrived(round(at_s * S), self.label, direction, seq, 0, channel, epoch, mid, stamp, via))

    def end(self, at_s: float, complete: bool = True, listing: bool = True) -> list[ops.Row]:
        self.rows.append(ops.Ended(round(at_s * S), self.label, "c", complete, "", listing, "webchat"))
        return self.rows


def test_a_message_that_overtook_an_unanswered_one_is_no_fault() -> None:
    hand = Hand()
    hand.say(1, 1, known_s=9)
    hand.say(2, 2)
    hand.copy("g", 2, 3)
    hand.copy("g", 1, 9)
    hand.say(3, 10, known_s=11)
    hand.say(4, 12)
    hand.copy("g", 4, 13)
    hand.copy("g", 3, 14)
    order = views(hand.end(30))[0]["g"].order
    assert (order.reordered, order.concurrent) == (2, 1)
    assert (order.late_ms.min, order.late_ms.max) == (1000, 6000)


def test_lost_late_and_left_out_are_told_apart() -> None:
    hand = Hand()
    for seq, at in ((1, 1), (2, 2), (3, 3), (4, 4), (5, 95), (6, 96)):
        hand.say(seq, at, "info" if seq == 4 else "ok")
    hand.copy("g", 1, 2)
    hand.copy("g", 2, 30)
    hand.copy("g", 5, 96)
    rows = hand.end(100, complete=False)
    loss = views(rows, 10)[0]["g"].loss
    assert (loss.sent, loss.definite, loss.possible, loss.late, loss.left_out) == (4, 2, 4, 1, 2)
    assert (loss.lost_at_half_dt, loss.lost_at_double_dt, loss.loss_threshold_unstable) == (2, 2, False)
    loss = views(rows, 20)[0]["g"].loss
    assert (loss.lost_at_half_dt, loss.definite, loss.lost_at_double_dt, loss.loss_threshold_unstable) == (2, 2, 1, True)
    whole = views([*hand.rows[:-1], ops.Ended(100 * S, "1-1", "c", True, "", True, "webchat")], 10)[0]["g"].loss
    assert (whole.sent, whole.left_out) == (6, 0)


@pytest.mark.parametrize("newest_first", [False, True])
def test_the_servers_order_is_that_of_the_last_listing_whichever_way_it_runs(newest_first: bool) -> None:
    hand = Hand()
    stamps = {seq: 10**18 + at * S for seq, at in ((1, 1), (3, 2), (2, 3), (4, 4), (5, 5))}
    for seq in range(1, 6):
        hand.say(seq, seq)
    for seq in (1, 2, 3, 4, 5):
        hand.copy("g", seq, seq + 5.5)
    step = -1 if newest_first else 1
    for seq in (3, 2, 4)[::step]:  # a look in between
        hand.copy("g", seq, 20, "resync", stamp=stamps[seq], via="r1")
    for page, seqs in enumerate(((1, 3, 2), (2, 4, 5)) if not newest_first else ((5, 4), (4, 2, 3, 1))):
        for seq in seqs:
            hand.copy("g", seq, 21, "resync", stamp=stamps[seq], via=f"r{page + 2}")
    _, delivery, ingest, _ = views(hand.end(30))
    assert (ingest["g"].order.reordered, ingest["g"].order.length) == (1, 5)
    assert delivery["g"].by_listing.reordered == 1
    assert delivery["g"].by_stamps is None
    assert ingest["g"].order.late_ms is None


def test_without_a_listing_stamps_tell_the_order_and_nothing_else() -> None:
    hand = Hand()
    for place, (seq, stamp) in enumerate(((1, 10), (3, 20), (2, 20), (5, 40), (4, 30))):
        hand.copy("a", seq, 2 + place, stamp=10**18 + stamp * S)
    e2e, delivery, ingest, _ = views(hand.end(30, complete=False, listing=False))
    assert (e2e["a"].order.reordered, delivery["a"].by_stamps.reordered) == (2, 1)
    told = delivery["a"].by_stamps
    assert (told.rd, told.rbd, told.sequence_discontinuities, told.discontinuity_sizes) == (None, None, None, None)
    assert ingest["a"].order is None
    assert sum(ingest["a"].untold.values()) == 1


def test_where_nothing_comes_back_nothing_is_said_of_it() -> None:
    hand = Hand()
    hand.say(1, 1)
    hand.copy("a", 1, 2)
    e2e, delivery, _, _ = views(hand.end(30, complete=False, listing=False))
    assert e2e["g"].order is None
    assert e2e["g"].loss is None
    assert list(e2e["g"].untold.values()) == [1]
    assert "stamp" in next(iter(delivery["a"].untold))


def test_a_marker_that_no_guest_wrote_opens_no_conversation() -> None:
    hand = Hand("1-1")
    hand.copy("a", 1, 2)
    hand.rows.append(ops.Arrived(3 * S, "77-3", "a", 5000, 0, "push", 1, "x", 0, "h:1"))
    hand.copy("a", 900_000_000, 4)
    found = folded(hand.end(30))
    assert (found.strange, found.conversations) == (1, 1)
    assert found.pooled().agent.e2e.classes == {"first_push": 1, "unexpected": 1}
    assert found.pooled().agent.e2e.fates.lost == 0


def test_the_summary_holds_it_all() -> None:
    e2e, _, _, _ = views(played("", 3)[2])
    told = json.loads(msgspec.json.encode(e2e["a"]))
    assert {"L", "FD", "RD", "RBD", "extent", "late_ms", "n_reordering_degree", "free_runs"} <= told["order"].keys()
    assert {"loss_ratio_e2e", "loss_ratio_push", "lost_at_half_dT", "noticeable_rate"} <= told["loss"].keys()


# ---------------------------------------------------------------- in the report
def test_a_summary_without_every_row_has_no_figures_and_says_so(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [])
    (folder / "journal-0.bin").unlink()
    writer = JournalWriter(folder / "journal-0.bin", RUN, "w0")
    recorder = Recorder(RUN, "w0", writer.write, rows="anomalies")
    for row in leave(webchat(), (1, 2, 3)).rows:
        recorder.record(row)
    recorder.close_interval(9 * S, final=True)
    writer.close()
    build_report(folder)
    order = read_summary((folder / "summary.json").read_bytes()).order
    assert order is not None
    assert (order.state, order.e2e, order.delivery, order.ingest, order.by_dialect) == ("none", {}, {}, {}, {})
    for name in ("report.html", "report.md"):
        assert "are not available: not every row was kept" in (folder / name).read_text()


def test_a_spoilt_journal_makes_the_figures_partial(tmp_path: Path) -> None:
    folder = write_run(tmp_path, [leave(webchat(slot, 200), range(1, 201)) for slot in range(1, 9)], split=True)
    path = folder / "journal-3.bin"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    path.write_bytes(raw)
    model = build_report(folder)
    assert model.order is not None
    assert model.order.state == "partial"
    assert "Partial, the journal is not whole" in (folder / "report.html").read_text()


def test_the_page_draws_only_where_something_was_reordered(tmp_path: Path) -> None:
    calm = write_run(tmp_path / "calm", [leave(webchat(slot, 30), range(1, 31), range(1, 31)) for slot in range(1, 4)])
    build_report(calm)
    page = (calm / "report.html").read_text()
    assert "came in the order in which they were sent" in page
    assert "What came in its place is not drawn" not in page
    rough = webchat(1, 30)
    for seq in (33, 32, 31):
        rough.copy("a", seq)
    build_report(write_run(tmp_path / "rough", [leave(rough, range(1, 31), range(1, 34))]))
    page = (tmp_path / "rough" / "report.html").read_text()
    assert "came out of order, at most 2 places and 20.0" in page
    assert "What came in its place is not drawn" in page
    assert "RFC 4737 §4.2" in page
    order = read_summary((tmp_path / "rough" / "summary.json").read_bytes()).order
    assert order is not None
    assert order.e2e["a"].order is not None
    assert order.e2e["a"].order.reordered == 2
    stated = order.statement
    assert (stated.dt_ms, stated.dt, stated.bt, stated.n_max, stated.delta) == (5000, 64, 64, 3, 5)
    assert (stated.transport, stated.sent, stated.conversations) == (["WebSocket"], 30, 1)
