"""Short-lived and single-use tokens."""

from __future__ import annotations

from random import Random

from harness.simulator.tickets import EXPIRED, GOOD, UNKNOWN, USED, Tickets
from tests.simulator.engine_kit import SECOND


def test_a_token_is_good_used_old_and_at_last_forgotten() -> None:
    store = Tickets(Random(1), prefix="tkt_", remember=60 * SECOND)
    once = store.issue(0, 10 * SECOND, {"conv": "c1"}, single_use=True)
    many = store.issue(0, 10 * SECOND)
    assert once.startswith("tkt_")
    assert once != many
    assert store.state(0, "nobody's") == UNKNOWN
    assert store.use(0, "nobody's") is None
    assert (store.state(0, once), store.state(0, many)) == (GOOD, GOOD)
    ticket = store.use(SECOND, once)
    assert ticket is not None
    assert ticket.data == {"conv": "c1"}
    assert store.use(SECOND, once) is None
    assert store.use(SECOND, many) is not None
    assert store.use(10 * SECOND - 1, many) is not None
    assert (store.state(2 * SECOND, once), store.state(10 * SECOND, once)) == (USED, USED)
    assert store.state(10 * SECOND, many) == EXPIRED
    assert store.use(10 * SECOND, many) is None
    assert store.state(70 * SECOND - 1, many) == EXPIRED
    assert store.look(70 * SECOND, many) is None
    assert len(store) == 0


def test_a_token_is_renewed_or_taken_back() -> None:
    store = Tickets(Random(1))
    one, two = store.issue(0, SECOND, token="mine"), store.issue(0, SECOND)
    assert one == "mine"
    store.renew(0, one, 5 * SECOND)
    assert (store.state(2 * SECOND, one), store.state(2 * SECOND, two)) == (GOOD, UNKNOWN)
    assert [known.token for known in store.alive(2 * SECOND)] == ["mine"]
    ticket = store.look(2 * SECOND, one)
    assert ticket is not None
    ticket.revoked = True
    store.renew(2 * SECOND, one, 100 * SECOND)
    store.renew(2 * SECOND, two, 100 * SECOND)
    assert store.state(2 * SECOND, one) == EXPIRED
    assert store.state(5 * SECOND, one) == UNKNOWN


def test_memory_is_bounded() -> None:
    store = Tickets(Random(1), kept=100)
    tokens = [store.issue(0, (10 + place) * SECOND) for place in range(1000)]
    assert len(store) == 100
    assert store.state(0, tokens[-1]) == GOOD
    assert store.state(0, tokens[0]) == UNKNOWN
    ticket = store.look(0, tokens[-1])
    assert ticket is not None
    for place in range(5000):
        store.renew(place, tokens[-1], 2000 * SECOND)
        store.issue(place, 1500 * SECOND, token="again")
    assert len(store._ends) == len(store) == 100
    assert store.look(5000, tokens[-1]) is ticket


def test_the_same_seed_makes_the_same_tokens() -> None:
    one, two = Tickets(Random(7)), Tickets(Random(7))
    assert one.issue(0, SECOND) == two.issue(5, SECOND)
