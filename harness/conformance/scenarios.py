"""Fault plans for the virtual runs: everything that the dialects can show, often enough to matter."""

from __future__ import annotations

from typing import Any

PER_UNIT = {
    "lose_ingest": 0.01,
    "lose_confirm": 0.01,
    "lose_push": 0.02,
    "lose_all": 0.01,
    "duplicate": 0.02,
    "duplicate_store": 0.01,
    "reorder": 0.02,
    "delay": 0.02,
    "corrupt": 0.01,
    "wrong_id": 0.01,
    "oversize": 0.005,
    "malformed": 0.01,
    "unknown_type": 0.01,
    "binary": 0.01,
    "reset": 0.004,
    "tear": 0.004,
    "stall": 0.003,
    "half_open": 0.003,
    "close_code": 0.004,
    "http_error": 0.01,
    "refuse_upgrade": 0.05,
    "slow_accept": 0.1,
    "slow_body": 0.02,
    "revoke": 0.01,
}
"""Share of the units that each fault concerns."""


def every_fault(scale: float = 1.0) -> dict[str, Any]:
    """A `[simulator]` table with every fault; `scale` multiplies the shares."""
    faults: list[dict[str, Any]] = [{"name": name, "share": min(share * scale, 1.0)} for name, share in PER_UNIT.items()]
    faults += [
        {"name": "duplicate", "share": min(0.02 * scale, 1.0), "gap": "40s±50%"},
        {"name": "mass_disconnect", "at": "200s", "every": "400s", "share": 0.5},
        {"name": "throttle", "at": "100s", "every": "500s", "for": "20s", "share": 0.3},
        {"name": "standstill", "at": "150s", "every": "300s", "length": "2s"},
        {"name": "maintenance", "at": "300s", "every": "1800s", "for": "20s"},
    ]
    return {"faults": faults, "agents": {"extra": 0.2, "close": 0.01}}
