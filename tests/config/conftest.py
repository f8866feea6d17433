from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.config.fakes import only_fakes


@pytest.fixture(autouse=True)
def fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("GUESTSWARM_"):
            monkeypatch.delenv(name)
    with only_fakes(monkeypatch):
        yield
