"""Nights whose folders are gone: what they came to is kept beside the runs, so that pruning makes no regression the new normal.

With only the newest runs left, a level that nobody accepted would in time be all there is to compare with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from harness.drift.history import Night
from harness.errors import RunFolderError
from harness.report.comparable import differences
from harness.runs.folder import write_json

MOST = 400
"""Nights that are kept, the newest."""
_FACTS = ("scenario", "versions", "host", "simulated", "workers", "job", "tls")


class Memory(msgspec.Struct, forbid_unknown_fields=True):
    """The file: nights in order of time, and what the manifest of the last says of scenario, versions and topology."""

    schema: Literal["guestswarm.nights/1"]
    facts: dict[str, Any]
    nights: list[Night]


def place(runs: Path, slug: str) -> Path:
    """Where the nights of a scenario are kept."""
    return Path(runs) / f"nights-{slug}.json"


def remembered(path: Path, newest: Mapping[str, Any], accepted: frozenset[str] = frozenset()) -> list[Night]:
    """The nights that are kept, held against the newest night's manifest. Raises RunFolderError for a file that is not ours."""
    memory = _read(path)
    if memory is None or _name(memory.facts) != _name(newest):  # names can be alike but for what a file's may hold
        return []
    against = [one for one in differences(memory.facts, newest) if one.matters]
    why = f"{against[0].key} {against[0].a} → {against[0].b} (or since)" if against else ""
    return [msgspec.structs.replace(night, fit=night.fit or why, accepted=night.id in accepted) for night in memory.nights]


def remember(path: Path, manifest: Mapping[str, Any], nights: Sequence[Night]) -> None:
    """Keep these nights (in order of time, the last of this manifest).

    Nothing changes by an earlier night than the last one kept, nor by one that is like none before it: a single run with another
    load must not make strangers of all the others.
    """
    memory = _read(path)
    if memory is not None and memory.nights and _name(memory.facts) == _name(manifest):
        later = _when(memory.nights[-1]) > _when(nights[-1])
        if later or all(night.fit for night in nights[:-1]):
            return
    kept = [night for night in nights if night.verdict][-MOST:]
    facts = {key: manifest[key] for key in _FACTS if key in manifest}
    write_json(path, msgspec.to_builtins(Memory("guestswarm.nights/1", facts, kept)))


def _name(facts: Mapping[str, Any]) -> object:
    table = facts.get("scenario")
    inner = table.get("scenario") if isinstance(table, Mapping) else None
    return inner.get("name") if isinstance(inner, Mapping) else None


def _when(night: Night) -> tuple[str, str]:
    return night.started_utc, night.id


def _read(path: Path) -> Memory | None:
    try:
        return msgspec.json.decode(Path(path).read_bytes(), type=Memory)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise RunFolderError(
            f"cannot be read: {error}", where=str(path), hint="Remove it to go on without the nights whose folders are gone."
        ) from None
