from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from harness.cli.live import terminal_size
from harness.cli.progress import Progress
from harness.cli.terminal import Terminal

HERE = Path(__file__).parent
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LINE: dict[str, Any] = {
    "kind": "interval",
    "at_s": 1.0,
    "guests": {"chatting": 489, "queued": 42, "reconnecting": 61, "rest_only": 8},
    "sent": 51_204,
    "sent_per_s": 238.0,
    "answered_per_s": 231.0,
    "failed": 236,
    "hist": {"echo": [1500, 2000, 1800, 40]},
    "lost": [22, 30],
    "duplicated": 171,
    "generator": {"ok": True, "send_delay_p99_ms": 1.9, "send_delay_limit_ms": 40, "loop_busy": 0.41, "warn": ["steal 3 of 2 %"]},
}


class Screen:
    """A small terminal: what stands on it after everything that was written."""

    def __init__(self, text: str) -> None:
        self.rows = [""]
        self.at = 0
        column = 0
        for piece in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|.|\n", text):
            if piece == "\n":
                self.at, column = self.at + 1, 0
                if self.at == len(self.rows):
                    self.rows.append("")
            elif piece == "\r":
                column = 0
            elif piece.endswith("A") and len(piece) > 1:
                self.at -= int(piece[2:-1] or 1)
                assert self.at >= 0
            elif piece.endswith("K") and len(piece) > 1:
                self.rows[self.at] = "" if piece == "\x1b[2K" else self.rows[self.at][:column]
            elif not piece.startswith("\x1b"):
                row = self.rows[self.at].ljust(column)
                self.rows[self.at] = row[:column] + piece + row[column + 1 :]
                column += 1

    @property
    def text(self) -> str:
        return "\n".join(row.rstrip() for row in self.rows)


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch) -> Any:
    def choose(columns: int, lines: int = 40) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("LINES", str(lines))

    return choose


def progress_of(terminal: Terminal) -> Progress:
    return Progress(
        terminal, planned_s=30, planned_guests=600, name="first-run", dialects=["webchat"], where="simulated", drain_s=10
    )


def play(progress: Progress) -> None:
    progress.begin("first-run · webchat")
    progress.take({"kind": "phase", "phase": "load"}, 0)
    for second in range(3):
        progress.take({**LINE, "at_s": second + 1.0}, second)
        progress.tick(second)
        progress.tick(second + 0.2)
    progress.take({"kind": "fault", "name": "mass_disconnect", "on": True}, 3)
    progress.take({"kind": "note", "text": "settle: \x1b[2Jno answer"}, 3)
    progress.notice("Draining, up to 10 s. Ctrl-C again stops at once.", 3)
    progress.finish()
    progress.finish()


EXPECTED = """\
00:03 note settle: ␀[2Jno answer
first-run · webchat · simulated                        load ━━━────────────────────────── 0:27 left

Guests      600 of 600    489 chatting    42 in queue    61 reconnecting    8 REST only
Messages    238/s sent    231/s answered    51,204 sent    236 failed

            p50 now    p99 now    p50 run    p99 run    last minute
ack               –          –          –          –
echo         226 ms     1.12 s     226 ms     1.12 s                       ▂ p90
reply             –          –          –          –

Anomalies   lost 22–30    duplicated 171    reordered –    refused –    disconnected –
Generator   ✓ believable    send delay p99 1.9 of 40 ms    loop 41 %    ! steal 3 of 2 %
Draining, up to 10 s. Ctrl-C again stops at once.
"""


@pytest.mark.parametrize("color", [True, False])
def test_the_view_is_drawn_in_place(size: Any, capsys: pytest.CaptureFixture[str], color: bool) -> None:
    size(100)
    play(progress_of(Terminal(live=True, live_color=color)))
    out, err = capsys.readouterr()
    assert out == ""
    assert Screen(err).text == EXPECTED
    codes = set(re.findall(r"\x1b\[([0-9;]*)m", err)) - {"0"}
    assert codes == ({"2", "32", "33", "34"} if color else set())
    assert "\x1b[?1049h" not in err
    assert err.count("\x1b[?25l") == err.count("\x1b[?25h") == 1


def test_ascii_only(size: Any, capsys: pytest.CaptureFixture[str]) -> None:
    size(80)
    progress = progress_of(Terminal(live=True, ascii_only=True))
    progress.take(LINE, 0)
    progress.tick(0)
    progress.finish()
    said = Screen(capsys.readouterr().err).text
    assert said.isascii()
    assert "Generator   ok believable" in said


@pytest.mark.parametrize(("columns", "lines"), [(60, 40), (79, 40), (120, 14)])
def test_a_small_terminal_gets_one_line(size: Any, capsys: pytest.CaptureFixture[str], columns: int, lines: int) -> None:
    size(columns, lines)
    play(progress_of(Terminal(live=True)))
    said = capsys.readouterr().err
    drawn = [piece.removesuffix("\x1b[K") for piece in said.split("\r") if "left" in piece or "guests=" in piece]
    full = "00:00 load guests=600/600 sent=238/s echo_p50=226ms echo_p99=1122ms failed=236 lost=22-30 generator=ok left=0:30"
    assert drawn[0] == full[: columns - 1]
    assert Screen(said).text.splitlines() == [
        "first-run · webchat",
        "00:00 phase load",
        "00:03 fault mass_disconnect",
        "00:03 note settle: ␀[2Jno answer",
        "Draining, up to 10 s. Ctrl-C again stops at once.",
    ]


