"""How long `guestswarm ratelimit` may take at the most, and how much it may send, for `--dry-run` and for the parent's patience."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from harness.cli.plan import Plan, where
from harness.core.spread import show_duration
from harness.report.wording import many

if TYPE_CHECKING:
    from harness.config import Scenario
    from harness.config.probed import Chosen
    from harness.config.ratelimit import RatelimitTable

_S = 10**9
_SCOPES = 4
"""Dimensions that are varied, at most."""


def longest_s(scenario: Scenario, things: Sequence[Chosen]) -> float:
    """All ceilings together, s."""
    table = scenario.document.ratelimit
    idle = 2 * table.suspected_window
    scope = _SCOPES * (idle + table.suspected_window)
    proof = (2 * (table.verify_time + idle)) if table.verify else 0
    return len(things) * (table.max_time + table.ready_within + scope + proof) / _S


def _proof(table: RatelimitTable) -> str:
    """What is sent beside the search."""
    if not table.verify:
        return "none"
    over = max(table.over_n, table.max_requests)
    at = f"{table.verify_n:,} requests or {show_duration(table.verify_time)} at the setting"
    return f"{at}, then {table.over_n:,} to {over:,} or {show_duration(table.verify_time)} above the limit"


def dry_plan(scenario: Scenario, things: Sequence[Chosen], *, simulated: bool) -> Plan:
    """What would be done."""
    table = scenario.document.ratelimit
    per_s = table.max_per_s
    if scenario.authorisation is not None and not simulated:
        per_s = min(per_s, scenario.authorisation.max_requests_per_s)
    varied = {
        "credential": (1 + len(table.credentials), "credentials"),
        "address": (max(len(table.addresses), 1), "addresses"),
        "deployment": (1 + len(table.deployments), "deployments"),
        "session": (table.sessions, "sessions"),
    }
    rows = [
        ("scenario", f"{scenario.name} ({', '.join(scenario.mix)})"),
        ("target", where(scenario, simulated=simulated)),
        ("probes", f"{len(things)}: " + ", ".join(one.name for one in things)),
        ("as whom", ", ".join(many(count, name, plural) for name, (count, plural) in varied.items())),
        ("idle before each", show_duration(2 * table.suspected_window)),
        ("ceiling of each", f"{table.max_requests:,} requests and frames, {show_duration(table.max_time)}"),
        ("proof of each", _proof(table)),
    ]
    seconds = longest_s(scenario, things)
    guests = max(table.sessions * 2 * _SCOPES, table.max_open if any(one.held for one in things) else 0)
    more = {"probes": [one.name for one in things]}
    return Plan("ratelimit", rows, math.ceil(seconds / 60) * 60 * _S, min(guests, scenario.guests.planned) or 1, per_s, more)
