"""Who may import whom: read from the source, and proven once more in fresh processes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHELL = {"gevent", "locust", "websocket", "geventhttpclient", "greenlet"}

# room -> rooms of ours it may import, besides itself and `errors`
LAW: dict[str, set[str]] = {
    "errors": set(),
    "core": set(),
    "metrics": {"core.ops", "journal.records", "journal.codec"},
    "dialects": {"core"},
    "verdicts": {"metrics", "core.ops", "core.spread", "journal.records"},
    "search": {"verdicts", "metrics", "core.ops", "core.spread"},
    "drift": {"metrics"},
    "journal": {"core.ops"},
    "runs": set(),
    "findings": {"core.ops", "journal.records", "metrics"},
    "analysis": {"metrics", "verdicts.intervals"},
    "report": {"journal", "findings", "metrics", "verdicts", "core.ops", "core.spread", "runs", "search", "drift"},
    "calibration": {"core.ops", "core.spread", "metrics", "report"},
    "simulator": {"core.wire"},
    "config": {"core", "dialects", "verdicts", "search", "drift"},
    "conformance": {
        "core",
        "dialects",
        "metrics",
        "journal",
        "report",
        "config",
        "runs",
        "verdicts",
        "search",
        "simulator",
    },
    "swarm": {"core", "dialects", "metrics", "journal", "report", "config", "runs", "verdicts", "search"},
    "cli": {
        "analysis",
        "core",
        "dialects",
        "metrics",
        "journal",
        "report",
        "config",
        "runs",
        "verdicts",
        "search",
        "drift",
        "swarm",
        "simulator",
        "conformance",
        "calibration",
    },
}


def rooms() -> list[Path]:
    return sorted(path for path in (ROOT / "harness").rglob("*.py"))


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT / "harness").parts
    return parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", rooms(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_what_the_law_allows(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    assert room in LAW, f"{room} is not in the law: say who may import it"
    allowed = LAW[room] | {"errors", room}
    for name in imported(path):
        top, _, rest = name.partition(".")
        if top == "harness":
            inner = rest.split(".")
            if inner[0] == "__version__":
                continue
            assert any(inner[: len(a.split("."))] == a.split(".") for a in allowed), f"{path}: {room} imports {name}"
        elif top in SHELL:
            assert room == "swarm", f"{path}: only swarm may import {top}"


PURE = [
    "harness.core.session",
    "harness.metrics",
    "harness.analysis",
    "harness.dialects.registry",
    "harness.verdicts",
    "harness.journal",
    "harness.report",
    "harness.findings",
    "harness.simulator",
    "harness.runs",
    "harness.config",
    "harness.conformance",
    "harness.calibration",
    "harness.cli.main",
]


@pytest.mark.parametrize("name", PURE)
def test_a_pure_room_loads_neither_gevent_nor_locust_nor_websocket(name: str) -> None:
    code = (
        "import importlib, pkgutil, sys\n"
        f"module = importlib.import_module({name!r})\n"
        "path = getattr(module, '__path__', [])\n"
        "names = [module.__name__] + [m.name for m in pkgutil.walk_packages(path, module.__name__ + '.')]\n"
        "[importlib.import_module(n) for n in names if not n.endswith('__main__')]\n"
        "from harness.dialects.registry import all_dialects; all_dialects()\n"
        f"bad = sorted(set(sys.modules) & {SHELL!r})\n"
        "assert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
