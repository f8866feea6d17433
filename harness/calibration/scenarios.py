"""The scenarios of a calibration: plain guests on a fixed schedule, and a simulator whose truth is known to the message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.core.spread import show_duration

MIX: Mapping[str, float] = {"webchat": 0.5, "longpoll": 0.5}
_LOSS_WAIT = "3s"

KINDS: dict[str, Any] = {
    "fixed": "50ms",
    "bimodal": {"bimodal": {"most": "50ms", "rest": "500ms", "share": 0.01}},
    "heavy": {"pareto": {"min": "20ms", "p99": "400ms", "max": "2s"}},
}
"""How long the server takes: for a message's confirmation and for the reply alike."""

FAULTS: tuple[Mapping[str, Any], ...] = (
    {"name": "duplicate", "share": 0.02},
    {"name": "duplicate_store", "share": 0.01},
    {"name": "reorder", "share": 0.02},
    {"name": "lose_push", "share": 0.01},
    {"name": "lose_confirm", "share": 0.005},
    {"name": "lose_ingest", "share": 0.005},
    {"name": "lose_all", "share": 0.005},
)
"""Anomalies that the simulator counts one by one."""

STANDSTILL: Mapping[str, Any] = {"name": "standstill", "at": "2s", "every": "10s", "length": "2s"}
"""What exposes coordinated omission: for 2 s of 10 the server does nothing."""


def calibration_scenario(
    name: str,
    *,
    guests: int,
    mix: Mapping[str, float],
    period_ns: int,
    ramp_ns: int,
    hold_ns: int,
    latency: Any = "50ms",
    reply: Any = None,
    faults: tuple[Mapping[str, Any], ...] = (),
    think_ns: int = 0,
    seed: int = 1,
) -> dict[str, Any]:
    """A whole scenario as its document. `reply`: how long agents take, where that is not `latency` as well.

    `think_ns`: guests wait for the reply and so much longer, instead of keeping a schedule.
    """
    pace: dict[str, Any] = {"pacing": "schedule", "period": show_duration(period_ns)}
    if think_ns:
        pace = {"pacing": "think", "think_time": show_duration(think_ns)}
    own = {
        "webchat": {
            "read_receipts": 0.0,
            "reconnect_base": "50ms",
            "reconnect_jitter": "50ms",
            "reconnect_cap": "500ms",
            "pong_within": "6s",
        },
        "longpoll": {"wait": "8s", "retry_base": "50ms", "retry_cap": "500ms"},
    }
    return {
        "scenario": {"name": name, "seed": seed},
        "target": {"queue": "support", "skills": ["Tier1_Support"]},
        "guests": {
            "count": guests,
            "mix": dict(mix),
            **pace,
            "max_in_flight": 1000,
            "session_length": "1h",
            "reply_timeout": "30s",
            "confirm_timeout": "20s",
            "typing": 0.0,
            "attachments": 0.0,
            "reload": 0.0,
        },
        "load": {
            "ramp": show_duration(ramp_ns),
            "duration": show_duration(hold_ns),
            "settle": "5s",
            "loss_wait": _LOSS_WAIT,
            "drain": "15s",
            "interval": "500ms",
        },
        "dialects": {dialect: table for dialect, table in own.items() if dialect in mix},
        "simulator": {
            "timings": True,
            "agents": {"number": guests, "concurrency": 4, "accept": "50ms", "reply": reply or latency, "typing": 0},
            "latency": {"send": latency, "echo": latency},
            "faults": [dict(fault) for fault in faults],
        },
    }
