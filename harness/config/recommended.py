"""From what is advised per endpoint to what a scenario should say: the settings that keep guests within the limits found.

Pure. Only keys that exist and change what guests do are written; what is shared by all guests is divided among them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

from harness.core.spread import show_duration
from harness.search.limits.recommend import Advice

_PER_SESSION = ("session", "connection")
_S = 10**9


# -------------------------------------------------------------------- as a fragment of a scenario
@dataclass(frozen=True, slots=True)
class Advised:
    """An endpoint and what to keep to there."""

    dialect: str
    endpoint: str
    scope: str
    advice: Advice
    settings: type
    """The dialect's settings dataclass."""
    hold: int | None = None
    """So many may be open at once; None: not a limit of that."""

    @property
    def spread_s(self) -> float | None:
        """Over which all guests have to come, where the limit counts them together."""
        return None if self.scope in _PER_SESSION else self.advice.reconnect_spread_s


def fragment(
    found: Sequence[Advised], guests: int, mixed: Mapping[str, float], *, planned: int = 0, count_key: str = "count"
) -> dict[str, Any]:
    """Tables of a scenario for so many guests; `mixed` are the dialects' shares.

    `planned`: so many there are at a time in the scenario, as `[guests] count_key` says.
    """
    tables: dict[str, Any] = {}
    _messages(tables, found, guests, mixed)
    most = [cap for one in found if (cap := most_guests(one, mixed.get(one.dialect, 1.0))) is not None]
    if most and 0 < min(most) < planned:
        tables.setdefault("guests", {})[count_key] = min(most)
    for name in mixed:
        mine = [one for one in found if one.dialect == name and one.advice.rate_per_s is not None]
        if mine and (keys := _dialect(mine)):
            tables.setdefault("dialects", {})[name] = keys
    arriving = [one.spread_s for one in found if one.spread_s and _at_start(one.endpoint)]
    if arriving:
        tables["load"] = {"ramp": _length(max(arriving))}
    return tables


def most_guests(one: Advised, share: float) -> int | None:
    """At most so many guests at a time, of all dialects, keep within a limit of what is open at once: each holds one open.

    None: no such limit, or one that counts each session for itself. 0: the limit is less than one guest's share.
    """
    if one.hold is None or one.scope in _PER_SESSION:
        return None
    return math.floor(one.hold / share + 1e-9)


def remarks(found: Sequence[Advised], mixed: Mapping[str, float], *, planned: int, count_key: str) -> list[str]:
    """What the tables cannot say, or say for a reason that is not seen: limits of what is open at once."""
    lines = []
    for one in found:
        if one.hold is None:
            continue
        most, where = most_guests(one, mixed.get(one.dialect, 1.0)), f"{one.dialect}: {one.endpoint}: {one.hold} open at once"
        if most is None:
            lines.append(f"{where} for each session: a guest holds one, so that no setting is needed.")
        elif most >= planned:
            lines.append(f"{where}: {planned} guests at a time keep within that, {most} would; each holds one open.")
        elif most:
            lines.append(f"{where}: no more than {most} guests at a time ([guests] {count_key}); each holds one open.")
        else:
            lines.append(f"{where}: no setting keeps guests within that, at a share of {mixed.get(one.dialect, 1.0):g} of them.")
    return lines


def _messages(tables: dict[str, Any], found: Sequence[Advised], guests: int, mixed: Mapping[str, float]) -> None:
    """A pace for each guest, or for all together where a limit counts them together: the least that any dialect allows."""
    alone, together = [], []
    for one in found:
        if not _is_message(one.endpoint) or one.advice.rate_per_s is None:
            continue
        if one.scope in _PER_SESSION:
            alone.append((one.advice.rate_per_s, one.advice.burst))
        else:
            together.append((one.advice.rate_per_s / mixed.get(one.dialect, 1.0), one.advice.burst))
    if together:
        rate, burst = min(together)
        if alone and min(alone)[0] < rate / max(guests, 1):
            rate, burst = min(alone)[0] * guests, 1
        tables["guests"] = {"send_rate_all": _digits(rate), "send_burst": burst}
    elif alone:
        rate, burst = min(alone)
        tables["guests"] = {"send_rate": _digits(rate), "send_burst": burst}


