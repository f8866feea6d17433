"""The same rudeness from Hypothesis, for projects that have it: it shrinks what it finds. Nothing else here needs it."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from harness.conformance.injections import KINDS, ODD, RAW, Injection, Vocabulary


def values() -> st.SearchStrategy[Any]:
    """Any JSON value."""
    plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.sampled_from(ODD)
    return st.recursive(
        plain,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=8,
    )


def objects(words: Vocabulary) -> st.SearchStrategy[Any]:
    """Objects with names and words that the dialect knows."""
    names = st.sampled_from(words.names or ["type"])
    texts = st.sampled_from(words.words or [""])
    return st.dictionaries(names, values() | texts | st.dictionaries(names, values() | texts, max_size=4), max_size=6)


def payloads(words: Vocabulary) -> st.SearchStrategy[str | bytes]:
    """Any bytes, any text, any JSON, and bodies of the transcript bent out of shape."""
    bent = st.randoms(use_true_random=False).map(lambda rng: json.dumps(words.bent(rng)))
    made = (objects(words) | values()).map(json.dumps)
    return st.binary(max_size=200) | st.text(max_size=200) | st.sampled_from(RAW) | made | bent


def injections(words: Vocabulary, seconds: float = 120.0, at_most: int = 40) -> st.SearchStrategy[list[Injection]]:
    """Lists of injections."""
    one = st.builds(
        Injection,
        st.floats(0, seconds, allow_nan=False),
        st.sampled_from(KINDS),
        payloads(words),
        st.integers(0, (1 << 16) - 1),
    )
    return st.lists(one, max_size=at_most)
