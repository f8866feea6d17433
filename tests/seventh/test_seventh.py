"""A seventh dialect needs one client module, one simulator module, one locustfile and its tests: the toy, from outside."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
TOY = HERE / "toy"
DOCUMENT = HERE.parent.parent / "docs" / "add-a-dialect.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the toy counts as installed: what `pip install` would write, without pip."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((TOY / "pyproject.toml").read_text())["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    groups = [
        f"[{group}]\n" + "\n".join(f"{name} = {value}" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups) + "\n")
    given = os.environ.get("PYTHONPATH", "")
    paths = [str(site), str(TOY), str(HERE.parent.parent), *([given] if given else [])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


def call(installed: dict[str, str], *words: str, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, env=installed, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)


def test_it_is_listed(installed: dict[str, str], tmp_path: Path) -> None:
    done = call(installed, "harness.cli.main", "dialects", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (toy,) = [one for one in json.loads(done.stdout) if one["name"] == "toy"]
    lines = (TOY / "toy.jsonl").read_text().splitlines()
    assert (toy["transport"], toy["correlation"], toy["transcript_lines"]) == ("websocket", "client_id", len(lines))


def test_its_settings_and_its_name_are_part_of_the_scenario_schema(installed: dict[str, str], tmp_path: Path) -> None:
    done = call(installed, "harness.cli.main", "schema", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "guests_path" in done.stdout


def test_it_passes_the_suite_by_its_own_tests(installed: dict[str, str], tmp_path: Path) -> None:
    words = ["pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(TOY), str(TOY / "toy_tests.py")]
    done = call(installed, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]


def test_it_passes_the_suite_without_pytest(installed: dict[str, str], tmp_path: Path) -> None:
    words = ["harness.conformance", "toy", "--staging", "toy_tests", "--seeds", "3", "--hours", "0.1"]
    done = call(installed, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert re.fullmatch(r"toy: ([0-9]+) of \1 checks passed\n", done.stdout)


@pytest.mark.e2e
def test_a_run_of_it_has_a_verdict_and_truth_is_equal(installed: dict[str, str], tmp_path: Path) -> None:
    done = call(installed, "harness.cli.main", "run", str(TOY / "toy.toml"), "--runs", str(tmp_path / "runs"), cwd=tmp_path)
    found = [path for path in (tmp_path / "runs").glob("*/summary.json") if not path.parent.is_symlink()]
    assert len(found) == 1, done.stderr[-3000:]
    summary = json.loads(found[0].read_text())
    unequal = [row for row in summary["truth"] if row["equal"] is not True]
    assert not unequal, unequal
    rows = {row["name"]: row["expected"] for row in summary["truth"]}
    assert rows["messages.sent"] > 40
    assert summary["verdict"] == "PASS", done.stderr[-3000:]
    assert done.returncode == 0


@pytest.mark.e2e
def test_it_is_served_by_the_simulator_alone(installed: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness.cli.main", "simulate", "--dialects", "toy", "--folder", str(tmp_path)]
    child = subprocess.Popen(command, env=installed, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        ready: dict[str, Any] = json.loads(child.stdout.readline())
        secret = Path(ready["secret_file"]).read_text().strip()
        form = urllib.parse.urlencode({"client": "guestswarm", "secret": secret}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{ready['port']}/toy/guests", form, timeout=10) as answer:
            assert sorted(json.load(answer)) == ["guest", "token"]
        with pytest.raises(urllib.error.HTTPError) as other:
            urllib.request.urlopen(f"http://127.0.0.1:{ready['port']}/oauth/token", b"", timeout=10)
        assert other.value.code == 404, "only the toy is served"
        other.value.close()
        child.send_signal(signal.SIGTERM)
        assert child.wait(20) == 0
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        if child.stdout is not None:
            child.stdout.close()


# ---------------------------------------------------------------- the document
BLOCK = re.compile(r'^```\w+ title="([\w.]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def test_the_code_that_the_document_shows_is_the_toys_own() -> None:
    blocks = BLOCK.findall(DOCUMENT.read_text("utf-8"))
    assert {name for name, _ in blocks} == {path.name for path in TOY.iterdir() if path.is_file()}, "every file, and nothing else"
    for name, shown in blocks:
        assert shown == (TOY / name).read_text("utf-8"), f"{name} is shown otherwise than it is"


def test_every_command_of_the_document_exists(installed: dict[str, str], tmp_path: Path) -> None:
    text = DOCUMENT.read_text("utf-8")
    assert "python -m harness.conformance toy" in text
    for command in re.findall(r"^\$ guestswarm (\w+)", text, re.MULTILINE):
        done = call(installed, "harness.cli.main", command, "--help", cwd=tmp_path)
        assert done.returncode == 0, command