def test_the_last_view_holds_what_came_last(size: Any, capsys: pytest.CaptureFixture[str]) -> None:
    size(100)
    progress = progress_of(Terminal(live=True))
    for second, lost in ((0, [0, 0]), (0.1, [3, 5])):
        progress.take({**LINE, "lost": lost}, second)
        progress.tick(second)
    progress.take({"kind": "phase", "phase": "end"}, 0.2)
    progress.take({"kind": "end", "ended": "finished"}, 0.2)
    progress.finish()
    progress.finish()
    said = Screen(capsys.readouterr().err).text
    assert "lost 3–5" in said
    assert said.count("Anomalies") == 1
    assert "end ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 0:00 left" in said


def test_a_terminal_may_change_its_size(size: Any, capsys: pytest.CaptureFixture[str]) -> None:
    progress = progress_of(Terminal(live=True))
    for second, columns in enumerate((100, 60, 90)):
        size(columns)
        progress.take(LINE, second)
        progress.tick(second)
    progress.finish()
    said = Screen(capsys.readouterr().err).text
    assert said.count("Generator") == 2
    assert "guests=" not in said


def test_a_view_without_any_figure_leaves_nothing_behind(size: Any, capsys: pytest.CaptureFixture[str]) -> None:
    size(100)
    progress = progress_of(Terminal(live=True))
    progress.tick(0)
    progress.tick(1)
    progress.take({"kind": "error", "what": "nobody listens"}, 1)
    progress.finish()
    said = capsys.readouterr().err
    assert "starting" in said
    assert Screen(said).text.strip() == ""


def test_a_closed_terminal_does_not_end_the_run(size: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    size(100)
    master, slave = pty.openpty()
    gone = os.fdopen(slave, "w")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", gone)
        progress = progress_of(Terminal(live=True))
        os.close(master)
        play(progress)
        play(progress_of(Terminal()))
    with pytest.raises(OSError, match="Input/output"):
        gone.close()


def test_quiet_is_quiet(size: Any, capsys: pytest.CaptureFixture[str]) -> None:
    size(100)
    play(progress_of(Terminal(live=True, quiet=True)))
    play(progress_of(Terminal(quiet=True)))
    assert capsys.readouterr() == ("", "")


def test_the_locale_c_means_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert not Terminal.of(as_json=False).ascii_only
    monkeypatch.setenv("LANG", "C")
    assert Terminal.of(as_json=False).ascii_only
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    assert not Terminal.of(as_json=False).ascii_only


def test_without_a_terminal_there_is_still_a_size() -> None:
    assert all(terminal_size())


# ------------------------------------------------------------------ a real terminal
def in_a_terminal(argv: list[str], cwd: Path, env: dict[str, str], columns: int, interrupt: str = "") -> tuple[int, str]:
    """Run with stderr on a terminal of its own; SIGINT once `interrupt` can be read there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR", "LC_ALL")}
    environ = {**clean, "TERM": "xterm-256color", "LANG": "C.UTF-8", **env}
    with (cwd / "out").open("wb") as out:
        child = subprocess.Popen(argv, cwd=cwd, env=environ, stdin=subprocess.DEVNULL, stdout=out, stderr=slave)
    os.close(slave)
    said = b""
    sent = False
    deadline = time.monotonic() + 60
    try:
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break
            if not chunk:
                break
            said += chunk
            if interrupt and not sent and interrupt.encode() in said:
                sent = True
                child.send_signal(signal.SIGINT)
        return child.wait(10), said.decode()
    finally:
        child.kill()
        child.wait()
        os.close(master)


@pytest.mark.e2e
@pytest.mark.parametrize(("columns", "env"), [(100, {}), (100, {"NO_COLOR": "1"}), (80, {"LC_ALL": "C"}), (60, {})])
def test_a_run_in_a_real_terminal(scenario: Path, columns: int, env: dict[str, str]) -> None:
    cwd = scenario.parent
    argv = [sys.executable, "-W", "error", str(HERE / "play_run.py"), "waits", "run", scenario.name]
    code, said = in_a_terminal(argv, cwd, env, columns, interrupt="lost 0" if columns >= 80 else "guests=3/3")
    plain = _CONTROL.sub("", said)
    assert code == 130, said
    assert "Draining, up to 27 s. Ctrl-C again stops at once." in plain
    assert "Traceback" not in plain
    assert "\x1b[?1049h" not in said
    assert ("\x1b[32m" in said) == (columns >= 80 and "NO_COLOR" not in env)
    if columns < 80:
        assert "guests=3/3" in said
        return
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l")
    rows = Screen(said.replace("\r\n", "\n")).text.rstrip().splitlines()
    assert "Draining" in rows[-1]
    assert len(rows) <= 14
    assert max(map(len, rows)) <= columns
    if "LC_ALL" in env:
        assert plain.isascii()
        assert any(row.startswith("Generator   ok believable") for row in rows)
    else:
        assert any(row.startswith("Generator   ✓ believable") for row in rows)
        assert any(row.startswith("Anomalies   lost 0–2    duplicated –") for row in rows)
