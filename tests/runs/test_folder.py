from __future__ import annotations

import errno
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode, RunFolderError
from harness.runs.folder import RESERVE, create_run, find_run, list_runs, prune, read_manifest, update_manifest


def make(root: Path, name: str = "first run", **more: Any) -> Path:
    return create_run(root, name, {"started_utc": more.pop("started", "2026-01-01T00:00:00Z"), **more})


def test_a_run_is_named_by_time_scenario_and_four_hex_digits(tmp_path: Path) -> None:
    folder = make(tmp_path / "deep" / "reports", "First run: Café!")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-first-run-caf-[0-9a-f]{4}", folder.name)
    manifest = read_manifest(folder)
    assert manifest["schema"] == "guestswarm.manifest/1"
    assert manifest["id"] == folder.name
    assert folder.name.endswith(manifest["run"])
    assert manifest["ended"] is None


@pytest.mark.parametrize("name", ["", "///", "é", "x" * 500, "../../etc/passwd"])
def test_no_scenario_name_escapes_the_root_or_is_too_long(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path, name)
    assert folder.parent == tmp_path
    assert len(folder.name) < 100


def test_latest_points_at_the_newest_and_moves_with_the_root(tmp_path: Path) -> None:
    root = tmp_path / "a"
    make(root)
    second = make(root, started="2026-01-01T00:00:01Z")
    assert find_run(root, "latest") == second
    assert os.readlink(root / "latest") == second.name
    root.rename(tmp_path / "b")
    assert find_run(tmp_path / "b", "latest").name == second.name
    (tmp_path / "b" / "latest").unlink()
    assert find_run(tmp_path / "b", "latest").name == second.name


def test_something_else_called_latest_is_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    (tmp_path / "latest" / "x").write_text("")
    folder = make(tmp_path)
    assert find_run(tmp_path, "latest") == folder
    assert not list(tmp_path.glob(".latest*"))


def test_a_run_is_found_by_path_id_and_last_part(tmp_path: Path) -> None:
    folder = make(tmp_path, run="7c3f")
    for which in (str(folder), folder.name, "7c3f"):
        assert find_run(tmp_path, which) == folder
    other = make(tmp_path, "another", run="7c3f")
    assert find_run(tmp_path, other.name) == other
    with pytest.raises(RunFolderError, match="fits 2 runs"):
        find_run(tmp_path, "7c3f")


@pytest.mark.parametrize(("which", "words"), [("latest", "no run yet"), ("abcd", "no run 'abcd'"), (".", "no manifest.json")])
def test_what_is_not_there(tmp_path: Path, which: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunFolderError, match=words) as caught:
        find_run(tmp_path, which)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": "guestswarm.manifest/9"}', '"x"'])
def test_manifests_that_are_none(tmp_path: Path, text: str) -> None:
    folder = make(tmp_path)
    (folder / "manifest.json").write_text(text)
    with pytest.raises(RunFolderError):
        read_manifest(folder)
    assert list_runs(tmp_path) == []


def test_updating_sets_keys_and_merges_tables_and_leaves_no_half_file(tmp_path: Path) -> None:
    folder = make(tmp_path, phases={"ramp": 1}, seed=3)
    update_manifest(folder, {"phases": {"load": 2}, "ended": "finished"})
    manifest = read_manifest(folder)
    assert manifest["phases"] == {"ramp": 1, "load": 2}
    assert (manifest["ended"], manifest["seed"]) == ("finished", 3)
    assert {path.name for path in folder.iterdir()} - {RESERVE} == {"manifest.json"}


def test_a_full_disk_takes_the_manifest_out_of_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path)
    (folder / RESERVE).touch()
    write = Path.write_text

    def full(path: Path, *args: Any, **kwargs: Any) -> int:
        if (folder / RESERVE).exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", full)
    assert update_manifest(folder, {"ended": "journal"})["ended"] == read_manifest(folder)["ended"] == "journal"
    assert [path.name for path in folder.iterdir()] == ["manifest.json"]
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
    with pytest.raises(RunFolderError, match="cannot write it"):
        update_manifest(folder, {"ended": "finished"})
    assert read_manifest(folder)["ended"] == "journal"


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="--runs DIR"):
        make(tmp_path / "file" / "reports")


def test_a_full_disk_is_told_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 20})())
    with pytest.raises(RunFolderError, match="only 1 MiB are free"):
        make(tmp_path)


def test_listing_shows_the_newest_first_and_skips_strangers(tmp_path: Path) -> None:
    old = make(tmp_path, started="2026-01-01T00:00:00Z", scenario={"scenario": {"name": "old"}}, guests_planned=5)
    new = make(tmp_path, started="2026-01-02T00:00:00Z", ended="finished")
    (tmp_path / "sample").mkdir()
    (tmp_path / "note.txt").write_text("")
    (new / "summary.json").write_text(json.dumps({"verdict": "PASS"}))
    (old / "summary.json").write_text("{")
    runs = list_runs(tmp_path)
    assert [run.path for run in runs] == [new, old]
    assert [(run.verdict, run.ended, run.scenario, run.guests) for run in runs] == [
        ("PASS", "finished", "", None),
        (None, None, "old", 5),
    ]


def test_pruning_keeps_the_newest_and_all_that_have_not_ended(tmp_path: Path) -> None:
    running = make(tmp_path, started="2026-01-01T00:00:00Z")
    ended = [make(tmp_path, started=f"2026-01-0{day}T00:00:00Z", ended="finished") for day in (2, 3, 4)]
    stranger = tmp_path / "keep-me"
    stranger.mkdir()
    sample = make(tmp_path, started="2020-01-01T00:00:00Z", ended="finished").rename(tmp_path / "sample")
    assert prune(tmp_path, 1) == [ended[1], ended[0]]
    assert {run.path for run in list_runs(tmp_path)} == {running, ended[2], sample}
    assert stranger.is_dir()
    assert prune(tmp_path, 0) == [ended[2]]
    assert find_run(tmp_path, "latest") == running
