"""The truth check can fail: break one thing on one side, and exactly the rows that belong to it turn unequal.

Each mutant wraps one function for the length of a run in virtual time. Eight and more break the client's books, as many the
simulator or its truth. The runs are otherwise those that are equal in every row (the first test shows it).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.conformance.runner import Outcome, Plan, run, wrapped
from harness.conformance.scenarios import every_fault
from harness.core import ops
from harness.metrics.recorder import Recorder
from harness.simulator.engine import Engine
from harness.simulator.truth import TruthLog

SAME, CROSS, RESEND = "duplicated.same_connection", "duplicated.cross_connection", "duplicated.resend"


def go(folder: Path) -> Outcome:
    return run(
        Plan(("webchat", "longpoll"), guests=12, seconds=900, seed=11, simulator={**every_fault(2.0), "token_life": "5min"}), folder
    )


class Every:
    """True for the first and then each n-th time that it is asked."""

    def __init__(self, n: int) -> None:
        self.n, self.count = n, -1

    def __bool__(self) -> bool:
        self.count += 1
        return self.count % self.n == 0


# ---------------------------------------------------------------- the client's side: what gets into the journal
def recording(change: Callable[[Any], list[Any]]) -> Any:
    """A mutant of the recorder: each row becomes the rows that `change` makes of it."""

    @contextmanager
    def broken() -> Any:
        def make(original: Callable[..., None]) -> Callable[..., None]:
            def record(self: Recorder, row: Any) -> None:
                for one in change(row):
                    original(self, one)

            return record

        with wrapped(Recorder, "record", make):
            yield

    return broken


def dropping(matches: Callable[[Any], bool], n: int = 1) -> Any:
    every = Every(n)
    return recording(lambda row: [] if matches(row) and every else [row])


def only_copy() -> Callable[[Any], list[Any]]:
    """Lose every copy of some agent messages, so that they were never received."""

    def change(row: Any) -> list[Any]:
        lost = isinstance(row, ops.Arrived) and row.direction == ops.AGENT and row.seq == 5 and row.label.endswith("-1")
        return [] if lost else [row]

    return change


def twice(row: Any) -> list[Any]:
    return (
        [row, row]
        if isinstance(row, ops.Arrived) and row.channel == ops.PUSH and row.seq == 5 and row.direction == ops.AGENT
        else [row]
    )


def renamed() -> Callable[[Any], list[Any]]:
    """A second copy of a message is given another server id."""
    seen: set[tuple[str, str, int]] = set()

    def change(row: Any) -> list[Any]:
        if isinstance(row, ops.Arrived) and row.direction == ops.AGENT and row.seq == 4:
            row.mid += f"-{len(seen)}"
            seen.add((row.label, row.via, row.at_ns))
        return [row]

    return change


def swapped() -> Callable[[Any], list[Any]]:
    """Two agent messages of one conversation are written down in the wrong order."""
    held: dict[str, Any] = {}

    def change(row: Any) -> list[Any]:
        if isinstance(row, ops.Arrived) and row.direction == ops.AGENT and row.channel == ops.PUSH:
            if row.seq == 2 and row.label not in held:
                held[row.label] = row
                return []
            earlier = held.pop(row.label, None)
            if earlier is not None and row.seq == 3:
                held[row.label] = None
                return [row, earlier]
            if earlier is not None:
                return [earlier, row]
        if isinstance(row, ops.Ended | ops.Connection) and held.get(row.label):
            earlier = held.pop(row.label)
            return [earlier, row]
        return [row]

    return change


def settled_wrong(row: Any) -> list[Any]:
    if isinstance(row, ops.Closed) and row.outcome == ops.OK and row.seq == 7:
        row.outcome = ops.FAIL
    return [row]


def claimed(row: Any) -> list[Any]:
    if isinstance(row, ops.Closed) and row.outcome == ops.FAIL and row.cause == "rate_limited":
        row.outcome, row.cause = ops.OK, ""
    return [row]


def own_doing(row: Any) -> list[Any]:
    if isinstance(row, ops.Connection) and row.begun == "server":
        row.begun = "guest"
    return [row]


def doubting(row: Any) -> list[Any]:
    if isinstance(row, ops.Ended):
        row.complete = False
    return [row]


def wrong_kind(row: Any) -> list[Any]:
    if isinstance(row, ops.Sample) and row.measure == "token":
        row.endpoint = row.endpoint.removesuffix("#refresh_token")
    return [row]


CLIENT: dict[str, tuple[Any, set[str]]] = {
    "drops the only copy of a message": (recording(only_copy()), {"messages.delivered", "lost.agent"}),
    "counts a copy twice": (recording(twice), {SAME}),
    "takes a copy for a message stored twice": (recording(renamed()), {RESEND, SAME}),
    "writes two arrivals in the wrong order": (recording(swapped()), {"reordered"}),
    "swallows a 429": (dropping(lambda row: isinstance(row, ops.Refused), 3), {"refused"}),
    "misses a disconnect": (
        dropping(lambda row: isinstance(row, ops.Connection) and row.begun == "server" and not row.code, 2),
        {"disconnects"},
    ),
    "takes the server's close for its own": (recording(own_doing), {"disconnects"}),
    "calls a stored message refused": (recording(settled_wrong), {"messages.sent"}),
    "calls a refused message sent": (recording(claimed), {"messages.sent", "lost.ingest"}),
    "does not notice that an exchange was cut": (
        dropping(lambda row: isinstance(row, ops.Sample) and row.outcome == ops.INFO and row.cause == "connection_reset"),
        {"cut"},
    ),
    "never believes that it read everything back": (recording(doubting), {"lost.ingest", "lost.agent"}),
    "forgets a token": (
        dropping(lambda row: isinstance(row, ops.Sample) and row.measure == "token" and "#" not in row.endpoint, 4),
        {"tokens.client_credentials"},
    ),
    "takes a refresh for a first grant": (recording(wrong_kind), {"tokens.client_credentials", "tokens.refresh_token"}),
    "does not read its own messages back": (
        recording(lambda row: [] if isinstance(row, ops.Arrived) and row.direction == ops.GUEST and row.seq % 3 == 2 else [row]),
        {"messages.returned", "lost.ingest"},
    ),
}


# ---------------------------------------------------------------- the simulator's side: what it does, and what it says of it
def saying(row_name: str, n: int = 1, *, more: bool = False) -> Any:
    """A mutant of the truth: each n-th line of a row is left out, or written twice."""

    @contextmanager
    def broken() -> Any:
        every = Every(n)

        def make(original: Callable[..., None]) -> Callable[..., None]:
            def row(self: TruthLog, now: int, kind: str, unit: str, /, **fields: Any) -> None:
                chosen = kind == row_name and bool(every)
                if not chosen or more:
                    original(self, now, kind, unit, **fields)
                if chosen and more:
                    original(self, now, kind, unit, **fields)

            return row

        with wrapped(TruthLog, "row", make):
            yield

    return broken


@contextmanager
def pushes_twice_unseen() -> Any:
    """Frames go out twice, and nobody writes it down."""
    from harness.conformance.world import World

    every = Every(40)

    def make(original: Callable[..., bool]) -> Callable[..., bool]:
        def push(self: World, conn: int, text: str) -> bool:
            done = original(self, conn, text)
            if '"type":"message"' in text.replace(" ", "") and every:
                original(self, conn, text)
            return done

        return push

    with wrapped(World, "push", make):
        yield


@contextmanager
def loses_frames_unseen() -> Any:
    """Agents' frames that were counted as handed over never arrive, and the listing does not hold them either."""
    from harness.conformance.world import World
    from harness.simulator.conversations import Conversation

    def doomed(text: str) -> bool:
        return "-1.a.5 " in text or "-1.a.5]" in text

    def make(original: Callable[..., bool]) -> Callable[..., bool]:
        def push(self: World, conn: int, text: str) -> bool:
            return True if doomed(text) else original(self, conn, text)

        return push

    def make_append(original: Callable[..., None]) -> Callable[..., None]:
        def append(self: Conversation, message: Any) -> None:
            original(self, message)
            if doomed(message.text):
                message.text = message.text.replace("-1.a.5", "-1.x.5")

        return append

    with wrapped(World, "push", make), wrapped(Conversation, "append", make_append):
        yield


