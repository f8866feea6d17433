"""What halves without a listing share: sessions made by REST, sockets to them, a conversation each, an end with a grace.

A session is kept under the first hole of the upgrade's path. Its conversation, once there is one, has the session as `data`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar

from harness.simulator import bodies, spelling
from harness.simulator.connections import Conn, Done, Exchange
from harness.simulator.conversations import Conversation
from harness.simulator.dialects.base import DialectHalf
from harness.simulator.intake import Arrival
from harness.simulator.limiters import Caller
from harness.simulator.spelling import SECOND
from harness.simulator.tables import setting
from harness.simulator.timers import Timer

if TYPE_CHECKING:
    from harness.simulator.engine import Engine


def rate_text(value: Any, where: str) -> str:
    """Read a rate that is handed on as it was written."""
    spelling.rate(value, where)
    return str(value)


@dataclass(frozen=True, slots=True)
class ChatTable:
    """What each of these halves can be told."""

    close_within: int = setting(spelling.duration, 5 * SECOND)
    """From word that the session is over to the server's own close, where the guest's does not come."""
    message_rate: str = setting(rate_text, "2/s")
    """Of each session, in the dialect's limit set."""
    typing_rate: str = setting(rate_text, "1/s")


class Session:
    """What became of one registration."""

    __slots__ = ("channel", "client", "conns", "conv", "expires", "expiry", "id", "name", "over")

    def __init__(self, sid: str, name: str, expires: int) -> None:
        self.id, self.name, self.expires = sid, name, expires
        self.conns: dict[int, Conn] = {}
        """Its open sockets; the newest that was let in gets what is said."""
        self.conv: Conversation | None = None
        self.expiry: Timer | None = None
        self.client = self.channel = ""
        """Who has registered it, and where, as limits count."""
        self.over = False
        """Either side has ended it, or it has run out: nothing is taken any more, and nothing need be said about that."""


class Link:
    """What is kept for one socket."""

    __slots__ = ("inside", "session", "timer")

    def __init__(self, session: Any) -> None:
        self.session = session
        """Of the half's own kind."""
        self.inside = False
        """Was it let in?"""
        self.timer: Timer | None = None
        """What happens to it unless something else comes first."""


