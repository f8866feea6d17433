"""Run folders: make one, find one, list them, drop old ones. A run folder is whatever holds our `manifest.json`."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import RunFolderError

MANIFEST = "manifest.json"
SUMMARY = "summary.json"
SCHEMA = "guestswarm.manifest/1"
NEEDED_BYTES = 64 * 1024 * 1024
"""Free space below which no run is begun."""
RESERVE = ".reserve"
_RESERVE_BYTES = 8 * 1024 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


_OURS = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ-.*-[0-9a-f]{4}\Z")


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of `guestswarm runs`."""

    id: str
    path: Path
    scenario: str
    started_utc: str
    ended: str | None
    verdict: str | None
    guests: int | None


def create_run(root: Path, scenario_name: str, manifest: Mapping[str, Any]) -> Path:
    """Make `<root>/<utc>-<scenario>-<4 hex>` with its manifest and point `latest` at it.

    Fills in `schema`, `id`, `run` (the four hex digits that every message marker carries) and `ended` where they are not given.
    Raises RunFolderError if the place cannot be written or is nearly full.
    """
    root = Path(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(root).free
    except OSError as error:
        raise RunFolderError(f"cannot make the folder for runs: {_reason(error)}", where=str(root), hint=_ELSEWHERE) from None
    if free < NEEDED_BYTES:
        raise RunFolderError(
            f"only {free // 2**20} MiB are free, a run needs at least {NEEDED_BYTES // 2**20} MiB", where=str(root), hint=_ELSEWHERE
        )
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    slug = re.sub(r"[^a-z0-9]+", "-", scenario_name.lower()).strip("-")[:40] or "run"
    run = str(manifest.get("run") or "")
    for _ in range(20):
        short = run or secrets.token_hex(2)
        folder = root / f"{stamp}-{slug}-{short}"
        try:
            folder.mkdir()
            break
        except FileExistsError:
            run = ""
        except OSError as error:
            raise RunFolderError(f"cannot make a run folder: {_reason(error)}", where=str(root), hint=_ELSEWHERE) from None
    else:
        raise RunFolderError("no free name for a run folder", where=str(root))
    head = {"schema": SCHEMA, "run": short, "id": folder.name, "ended": None}
    write_json(folder / MANIFEST, {**head, **manifest, "run": short, "id": folder.name})
    _reserve(folder)
    _point_latest(root, folder)
    return folder


def find_run(root: Path, which: str) -> Path:
    """The folder of `latest`, of a path, of an id, or of an id's unique last part. Raises RunFolderError naming what there is."""
    root = Path(root)
    direct = Path(which)
    if which != "latest" and (direct / MANIFEST).is_file():
        return direct.resolve()
    if which == "latest":
        link = root / "latest"
        if (link / MANIFEST).is_file():
            return link.resolve()
        runs = list_runs(root)
        if runs:
            return runs[0].path
        raise RunFolderError("there is no run yet", where=str(root), hint="begin with: guestswarm run SCENARIO")
    if direct.is_dir():
        raise RunFolderError("this folder is not a run: it has no manifest.json", where=which)
    found = [run.path for run in list_runs(root) if run.id == which or run.id.endswith("-" + which)]
    if len(found) == 1:
        return found[0]
    if found:
        raise RunFolderError(f"{which!r} fits {len(found)} runs", where=str(root), hint="give the whole id: " + found[0].name)
    raise RunFolderError(f"no run {which!r}", where=str(root), hint="guestswarm runs lists them; `latest` is the newest")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a run. Raises RunFolderError if it is missing or not one of ours."""
    path = Path(folder) / MANIFEST
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RunFolderError(f"cannot read it: {_reason(error)}", where=str(path)) from None
    except (ValueError, RecursionError):
        raise RunFolderError("not JSON", where=str(path), hint="the run may have been cut off while it began") from None
    if not isinstance(value, dict) or value.get("schema") != SCHEMA:
        raise RunFolderError(f"not a manifest of this version ({SCHEMA})", where=str(path))
    return value


def update_manifest(folder: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Set top-level keys; a mapping is merged into a mapping that is already there. Atomic for readers, one writer at a time."""
    manifest = read_manifest(folder)
    for key, value in changes.items():
        old = manifest.get(key)
        manifest[key] = {**old, **value} if isinstance(old, dict) and isinstance(value, Mapping) else value
    write_json(Path(folder) / MANIFEST, manifest)
    return manifest


def list_runs(root: Path) -> list[RunInfo]:
    """All runs under `root`, the newest first. What is no run is skipped, never an error."""
    found: list[RunInfo] = []
    try:
        entries = [entry for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    for entry in entries:
        try:
            manifest = read_manifest(Path(entry.path))
        except RunFolderError:
            continue
        scenario = manifest.get("scenario")
        inner = scenario.get("scenario") if isinstance(scenario, dict) else {"name": scenario}
        name = (inner.get("name") or "") if isinstance(inner, dict) else ""
        found.append(
            RunInfo(
                id=entry.name,
                path=Path(entry.path),
                scenario=str(name),
                started_utc=str(manifest.get("started_utc") or ""),
                ended=manifest.get("ended"),
                verdict=_verdict(Path(entry.path)),
                guests=manifest.get("guests_planned"),
            )
        )
    return sorted(found, key=lambda run: (run.started_utc, run.id), reverse=True)


def prune(root: Path, keep: int) -> list[Path]:
    """Remove finished runs but the newest `keep`. Returns what was removed.

    A run without an end is left alone, and so is one under a name that we did not give it, such as the sample.
    """
    ended = [run for run in list_runs(root) if run.ended is not None and _OURS.match(run.id)]
    removed = []
    for run in ended[max(keep, 0) :]:
        try:
            shutil.rmtree(run.path)
        except OSError as error:
            raise RunFolderError(f"cannot remove it: {_reason(error)}", where=str(run.path)) from None
        removed.append(run.path)
    remaining = list_runs(root)
    link = Path(root) / "latest"
    if link.is_symlink() and not link.exists():
        if remaining:
            _point_latest(Path(root), remaining[0].path)
        else:
            link.unlink()
    return removed


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that no reader ever sees half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(value, indent=1, ensure_ascii=False) + "\n"
    try:
        try:
            temporary.write_text(text, "utf-8")
        except OSError as error:
            if error.errno not in _FULL or not free_reserve(path.parent):
                raise
            temporary.write_text(text, "utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # a read-only disk refuses this as well
            temporary.unlink()
        raise RunFolderError(f"cannot write it: {_reason(error)}", where=str(path), hint=_ELSEWHERE) from None


def _reserve(folder: Path) -> None:
    """Take the space that manifest and report will need: a disk that fills up meanwhile must not keep them from being written."""
    try:
        descriptor = os.open(folder / RESERVE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError:
        return
    try:
        os.posix_fallocate(descriptor, 0, _RESERVE_BYTES)
    except (OSError, AttributeError):  # no such call on this system: then without
        (folder / RESERVE).unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def free_reserve(folder: Path) -> bool:
    """Give the reserved space back to whoever writes next. False: there was none any more."""
    try:
        (Path(folder) / RESERVE).unlink()
    except OSError:
        return False
    return True


_ELSEWHERE = "Choose another place with --runs DIR (or GUESTSWARM_RUNS)."


def _reason(error: OSError) -> str:
    return error.strerror or type(error).__name__


def _verdict(folder: Path) -> str | None:
    try:
        value = json.loads((folder / SUMMARY).read_text("utf-8")).get("verdict")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return value if isinstance(value, str) else None


def _point_latest(root: Path, folder: Path) -> None:
    """A convenience: a file system without symbolic links, or a folder in its place, is no reason to refuse a run."""
    link, temporary = root / "latest", root / f".latest.{os.getpid()}"
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(folder.name, target_is_directory=True)
        temporary.replace(link)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
