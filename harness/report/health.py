"""Whether the generator can be believed: the journal's signs of health against their limits."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from harness.journal.records import SEND_DELAY
from harness.metrics.health import shares
from harness.metrics.histogram import Histogram
from harness.report.fold import Measured
from harness.report.model import HealthLine
from harness.verdicts.limits import LIMITS

__all__ = ["LIMITS", "health_lines", "signs"]


def health_lines(measured: Measured, limits: Mapping[str, Any], *, rules: bool) -> list[HealthLine]:
    """Signs of health in a fixed order, those that decide first; what was not measured has no value.

    `rules`: rules hang on the figures. Without any, only what would falsify counts decides, all else warns.
    """
    counts = measured.count("messages|invoked"), measured.count("noted|send.dropped")
    return signs(measured.health, measured.histograms.get(SEND_DELAY), *counts, limits, rules=rules)


def signs(
    health: Mapping[str, float], delays: Histogram | None, sent: int, dropped: int, limits: Mapping[str, Any], *, rules: bool
) -> list[HealthLine]:
    """The same of any stretch of time: health figures, send delays, messages sent, and those that were not but should have been."""
    share = shares(health)
    delay = delays.percentile(Fraction(99, 100)) if delays is not None else None
    achieved = share.started if share.started is not None else sent / (sent + dropped) if sent + dropped else None
    refused = [health[name] for name in ("open_files.refused", "ports.exhausted") if name in health]
    table: list[tuple[str, str, float | None, str, bool]] = [
        ("send delay p99", "send_delay_p99_ms", None if delay is None else delay / 1000, "ms", rules),
        ("loop busy", "loop_busy", share.busy, "", rules),
        ("sent/planned", "achieved_rate", achieved, "", rules),
        ("refused by the system", "refused_by_system", sum(refused) if refused else None, "", rules),
        ("journal errors", "journal_errors", health.get("journal.errors"), "", True),
        ("waiting for a CPU", "cpu_wait", share.waiting, "", False),
        ("longest GC pause", "gc_pause_ms", _ms(health.get("gc.pause_ns.max")), "ms", False),
        ("GC share", "gc_share", share.paused, "", False),
        ("CPU", "cpu", share.cpu, "", False),
        ("steal", "steal", share.steal, "", False),
        ("CPU pressure", "pressure", health.get("pressure.max"), "%", False),
    ]
    lines = []
    for name, key, value, unit, decides in table:
        limit = _limit(limits, key)
        ok = None if value is None else value >= limit if key == "achieved_rate" else value <= limit
        lines.append(HealthLine(name, None if value is None else round(value, 6), limit, unit, ok, decides))
    return lines


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6


def _limit(limits: Mapping[str, Any], name: str) -> float:
    given = limits.get(name)
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else LIMITS[name]
