"""webmessaging: how connections come into a session, and how they and it end."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from harness.simulator.connections import Conn
from harness.simulator.dialects import webmessaging_frames as frames
from harness.simulator.dialects.webmessaging_frames import Body
from harness.simulator.dialects.webmessaging_session import Link, Session

if TYPE_CHECKING:
    from harness.simulator.dialects.webmessaging import Webmessaging


class Door:
    """Lets connections in and shows them out."""

    def __init__(self, half: Webmessaging) -> None:
        self._half, self._engine, self._settings = half, half.engine, half.settings
        self._rng = Random(f"{half.engine.seed}/webmessaging/silent")

    def dismiss(
        self, now: int, conn: Conn, name: str, body: Body | None = None, why: str = "superseded", *, keep: bool = False
    ) -> None:
        """Tell a connection that it is over; if the guest does not close it, the server does. `keep`: it is still the session's."""
        link: Link = conn.data
        self._half.sessions.part(now, link.session, conn)
        if not keep:
            link.session = None
        timers = self._engine.timers
        timers.cancel(link.ending)

        def done(at: int, ok: bool) -> None:
            if ok and (keep or link.session is None):
                link.ending = timers.at(at + self._settings.close_within, self._unclosed, conn, why)

        self._engine.push(now, conn, frames.event(name, body), done=done)

    def _unclosed(self, now: int, conn: Conn, why: str) -> None:
        self._engine.end(now, conn, why, code=1001, reason="going away")

    def configure(self, now: int, conn: Conn, frame: Body, token: str, tracing: str | None) -> None:
        """`configureSession` and `configureAuthenticatedSession`."""
        engine, link = self._engine, conn.data
        who = ""
        if frame["action"] == "configureAuthenticatedSession":
            data = frame.get("data")
            code = data.get("code") if isinstance(data, dict) else None
            if not isinstance(code, str):
                return self._half.refuse(now, conn, 4020, "data.code is missing", tracing)
            found = self._half.rest.signed_in(now, code, link.deployment)
            if isinstance(found, tuple):
                return self._half.refuse(now, conn, *found, tracing)
            who = found.id
        session = self._half.sessions.find(token)
        if session is not None and not session.alive:
            return self._half.refuse(now, conn, 4006, "the session has expired", tracing)
        if session is not None and session.auth and not who:
            return self._half.refuse(now, conn, 4017, "an authenticated session cannot become a guest's", tracing)
        stepped = session is not None and bool(who) and not session.auth
        if stepped and not self._settings.allow_session_upgrade:
            return self._half.refuse(now, conn, 403, "Try to authenticate again: sessions are not upgraded", tracing)
        new = session is None or stepped or frame.get("startNew") is True
        if session is None:
            session = self._half.sessions.begin(now, token)
            session.expiry = engine.timers.at(now + self._settings.duration, self._expired, session)
        elif stepped:
            for other in [other for other in session.conns if other is not conn]:
                self.dismiss(now, other, "ConnectionClosedEvent", {"reasonCode": "signedIn"}, "signed_in")
        session.auth = who or session.auth
        if new:
            self.end_talk(now, session, "new")
            session.read_only, session.active = False, now
        self._enter(now, conn, session, token)
        talk = session.talks[-1] if session.talks and session.conv is not None else None
        body = frames.session_body(
            self._settings,
            new=new or not session.told,
            read_only=session.read_only,
            cleared=stepped,
            expires_s=self._half.sessions.expires_s(session),
            auto=talk is not None and talk.auto_started,
        )
        if self._settings.silent > 0.0 and self._rng.random() < self._settings.silent:
            return engine.truth.row(now, "mishap", conn.id, code=0)
        ready = engine.ready(now, conn)

        def done(at: int, ok: bool) -> None:
            session.told = session.told or ok
            ready(at, ok)

        return self._half.respond(now, conn, "SessionResponse", body, tracing, done)

    def _enter(self, now: int, conn: Conn, session: Session, token: str) -> None:
        """The connection is one of the session's; the oldest makes room for one too many."""
        link: Link = conn.data
        if link.session is not session:
            self._half.sessions.part(now, link.session, conn)
            self._engine.timers.cancel(link.ending)
            link.ending = None
            link.session, link.token = session, token
            while len(session.conns) >= self._settings.connections_max:
                self.dismiss(now, session.conns[0], "ConnectionClosedEvent")
            session.conns.append(conn)
        if session.conv is not None and not session.conv.closed:
            self._engine.bind(now, conn, session.conv)

    def end_talk(self, now: int, session: Session, why: str, by: str = "guest") -> None:
        """The conversation, if there is one, ends for a reason that is not the agent's."""
        conv = session.conv
        if conv is not None and not conv.closed:
            conv.data.ending = why
            self._engine.close(now, conv, by=by)
        session.conv = None

    def _expired(self, now: int, session: Session) -> None:
        due = session.active + self._settings.duration
        if now < due:
            session.expiry = self._engine.timers.at(due, self._expired, session)
            return
        self.end_talk(now, session, "expired", "expiry")
        session.alive = False
        for conn in list(session.conns):
            self.dismiss(now, conn, "SessionExpiredEvent", why="expiry", keep=True)

    def log_out(self, now: int, who: str) -> None:
        """Somebody has signed out: every connection of theirs is over."""
        for session in list(self._half.sessions.by_digest.values()):
            if session.auth == who:
                for conn in list(session.conns):
                    self.dismiss(now, conn, "LogoutEvent", why="logout")

    def close(self, now: int, conn: Conn, session: Session, frame: Body, tracing: str | None) -> None:
        """`closeSession`: the conversation is over; the caller's connection stays."""
        everywhere = frame.get("closeAllConnections")
        if everywhere is None:
            return self._half.refuse(now, conn, 4020, "closeAllConnections is missing", tracing)
        self.end_talk(now, session, "closed")
        session.read_only = True
        if everywhere is True:
            for other in [other for other in session.conns if other is not conn]:
                self.dismiss(now, other, "ConnectionClosedEvent", why="closed")
        return self._half.respond(now, conn, "SessionResponse", {"connected": False, "readOnly": True}, tracing)
