"""Whether the generator can be believed: the journal's signs of health against their limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import msgspec

from harness.journal.records import SEND_DELAY
from harness.metrics.health import Shares, merge_health, shares, worst
from harness.metrics.histogram import Histogram
from harness.metrics.little import GUESTS, MESSAGES, REPLIES, balance, population
from harness.report.fold import HEALTH_WINDOW_NS, Measured
from harness.report.model import HealthLine
from harness.verdicts.check import NARROW
from harness.verdicts.limits import LIMITS
from harness.verdicts.slo import Rule

__all__ = ["LIMITS", "Books", "health_lines", "rule_limits", "signs"]

_OFTEN = 0.10
"""Share of the steady windows beyond which circumstances count as lasting."""
_LITTLE = ((MESSAGES, "Little's law, messages"), (REPLIES, "Little's law, replies"), (GUESTS, "Little's law, guests"))
_FLOORS = frozenset({"achieved_rate", "arrivals"})
"""Limits that must not be fallen short of."""


class Books(NamedTuple):
    """What the run's manifest and rules say beside the journal."""

    width: float | None = None
    """Of the widest bracket at a percentile that a rule uses."""
    workers: int | None = None
    """How many there were to be."""
    think_ns: float | None = None
    """Mean think time of guests who wait for an answer before they go on (closed model); None: they do not."""
    stay_ns: float = 0.0
    """Mean length of a conversation."""


def health_lines(
    measured: Measured,
    limits: Mapping[str, Any],
    *,
    rules: bool,
    defaults: Mapping[str, float] | None = None,
    width: float | None = None,
    steady: tuple[int, int] | None = None,
    books: Books | None = None,
) -> list[HealthLine]:
    """Signs of health in a fixed order, those that decide first; what was not measured has no value.

    `rules`: rules hang on the figures. Without any, only what would falsify counts decides, all else warns. `defaults` are
    limits that follow from the rules (`rule_limits`), `width` is the widest bracket at a percentile that a rule uses.
    Circumstances (CPU, steal, pressure, collector) decide only if they lasted, over `steady` (begin and end of the full load),
    and the bracket is wide as well: then they are why. Shares are those of the worst worker, over the whole run or over the full
    load, whichever is worse: idle minutes of a drain must not make up for an overloaded one.
    """
    books = (books or Books())._replace(width=width) if width is not None else books or Books()
    loaded = _loaded(measured, steady)
    stretches = [measured.health, *(_sum(windows.values()) for windows in measured.health_workers.values()), *loaded]
    lost = len(set(measured.damage.unended) | set(measured.damage.torn))
    if books.workers is not None:
        lost = max(lost, books.workers - len(set(measured.workers) - set(measured.damage.unended)))
    lines = signs(
        measured.health,
        measured.histograms.get(SEND_DELAY),
        measured.count("messages|invoked"),
        measured.count("noted|send.dropped"),
        limits,
        rules=rules,
        defaults=defaults,
        share=worst(stretches),
        arrivals=(measured.count("guests.arrived"), measured.count("noted|arrival.dropped")),
        width=books.width,
        lost=lost if measured.workers else None,
        little=_little(measured, steady, books),
    )
    if not rules or books.width is None or books.width <= NARROW or steady is None:
        return lines
    begin, end = steady
    windows = [health for at, health in measured.health_windows.items() if begin <= at and at + HEALTH_WINDOW_NS <= end]
    over = [{line.name for line in signs(health, None, 0, 0, limits, rules=rules) if line.ok is False} for health in windows]
    return [
        msgspec.structs.replace(line, decides=True)
        if line.ok is False and line.name in _CIRCUMSTANCES and sum(line.name in names for names in over) > _OFTEN * len(over)
        else line
        for line in lines
    ]


def _sum(windows: Iterable[Mapping[str, float]]) -> dict[str, float]:
    whole: dict[str, float] = {}
    for window in windows:
        merge_health(whole, window)
    return whole


def _loaded(measured: Measured, steady: tuple[int, int] | None) -> list[dict[str, float]]:
    """Each worker's health over the windows that lie within the full load."""
    if steady is None:
        return []
    begin, end = steady
    return [
        _sum(health for at, health in windows.items() if begin <= at and at + HEALTH_WINDOW_NS <= end)
        for windows in measured.health_workers.values()
    ]


def _little(measured: Measured, steady: tuple[int, int] | None, books: Books) -> dict[str, float]:
    """How far Little's law is off in the full load, by the names of its signs; what cannot be said is left out."""
    if steady is None:
        return {}
    begin, end = steady
    inside = [(at, health) for at, health in measured.health_windows.items() if begin <= at and at + HEALTH_WINDOW_NS <= end]
    length = len(inside) * HEALTH_WINDOW_NS
    health = _sum(one for _, one in inside)
    found = {}
    for name, sign in _LITTLE:
        if name != GUESTS:
            law = balance(health, name, length)
        else:
            think = books.think_ns
            law = None if think is None else population(health, length, think_ns=think, stay_ns=books.stay_ns)
        if law is not None:
            found[sign] = law.off
    return found


