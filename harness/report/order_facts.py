"""The figures of order and loss of a run, with the statement that they are worth nothing without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.metrics.figures import ROUND
from harness.metrics.ordering import Params
from harness.metrics.recorder import LOSS_WAIT_NS
from harness.report.fold import Measured
from harness.report.model import Figures, HealthLine
from harness.report.order_figures import OrderFigures, Statement, order_views
from harness.report.order_pools import OrderFound

LEFT_OUT_ROWS = "not every row was kept, and what is missing among rows would look like a loss"
NOT_WHOLE = "the journal is not whole: rows that it has lost may look like losses and gaps here"


def order_params(manifest: Mapping[str, Any]) -> Params:
    """Thresholds: the waiting time is the run's own."""
    wait = manifest.get("loss_wait_ns")
    return Params(wait if isinstance(wait, int) and wait > 0 else LOSS_WAIT_NS)


def order_figures(
    measured: Measured, manifest: Mapping[str, Any], figures: Figures, health: Sequence[HealthLine], params: Params
) -> OrderFigures:
    """Everything that `summary.json` says of order, duplication and loss beyond the counts of anomalies."""
    found = measured.order
    stated = _statement(measured, manifest, figures, health, params, found or OrderFound())
    if found is None:
        return OrderFigures("none", LEFT_OUT_ROWS, stated, {}, {}, {}, {})
    views = order_views(found, params)
    if measured.damage.any:
        return OrderFigures("partial", NOT_WHOLE, stated, *views)
    return OrderFigures("whole", "", stated, *views)


def _statement(
    measured: Measured,
    manifest: Mapping[str, Any],
    figures: Figures,
    health: Sequence[HealthLine],
    params: Params,
    found: OrderFound,
) -> Statement:
    seconds = (measured.last_ns - measured.first_ns) / 1e9
    sent = figures.messages["invoked"]
    deciding = [line.ok for line in health if line.decides and line.ok is not None]
    widths = [line.half_width_ms for line in figures.clocks if line.half_width_ms is not None]
    return Statement(
        params.wait_ns / 1e6,
        params.displacement,
        params.buffer,
        params.n_max,
        params.delta,
        _pacing(manifest),
        round(sent / seconds, ROUND) if seconds > 0 else None,
        sent,
        sum(pools.guest.e2e.fates.left_out for pools in found.by_dialect.values()),
        _transport(measured),
        figures.one_way.state,
        max(widths, default=None),
        all(deciding) if deciding else None,
        found.conversations,
        found.after_end,
        found.strange,
    )


def _pacing(manifest: Mapping[str, Any]) -> str | None:
    table: Any = manifest
    for name in ("scenario", "guests", "pacing"):
        table = table.get(name) if isinstance(table, dict) else None
    return table if isinstance(table, str) else None


def _transport(measured: Measured) -> list[str]:
    used = []
    if any(name.startswith("poll.hold|") for name in measured.histograms):
        used.append("long poll")
    if measured.count("connections|ended"):
        used.append("WebSocket")
    return used
