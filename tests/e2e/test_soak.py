"""`guestswarm soak` with real processes in short form: what befalls a night neither ends it nor spoils what was gathered."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode
from harness.journal.segments import journals
from harness.report.fold import fold
from tests.e2e.kit import LOAD, ROOT, SIMULATOR, TINY, call, guestswarm, listens, scenario_for, until
from tests.e2e.soak_kit import SHORT, Soak

pytestmark = pytest.mark.e2e


def test_a_short_soak_says_that_trends_were_not_judged(tmp_path: Path) -> None:
    rotating = ("--set", "soak.segment_time=1s")
    with Soak(tmp_path, "--for", "4s", *SHORT, *rotating) as run:
        code = run.end(60)
        summary = run.summary
        assert code == summary["exit_code"]
        assert "not judged" in summary["reasons"][0]["text"]
        assert "4 s < 6 h" in summary["reasons"][0]["text"]
        assert summary["series"]
        assert {one["verdict"] for one in summary["series"]} == {"NOT JUDGED"}
        assert {one["note"] for one in summary["series"]} == {"not judged: 4 s < 6 h"}
        names = {one["name"] for one in summary["series"]}
        assert {"generator memory", "target memory", "target sockets", "failed messages"} <= names
        files = journals(run.folder)
        assert [path.name for path in files[:3]] == ["journal-1.bin", "journal-1.0002.bin", "journal-1.0003.bin"]
        assert [stat.S_IMODE(path.stat().st_mode) for path in files[:-1]] == [0o444] * (len(files) - 1)
        assert not fold(files).damage.any
        assert all(row["equal"] for row in summary["truth"])
        run.assert_clean_words()
        run.assert_gone()


def test_a_lost_load_child_is_replaced_and_numbers_go_on(tmp_path: Path) -> None:
    with Soak(tmp_path, "--for", "8s", *SHORT) as run:
        run.until_loaded()
        lost = run.pid(LOAD)
        os.kill(lost, signal.SIGKILL)
        until(lambda: run.pid(LOAD) != lost, 20, lambda: run.said)
        assert run.end(60) == ExitCode.UNKNOWN, run.said
        summary = run.summary
        assert "worker_lost" in run.codes
        assert "another one went on" in summary["reasons"][0]["text"]
        assert summary["soak"]["sessions"] == 2
        assert {"worker_lost", "session"} <= set(run.kinds())
        measured = fold(journals(run.folder))
        assert measured.damage.intervals == 0  # numbers went on
        assert len(measured.damage.lost) == 1
        assert measured.gauges.get("guests|chatting", 0) == 0  # nobody of the first session is counted for ever
        assert run.manifest["ended"] == "finished"
        assert run.manifest["sessions"][1]["first_interval"] > 0
        run.assert_clean_words()
        run.assert_gone()


def test_a_restarted_target_is_found_again(tmp_path: Path) -> None:
    with Soak(tmp_path, "--for", "8s", *SHORT) as run:
        run.until_loaded()
        port, lost = run.port(), run.pid(SIMULATOR)
        os.kill(lost, signal.SIGKILL)
        until(lambda: run.pid(SIMULATOR) != lost and listens(port), 20, lambda: run.said)
        before = run.intervals()
        until(lambda: run.intervals() > before + 8, 20, lambda: run.said)
        run.end(60)
        assert run.manifest["ended"] == "finished", run.said
        assert not fold(journals(run.folder)).damage.any
        assert run.summary["soak"]["target_restarts"] == 1
        assert run.kinds().count("target_lost") == 1
        assert {row["equal"] for row in run.summary["truth"]} <= {None}
        assert (run.folder / "truth.1.jsonl").is_file()
        sent = [point.counters.get("messages|ok", 0) for point in fold(journals(run.folder)).series]
        assert any(sent[before + 2 :])  # guests came back
        run.assert_clean_words()
        run.assert_gone()


def test_a_target_that_goes_away_for_a_while(tmp_path: Path) -> None:
    """Not ours, so that nobody starts it anew: the run goes on, and what failed stands in its figures."""
    folder = tmp_path / "target"
    folder.mkdir()
    table = folder / "simulator.toml"
    table.write_text('[credentials]\nclient_id = "guestswarm"\nclient_secret = "env:SIM_SECRET"\n')

    def serve(port: int = 0) -> tuple[subprocess.Popen[bytes], int]:
        argv = guestswarm("simulate", "--config", table, "--folder", folder, "--port", port)
        process = subprocess.Popen(
            argv, cwd=ROOT, env={**os.environ, "SIM_SECRET": "s"}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        return process, int(json.loads(process.stdout.readline())["port"])

    process, port = serve()
    try:
        bases = " ".join(("api", "login", "org", "webchat", "messaging", "files", "webmessaging", "cdn")).split()
        urls = "\n".join(f'urls.{base} = "http://127.0.0.1:{port}"' for base in bases)
        target = f'client_id = "guestswarm"\ncredentials = "env:SIM_SECRET"\nqueue = "support"\n{urls}'
        scenario = scenario_for(tmp_path, target=target)
        os.environ["SIM_SECRET"] = "s"
        with Soak(tmp_path / "run", "--for", "7s", *SHORT, scenario=scenario) as run:
            run.until_loaded()
            process.kill()
            process.wait(5)
            assert process.stdout is not None
            process.stdout.close()
            time.sleep(1)  # that long it is away
            process, _ = serve(port)
            run.end(60)
            assert run.manifest["ended"] == "finished", run.said
            measured = fold(journals(run.folder))
            assert not measured.damage.any
            half = len(measured.series) // 2
            assert sum(point.counters.get("messages|ok", 0) for point in measured.series[half:]) > 0
            assert run.summary["failures"]
            run.assert_clean_words()
    finally:
        os.environ.pop("SIM_SECRET", None)
        process.kill()
        process.wait(5)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(place)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("cannot mount a file system here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def _fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 10, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                pass
    return ballast


def test_a_full_disk_does_not_end_it_and_what_waited_is_written_when_there_is_room(disk: Path) -> None:
    with Soak(disk, "--for", "9s", "--set", "soak.disk=40MiB", *SHORT) as run:
        run.until_loaded()
        ballast = _fill(disk)
        path = run.folder / "journal-1.bin"
        until(lambda: "events" and (run.folder / "load.json").is_file(), 5, "the folder is there")
        size = path.stat().st_size
        time.sleep(2)
        assert run.process.poll() is None, run.said
        assert path.stat().st_size - size < 4096  # it stands still, but for the rest of a page
        ballast.unlink()
        until(lambda: path.stat().st_size > size + 4096, 10, lambda: run.said)
        run.end(60)
        assert run.manifest["ended"] == "finished", run.said
        measured = fold(journals(run.folder))
        assert not measured.damage.any  # every interval is there: the ones that waited as well
        assert "journal_failed" in run.kinds()
        run.assert_clean_words()


def test_a_disk_that_stays_full_is_unknown_and_what_was_gathered_stands(disk: Path) -> None:
    with Soak(disk, "--for", "4s", "--set", "soak.disk=40MiB", *SHORT) as run:
        run.until_loaded()
        _fill(disk)
        assert run.end(60) == ExitCode.UNKNOWN, run.said
        summary = run.summary
        assert not summary["complete"]
        assert summary["measures"]["ack"]["ok"]["service"]["n"] > 0
        run.assert_clean_words()


def test_an_interrupted_soak_is_resumed_in_its_folder(tmp_path: Path) -> None:
    with Soak(tmp_path, "--for", "20s", *SHORT) as run:
        run.until_loaded()
        run.process.send_signal(signal.SIGTERM)
        assert run.end(60) == ExitCode.TERMINATED, run.said
        folder = run.folder
        first = fold(journals(folder))
    done = call("soak", "--resume", folder, "--for", "2s", "--quiet", "--runs", tmp_path / "runs", timeout_s=90)
    assert "Traceback" not in done.stderr, done.stderr
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    assert summary["soak"]["sessions"] == 2
    assert [path.name for path in journals(folder)] == ["journal-1.bin", "journal-1.0002.bin"]
    whole = fold(journals(folder))
    assert not whole.damage.any
    assert whole.count("messages|invoked") > first.count("messages|invoked")
    assert whole.count("guests.arrived") == 2 * first.count("guests.arrived")
    assert {"resumed", "session"} <= {one["kind"] for one in summary["soak"]["happenings"]}
    again = call("soak", "--resume", folder, "--runs", tmp_path / "runs")
    assert again.returncode == ExitCode.USAGE
    assert "has come to its end already" in again.stderr


def test_a_soak_that_cannot_fit_on_the_disk_is_refused_before_it_begins(disk: Path) -> None:
    done = call("soak", TINY, "--for", "300d", "--runs", disk)
    assert done.returncode == ExitCode.USAGE
    assert "an hour" in done.stderr
    assert list(disk.iterdir()) == []
