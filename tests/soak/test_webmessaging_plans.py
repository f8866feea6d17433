"""webmessaging under settings that no scenario combines, in virtual time: whatever is switched on, truth equals the journal."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

from harness.conformance.any_order import equal
from harness.conformance.runner import Plan, run
from harness.conformance.scenarios import every_fault
from harness.core.pacing import Behaviour
from harness.core.spread import around, fixed, seconds
from harness.dialects.webmessaging_settings import CLIENT_FAULTS, WebmessagingSettings

MISHAPS = ("4006", "4007", "409", "5000", "408", "4017", "403", "400", "4013", "4020")


def simulator(rng: Random) -> dict[str, Any]:
    """A server's settings, short lives among them."""
    one = rng.choice
    own: dict[str, Any] = {
        "disconnect": one(("off", "Send", "ReadOnly")),
        "auth": one((True, False)),
        "auto_start": one((True, False)),
        "user_typing": one((True, False)),
        "clear": one((True, False)),
        "attachments": one((True, True, False)),
        "duration": one(("20s", "60s", "72h")),
        "connections_max": one((1, 2, 3)),
        "silent": one((0, 0.1)),
        "upload_failures": one((0, 0.3)),
        "attachment_life": one(("1s", "10min")),
        "refusal_shape": one(("response", "message")),
        "file_types": one((["*/*"], ["image/*"], ["text/plain"])),
        "quick_replies": one((0, 0.2)),
        "list_pickers": one((0, 0.1)),
        "jwt_life": one(("6s", "60s")),
        "auth_jwt_life": one(("5s", "15min")),
        "page_cap": one((1, 500)),
        "longest_text": one((300, 4096)),
        "messages_per_s": one((2, 5)),
    }
    if rng.random() < 0.6:
        own["mishaps"] = {code: rng.uniform(0.005, 0.05) for code in rng.sample(MISHAPS, rng.randrange(1, 4))}
    faults = every_fault(2) if rng.random() < 0.6 else {}
    return {
        **faults,
        "webmessaging": own,
        "agents": {"extra": one((0, 0.3)), "close": one((0.01, 0.1))},
        "limit_sets": one(([], ["webmessaging"])),
        "forget_after": one(("1s", "5s", "60s", "10min")),
        "server_stores_resend": one((True, False)),
    }


def guests(rng: Random) -> WebmessagingSettings:
    """How its guests are set."""
    one = rng.choice
    return WebmessagingSettings(
        authenticated=one((0.0, 0.5)),
        tabs=one((0.0, 1.0)),
        tab_count=one((2, 3, 4)),
        tab_pause=seconds(1),
        keep_token=one((0.0, 0.5, 1.0)),
        page_size=rng.randrange(1, 26),
        until_empty=one((True, False)),
        clear=one((0.0, 0.5)),
        forbidden_attachments=one((0.0, 0.3)),
        attachment_bytes=one((0, 84, 84_000)),
        messages_per_second=one((0, 2, 5)),
        resync=one((True, True, False)),
        resend=one(("checked", "checked", "never", "blind")),
        leave_limit=seconds(one((10, 120))),
        upload_timeout=seconds(one((3, 30))),
        max_pages=one((2, 200)),
    )


@pytest.mark.parametrize("seed", range(24))
def test_truth_is_equal_whatever_is_switched_on(tmp_path: Path, seed: int) -> None:
    rng = Random(f"webmessaging plans/{seed}")
    table, settings = simulator(rng), guests(rng)
    common: dict[str, Any] = {
        "typing": rng.choice((0.0, 1.0)),
        "attachments": rng.choice((0.0, 0.5)),
        "reload": rng.choice((0.0, 0.3)),
        "session_length": around(rng.choice((15.0, 60.0)), 0.5),
        "between": around(2.0, 0.5),
        "reply_timeout": seconds(rng.choice((3, 15))),
    }
    if rng.random() < 0.5:
        behaviour = Behaviour(pacing="schedule", period=fixed(rng.choice((0.3, 2.0))), max_in_flight=8, **common)
    else:
        behaviour = Behaviour(think_time=around(rng.choice((0.2, 1.0)), 0.5), **common)
    plan = Plan(
        dialects=("webmessaging",),
        guests=6,
        seconds=240,
        ramp=rng.choice((0.1, 10.0)),
        seed=seed,
        simulator=table,
        settings={"webmessaging": settings},
        behaviour=behaviour,
        client_faults={name: 0.3 for name in CLIENT_FAULTS if rng.random() < 0.5} if seed % 2 else {},
        delay=rng.choice(((0.0, 0.0001), (0.0002, 0.003), (0.05, 0.053), (0.3, 0.303))),
    )
    equal(run(plan, tmp_path), f"seed {seed}")
