"""All server halves by name."""

from __future__ import annotations

from harness.simulator.dialects.base import DialectHalf
from harness.simulator.dialects.longpoll import Longpoll
from harness.simulator.dialects.webchat import Webchat

HALVES: dict[str, type[DialectHalf]] = {half.name: half for half in (Longpoll, Webchat)}
