from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.config.fakes import only_fakes


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("GUESTSWARM_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    with only_fakes(monkeypatch):
        yield


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "quick.toml"
    path.write_text(
        '[scenario]\nname = "Quick"\ndialect = "talk"\n[guests]\ncount = 3\n'
        '[load]\nramp = "1s"\nduration = "2s"\nloss_wait = "12s"\n'
    )
    return path
