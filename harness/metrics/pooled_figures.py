"""How what many streams came to is published: counts, then ratios, then distributions. What is not defined is None."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from harness.metrics.figures import milliseconds, order_figures, share_late
from harness.metrics.histogram import Histogram
from harness.metrics.ordering import Params
from harness.metrics.pooled import SPREADS, PooledOrder, Worst

PERCENTILES = {
    "p50": Fraction(1, 2),
    "p90": Fraction(9, 10),
    "p95": Fraction(19, 20),
    "p99": Fraction(99, 100),
    "p999": Fraction(999, 1000),
}
FEWEST_BEYOND = 10
"""A percentile is told only where so many samples lie beyond it."""
OF_ARRIVALS = ("extent", "late_ms", "byte_offset", "n", "gaps", "gap_times_ms", "free_runs")
"""Distributions of reordered arrivals and of what lies between them."""


def params_figures(params: Params) -> dict[str, Any]:
    """What any of the results is worth nothing without."""
    return {
        "dT_ms": milliseconds(params.wait_ns),
        "DT": params.displacement,
        "BT": params.buffer,
        "n_max": params.n_max,
        "delta": params.delta,
        "joined": params.joined,
    }


def pooled_order_figures(order: PooledOrder, params: Params, *, timed: bool = True, sized: bool = True) -> dict[str, Any]:
    """RFC 4737 and RFC 5236 over many streams. `timed`: arrivals have times; `sized`: payloads have sizes."""
    places, spreads = order.places, order.spreads()
    found = {
        "reordered": places.reordered,
        "sequence_discontinuities": places.jumps,
        "skipped": places.skipped,
        "discontinuity_sizes": spread_figures(spreads, "discontinuity_sizes"),
        "reordering_discontinuities": order.reordering_discontinuities,
        **{name: spread_figures(spreads, name) for name in OF_ARRIVALS},
        **order_figures(places, params.n_max),
        "share_late": share_late(places.displacements),
    }
    if not timed:
        found["late_ms"] = found["gap_times_ms"] = None
    if not sized:
        found["byte_offset"] = None
    return found


def spread_figures(spreads: dict[str, Histogram], name: str) -> dict[str, Any] | None:
    """A distribution; None without any value."""
    histogram = spreads.get(name)
    if histogram is None or not histogram.count:
        return None
    unit = SPREADS[name]

    def shown(value: float | None) -> float | None:
        return None if value is None else value / unit if unit != 1 else value

    found: dict[str, Any] = {"n": histogram.count, "min": shown(histogram.low)}
    for percentile, share in PERCENTILES.items():
        enough = histogram.count * (1 - share) >= FEWEST_BEYOND
        found[percentile] = shown(histogram.percentile(share)) if enough else None
    found["max"] = shown(histogram.high)
    found["mean"] = shown(histogram.mean)
    return found


def worst_figures(worst: Worst | None) -> dict[str, Any] | None:
    """The stream with the greatest share; None where no stream has any."""
    return None if worst is None else {"stream": worst.name, "ratio": worst.ratio, "count": worst.count}
