from __future__ import annotations

import pytest

from harness.cli.progress import Progress, clock, elapsed_clock, interval_line, read_line
from harness.cli.terminal import Terminal


def test_clocks() -> None:
    assert [clock(s) for s in (None, -1, 0, 59.4, 134, 3734)] == ["-", "0:00", "0:00", "0:59", "2:14", "1:02:14"]
    assert elapsed_clock(226.9) == "03:46"


def test_the_line_of_a_log() -> None:
    state = {
        "guests": 600,
        "planned": 600,
        "sent_per_s": 238.4,
        "p50_ms": {"echo": 77.1},
        "p99_ms": {"echo": 3710.0},
        "failed": 236,
        "lost": [22, 30],
        "generator": "ok",
    }
    assert interval_line(state, 226, "load", 134) == (
        "03:46 load guests=600/600 sent=238/s echo_p50=77ms echo_p99=3710ms failed=236 lost=22-30 generator=ok left=2:14"
    )
    assert interval_line({}, 0, "ramp", None) == "00:00 ramp guests=-/- sent=- failed=- lost=- generator=- left=-"
    assert "lost=5 " in interval_line({"lost": [5, 5], "p50_ms": 3}, 0, "load", None)


@pytest.mark.parametrize("raw", [b"", b"hello", b"[]", b'{"kind": 3}', b"\xff"])
def test_stray_lines_are_ignored(raw: bytes) -> None:
    assert read_line(raw) is None


def test_one_line_each_ten_seconds_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Terminal(), planned_s=60, planned_guests=3)
    for second in range(25):
        progress.take({"kind": "interval", "guests": second}, second)
        progress.tick(second)
    progress.take({"kind": "fault", "name": "mass_disconnect", "on": True}, 25)
    progress.take({"kind": "fault", "name": "mass_disconnect", "on": False}, 26)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["00:00", "00:10", "00:20"]
    assert lines[3:] == ["00:25 fault mass_disconnect", "00:26 fault mass_disconnect ended"]
    assert "\x1b" not in "".join(lines)


def test_in_place_on_a_terminal_never_wider_than_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    progress = Progress(Terminal(live=True), planned_s=60, planned_guests=3)
    progress.take({"kind": "interval", "guests": 1}, 0)
    progress.tick(0)
    progress.tick(0.1)
    progress.say("Draining")
    said = capsys.readouterr().err
    assert said.count("\r") == 2
    assert len(said.split("\x1b[K")[0].strip("\r")) <= 39
    assert said.endswith("\r\x1b[KDraining\n")
