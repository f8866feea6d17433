"""Order, duplication and loss as `summary.json` has them, under the names that the standards' metrics have in this project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from harness.metrics.duplicates import CROSS_CONNECTION, FIRST_PUSH, FIRST_RESYNC, OVERLAP, RESEND, SAME_CONNECTION
from harness.metrics.figures import delivery_figures, rounded
from harness.metrics.jepsen import jepsen_names
from harness.metrics.loss import bootstrap, bounds, unstable, upper_bound_of_none
from harness.metrics.ordering import Params
from harness.metrics.pooled import Pooled, PooledOrder
from harness.metrics.pooled_figures import pooled_order_figures, spread_figures, worst_figures
from harness.report.order_pools import DELIVERY, E2E, INGEST, Heard, OrderFound, Pools, Stored


class Spread(msgspec.Struct, forbid_unknown_fields=True):
    """A distribution; a percentile with fewer than ten values beyond it is withheld."""

    n: int
    min: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float
    mean: float | None


class WorstStream(msgspec.Struct, forbid_unknown_fields=True):
    """The conversation with the greatest share."""

    stream: str
    ratio: float
    count: int


class StreamsWith(msgspec.Struct, forbid_unknown_fields=True):
    """How many streams had any of it."""

    streams: int
    share: float | None
    worst: WorstStream | None


class Reordering(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 4737 and RFC 5236 over the first push copies of many streams; null is what is not defined here."""

    streams: int
    streams_with: StreamsWith
    reordered: int
    concurrent: int | None
    """Those among them that were sent before the one overtaken was answered: no order was asked for."""
    reordered_ratio: float | None
    sequence_discontinuities: int | None
    skipped: int | None
    discontinuity_sizes: Spread | None
    reordering_discontinuities: int
    extent: Spread | None
    late_ms: Spread | None
    byte_offset: Spread | None
    n: Spread | None
    gaps: Spread | None
    gap_times_ms: Spread | None
    free_runs: Spread | None
    n_reordering_degree: dict[str, float | None]
    free_run_open: int
    mean_free_run: float | None
    run_variation: float | None
    x: int
    a: int
    p: int
    q: int
    length: int = msgspec.field(name="L")
    fd: dict[str, int] | None = msgspec.field(name="FD")
    rd_n: int | None = msgspec.field(name="RD_N")
    rd: dict[str, float] | None = msgspec.field(name="RD")
    share_late: float | None
    mean_displacement_late: float | None
    fb: dict[str, int] | None = msgspec.field(name="FB")
    rbd_n: int | None = msgspec.field(name="RBD_N")
    rbd: dict[str, float] | None = msgspec.field(name="RBD")
    mean_buffer_occupancy: float | None


