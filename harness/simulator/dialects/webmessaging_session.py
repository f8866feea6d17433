"""webmessaging: a session is what a token that the guest has made stands for: its connections, its conversations, its history."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from harness.simulator.connections import Conn
from harness.simulator.conversations import Conversation, Message
from harness.simulator.dialects import webmessaging_frames as frames
from harness.simulator.dialects.webmessaging_frames import Body, Guests
from harness.simulator.dialects.webmessaging_settings import WebmessagingTable
from harness.simulator.spelling import SECOND
from harness.simulator.tables import MS
from harness.simulator.timers import Timer
from harness.simulator.truth import Stream

if TYPE_CHECKING:
    from harness.simulator.dialects.webmessaging_files import File
    from harness.simulator.engine import Engine


MOST_AHEAD = 50 * MS


def digest_of(token: str) -> str:
    """How a token is named where it must not be shown."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Link:
    """What the half keeps for one socket."""

    __slots__ = ("asking", "deployment", "ending", "host", "session", "token")

    def __init__(self, deployment: str, host: str) -> None:
        self.deployment = deployment
        self.host = host
        """Base of the URLs that are told over this socket."""
        self.session: Session | None = None
        self.token = ""
        self.asking = ""
        """Token of the frame in hand."""
        self.ending: Timer | None = None
        """It was told to close."""


class Said:
    """A message as it goes over the wire."""

    __slots__ = ("body", "text")

    def __init__(self, body: Body, tracing: str | None = None) -> None:
        self.body = body
        self.text = frames.structured(body, tracing)


class Talk:
    """What is kept with a conversation. `ending` is why it ends where the agent is not the reason."""

    __slots__ = ("auto_started", "ending", "entries", "held", "session", "stamped", "traced", "typed")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.entries: list[tuple[Body, Message | None]] = []
        """What the history shows, oldest first; an event is no message."""
        self.stamped = 0
        """Stored messages that are in `entries`."""
        self.traced: dict[str, Message] = {}
        """By tracing id, where a message that is sent again is not stored again."""
        self.held: list[Stream] | None = None
        """The engine has forgotten the conversation; these streams are kept for the session's next one. None: it has not."""
        self.ending = ""
        self.auto_started = False
        self.typed: list[int] = []
        """When the agent was last seen typing."""

    def forget(self) -> None:
        """Nothing of it is listed any more."""
        if self in self.session.talks:
            self.session.talks.remove(self)
        self.entries.clear()
        self.traced.clear()


class Session:
    """One token's."""

    __slots__ = (
        "active",
        "alive",
        "auth",
        "cleared",
        "conns",
        "conv",
        "digest",
        "expiry",
        "files",
        "left",
        "number",
        "read_only",
        "stamp",
        "talks",
        "token",
        "told",
    )

    def __init__(self, token: str, now: int) -> None:
        self.token = token
        self.digest = digest_of(token)
        self.active = now
        """Its last message, or its beginning."""
        self.alive = True
        self.expiry: Timer | None = None
        self.auth = ""
        """Who has signed in; empty: a guest."""
        self.conns: list[Conn] = []
        """In the order in which they were configured."""
        self.conv: Conversation | None = None
        """The one that goes on; none before the first word, and after the last one."""
        self.left = now
        """When its last connection went."""
        self.read_only = self.cleared = False
        self.told = False
        """Has the guest been told of it? As long as it has not, it is a new one."""
        self.talks: list[Talk] = []
        self.files: dict[str, File] = {}
        self.stamp = 0
        """The last `channel.time`."""
        self.number = 0
        """Conversations so far."""

    @property
    def forgotten(self) -> bool:
        """Is its token free for another one? (An expired one's never is.)"""
        return self.cleared and self.alive

    def next_stamp(self, wall_ms: int) -> int:
        """A time that no other message of the session has, and later than theirs."""
        self.stamp = max(self.stamp + 1, wall_ms)
        return self.stamp

    def history(self) -> list[tuple[Body, Message | None]]:
        """All that is shown, oldest first."""
        return [entry for talk in self.talks for entry in talk.entries]


def _nothing(_: Session) -> None:
    """Nobody wants to know."""


