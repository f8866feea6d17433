"""The faults that any client can have on purpose, as the settings of a dialect that make them so."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from harness.core.spread import ms

HASTE = ms(200)
"""How soon a guest without back-off comes back, every time."""
_HASTY: dict[str, Any] = {
    "reconnect_base": HASTE,
    "reconnect_factor": 1.0,
    "reconnect_jitter": 0,
    "reconnect_attempts": 1_000_000,
    "retry_base": HASTE,
    "retry_cap": HASTE,
    "retry_jitter": 0,
    "retry_after_cap": 0,
    "start_pause": HASTE,
    "start_pause_cap": HASTE,
}


def no_jitter(settings: type) -> dict[str, Any]:
    """Guests who came together do everything together: every setting called `…_jitter` is none."""
    return {name: type(value)(0) for name, value in _defaults(settings).items() if name.endswith("_jitter")}


def no_backoff(settings: type) -> dict[str, Any]:
    """Come back at once, for ever, whatever the server asks for."""
    defaults = _defaults(settings)
    return {name: type(defaults[name])(value) for name, value in _HASTY.items() if name in defaults}


def _defaults(settings: type) -> dict[str, Any]:
    return {one.name: one.default for one in fields(settings)}