def rule_limits(rules: Iterable[Rule]) -> dict[str, float]:
    """Limits that follow from the rules: a message may leave late by 5 % of the shortest time that a rule asks for.

    Of the limit, not of the percentile as measured: it is known before the load, so the same limit holds while the run goes on and
    in its report, and a run in which everything is quick is not held to a sharper one.
    """
    times = [float(rule.limit) / 1e6 for rule in rules if rule.kind == "percentile" and rule.part == "response" and rule.upper]
    return {"send_delay_p99_ms": max(5.0, round(0.05 * min(times), 6))} if times else {}


_CIRCUMSTANCES = frozenset(
    {"waiting for a CPU", "longest GC pause", "GC share", "CPU", "steal", "CPU pressure", "CPU throttled", "loop rather busy"}
)
"""Signs that warn, and decide where they lasted and the bracket is wide."""


def signs(
    health: Mapping[str, float],
    delays: Histogram | None,
    sent: int,
    dropped: int,
    limits: Mapping[str, Any],
    *,
    rules: bool,
    defaults: Mapping[str, float] | None = None,
    share: Shares | None = None,
    arrivals: tuple[int, int] = (0, 0),
    width: float | None = None,
    lost: int | None = None,
    little: Mapping[str, float] | None = None,
) -> list[HealthLine]:
    """The same of any stretch of time: health figures, send delays, messages sent, and those that were not but should have been.

    `share`: where the shares of `health` are not those that count. `arrivals`: guests who came, and those who found no place.
    `width`, `lost` and `little`: what is known at the end alone.
    """
    usual = {**LIMITS, **(defaults or {})}
    if share is None:
        share = shares(health)
    delay = delays.percentile(Fraction(99, 100)) if delays is not None else None
    achieved = share.started if share.started is not None else sent / (sent + dropped) if sent + dropped else None
    came, turned_away = arrivals
    refused = [health[name] for name in ("open_files.refused", "ports.exhausted") if name in health]
    drops = [health[name] for name in ("net.listen_drops", "net.receive_drops") if name in health]
    law = little or {}
    table: list[tuple[str, str, float | None, str, bool]] = [
        ("send delay p99", "send_delay_p99_ms", None if delay is None else delay / 1000, "ms", rules),
        ("bracket width", "bracket", width, "", rules),
        ("loop busy", "loop_busy", share.busy, "", rules),
        ("sent/planned", "achieved_rate", achieved, "", rules),
        ("workers lost", "workers_lost", lost, "", True),
        ("guests come/planned", "arrivals", came / (came + turned_away) if came + turned_away else None, "", rules),
        ("refused by the system", "refused_by_system", sum(refused) if refused else None, "", rules),
        ("journal errors", "journal_errors", health.get("journal.errors"), "", True),
        *((sign, "little", law.get(sign), "", rules and name != GUESTS) for name, sign in _LITTLE),
        ("late sends", "late_sends", _late(delays, limits, usual), "", False),
        ("loop rather busy", "loop_busy_warn", share.busy, "", False),
        ("blocked loop turns", "loop_blocked", health.get("loop.blocked"), "", False),
        ("waiting for a CPU", "cpu_wait", share.waiting, "", False),
        ("longest GC pause", "gc_pause_ms", _ms(health.get("gc.pause_ns.max")), "ms", False),
        ("GC share", "gc_share", share.paused, "", False),
        ("CPU", "cpu", share.cpu, "", False),
        ("steal", "steal", share.steal, "", False),
        ("CPU pressure", "pressure", health.get("pressure.max"), "%", False),
        ("CPU throttled", "cpu_throttled", share.throttled, "", False),
        ("dropped by the kernel", "network_drops", sum(drops) if drops else None, "", False),
        ("open files", "open_files", share.files, "", False),
        ("local ports", "local_ports", share.ports, "", False),
        ("wall clock steps", "wall_steps", health.get("clock.wall_steps"), "", False),
        ("machine suspended", "suspensions", health.get("clock.suspensions"), "", False),
    ]
    lines = []
    for name, key, value, unit, decides in table:
        limit = _limit(limits, key, usual)
        default = usual[key] if limit != usual[key] else None
        ok = None if value is None else value >= limit if key in _FLOORS else value <= limit
        lines.append(HealthLine(name, None if value is None else round(value, 6), limit, unit, ok, decides, default))
    return lines


def _late(delays: Histogram | None, limits: Mapping[str, Any], usual: Mapping[str, float]) -> float | None:
    """Share of the messages that left later than the limit of the send delay."""
    if delays is None or not delays.count:
        return None
    limit = _limit(limits, "send_delay_p99_ms", usual)
    return 1 - delays.at_or_below(round(1000 * limit)) / delays.count if limit >= 0 else 1.0


def _ms(ns: float | None) -> float | None:
    return None if ns is None else ns / 1e6


def _limit(limits: Mapping[str, Any], name: str, usual: Mapping[str, float]) -> float:
    given = limits.get(name)
    return float(given) if isinstance(given, int | float) and not isinstance(given, bool) else usual[name]
