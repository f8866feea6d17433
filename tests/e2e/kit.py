"""Real processes of a run, seen from outside: through /proc, the run folder, and what they print."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from harness.errors import JournalError
from harness.journal.reader import JournalReader
from harness.runs.folder import list_runs, read_manifest

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).with_name("tiny.toml")
PARENT, LOAD, SIMULATOR, REPORT = "harness.cli.main run", "harness.swarm.child", "harness.simulator", "harness.cli.main report"
GONE_S = 2.0
"""After which nothing of a killed run may be alive."""
_T = TypeVar("_T")


def until(condition: Callable[[], _T], within_s: float, what: str) -> _T:
    deadline = time.monotonic() + within_s
    while True:
        if found := condition():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s:g} s: {what() if callable(what) else what}")
        time.sleep(0.01)


def processes(mark: Path) -> dict[int, str]:
    """Those alive whose command line names `mark`, by process id."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            argv = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        if str(mark) in argv and state not in "ZX":
            found[int(entry.name)] = argv
    return found


def guestswarm(*arguments: object, env: Mapping[str, str] | None = None, options: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, *options, "-m", "harness.cli.main", *map(str, arguments)]


def call(*arguments: object, env: Mapping[str, str] | None = None, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """One command from start to end."""
    environ = {**os.environ, **(env or {})}
    return subprocess.run(
        guestswarm(*arguments), cwd=ROOT, env=environ, capture_output=True, text=True, timeout=timeout_s, check=False
    )


class Run:
    """`guestswarm run` (or another job), its own process group, its words in files. Leaves nothing alive."""

    def __init__(
        self, folder: Path, *arguments: object, scenario: Path = TINY, env: Mapping[str, str] | None = None, command: str = "run"
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.runs = folder / "runs"
        self._out, self._err = folder / "stdout", folder / "stderr"
        argv = guestswarm(command, scenario, "--runs", self.runs, *arguments)
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in [*processes(self.runs), *([self.process.pid] if self.process.poll() is None else [])]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait(5)

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        return self._err.read_text()

    @property
    def said(self) -> str:
        return f"--- stdout\n{self.out}\n--- stderr\n{self.err}"

    @property
    def folder(self) -> Path:
        return self.runs / list_runs(self.runs)[0].id

    @property
    def manifest(self) -> dict[str, Any]:
        return read_manifest(self.folder)

    @property
    def summary(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.folder / "summary.json").read_text())
        return value

    @property
    def codes(self) -> list[str]:
        return [reason["code"] for reason in self.summary["reasons"]]

    def alive(self) -> dict[int, str]:
        return processes(self.runs)

    def pid(self, role: str) -> int:
        """Of the one process that plays a role; waits for it."""

        def look() -> int:
            return next((pid for pid, argv in self.alive().items() if f"-m {role}" in argv), 0)

        return until(look, 30, lambda: f"{role}\n{self.said}")

    def intervals(self) -> int:
        """How many are in the journal."""
        try:
            path = self.folder / "journal-1.bin"
            return sum(1 for _ in JournalReader(path).intervals())
        except (IndexError, JournalError):
            return 0

    def until_loaded(self, intervals: int = 3) -> None:
        """Until guests have spoken for a while."""

        def look() -> bool:
            assert self.process.poll() is None, self.said
            return self.intervals() >= intervals

        until(look, 30, lambda: self.said)

    def until_said(self, text: str) -> None:
        until(lambda: text in self.err, 30, lambda: f"{text}\n{self.said}")

    def port(self) -> int:
        """The simulator's."""
        order = json.loads((self.folder / "load.json").read_text())
        return int(order["simulator"]["port"])

    def sizes(self) -> dict[str, int]:
        """Of what grows while packets flow."""
        return {path.name: path.stat().st_size for path in self.folder.iterdir() if path.suffix in (".bin", ".jsonl", ".log")}

    def end(self, within_s: float = 60) -> int:
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.said) from None

    def assert_gone(self) -> None:
        """Within two seconds nothing of the run lives, listens or writes."""
        port = self.port()
        until(lambda: not self.alive() and not listens(port), GONE_S, lambda: f"still there: {self.alive()}, {port}")
        before = self.sizes()
        time.sleep(0.2)
        assert self.sizes() == before

    def assert_clean_words(self) -> None:
        assert "Traceback" not in self.said, self.said
        assert "Warning" not in self.said, self.said


def listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Simulator:
    """`guestswarm simulate`: a target of its own, not of the run that is looked at."""

    def __init__(self, folder: Path, config: str = "", *, env: Mapping[str, str] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        table = folder / "simulator.toml"
        table.write_text(config)
        argv = guestswarm("simulate", "--config", table, "--folder", folder)
        self._log = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            argv, cwd=ROOT, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, (folder / "log").read_text()
        self.ready: dict[str, Any] = json.loads(line)
        self.port = int(self.ready["port"])

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


def scenario_for(folder: Path, name: str = "real.toml", *, dialect: str = "", target: str, more: str = "") -> Path:
    """The tiny scenario against a target: `target` are lines of `[target]` and of the tables below it."""
    text = TINY.read_text()
    head, _, tail = text.partition("[target]")
    _, _, rest = tail.partition("[guests]")
    rest = rest.partition("[simulator.agents]")[0]
    if dialect:
        head = head.replace('name = "tiny"', f'name = "tiny"\ndialect = "{dialect}"')
        rest = "\n".join(line for line in rest.splitlines() if not line.startswith("mix"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"{head}[target]\n{target}\n\n[guests]{rest}\n{more}\n")
    return path
