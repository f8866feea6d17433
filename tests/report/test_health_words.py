"""What the first sentence on the generator says is so."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from harness.report.model import HealthLine
from harness.report.sentences import health_words


def words(value: float, *, ok: bool, decides: bool) -> str:
    line = HealthLine("send delay p99", value, 40.0, "ms", ok, decides)
    model: Any = SimpleNamespace(health=[line])
    return health_words(model)


def test_a_late_generator_is_never_said_to_have_kept_up() -> None:
    assert words(5.0, ok=True, decides=True).startswith("The generator kept up: ")
    late = words(103.0, ok=False, decides=False)
    assert late.startswith("The generator was late, though no rule hangs on it: ")
    assert "kept up" not in late
    assert words(103.0, ok=False, decides=True).startswith("The generator cannot be believed")
