"""Full disks and folders that cannot be written: an error before the run, an orderly end during it."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import ExitCode
from tests.e2e.kit import LOAD, SIMULATOR, TINY, Run, call

pytestmark = pytest.mark.e2e


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={request.param}", "tmpfs", str(place)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a file system here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


@pytest.mark.parametrize("disk", ["1m"], indirect=True)
def test_a_disk_without_room_is_an_error_before_the_run(disk: Path) -> None:
    done = call("run", TINY, "--runs", disk)
    assert done.returncode == ExitCode.USAGE
    assert f"guestswarm: {disk}: only 1 MiB are free, a run needs at least 64 MiB\n  Choose another place" in done.stderr
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("place", ["a file", "below a file", "/proc/nowhere"])
def test_a_folder_that_cannot_be_made(tmp_path: Path, place: str) -> None:
    file = tmp_path / "file"
    file.write_text("")
    runs = {"a file": file, "below a file": file / "runs"}.get(place, Path(place))
    done = call("run", TINY, "--runs", runs)
    assert done.returncode == ExitCode.USAGE
    assert done.stderr.startswith(f"guestswarm: {runs}: cannot make the folder for runs: ")
    assert "--runs DIR" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("disk", ["96m"], indirect=True)
def test_a_read_only_disk(disk: Path) -> None:
    with Run(disk.parent / "outside", "-t", "500ms") as run:
        assert run.end(30) == ExitCode.PASS, run.said
        kept = shutil.copytree(run.folder, disk / run.folder.name)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    done = call("run", TINY, "--runs", disk)
    assert done.returncode == ExitCode.USAGE
    assert f"guestswarm: {disk}: cannot make a run folder: Read-only file system\n  Choose another place" in done.stderr
    done = call("report", kept)  # the verdict is said all the same
    assert done.returncode == ExitCode.USAGE
    assert "PASS" in done.stdout
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = call("run", TINY, "--runs", tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert "Permission denied" in done.stderr


@pytest.mark.parametrize("disk", ["96m"], indirect=True)
def test_a_disk_that_fills_up_ends_the_run_with_what_was_gathered(disk: Path) -> None:
    with Run(disk, "-t", "60s") as run:
        run.until_loaded()
        with (disk / "ballast").open("wb", buffering=0) as ballast:
            for size in (1 << 20, 1 << 10):
                try:
                    while True:
                        ballast.write(bytes(size))
                except OSError:
                    pass
        assert run.end(30) == ExitCode.UNKNOWN, run.said
        run.assert_gone()
        run.assert_clean_words()
        assert run.manifest["ended"] == "journal"
        assert run.codes[0] == "journal"
        assert not run.summary["complete"]
        assert run.summary["measures"]["ack"]["ok"]["service"]["n"] > 0
        assert "The journal could not be written" in run.out
        assert "No space left on device" in run.err


def test_a_journal_that_may_not_grow_ends_the_run(tmp_path: Path) -> None:
    with Run(tmp_path, "-t", "60s") as run:
        run.until_loaded()
        limit = (run.folder / "journal-1.bin").stat().st_size + 3000
        resource.prlimit(run.pid(LOAD), resource.RLIMIT_FSIZE, (limit, limit))
        assert run.end(30) == ExitCode.UNKNOWN, run.said
        run.assert_gone()
        run.assert_clean_words()
        assert run.manifest["ended"] == "journal"
        assert run.codes[0] == "journal"
        assert "File too large" in run.err


def test_a_truth_that_cannot_be_written_is_not_compared(tmp_path: Path) -> None:
    with Run(tmp_path, "-t", "2s") as run:
        run.until_loaded(1)
        limit = (run.folder / "truth.jsonl").stat().st_size + 100
        resource.prlimit(run.pid(SIMULATOR), resource.RLIMIT_FSIZE, (limit, limit))
        assert run.end(30) == ExitCode.UNKNOWN, run.said
        run.assert_clean_words()
        assert run.codes == ["truth_not_compared"]
        assert run.summary["complete"]
        assert {row["equal"] for row in run.summary["truth"]} == {None}
