"""Eight virtual hours through the whole pipeline, with few guests: `make prove PART=soak-virtual` has forty and further leaks."""

from __future__ import annotations

import pytest

from tests.proofs.soak import night


@pytest.mark.parametrize(("seed", "leaking"), [(1, []), (3, ["target memory"])], ids=["clean", "memory"])
def test_a_planted_leak_is_found_and_nothing_else(seed: int, leaking: list[str]) -> None:
    found = night(seed, guests=3)
    assert found["ok"], found
    assert found["leaking"] == leaking, found["states"]
    assert found["messages"] > 10_000
