"""A scenario that can be run: every key known, every type right, and the tables agreeing with each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from harness.config.secret import resolve
from harness.config.spelling import from_table
from harness.config.tables import (
    BASES,
    HOSTS,
    AuthorisationTable,
    LoadTable,
    ReportTable,
    SloTable,
    TargetTable,
    _Document,
    _Guests,
    window_times,
)
from harness.core.credentials import Secret
from harness.core.session import Target
from harness.core.spread import seconds, show_duration
from harness.dialects.registry import Dialect, all_dialects
from harness.errors import NotAuthorisedError

DEFAULT_LOSS_WAIT_NS = seconds(60)
SIMULATED_CLIENT = "guestswarm"
"""The client id that the simulator takes where the scenario names none."""
SIMULATED_CHANNEL = "guestswarm-channel"
SIMULATED_DEPLOYMENT = "00000000-0000-4000-8000-000000000001"
"""Sent to the simulator, which takes any, where the scenario names none."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What `load_scenario` gives back. Secrets are not in it: `client_secret` fetches the one there is."""

    folder: Path
    """Relative paths of the scenario count from here."""
    name: str
    seed: int
    mix: dict[str, float]
    """Share of each dialect in use; the shares add up to 1."""
    target: TargetTable
    guests: _Guests
    load: LoadTable
    loss_wait_ns: int
    slo: tuple[str, ...]
    slo_table: SloTable
    health: dict[str, float]
    """Limits of the generator's health by their names in `verdicts.limits.LIMITS`, those that `[health]` gives."""
    report: ReportTable
    authorisation: AuthorisationTable | None
    simulator: dict[str, Any]
    document: _Document

    @property
    def dialects(self) -> dict[str, Dialect]:
        """The dialects in use, by name."""
        return {name: all_dialects()[name] for name in self.mix}

    @property
    def simulated(self) -> bool:
        """Whether the scenario names no target, so that the simulator is one."""
        return not self.target.named

    def settings(self, dialect: str) -> Any:
        """The settings dataclass of a dialect, as this scenario has it."""
        return from_table(all_dialects()[dialect].settings, self.document.of_dialect(dialect))

    def target_bases(self, sim_port: int = 0, tls: bool = False) -> dict[str, str]:
        """Base URL of each service; all on one loopback port when `sim_port` is the simulator's."""
        if sim_port:
            return dict.fromkeys(BASES, f"{'https' if tls else 'http'}://127.0.0.1:{sim_port}")
        found = {}
        for base in BASES:
            host = self.target.org if base == "org" else HOSTS.get(base, base)
            if given := getattr(self.target.urls, base):
                found[base] = given
            elif self.target.domain and host:
                found[base] = f"https://{host}.{self.target.domain}"
        return found

    def hosts(self) -> tuple[str, ...]:
        """Host names that the dialects in use will connect to."""
        bases = self.target_bases()
        needed = [bases[base] for dialect in self.dialects.values() for base in dialect.bases if base in bases]
        return tuple(dict.fromkeys(urlsplit(url).hostname or "" for url in needed))

    def client_secret(self, environ: Mapping[str, str] = os.environ) -> Secret | None:
        """The secret that `[target] credentials` points at; None where nothing is said. Raises ScenarioError if it is not there."""
        if not self.target.credentials:
            return None
        return resolve(self.target.credentials, environ=environ, folder=self.folder, where="target.credentials")

    def session_target(self, secret: Secret) -> Target:
        """What each guest is told about where it goes."""
        target = self.target
        return Target(
            client_id=target.client_id or SIMULATED_CLIENT,
            client_secret=secret,
            queue_id=target.queue,
            channel_id=target.channel or SIMULATED_CHANNEL,
            deployment_id=target.deployment or SIMULATED_DEPLOYMENT,
            fallback_queue_id=target.fallback_queue,
            skills=target.skills,
            origin=target.origin,
            attributes=dict(target.attributes),
        )

    def ca_file(self) -> Path | None:
        """The PEM file that alone is trusted, if the scenario names one."""
        return self.folder / self.target.tls.ca if self.target.tls.ca else None

    def resolved(self) -> dict[str, Any]:
        """All of it with defaults filled in, in a scenario's own spellings; read again, it is the same."""
        document = self.document.model_dump(
            mode="json", exclude_none=True, exclude={"dialects": set(all_dialects()) - set(self.mix)}
        )
        document["scenario"].pop("dialect", None)
        document["guests"]["mix"] = dict(self.mix)
        document["load"]["loss_wait"] = show_duration(self.loss_wait_ns)
        return document


def least_loss_wait_ns(settings: Any) -> int:
    """What a dialect's own back-off asks of the loss wait: three times its longest pause, and one resync.

    Settings say so by `longest_wait_ns` and `resync_wait_ns` (numbers or methods), or by the cap of `reconnect_backoff()`; else 0.
    """
    longest = _hook(settings, "longest_wait_ns")
    if not longest:
        backoff = getattr(settings, "reconnect_backoff", None)
        longest = getattr(backoff() if callable(backoff) else backoff, "cap_ns", 0)
    return 3 * longest + _hook(settings, "resync_wait_ns") if longest else 0


def _hook(settings: Any, name: str) -> int:
    value: int | Callable[[], int] | None = getattr(settings, name, None)
    if callable(value):
        value = value()
    return value or 0


def covers(authorisation: AuthorisationTable, host: str) -> bool:
    """Whether the approval names this host."""
    host = host.lower().rstrip(".")
    for pattern in authorisation.hosts:
        pattern = pattern.lower().rstrip(".")
        if host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])):
            return True
    return False


def window_left(authorisation: AuthorisationTable, now: datetime) -> timedelta:
    """How long the window is still open at `now` (aware); zero when it is shut."""
    zone = ZoneInfo(authorisation.timezone)
    local = now.astimezone(zone)
    begin, end = window_times(authorisation.window)
    for days in (-1, 0):
        day = local.date() + timedelta(days=days)
        opens = datetime.combine(day, begin, zone)
        shuts = datetime.combine(day + timedelta(days=1 if end < begin else 0), end, zone)
        if opens.astimezone(UTC) <= now < shuts.astimezone(UTC):
            return shuts.astimezone(UTC) - now.astimezone(UTC)
    return timedelta(0)


def check_authorised(scenario: Scenario, hosts: tuple[str, ...], now: datetime) -> None:
    """Whether the run may begin `now` against `hosts`, none of which is this machine. Raises NotAuthorisedError."""
    if not hosts:
        return
    authorisation = scenario.authorisation
    if authorisation is None:
        raise NotAuthorisedError(
            "the target is off this machine and the scenario has no [authorisation]",
            where=", ".join(hosts),
            hint="Load on a service needs its owner's approval: hosts, ticket, window, timezone, max_guests, max_requests_per_s.",
        )
    for host in hosts:
        if not covers(authorisation, host):
            raise NotAuthorisedError("the approval does not name this host", where=host, hint="See [authorisation] hosts.")
    if scenario.guests.planned > authorisation.max_guests:
        raise NotAuthorisedError(f"{scenario.guests.planned} guests are planned, the approval allows {authorisation.max_guests}")
    if not window_left(authorisation, now):
        raise NotAuthorisedError(
            f"the approved window {authorisation.window} ({authorisation.timezone}) is shut now",
            hint=f"It is {now.astimezone(ZoneInfo(authorisation.timezone)):%H:%M} there.",
        )
