"""The checks that a dialect has to pass, for a project's pytest or for plain Python. Each raises AssertionError or returns.

suite = Suite("toy", Staging(client={"reconnect": Stage(after=("message",), begin=ClientPlayer.drop)}))
for name in suite.scenes("client"):
    suite.client_scene(name)
for seed in range(20):
    suite.any_order(seed)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from harness.conformance import transcript, witness
from harness.conformance.any_order import any_order, equal
from harness.conformance.client_half import ClientPlayer
from harness.conformance.injections import Injection, Vocabulary, rude, survive
from harness.conformance.runner import Outcome, Plan, run
from harness.conformance.scenarios import every_fault
from harness.conformance.server_half import ServerPlayer
from harness.conformance.stage import NonConformance, Script, Stage, Stages
from harness.conformance.subject import Subject, subject, subjects
from harness.core.pacing import Behaviour
from harness.core.spread import around, seconds

__all__ = ["NonConformance", "Stage", "Staging", "Subject", "Suite", "subject", "subjects"]


@dataclass(frozen=True)
class Staging:
    """What a project's tests know beyond the transcript."""

    client: Stages = field(default_factory=dict)
    server: Stages = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the target as the transcript names them (queue, skills, attributes)."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the guest that the transcript assumes."""
    table: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `[simulator]` that the transcript assumes."""


class Suite:
    """All checks of one dialect."""

    def __init__(self, one: Subject | str, staging: Staging | None = None) -> None:
        self.subject = subject(one) if isinstance(one, str) else one
        self.staging = staging or Staging()
        staged, path = self.staging, self.subject.transcript
        self.staged = replace(
            self.subject,
            target={**self.subject.target, **staged.target},
            settings={**self.subject.settings, **staged.settings},
            simulator={**self.subject.simulator, **staged.table},
        )
        self.client = Script.of(path, staged.client, transcript.scenes)
        self.server = Script.of(path, staged.server, witness.scenes)
        self.words = Vocabulary(self.subject)

    # ---------------------------------------------------------------- transcripts
    def scenes(self, half: str) -> list[str]:
        """The scenes that a half (`client` or `server`) plays; the others have a reason not to."""
        script = self.client if half == "client" else self.server
        return [name for name in script.scenes if not script.stage(name).skip]

    def client_scene(self, name: str) -> ClientPlayer:
        """The guest half alone plays a scene."""
        player = ClientPlayer(self.staged, self.client, name)
        player.play()
        return player

    def server_scene(self, name: str) -> ServerPlayer:
        """The server half alone plays a scene."""
        player = ServerPlayer(self.staged, self.server, name)
        player.play()
        return player

    # ---------------------------------------------------------------- whatever comes
    def survives(self, injections: Iterable[Injection] | int, folder: Path | None = None) -> Outcome:
        """Neither half raises, books balance, all finish, whatever is thrown in. A number is the seed of a list."""
        if isinstance(injections, int):
            rng = Random(f"rude/{self.subject.name}/{injections}")
            injections = rude(self.words, rng, 120.0, rng.choice((5, 60, 300)))
        with _place(folder) as place:
            return survive(self.subject, injections, place, words=self.words)

    def any_order(self, seed: int, folder: Path | None = None) -> Outcome:
        """A random interleaving: books balance at every moment, truth equals the journal in every row."""
        with _place(folder) as place:
            return any_order(self.subject, seed, place)

    def soak(
        self, *, hours: float = 1.0, guests: int = 20, seed: int = 1, scale: float = 1.0, folder: Path | None = None
    ) -> Outcome:
        """Every fault, for so many virtual hours; truth equals the journal in every row."""
        behaviour = Behaviour(think_time=around(8, 0.5), session_length=around(160, 0.3), reply_timeout=seconds(20))
        plan = Plan(
            subjects=(self.subject,),
            guests=guests,
            seconds=hours * 3600,
            seed=seed,
            behaviour=behaviour,
            simulator=every_fault(scale),
            interval=60,
            strict=True,
        )
        with _place(folder) as place:
            outcome = run(plan, place)
        equal(outcome, f"soak of {self.subject.name}, seed {seed}")
        if not outcome.messages:
            raise NonConformance(f"soak of {self.subject.name}: not one message came through")
        return outcome

    # ---------------------------------------------------------------- all of it
    def checks(self, *, seeds: int = 20, hours: float = 0.5, scenes: bool = True) -> Iterator[tuple[str, Any]]:
        """Every check with its name, to be called in turn; `scenes`: those of the transcript as well."""
        if scenes:
            for name in self.scenes("client"):
                yield f"client: {name}", lambda name=name: self.client_scene(name)
            for name in self.scenes("server"):
                yield f"server: {name}", lambda name=name: self.server_scene(name)
        for seed in range(seeds):
            yield f"survives: {seed}", lambda seed=seed: self.survives(seed)
            yield f"any order: {seed}", lambda seed=seed: self.any_order(seed)
        yield "soak", lambda: self.soak(hours=hours)


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield folder
        return
    with TemporaryDirectory(prefix="guestswarm-") as made:
        yield Path(made)
