"""One endpoint or frame kind: what limit of rate there is, and whom it counts, within the requests that it may cost."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time

from harness.core.probing import FrameProbe, HoldProbe, RequestProbe, UpgradeProbe
from harness.search.limits.finding import Finding
from harness.search.limits.prober import Prober
from harness.search.limits.scope import Outcome, Variation
from harness.swarm.probe_drive import drive
from harness.swarm.probe_guests import Cast, ProbeGuest
from harness.swarm.probe_plan import probe_plan
from harness.swarm.probe_scope import ScopeProbe, Turns, allowed_meanwhile, given, other_identity, scope_of, scope_search
from harness.swarm.probe_shots import shooter
from harness.swarm.probe_stage import FIRST, Place, Stage

_PATIENCE_NS = 10_000_000_000
"""For an answer, where no prober says how long."""


class RateSearch:
    """Of one thing."""

    def __init__(self, stage: Stage, place: Place, cast: Cast) -> None:
        self._stage, self._place, self._cast = stage, place, cast
        assert not isinstance(place.one.probe, HoldProbe)
        self._probe: RequestProbe | UpgradeProbe | FrameProbe = place.one.probe
        self._left = stage.table.max_requests
        """What the search, scope included, may still send."""
        self.trips: list[float] = []
        """Round trips, s."""

    def find(self) -> Finding | None:
        """The limit; None: it could not begin."""
        stage, one = self._stage, self._place.one
        guest = stage.ready(one, self._cast, FIRST)
        if guest is None:
            return None
        prober = Prober(probe_plan(stage.table, stage.per_s), time.monotonic_ns())
        shots = shooter(self._cast, self._probe, FIRST, guest)
        try:
            drive(prober, shots, stage.halt, stage.line(one, FIRST), lambda: self._progress(prober))
        finally:
            shots.end()
        finding = prober.finding()
        self._left -= prober.requests
        self.trips = [(row.received_ns - row.sent_ns) / 1e9 for row in prober.rows if row.received_ns is not None]
        stage.found(one, finding)
        return finding

    def _progress(self, prober: Prober) -> None:
        if self._stage.due():
            refused = sum(row.accepted is False for row in prober.rows)
            self._stage.tell(self._place, prober.phase, prober.requests, refused)

    def scope(self, finding: Finding) -> str:
        """Whom it counts."""
        stage, one = self._stage, self._place.one
        able = tuple(name for name in self._cast.probes.dimensions if name not in self._probe.anonymous)
        search = scope_search(able, given(stage.table, stage.order.clients), finding.burst or finding.limit or 1.0)
        outcomes: dict[str, Outcome] = {}
        first = stage.ready(one, self._cast, FIRST)
        while first is not None and not stage.halt.why and (wanted := search.next()) is not None:
            stage.tell(self._place, f"scope, {wanted.changed}", now=True)
            turns = self._turns(first, wanted)
            if turns is None:
                outcomes[wanted.changed] = search.update(wanted, accepted=0, refused=0)
                continue
            outcomes[wanted.changed] = search.update(
                wanted,
                accepted=turns.other,
                refused=turns.asks - turns.other,
                allowed=allowed_meanwhile(finding.rate_per_s, turns.took_s),
                still_drained=2 * turns.first <= turns.asks,
            )
        found = scope_of(search, outcomes, self._probe.anonymous)
        stage.journal.write({"kind": "scope", "what": one.name, "scope": found})
        stage.say({"kind": "found", "text": f"{one.name}: scope {found['scope']}"})
        return str(found["scope"])

    def _turns(self, first: ProbeGuest, wanted: Variation) -> Turns | None:
        """Both senders, the first one drained. None: no clear answer, or no requests are left for it."""
        stage, one = self._stage, self._place.one
        identity, most = other_identity(wanted.changed), self._left - 2 * wanted.asks
        if most <= 0 or (guest := stage.ready(one, self._cast, identity)) is None:
            return None
        shots = shooter(self._cast, self._probe, FIRST, first), shooter(self._cast, self._probe, identity, guest)
        spacing = max(stage.table.spacing, round(1e9 / stage.per_s))
        probe = ScopeProbe(shots[0], stage.line(one, FIRST), stage.halt, spacing_ns=spacing, most=most, patience_ns=_PATIENCE_NS)
        try:
            return probe.turns(wanted.asks, shots[1], stage.line(one, identity))
        finally:
            self._left -= probe.sent
            for shot in shots:
                shot.end()
