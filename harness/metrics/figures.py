"""The names under which the metrics are published, and how each follows from the counts. What is not defined is None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.metrics.classify import Fates
from harness.metrics.density import mean_late, mean_occupancy, shares
from harness.metrics.duplicates import duplication_fraction, replicated_rate
from harness.metrics.loss import ratio
from harness.metrics.ordering import Places, Rows
from harness.metrics.suite import Suite

ROUND = 6


def delivery_figures(fates: Fates) -> dict[str, Any]:
    """Loss (RFC 7680) and duplication (RFC 5560) as ratios."""
    return {
        "loss_ratio_e2e": ratio(fates.lost, fates.ok),
        "loss_ratio_push": ratio(fates.push_missed, fates.ok),
        "duplication_fraction": duplication_fraction(fates.copies, fates.pushed),
        "replicated_rate": replicated_rate(fates.replicated, fates.pushed),
    }


def order_figures(places: Places, n_max: int) -> dict[str, Any]:
    """Reordering (RFC 4737) and the densities (RFC 5236) as numbers."""
    length, late = places.length, places.reordered
    in_order = length - late
    return {
        "L": length,
        "reordered_ratio": late / length if length else None,
        "n_reordering_degree": {str(n): places.steps.get(n, 0) / length if length else None for n in range(1, n_max + 1)},
        "free_run_open": places.open_run,
        "x": late,
        "a": in_order,
        "p": length,
        "q": places.squares,
        "mean_free_run": in_order / late if late else None,
        "run_variation": places.squares / in_order / (in_order / late) if late and in_order else None,
        "FD": _by_text(places.displacements),
        "RD_N": sum(places.displacements.values()),
        "RD": _by_text(shares(places.displacements)),
        "mean_displacement_late": mean_late(places.displacements),
        "FB": _by_text(places.held),
        "RBD_N": sum(places.held.values()),
        "RBD": _by_text(shares(places.held)),
        "mean_buffer_occupancy": mean_occupancy(places.held),
    }


def order_rows(rows: Rows, *, timed: bool = True) -> dict[str, Any]:
    """The events of one stream's order, each in full."""
    return {
        "sequence_discontinuities": [list(jump) for jump in rows.jumps],
        "reordered": [
            [
                one.seq,
                one.position,
                one.extent,
                milliseconds(one.late_ns) if timed else None,
                one.byte_offset,
                one.n,
                one.discontinuity,
            ]
            for one in rows.reordered
        ],
        "reordering_discontinuities": list(rows.discontinuities),
        "gaps": list(rows.gaps),
        "gap_times_ms": [milliseconds(ns) if timed else None for ns in rows.gap_times_ns],
        "free_runs": list(rows.free_runs),
    }


def stream_figures(suite: Suite) -> dict[str, Any]:
    """Every metric of one closed stream whose rows were all kept, rounded."""
    copies, ordering = suite.copies, suite.ordering
    pattern = suite.loss_pattern()
    losses = len(pattern.distances)
    found: dict[str, Any] = {
        "classes": dict(copies.classes),
        "lost": [seq for _, seq in copies.lost],
        "push_missed": [seq for _, seq in copies.missed],
        "recovered_unknown_outcome": [seq for _, seq in copies.recovered],
        "aborted_delivery": [seq for _, seq in copies.aborted],
        **delivery_figures(copies.fates),
        "loss_distance": pattern.distances,
        "loss_period_total": len(pattern.lengths),
        "loss_period_lengths": pattern.lengths,
        "inter_loss_period_lengths": pattern.between,
        "noticeable_rate": pattern.noticeable / losses if losses else None,
        **order_figures(ordering.places, suite.params.n_max),
        **order_rows(ordering.rows),
    }
    return {name: rounded(value) for name, value in found.items()}


def share_late(displacements: Mapping[int, int]) -> float | None:
    """Share of the messages that came later than their place (RFC 5236)."""
    total = sum(displacements.values())
    return sum(count for key, count in displacements.items() if key > 0) / total if total else None


def milliseconds(ns: int | None) -> int | float | None:
    """As published: a whole number where it is one."""
    if ns is None:
        return None
    whole, rest = divmod(ns, 1_000_000)
    return whole if not rest else round(ns / 1_000_000, ROUND)


def rounded(value: Any) -> Any:
    """The same with every fraction rounded to six places."""
    if isinstance(value, float):
        return round(value, ROUND)
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return value


def _by_text(counts: Mapping[int, Any]) -> dict[str, Any]:
    return {str(key): counts[key] for key in sorted(counts)}
