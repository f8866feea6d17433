"""Credentials that were not taken: by the token endpoint, for want of a scope, by the socket, or in silence."""

from __future__ import annotations

from harness.core import ops
from harness.errors import FailureCause
from harness.findings.detector import Detector, Tally, Witness, slot_of
from harness.findings.model import Finding, Severity

_UNAUTHORISED = FailureCause.UNAUTHORISED.value
_FORBIDDEN = FailureCause.FORBIDDEN.value
_UNEXPLAINED = "unexplained"


class CredentialsRefused(Detector):
    """The token endpoint knows neither client nor secret."""

    id = "credentials-refused"
    title = "The client's id or secret was refused"
    severity: Severity = "high"
    cause = "Wrong client id or secret, or a client that is disabled or not of the kind that this endpoint serves."
    advice = "Compare id and secret with the tenant's; a browser needs a public client, a backend a confidential one."
    source = "seed 001, 003 and 004: 401"
    samples = ("token",)

    def __init__(self) -> None:
        self._tally = Tally()

    def take(self, row: ops.Sample) -> None:
        """Take one row."""
        if row.cause == _UNAUTHORISED:
            self._tally.hit(row.at_ns, row.label)

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._tally, {"refused": self._tally.count})


class ScopeRefused(Detector):
    """The token is good, but not for this."""

    id = "scope-refused"
    title = "A scope is missing"
    severity: Severity = "high"
    cause = "The application was not granted a scope that the call or frame needs, or the token was asked for without it."
    advice = "Compare the granted scopes with those of the dialect; changes take some minutes to come into force."
    source = "seed 001, 002 (scopes are checked per frame), 003 and 004"
    notes = ("scope.refused", "error.frame")
    samples = ("guest", "ack", "poll.hold", "resync", "lookup", "upload", "profile", "leave", "history", "routing", "token")

    def __init__(self) -> None:
        self._tally = Tally()
        self._forbidden = Tally()
        self._named = Tally()

    def take(self, row: ops.Sample | ops.Noted) -> None:
        """Take one row."""
        if isinstance(row, ops.Noted):
            if row.what == "scope.refused" or row.detail == "INSUFFICIENT_SCOPE":
                self._named.hit(row.at_ns, row.label)
        elif row.cause == _FORBIDDEN and row.measure != "token":
            self._forbidden.hit(row.at_ns, row.label)

    def finish(self) -> Finding | None:
        """What was seen."""
        tally = Tally()
        tally.add(self._named)
        tally.add(self._forbidden)
        evidence = {"named_by_the_server": self._named.count, "answers_403": self._forbidden.count}
        doubt = "" if self._named else "A 403 may also mean a feature that is switched off; no answer named a scope."
        return self.found(tally, evidence, certainty=doubt)


class OriginRefused(Detector):
    """The page's origin is not on the list."""

    id = "origin-refused"
    title = "The origin is not on the allow-list"
    severity: Severity = "high"
    cause = "The token endpoint (or the deployment) knows no such origin; there are no wildcards."
    advice = "Add each origin by name to the client's redirect URIs or to the deployment's allowed domains."
    source = "seed 000, section 1; webmessaging 5.1"
    notes = ("origin.refused",)
    samples = ("token",)

    def __init__(self) -> None:
        self._named, self._bare = Tally(), Tally()

    def take(self, row: ops.Sample | ops.Noted) -> None:
        """Take one row."""
        if isinstance(row, ops.Noted):
            self._named.hit(row.at_ns, row.label)
        elif row.cause == _FORBIDDEN:
            self._bare.hit(row.at_ns, row.label)

    def finish(self) -> Finding | None:
        """What was seen."""
        return self.found(self._named, {"named_by_the_server": self._named.count, "tokens_refused_403": self._bare.count})


class AuthSilent(Detector):
    """The socket opens, the token is sent, and nobody answers."""

    id = "handshake-unanswered"
    title = "The handshake was never answered"
    severity: Severity = "high"
    cause = "A token made for something else (global, too broad) is not answered at all."
    advice = "Ask for a token with the messaging scopes only, and give the handshake a time-out."
    source = "seed 002, section 1"
    samples = ("auth",)
    TIMES = 2
    """In a row with one guest: once may be a socket that died."""

    def __init__(self) -> None:
        self._tally = Tally()
        self._rows: dict[str, int] = {}

    def take(self, row: ops.Sample) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        if row.cause != FailureCause.AUTH_TIMEOUT.value:
            self._rows.pop(slot, None)
            return
        self._rows[slot] = times = self._rows.get(slot, 0) + 1
        if times >= self.TIMES:
            self._tally.hit(row.at_ns, row.label, times if times == self.TIMES else 1)

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._rows.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        doubt = "A gateway that is stuck looks the same: the token's scopes tell, a time-out does not."
        return self.found(self._tally, {"timeouts": self._tally.count}, certainty=doubt)


class SocketRefused(Detector):
    """The socket (its upgrade, or what is sent first on it) refuses the guest's token."""

    id = "socket-token-refused"
    title = "The socket refused the guest's token"
    severity: Severity = "high"
    cause = "A token that is invalid, expired or passed in another way than the socket wants it; or the wrong host."
    advice = "Register just before connecting, pass the token as the dialect says, and do not try a refused one again."
    source = "seed 001 (refused or closed at once), 003 (1006) and 004 (403)"
    notes = ("auth.rejected",)
    samples = ("auth", "connect")
    rows = (ops.Connection,)

    def __init__(self) -> None:
        self._tally = Tally()
        self._last: dict[str, int] = {}
        """By guest: when a socket was last refused or over; the word that it was for the token follows at once."""
        self._sockets: dict[str, tuple[int, int]] = {}
        """By guest: how many sockets have ended, and which of them was cut without an explanation."""
        self._answered = self._cut = 0

    def take(self, row: ops.Noted | ops.Sample | ops.Connection) -> None:
        """Take one row."""
        slot = slot_of(row.label)
        if isinstance(row, ops.Connection):
            self._last[slot] = row.at_ns
            number, cut = self._sockets.get(slot, (0, -1))
            self._sockets[slot] = (number + 1, cut)
        elif isinstance(row, ops.Noted):
            if self._last.get(slot) == row.at_ns and (row.detail != _UNEXPLAINED or self._again(slot)):
                self._cut += 1
                self._tally.hit(row.at_ns, row.label)
        elif row.measure == "connect":
            if row.outcome != ops.OK:
                self._last[slot] = row.at_ns
        elif row.cause == FailureCause.AUTH_REJECTED.value:
            self._answered += 1
            self._tally.hit(row.at_ns, row.label)

    def _again(self, slot: str) -> bool:
        """A cut that nothing explains is the network's doing, unless the socket before was cut in the same way."""
        number, cut = self._sockets.get(slot, (0, -1))
        self._sockets[slot] = (number, number)
        return cut == number - 1

    def over(self, slot: str) -> None:
        """Forget the guest."""
        self._last.pop(slot, None)
        self._sockets.pop(slot, None)

    def finish(self) -> Finding | None:
        """What was seen."""
        doubt = (
            "" if self._answered else "A socket cut just after the handshake may also be a fault of the network: nothing names it."
        )
        evidence = {"refused_by_an_answer": self._answered, "refused_or_cut_at_the_socket": self._cut}
        return self.found(self._tally, evidence, certainty=doubt)


def watchers() -> list[Witness]:
    """The family."""
    return [CredentialsRefused(), ScopeRefused(), OriginRefused(), AuthSilent(), SocketRefused()]
