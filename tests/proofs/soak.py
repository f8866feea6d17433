"""Long runs: flat memory in real time and over a virtual day, and planted leaks found by the whole pipeline."""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from harness.core.pacing import Behaviour
from harness.core.spread import around, seconds
from harness.drift.leak import judge_series
from harness.drift.model import LeakRule, SeriesVerdict, State
from harness.journal.reader import JournalReader
from harness.journal.segments import journals
from harness.report.build import build_report
from harness.runs.events import TARGET, Lines, read_lines
from harness.runs.folder import list_runs, read_manifest, write_json
from tests.proofs.frame import Unfinished
from tests.report.soak_kit import soak_manifest

if TYPE_CHECKING:
    from harness.conformance.world import World
    from harness.simulator.engine import Engine

ROOT = Path(__file__).parent.parent.parent
SCENARIO = ROOT / "locustfiles" / "scenarios" / "soak.toml"
MINUTES = 33
"""Of full load; at least thirty are judged after the start is left out."""
STEP_S = 10.0
_MIB = 2**20
NOISE = {"generator": 4 * _MIB, "simulator": 4 * _MIB}
"""What a process may gain over the judged part and still be said to be flat: an allocator's arena or four."""
_SETTLED = ("simulator.forget_after=1min", "guests.attachments=0.0")
"""What the simulator keeps of conversations that have ended, and of files, is bounded; so it is full before judging begins."""
_PLACE = ROOT / "reports" / "soak-memory"
_PART_S = 420.0
"""A part of the proof waits no longer than that; called again, it waits on."""


def memory(seed: int) -> dict[str, Any]:
    """Resident memory of generator and simulator over half an hour of real time, judged by the leak rule.

    The soak runs by itself (`guestswarm soak`, 60 guests of all dialects); this attaches to it, and starts it where there is none.
    """
    runs = _PLACE / str(seed)
    folder = _under_way(runs)
    if folder is None:
        folder = _start(runs, seed)
    waited = time.monotonic() + _PART_S
    while _pid_of(runs) and time.monotonic() < waited:
        time.sleep(2.0)
    if _pid_of(runs):
        raise Unfinished(f"the soak in {folder.name} is under way; ask again")
    return memory_of(folder)


def memory_of(folder: Path) -> dict[str, Any]:
    """What a soak's folder says of the memory of both processes."""
    generator, simulator = _generator(folder), _simulator(folder)
    found = {name: _judged(name, values) for name, values in (("generator", generator), ("simulator", simulator))}
    minutes = {name: round(len(values) * STEP_S / 60, 1) for name, values in (("generator", generator), ("simulator", simulator))}
    flat = all(one.state is State.STABLE for one in found.values())
    return {
        "ok": flat and min(minutes.values()) >= 30,
        "minutes": minutes,
        "ended": read_manifest(folder).get("ended"),
        **{name: _told(one) for name, one in found.items()},
    }


def _judged(name: str, values: Sequence[float | None]) -> SeriesVerdict:
    rule = LeakRule(least_s=1800.0, share=0.0)
    return judge_series(values, step_s=STEP_S, floor=NOISE[name], keep="minimum", name=name, unit="bytes", rule=rule)


def _told(one: SeriesVerdict) -> dict[str, Any]:
    mib = {
        "median_mib": one.median,
        "slope_mib_per_h": one.slope_per_h,
        "slope_low_mib_per_h": one.slope_low_per_h,
        "slope_high_mib_per_h": one.slope_high_per_h,
        "change_mib": one.change,
        "change_high_mib": one.change_high,
    }
    return {
        "state": one.state.value,
        "sentence": one.sentence,
        "p": one.p,
        **{name: None if value is None else round(value / _MIB, 3) for name, value in mib.items()},
    }


