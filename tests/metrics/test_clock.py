"""The server's clock: what is claimed as certain contains the truth, merging is exact, estimates are as good as can be."""

from __future__ import annotations

from random import Random
from statistics import median, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.journal.records import ClockSpan
from harness.metrics.clock import (
    CELL_NS,
    DRIFT,
    ONE_SIDED,
    SECOND,
    UNKNOWN,
    UNRESOLVABLE,
    WINDOW_NS,
    ClockBook,
    Offset,
    Tally,
    cells_of,
    grain_of,
    merge,
    offset_of,
    quickest_of,
    starts_of,
)

MS = 1_000_000
WALL = 1_700_000_000 * SECOND


def span_of(answers: list[tuple[int, int, int]], grain: int = 0) -> ClockSpan:
    tally = Tally()
    for answer in answers:
        tally.take(*answer, grain)
    found = tally.close()
    assert found is not None
    return found


# ------------------------------------------------------------ the definition
def test_one_answer_bounds_the_offset_by_its_round_trip_and_the_grain() -> None:
    span = span_of([(1000 * MS, WALL + 5 * MS, 1040 * MS)])
    assert offset_of(span) == quickest_of(span) == (WALL - 1035 * MS, WALL - 995 * MS + SECOND // 1000)
    assert offset_of(span).middle_ns == WALL - 1015 * MS + MS // 2
    assert offset_of(span).half_ns == 20 * MS + MS // 2
    assert span.grain_ns == MS


def test_an_answer_whose_asking_is_not_known_bounds_one_side() -> None:
    offset = offset_of(span_of([(0, WALL, 40 * MS)]))
    assert (offset.state, offset.low_ns, offset.high_ns) == (ONE_SIDED, WALL - 40 * MS, None)
    assert offset.middle_ns is offset.half_ns is None


def test_stamps_that_contradict_each_other_resolve_nothing() -> None:
    offset = offset_of(span_of([(100 * MS, WALL, 101 * MS), (200 * MS, WALL + 900 * MS, 201 * MS)]))
    assert offset.state == UNRESOLVABLE
    assert offset.middle_ns is offset.half_ns is None
    assert Offset(None, None).state == UNKNOWN


@pytest.mark.parametrize(("stamp", "grain"), [(WALL, SECOND), (WALL + 7 * MS, MS), (WALL + 7 * MS + 3000, 1000), (WALL + 1, 1)])
def test_the_grain_is_found_out(stamp: int, grain: int) -> None:
    assert grain_of(stamp) == grain
    assert span_of([(1, WALL, 2), (1, stamp, 2)]).grain_ns == grain


# ------------------------------------------------------------ properties
ANSWERS = st.lists(
    st.tuples(
        st.integers(1, 500 * SECOND),  # asked
        st.integers(0, 300 * MS),  # there
        st.integers(0, 300 * MS),  # back
        st.booleans(),  # is the asking known?
    ),
    min_size=1,
    max_size=30,
)


def stamped(answers: list[tuple[int, int, int, bool]], theta: int, grain: int, ppb: int = 0) -> list[tuple[int, int, int]]:
    """Answers of a server whose clock is ahead by theta, and runs away."""
    found = []
    for asked, there, back, known in answers:
        at = asked + there
        stamp = (at + theta + at * ppb // 10**9) // grain * grain
        found.append((asked if known else 0, stamp, at + back))
    return found


@given(ANSWERS, st.integers(-(10**18), 10**18), st.sampled_from([1, 1000, MS, SECOND]))
def test_the_certain_interval_holds_the_truth(answers: list[tuple[int, int, int, bool]], theta: int, grain: int) -> None:
    span = span_of(stamped(answers, theta, grain), grain)
    for offset in (offset_of(span), quickest_of(span)):
        assert offset.low_ns is None or offset.low_ns <= theta
        assert offset.high_ns is None or theta < offset.high_ns
    assert (quickest_of(span).half_ns or 1 << 62) >= (offset_of(span).half_ns or 0)


@given(ANSWERS, ANSWERS, ANSWERS, st.integers(-(10**18), 10**18))
def test_merging_is_exact_in_any_order(
    one: list[tuple[int, int, int, bool]],
    two: list[tuple[int, int, int, bool]],
    three: list[tuple[int, int, int, bool]],
    theta: int,
) -> None:
    a, b, c = (span_of(stamped(part, theta, 1000)) for part in (one, two, three))
    whole = span_of(stamped([*three, *one, *two], theta, 1000))
    assert merge(merge(a, b), c) == merge(a, merge(c, b)) == merge(c, merge(b, a)) == whole


@given(ANSWERS, st.integers(-(10**17), 10**17), st.integers(0, 10**15))
def test_a_shift_of_either_clock_shifts_the_offset_and_nothing_else(
    answers: list[tuple[int, int, int, bool]], ahead: int, later: int
) -> None:
    plain = stamped(answers, WALL, 1)
    span = offset_of(span_of(plain, 1))
    moved = offset_of(span_of([(t1 and t1 + later, s + ahead, t4 + later) for t1, s, t4 in plain], 1))
    shift = ahead - later
    assert moved.low_ns == (None if span.low_ns is None else span.low_ns + shift)
    assert moved.high_ns == (None if span.high_ns is None else span.high_ns + shift)


@given(ANSWERS, st.integers(-50_000, 50_000), st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_book_holds_the_truth_of_a_clock_that_drifts(
    answers: list[tuple[int, int, int, bool]], ppb: int, every_s: int, rng: Random
) -> None:
    """Whatever the intervals are, whoever saw what, and in whichever order it is put together."""
    rows = stamped(answers, WALL, MS, ppb)
    step = every_s * SECOND
    parts = [(answer[2] // step, answer) for answer in rows]
    books = [ClockBook(), ClockBook()]
    rng.shuffle(parts)
    for number, answer in parts:
        rng.choice(books).add(number * step, (number + 1) * step, span_of([answer], MS))
    one, other = ClockBook(), ClockBook()
    for book in books:
        one.merge(book)
    for book in reversed(books):
        other.merge(book)
    offsets = one.offsets()
    assert offsets == other.offsets() == brute(rows, step)
    for (t0, t1), offset in offsets.items():
        for at in (t0, t1):
            truth = WALL + at * ppb // 10**9
            assert offset.low_ns is None or offset.low_ns <= truth + 1
            assert offset.high_ns is None or truth - 1 <= offset.high_ns


def brute(rows: list[tuple[int, int, int]], step: int) -> dict[tuple[int, int], Offset]:
    """By definition: all pairs."""
    intervals = sorted({row[2] // step for row in rows})
    found = {}
    for i in intervals:
        lows, highs = [], []
        for sent, stamp, got in rows:
            j = got // step
            if abs(i - j) * step > WINDOW_NS:
                continue
            age = (abs(i - j) + 1) * step
            lows.append((stamp - got) * DRIFT - age)
            if sent:
                highs.append((stamp - sent) * DRIFT + age)
        high = None if not highs else -(-min(highs) // DRIFT) + MS
        found[i * step, (i + 1) * step] = Offset(max(lows) // DRIFT, high)
    return found


def test_evidence_ages() -> None:
    book = ClockBook()
    book.add(0, SECOND, span_of([(MS, WALL, 2 * MS)]))
    book.add(400 * SECOND, 401 * SECOND, span_of([(0, WALL, 400 * SECOND + MS)]))
    book.add(2000 * SECOND, 2001 * SECOND, span_of([(0, WALL + 1000 * SECOND, 2000 * SECOND + MS)]))
    offsets = list(book.offsets().values())
    assert offsets[1].high_ns == WALL - MS + SECOND + 401 * SECOND // DRIFT  # 20 ms wider
    assert offsets[2].high_ns is None  # too old


def test_nothing_is_carried_over_a_suspension() -> None:
    book = ClockBook()
    slept = 30 * SECOND  # our clock stands still and theirs does not
    for second in range(10):
        ahead = WALL + (slept if second > 5 else 0)
        at = second * SECOND + MS
        book.add(second * SECOND, (second + 1) * SECOND, span_of([(at, ahead + at + MS, at + 2 * MS)], MS))
    assert {offset.state for offset in book.offsets().values()} == {UNRESOLVABLE}
    offsets = book.offsets([(5 * SECOND, 6 * SECOND)])
    states = [offset.state for offset in offsets.values()]
    assert states == ["ok"] * 5 + [UNKNOWN] + ["ok"] * 4
    first, *_, last = [offset.middle_ns for offset in offsets.values()]
    assert first is not None
    assert last is not None
    assert last - first == slept


@given(st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=50), st.integers(0, 10**6))
def test_cells_lie_on_one_grid_whoever_counts(lags: list[int], more: int) -> None:
    low = max(-lag for lag in lags)
    found = {}
    for base in (low, low + more):
        cells = cells_of(lags, base)
        assert min(cells.indexes) >= 0
        found[base] = dict(zip(starts_of(cells, base).tolist(), cells.counts, strict=True))
    assert found[low] == found[low + more]
    assert sorted(found[low]) == sorted({lag // CELL_NS * CELL_NS for lag in lags})


# ------------------------------------------------------------ how good the estimates are (the reference's simulated figures)
def trial(rng: Random, answers: int, forward_ms: float = 20.0) -> tuple[float, float, float, float]:
    """Errors of middle, least-round-trip sample and plain mean, and the half width; ms."""
    rows = []
    for _ in range(answers):
        asked = rng.randrange(1, 500 * SECOND)
        at = asked + round((20 + rng.expovariate(1 / forward_ms)) * MS)
        rows.append((asked, (WALL + at) // MS * MS, at + round((20 + rng.expovariate(1 / 20)) * MS)))
    span = span_of(rows)
    offset, quick = offset_of(span), quickest_of(span)
    assert offset.middle_ns is not None
    assert offset.half_ns is not None
    assert quick.middle_ns is not None
    assert abs(offset.middle_ns - WALL) <= offset.half_ns
    mean = sum(2 * s + MS - t1 - t4 for t1, s, t4 in rows) / 2 / len(rows)
    return (
        abs(offset.middle_ns - WALL) / MS,
        abs(quick.middle_ns - WALL) / MS,
        abs(mean - WALL) / MS,
        offset.half_ns / MS,
    )


def middle_and_tail(values: list[float]) -> tuple[float, float]:
    return median(values), quantiles(values, n=20)[18]


def test_sixty_answers_in_milliseconds() -> None:
    rng = Random(6)
    middles, quicks, means, halves = (list(values) for values in zip(*(trial(rng, 60) for _ in range(1500)), strict=True))
    assert middle_and_tail(middles) == pytest.approx((0.19, 0.56), rel=0.15)
    assert middle_and_tail(quicks) == pytest.approx((0.65, 2.3), rel=0.15)
    assert middle_and_tail(means) == pytest.approx((1.3, 3.6), rel=0.15)
    assert median(halves) == pytest.approx(21, abs=0.5)


def test_a_way_that_is_congested_spoils_the_mean_and_not_the_least_round_trip() -> None:
    rng = Random(7)
    middles, quicks, means, _ = (list(values) for values in zip(*(trial(rng, 60, 200.0) for _ in range(800)), strict=True))
    assert median(quicks) == pytest.approx(1.8, rel=0.3)
    assert median(means) == pytest.approx(92, rel=0.1)
    assert median(middles) < 3


@pytest.mark.parametrize(("answers", "width", "error"), [(60, 93, 8.7), (300, 62, 2.6)])
def test_whole_seconds_of_a_date(answers: int, width: float, error: float) -> None:
    rng = Random(answers)
    widths, errors = [], []
    for _ in range(300):
        rows = []
        for _ in range(answers):
            asked = rng.randrange(1, 500 * SECOND)
            at = asked + round((20 + rng.expovariate(1 / 20)) * MS)
            rows.append((asked, (WALL + at) // SECOND * SECOND, at + round((20 + rng.expovariate(1 / 20)) * MS)))
        offset = offset_of(span_of(rows, SECOND))
        assert offset.low_ns is not None
        assert offset.high_ns is not None
        assert offset.low_ns <= WALL <= offset.high_ns
        assert offset.middle_ns is not None
        widths.append((offset.high_ns - offset.low_ns) / MS)
        errors.append(abs(offset.middle_ns - WALL) / MS)
    assert median(widths) == pytest.approx(width, rel=0.1)
    assert median(errors) == pytest.approx(error, rel=0.3)


def test_a_single_date_is_off_by_a_quarter_of_a_second() -> None:
    rng = Random(1)
    errors = []
    for _ in range(2000):
        asked = rng.randrange(1, 500 * SECOND)
        at = asked + 40 * MS
        middle = offset_of(span_of([(asked, (WALL + at) // SECOND * SECOND, at + 40 * MS)], SECOND)).middle_ns
        assert middle is not None
        errors.append(abs(middle - WALL) / SECOND)
    assert sum(errors) / len(errors) == pytest.approx(0.24, abs=0.02)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(7, 12)), min_size=1))
def test_the_quickest_answer_of_several_equally_quick_ones_is_always_the_same(answers: list[tuple[int, int, int]]) -> None:
    tally = Tally()
    for sent, stamp, got in answers:
        tally.take(sent, stamp, got)
    span = tally.close()
    assert span is not None
    assert (span.quick_ns, span.quick_sum_ns) == min((got - sent, 2 * stamp - got - sent) for sent, stamp, got in answers)