class Duplication(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 5560. `classes` counts copies by the first rule that fits; the three below judge a copy under its own stored name."""

    classes: dict[str, int]
    duplication_fraction: float | None
    replicated_rate: float | None
    same_connection: int
    """Pushed again on one connection, whenever: a user would see it."""
    cross_connection: int
    """Pushed again after a reconnect."""
    stored_twice: int
    """Further names under which a message is in the store."""
    expected: int
    """Copies that the protocol expects: what a listing and push both brought."""
    late_first: int
    """Messages of which the first copy came after dT."""
    late_again: int
    """Further copies after dT: most of them of the last read-back."""
    streams_with: StreamsWith


class Loss(msgspec.Struct, forbid_unknown_fields=True):
    """RFC 7680 and RFC 3357. `definite`: acknowledged, and not received within dT; `possible`: with all that cannot be known."""

    sent: int
    acknowledged: int
    definite: int
    possible: int
    late: int | None
    """Of the definite ones, those that came all the same, after dT; null where send times are not known."""
    ratio_definite: float | None = msgspec.field(name="loss_ratio_e2e")
    ratio_possible: float | None
    ratio_push: float | None = msgspec.field(name="loss_ratio_push")
    interval: tuple[float, float] | None
    """95 %, by resampling whole streams."""
    upper_bound_of_none: float | None
    """Without any loss: what the true ratio lies below at 95 %, were losses independent."""
    push_missed: int
    recovered_unknown_outcome: int
    aborted_delivery: int
    undetermined: int
    left_out: int
    """Sent less than dT before nobody listened any more."""
    lost_at_half_dt: int | None = msgspec.field(name="lost_at_half_dT")
    lost_at_double_dt: int | None = msgspec.field(name="lost_at_double_dT")
    loss_threshold_unstable: bool | None
    loss_distance: Spread | None
    loss_period_total: int
    loss_period_lengths: Spread | None
    inter_loss_period_lengths: Spread | None
    noticeable_rate: float | None
    streams_with: StreamsWith


class StoreLoss(msgspec.Struct, forbid_unknown_fields=True):
    """Acknowledged, and yet not in the server's store. `definite`: the read-back was complete; `possible`: or it was not."""

    acknowledged: int
    definite: int
    possible: int
    ratio_definite: float | None
    ratio_possible: float | None
    interval: tuple[float, float] | None
    upper_bound_of_none: float | None


class Jepsen(msgspec.Struct, forbid_unknown_fields=True):
    """The same events under the names of Jepsen's checkers, which know no waiting time: what came late did come."""

    attempted: int
    acknowledged: int
    ok: int
    unexpected: int
    duplicated: int
    lost: int
    recovered: int
    valid: bool
    unseen: int
    duplicate: int
    nonmonotonic_poll: int
    poll_skip: int
    aborted_read: int
    inconsistent_offsets: int | None = None
    """This and the next three need one conversation listed again and again; null: it was not."""
    stale: int | None = None
    never_read: int | None = None
    realtime_lag: float | None = None


class E2e(msgspec.Struct, forbid_unknown_fields=True):
    """The sender's numbers as push brought them. Of a guest's own messages: as its echoes did."""

    untold: dict[str, int]
    """Streams that do not tell, by reason."""
    order: Reordering | None
    duplication: Duplication | None
    loss: Loss | None
    jepsen: Jepsen | None = None


class Delivery(msgspec.Struct, forbid_unknown_fields=True):
    """The server's order as push brought it."""

    untold: dict[str, int]
    by_listing: Reordering | None
    """The server's order is that of its listing, read back."""
    by_stamps: Reordering | None
    """It is that of the server's stamps, where no listing was read back whole: what is missing cannot be seen."""
    unranked: int
    """Messages by push that a complete listing does not hold."""


class Ingest(msgspec.Struct, forbid_unknown_fields=True):
    """The sender's numbers in the server's order."""

    untold: dict[str, int]
    order: Reordering | None
    loss: StoreLoss | None
    """Of a guest's messages alone: what an agent sent is not known."""


class Brief(msgspec.Struct, forbid_unknown_fields=True):
    """One dialect, one direction, in short. Null: not told."""

    e2e_reordered: int | None
    e2e_arrivals: int | None
    delivery_reordered: int | None
    delivery_arrivals: int | None
    ingest_reordered: int | None
    ingest_arrivals: int | None
    doubled: int | None
    lost_definite: int | None
    lost_possible: int | None


class Statement(msgspec.Struct, forbid_unknown_fields=True):
    """What none of these figures is worth anything without."""

    dt_ms: float = msgspec.field(name="dT_ms")
    dt: int = msgspec.field(name="DT")
    bt: int = msgspec.field(name="BT")
    n_max: int
    delta: int
    pacing: str | None
    """How guests decide when to send: `think` waits for the answer, `schedule` does not."""
    rate_per_s: float | None
    """Messages that guests sent, per second of the run."""
    sent: int
    left_out: int
    transport: list[str]
    clock: str
    """Whether the server's clock can be told (`resolved`, …); the interval itself is in `clocks`."""
    clock_half_width_ms: float | None
    valid: bool | None
    """Whether the generator can be believed; null: not measured."""
    conversations: int
    after_end: int
    strange: int


class OrderFigures(msgspec.Struct, forbid_unknown_fields=True):
    """All of it. `state`: `whole`; `partial`: the journal is not whole, so that rows it has lost may look like losses and
    gaps; `none`: not every row was kept, so that nothing can be said."""

    state: Literal["whole", "partial", "none"]
    why: str
    statement: Statement
    e2e: dict[str, E2e]
    """By direction: `g` guest to agent, `a` agent to guest. Empty without figures, as the next three."""
    delivery: dict[str, Delivery]
    ingest: dict[str, Ingest]
    by_dialect: dict[str, dict[str, Brief]]


_GUEST, _AGENT = "g", "a"


def order_views(
    found: OrderFound, params: Params
) -> tuple[dict[str, E2e], dict[str, Delivery], dict[str, Ingest], dict[str, dict[str, Brief]]]:
    """The figures of all dialects together, and of each in short."""
    pools = found.pooled()
    e2e, delivery, ingest = {}, {}, {}
    for direction, heard in _both(pools):
        own = direction == _GUEST
        e2e[direction] = _e2e(heard, params, own=own)
        delivery[direction] = Delivery(
            _untold(heard, DELIVERY),
            _reordering(heard.by_listing, params, None, sized=own),
            _reordering(heard.by_stamps, params, None, sized=own, gaps=False),
            heard.unranked,
        )
        ingest[direction] = Ingest(
            _untold(heard, INGEST),
            _reordering(heard.ingest, params, heard.concurrent[INGEST] if own else None, sized=False, timed=False),
            _store_loss(heard.stored) if own else None,
        )
    briefs = {
        name: {direction: _brief(heard) for direction, heard in _both(found.by_dialect[name])} for name in sorted(found.by_dialect)
    }
    return e2e, delivery, ingest, briefs


def _both(pools: Pools) -> tuple[tuple[str, Heard], tuple[str, Heard]]:
    return (_GUEST, pools.guest), (_AGENT, pools.agent)


def _untold(heard: Heard, question: str) -> dict[str, int]:
    return {why: count for (asked, why), count in sorted(heard.untold.items()) if asked == question}


def _reordering(
    order: PooledOrder, params: Params, concurrent: int | None, *, sized: bool, timed: bool = True, gaps: bool = True
) -> Reordering | None:
    """`gaps`: what is missing can be seen."""
    if not order.streams:
        return None
    figures = pooled_order_figures(order, params, timed=timed, sized=sized)
    if not gaps:
        figures |= dict.fromkeys(_SEEN_BY_GAPS)
    figures["streams"] = order.streams
    figures["concurrent"] = concurrent
    figures["streams_with"] = _with(order.with_reordered, order.streams, worst_figures(order.worst))
    return msgspec.convert(rounded(figures), Reordering)


_SEEN_BY_GAPS = (
    "sequence_discontinuities",
    "skipped",
    "discontinuity_sizes",
    "FD",
    "RD_N",
    "RD",
    "share_late",
    "mean_displacement_late",
    "FB",
    "RBD_N",
    "RBD",
    "mean_buffer_occupancy",
)


def _with(streams: int, of: int, worst: dict[str, Any] | None) -> dict[str, Any]:
    return {"streams": streams, "share": streams / of if of else None, "worst": worst}


def _e2e(heard: Heard, params: Params, *, own: bool) -> E2e:
    pooled = heard.e2e
    if not pooled.streams:
        return E2e(_untold(heard, E2E), None, None, None)
    order = _reordering(pooled.order, params, heard.concurrent[E2E] if own else None, sized=own)
    jepsen = msgspec.convert(jepsen_names(pooled.fates, pooled.classes, pooled.order.places), Jepsen)
    return E2e(_untold(heard, E2E), order, _duplication(heard), _loss(heard, own=own), jepsen)


def _streams_with(pooled: Pooled, what: str) -> dict[str, Any]:
    return _with(pooled.with_event[what], pooled.streams, worst_figures(pooled.worst.get(what)))


def _duplication(heard: Heard) -> Duplication:
    pooled = heard.e2e
    ratios = delivery_figures(pooled.fates)
    figures = {
        "classes": _counts(pooled.classes),
        "duplication_fraction": ratios["duplication_fraction"],
        "replicated_rate": ratios["replicated_rate"],
        "same_connection": heard.doubled[SAME_CONNECTION],
        "cross_connection": heard.doubled[CROSS_CONNECTION],
        "stored_twice": heard.doubled[RESEND],
        "expected": pooled.classes[OVERLAP],
        "late_first": heard.late["first"],
        "late_again": heard.late["again"],
        "streams_with": _streams_with(pooled, "duplicated"),
    }
    return msgspec.convert(rounded(figures), Duplication)


def _counts(classes: Mapping[str, int]) -> dict[str, int]:
    return {name: classes[name] for name in sorted({FIRST_PUSH, FIRST_RESYNC, *classes}) if name in classes}


def _loss(heard: Heard, *, own: bool) -> Loss:
    """`own`: send times are known."""
    pooled = heard.e2e
    fates, spreads = pooled.fates, pooled.order.spreads()
    ratios = delivery_figures(fates)
    open_ones = fates.undetermined + heard.unheard
    figures: dict[str, Any] = {
        "sent": fates.sent,
        "acknowledged": fates.ok,
        "definite": fates.lost,
        "possible": fates.lost + open_ones,
        "late": fates.lost - (fates.ok - fates.seen_ok) if own else None,
        "loss_ratio_e2e": ratios["loss_ratio_e2e"],
        "ratio_possible": bounds(fates.lost, fates.ok, open_ones)[1],
        "loss_ratio_push": ratios["loss_ratio_push"],
        "interval": bootstrap(pooled.by_loss),
        "upper_bound_of_none": upper_bound_of_none(fates.ok) if not fates.lost else None,
        "push_missed": fates.push_missed,
        "recovered_unknown_outcome": fates.recovered,
        "aborted_delivery": fates.aborted,
        "undetermined": fates.undetermined,
        "left_out": fates.left_out,
        "lost_at_half_dT": fates.lost_at_half if own else None,
        "lost_at_double_dT": fates.lost_at_double if own else None,
        "loss_threshold_unstable": unstable(fates.lost, fates.lost_at_half, fates.lost_at_double) if own and fates.ok else None,
        "loss_distance": spread_figures(spreads, "loss_distance"),
        "loss_period_total": spreads["loss_period_lengths"].count if "loss_period_lengths" in spreads else 0,
        "loss_period_lengths": spread_figures(spreads, "loss_period_lengths"),
        "inter_loss_period_lengths": spread_figures(spreads, "inter_loss_period_lengths"),
        "noticeable_rate": pooled.noticeable / fates.push_missed if fates.push_missed else None,
        "streams_with": _streams_with(pooled, "lost"),
    }
    return msgspec.convert(_plain(figures), Loss)


def _store_loss(stored: Stored) -> StoreLoss | None:
    if not stored.acknowledged and not stored.undetermined:
        return None
    open_ones = stored.unread + stored.undetermined
    whole = stored.acknowledged + stored.undetermined
    figures = {
        "acknowledged": stored.acknowledged,
        "definite": stored.lost,
        "possible": stored.lost + open_ones,
        "ratio_definite": stored.lost / stored.acknowledged if stored.acknowledged else None,
        "ratio_possible": (stored.lost + open_ones) / whole,
        "interval": bootstrap(Counter(stored.by_loss)),
        "upper_bound_of_none": upper_bound_of_none(stored.acknowledged) if not stored.lost and not open_ones else None,
    }
    return msgspec.convert(_plain(figures), StoreLoss)


def _plain(figures: dict[str, Any]) -> dict[str, Any]:
    interval = figures["interval"]
    return dict(rounded({**figures, "interval": None if interval is None else list(interval)}))


def _brief(heard: Heard) -> Brief:
    pooled = heard.e2e
    fates, told = pooled.fates, pooled.streams > 0
    by_listing, by_stamps, ingest = heard.by_listing, heard.by_stamps, heard.ingest
    delivered = by_listing.streams + by_stamps.streams > 0
    return Brief(
        pooled.order.places.reordered if told else None,
        pooled.order.places.length if told else None,
        by_listing.places.reordered + by_stamps.places.reordered if delivered else None,
        by_listing.places.length + by_stamps.places.length if delivered else None,
        ingest.places.reordered if ingest.streams else None,
        ingest.places.length if ingest.streams else None,
        sum(heard.doubled.values()) if told else None,
        fates.lost if told else None,
        fates.lost + fates.undetermined + heard.unheard if told else None,
    )
