"""What is told of a surveyed log: one object with every metric under its own name, nothing that is not defined."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from harness.analysis.source import Tally
from harness.analysis.survey import Survey
from harness.metrics.figures import delivery_figures, milliseconds, rounded
from harness.metrics.histogram import Histogram
from harness.metrics.jepsen import jepsen_names
from harness.metrics.loss import bootstrap, bounds, unstable, upper_bound_of_none
from harness.metrics.ordering import Params
from harness.metrics.pooled import PooledOrder
from harness.metrics.pooled_figures import (
    FEWEST_BEYOND,
    PERCENTILES,
    params_figures,
    pooled_order_figures,
    spread_figures,
    worst_figures,
)
from harness.verdicts.intervals import ranks

SCHEMA = "guestswarm.analysis/1"
ONE_CLOCK = "delays hold only if both times were read from one clock; otherwise the clocks' offset is in every one of them"


def summary(survey: Survey, tally: Tally, source: dict[str, Any]) -> dict[str, Any]:
    """Of the whole log: all streams pooled."""
    pooled, params = survey.pooled, survey.params
    fates = pooled.fates
    low, high = bounds(fates.lost, fates.ok, fates.undetermined)
    losses = fates.push_missed
    spreads = pooled.order.spreads()
    messages = survey.messages
    assert messages is not None
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "source": source,
        "rows": {
            "used": tally.rows,
            "malformed": tally.malformed,
            "malformed_lines": [{"line": line, "what": what} for line, what in tally.named],
        },
        "streams": pooled.streams,
        "messages": {
            "sent": fates.sent,
            "ok": fates.ok,
            "info": fates.info,
            "fail": fates.fail,
            "left_out": messages.censored,
        },
        "params": params_figures(params),
        "assumed": assumptions(survey, tally),
        "classes": dict(pooled.classes),
        "lost": fates.lost,
        "push_missed": losses,
        "recovered_unknown_outcome": fates.recovered,
        "aborted_delivery": fates.aborted,
        "undetermined": fates.undetermined,
        **delivery_figures(fates),
        "loss": {
            "definite": fates.lost,
            "possible": fates.lost + fates.undetermined,
            "ratio_definite": low,
            "ratio_possible": high,
            "interval_e2e": _interval(bootstrap(pooled.by_loss)),
            "interval_push": _interval(bootstrap(pooled.by_push_loss)),
            "upper_bound_of_none": upper_bound_of_none(fates.ok) if not fates.lost else None,
            "lost_at_half_dT": fates.lost_at_half,
            "lost_at_double_dT": fates.lost_at_double,
            "loss_threshold_unstable": unstable(fates.lost, fates.lost_at_half, fates.lost_at_double) if fates.ok else None,
            "sent_within_dT_of_the_end": messages.young_losses,
        },
        "loss_distance": spread_figures(spreads, "loss_distance"),
        "loss_period_total": spreads["loss_period_lengths"].count if "loss_period_lengths" in spreads else 0,
        "loss_period_lengths": spread_figures(spreads, "loss_period_lengths"),
        "inter_loss_period_lengths": spread_figures(spreads, "inter_loss_period_lengths"),
        "noticeable_rate": pooled.noticeable / losses if losses else None,
        **pooled_order_figures(pooled.order, params, sized="bytes" in tally.columns),
        "order.e2e": pooled_order_figures(pooled.order, params, sized="bytes" in tally.columns),
        "order.ingest": _view(survey.ingest, params, timed=False, sized=False),
        "order.delivery": _view(survey.delivery, params, sized="bytes" in tally.columns),
        "order_withheld": None if survey.ingest is not None else "order.ingest and order.delivery need a column rank",
        "inconsistent_ranks": messages.inconsistent_ranks if survey.ingest is not None else None,
        "unranked": survey.unranked if survey.ingest is not None else None,
        "streams_with": _streams_with(survey),
        "jepsen": jepsen_names(fates, pooled.classes, pooled.order.places),
        "delay_ms": delay(survey.delays),
        "listed_delay_ms": delay(survey.listed_delays),
        "timeline": {
            "first_ms": milliseconds(survey.timeline.first_ns),
            "last_ms": milliseconds(survey.timeline.last_ns),
            "sent": survey.timeline.sent.tolist(),
            "lost": survey.timeline.lost.tolist(),
        },
    }
    return {name: rounded(value) for name, value in found.items()}


def assumptions(survey: Survey, tally: Tally) -> list[str]:
    """What had to be taken for granted."""
    said = [ONE_CLOCK, "each stream has one sender, who counts from 1 in the order of sending and sends one after another"]
    if survey.params.joined:
        said[1] += "; streams were joined midway"
    lacking = {
        "outcome": "no column outcome: whatever was sent counts as acknowledged",
        "channel": "no column channel: every copy came by push",
        "epoch": "no column epoch: all copies of a stream came over one connection",
        "id": "no column id: copies of one number are copies of one stored message",
    }
    said += [text for column, text in lacking.items() if column not in tally.columns]
    said.append("rows of a stream received at the same time arrived in the order of the file")
    return said


def delay(histogram: Histogram) -> dict[str, Any]:
    """Percentiles in milliseconds, each with its 95 % interval; None where the samples do not suffice."""
    count = histogram.count
    found: dict[str, Any] = {"n": count, "negative": histogram.negative, "above_range": histogram.overflow}
    found["min"] = histogram.low / 1000 if count else None
    for name, share in PERCENTILES.items():
        enough = count * (1 - share) >= FEWEST_BEYOND
        value = histogram.percentile(share) if enough else None
        found[name] = None if value is None else value / 1000
        bounds_of = [histogram.percentile(Fraction(rank, count)) if rank else None for rank in ranks(count, share)]
        found[name + "_interval"] = [None if v is None else v / 1000 for v in bounds_of] if enough else None
    found["max"] = histogram.high / 1000 if count else None
    mean = histogram.mean
    found["mean"] = None if mean is None else mean / 1000
    return found


def _view(order: PooledOrder | None, params: Params, *, timed: bool = True, sized: bool = True) -> dict[str, Any] | None:
    if order is None:
        return None
    streams = {"streams": order.streams, "streams_with_reordered": order.with_reordered, "worst": worst_figures(order.worst)}
    return streams | pooled_order_figures(order, params, timed=timed, sized=sized)


def _streams_with(survey: Survey) -> dict[str, Any]:
    pooled = survey.pooled
    counts = {
        "reordered": pooled.order.with_reordered,
        **{what: pooled.with_event[what] for what in ("lost", "push_missed", "duplicated")},
    }
    worst = {"reordered": pooled.order.worst, **pooled.worst}
    return {
        what: {
            "streams": count,
            "share": count / pooled.streams if pooled.streams else None,
            "worst": worst_figures(worst.get(what)),
        }
        for what, count in counts.items()
    }


def _interval(found: tuple[float, float] | None) -> list[float] | None:
    return None if found is None else list(found)
