"""What `docs/dialects.md` says of numbers and names is so."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from harness.cli.dialects import describe
from harness.dialects.registry import all_dialects

TEXT = (Path(__file__).parent.parent.parent / "docs" / "dialects.md").read_text("utf-8")


def test_the_lines_that_are_ours_are_counted_right() -> None:
    for name in ("longpoll", "webchat"):
        told = describe(all_dialects()[name])
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |"))
        assert row.split(" | ")[2:4] == [str(told["transcript_lines"]), str(told["ours_lines"])]


def test_every_setting_named_in_a_table_exists() -> None:
    for name in ("longpoll", "webchat"):
        known = {field.name for field in dataclasses.fields(all_dialects()[name].settings)}
        table = TEXT.partition(f"| setting `[{name}]`")[2].partition("\n\n")[0].splitlines()[2:]
        named = [key for line in table for key in re.findall(r"`([a-z]\w*)`", line.split(" | ")[0])]
        assert len(named) > 8
        assert set(named) <= known
