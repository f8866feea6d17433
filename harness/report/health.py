"""Whether the generator can be believed: the journal's signs of health against their limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import msgspec

from harness.journal.records import SEND_DELAY
from harness.metrics.health import shares
from harness.metrics.histogram import Histogram
from harness.report.fold import HEALTH_WINDOW_NS, Measured
from harness.report.model import HealthLine
from harness.verdicts.check import NARROW
from harness.verdicts.limits import LIMITS
from harness.verdicts.slo import Rule

__all__ = ["LIMITS", "health_lines", "rule_limits", "signs"]


_OFTEN = 0.10
"""Share of the steady windows beyond which circumstances count as lasting."""


def health_lines(
    measured: Measured,
    limits: Mapping[str, Any],
    *,
    rules: bool,
    defaults: Mapping[str, float] | None = None,
    width: float | None = None,
    steady: tuple[int, int] | None = None,
) -> list[HealthLine]:
    """Signs of health in a fixed order, those that decide first; what was not measured has no value.

    `rules`: rules hang on the figures. Without any, only what would falsify counts decides, all else warns. `defaults` are
    limits that follow from the rules (`rule_limits`), `width` is the widest bracket at a percentile that a rule uses.
    Circumstances (CPU, steal, pressure, collector) decide only if they lasted, over `steady` (begin and end of the full load),
    and the bracket is wide as well: then they are why.
    """
    counts = measured.count("messages|invoked"), measured.count("noted|send.dropped")
    lines = signs(measured.health, measured.histograms.get(SEND_DELAY), *counts, limits, rules=rules, defaults=defaults)
    if not rules or width is None or width <= NARROW or steady is None:
        return lines
    begin, end = steady
    windows = [health for at, health in measured.health_windows.items() if begin <= at and at + HEALTH_WINDOW_NS <= end]
    over = [{line.name for line in signs(health, None, 0, 0, limits, rules=rules) if line.ok is False} for health in windows]
    return [
        msgspec.structs.replace(line, decides=True)
        if line.ok is False and not line.decides and sum(line.name in names for names in over) > _OFTEN * len(over)
        else line
        for line in lines
    ]


def rule_limits(rules: Iterable[Rule]) -> dict[str, float]:
    """Limits that follow from the rules: a message may leave late by 5 % of the shortest time that a rule asks for."""
    times = [float(rule.limit) / 1e6 for rule in rules if rule.kind == "percentile" and rule.part == "response" and rule.upper]
    return {"send_delay_p99_ms": max(5.0, round(0.05 * min(times), 6))} if times else {}


def signs(
    health: Mapping[str, float],
    delays: Histogram | None,
    sent: int,
    dropped: int,
    limits: Mapping[str, Any],
    *,
    rules: bool,
    defaults: Mapping[str, float] | None = None,
) -> list[HealthLine]:
    """The same of any stretch of time: health figures, send delays, messages sent, and those that were not but should have been."""
    usual = {**LIMITS, **(defaults or {})}
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
        ("wall clock steps", "wall_steps", health.get("clock.wall_steps"), "", False),
        ("machine suspended", "suspensions", health.get("clock.suspensions"), "", False),
    ]
    lines = []
    for name, key, value, unit, decides in table:
        limit = _limit(limits, key, usual)
        default = usual[key] if limit != usual[key] else None
        ok = None if value is None else value >= limit if key == "achieved_rate" else value <= limit
        lines.append(HealthLine(name, None if value is None else round(value, 6), limit, unit, ok, decides, default))
    return lines


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6


def _limit(limits: Mapping[str, Any], name: str, usual: Mapping[str, float]) -> float:
    given = limits.get(name)
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else usual[name]
