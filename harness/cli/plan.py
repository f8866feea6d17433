"""`--dry-run`: what a command would do, its longest duration, its peak request rate, and whether the approval allows that."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from harness.cli.terminal import Terminal, table
from harness.drift.words import length
from harness.errors import ExitCode, NotAuthorisedError

if TYPE_CHECKING:
    from harness.config import Scenario

_STARTS = 6
"""Requests and handshakes that a guest needs before its first message, at most, whatever its dialect."""
_S = 10**9


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done."""

    command: str
    rows: Sequence[tuple[str, str]]
    """What a person wants to know, in order: name and value."""
    longest_ns: int
    """No later than that it is over, the drain included."""
    guests: int
    """The most at a time."""
    peak_per_s: float
    """The most requests and frames per second, about."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further keys of the JSON form."""


def peak_per_s(scenario: Scenario, guests: int, ramp_ns: int) -> float:
    """About the most requests and frames that so many guests of this scenario send per second.

    Guests who arrive, each with its start, beside guests who all speak as fast as they mean to: answers take no time in it, so that
    the true rate is lower.
    """
    behaviour = scenario.guests.behaviour()
    pause = behaviour.period if behaviour.pacing == "schedule" else behaviour.think_time
    messages = guests * _S / max(pause.mean, _S / 100)
    polling = sum(share for name, share in scenario.mix.items() if scenario.dialects[name].transport != "websocket")
    each = 1 + behaviour.typing + behaviour.attachments + 2 * polling  # a poll is asked again after each event it brought
    arriving = scenario.guests.arrivals_per_s or guests * _S / max(ramp_ns, _S)
    leaving = guests * _S / max(behaviour.session_length.mean + behaviour.between.mean, _S)
    return float(messages * each + (arriving + leaving) * _STARTS)


def run_plan(command: str, scenario: Scenario, *, simulated: bool) -> Plan:
    """The plan of one load of the scenario."""
    load, guests = scenario.load, scenario.guests.planned
    drain_ns = load.settle + scenario.loss_wait_ns + load.drain
    longest = load.ramp + load.duration + drain_ns
    model = f"{guests:,} guests" if scenario.guests.count else f"{scenario.guests.arrivals_per_s:g} arrivals/s, {guests:,} at most"
    rows = [
        ("scenario", f"{scenario.name} ({', '.join(scenario.mix)})"),
        ("target", where(scenario, simulated=simulated)),
        ("load", model),
        ("ramp", length(load.ramp / _S)),
        ("full load", length(load.duration / _S)),
        ("drain, at most", length(drain_ns / _S)),
    ]
    return Plan(command, rows, longest, guests, peak_per_s(scenario, guests, load.ramp))


def where(scenario: Scenario, *, simulated: bool) -> str:
    """The target in words."""
    return "embedded simulator" if simulated else ", ".join(scenario.hosts())


def objections(plan: Plan, scenario: Scenario, *, simulated: bool, now: datetime | None = None) -> list[str]:
    """Why it may not be done now; empty: it may."""
    from harness.cli.run import foreign_hosts
    from harness.config import check_authorised, window_left

    hosts = () if simulated else foreign_hosts(scenario)
    if not hosts:
        return []
    at = now or datetime.now(UTC)
    try:
        check_authorised(scenario, hosts, at)
    except NotAuthorisedError as error:
        return [str(error)]
    approval = scenario.authorisation
    assert approval is not None
    found = []
    if plan.guests > approval.max_guests:
        found.append(f"{plan.guests:,} guests at the peak, the approval allows {approval.max_guests:,}")
    if plan.peak_per_s > approval.max_requests_per_s:
        found.append(
            f"about {math.ceil(plan.peak_per_s):,} requests/s at the peak, the approval allows {approval.max_requests_per_s:g}: "
            "the guests would be held back to that"
        )
    left = window_left(approval, at).total_seconds()
    if plan.longest_ns / 1e9 > left:
        found.append(
            f"it may take {_longest(plan)} and the window {approval.window} ({approval.timezone}) is open for "
            f"{length(left)} more: it would be drained at its close"
        )
    return found


def _longest(plan: Plan) -> str:
    """No shorter than it is: `length` leaves the smallest parts out."""
    whole = math.ceil(plan.longest_ns / _S)
    return length(whole if whole < 3600 else math.ceil(whole / 60) * 60)


def tell(plan: Plan, scenario: Scenario, terminal: Terminal, *, simulated: bool) -> int:
    """Print it; returns 5 where the approval does not allow it, else 0."""
    against = objections(plan, scenario, simulated=simulated)
    approval = scenario.authorisation
    if terminal.json:
        terminal.value(
            {
                "command": plan.command,
                "plan": dict(plan.rows),
                "longest_s": round(plan.longest_ns / 1e9, 3),
                "guests": plan.guests,
                "peak_requests_per_s": round(plan.peak_per_s, 1),
                "allowed": not against,
                "objections": against,
                **plan.more,
            }
        )
    else:
        rows = [*plan.rows, ("longest duration", _longest(plan))]
        rows.append(("peak, about", f"{math.ceil(plan.peak_per_s):,} requests and frames/s"))
        if simulated or approval is None:
            rows.append(("approval", "none needed: this machine only" if not against else "missing"))
        else:
            rows.append(("approval", f"{approval.ticket}: {approval.window} {approval.timezone}, {approval.max_guests:,} guests"))
        terminal.result(table([[name, value] for name, value in rows], [f"{plan.command}:", "what would be done"]))
        for text in against:
            terminal.result(f"Not allowed: {text}.")
    return int(ExitCode.NOT_AUTHORISED) if against else int(ExitCode.PASS)
