"""Agents: a queue before a number of places, acceptance, typing, answers, further messages, and closing."""

from __future__ import annotations

import heapq
from collections import deque
from random import Random
from typing import TYPE_CHECKING

from harness.simulator.config import AgentsTable
from harness.simulator.conversations import CONNECTED, QUEUED, Conversation

if TYPE_CHECKING:
    from harness.simulator.engine import Engine
    from harness.simulator.truth import Stream

FIRST_NUMBER = 123
PHRASES = (
    "Thank you, I am having a look.",
    "Could you tell me a little more?",
    "That should work now.",
    "Let me check with a colleague.",
    "I have found your account.",
)


class Agent:
    """One place at one agent's desk."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    @property
    def id(self) -> str:
        """The agent's id."""
        return f"agent_{FIRST_NUMBER + self.number}"


class Agents:
    """All agents and the queue before them."""

    def __init__(self, engine: Engine, table: AgentsTable, rng: Random) -> None:
        self._engine, self._table, self._rng = engine, table, rng
        self._places = table.number * table.concurrency
        self._used = 0
        self._returned: deque[Agent] = deque()
        self._queue: list[tuple[int, int, Conversation]] = []
        self._order = 0
        self._waiting = 0
        self.busy = 0
        self.settled = False
        """Nothing new is begun: no further messages, no closing."""

    @property
    def queued(self) -> int:
        """Conversations that wait for an agent and can get one."""
        return self._waiting

    def enqueue(self, now: int, conv: Conversation) -> None:
        """Put it into the queue; the engine has found that somebody can take it."""
        self._order += 1
        rank = self._order if self._table.order == "fifo" else -self._order
        heapq.heappush(self._queue, (-conv.priority, rank, conv))
        self._waiting += 1
        self._assign(now)

    def withdraw(self, now: int, conv: Conversation) -> None:
        """It ends: the agent stops and is free."""
        agent, conv.agent = conv.agent, None
        conv.unheard.clear()
        if agent is not None:
            self.busy -= 1
            self._returned.append(agent)
            self._assign(now)

    def heard(self, now: int, conv: Conversation, seq: int) -> None:
        """A numbered message of the guest's was stored."""
        if conv.state == CONNECTED:
            self._answer_later(now, conv, seq, conv.stream)
        else:
            conv.unheard.append((seq, conv.stream))

    def speak_further(self, now: int, conv: Conversation, *, immune: bool = False) -> None:
        """Let the agent say one thing that nobody asked for (`immune`: no message loss befalls it)."""
        conv.owed += 1
        conv.further += 1
        self._engine.timers.at(now + self._table.reply.sample(self._rng), self._speak, conv, 0, immune)

    # ------------------------------------------------------------ queue
    def _assign(self, now: int) -> None:
        while self._queue and (self._returned or self._used < self._places):
            _, _, conv = heapq.heappop(self._queue)
            self._waiting -= 1
            if conv.state != QUEUED or conv.agent is not None:
                continue
            if self._returned:
                agent = self._returned.popleft()
            else:
                agent = Agent(self._used % self._table.number)
                self._used += 1
            conv.agent = agent
            self.busy += 1
            self._engine.timers.at(now + self._table.accept.sample(self._rng), self._accept, conv, agent)

    def _accept(self, now: int, conv: Conversation, agent: Agent) -> None:
        if conv.state != QUEUED or conv.agent is not agent:
            return
        conv.state = CONNECTED
        conv.agent_id, conv.agent_name = agent.id, "Support Agent"
        conv.dialect.accepted(now, conv)
        unheard, conv.unheard = conv.unheard, []
        for seq, stream in unheard:
            self._answer_later(now, conv, seq, stream)

    # ------------------------------------------------------------ talk
    def _answer_later(self, now: int, conv: Conversation, seq: int, stream: Stream | None) -> None:
        conv.owed += 1
        timers = self._engine.timers
        due = now + self._table.reply.sample(self._rng)
        typing = self._table.typing.sample(self._rng)
        if typing > 0:
            timers.at(max(now, due - typing), self._type, conv)
        timers.at(due, self._speak, conv, seq, False, stream)

    def _type(self, now: int, conv: Conversation) -> None:
        if conv.state == CONNECTED:
            conv.dialect.typing(now, conv)

    def _speak(self, now: int, conv: Conversation, answers: int, immune: bool, stream: Stream | None = None) -> None:
        """`stream`: that of the message which is answered. The guest may be in another by now, where the number means another."""
        conv.owed -= 1
        if not answers:
            conv.further -= 1
        if conv.state != CONNECTED or conv.stream is None:
            return
        self._engine.agent_says(now, conv, answers if stream is conv.stream else 0, immune=immune)
        if answers and conv.state == CONNECTED:
            table, rng = self._table, self._rng
            further = table.extra > 0.0 and rng.random() < table.extra
            ends = table.close > 0.0 and rng.random() < table.close
            if not self.settled:
                if further:
                    self.speak_further(now, conv)
                if ends:
                    conv.closing = True
        if conv.closing and conv.owed == 0 and conv.state == CONNECTED:
            self._engine.timers.at(now + self._table.accept.sample(self._rng), self._end, conv)

    def _end(self, now: int, conv: Conversation) -> None:
        if conv.owed == 0 and conv.state == CONNECTED and not self.settled:
            self._engine.close(now, conv, by="agent")

    def text(self, stream_mark: str, number: int) -> str:
        """What an agent says, with its marker."""
        return PHRASES[(number - 1) % len(PHRASES)] + stream_mark
