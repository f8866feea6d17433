"""Everything that looks for findings, made anew for each journal."""

from __future__ import annotations

from harness.findings import (
    answers,
    attachments,
    clock,
    connection,
    copies,
    credentials,
    gaps,
    limits,
    named,
    polling,
    reconnects,
    refusals,
    routing,
    sending,
)
from harness.findings.detector import Detector, Witness


def watchers() -> list[Witness]:
    """Witnesses and detectors; a witness stands before those who ask it."""
    seen = copies.Copies()
    return [
        *copies.watchers(seen),
        *gaps.watchers(seen),
        *credentials.watchers(),
        *refusals.watchers(),
        *routing.watchers(),
        *attachments.watchers(),
        *polling.watchers(),
        *connection.watchers(),
        *reconnects.watchers(),
        *limits.watchers(),
        *sending.watchers(),
        *answers.watchers(),
        *clock.watchers(),
        *named.watchers(),
    ]


def detectors() -> list[Detector]:
    """Detectors alone: what there is to be found."""
    return [one for one in watchers() if isinstance(one, Detector)]
