"""What the metrics cost, in time and in memory, at full length: three trials that differ."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.metrics.costs import CASES, ratios
from tests.metrics.flat import GROWTH, recorder_sizes, suite_sizes

ROOT = Path(__file__).parent.parent.parent
MILLION = 1_000_000
ROWS = (MILLION, 5 * MILLION)
LOG_GROWTH = 8 << 20
"""Bytes of peak memory that a log five times as long may need more: what the heap's own state varies by."""


def trial(seed: int) -> dict[str, Any]:
    """1: what recording costs in units of one json.loads; 2: memory of a million messages; 3: memory of a long log."""
    return (_cost, _memory, _log)[seed - 1]()


def _cost() -> dict[str, Any]:
    found = ratios(CASES, rounds=60)
    return {
        "ok": all(found[case.name] <= case.limit for case in CASES),
        "unequal": [case.name for case in CASES if found[case.name] > case.limit],
        "cost": {case.name: {"in json.loads": round(found[case.name], 3), "limit": case.limit} for case in CASES},
    }


def _memory() -> dict[str, Any]:
    whole, suite = suite_sizes(MILLION)
    suite.close()
    rows, recorder = recorder_sizes(MILLION)
    right = suite.ordering.places.reordered == MILLION // 2 and recorder.fault == ""
    return {
        "ok": right and max(whole[-1] - whole[0], rows[-1] - rows[0]) < GROWTH,
        "messages": MILLION,
        "bytes at each third": {"whole set": whole, "recorder": rows},
    }


_WRITE = """
import random, sys
path, rows = sys.argv[1], int(sys.argv[2])
draw = random.Random(5).random
with open(path, "w") as log:
    log.write("stream,seq,sent,received,id\\n")
    for n in range(rows):
        stream, seq, sent = n % 2000, n // 2000 + 1, n * 0.0001
        received = "" if draw() < 0.001 else f"{sent + 0.02 + (draw() * 2 if draw() < 0.05 else 0):.6f}"
        log.write(f"c{stream},{seq},{sent:.6f},{received},m{n}\\n")
"""
_MEASURE = """
import resource, sys
from harness.cli.main import main
code = main(["analyse", sys.argv[1], "--json", "--quiet"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr)
sys.exit(code)
"""


def _log() -> dict[str, Any]:
    peaks, found = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.csv"
        for rows in ROWS:
            subprocess.run([sys.executable, "-c", _WRITE, str(path), str(rows)], check=True)
            command = [sys.executable, "-c", _MEASURE, str(path)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            peaks[rows] = int(done.stderr.split()[-1])
            answer = json.loads(done.stdout)
            found[rows] = {name: answer[name] for name in ("streams", "reordered", "lost")} | {"used": answer["rows"]["used"]}
    return {
        "ok": peaks[ROWS[1]] - peaks[ROWS[0]] <= LOG_GROWTH and all(found[rows]["used"] == rows for rows in ROWS),
        "peak bytes by rows": peaks,
        "found": found,
    }
