"""One thing that stays open: how many at once, whom that counts, and the proof while they are open."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

from harness.core.probing import HoldProbe
from harness.search.limits.scope import Outcome
from harness.swarm.probe_advice import Adviser
from harness.swarm.probe_guests import Cast
from harness.swarm.probe_hold import Holder
from harness.swarm.probe_plan import hold_plan
from harness.swarm.probe_scope import given, other_identity, scope_of, scope_search
from harness.swarm.probe_stage import Place, Stage


def look_at_open(stage: Stage, place: Place, cast: Cast, probe: HoldProbe, adviser: Adviser) -> None:
    """All of it; nothing else is to be open meanwhile."""
    one, table = place.one, stage.table
    holder = Holder(
        cast,
        probe,
        stage.halt,
        lambda identity: stage.line(one, identity),
        lambda phase, sent, refused: stage.tell(place, phase, sent, refused),
        within_s=table.ready_within / 1e9,
    )
    try:
        finding = holder.find(hold_plan(table))
        stage.found(one, finding)
        if finding.kind != "concurrency" or stage.halt.why:
            return
        scope = _scope(stage, place, cast, probe, holder)
        if adviser.advise(one, finding, scope) is not None and table.verify and not stage.halt.why:
            adviser.prove_held(one, holder)
    finally:
        holder.end()


def _scope(stage: Stage, place: Place, cast: Cast, probe: HoldProbe, holder: Holder) -> str:
    able = tuple(name for name in cast.probes.dimensions if name not in probe.anonymous)
    search = scope_search(able, {**given(stage.table, stage.order.clients), "session": 2}, 1, retries=0)
    outcomes: dict[str, Outcome] = {}
    while not stage.halt.why and (wanted := search.next()) is not None:
        # Each of those that are open has a session of its own already: another one is what was refused.
        let_in = False if wanted.changed == "session" else holder.vary(other_identity(wanted.changed))
        counts = (0, 0) if let_in is None else (int(let_in), int(not let_in))
        outcomes[wanted.changed] = search.update(wanted, accepted=counts[0], refused=counts[1], allowed=0)
    found = scope_of(search, outcomes, probe.anonymous)
    stage.journal.write({"kind": "scope", "what": place.name, "scope": found})
    stage.say({"kind": "found", "text": f"{place.name}: scope {found['scope']}"})
    return str(found["scope"])
