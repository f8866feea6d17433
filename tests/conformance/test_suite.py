"""The suite can fail: each check catches a dialect that is broken in just that place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.conformance import __main__ as command
from harness.conformance.books import Books
from harness.conformance.injections import TO_GUEST, Injection
from harness.conformance.runner import wrapped
from harness.conformance.suite import NonConformance, Stage, Staging, Suite, subject
from harness.core import ops
from harness.core.session import GuestSession
from tests.conformance.kit import suite


def broken(name: str, method: str, change: Callable[..., Any]) -> Suite:
    """The suite of a dialect whose sessions have one method replaced."""
    whole = suite(name)
    made = whole.subject.dialect.session
    assert isinstance(made, type)
    kind = type("Broken", (made,), {method: change})
    dialect = replace(whole.subject.dialect, session=kind)
    return Suite(replace(whole.subject, dialect=dialect), whole.staging)


def test_a_changed_frame_is_seen_in_the_transcript() -> None:
    def send(self: GuestSession, conn: int, text: str, key: int = 0) -> None:
        GuestSession._send(self, conn, text.replace('"routing"', '"Routing"'), key)

    with pytest.raises(NonConformance, match=r"scene 'routing', line 3 \(guest frame\)"):
        broken("webchat", "_send", send).client_scene("routing")


def test_a_changed_answer_is_seen_in_the_transcript() -> None:
    whole = suite("longpoll")
    half = whole.subject.half
    assert half is not None
    from harness.simulator.engine import Engine

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def answer(self: Engine, now: int, exchange: Any, status: int, *rest: Any, **named: Any) -> Any:
            return original(self, now, exchange, 201 if status == 200 else status, *rest, **named)

        return answer

    with wrapped(Engine, "answer", make), pytest.raises(NonConformance, match="answered 201"):
        whole.server_scene("token")


def test_a_decoder_that_raises_is_found() -> None:
    def on_frame(self: Any, now: int, conn: int, data: str | bytes) -> None:
        if isinstance(data, bytes):
            raise ValueError("no text")
        super(type(self), self)._on_frame(now, conn, data)

    one = broken("webchat", "_on_frame", on_frame)
    thrown = [Injection(20.0 + number, TO_GUEST, b"\x00", number) for number in range(9)]
    with pytest.raises(ValueError, match="no text"):
        one.survives(thrown)


def test_a_forgotten_outcome_is_found_at_once() -> None:
    def confirm(self: Any, now: int, op: Any, via: str, measure: str = "") -> None:
        op.closed = op.confirmed = True

    with pytest.raises(NonConformance, match="open"):
        broken("webchat", "_confirm", confirm).any_order(1)


def test_a_swallowed_copy_is_found_in_the_rows() -> None:
    def arrive(self: Any, now: int, text: str, *rest: Any) -> Any:
        return None if ".a.3" in text else super(type(self), self)._arrive(now, text, *rest)

    with pytest.raises(NonConformance, match=r"differ in .*messages\.delivered"):
        broken("longpoll", "_arrive", arrive).soak(hours=0.1, guests=5)


def test_a_stage_for_no_scene_is_refused() -> None:
    with pytest.raises(NonConformance, match="no scene greeting"):
        Suite("webchat", Staging(client={"greeting": Stage()}))


ROWS: dict[str, list[Any]] = {
    "never attempted": [ops.Closed(1, "1-1", 1, "ok", "", 0, 0, 1, "ack")],
    "second outcome": [
        ops.Invoked(1, "1-1", 1, 1, 0, 9),
        *[ops.Closed(2, "1-1", 1, "ok", "", 0, 0, 1, "ack") for _ in range(2)],
    ],
    "comes after 0": [ops.Invoked(1, "1-1", 1, 2, 0, 9)],
    "counts 2 attempts": [ops.Invoked(1, "1-1", 1, 1, 0, 9), ops.Closed(2, "1-1", 1, "ok", "", 0, 0, 2, "ack")],
    "ends twice": [ops.Ended(1, "1-1", "c", False, "")] * 2,
    "after the end": [ops.Ended(1, "1-1", "c", False, ""), ops.Invoked(1, "1-1", 1, 1, 0, 9)],
    "without a listing": [ops.Ended(1, "1-1", "c", True, "", False)],
    "and was ''": [ops.State(1, "1-0", "queued", "chatting")],
    "is no state": [ops.State(1, "1-0", "", "happy")],
    "is no measure": [ops.Sample(1, "1-1", "joy", "ok", "", 0, 0, 1, 0, "", "")],
    "before it starts": [ops.Sample(1, "1-1", "ack", "ok", "", 0, 5, 1, 0, "1", "")],
    "timed twice": [ops.Sample(1, "1-1", "ack", "ok", "", 0, 0, 1, 0, "1", "")] * 2,
    "socket .* ends twice": [ops.Connection(9, "1-1", 1, "a:1", 1, 2, 9, "server", 0, "")] * 2,
}


@pytest.mark.parametrize("trouble", ROWS)
def test_books_see_what_cannot_be(trouble: str) -> None:
    books = Books()
    *before, last = ROWS[trouble]
    for row in before:
        books.record(row)
    with pytest.raises(NonConformance, match=trouble):
        books.record(last)


def test_what_is_pending_is_neither_lost_nor_settled() -> None:
    books = Books()
    books.record(ops.Invoked(1, "1-1", 1, 1, 0, 9))
    books.balance()
    assert books.pending["1"] == {("1-1", 1)}
    with pytest.raises(NonConformance, match="without an outcome"):
        books.settled([])


def test_plain_python_can_call_it(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["longpoll", "--staging", "tests.conformance.stages.longpoll", "--seeds", "1", "--hours", "0.05"]
    assert command.main(words) == 0
    scenes = sum(len(suite("longpoll").scenes(half)) for half in ("client", "server"))
    assert capsys.readouterr().out == f"longpoll: {scenes + 3} of {scenes + 3} checks passed\n"
    assert command.main(["nonesuch"]) == 2


def test_an_unregistered_dialect_is_examined_as_an_object(tmp_path: Path) -> None:
    known = subject("webchat")
    assert known.half is not None
    half = type("Other", (known.half,), {"name": "other", "upgrade_paths": ("/other",), "routes": lambda self: []})
    other = replace(known, dialect=replace(known.dialect, name="other"), half=half, settings={"socket_path": "/other"})
    outcome = Suite(other).any_order(3, tmp_path)
    assert outcome.counts.get("messages.sent", 0) > 0


def test_the_package_can_be_imported_without_pytest_and_hypothesis() -> None:
    import subprocess
    import sys

    code = (
        "import sys; sys.modules['pytest'] = sys.modules['hypothesis'] = None\n"
        "import harness.conformance.suite, harness.conformance.__main__, harness.conformance.hand, harness.conformance.bench\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