def _generator(folder: Path) -> list[float | None]:
    """Resident bytes at the end of each interval, from the journal; drain and the time after it left out."""
    settle = read_manifest(folder).get("phases", {}).get("settle", 1 << 62)
    values: list[tuple[float, float | None]] = []
    for path in journals(folder):
        for interval in JournalReader(path).intervals():
            if interval.t1_ns <= settle:
                values += [(interval.health.get("session.last", 1), interval.health.get("rss_bytes.last"))]
    last = max((session for session, _ in values), default=1)
    return [value for session, value in values if session == last]  # of one process: another begins anew


def _simulator(folder: Path) -> list[float | None]:
    settle = read_manifest(folder).get("phases", {}).get("settle", 1 << 62)
    return [line.get("rss_bytes") for line in read_lines(folder / TARGET) if line["at_ns"] <= settle]


# ------------------------------------------------------------------ virtual nights
HOURS = 8.0
_PLANTED: dict[int, tuple[str, list[dict[str, Any]]]] = {
    1: ("clean", []),
    2: ("latency", [{"name": "creep", "by": 0.5, "over": "8h"}]),
    3: ("memory", [{"name": "leak", "size": "32MiB", "over": "8h"}]),
    4: ("clean", []),
    5: ("errors", [{"name": "error_creep", "to": 0.05, "over": "8h"}]),
    6: ("undelivered", [{"name": "backlog", "count": 400, "over": "8h"}]),
}
_FOUND = {
    "latency": ("echo response p50", "echo service p50", "ack response p50"),
    "memory": ("target memory",),
    "errors": ("failed messages",),
    "undelivered": ("target undelivered",),
}
_LATENCY = {"echo": {"lognormal": {"median": "25ms", "p95": "80ms"}}}
_BASE_BYTES = 96 * _MIB


