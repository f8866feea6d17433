"""From what was found to client settings, written down as they become known, and their proof."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

from collections.abc import Sequence
from dataclasses import dataclass

from harness.config.probed import Chosen
from harness.config.recommended import Advised, fragment, most_guests, remarks, to_toml
from harness.core.probing import HoldProbe
from harness.search.limits.finding import Finding
from harness.search.limits.recommend import Advice, advise
from harness.swarm.probe_guests import Cast
from harness.swarm.probe_hold import Holder
from harness.swarm.probe_proof import Proof, ProofRun, jitter_s
from harness.swarm.probe_shots import shooter
from harness.swarm.probe_stage import FIRST, Place, Stage

FRAGMENT = "recommended.toml"
_TURNOVER = 20
"""Openings by which a limit of what is open at once is proven: each takes a guest of its own."""


@dataclass(frozen=True, slots=True)
class _Found:
    """What is known of one thing."""

    finding: Finding
    advice: Advice


class Adviser:
    """Settings for all that was found, and the proof of each."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._guests = stage.table.guests or stage.order.scenario.guests.planned
        self._found: dict[str, _Found] = {}
        self._advised: list[Advised] = []

    def advise(self, one: Chosen, finding: Finding, scope: str, trips: Sequence[float] = ()) -> Advice | None:
        """What to keep to here, on disk at once. None: nothing can be said."""
        advice = advise(one.probe.endpoint, finding, guests=self._guests, jitter_s=jitter_s(trips))
        if advice.rate_per_s is None and finding.kind != "concurrency":
            return None
        self._found[one.name] = _Found(finding, advice)
        settings = type(self._stage.order.scenario.settings(one.dialect))
        held = finding.limit if finding.kind == "concurrency" else None
        advised = Advised(one.dialect, one.probe.endpoint, scope, advice, settings, held)
        self._advised.append(advised)
        most = most_guests(advised, self._stage.order.scenario.mix.get(one.dialect, 1.0))
        hold = {} if held is None else {"hold": held, "most_guests": most, "most_guests_key": self._count_key}
        self._stage.journal.write({"kind": "recommendation", "what": one.name, "recommendation": {**advice.as_data(), **hold}})
        self._write_fragment()
        return advice

    def _write_fragment(self) -> None:
        """`recommended.toml` as far as it goes."""
        scenario = self._stage.order.scenario
        planned, key = scenario.guests.planned, self._count_key
        tables = fragment(self._advised, self._guests, scenario.mix, planned=planned, count_key=key)
        notes = remarks(self._advised, scenario.mix, planned=planned, count_key=key)
        if tables or notes:
            head = f"Settings that keep {self._guests} guests of {scenario.name} within the rate limits that were found.\n"
            head = "\n".join([head + "guestswarm run SCENARIO --include recommended.toml", *notes])
            (self._stage.order.folder / FRAGMENT).write_text(to_toml(tables, head), "utf-8")

    @property
    def _count_key(self) -> str:
        """Where the scenario says how many guests there are at a time."""
        return "max_guests" if self._stage.order.scenario.guests.count is None else "count"

    # ---------------------------------------------------------------- proof
    def prove(self, place: Place, cast: Cast) -> None:
        """The recommended pace, saturated; then a little more than is allowed."""
        stage, one = self._stage, place.one
        known = self._found.get(one.name)
        if known is None or known.advice.rate_per_s is None or isinstance(one.probe, HoldProbe):
            return
        guest = stage.ready(one, cast, FIRST)
        if guest is None or stage.halt.why:
            return
        finding = known.finding
        shots = shooter(cast, one.probe, FIRST, guest)
        run = ProofRun(shots, stage.line(one, FIRST), stage.halt, stage.table, stage.per_s)
        try:
            stage.tell(place, "proof, at the setting", now=True)
            run.rest(finding)
            self._write(one, "at", run.at(known.advice, finding))
            if finding.confirmed and not stage.halt.why:
                stage.tell(place, "proof, above the limit", now=True)
                self._write(one, "over", run.over(finding))
        finally:
            shots.end()

    def prove_held(self, one: Chosen, holder: Holder) -> None:
        """With as many open as are allowed: one closed lets one in, and one more is refused."""
        n, refused = holder.turnover(min(self._stage.table.verify_n, _TURNOVER))
        limit = self._found[one.name].finding.limit
        words = f"With {limit} open, closing one let another in {n - refused:,} of {n:,} times."
        self._write(one, "at", Proof(n, refused, n > 0 and not refused, words, bound=3 / n if n and not refused else None))
        over = holder.one_more()
        words = f"One more was {'let in: the limit is not where it was found' if over else 'refused'}."
        self._write(one, "over", Proof(1, int(over is False), over is False, words, expected="1"))

    def _write(self, one: Chosen, part: str, proof: Proof) -> None:
        self._stage.journal.write({"kind": "verification", "what": one.name, "part": part, "verification": proof.as_data()})
        self._stage.say({"kind": "found", "text": f"{one.name}: {proof.sentence}"})
