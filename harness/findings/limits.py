"""Rate limits: who was refused, whether the asked wait was kept."""

from __future__ import annotations

from typing import NamedTuple

from harness.core import ops
from harness.errors import FailureCause
from harness.findings.detector import SECOND, Detector, Extent, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

KEPT = 0.8
"""A wait counts as kept from this share of it on: clocks differ a little, and `Retry-After` is whole seconds."""
ENDPOINTS = 50
"""Names that are counted apart; they are templates, and yet nothing here grows without end."""
SHOWN = 6
MANY = 2
"""Guests at least who were refused before they had ever been let through: none of them can have spent a limit of its own."""
FLOOD = 2
"""Frames without a message that were refused between two messages: one announces a message, more are a flood."""
OTHER = "other"
_TOLD = -1
_LIMITED = FailureCause.RATE_LIMITED.value


class _Frame(NamedTuple):
    at_ns: int
    label: str
    spoken: int
    """Attempts of messages before it."""


class Refusals(Witness):
    """ "Too many", and what the guest did next."""

    samples = (
        "token",
        "guest",
        "connect",
        "ack",
        "poll.hold",
        "resync",
        "lookup",
        "upload",
        "profile",
        "introspect",
        "jwt",
        "history",
        "presign",
        "routing",
        "leave",
        "health",
        "auth",
    )
    notes = ("typing.limited", "resend.refused")
    rows = (ops.Refused, ops.Closed, ops.Invoked)

    def __init__(self) -> None:
        self._until: dict[str, dict[str, list[tuple[int, int]]]] = {}
        """By guest and endpoint: the last two waits that were asked for. A refusal is written down before the sample of the
        request that met it, so the wait that this request should have kept is the one before."""
        self._frames: dict[str, _Frame] = {}
        """By guest: a refused frame of which it is not known yet whether it was a message."""
        self._spoken: dict[str, int] = {}
        """By guest: the messages it has attempted."""
        self._bare: dict[str, list[_Frame]] = {}
        """By guest: refused frames that were none, since it spoke last."""
        self.typing = Tally()
        self.single = 0
        """Refused frames without a message of which there was one for each message: no flood, whoever refuses them."""
        self.named = 0
        self._asked: dict[str, dict[str, int]] = {}
        self.refused, self.ignored = Tally(), Tally()
        self.without_wait = 0
        self.waits = Extent()
        self.by_endpoint: dict[str, int] = {}
        self.own = Extent()
        """Requests of its own that a guest got through before its first refusal at that endpoint."""
        self.innocent = 0
        """First refusals of guests who had not got through once."""

    def take(self, row: ops.Sample | ops.Refused | ops.Closed | ops.Noted | ops.Invoked) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        if isinstance(row, ops.Invoked):
            self._spoken[slot] = self._spoken.get(slot, 0) + 1
            return
        if isinstance(row, ops.Refused):
            self._refused(slot, row)
            return
        if isinstance(row, ops.Noted):
            if row.what == "typing.limited":
                self.named += 1
            else:
                self._frames.pop(slot, None)
            return
        if row.cause == _LIMITED:
            self._frames.pop(slot, None)  # it was a message, or the handshake
        if isinstance(row, ops.Closed):
            endpoint, start = "", row.sent_ns
        else:
            endpoint, start = row.endpoint.partition("#")[0], row.start_ns
        until = self._until.get(slot)
        if until is not None and any(since < start < end for since, end in until.get(endpoint, ())):
            self.ignored.hit(row.at_ns, row.label)
        if row.outcome == ops.OK:
            asked = self._asked.setdefault(slot, {})
            if asked.setdefault(endpoint, 0) >= 0:
                asked[endpoint] += 1

    def _refused(self, slot: str, row: ops.Refused) -> None:
        self.refused.hit(row.at_ns, row.label)
        endpoint = row.endpoint.partition("#")[0]
        frame = endpoint.startswith("WS ")
        if frame:
            self._frame(slot, _Frame(row.at_ns, row.label, self._spoken.get(slot, 0)))
        name = endpoint if endpoint in self.by_endpoint or len(self.by_endpoint) < ENDPOINTS else OTHER
        self.by_endpoint[name] = self.by_endpoint.get(name, 0) + 1
        key = "" if frame else endpoint
        asked = self._asked.setdefault(slot, {})
        before, asked[key] = asked.get(key, 0), _TOLD
        if before != _TOLD:
            self.own.add(before)
            self.innocent += before == 0
        if not row.retry_after_ns:
            self.without_wait += 1
            return
        self.waits.add(row.retry_after_ns)
        until = self._until.setdefault(slot, {})
        until[key] = [*until.get(key, ())[-1:], (row.at_ns, row.at_ns + round(KEPT * row.retry_after_ns))]

    def _frame(self, slot: str, now: _Frame | None) -> None:
        """Another frame was refused, or none follows: the one before was no message."""
        before = self._frames.pop(slot, None)
        bare = self._bare.get(slot, [])
        if bare and (before is None or before.spoken != bare[0].spoken):
            self._judge(bare)
            bare = []
        if before is not None:
            bare = self._bare[slot] = [*bare, before]
        if now is not None:
            self._frames[slot] = now
        elif bare:
            self._judge(bare)
            self._bare.pop(slot, None)

    def _judge(self, bare: list[_Frame]) -> None:
        if len(bare) < FLOOD:
            self.single += len(bare)
            return
        for one in bare:
            self.typing.hit(one.at_ns, one.label)

    def settle(self) -> None:
        """The journal is at its end."""
        for slot in [*self._frames, *(one for one in self._bare if one not in self._frames)]:
            self._frame(slot, None)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._frame(slot, None)
        for kept in (self._until, self._asked, self._spoken, self._bare):
            kept.pop(slot, None)

    def evidence(self) -> dict[str, int | float]:
        """What both findings show."""
        evidence: dict[str, int | float] = {
            "refused": self.refused.count,
            "without_retry_after": self.without_wait,
            "longest_retry_after_s": self.waits.high / SECOND,
            "asked_again_too_soon": self.ignored.count,
        }
        ranked = sorted(self.by_endpoint.items(), key=lambda one: (-one[1], one[0]))
        return evidence | {f"refused {name}": number for name, number in ranked[:SHOWN]}