@contextmanager
def refuses_unseen() -> Any:
    """Some requests are answered 429 by something in front of the engine, which knows nothing of it."""
    from harness.conformance.world import World
    from harness.core.wire import HttpResponse

    every = Every(25)

    def make(original: Callable[..., None]) -> Callable[..., None]:
        def respond(self: World, request: int, response: HttpResponse) -> None:
            if response.status == 200 and response.body.startswith(b'{"messageId"') and every:
                response = HttpResponse(429, {}, b"{}")
            original(self, request, response)

        return respond

    with wrapped(World, "respond", make):
        yield


@contextmanager
def ends_sockets_unseen() -> Any:
    """Connections break that the engine did not break, and it takes them for left by the guest."""
    from harness.conformance.world import World

    every = Every(400)

    def make(original: Callable[..., bool]) -> Callable[..., bool]:
        def push(self: World, conn: int, text: str) -> bool:
            done = original(self, conn, text)
            socket = self.sockets.get(conn)
            if done and socket is not None and '"message"' in text and every:
                from harness.core.wire import SocketEnd

                socket.server_over = True
                socket.down.send(lambda now: self.end_for_guest(socket, SocketEnd(0, "", "connection_reset")))

                def told(now: int) -> None:
                    self.engine.on_socket_closed(now, conn, "guest", 1006)
                    self.watch_engine()

                self.at(self.now, told)
            return done

        return push

    with wrapped(World, "push", make):
        yield


