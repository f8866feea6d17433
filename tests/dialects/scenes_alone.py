"""A guest half alone against the scenes of its witness."""

from __future__ import annotations

from typing import Any

from harness.conformance.client_half import ClientPlayer
from harness.conformance.stage import Script, Stages
from harness.conformance.subject import Subject
from harness.conformance.transcript import scenes
from harness.dialects.registry import Dialect


def player(dialect: Dialect, stages: Stages, scene: str, target: dict[str, Any], **settings: Any) -> ClientPlayer:
    """What plays that scene."""
    settings = {"ping_every": 0, **settings}  # nobody answers pings there
    found = scenes(dialect.name)
    assert set(stages) <= set(found), "a stage for no scene proves nothing"
    one = ClientPlayer(Subject(dialect, None, target=target, settings=settings), Script(found, stages), scene)
    one.words.iso = "2024-05-12T15:00:00.000Z"  # half an hour ahead: what expires, expires then
    return one
