from __future__ import annotations

import pytest

from harness.cli.progress import Progress, read_line
from harness.cli.terminal import Terminal


@pytest.mark.parametrize("raw", [b"", b"hello", b"[]", b'{"kind": 3}', b"\xff", b"[" * 100_000])
def test_stray_lines_are_ignored(raw: bytes) -> None:
    assert read_line(raw) is None


def test_one_line_each_ten_seconds_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress(Terminal(), planned_s=60, planned_guests=3)
    progress.begin("first-run")
    for second in range(25):
        progress.tick(second - 1)
        progress.take({"kind": "interval", "guests": second}, second)
        progress.tick(second)
    progress.take({"kind": "fault", "name": "mass_disconnect", "on": True}, 25)
    progress.take({"kind": "fault", "name": "mass_disconnect", "on": False}, 26)
    progress.notice("Draining", 27)
    progress.finish()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "first-run"
    assert [line.split()[0] for line in lines[1:4]] == ["00:00", "00:10", "00:20"]
    assert lines[4:] == ["00:25 fault mass_disconnect", "00:26 fault mass_disconnect ended", "Draining"]
    assert "\x1b" not in "".join(lines)
    assert "\r" not in "".join(lines)
