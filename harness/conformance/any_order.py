"""Random interleavings: a seed chooses guests, network and a sequence of faults that come and go, and everything must add up.

What is sent, delivered, dropped, duplicated, delayed, reordered, cut, expired and reloaded is chosen here; when each of it
happens follows from the seed. Books are held against the sessions at every moment, truth against the journal at the end.
"""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from harness.conformance.runner import Outcome, Plan, run
from harness.conformance.scenarios import PER_UNIT
from harness.conformance.stage import NonConformance
from harness.conformance.subject import Subject
from harness.conformance.world import SECOND, World
from harness.core.pacing import Behaviour
from harness.core.session import GuestSession
from harness.core.spread import around, fixed, seconds

_LENGTH_S = 240.0
_DELAYS = ((0.0, 0.0001), (0.0002, 0.003), (0.05, 0.053), (0.8, 0.803))
"""One-way, from and to. Long ones too, but alike on all connections: truth has the order in which the server let go of things,
and where that of reading is another, between a socket and a listing, neither is wrong."""


def behaviour(rng: Random) -> Behaviour:
    """How the guests of one run behave."""
    common: dict[str, Any] = {
        "typing": rng.choice((0.0, 0.5, 1.0)),
        "attachments": rng.choice((0.0, 0.3)),
        "reload": rng.choice((0.0, 0.05, 0.3)),
        "session_length": around(rng.choice((15.0, 60.0, 300.0)), 0.5),
        "between": around(2.0, 0.5),
        "reply_timeout": seconds(rng.choice((3, 15))),
    }
    if rng.random() < 0.5:
        return Behaviour(
            pacing="schedule", period=fixed(rng.choice((0.3, 1.0, 4.0))), max_in_flight=rng.choice((1, 8, 64)), **common
        )
    return Behaviour(think_time=around(rng.choice((0.2, 2.0, 6.0)), 0.5), **common)


def faults(rng: Random) -> list[dict[str, Any]]:
    """Some faults, more or less often."""
    names = rng.sample(sorted(PER_UNIT), rng.randrange(1, 9))
    shares = {name: min(PER_UNIT[name] * rng.choice((1, 5, 20)), 0.4) for name in names}
    if "oversize" in shares:
        shares["oversize"] = PER_UNIT["oversize"]  # a backlog of such is more than any guest takes at once
    plan: list[dict[str, Any]] = [{"name": name, "share": share} for name, share in shares.items()]
    if rng.random() < 0.6:
        every = f"{rng.choice((7, 20, 45))}s"
        plan.append({"name": "mass_disconnect", "at": f"{rng.randrange(1, 20)}s", "every": every, "share": rng.choice((0.3, 1.0))})
    return plan


def capacity(rng: Random) -> dict[str, Any]:
    """A queue before the server's half of the runs: short or hopelessly long, with or without an end."""
    if rng.random() < 0.5:
        return {}
    return {
        "servers": rng.choice((1, 2, 8)),
        "service": rng.choice(("0ms", "80ms", "700ms±90%", {"exponential": "30ms"}, {"exponential": "1s"})),
        "cliff": rng.choice((0, 2, 8)),
        "cliff_answer": rng.choice(("refuse", "silence")),
        "silence": "20s",
        "slowdown": rng.choice((0.0, 0.1)),
        "also": rng.choice(((), ("*",), ("frame typing", "POST /oauth/token"))),
    }


def any_order(one: Subject, seed: int, folder: Path, *, scale: float = 1.0) -> Outcome:
    """One run of a seed. Raises NonConformance if anything does not add up."""
    rng = Random(f"any order/{one.name}/{seed}")
    length, ramp = _LENGTH_S * scale, rng.choice((0.1, 10.0))

    def tamper(world: World, sessions: list[GuestSession], recorder: Any, engine: Any) -> None:  # noqa: ARG001
        at = 0.0
        while (at := at + rng.uniform(5, 60)) < length * 0.9:
            plan = faults(rng)
            world.at(world.now + round(at * SECOND), lambda now, plan=plan: _set(world, now, plan))  # type: ignore[misc]
        for guest in world.guests:
            roll = rng.random()
            when = world.now + round(rng.uniform(ramp + 1, length) * SECOND)
            if roll < 0.15:  # somebody stops it early, at whatever it does
                world.at(when, lambda _, guest=guest: guest.call(guest.session.stop))  # type: ignore[misc]
            elif roll < 0.3:
                world.at(when, lambda _, guest=guest: guest.call(guest.session.close))  # type: ignore[misc]

    simulator: dict[str, Any] = {
        "faults": faults(rng),
        "token_life": rng.choice(("20s", "70s", "5min", "30min")),
        "server_stores_resend": rng.random() < 0.7,
        "agents": {
            "extra": rng.choice((0.0, 0.5)),
            "close": rng.choice((0.0, 0.1)),
            "reply": rng.choice(("100ms", "2s±50%", "8s±90%")),
        },
        "keepalive": {"idle_cut": rng.choice(("0s", "25s±50%"))},
        "capacity": capacity(Random(f"capacity/{one.name}/{seed}")),
    }
    plan = Plan(
        subjects=(one,),
        guests=rng.randrange(1, 7),
        seconds=length,
        ramp=ramp,
        seed=seed,
        behaviour=behaviour(rng),
        simulator=simulator,
        delay=rng.choice(_DELAYS),
        strict=True,
        tamper=tamper,
    )
    outcome = run(plan, folder)
    equal(outcome, f"{one.name}, seed {seed}")
    return outcome


def equal(outcome: Outcome, what: str) -> None:
    """Raise unless truth equals the journal in every row and every guest has finished."""
    wrong = sorted(row.name for row in outcome.rows if not row.equal)
    if wrong:
        raise NonConformance(f"{what}: truth and journal differ in {', '.join(wrong)}\n{outcome.table()}")
    late = [one.context.slot for one in outcome.sessions if not one.finished]
    if late:
        raise NonConformance(f"{what}: guests {late[:10]} never finish")


def _set(world: World, now: int, plan: list[dict[str, Any]]) -> None:
    world.engine.set_faults(now, plan)
    world.watch_engine()
