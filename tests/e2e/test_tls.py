"""TLS with real processes: the simulator's own authority is trusted, another one is not, and it is said why."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.e2e


def guestswarm(*words: str, timeout: float = 90, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-m", "harness.cli.main", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def test_a_run_over_tls_equals_its_truth(tmp_path: Path) -> None:
    done = guestswarm("run", "tests/e2e/tiny.toml", "--tls", "--runs", str(tmp_path))
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "latest" / "summary.json").read_text())
    assert all(row["equal"] for row in summary["truth"])
    assert not list(tmp_path.glob("*/*key*"))
    for file in (tmp_path / "latest").glob("*.pem"):
        assert "PRIVATE KEY" not in file.read_text()


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[dict[str, object]]:
    command = [sys.executable, "-m", "harness.simulator", "--tls", "--port", "0", "--folder", str(tmp_path), "--parent-pipe"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(20)


def scenario(folder: Path, port: object, ca: Path) -> Path:
    url = f"https://127.0.0.1:{port}"
    text = (ROOT / "tests/e2e/tiny.toml").read_text()
    target = f"""[target]
urls = {{ api = "{url}", login = "{url}", webchat = "{url}", files = "{url}" }}
client_id = "guestswarm"
credentials = "env:TINY_SECRET"
tls = {{ ca = "{ca}" }}
"""
    head, _, tail = text.partition("[simulator")
    path = folder / "tls.toml"
    path.write_text(head.replace("[target]\n", target))
    assert tail
    return path


def test_the_right_authority_is_enough(simulator: dict[str, object], tmp_path: Path) -> None:
    secret = Path(str(simulator["secret_file"])).read_text().strip()
    path = scenario(tmp_path, simulator["port"], Path(str(simulator["ca"])))
    done = guestswarm("run", str(path), "--runs", str(tmp_path / "runs"), TINY_SECRET=secret)
    summary = json.loads((tmp_path / "runs" / "latest" / "summary.json").read_text())
    assert summary["measures"]["reply"]["ok"]["response"]["n"] > 0, done.stderr
    assert "tls_verify" not in summary["failures"]


def test_another_authority_is_refused_by_name(simulator: dict[str, object], tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    done = guestswarm("run", str(scenario(tmp_path, simulator["port"], other)), "--runs", str(tmp_path / "runs"), TINY_SECRET="x")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "tls_verify" in done.stderr or "certificate" in done.stderr
    assert "Traceback" not in done.stderr
