"""Locust users that are guests. Without tasks a user follows the scenario; with tasks it says what they say.

class Shopper(GuestUser):
    dialect = "webchat"

    @task
    def ask(self) -> None:
        reply = self.say("Where is my parcel?")
"""

from __future__ import annotations

from locust import User

import time
from dataclasses import dataclass
from typing import Any

import gevent
from gevent.event import AsyncResult, Event

from harness.core import ops
from harness.core.ops import Observer, Row, Sample

from harness.swarm.engines.greenlet import GreenletGuest
from harness.swarm.load import LoadRun, Place

_PATIENCE_S = 1.0
"""Beyond the scenario's reply time-out, for a task that waits."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An agent's answer to something that a task said."""

    seq: int
    response_s: float
    """From the moment the task wanted to say it."""
    service_s: float
    """From the moment it was written."""


class Ear:
    """An observer that also tells a waiting task how its message fared."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.waiting: dict[tuple[str, int], AsyncResult[Reply | None]] = {}
        self.chatting = Event()

    def record(self, row: Row) -> None:
        """Pass the row on, and look at it."""
        self._observer.record(row)
        if isinstance(row, Sample):
            if row.measure == "reply" and (result := self.waiting.pop((row.label, int(row.ref)), None)) is not None:
                good = row.outcome == ops.OK
                result.set(
                    Reply(int(row.ref), (row.end_ns - row.intended_ns) / 1e9, (row.end_ns - row.start_ns) / 1e9) if good else None
                )
        elif isinstance(row, ops.Closed):
            if row.outcome == ops.FAIL and (result := self.waiting.pop((row.label, row.seq), None)) is not None:
                result.set(None)
        elif isinstance(row, ops.State):
            if row.after == "chatting":
                self.chatting.set()
            else:
                self.chatting.clear()


def follow_the_scenario(user: GuestUser) -> None:
    """The task of a user without tasks: be a guest of the scenario until stopped."""
    user.live()


class GuestUser(User):
    """One guest slot. Set `dialect`; add `@task`s to decide yourself what is said."""

    abstract = True
    dialect = ""

    load: LoadRun | None = None
    """The run that is on; set by whoever hosts it."""

    scripted = True
    """Whether the scenario decides what is said; False as soon as there are tasks."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [task for task in cls.tasks if task is not follow_the_scenario]
        cls.scripted = not own
        cls.tasks = own or [follow_the_scenario]

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._place: Place | None = None
        self._guest: GreenletGuest | None = None
        self._driver: gevent.Greenlet[..., Any] | None = None
        self._ear: Ear | None = None

    # ---------------------------------------------------------------- life, as Locust calls it
    def on_start(self) -> None:
        """Wait for the guest's arrival. A subclass that has an `on_start` of its own calls this first."""
        if self.load is None:
            Event().wait()  # the run could not begin, as has been said: Locust is about to stop us
        if not self.scripted:
            self._arrive()

    def live(self) -> None:
        """Arrive, be a guest, leave; in the open model again and again, as somebody else each time."""
        load = self.load
        assert load is not None
        while True:
            self._arrive().run()
            self._part()
            if not load.visits:
                Event().wait()  # finished for good in this run: the slot stays taken, as Locust's counts have it

    def on_stop(self) -> None:
        """Leave, within bounds, also when Locust has killed the user."""
        load = self.load
        if load is None:
            return
        if self._place is not None:
            load.give_up_place(self._place)
        guest = self._guest
        if guest is not None and not guest.finished:
            driver = self._driver or gevent.spawn(guest.run)
            load.leave(guest)
            driver.join(1)
        self._part()

    def _arrive(self) -> GreenletGuest:
        load = self.load
        assert load is not None
        place = self._place = Place(self.dialect, scripted=self.scripted, listen=None if self.scripted else self._listen)
        load.take_place(place)
        place.arrived.wait()
        guest = self._guest = place.guest
        assert guest is not None
        if not self.scripted:
            self._driver = gevent.spawn(guest.run)
        return guest

    def _listen(self, observer: Observer) -> Observer:
        self._ear = Ear(observer)
        return self._ear

    def _part(self) -> None:
        if self.load is not None and self._place is not None:
            self.load.gone(self._place)
        self._place = self._guest = None

    # ---------------------------------------------------------------- for tasks
    def wait_until_chatting(self, timeout_s: float | None = None) -> bool:
        """Wait for an agent. False: none came in time, or the guest is gone."""
        if self._ear is None or self._guest is None:
            return False
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._guest.finished:
            left = 0.5 if deadline is None else min(deadline - time.monotonic(), 0.5)
            if left <= 0:
                return False
            if self._ear.chatting.wait(left):
                return True
        return False

    def say(self, text: str) -> Reply | None:
        """Say something and wait for the agent's answer to it. None: it failed, no answer came in time, or nobody listens.

        Every message and its outcome is in the report either way; a task need not look at what comes back.
        """
        guest, ear, load = self._guest, self._ear, self.load
        if guest is None or ear is None or load is None or guest.finished:
            return None
        result: AsyncResult[Reply | None] = AsyncResult()
        session = guest.session

        def speak(now: int) -> None:
            op = session.say(now, text)
            if op is None or op.replied:
                result.set(None)
            else:
                ear.waiting[op.label, op.seq] = result

        guest.call(speak)
        patience = session.behaviour.reply_timeout / 1e9 + _PATIENCE_S
        while patience > 0 and not guest.finished:
            step = min(patience, 0.5)
            patience -= step
            try:
                reply: Reply | None = result.get(timeout=step)
                return reply
            except gevent.Timeout:
                continue
        return None


def guest_user(dialect: str, share: float = 1.0) -> type[GuestUser]:
    """A user class for a dialect, weighted as in a scenario's mix."""
    name = f"{dialect.title().replace('_', '')}User"
    return type(name, (GuestUser,), {"dialect": dialect, "weight": share, "abstract": False, "__doc__": f"A guest of {dialect}."})
