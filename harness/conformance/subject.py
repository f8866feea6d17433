"""What is examined: both halves of a dialect, and what the two must be told to work together in virtual time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import harness.dialects
from harness.dialects.registry import Dialect, all_dialects
from harness.simulator.dialects import registry
from harness.simulator.dialects.base import DialectHalf


@dataclass(frozen=True)
class Subject:
    """A dialect with both its halves. Without a server half only what needs none can be examined."""

    dialect: Dialect
    half: type[DialectHalf] | None
    target: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `core.guest.Target` that the dialect needs and the common ones do not give."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the dialect that differ from their defaults."""
    simulator: Mapping[str, Any] = field(default_factory=dict)
    """Keys of `[simulator]` that the dialect needs."""

    @property
    def name(self) -> str:
        """The dialect's name."""
        return self.dialect.name

    @property
    def transcript(self) -> Path:
        """The file of its transcript."""
        return Path(harness.dialects.__file__).parent / "transcripts" / self.dialect.transcript

    def made_settings(self, **changes: Any) -> Any:
        """The dialect's settings."""
        return self.dialect.settings(**{**self.settings, **changes})


def subject(name: str) -> Subject:
    """The registered dialect of that name; KeyError where there is none."""
    return Subject(all_dialects()[name], registry.half(name) if name in registry.specs() else None)


def subjects() -> tuple[Subject, ...]:
    """Every registered dialect that has both halves."""
    return tuple(subject(name) for name in all_dialects() if name in registry.specs())
