"""The approved window of a real soak: not begun before it, drained and ended at its close, not resumed after it.

The target is on an address of this machine that is not loopback, and the wall clock is the test's: a window shuts when it suits.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.core.ops import Invoked
from harness.errors import ExitCode
from harness.journal.segments import journals
from harness.report.fold import fold, op_rows
from harness.runs.simulated import SimulatorControl
from tests.e2e.kit import Simulator, call, scenario_for
from tests.e2e.soak_kit import SHORT, Relay, Soak, WallClock, own_address

pytestmark = pytest.mark.e2e
WINDOW = "01:00-03:00"
OPENS, SHUTS = datetime(2026, 11, 21, 1, tzinfo=UTC), datetime(2026, 11, 21, 3, tzinfo=UTC)
LOADED_S, DRAIN_S = 4, 5
"""Of the window when the soak begins: for load, and for the drain (0.5 s + 1.5 s + 2 s, and a second)."""
BASES = ("api", "login", "org", "webchat", "messaging", "files", "webmessaging", "cdn")


def test_the_approved_window_is_kept_from_its_opening_to_its_close(tmp_path: Path) -> None:
    host, clock, env = own_address(), WallClock(tmp_path / "clock"), {"SIM_SECRET": "s"}
    config = '[credentials]\nclient_id = "guestswarm"\nclient_secret = "env:SIM_SECRET"\n'
    with Simulator(tmp_path / "target", config, env=env) as target, Relay(host, target.port) as relay:
        urls = "\n".join(f'urls.{base} = "http://{host}:{relay.port}"' for base in BASES)
        scenario = scenario_for(
            tmp_path,
            target=f'client_id = "guestswarm"\ncredentials = "env:SIM_SECRET"\nqueue = "support"\n{urls}',
            more=f'[authorisation]\nhosts = ["{host}"]\nticket = "T-1"\nwindow = "{WINDOW}"\ntimezone = "UTC"\n'
            "max_guests = 10\nmax_requests_per_s = 500",
        )
        env |= clock.env
        runs = tmp_path / "run" / "runs"

        clock.set_to(OPENS - timedelta(minutes=1))
        early = call("soak", scenario, "--for", "60s", "--runs", runs, *SHORT, env=env)
        assert early.returncode == ExitCode.NOT_AUTHORISED, early
        assert f"the approved window {WINDOW} (UTC) is shut now" in early.stderr
        assert "It is 00:59 there." in early.stderr
        assert not runs.exists()
        assert relay.connections == 0

        shuts_ns = clock.set_to(SHUTS - timedelta(seconds=LOADED_S + DRAIN_S)) + (LOADED_S + DRAIN_S) * 10**9
        with Soak(tmp_path / "run", "--for", "60s", *SHORT[:-1], scenario=scenario, env=env) as run:
            run.until_loaded(6)
            control = SimulatorControl(f"http://127.0.0.1:{target.ready['control']}", target.ready["token"])
            control.faults([{"name": "skew", "by": "90s"}])  # its clock steps, which is another matter than ours
            code = run.end(60)
            run.assert_clean_words()
        assert code == run.summary["exit_code"] == ExitCode.UNKNOWN, run.said
        assert run.manifest["ended"] == "window_shut"
        first = run.summary["reasons"][0]
        assert first["code"] == "window_shut"
        assert first["text"].startswith("The approved window was about to shut, so the run was ended at ")
        assert first["text"] in run.out
        assert "it would be drained at its close" in run.err
        assert relay.last_ns <= shuts_ns, "not a byte was sent after the close"
        phases = run.manifest["phases"]
        assert shuts_ns - DRAIN_S * 10**9 <= phases["settle"] < phases["end"] <= shuts_ns
        rows = list(op_rows(journals(run.folder)))
        assert any(isinstance(row, Invoked) for row in rows)
        assert max(row.at_ns for row in rows) <= shuts_ns
        measured = fold(journals(run.folder))
        assert measured.damage.any is False
        assert measured.last_ns <= shuts_ns
        assert run.summary["guests"]["finished"] == 6, "all had left"
        assert run.summary["one_way"]["state"] == "unresolvable", "withheld rather than wrong"
        assert [one["delays"] for one in run.summary["clocks"] if one["state"] == "unresolvable" and one["messages"]] == [{}, {}]
        assert "clock_step" not in run.kinds()

        clock.set_to(SHUTS + timedelta(minutes=1))
        before, connections = (run.folder / "manifest.json").read_bytes(), relay.connections
        late = call("soak", "--resume", run.folder, "--for", "5s", "--runs", runs, env=env)
        assert late.returncode == ExitCode.NOT_AUTHORISED, late
        assert "is shut now" in late.stderr
        assert "It is 03:01 there." in late.stderr

        clock.set_to(SHUTS - timedelta(seconds=DRAIN_S - 1))
        tight = call("soak", "--resume", run.folder, "--for", "5s", "--runs", runs, "--json", env=env)
        assert tight.returncode == ExitCode.NOT_AUTHORISED, tight
        assert "the approved window shuts before the guests could be drained" in tight.stderr
        assert json.loads((run.folder / "manifest.json").read_bytes()) == json.loads(before), "the soak stands as it stood"
        assert relay.connections == connections
