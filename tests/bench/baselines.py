"""`make bench`: the same server and the same plan, seen by the server itself, by our guests, and by plain Locust's own statistics.

Scenario A: a message is confirmed after 50 ms, 1 % after 500 ms. Scenario B: after 50 ms, and the server stands still for 2 s of
every 10. A guest means to say something every 100 ms. Each tool runs alone. A ratio compares with what the server did to guests
who kept to the schedule in the way of the tool: one request at a time for all that post (`longpoll`), several in flight on a
WebSocket (`webchat`).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from harness.calibration.compare import Compared, compare_schedule, kept
from harness.calibration.scenarios import KINDS, STANDSTILL, calibration_scenario
from harness.calibration.timings import HTTP, read_timings
from harness.cli.driving import drive_measured
from harness.cli.run import Signals
from harness.cli.terminal import table
from harness.runs.simulated import SIM_SECRET_ENV, SimulatorProcess

HERE = Path(__file__).parent
PERIOD_NS = 100_000_000
NAMES = ("p50", "p90", "p95", "p99")
SCENARIOS: dict[str, dict[str, Any]] = {
    "A": {"latency": KINDS["bimodal"], "faults": ()},
    "B": {"latency": KINDS["fixed"], "faults": ({**STANDSTILL, "at": "5s"},)},
}
MEASURES = {"longpoll": "ack", "webchat": "echo"}
_COLUMNS = {"p50": "50%", "p90": "90%", "p95": "95%", "p99": "99%"}
Row = dict[str, Any]


def ours(name: str, dialect: str, guests: int, seconds: float, folder: Path) -> list[Row]:
    """Our guests, and the server's own record of the same run."""
    document = calibration_scenario(
        f"{name}-{dialect}",
        guests=guests,
        mix={dialect: 1.0},
        period_ns=PERIOD_NS,
        ramp_ns=1_000_000_000,
        hold_ns=round(seconds * 1e9),
        reply="300ms",
        **SCENARIOS[name],
    )
    with Signals() as signals:
        run = drive_measured(document, folder, signals)
    measure = MEASURES[dialect]
    found: Compared = compare_schedule(run.join.rows)[measure]["response"]
    schedule = kept(run.join.rows, PERIOD_NS, run.settle_ns, measure)
    due, sent = schedule.due, schedule.came + schedule.late
    truth = {one: error.truth_ms for one, error in found.percentiles.items()}
    said = {one: error.measured_ms for one, error in found.percentiles.items()}
    return [
        {"scenario": name, "who": f"the server's own record ({dialect})", "like": dialect, "due": due, "sent": sent, **truth},
        {"scenario": name, "who": f"guestswarm {dialect}", "like": dialect, "due": due, "sent": sent, **said},
    ]


def plain(name: str, kind: str, guests: int, seconds: float, folder: Path) -> list[Row]:
    """Plain Locust and what its own CSV says; and what the server did to just these requests."""
    folder = folder / f"{name}-{kind}"
    folder.mkdir()
    plan = SCENARIOS[name]
    simulator_table = {
        "timings": True,
        "agents": {"number": guests, "accept": "50ms", "reply": "300ms", "typing": 0},
        "latency": {"send": plan["latency"], "echo": plan["latency"]},
        "faults": [dict(fault) for fault in plan["faults"]],
    }
    secret = token_urlsafe(24)
    simulator = SimulatorProcess.start(simulator_table, folder, seed=1, secret_env={SIM_SECRET_ENV: secret})
    try:
        command = [sys.executable, "-m", "locust", "-f", str(HERE / "plain_locust.py"), "--headless", "--only-summary"]
        command += ["-u", str(guests), "-r", str(guests), "-t", f"{seconds + 1:g}s", "--csv", str(folder / "stats")]
        command += ["-H", f"http://127.0.0.1:{simulator.port}"]
        environ = {**os.environ, "PLAIN": kind, "PERIOD": str(PERIOD_NS / 1e9), "SECRET": secret}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=seconds + 60, check=False)
    finally:
        simulator.stop()
    with (folder / "stats_stats.csv").open(newline="") as lines:
        said = next((row for row in csv.DictReader(lines) if row["Name"] == "message"), None)
    if said is None or int(said["Failure Count"]):
        raise SystemExit(f"plain Locust ({kind}) did not get through: {done.stderr[-800:]}")
    served = read_timings(folder / "truth.jsonl").by[HTTP]
    times = sorted(one.handed_ns - one.received_ns for unit, one in served.items() if unit.startswith("plain-"))
    due, sent = round(guests * seconds * 1e9 / PERIOD_NS), int(said["Request Count"])
    label = {"http": "Locust HttpUser", "fast": "Locust FastHttpUser"}[kind]
    figures = {one: float(said[column]) for one, column in _COLUMNS.items()}
    exact = {one: times[max(0, -(-int(one[1:]) * len(times) // 100) - 1)] / 1e6 for one in NAMES}
    return [
        {"scenario": name, "who": label, "like": "longpoll", "due": due, "sent": sent, **figures},
        {"scenario": name, "who": "  the server, of these requests alone", "like": "", "due": due, "sent": len(times), **exact},
    ]


def with_ratios(rows: list[Row]) -> list[Row]:
    """Each figure over that of the server's record of guests on the same schedule."""
    records = {(row["scenario"], row["like"]): row for row in rows if row["who"].startswith("the server's own record")}
    for row in rows:
        record = records.get((row["scenario"], row["like"]))
        if record is not None and record is not row:
            row["ratio"] = {one: round(row[one] / record[one], 3) for one in NAMES if one in row and one in record}
    return rows


def shown(rows: list[Row]) -> str:
    """A table for people: milliseconds, and in brackets the ratio to the record."""
    cells = []
    for row in rows:
        ratio: Mapping[str, float] = row.get("ratio", {})
        figures = [
            "–" if one not in row else f"{row[one]:,.1f}" + (f" ({ratio[one]:.2f})" if one in ratio else "") for one in NAMES
        ]
        cells.append([row["scenario"], row["who"], f"{100 * row['sent'] / row['due']:.1f} %", *figures])
    return table(cells, ["scenario", "by", "sent of due", *NAMES])


def main(words: list[str]) -> int:
    """All of it, one after the other: about five minutes."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--guests", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=30.0, help="full load of each run")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for scenario in SCENARIOS:
            for dialect in MEASURES:
                rows += ours(scenario, dialect, args.guests, args.seconds, folder)
            for kind in ("http", "fast"):
                rows += plain(scenario, kind, args.guests, args.seconds, folder)
            print(f"scenario {scenario} done", file=sys.stderr, flush=True)
    rows = with_ratios(rows)
    print(json.dumps(rows, indent=1) if args.json else shown(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