class Sessions:
    """All of them, and what becomes of their messages."""

    def __init__(self, engine: Engine, settings: WebmessagingTable) -> None:
        self._engine, self._settings = engine, settings
        self._rng = Random(f"{engine.seed}/webmessaging")
        self._all: OrderedDict[str, Session] = OrderedDict()
        self.by_digest: dict[str, Session] = {}
        self.dropped: Callable[[Session], None] = _nothing
        """Told of each session of which nothing is known any more."""

    def __len__(self) -> int:
        return len(self._all)

    def find(self, token: str) -> Session | None:
        """The session of a token, expired ones included, cleared ones not."""
        session = self._all.get(token)
        return None if session is None or session.forgotten else session

    def clear(self, now: int, session: Session) -> None:
        """Its history is gone, and its token is free for another."""
        self._engine.timers.cancel(session.expiry)
        session.cleared = True
        for talk in list(session.talks):
            self._erase(now, talk)
        self.by_digest.pop(session.digest, None)
        if session.alive:  # by then the engine has forgotten its conversations, and their names are free
            self._engine.timers.at(now + self._engine.config.forget_after + 1, self._drop, session)

    def _drop(self, now: int, session: Session) -> None:  # noqa: ARG002
        """Nothing is known of it any more."""
        self.dropped(session)
        if self._all.get(session.token) is session:
            del self._all[session.token]

    def begin(self, now: int, token: str) -> Session:
        """A new one; its conversations do not take the names of an earlier one's."""
        earlier = self._all.pop(token, None)
        session = self._all[token] = self.by_digest[digest_of(token)] = Session(token, now)
        if earlier is not None:
            session.number, session.stamp = earlier.number, earlier.stamp
        if len(self._all) > self._settings.sessions_kept:
            self._forget_idle(now)
        return session

    def _forget_idle(self, now: int) -> None:
        for token, session in list(self._all.items())[: self._settings.sessions_kept // 10 + 1]:
            if not session.conns and (session.conv is None or session.conv.closed):
                session.alive = False
                self.clear(now, session)
                self.dropped(session)
                del self._all[token]

    # ------------------------------------------------------------ forgetting
    # A guest may go on after the end of a conversation that it was not told of, and looks for all of its words in the history: as
    # long as that can be, neither they nor the numbers in their markers may begin anew. So a session is kept whole or forgotten
    # whole: whoever shows its token then is told that the session is a new one.
    def forget(self, conv: Conversation) -> None:
        """The engine forgets a conversation."""
        talk: Talk = conv.data
        if talk in talk.session.talks:
            talk.held = list(conv.streams.values())
            for stream in talk.held:
                stream.users += 1

    def over(self, now: int, session: Session) -> None:
        """A conversation has ended, which the engine is about to forget in a while."""
        self._engine.timers.at(now + self._engine.config.forget_after + 1, self._let_go, session)

    def part(self, now: int, session: Session | None, conn: Conn) -> None:
        """A connection is the session's no longer."""
        if session is not None and conn in session.conns:
            session.conns.remove(conn)
            if not session.conns:
                session.left = now
                self._engine.timers.at(now + self._engine.config.forget_after, self._let_go, session)

    def _let_go(self, now: int, session: Session) -> None:
        """Forget it, if nobody was there for long enough and the engine has forgotten all that was said."""
        absent = not session.conns and now >= session.left + self._engine.config.forget_after
        if absent and session.talks and all(talk.held is not None for talk in session.talks):
            self.clear(now, session)

    def _erase(self, now: int, talk: Talk) -> None:
        talk.forget()
        held, talk.held = talk.held, None
        for stream in held or ():
            self._engine.truth.release(now, stream)

    def expires_s(self, session: Session) -> int:
        """When it expires, in epoch seconds."""
        return self._engine.wall_ms(session.active + self._settings.duration) // 1000

    # ------------------------------------------------------------ messages
    def converse(self, now: int, half: Any, session: Session) -> Conversation:
        """The conversation that goes on, begun if there is none."""
        conv = session.conv
        if conv is not None and not conv.closed:
            return conv
        session.number += 1
        cid = session.digest if session.number == 1 else f"{session.digest}-{session.number}"
        talk = Talk(session)
        session.talks.append(talk)
        conv = session.conv = self._engine.open(now, half, cid, routable=True, data=talk)
        for conn in session.conns:
            self._engine.bind(now, conn, conv)
        return conv

    def ahead(self, now: int, session: Session) -> int:
        """How long until the server's clock shows the session's last stamp.

        Only where that was moved on for the sake of another one: if the clock was set back, nobody waits until it is there again.
        """
        wait = session.stamp * MS - self._engine.stamp_ns(now)
        return wait if 0 < wait <= MOST_AHEAD else 0

    def catch_up(self, conv: Conversation) -> None:
        """Give every stored message that has none its body, in stored order."""
        talk: Talk = conv.data
        for message in conv.messages[talk.stamped :]:
            if message.data is None:
                message.data = Said(self._agents(talk.session, message))
            talk.entries.append((message.data.body, message))
        talk.stamped = len(conv.messages)

    def said(self, conv: Conversation, message: Message) -> Said:
        """The message as it goes over the wire."""
        if message.data is None:
            self.catch_up(conv)
        if message.data is None:  # stored in a conversation that is forgotten by now
            message.data = Said(self._agents(conv.data.session, message))
        found: Said = message.data
        return found

    def guests(self, now: int, session: Session, given: Guests) -> Body:
        """The body of a guest's message or event; what was stored before it has the earlier times."""
        engine = self._engine
        if session.conv is not None:
            self.catch_up(session.conv)
        stamp = session.next_stamp(engine.stamp_ms(now))
        return frames.inbound(self._message_id(), engine.new_uuid(), stamp, engine.new_uuid(), given)

    def _agents(self, session: Session, message: Message) -> Body:
        settings, rng = self._settings, self._rng
        stamp = session.next_stamp(message.stamp_ms)
        kind = frames.drawn_offer(settings, rng)
        fields: Body = {"text": message.text}
        bot = bool(kind) or (settings.bot > 0.0 and rng.random() < settings.bot)
        if kind:
            fields = {"type": "Structured", "text": message.text, "content": frames.offer(kind, stamp)}
        entity, nickname = (frames.BOT, "") if bot else (frames.HUMAN, message.sender_name or "Agent")
        return frames.outbound(self._message_id(), stamp, self._engine.new_uuid(), entity, nickname, **fields)

    def agents_event(self, now: int, conv: Conversation, events: list[Body], **metadata: str) -> Body:
        """The body of something that a person does without words."""
        engine, talk = self._engine, conv.data
        self.catch_up(conv)
        stamp = talk.session.next_stamp(engine.stamp_ms(now))
        name = conv.agent_name or "Agent"
        return frames.outbound(
            self._message_id(), stamp, engine.new_uuid(), frames.HUMAN, name, type="Event", events=events, metadata=metadata
        )

    def _message_id(self) -> str:
        return f"{self._engine.rng.getrandbits(128):032x}"

    def lasts(self) -> int:
        """Seconds of a session's life."""
        return self._settings.duration // SECOND
