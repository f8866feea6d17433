"""Whether two runs may be held against each other: what differs in scenario, version, load and topology. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from harness.core.spread import parse_duration

_HARMLESS = (
    "scenario.seed",
    "scenario.name",
    "target.credentials",
    "target.answer_within",
    "slo.",
    "report.",
    "health.",
    "authorisation.",
    "capacity.",
    "ratelimit.",
    "soak.",
    "load.settle",
    "load.drain",
    "simulator.credentials.",
)
"""Keys of a scenario that change neither what the target is asked for nor what is measured."""
_LENGTH = "load.duration"
LENGTHS = 0.8
"""Share of the longer run's length that the other has at least. With `--until` no two nights are equally long to the second, and
that of a clock change is an hour shorter or longer: neither is another load."""
_TEXT = 60


class Difference(msgspec.Struct, frozen=True):
    """One thing that is not the same in both."""

    key: str
    a: str
    b: str
    matters: bool
    """Whether figures of the two must not be compared because of it."""


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[Difference]:
    """What differs between the manifests of two runs, what matters first."""
    one, other = dict(_facts(a)), dict(_facts(b))
    found = []
    for key in sorted(one.keys() | other.keys()):
        x, y = one.get(key), other.get(key)
        if x != y:
            matters = not _as_long(x, y) if key == _LENGTH else _matters(key)
            found.append(Difference(key, _shown(x), _shown(y), matters))
    return sorted(found, key=lambda difference: (not difference.matters, difference.key))


def _facts(manifest: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    scenario = manifest.get("scenario")
    if isinstance(scenario, Mapping):
        yield from _leaves(scenario, "")
    versions, host = manifest.get("versions"), manifest.get("host")
    for name, version in (versions if isinstance(versions, Mapping) else {}).items():
        yield f"version of {name}", version
    for name, value in (host if isinstance(host, Mapping) else {}).items():
        yield f"host {name}", value
    yield "simulated", bool(manifest.get("simulated"))
    yield "load processes", manifest.get("workers") or 1
    job = manifest.get("job")
    yield "tls", bool(manifest.get("tls") or (isinstance(job, Mapping) and job.get("tls")))


def _leaves(table: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        path = f"{above}{key}"
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _matters(key: str) -> bool:
    if key.startswith("version of "):
        return key == "version of guestswarm"
    if key.startswith("host "):
        return key == "host cpus"
    # A table that is empty or was not given is one value under the table's own name.
    return not any(key == name.removesuffix(".") or (name.endswith(".") and key.startswith(name)) for name in _HARMLESS)


def _as_long(a: Any, b: Any) -> bool:
    """Whether two lengths of full load are alike enough."""
    try:
        lengths = sorted(parse_duration(str(length)) for length in (a, b))
    except ValueError:
        return False
    return lengths[0] >= LENGTHS * lengths[1]


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    text = str(value)
    return text if len(text) <= _TEXT else text[: _TEXT - 1] + "…"
