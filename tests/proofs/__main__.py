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
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from harness.conformance.runner import Outcome, Plan, run
from harness.conformance.scenarios import every_fault
from harness.core.pacing import Behaviour
from harness.core.spread import around, seconds
from tests.proofs import omission

ROOT = Path(__file__).parent.parent.parent
FOLDER = ROOT / "docs" / "proofs"
LIMIT_S = 460.0

Trial = Callable[[int], dict[str, Any]]


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def code_version() -> str:
    """The commit, and the tree of the code alone, so that committing a result does not make the next part start anew."""
    trees = " ".join(_git("rev-parse", "--short", f"HEAD:{name}") for name in ("harness", "tests"))
    dirty = "+changes" if _git("status", "--porcelain", "harness", "tests", "locustfiles") else ""
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


PARTS: dict[str, tuple[Trial, int, int]] = {
    "virtual-day": (virtual_day, 2, 1),
    "virtual-seeds": (virtual_seeds, 200, 1),
    "real-runs": (real_runs, 20, 3),
    "omission": (omission.trial, 3, 1),
}
"""Trial, how many of them, how many at once (those that are processes of their own)."""


def prove(name: str) -> bool:
    """Run (on with) one part; True when nothing failed so far."""
    trial, count, at_once = PARTS[name]
    path = FOLDER / f"{name}.json"
    version = code_version()
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
    with ThreadPoolExecutor(at_once) as pool:
        longest = 90.0  # what a batch may take: the longest so far, and a guess before there is one
        while open_seeds and time.monotonic() - began + longest < LIMIT_S:
            started = time.monotonic()
            batch, open_seeds = open_seeds[:at_once], open_seeds[at_once:]
            for seed, result in zip(batch, pool.map(trial, batch), strict=True):
                state["trials"][str(seed)] = result
                print(f"{name} {seed}/{count} {'equal' if result['ok'] else 'UNEQUAL'} {result.get('unequal', '')}", flush=True)
            state["failed"] = sorted(int(key) for key, one in state["trials"].items() if not one["ok"])
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(state, indent=1, sort_keys=True) + "\n")
            longest = max(longest, time.monotonic() - started)
    if open_seeds:
        print(f"{name}: call again to go on", flush=True)
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