@contextmanager
def forgets_to_store() -> Any:
    """Guests' messages are confirmed, counted as stored, and missing from every listing and stream."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def take(self: Engine, now: int, conv: Any, text: str, *rest: Any, **named: Any) -> Any:
            taken = original(self, now, conv, text, *rest, **named)
            if ".g.6]" in text and taken.store and conv.messages and conv.messages[-1] is taken.message:
                conv.messages.pop()
                conv.stamps.pop()
            return taken

        return take

    with wrapped(Engine, "take", make):
        yield


SIMULATOR: dict[str, tuple[Any, set[str]]] = {
    "does not say that it took a message": (saying("messages.sent", 20), {"messages.sent"}),
    "says twice that it took a message": (saying("messages.sent", 20, more=True), {"messages.sent"}),
    "does not say that it handed a message over": (saying("messages.delivered", 20), {"messages.delivered"}),
    "says twice that it returned a message": (saying("messages.returned", 20, more=True), {"messages.returned"}),
    "does not say that it pushed a copy twice": (saying(SAME), {SAME}),
    "does not say that it pushed a copy over another socket": (saying(CROSS), {CROSS}),
    "does not say that it stored a message twice": (saying(RESEND), {RESEND}),
    "does not say that it reordered": (saying("reordered"), {"reordered"}),
    "does not say that it lost a guest's message": (saying("lost.ingest"), {"lost.ingest"}),
    "does not say that it lost an agent's message": (saying("lost.agent"), {"lost.agent"}),
    "says twice that it refused": (saying("refused", 5, more=True), {"refused"}),
    "does not say that it ended a socket": (saying("disconnects", 2), {"disconnects"}),
    "does not say that it cut an exchange": (saying("cut"), {"cut"}),
    "says twice that it granted a token": (saying("tokens.client_credentials", 3, more=True), {"tokens.client_credentials"}),
    "does not say that it renewed a token": (saying("tokens.refresh_token"), {"tokens.refresh_token"}),
    "pushes frames twice, unseen": (pushes_twice_unseen, {SAME}),
    "refuses sends, unseen": (refuses_unseen, {"refused"}),
    "ends sockets, unseen": (ends_sockets_unseen, {"disconnects"}),
    "loses frames, unseen": (loses_frames_unseen, {"messages.delivered", "lost.agent"}),
}


def test_unbroken_every_row_is_equal_and_has_something_to_say(tmp_path: Path) -> None:
    outcome = go(tmp_path)
    assert not outcome.unequal(), outcome.table()
    silent = {row.name for row in outcome.rows if not row.expected}
    assert not silent, outcome.table()


@pytest.mark.parametrize("name", CLIENT)
def test_a_broken_client_is_caught_in_its_own_rows(name: str, tmp_path: Path) -> None:
    broken, rows = CLIENT[name]
    with broken():
        outcome = go(tmp_path)
    assert outcome.unequal() == rows, outcome.table()


@pytest.mark.parametrize("name", SIMULATOR)
def test_a_broken_simulator_is_caught_in_its_own_rows(name: str, tmp_path: Path) -> None:
    broken, rows = SIMULATOR[name]
    with broken():
        outcome = go(tmp_path)
    assert outcome.unequal() == rows, outcome.table()
