"""Locust's own statistics, for Locust's own page: one event per finished operation, names and errors from closed sets, bounded."""

from __future__ import annotations

import locust  # noqa: F401 - first: it patches the standard library

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import gevent

from harness.core.ops import Observer, Row, Sample
from harness.metrics.censored import is_censored

_EVERY_S = 0.25
_MAX_WAITING = 200_000
_TRIM_EVERY_S = 60.0
KEPT_S = 3600
"""How much history per second Locust keeps."""
KEPT_POINTS = 720


class GuestFailure(Exception):  # noqa: N818 - it is shown to people by this name
    """An operation of a guest that did not succeed; the text is a cause from a closed set."""


class Tee:
    """An observer that passes rows on and keeps what Locust is to hear of them. Locust's listeners run later, elsewhere."""

    def __init__(self, observer: Observer, waiting: deque[Sample]) -> None:
        self._observer, self._waiting = observer, waiting

    def record(self, row: Row) -> None:
        """Take one row."""
        self._observer.record(row)
        if type(row) is Sample:
            self._waiting.append(row)


class Statistics:
    """Fires Locust's `request` event and keeps Locust's tables from growing for ever."""

    def __init__(self, environment: Any) -> None:
        self._environment = environment
        self._waiting: deque[Sample] = deque(maxlen=_MAX_WAITING)
        self._failures: dict[str, GuestFailure] = {}
        self._greenlets = [gevent.spawn(self._fire_always), gevent.spawn(self._trim_always)]

    def tee(self, observer: Observer) -> Observer:
        """Wrap a run's observer."""
        return Tee(observer, self._waiting)

    def stop(self) -> None:
        """Tell Locust the rest."""
        gevent.killall(self._greenlets)
        self.fire()

    def fire(self) -> None:
        """Tell Locust what has gathered."""
        fire, waiting = self._environment.events.request.fire, self._waiting
        while waiting:
            row = waiting.popleft()
            if is_censored(row.measure, row.outcome, row.cause):
                continue
            fire(
                request_type=_kind(row.measure),
                name=row.measure,
                response_time=(row.end_ns - row.intended_ns) / 1e6,
                response_length=0,
                response=None,
                context={},
                exception=None if row.outcome == "ok" else self._failure(row.cause),
                start_time=time.time(),
                url=None,
            )

    def _failure(self, cause: str) -> GuestFailure:
        known = self._failures.get(cause)
        if known is None:
            known = self._failures[cause] = GuestFailure(cause)
        return known

    def _fire_always(self) -> None:
        while True:
            gevent.sleep(_EVERY_S)
            self.fire()

    def _trim_always(self) -> None:
        while True:
            gevent.sleep(_TRIM_EVERY_S)
            stats = self._environment.stats
            trim(stats.history, [*stats.entries.values(), stats.total], round(time.time()))


def trim(history: list[Any], entries: Iterable[Any], now_s: int) -> None:
    """Forget points of Locust's history and counts per second that are older than an hour."""
    del history[:-KEPT_POINTS]
    for entry in entries:
        for table in (entry.num_reqs_per_sec, entry.num_fail_per_sec):
            for second in [second for second in table if second < now_s - KEPT_S]:
                del table[second]


def _kind(measure: str) -> str:
    return "SPAN" if measure in ("poll.hold", "refresh.gap", "reconnect.gap") else "GUEST"
