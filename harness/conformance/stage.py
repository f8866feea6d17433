"""How a scene of a transcript is begun, where it does not begin from nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class NonConformance(AssertionError):  # noqa: N818
    """A half does not do what it should."""


@dataclass(frozen=True)
class Stage:
    """What a project's tests know of one scene and its lines do not say. All of it is optional."""

    after: tuple[str, ...] | None = None
    """Scenes played first, in the same life. None: what the scene's first line names by `after`, if it does."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """Placeholders that stand for something beforehand."""
    forget: tuple[str, ...] = ()
    """Placeholders that mean something new from here on, such as a token that is renewed."""
    prepare: Callable[[Any], object] | None = None
    """Called with the player before anything is played."""
    begin: Callable[[Any], object] | None = None
    """Called with the player before the scene's first line: a dropped socket, time that passes, something said."""
    before: Mapping[int, Callable[[Any], object]] = field(default_factory=dict)
    """The same before a line in the middle, counted from 0."""
    only: tuple[int, ...] | None = None
    """The lines that are this half's matter. None: all."""
    skip: str = ""
    """Why this half cannot play the scene at all."""

    # guest half
    settings: Mapping[str, Any] = field(default_factory=dict)
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    free: bool = False
    """Whether the guest speaks and acts by its own script; else it says only what the transcript says."""

    # server half
    table: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `[simulator]`."""
    gather: Callable[[Any, Line, Any], Any] | None = None
    """Called with player, line and body where an answer may come in several: gives the whole."""


Stages = Mapping[str, Stage]


@dataclass(frozen=True)
class Script:
    """A transcript with its stages."""

    scenes: Mapping[str, list[Line]]
    stages: Stages

    @classmethod
    def of(cls, transcript: Path, stages: Stages, read: Callable[[Path], dict[str, list[Line]]]) -> Script:
        """Read it by the reader of that half. A stage for a scene that does not exist is refused: it would prove nothing."""
        found = read(transcript)
        if strangers := set(stages) - set(found):
            raise NonConformance(f"{transcript.name} has no scene {', '.join(sorted(strangers))}")
        return cls(found, stages)

    def stage(self, scene: str) -> Stage:
        """The scene's stage."""
        return self.stages.get(scene, Stage())

    def playlist(self, scene: str) -> list[str]:
        """The scenes to play, this one last."""
        after = self.stage(scene).after
        if after is None:
            named = self.scenes[scene][0].get("after")
            return [*self.playlist(named), scene] if named else [scene]
        return [*after, scene]

    def lines(self, scene: str) -> list[tuple[int, Line]]:
        """The scene's lines that are to be played, with their numbers."""
        only = self.stage(scene).only
        return [(number, line) for number, line in enumerate(self.scenes[scene]) if only is None or number in only]
