"""`make prove`: the long proofs. Each part stops by itself after at most eight minutes and goes on where it was when called again.

Results are written to `docs/proofs/PART.json` after every trial: command, commit, seeds, counts. Seeds are the trial's number.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.conformance.runner import Outcome, Plan, run
from harness.conformance.scenarios import every_fault
from harness.core.pacing import Behaviour
from harness.core.spread import around, seconds
from tests.proofs import accidents, capacity, capacity_real, drift, metrics, nights, omission, ratelimit, soak
from tests.proofs.frame import Part, Unfinished, judged, said

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "docs" / "proofs"
LIMIT_S = 460.0
_AHEAD = 4
"""Trials handed to each process at a time, so that it does not wait for a slow one of its neighbour's."""


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def code_version(of: Sequence[str]) -> str:
    """The trees of what a part hangs on, so that committing a result, or other code, does not make it start anew."""
    trees = " ".join(_git("rev-parse", "--short", f"HEAD:{name}") for name in of)
    dirty = "+changes" if _git("status", "--porcelain", *of) else ""
    return f"{trees}{dirty}"


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {
        "ok": not outcome.unequal() and all(row.equal for row in outcome.rows) and all(one.finished for one in outcome.sessions),
        "unequal": sorted(outcome.unequal()),
        "messages": outcome.messages,
        "least_fault": min(outcome.faults.items(), key=lambda item: item[1]),
        "rows": {row.name: row.expected for row in outcome.rows},
    }


def virtual_day(seed: int) -> dict[str, Any]:
    """24 virtual hours, 50 guests of every dialect that is registered, every fault."""
    behaviour = Behaviour(think_time=around(40, 0.5), session_length=around(800, 0.3), reply_timeout=seconds(20))
    plan = Plan(guests=50, seconds=86400, seed=seed, behaviour=behaviour, simulator=every_fault(), interval=60)
    with tempfile.TemporaryDirectory() as folder:
        result = _outcome(run(plan, Path(folder)))
    result["ok"] = result["ok"] and result["messages"] >= 50_000 and result["least_fault"][1] >= 20
    return result


def virtual_seeds(seed: int) -> dict[str, Any]:
    """Half a virtual hour of twenty guests of every dialect that is registered, every fault at twice its share."""
    with tempfile.TemporaryDirectory() as folder:
        return _outcome(run(Plan(guests=20, seconds=1800, seed=seed, simulator=every_fault(2.0)), Path(folder)))


