"""The life of tokens: expired in mid-session, withdrawn, renewed too late, or all at once."""

from __future__ import annotations

from harness.core import ops
from harness.errors import FailureCause
from harness.findings.bins import Bins
from harness.findings.detector import SECOND, Detector, Extent, Tally, Witness, is_exchange, slot_of
from harness.findings.model import Finding, Severity

_UNAUTHORISED = FailureCause.UNAUTHORISED.value
_EXPIRED = FailureCause.TOKEN_EXPIRED.value

AGE_SPREAD_NS = 45 * SECOND
"""Ages of tokens at their end may differ by so much and still be one life: a poll of 30 s meets the refusal that much later,
and a guest that thinks meets it with its next message."""
AGE_SHARE = 0.1
"""The same as a share of the life, for long ones."""
MUCH = 3
"""Instants must agree so many times better than ages before it is one act of the server's, and not one length of life."""
STORM_BIN_NS = SECOND
STORM_BINS = 2
STORM_GUESTS = 5
"""Fewer renewals at once are no storm, whatever their share."""
STORM_SHARE = 0.6
"""Of the renewals of one life: jitter over 10 s puts about a fifth into any 2 s, none puts all."""
STORM_AROUND_NS = 20 * SECOND
"""One wave of renewals: what lies so near to the peak belongs to it."""


class _Token:
    __slots__ = ("accepted", "asked", "forced", "granted_ns", "refused_ns", "session_ns", "used_in")

    def __init__(self, granted_ns: int, *, forced: bool = False) -> None:
        self.granted_ns = granted_ns
        self.accepted = False
        """The server has taken it at least once."""
        self.used_in = ""
        """The conversation in which it was taken last."""
        self.session_ns = 0
        """When the guest was last given a session of its own: what expires by name is the younger of the two."""
        self.forced = forced
        """It came after the one before had been refused."""
        self.asked = False
        """Another one was asked for while it was good."""
        self.refused_ns = 0


class Lives(Witness):
    """From grant to grant: how each guest's token ended."""

    notes = ("token.expired",)
    samples = (
        "token",
        "guest",
        "connect",
        "auth",
        "routing",
        "ack",
        "poll.hold",
        "resync",
        "lookup",
        "upload",
        "profile",
        "leave",
        "refresh.gap",
    )
    rows = (ops.Ended,)

    def __init__(self) -> None:
        self._tokens: dict[str, _Token] = {}
        self.refused = Tally()
        self.unprepared = Tally()
        """Refused without another one having been asked for before."""
        self.ahead = Tally()
        self.lapsed = Tally()
        """Not refused, for the guest looked at the time; and yet over before another one was there."""
        self.ages = Extent()
        self.instants = Extent()
        self.named = 0
        """How often the server itself said that the token has expired."""
        self.ahead_bins, self.forced_bins = Bins(STORM_BIN_NS), Bins(STORM_BIN_NS)

    def take(self, row: ops.Sample | ops.Noted | ops.Ended) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        token = self._tokens.get(slot)
        if isinstance(row, ops.Ended):
            if row.cause == "renewed" and token is not None and token.accepted and not token.refused_ns:
                self._ahead(row)
                token.asked = True
            return
        if isinstance(row, ops.Noted):
            self.named += 1
            if token is not None:
                self._refuse(token, row)
            return
        if row.measure == "token":
            self._asked(slot, token, row)
        elif row.measure == "refresh.gap":
            # Without a socket's endpoint it is the time for which there was no token; a gap of a socket is another matter.
            if not row.endpoint and row.end_ns > row.start_ns and token is not None and not token.forced:
                self.lapsed.hit(row.at_ns, row.label)
        elif row.outcome == ops.OK:
            if token is None and row.measure == "guest":
                self._tokens[slot] = token = _Token(row.start_ns)  # a dialect whose guest is its own credential
            if token is not None:
                token.accepted, token.used_in = True, row.label
                if row.measure == "guest":
                    token.session_ns = row.start_ns
                    token.refused_ns = 0
                    token.asked = False
        elif token is not None and (row.cause == _EXPIRED or (row.cause == _UNAUTHORISED and is_exchange(row))):
            self._refuse(token, row)

    def _asked(self, slot: str, token: _Token | None, row: ops.Sample) -> None:
        if row.outcome != ops.OK:
            if token is not None and not token.refused_ns:
                token.asked = True
            return
        if token is not None and token.accepted:
            if token.refused_ns:
                self.forced_bins.add(row.start_ns, row.label)
            elif token.used_in == row.label:  # else it is the first of another conversation
                self._ahead(row)
        self._tokens[slot] = _Token(row.start_ns, forced=token is not None and token.refused_ns > 0)

    def _ahead(self, row: ops.Sample | ops.Ended) -> None:
        self.ahead.hit(row.at_ns, row.label)
        self.ahead_bins.add(row.start_ns if isinstance(row, ops.Sample) else row.at_ns, row.label)

    def _refuse(self, token: _Token, row: ops.Sample | ops.Noted) -> None:
        if token.refused_ns or not token.accepted:
            return
        token.refused_ns = row.at_ns
        self.refused.hit(row.at_ns, row.label)
        named = isinstance(row, ops.Noted)
        self.ages.add(row.at_ns - (max(token.granted_ns, token.session_ns) if named else token.granted_ns))
        self.instants.add(row.at_ns)
        if not token.asked:
            self.unprepared.hit(row.at_ns, row.label)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._tokens.pop(slot, None)

    @property
    def early(self) -> bool:
        """Whether tokens ended before their time: their ages at the end differ, or the instants agree better than the ages."""
        if self.ages.number < 2:
            return False
        spread = max(AGE_SPREAD_NS, round(AGE_SHARE * self.ages.high))
        return self.ages.width > spread or self.instants.width * MUCH < self.ages.width

    def evidence(self) -> dict[str, int | float]:
        """What all findings on the end of tokens show."""
        return {
            "tokens_refused": self.refused.count,
            "refused_by_name": self.named,
            "youngest_s": self.ages.low / SECOND,
            "oldest_s": self.ages.high / SECOND,
            "renewed_ahead": self.ahead.count - self.lapsed.count,
            "lapsed_before_renewal": self.lapsed.count,
            "refused_without_attempt_to_renew": self.unprepared.count,
        }

    def doubt(self) -> str:
        """What a single case cannot tell."""
        if self.ages.number < 2:
            return "Expiry and revocation look alike in a single case; with more of them, equal ages mean expiry."
        if self.instants.width < MUCH * self.ages.width:
            return "Expiry and a revocation at one moment look alike here: all tokens were of nearly one age."
        return ""


