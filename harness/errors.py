"""Exception tree, the closed set of failure causes, and the exit codes.

Remote misbehaviour is data (a `FailureCause` in a row of the journal); only a local mistake raises.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class ExitCode(IntEnum):
    """What a guestswarm process answers to its caller."""

    PASS = 0
    FAIL = 1
    USAGE = 2
    UNKNOWN = 3
    UNREACHABLE = 4
    NOT_AUTHORISED = 5
    INTERNAL = 70
    INTERRUPTED = 130
    TERMINATED = 143


class FailureCause(StrEnum):
    """Why an operation did not succeed. Closed: whatever a server does ends in one of these."""

    DNS = "dns"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS_VERIFY = "tls_verify"
    TLS = "tls"
    NOT_AUTHORISED = "not_authorised"  # our own guard refused the address
    PORTS_EXHAUSTED = "ports_exhausted"
    CONNECTION_RESET = "connection_reset"
    CONNECTION_CLOSED = "connection_closed"  # end of file where an answer was due
    WRITE_FAILED = "write_failed"
    TIMEOUT = "timeout"
    BAD_REQUEST = "bad_request"
    UNAUTHORISED = "unauthorised"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    HTTP_STATUS = "http_status"  # any other status that the protocol does not allow
    UPGRADE_REFUSED = "upgrade_refused"
    AUTH_REJECTED = "auth_rejected"
    AUTH_TIMEOUT = "auth_timeout"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105
    MALFORMED = "malformed"  # not JSON, not the protocol's shape
    OVERSIZE = "oversize"
    BINARY_FRAME = "binary_frame"
    UNKNOWN_TYPE = "unknown_type"
    CONFIRM_TIMEOUT = "confirm_timeout"  # neither echo nor acknowledgement in time
    REPLY_TIMEOUT = "reply_timeout"
    QUEUE_STALLED = "queue_stalled"
    NOT_STORED = "not_stored"  # the server's listing does not hold it
    REFUSED = "refused"  # an error frame other than a rate limit
    SESSION_CLOSED = "session_closed"
    ZOMBIE = "zombie"  # no pong: the socket is open and nothing flows
    UPLOAD_FAILED = "upload_failed"
    MIME_REFUSED = "mime_refused"
    SKILL_UNKNOWN = "skill_unknown"
    UNCONFIRMED = "unconfirmed"  # the protocol confirms nothing, and no reply quoted it
    UNANSWERED = "unanswered"  # the same, since the guest left as planned while that reply was awaited
    INTERRUPTED = "interrupted"  # the run ended first
    INTERNAL = "internal"


class GuestswarmError(Exception):
    """Root of everything we raise on purpose: what, where, what to do; and the exit code that follows."""

    exit_code = ExitCode.INTERNAL

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.hint = what, where, hint

    def __str__(self) -> str:
        """One message: `where: what. hint`."""
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.hint}" if self.hint else head


class UsageError(GuestswarmError):
    """A wrong command line or a wrong scenario."""

    exit_code = ExitCode.USAGE


class ScenarioError(UsageError):
    """A scenario file that cannot be run."""


class UnreachableError(GuestswarmError):
    """The target refused, did not answer, or answered garbage before any load."""

    exit_code = ExitCode.UNREACHABLE


class NotAuthorisedError(GuestswarmError):
    """The target is off this machine and no authorisation covers it (now)."""

    exit_code = ExitCode.NOT_AUTHORISED


class RunFolderError(UsageError):
    """The run folder cannot be made, written or read."""


class JournalError(GuestswarmError):
    """A journal that is not one, or of another version."""

    exit_code = ExitCode.USAGE