def real_runs(seed: int) -> dict[str, Any]:
    """The first run in small, over real sockets and processes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "harness.cli.main", "run", "tests/e2e/small.toml", "--seed", str(seed), "--runs", folder]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
        summaries = [path for path in Path(folder).glob("*/summary.json") if not path.parent.is_symlink()]
        if len(summaries) != 1:
            return {"ok": False, "exit": done.returncode, "stderr": done.stderr[-500:]}
        summary = json.loads(summaries[0].read_text())
    return {
        "ok": bool(summary["truth"]) and all(row["equal"] for row in summary["truth"]),
        "exit": done.returncode,
        "verdict": summary["verdict"],
        "unequal": [row["name"] for row in summary["truth"] if not row["equal"]],
        "rows": {row["name"]: row["expected"] for row in summary["truth"]},
    }


_SEARCH = (
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "harness" / "search").glob("*.py")),
    *("harness/metrics/kendall.py", "harness/metrics/steady.py", "tests/proofs/capacity.py"),
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests" / "search").glob("*.py")),
)
_LIMITS = ("harness/search/limits", "tests/proofs/ratelimit.py", "tests/proofs/limiters.py", "tests/proofs/limit_world.py")
_DRIFT = ("harness/drift", "harness/metrics/kendall.py", "tests/drift/shapes.py", "tests/proofs/drift.py")
_METRICS = ("harness/metrics", "harness/analysis", "harness/core", "harness/journal", "tests/metrics", "tests/proofs/metrics.py")

PARTS: dict[str, Part] = {
    "virtual-day": Part(virtual_day, 2),
    "virtual-seeds": Part(virtual_seeds, 200, at_once=2, forked=True),
    "real-runs": Part(real_runs, 20, at_once=3),
    "omission": Part(omission.trial, 3),
    "metrics": Part(metrics.trial, 3, of=_METRICS),
    "nights": Part(nights.trial, 400, 2, nights.judge, ("harness/drift", "tests/proofs/nights.py"), forked=True),
    "leak-judge": Part(drift.leak_trial, 3, judge=drift.leak_judge, of=_DRIFT),
    "change-point": Part(drift.change_trial, 3, judge=drift.change_judge, of=_DRIFT),
    "capacity-virtual": Part(capacity.trial, 200, 2, capacity.judge, _SEARCH, forked=True),
    "capacity-service": Part(capacity.service_trial, 50, 2, capacity.judge, _SEARCH, forked=True),
    "capacity-real": Part(capacity_real.trial, 5),
    "ratelimit-token-bucket": Part(ratelimit.token_bucket, 200, 2, ratelimit.judge_bucket, _LIMITS, forked=True),
    "ratelimit-fixed-window": Part(ratelimit.fixed_window, 200, 2, ratelimit.judge_fixed, _LIMITS, forked=True),
    "ratelimit-first-window": Part(ratelimit.first_window, 200, 2, ratelimit.judge_first, _LIMITS, forked=True),
    "ratelimit-sliding-log": Part(ratelimit.sliding_log, 200, 2, ratelimit.judge_log, _LIMITS, forked=True),
    "ratelimit-sliding-counter": Part(ratelimit.sliding_counter, 200, 2, ratelimit.judge_counter, _LIMITS, forked=True),
    "ratelimit-concurrency": Part(ratelimit.concurrency, 200, 2, of=_LIMITS, forked=True),
    "ratelimit-accidents": Part(accidents.trial, 300, 2, accidents.judge, (*_LIMITS, "tests/proofs/accidents.py"), forked=True),
    "ratelimit-shared": Part(ratelimit.shared, 200, 2, ratelimit.judge_shared, _LIMITS, forked=True),
    "soak-memory": Part(soak.memory, 1),
    "soak-virtual": Part(soak.night, 6),
    "soak-virtual-memory": Part(soak.day_memory, 1),
}


def prove(name: str) -> bool:
    """Run (on with) one part; True when nothing failed so far."""
    trial, count, at_once, judge, of, forked = PARTS[name]
    path = FOLDER / f"{name}.json"
    version = code_version(of)
    state: dict[str, Any] = {}
    if path.is_file():
        state = json.loads(path.read_text())
    if state.get("code") != version:
        state = {"trials": {}}
    state |= {
        "part": name,
        "what": trial.__doc__,
        "command": f"make prove PART={name}",
        "commit": _git("rev-parse", "--short", "HEAD"),
        "code": version,
        "python": platform.python_version(),
        "wanted": count,
    }
    began = time.monotonic()
    open_seeds = [seed for seed in range(1, count + 1) if str(seed) not in state["trials"]]
    with ProcessPoolExecutor(at_once) if forked else ThreadPoolExecutor(at_once) as pool:
        longest = 90.0  # what a batch may take: the longest so far, and a guess before there is one
        while open_seeds and time.monotonic() - began + longest < LIMIT_S:
            started = time.monotonic()
            many = at_once * _AHEAD if forked else at_once
            batch, open_seeds = open_seeds[:many], open_seeds[many:]
            try:
                results = list(pool.map(trial, batch))
            except Unfinished as under_way:
                print(f"{name}: {under_way}", flush=True)
                return True
            for seed, result in zip(batch, results, strict=True):
                state["trials"][str(seed)] = result
                print(f"{name} {seed}/{count} {said(result)}", flush=True)
            state |= judged(state["trials"], judge)
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")
            longest = max(longest, time.monotonic() - started)
    if open_seeds:
        print(f"{name}: call again to go on", flush=True)
    if judge is not None:
        found = json.dumps(state.get("judged", {}), sort_keys=True)
        print(f"{name}: {len(state['trials'])} of {count} trials: {found}", flush=True)
        return bool(open_seeds) or bool(state.get("judged", {}).get("ok"))
    print(f"{name}: {len(state['trials'])} of {count} trials, failed: {state.get('failed', []) or 'none'}", flush=True)
    return not state.get("failed")


def main(words: list[str]) -> int:
    """The parts named, or all."""
    unknown = set(words) - set(PARTS)
    if unknown:
        print(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    failed = [name for name in words or PARTS if not prove(name)]  # every part gets its turn
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