def _dialect(found: Sequence[Advised]) -> dict[str, Any]:
    settings = found[0].settings
    durations = _durations(settings)
    keys: dict[str, Any] = {}
    starts = [one for one in found if _at_start(one.endpoint)]
    spread = max((one.spread_s or 0.0 for one in starts), default=0.0)
    backoff = max((one.advice.back_off_s for one in starts), default=0.0)
    jitter = max((one.advice.jitter_s for one in starts), default=0.0)
    defaults = settings()
    if starts:
        _raise(keys, durations, defaults, "retry_base", backoff)
        _raise(keys, durations, defaults, "retry_jitter", max(jitter, spread))
        _raise(keys, durations, defaults, "retry_cap", 2 * (backoff + spread))
        _raise(keys, durations, defaults, "reconnect_jitter", spread)
        _raise(keys, durations, defaults, "reconnect_cap", _seconds(defaults, "reconnect_base") + 2 * spread)
        _raise(keys, durations, defaults, "refresh_jitter", spread)
    waits = [_typing_wait_s(one) for one in found if "typing" in one.endpoint]
    _raise(keys, durations, defaults, "typing_every", max(waits, default=0.0))
    return keys


def _typing_wait_s(one: Advised) -> float:
    """Least distance of a guest's typing signals."""
    if one.scope in _PER_SESSION and one.advice.rate_per_s:
        return 1 / one.advice.rate_per_s
    return one.advice.typing_debounce_s or 0.0


def _raise(keys: dict[str, Any], durations: set[str], defaults: Any, name: str, seconds: float) -> None:
    """Set it where the dialect has it and its default is less."""
    if name in durations and seconds > _seconds(defaults, name):
        keys[name] = _length(seconds)


def _seconds(defaults: Any, name: str) -> float:
    return float(getattr(defaults, name, 0)) / _S


def _durations(settings: type) -> set[str]:
    hints = get_type_hints(settings, include_extras=True)
    names = (field.name for field in dataclasses.fields(settings))
    return {name for name in names if "duration" in getattr(hints[name], "__metadata__", ())}


def _is_message(endpoint: str) -> bool:
    return endpoint in ("frame message", "frame onMessage") or (endpoint.endswith("/messages") and endpoint.startswith("POST "))


def _at_start(endpoint: str) -> bool:
    """What a guest asks for when it comes or comes back: tokens, registrations, upgrades."""
    if endpoint.startswith("POST "):
        return not _is_message(endpoint) and not endpoint.endswith("/upload")
    return endpoint.endswith(("/ws", "/websocket", "/webchat", "/v1"))


def _length(seconds: float) -> str:
    """Rounded up to a tenth of a second, or to a millisecond below one."""
    grid = 10**8 if seconds >= 1 else 10**6
    return show_duration(-(-round(seconds * _S) // grid) * grid)


def _digits(value: float) -> float:
    """Three significant digits, rounded down: what is advised is an upper bound."""
    scale = 10.0 ** (len(str(int(value))) - 3) if value >= 1 else 0.001
    return round(int(value / scale + 1e-9) * scale, 6) or value


def to_toml(tables: Mapping[str, Any], head: str = "") -> str:
    """The fragment as TOML: `head` as comment, then each table."""
    lines = [f"# {line}".rstrip() for line in head.splitlines()]
    for path, table in _tables(tables, ()):
        lines += ["", f"[{'.'.join(path)}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _tables(table: Mapping[str, Any], path: tuple[str, ...]) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    own = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    found = [(path, own)] if own else []
    for key, value in table.items():
        if isinstance(value, Mapping):
            found += _tables(value, (*path, key))
    return found


def _value(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
