"""The job of a probe process: each chosen endpoint probed, settings recommended, then proven; all of it written down.

What is known so far is in `probes.jsonl` at any moment, so that an interrupted job can be reported.
"""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
import traceback
from datetime import UTC, datetime
from urllib.parse import urlsplit

from gevent.hub import get_hub

from harness.config import window_left
from harness.config.probed import Chosen, chosen, without_probes
from harness.core.probing import HoldProbe
from harness.core.session import GuestSession
from harness.dialects.registry import all_dialects
from harness.swarm.guard import check_source
from harness.swarm.network import Ceiling, Network
from harness.swarm.preflight import knock
from harness.swarm.probe_advice import FRAGMENT, Adviser
from harness.swarm.probe_drive import Halt
from harness.swarm.probe_guests import Cast, networks_of, targets_of
from harness.swarm.probe_open import look_at_open
from harness.swarm.probe_rate import RateSearch
from harness.swarm.probe_stage import Journal, Place, ProbeOrder, Say, Stage

__all__ = ["FRAGMENT", "PROBES", "ProbeOrder", "ProbeRun"]
PROBES = "probes.jsonl"
_SLOTS_APART = 100_000
_CHECK_NS = 1_000_000_000
_CLOSING_NS = 1_000_000_000


class ProbeRun:
    """Everything, one endpoint after the other."""

    def __init__(self, order: ProbeOrder, network: Network, say: Say) -> None:
        self.order = order
        scenario = order.scenario
        table = scenario.document.ratelimit
        per_s = table.max_per_s
        if network.ceiling is not None and scenario.authorisation is not None:
            per_s = min(per_s, scenario.authorisation.max_requests_per_s)
        network.ceiling = Ceiling(per_s)
        self.network, self.per_s, self._say = network, per_s, say
        self.journal = Journal(order.folder / PROBES)
        self.halt = Halt(self._why_not)
        self.ended = "finished"
        self._hub = get_hub()
        self._told = 0
        self._checked_ns, self._shut = 0, ""
        self._casts: dict[str, Cast] = {}
        self._networks = networks_of(network, scenario, table.addresses)
        self._targets = targets_of(scenario, network, order.clients)
        self._stage = Stage(order, table, per_s, self.journal, self.halt, say)
        self._adviser = Adviser(self._stage)
        self.faults = 0

    # ---------------------------------------------------------------- being told
    def told_to_stop(self, word: str) -> None:
        """End the probe that is on; what is known is written."""
        self._told += 1
        self.ended = word
        self.halt.tell(word)

    def hurry_from_thread(self) -> None:
        """The parent has gone."""
        self._hub.loop.run_callback_threadsafe(self.told_to_stop, "orphaned")

    def _why_not(self) -> str:
        """Whether the approved window has shut meanwhile."""
        approval = self.order.scenario.authorisation
        now = time.monotonic_ns()
        if approval is None or self.network.simulated or now < self._checked_ns + _CHECK_NS:
            return self._shut
        self._checked_ns = now
        foreign = any(not self.network.guard.is_local(urlsplit(url).hostname or "") for url in self.network.bases.values())
        if foreign and not window_left(approval, datetime.now(UTC)):
            self._shut = "the approved window has shut"
            self.ended = "window"
        return self._shut

    # ---------------------------------------------------------------- before
    def preflight(self) -> None:
        """Judge every address, then knock at each once; sends no probe.

        Raises UsageError for a source address that is not this machine's, NotAuthorisedError or UnreachableError.
        """
        scenario, network = self.order.scenario, self.network
        for place, address in enumerate(scenario.document.ratelimit.addresses):
            check_source(address, f"ratelimit.addresses[{place}]")
        origins = {network.origin(base): base for dialect in scenario.dialects.values() for base in dialect.bases}
        for origin in origins:
            network.guard.judge(origin.host)
        for origin, base in origins.items():
            knock(network, origin, base, scenario.target.answer_within / 1e9)

    # ---------------------------------------------------------------- the job
    def carry_out(self) -> None:
        """All of it."""
        self.journal.write({"kind": "begin", "at_ns": time.monotonic_ns(), "max_per_s": self.per_s})
        for name in without_probes(self.order.scenario):
            self.journal.write({"kind": "unprobed", "dialect": name})
        things = chosen(self.order.scenario)
        places = [Place(one, number, len(things)) for number, one in enumerate(things, 1)]
        for place in places:
            if self.halt.why:
                self._skip(place.one)
            else:
                self._look_at(place)
        for place in places:
            if not self.halt.why and self._stage.table.verify:
                self._adviser.prove(place, self._cast(place.one.dialect))
        self.end()

    def end(self) -> None:
        """Guests are let go and the journal is closed."""
        for cast in self._casts.values():
            cast.end()
        self.journal.write({"kind": "end", "ended": self.ended, "at_ns": time.monotonic_ns()})
        self.journal.close()
        self._say({"kind": "end", "ended": self.ended})

    def _skip(self, one: Chosen) -> None:
        head = {"kind": "skipped", "what": one.name, "dialect": one.dialect, "endpoint": one.probe.endpoint, "held": one.held}
        self.journal.write({**head, "why": self.halt.why})

    def _look_at(self, place: Place) -> None:
        """One thing: what limit there is, whom it counts, and what to keep to."""
        one, stage = place.one, self._stage
        cast, probe = self._cast(one.dialect), one.probe
        head = {"kind": "probe", "what": one.name, "dialect": one.dialect, "endpoint": probe.endpoint}
        self.journal.write({**head, "held": one.held, "note": probe.note})
        stage.tell(place, "preparing", now=True)
        if isinstance(probe, HoldProbe):
            for other in self._casts.values():
                other.end()  # what they have open counts as well
            self.halt.sleep_until(time.monotonic_ns() + _CLOSING_NS)
            look_at_open(stage, place, cast, probe, self._adviser)
            return
        search = RateSearch(stage, place, cast)
        finding = search.find()
        if finding is None:
            return
        scope = "unknown"
        if not finding.shared and finding.kind not in ("none", "unknown") and not self.halt.why:
            scope = search.scope(finding)
        self._adviser.advise(one, finding, scope, search.trips)

    def _cast(self, dialect: str) -> Cast:
        cast = self._casts.get(dialect)
        if cast is None:
            order = self.order
            cast = self._casts[dialect] = Cast(
                order.scenario,
                all_dialects()[dialect],
                networks=self._networks,
                targets=self._targets,
                run=order.run,
                wall_offset_ns=order.wall_offset_ns,
                on_fault=self._on_fault,
                first_slot=1 + len(self._casts) * _SLOTS_APART,
            )
        return cast

    def _on_fault(self, session: GuestSession, error: BaseException) -> None:
        self.faults += 1
        text = "".join(traceback.format_exception(error))
        self._say({"kind": "note", "text": f"guest {session.label}: {type(error).__name__}: {error}"})
        (self.order.folder / "probe-faults.txt").open("a", encoding="utf-8").write(text)
