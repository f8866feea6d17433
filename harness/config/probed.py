"""Which endpoints and frame kinds a scenario's `guestswarm ratelimit` looks at, in order."""

from __future__ import annotations

from dataclasses import dataclass

from harness.config.scenario import Scenario
from harness.core.probing import HoldProbe, Probe, Probes
from harness.errors import ScenarioError


@dataclass(frozen=True, slots=True)
class Chosen:
    """One thing that is probed."""

    dialect: str
    probe: Probe

    @property
    def held(self) -> bool:
        """Whether it is about how many are open at once."""
        return isinstance(self.probe, HoldProbe)

    @property
    def name(self) -> str:
        """How people and files name it."""
        return f"{self.dialect}: {self.probe.endpoint}{', open at once' if self.held else ''}"


def probes_of(scenario: Scenario) -> dict[str, Probes]:
    """What each dialect in use says can be limited."""
    return {
        name: dialect.probes(scenario.settings(name)) for name, dialect in scenario.dialects.items() if dialect.probes is not None
    }


def without_probes(scenario: Scenario) -> list[str]:
    """Dialects in use that do not say what of them can be limited: they are not guessed at."""
    return [name for name, dialect in scenario.dialects.items() if dialect.probes is None]


def chosen(scenario: Scenario) -> list[Chosen]:
    """Everything that `[ratelimit] endpoints` names, or all there is. Raises ScenarioError for a name that nothing has."""
    known = [Chosen(name, probe) for name, probes in probes_of(scenario).items() for probe in probes.probes]
    wanted = scenario.document.ratelimit.endpoints
    if not wanted:
        return known
    found: list[Chosen] = []
    for place, text in enumerate(wanted):
        fitting = [one for one in known if text in (one.name, one.probe.endpoint, f"{one.dialect}: {one.probe.endpoint}")]
        exact = [one for one in fitting if text == one.name] or fitting
        if not exact:
            names = ", ".join(dict.fromkeys(f'"{one.name}"' for one in known)) or "none: " + ", ".join(without_probes(scenario))
            where = f"ratelimit.endpoints[{place}]"
            raise ScenarioError(f"no dialect in use has {text!r}", where=where, hint=f"There are {names}.")
        found += [one for one in exact if one not in found]
    return found