class ChatHalf(DialectHalf):
    """Base of these halves."""

    settings: Any
    farewell: ClassVar[str] = ""
    """The frame that tells the guest that the agent has ended it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.rng = Random(f"{engine.seed}/{self.name}")
        self.sessions: dict[str, Any] = {}

    @classmethod
    def limit_set(cls, settings: Any) -> list[dict[str, Any]]:
        """Frames of a session: no figure is known, these are ours."""
        return [
            {"endpoint": "frame message", "rate": settings.message_rate, "scope": "session"},
            {"endpoint": "frame typing", "rate": settings.typing_rate, "scope": "session"},
        ]

    def caller(self, now: int, asks: Exchange | Conn) -> Caller:
        """A session's counts go on over its sockets."""
        made = super().caller(now, asks)
        if not isinstance(asks, Conn):
            return made
        session = self.sessions.get(asks.params[0])
        client, channel = (session.client, session.channel) if session is not None else ("", "")
        return Caller(client or made.client, made.ip, asks.params[0], connection=asks.id, deployment=channel)

    # ------------------------------------------------------------ sessions
    def begin(self, now: int, session: Any) -> Conversation:
        """Open the session's conversation."""
        return self.engine.open(now, self, session.id, routable=True, data=session)

    def enter(self, now: int, conn: Conn, link: Link) -> Conversation:
        """Let a socket in: from now on it gets what is said in the session."""
        session = link.session
        if session.conv is None:
            session.conv = self.begin(now, session)
        conv: Conversation = session.conv
        link.inside = True
        self.engine.bind(now, conn, conv)
        return conv

    def heard_on(self, now: int, conn: Conn, link: Link) -> Conversation:
        """The guest speaks on one of its sockets: it is let in again where there is no newer one (any more)."""
        conv: Conversation = link.session.conv
        return self.enter(now, conn, link) if conv.bound is None else conv

    def attach(self, conn: Conn, link: Link) -> None:
        """A socket of a session has been accepted."""
        conn.data = link
        link.session.conns[conn.handle] = conn

    def on_gone(self, now: int, conn: Conn) -> None:  # noqa: ARG002
        """Take it off the session's books."""
        link: Link | None = conn.data
        if link is not None:
            self.engine.timers.cancel(link.timer)
            link.timer = None
            link.session.conns.pop(conn.handle, None)
            self._part(link.session)

    def run_out(self, now: int, session: Any) -> None:
        """Nobody can come back to it: its agent is free, and it is forgotten after a while."""
        session.over = True
        conv: Conversation | None = session.conv
        if conv is None:
            self.engine.timers.at(now + self.engine.config.forget_after, self._drop, session)
        else:
            self.engine.close(now, conv, by="expiry")

    def _drop(self, now: int, session: Any) -> None:  # noqa: ARG002
        self.sessions.pop(session.id, None)

    def forget(self, conv: Conversation) -> None:
        """Nor is there the session any longer."""
        session = conv.data
        self.engine.timers.cancel(session.expiry)
        self.sessions.pop(session.id, None)
        self._part(session)

    def _part(self, session: Any) -> None:
        """A forgotten session and its conversation let go of each other once no socket speaks for it: no cycle stays in memory."""
        if not session.conns and session.id not in self.sessions:
            session.conv = None

    # ------------------------------------------------------------ the end
    def leave(self, now: int, session: Any) -> None:
        """The guest has said that it is over: that is not answered."""
        session.over = True
        if session.conv is not None:
            self.engine.close(now, session.conv)

    def closed(self, now: int, conv: Conversation) -> None:
        """Tell the guest, unless it knows; then its close is waited for, on every socket."""
        session = conv.data
        told = () if session.over else self.connections(conv)
        session.over = True
        for conn in list(session.conns.values()):
            if conn in told:
                self.engine.push(now, conn, self.farewell, done=self.then_close(conn))
            else:
                self.then_close(conn)(now, True)

    def then_close(self, conn: Conn) -> Done:
        """`done` for the frame that says that it is over."""

        def done(now: int, ok: bool) -> None:
            if ok:
                self.engine.timers.at(now + self.settings.close_within, self._unclosed, conn)

        return done

    def _unclosed(self, now: int, conn: Conn) -> None:
        self.engine.end(now, conn, "unclosed", code=1001, reason="session over")

    # ------------------------------------------------------------ frames
    def arrival(self, now: int, conn: Conn, data: str | bytes) -> Arrival:  # noqa: ARG002
        """Messages of a session that goes on, over a socket that was let in."""
        link: Link | None = conn.data
        frame = bodies.frame(data)
        kind = frame.get("type") if frame is not None else None
        if kind == "message" and link is not None and link.inside and not link.session.over:
            return Arrival(True, "message")
        return Arrival(False, aside=kind == "handshake")

    def thread(self, conn: Conn) -> str:
        """The session, over all its sockets."""
        return str(conn.params[0])

    def refused(self, now: int, conn: Conn, kind: str) -> bool:
        """Does a limit refuse this frame? Then the guest is told."""
        endpoint = f"frame {kind}"
        refusal = self.engine.frame_refusal(now, conn, endpoint)
        if refusal is None:
            return False
        wait = self.engine.retry_seconds(refusal)
        shown = {"frame": kind} if wait is None else {"frame": kind, "retryAfter": wait}
        self.tell_limited(now, conn, shown, self.engine.refuse_frame(conn, endpoint))
        return True

    def tell_limited(self, now: int, conn: Conn, shown: dict[str, Any], done: Done) -> None:
        """Push the error frame of a limit."""
        raise NotImplementedError

    def ignore(self, now: int, conn: Conn, why: str) -> None:
        """A frame is lost without a word; only the truth notes it."""
        self.engine.truth.row(now, "ignored", conn.id, why=why)
