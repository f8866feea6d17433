"""Worked vectors: one stream each, given as what was sent and what arrived, answered with every metric."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from harness.analysis.times import LIMIT_NS, times_in
from harness.errors import UsageError
from harness.metrics.classify import OUTCOMES
from harness.metrics.figures import stream_figures
from harness.metrics.ordering import Params
from harness.metrics.suite import Suite

_MILLISECONDS = times_in("ms")
_PARAMS = {"DT": "displacement", "BT": "buffer", "n_max": "n_max", "delta": "delta"}


def read_vectors(text: str, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each vector with the place where it stands. Lines with nothing but `expected` are passed over."""
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    if isinstance(whole, dict) and "vectors" in whole:
        if not isinstance(whole["vectors"], list):
            raise UsageError("vectors is no array", where=where)
        found = [(f"{where}: vector {n}", one) for n, one in enumerate(whole["vectors"], 1)]
    elif isinstance(whole, list):
        found = [(f"{where}: vector {n}", one) for n, one in enumerate(whole, 1)]
    elif isinstance(whole, dict):
        found = [(where, whole)]
    else:
        found = []
        for n, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    found.append((f"{where}:{n}", json.loads(line)))
                except ValueError as error:
                    raise UsageError(f"is no JSON: {error}", where=f"{where}:{n}") from None
    for place, vector in found:
        if not isinstance(vector, dict):
            raise UsageError("a vector is an object with params, sent and arrivals", where=place)
        if "sent" in vector or "arrivals" in vector:
            yield place, vector
        elif "expected" not in vector:
            raise UsageError("a vector has sent and arrivals", where=place)


def answer(vector: dict[str, Any], where: str, defaults: Params) -> dict[str, Any]:
    """`{"id": …, "result": …}` with all keys."""
    try:
        suite = Suite(_params(vector.get("params") or {}, defaults))
        for row in vector.get("sent") or []:
            seq, at, size, outcome = _filled(row, _SENT_DEFAULTS)
            if outcome not in OUTCOMES:
                raise ValueError(f"outcome {outcome!r} is none of {', '.join(OUTCOMES)}")
            suite.send(_whole(seq, "seq", 1), _time(at), outcome, _whole(size or 0, "bytes"))
        for row in vector.get("arrivals") or []:
            seq, at, channel, epoch, mid = _filled(row, _ARRIVAL_DEFAULTS)
            if channel not in ("push", "resync"):
                raise ValueError(f"channel {channel!r} is none of push, resync")
            name = hash(str(mid)) or 1 if mid is not None else 0
            suite.arrive(_whole(seq, "seq"), _time(at), channel == "push", _whole(epoch, "epoch"), name)
    except (ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"the vector cannot be read: {error}", where=where) from None
    suite.close()
    return {"id": vector.get("id"), "result": stream_figures(suite)}


_SENT_DEFAULTS = (None, None, 0, "ok")
_ARRIVAL_DEFAULTS = (None, None, "push", 0, None)


def _params(given: dict[str, Any], defaults: Params) -> Params:
    values: dict[str, Any] = {name: _whole(given.get(key, getattr(defaults, name)), key) for key, name in _PARAMS.items()}
    wait_ns = _time(given["dT_ms"]) if "dT_ms" in given else defaults.wait_ns
    return Params(wait_ns, **values)


def _whole(value: object, what: str, lowest: int = -LIMIT_NS) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value) or value < lowest:
        raise ValueError(f"{what} {value!r} is no whole number" + (f" from {lowest}" if lowest > -LIMIT_NS else ""))
    return int(value)


def _time(value: object) -> int:
    try:
        return _MILLISECONDS(value)
    except ValueError as error:
        raise ValueError(f"time {value!r} {error}") from None


def _filled(row: Any, defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(row, list) or not 2 <= len(row) <= len(defaults):
        raise ValueError(f"{row!r} is no row of {len(defaults)} values")
    return (*row, *defaults[len(row) :])