class RateLimited(Detector):
    """429, or the frame that stands for it."""

    id = "rate-limited"
    title = "The server refused requests as too many"
    severity: Severity = "medium"
    cause = "More requests or frames than a limit allows."
    advice = "Send at a lower, smooth rate (a token bucket on our side), and wait as long as `Retry-After` says."
    source = "seed 001 and 003: 429; webmessaging 6"

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def finish(self) -> Finding | None:
        """What was seen."""
        refusals = self._refusals
        scope = (
            "Guests were refused who had never got through: the limit is common (client, address, deployment or organisation)."
            if refusals.innocent >= MANY
            else "Guests were refused after requests of their own: a limit of each session and a common one look alike here."
        )
        evidence = refusals.evidence() | {
            "own_requests_before_least": refusals.own.low,
            "own_requests_before_most": refusals.own.high,
            "refused_at_the_first": refusals.innocent,
        }
        return self.found(refusals.refused, evidence, certainty=scope)


class RetryAfterIgnored(Detector):
    """Asked again sooner than the server had said."""

    id = "retry-after-ignored"
    title = "Guests asked again before the time that Retry-After gave"
    severity: Severity = "medium"
    cause = "The client retries by its own clock."
    advice = "Read `Retry-After` (seconds or a date) and add a random second to it."
    source = "seed 003 (an HTTP date retries at once)"

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._refusals.ignored, self._refusals.evidence())


class TypingFlood(Detector):
    """Several frames that carried no message were refused between two messages."""

    id = "typing-flood"
    title = "Typing indicators were refused as too many"
    severity: Severity = "low"
    cause = "A typing frame goes out with every keystroke."
    advice = "Send one at the beginning and again only after a pause of 2 to 3 s (webmessaging: at most one per 5 s)."
    source = "seed 001; webmessaging 3.3"

    def __init__(self, refusals: Refusals) -> None:
        self._refusals = refusals

    def finish(self) -> Finding | None:
        """What was seen."""
        refusals = self._refusals
        refusals.settle()
        doubt = "" if refusals.named else "The server did not name the frame: read receipts and typing indicators look alike."
        evidence = {
            "frames_without_message_refused": refusals.typing.count,
            "refused_one_for_each_message": refusals.single,
            "named_by_the_server": refusals.named,
        }
        return self.found(refusals.typing, evidence, certainty=doubt)


def watchers() -> list[Witness]:
    """The family."""
    refusals = Refusals()
    return [refusals, RateLimited(refusals), RetryAfterIgnored(refusals), TypingFlood(refusals)]
