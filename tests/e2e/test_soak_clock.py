"""A wall clock that is set in the middle of a real soak, for all of its processes: nothing that is measured or planned moves."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harness.calibration.timings import join_timings, read_timings
from harness.core.ops import Sample
from harness.errors import ExitCode
from harness.journal.reader import JournalReader
from harness.journal.records import Interval
from harness.journal.segments import journals
from harness.report.fold import fold, intervals, op_rows
from harness.runs.events import EVENTS, TARGET, read_lines
from tests.e2e.kit import SIMULATOR, listens, until
from tests.e2e.soak_kit import SHORT, Soak, WallClock

pytestmark = pytest.mark.e2e
MINUTE_NS = 60 * 10**9


def records_of(folder: Path) -> list[Interval]:
    return list(intervals([JournalReader(path) for path in journals(folder)]))


def assert_clocks_near(summary: dict[str, Any]) -> None:
    """One machine: the server's clock is ours as it was at the begin. A step in it would be half a minute at least."""
    assert {"webchat message", "longpoll message"} <= {one["source"] for one in summary["clocks"]}
    assert "server-clock-skew" not in {one["id"] for one in summary["findings"]}
    for one in summary["clocks"]:
        assert one["state"] == "ok", one
        assert max(abs(one["low_ms"]), abs(one["high_ms"])) < 5_000, one


def test_a_wall_clock_that_is_set_moves_no_figure_and_no_end(tmp_path: Path) -> None:
    clock = WallClock(tmp_path / "clock")
    ends = (clock.now() + timedelta(seconds=7)).isoformat(timespec="seconds")
    options = ("--set", "simulator.timings=true", "--set", "soak.segment_time=1s")
    with Soak(tmp_path, "--until", ends, *SHORT, *options, env=clock.env) as run:
        run.until_loaded()
        forward = clock.step(90)  # far beyond the end that was asked for
        until(lambda: records_of(run.folder)[-1].t0_ns > forward, 20, lambda: run.said)
        back = clock.step(-30)
        assert run.end(60) == ExitCode.PASS, run.said
        run.assert_clean_words()
        run.assert_gone()
        folder, summary, manifest = run.folder, run.summary, run.manifest

    # what was said of it, and when
    assert manifest["ended"] == "finished"
    assert run.kinds().count("clock_step") == 2
    assert next(line for line in summary["health"] if line["name"] == "wall clock steps")["value"] == 2
    records = records_of(folder)
    steps = [(one.t0_ns, one.t1_ns, one.health["clock.wall_step_ns.max"]) for one in records if one.health["clock.wall_steps"]]
    assert [t0 <= at <= t1 for (t0, t1, _), at in zip(steps, (forward, back), strict=True)] == [True, True]
    assert [round(size / 1e9) for _, _, size in steps] == [90, 30]

    # the end that was asked for is a length from the start on, by the clock that nobody sets
    phases, planned = manifest["phases"], manifest["planned"]
    assert planned["duration_ns"] <= phases["settle"] - phases["load"] < MINUTE_NS
    assert manifest["job"]["planned_s"] == (planned["ramp_ns"] + planned["duration_ns"]) / 1e9
    assert fold(journals(folder)).damage.any is False
    assert all(one.t0_ns < one.t1_ns < one.t0_ns + MINUTE_NS // 2 for one in records)
    assert all(one.t1_ns <= two.t0_ns for one, two in itertools.pairwise(records))
    rotated = [line["at_ns"] for line in read_lines(folder / EVENTS) if line["what"] == "rotated"]
    assert len(rotated) == len(journals(folder)) - 1 >= 2
    assert len(rotated) <= (phases["settle"] - records[0].t0_ns) / 1e9
    asked = list(read_lines(folder / TARGET))
    assert all(line["up"] for line in asked)
    assert all(0 < two["at_ns"] - one["at_ns"] < MINUTE_NS // 2 for one, two in itertools.pairwise(asked))

    # the simulator's ledger: every message, and every instant
    assert summary["truth"]
    assert all(row["equal"] for row in summary["truth"])
    joined = join_timings(op_rows(journals(folder)), read_timings(folder / "truth.jsonl"), str(manifest["run"]))
    assert joined.unknown == {}
    counts = Counter(row.measure for row in joined.rows)
    assert {"ack", "echo", "reply"} <= set(counts)
    for measure, count in counts.items():
        assert summary["measures"][measure]["ok"]["service"]["n"] == count
    for row in joined.rows:
        assert row.intended_ns <= row.start_ns <= row.received_ns <= row.end_ns
    for at in (forward, back):
        assert any(row.end_ns < at for row in joined.rows)
        assert any(row.start_ns > at for row in joined.rows)
    assert max(summary["measures"][measure]["ok"]["response"]["max_ms"] for measure in counts) < 25_000
    lags = [row for row in op_rows(journals(folder)) if isinstance(row, Sample) and row.measure == "event.lag"]
    assert max(row.end_ns for row in lags) > back
    assert max(abs(row.end_ns - row.start_ns) for row in lags) < 25 * 10**9
    assert summary["one_way"]["state"] == "ok", summary["one_way"]
    assert summary["one_way"]["clock_fault"] == 0
    assert_clocks_near(summary)


def test_guests_over_tls_find_a_restarted_simulator_whose_clock_goes_on(tmp_path: Path) -> None:
    """Its key is handed over, so the authority that guests trust is still its own; and its clock is not ours that was set."""
    clock = WallClock(tmp_path / "clock")
    with Soak(tmp_path, "--for", "5s", "--tls", *SHORT, env=clock.env) as run:
        run.until_loaded()
        authority = (run.folder / "ca.pem").read_bytes()
        port, lost = run.port(), run.pid(SIMULATOR)
        clock.step(90)
        os.kill(lost, signal.SIGKILL)
        until(lambda: run.pid(SIMULATOR) != lost and listens(port), 20, lambda: run.said)
        restarted = fold(journals(run.folder)).last_ns
        code = run.end(60)
        folder, summary = run.folder, run.summary
        run.assert_clean_words()
        run.assert_gone()
    assert code == summary["exit_code"]
    assert run.manifest["ended"] == "finished", run.said
    assert summary["soak"]["target_restarts"] == 1
    assert "tls_verify" not in summary["failures"]
    assert "tls" not in summary["failures"]
    after = [record for record in records_of(folder) if record.t0_ns > restarted]
    assert sum(record.counters.get("messages|ok", 0) for record in after) > 0, "guests came back"
    assert_clocks_near(summary)
    assert (folder / "ca.pem").read_bytes() == authority
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path.name for path in written if b"PRIVATE KEY" in path.read_bytes()]
    assert json.loads((folder / "load.json").read_text())["simulator"]["ca"].endswith("ca.pem")
