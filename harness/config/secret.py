"""Secrets reach a run by reference only: `env:NAME` or `file:path`. A literal one is refused and never repeated."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.core.credentials import Secret
from harness.errors import ScenarioError

_REFERENCE = re.compile(r"(env):([A-Za-z_][A-Za-z0-9_]*)\Z|(file):(.+)\Z", re.DOTALL)
_SMELLS = re.compile(
    r"(^|_)(secret|password|passwd|passphrase|api_?key|private_?key|access_token|refresh_token|bearer)$",
    re.IGNORECASE,
)
_SMELLS_IN_TARGET = re.compile(r"token|auth(orization|orisation)?", re.IGNORECASE)
"""Elsewhere these are ordinary words, such as the latency of `token`."""

HOW = 'write "env:NAME" or "file:path" and put the secret there; a secret itself never belongs into a scenario'


def reference(value: object) -> str:
    """The reference itself if it is one. Raises ValueError without the value."""
    if isinstance(value, str) and _REFERENCE.match(value):
        return value
    raise ValueError(f"is not a reference to a secret: {HOW}")


def resolve(text: str, *, environ: Mapping[str, str], folder: Path, where: str) -> Secret:
    """What a reference points at; a file's path counts from `folder`. Raises ScenarioError naming the place, never the value."""
    if text.startswith("env:"):
        name = text[4:]
        value = environ.get(name, "")
        if not value.strip():
            raise ScenarioError(
                f"the environment variable {name} is {'empty' if name in environ else 'not set'}",
                where=where,
                hint=f"export {name}=… before you start",
            )
        return Secret(value.strip())
    path = folder / text[5:]
    try:
        value = path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ScenarioError(f"cannot read the secret's file {text[5:]}: {reason}", where=where) from None
    if not value:
        raise ScenarioError(f"the secret's file {text[5:]} is empty", where=where)
    return Secret(value)


def environment_name(text: str) -> str:
    """NAME of `env:NAME`, else nothing."""
    return text[4:] if text.startswith("env:") else ""


def literal_secrets(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths of keys that sound like a secret and hold text that is no reference."""
    if isinstance(value, dict):
        for key, inner in value.items():
            here = (*path, str(key))
            smells = _SMELLS.search(str(key)) or (here[0] == "target" and _SMELLS_IN_TARGET.fullmatch(str(key)))
            if isinstance(inner, str) and smells and not _REFERENCE.match(inner):
                yield here
            else:
                yield from literal_secrets(inner, here)
    elif isinstance(value, list):
        for inner in value:
            yield from literal_secrets(inner, path)
