"""The engine's layer of conversations: opened, spoken in, ended, judged and forgotten."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import TYPE_CHECKING, Any

from harness.simulator import marker
from harness.simulator.agents import Agents
from harness.simulator.config import SimConfig
from harness.simulator.connections import Done
from harness.simulator.conversations import AGENT, CLOSED, GUEST, QUEUED, Conversation, Message
from harness.simulator.deliveries import Deliveries
from harness.simulator.outlet import Outlet
from harness.simulator.sockets import Sockets
from harness.simulator.truth import Nonce, Stream, TruthLog

if TYPE_CHECKING:
    from harness.simulator.dialects.base import DialectHalf


class Taken:
    """A guest's message on its way into the store. Faults may clear `store` and `confirm`."""

    __slots__ = ("confirm", "conv", "message", "nonce", "store")

    def __init__(self, conv: Conversation, message: Message, nonce: Nonce | None) -> None:
        self.conv, self.message, self.nonce = conv, message, nonce
        self.store = self.confirm = True


class Talks(Sockets):
    """All conversations, the agents in them, and what is under way to guests."""

    def __init__(self, config: SimConfig, *, seed: int, outlet: Outlet, truth: TruthLog, wall_offset_ns: int, secret: str) -> None:
        super().__init__(config, seed=seed, outlet=outlet, truth=truth, wall_offset_ns=wall_offset_ns, secret=secret)
        self.agents = Agents(self.whole, config.agents, Random(f"{seed}/agents"))
        self.deliveries = Deliveries(self.whole)
        self.conversations: dict[str, Conversation] = {}

    def open(
        self, now: int, half: DialectHalf, cid: str, *, routable: bool, priority: int = 0, data: Any = None, why: str = ""
    ) -> Conversation:
        """Begin a conversation and put it into the queue; `why` names what is wrong with its routing, where something is."""
        conv = Conversation(cid, half, now, routable=routable, priority=priority)
        conv.data = data
        self.conversations[cid] = conv
        self._queue(now, conv, why)
        return conv

    def reroute(self, now: int, conv: Conversation, *, routable: bool) -> None:
        """Routing was changed before an agent came."""
        if conv.state == QUEUED and not conv.routable and routable:
            conv.routable = True
            self._queue(now, conv)

    def take(
        self,
        now: int,
        conv: Conversation,
        text: str,
        mid: str,
        sender_id: str,
        sender_name: str,
        data: Any = None,
        *,
        store: bool = True,
    ) -> Taken:
        """Store a guest's message, unless a fault wants otherwise. The conversation must not be closed.

        `store` False: the dialect confirms it and loses it all the same.
        """
        mark = marker.read(text)
        stream: Stream | None = None
        nonce: Nonce | None = None
        if mark is not None and mark[1] == "g":
            stream = conv.stream = self._join(conv, mark[0])
            nonce = stream.guest_nonce(mark[2])
            nonce.received = nonce.received or self.arrived
        if mid in conv.copies and not self.config.server_stores_resend:
            earlier = next((m for m in reversed(conv.messages) if m.id == mid), None)
            if earlier is not None:
                return Taken(conv, earlier, earlier.copy.nonce)
        stamp = conv.stamp(self.stamp_ms(now))
        message = Message(mid, GUEST, sender_id, sender_name, text, stamp, conv.copy_of(mid, stamp, nonce))
        message.data = data
        taken = Taken(conv, message, nonce)
        taken.store = store
        for fault in self.faults.on_guest if store else ():
            fault.on_guest(self.whole, now, taken)
        if not taken.store:
            message.phantom = True
            return taken
        conv.append(message)
        if nonce is not None:
            first = not nonce.stored
            self.truth.guest_stored(now, nonce)
            if first:
                self.agents.heard(now, conv, nonce.seq)
        return taken

    def confirmed(self, now: int, taken: Taken) -> None:
        """The confirmation of a guest's message was handed over by other means than a push of the message."""
        if taken.message.phantom and taken.nonce is not None:
            self.truth.guest_confirmed_unstored(now, taken.nonce)

    def phantom_done(self, message: Message) -> Done:
        """`done` for the push of a message that was never stored."""

        def done(now: int, ok: bool) -> None:
            if ok and message.copy.nonce is not None:
                self.truth.guest_confirmed_unstored(now, message.copy.nonce)

        return done

    def deliver(self, now: int, conv: Conversation, message: Message, lag: int = 0) -> None:
        """Push a message to the guest, through the faults."""
        self.deliveries.deliver(now, conv, message, lag)

    def agent_says(self, now: int, conv: Conversation, answers: int, *, immune: bool = False) -> None:
        """An agent's message, in the stream of the guest's latest."""
        stream = conv.stream
        if stream is None or conv.closed:
            return
        verdict = ""
        if not immune:
            for fault in self.faults.on_agent:
                verdict = fault.on_agent(self.whole, now, conv)
                if verdict:
                    break
        nonce = stream.next_agent_nonce()
        nonce.answers = stream.guest.get(answers)
        text = self.agents.text(marker.write(stream.key, nonce.seq, answers), nonce.seq)
        if verdict == "lose":
            nonce.fault = "lose_all"
            self.act(now, "lose_all", nonce.id)
            self.truth.agent_stored(now, nonce)
            self.agents.speak_further(now, conv, immune=True)
            return
        if verdict == "twice":
            self.act(now, "duplicate_store", nonce.id)
        for _ in range(2 if verdict == "twice" else 1):
            mid = self.new_id("msg")
            stamp = conv.stamp(self.stamp_ms(now))
            message = Message(mid, AGENT, conv.agent_id, conv.agent_name, text, stamp, conv.copy_of(mid, stamp, nonce))
            conv.append(message)
            self.truth.agent_stored(now, nonce)
            self.deliver(now, conv, message)

    def close(self, now: int, conv: Conversation, *, by: str = "guest") -> None:
        """End a conversation: what is under way goes out, the agent stops, the guest is told, nothing follows."""
        if conv.closed:
            return
        self.deliveries.release(now, conv)
        self.timers.cancel(conv.away)
        conv.away = None
        conv.state = CLOSED
        self.agents.withdraw(now, conv)
        self.truth.row(now, "ended", conv.id, by=by)
        conv.dialect.closed(now, conv)
        self.timers.at(now + self.config.forget_after, self._forget, conv)

    def listed(self, now: int, messages: Iterable[Message], via: str) -> None:
        """A listing with these messages was handed over."""
        for message in messages:
            if not message.copy.seen:
                self.truth.listed(now, message.copy, via)

    def handed_push(self, now: int, message: Message, key: str, via: str) -> None:
        """An event with this message was handed over in a poll's answer; `key` names the TCP connection."""
        self.truth.pushed(now, message.copy, key, via)

    def guest_left(self, now: int, conv: Conversation) -> None:
        """The guest is not connected any more: maybe the conversation is closed after a time."""
        if self.config.auto_close > 0 and not conv.closed and conv.away is None:
            conv.away = self.timers.at(now + self.config.auto_close, self._auto_close, conv)

    def guest_back(self, conv: Conversation) -> None:
        """The guest is there."""
        self.timers.cancel(conv.away)
        conv.away = None

    # ------------------------------------------------------------ inside
    def _queue(self, now: int, conv: Conversation, why: str = "") -> None:
        if conv.routable:
            self.agents.enqueue(now, conv)
        else:
            self.truth.row(now, "stalled", conv.id, why=why or "nobody_on_shift")
            if self.config.routing_timeout > 0:
                self.timers.at(now + self.config.routing_timeout, self._unroutable, conv)

    def _unroutable(self, now: int, conv: Conversation) -> None:
        if conv.state == QUEUED and not conv.routable:
            conv.dialect.unroutable(now, conv)

    def _auto_close(self, now: int, conv: Conversation) -> None:
        conv.away = None
        if conv.bound is None:
            self.close(now, conv, by="absence")

    def _join(self, conv: Conversation, key: str) -> Stream:
        stream = conv.streams.get(key)
        if stream is None:
            stream = self.truth.stream(key)
            stream.users += 1
            conv.streams[key] = stream
        return stream

    def _forget(self, now: int, conv: Conversation) -> None:
        if self.conversations.get(conv.id) is conv:
            del self.conversations[conv.id]
        conv.dialect.forget(conv)
        conv.bound = None
        for stream in conv.streams.values():
            self.truth.release(now, stream)
        conv.streams.clear()
        conv.messages.clear()
        conv.stamps.clear()
        conv.copies.clear()
