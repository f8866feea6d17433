"""A detector that is turned off, blind, or too eager is noticed by the cases, each by its own."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import pytest

from harness.core import ops
from harness.findings import (
    attachments,
    connection,
    copies,
    credentials,
    gaps,
    limits,
    polling,
    reconnects,
    routing,
    sending,
)
from harness.findings import board as board_module
from harness.findings.board import Board
from harness.findings.detector import SECOND, Detector, Witness
from harness.findings.registry import detectors, watchers
from tests.findings.bench import ids, played
from tests.findings.cases import CASES


@pytest.mark.parametrize("turned_off", [one.id for one in detectors()])
def test_a_detector_that_is_turned_off_fails_its_own_cases_and_no_others(turned_off: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def others() -> list[Witness]:
        return [one for one in watchers() if not (isinstance(one, Detector) and one.id == turned_off)]

    own = {name for name, case in CASES.items() if turned_off in case.expects}
    near = own | {name for name, case in CASES.items() if turned_off in case.also} | _some(turned_off)
    monkeypatch.setattr(board_module, "watchers", others)
    missed = {name for name in near if not CASES[name].expects <= _ids(played(name))}
    assert own
    assert missed == own


def _some(seed: str) -> set[str]:
    """A few of the other cases; all of them would take minutes."""
    step = sum(seed.encode()) % 10
    return set(list(CASES)[step::10])


def _ids(rows: Iterable[ops.Row]) -> set[str]:
    board = Board()
    for row in rows:
        board.take(row)
    return ids(board.findings())


EAGER: list[tuple[ModuleType | type, str, Any, str, str]] = [
    (connection, "IDLE_NS", 0, "webchat zombie unnoticed", "idle-connection-cut"),
    (connection, "IDLE_NS", 10**6 * SECOND, "webchat idle cut", "zombie-connection"),
    (connection, "ALIKE", 1.0, "webchat closed by error", "keep-alive-missed"),
    (connection, "ALIKE", -1.0, "webchat keep-alive missed", "connections-closed-by-error"),
    (credentials, "AGE_SPREAD_NS", 10**6 * SECOND, "webchat token revoked", "token-expired-in-session"),
    (credentials, "STORM_SHARE", 0.05, "webchat spread renewals", "refresh-storm"),
    (reconnects, "WAVE_SHARE", 0.2, "webchat mass reconnect", "reconnect-storm"),
    (reconnects, "SPIKE_SIGMAS", 0.0, "webchat many reconnect", "reconnect-storm"),
    (reconnects.NoBackoff, "PAUSE_NS", 60 * SECOND, "webchat away", "reconnect-without-back-off"),
    (limits, "FLOOD", 1, "engagements typing limit", "typing-flood"),
    (reconnects.ReconnectLoop, "TIMES", 1, "webmessaging resets", "reconnect-loop"),
    (routing, "CROWDED_NS", 0, "webchat nobody on shift", "queue-overflow"),
    (routing, "OVERFLOW_NS", 0, "webchat clean", "queue-overflow"),
    (polling, "IDLE_SHARE", -1.0, "longpoll clean", "naive-polling"),
    (copies, "TABS_NS", -1, "webmessaging three tabs", "duplicates-by-server"),
    (limits, "KEPT", 1.9, "webchat rate limit", "retry-after-ignored"),
    (sending, "VAIN", 0, "messaging clean", "sends-vanish"),
    (gaps, "DROP_NS", 0, "webchat agent closes", "conversation-auto-closed"),
    (attachments, "ATTEMPTS", 1, "longpoll uploads fail now and then", "upload-failed-three-times"),
]
"""What is relaxed, to what, in which case it is noticed, and as what."""


@pytest.mark.parametrize(("where", "name", "value", "case", "alarm"), EAGER, ids=lambda one: one if isinstance(one, str) else None)
def test_a_threshold_that_is_too_lax_raises_a_false_alarm(
    where: ModuleType | type, name: str, value: Any, case: str, alarm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = played(case)
    assert alarm not in _ids(rows)
    monkeypatch.setattr(where, name, value)
    assert alarm in _ids(rows)