def night(seed: int, guests: int = 40) -> dict[str, Any]:
    """Eight virtual hours of 40 guests, their journal through the report: clean, or with a leak planted that must be found."""
    from harness.conformance.runner import RUN, Plan, run

    kind, faults = _PLANTED[seed]
    rng = Random(seed)
    behaviour = Behaviour(
        think_time=around(8, 0.5), session_length=around(600, 0.3), reply_timeout=seconds(30), attachments=0.0, typing=0.0
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "night"
        folder.mkdir()
        lines = Lines(folder / TARGET)
        begun: list[int] = []

        def each(now: int, engine: Engine) -> None:
            begun.append(now)
            health = engine.health(now)
            held = _BASE_BYTES + round(rng.gauss(0, 0.3 * _MIB))  # a process has more than what is planted in it
            sockets = sum(1 for _ in engine.conns)
            lines.add(now, up=True, memory_bytes=held + health["planted_bytes"], undelivered=health["undelivered"], sockets=sockets)

        plan = Plan(
            dialects=("webchat",),
            guests=guests,
            seconds=HOURS * 3600,
            ramp=10.0,
            seed=seed,
            loss_wait=10.0,
            interval=STEP_S,
            behaviour=behaviour,
            simulator={"faults": faults, "forget_after": "2min", "latency": _LATENCY},
            compare=False,
            rows="anomalies",
            each=each,
        )
        outcome = run(plan, folder)
        start = begun[0] - round(STEP_S * 1e9)
        manifest = soak_manifest(
            start,
            start + round(HOURS * 3600e9),
            planned_s=HOURS * 3600 - 10,
            interval_s=STEP_S,
            rules=("echo p95 < 2 s", "echo p95 < 2 s in every 5 min window"),
            run=RUN,
        )
        write_json(folder / "manifest.json", manifest)
        model = build_report(folder)
        page = (folder / "report.html").stat().st_size
    assert model.soak is not None
    states = {one.name: one.state.value for one in model.soak.verdicts}
    leaking = sorted(name for name, state in states.items() if state == "LEAK")
    wanted = _FOUND.get(kind, ())
    ok = set(wanted[:1]) <= set(leaking) if wanted else not leaking
    return {
        "ok": ok and page < 1_500_000,
        "kind": kind,
        "leaking": leaking,
        "states": states,
        "verdict": model.verdict.value,
        "said": model.reasons[0].text,
        "messages": outcome.messages,
        "page_bytes": page,
    }


def day_memory(seed: int) -> dict[str, Any]:
    """24 virtual hours of all dialects, guests, recorder, journal and simulator: traced memory, judged by the leak rule."""
    from harness.conformance.runner import Plan, run

    behaviour = Behaviour(think_time=around(20, 0.5), session_length=around(300, 0.3), reply_timeout=seconds(30), attachments=0.0)
    values: list[float | None] = []
    counted = 0

    def each(_now: int, _engine: Engine) -> None:
        nonlocal counted
        counted += 1
        if counted % 6 == 0:  # every ten minutes
            gc.collect()
            values.append(float(tracemalloc.get_traced_memory()[0]))

    def reuse(world: World, *_: object) -> None:
        """Local ports come again, as a kernel's do: the simulator remembers each address that it ever saw."""
        ports = itertools.cycle(range(32_768, 60_999))
        world.new_address = lambda: f"127.0.0.1:{next(ports)}"  # type: ignore[method-assign]

    plan = Plan(
        guests=24,
        tamper=reuse,
        seconds=86_400.0,
        ramp=60.0,
        seed=seed,
        loss_wait=60.0,
        interval=100.0,
        behaviour=behaviour,
        simulator={"forget_after": "2min"},
        compare=False,
        rows="anomalies",
        each=each,
    )
    tracemalloc.start()
    try:
        with tempfile.TemporaryDirectory() as name:
            outcome = run(plan, Path(name))
    finally:
        tracemalloc.stop()
    rule = LeakRule(share=0.0, coarsest_s=600.0)
    found = judge_series(values, step_s=600.0, floor=_MIB, keep="minimum", name="traced memory", unit="bytes", rule=rule)
    return {
        "ok": found.state is State.STABLE and outcome.messages >= 50_000,
        "state": found.state.value,
        "sentence": found.sentence,
        "messages": outcome.messages,
        "median_mib": None if found.median is None else round(found.median / _MIB, 3),
        "change_high_mib": None if found.change_high is None else round(found.change_high / _MIB, 3),
    }


# ------------------------------------------------------------------ a process of its own
def _start(runs: Path, seed: int) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, "-m", "harness.cli.main", "soak", str(SCENARIO), "--for", f"{MINUTES}min", "--seed", str(seed)]
    argv += ["--set", f"soak.interval={STEP_S:g}s", "--set", "soak.rows=anomalies", "--runs", str(runs), "--quiet"]
    argv += [word for pair in _SETTLED for word in ("--set", pair)]
    with (runs / "log").open("wb") as log:
        child = subprocess.Popen(
            argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    (runs / "pid").write_text(str(child.pid))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if found := list_runs(runs):
            return found[0].path
        time.sleep(0.2)
    raise AssertionError((runs / "log").read_text())


def _pid_of(runs: Path) -> int:
    """Of the soak that is under way there; 0: none is."""
    try:
        pid = int((runs / "pid").read_text())
        os.kill(pid, 0)
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return 0
    return pid if " soak " in words and state not in "ZX" else 0


def _under_way(runs: Path) -> Path | None:
    """The newest soak there, at work or whole; what was cut short is begun anew."""
    found = list_runs(runs)
    if not found:
        return None
    newest = found[0]
    return newest.path if newest.ended == "finished" or _pid_of(runs) else None


def stop(seed: int) -> None:
    """End a soak that is under way, in good order."""
    pid = _pid_of(_PLACE / str(seed))
    if pid:
        os.kill(pid, signal.SIGTERM)


def main(words: list[str]) -> int:
    """`start SEED`: begin the soak and come back. `look SEED`: what it says so far."""
    act, seed = words[0], int(words[1])
    runs = _PLACE / str(seed)
    if act == "start":
        print((_under_way(runs) or _start(runs, seed)).name, flush=True)
        return 0
    print(json.dumps(memory_of(list_runs(runs)[0].path), indent=1), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
