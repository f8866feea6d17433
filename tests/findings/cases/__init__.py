"""Every case: what makes a finding happen, the clean runs, and the nearest look-alikes."""

from __future__ import annotations

from tests.findings.cases import engagements, guests, longpoll, messaging, webchat, webmessaging

CASES = {case.name: case for dialect in (webchat, longpoll, engagements, guests, messaging, webmessaging) for case in dialect.CASES}