class TokenExpired(Detector):
    """A token ran out under a conversation."""

    id = "token-expired-in-session"
    title = "Tokens expired in mid-session"
    severity: Severity = "high"
    cause = "The token's life ended while the conversation went on: it was renewed too late, or the renewal failed."
    advice = "Renew ahead (60 s before the end, jittered), share one renewal among all calls, and retry the refused call once."
    source = "seed 000, edge case 1; seed 002, section 2"

    def __init__(self, lives: Lives) -> None:
        self._lives = lives

    def finish(self) -> Finding | None:
        """What was seen."""
        lives = self._lives
        if lives.early:
            return None
        return self.found(lives.refused, lives.evidence(), certainty=lives.doubt())


class TokenRevoked(Detector):
    """A token was refused before its time."""

    id = "token-revoked-early"
    title = "Tokens were refused before the end of their life"
    severity: Severity = "high"
    cause = "The server withdrew tokens: their ages at the first refusal differ, or all ended at one moment whatever their age."
    advice = "Renew once at a refusal and retry the call; ask who revokes (secret rotation, restart of the token store)."
    source = "seed 000, section 1 (tokens stop working without notice)"

    def __init__(self, lives: Lives) -> None:
        self._lives = lives

    def finish(self) -> Finding | None:
        """What was seen."""
        lives = self._lives
        return self.found(lives.refused, lives.evidence()) if lives.early else None


class RefreshNotProactive(Detector):
    """Nobody asked for a new token before the old one was refused."""

    id = "refresh-not-proactive"
    title = "Tokens were renewed only after they had been refused"
    severity: Severity = "medium"
    cause = "The client waits for a refusal instead of looking at `expires_in`."
    advice = "Keep the moment of expiry and renew 60 s before it, earlier by a random share."
    source = "seed 000, section 1; seed 003 (as written only a load checks)"

    def __init__(self, lives: Lives) -> None:
        self._lives = lives

    def finish(self) -> Finding | None:
        """What was seen."""
        lives = self._lives
        late = Tally()
        late.add(lives.lapsed)
        if not lives.early and 2 * lives.unprepared.count >= lives.refused.count:
            late.add(lives.unprepared)
        return self.found(late, lives.evidence(), certainty=lives.doubt() if lives.refused else "")


class RefreshStorm(Detector):
    """Many guests renew at one moment."""

    id = "refresh-storm"
    title = "Tokens were renewed by many guests at the same moment"
    severity: Severity = "medium"
    cause = "Guests that came together renew at a fixed distance from expiry, so their renewals stay in step."
    advice = "Spread renewals: begin each earlier by a random part of at least 10 s."
    source = "seed 000, section 1; dialects: jitter"

    def __init__(self, lives: Lives) -> None:
        self._lives = lives

    def finish(self) -> Finding | None:
        """What was seen."""
        lives = self._lives
        sources = [lives.ahead_bins] if lives.early else [lives.ahead_bins, lives.forced_bins]
        waves = [
            wave
            for bins in sources
            for wave in bins.waves(STORM_BINS, least=STORM_GUESTS, share=STORM_SHARE, around_ns=STORM_AROUND_NS)
        ]
        return self.found_waves(waves)


def watchers() -> list[Witness]:
    """The family."""
    lives = Lives()
    return [lives, TokenExpired(lives), TokenRevoked(lives), RefreshNotProactive(lives), RefreshStorm(lives)]
