"""Messages wait for a server, in order, whatever becomes of their connections; what is turned away is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulator.engine_kit import SECOND, Bench

ONE_SECOND_EACH = {"servers": 1, "service": "1s"}


def bench_of(capacity: dict[str, Any], **table: Any) -> Bench:
    return Bench({"capacity": capacity, **table})


def health(bench: Bench) -> dict[str, Any]:
    return dict(bench.engine.health(bench.now))


def echoed(bench: Bench, conn: int) -> list[str]:
    return [text for text in bench.texts(conn) if ".g." in text]


def test_a_message_is_stored_confirmed_and_heard_after_its_turn() -> None:
    bench = bench_of(ONE_SECOND_EACH, timings=True)
    first, one = bench.routed()
    second, two = bench.routed("127.0.0.1:3001")
    bench.run(2)
    came = bench.now
    bench.message(first, one, 1)
    bench.message(second, two, 1, label="2-1")
    assert (health(bench)["in_system"], health(bench)["servers_busy"]) == (2, 1)
    assert not bench.ids("messages.sent")
    bench.run(1)
    assert bench.ids("messages.sent") == ["run.1-1.g.1"]
    assert echoed(bench, first) == ["run.1-1.g.1"]
    assert not echoed(bench, second)
    bench.run(1)
    assert echoed(bench, second) == ["run.2-1.g.1"]
    timed = {row["id"]: (row["received"], row["t"]) for row in bench.rows("timing") if row["of"] == "echo"}
    assert timed["run.2-1.g.1"] == (came, came + 2 * SECOND)  # the wait is the server's
    bench.run(3)
    assert [row["id"] for row in bench.rows("messages.delivered")] == ["run.1-1.a.1", "run.2-1.a.1"]
    assert (health(bench)["in_system"], health(bench)["served"], health(bench)["lines"]) == (0, 2, 0)


def test_without_a_table_nothing_waits() -> None:
    bench = bench_of({})
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    assert echoed(bench, conn) == ["run.1-1.g.1"]
    assert health(bench)["served"] == 0


def test_a_guest_does_not_overtake_itself_and_its_servers_go_on() -> None:
    """Two servers, the first message takes long: the second one waits for it, its server does not."""
    bench = bench_of({"servers": 2, "service": {"bimodal": {"most": "1s", "rest": "10s", "share": 1.0}}})
    draws = iter([10 * SECOND, SECOND, SECOND])
    bench.engine.intake._queue._draw = lambda at: next(draws)  # type: ignore[union-attr]
    conn, conv = bench.routed()
    other, two = bench.routed("127.0.0.1:3001")
    bench.message(conn, conv, 1)
    bench.message(conn, conv, 2)
    bench.message(other, two, 1, label="2-1")
    bench.run(2)
    assert echoed(bench, other) == ["run.2-1.g.1"]
    assert not echoed(bench, conn)
    assert health(bench)["in_system"] == 1
    bench.run(8)
    assert echoed(bench, conn) == ["run.1-1.g.1", "run.1-1.g.2"]


def test_a_later_message_over_another_connection_waits_as_well() -> None:
    bench = bench_of({"servers": 2, "service": "1s"})
    draws = iter([10 * SECOND, SECOND])
    bench.engine.intake._queue._draw = lambda at: next(draws)  # type: ignore[union-attr]
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.leave(conn)
    again = bench.socket("127.0.0.1:3005")
    bench.say(again, type="routing", conversationId=conv)
    bench.message(again, conv, 2)
    bench.run(5)
    assert not bench.ids("messages.sent")
    bench.run(6)
    assert bench.ids("messages.sent") == ["run.1-1.g.1", "run.1-1.g.2"]
    assert echoed(bench, again) == ["run.1-1.g.1", "run.1-1.g.2"]  # the first connection's went over the second


@pytest.mark.parametrize("who", ["guest", "server"])
def test_a_message_whose_connection_has_ended_was_read_all_the_same(who: str) -> None:
    bench = bench_of(ONE_SECOND_EACH)
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    if who == "guest":
        bench.leave(conn)
    else:
        bench.engine.end(bench.now, bench.engine.conns[conn], "reset", how="reset")
    bench.run(3)
    assert bench.ids("messages.sent") == ["run.1-1.g.1"]
    assert "m1" in [row["messageId"] for row in bench.listing(conv)]


def test_what_is_no_message_lines_up_unless_it_keeps_the_connection_alive() -> None:
    bench = bench_of(ONE_SECOND_EACH)
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.say(conn, type="conversation", conversationId=conv, status="closed")
    bench.say(conn, type="ping", payload="p")
    assert bench.last(conn)["type"] == "pong"
    bench.run(0.9)
    assert bench.last(conn, "conversation")["status"] != "closed"
    bench.run(0.2)
    assert echoed(bench, conn) == ["run.1-1.g.1"]
    assert bench.last(conn)["status"] == "closed"


def test_beyond_the_cliff_a_frame_is_refused_in_its_turn() -> None:
    bench = bench_of({**ONE_SECOND_EACH, "cliff": 2})
    conn, conv = bench.routed()
    for seq in (1, 2, 3):
        bench.message(conn, conv, seq)
    assert health(bench)["turned_away"] == 1
    bench.run(1.5)
    assert not bench.frames(conn, "error")  # what came before it is told first
    bench.run(1)
    errors = bench.frames(conn, "error")
    assert [(each["code"], each["messageId"]) for each in errors] == [("OVERLOADED", "m3")]
    assert [(row["row"], row["how"]) for row in bench.rows("turned_away")] == [("turned_away", "refuse")]
    assert "run.1-1.g.3" not in bench.ids("messages.sent")
    bench.message(conn, conv, 4)
    bench.run(2)
    assert bench.ids("messages.sent")[-1] == "run.1-1.g.4"


def test_beyond_the_cliff_there_may_be_silence() -> None:
    bench = bench_of({**ONE_SECOND_EACH, "cliff": 1, "cliff_answer": "silence"})
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.message(conn, conv, 2)
    bench.run(5)
    assert not bench.frames(conn, "error")
    assert bench.ids("messages.sent") == ["run.1-1.g.1"]
    assert health(bench)["lines"] == 0


def test_limits_are_asked_when_a_message_comes_in_and_what_they_refuse_needs_no_server() -> None:
    limit = {"endpoint": "frame message", "kind": "fixed_window", "limit": 1, "window": "1h"}
    bench = bench_of(ONE_SECOND_EACH, limits=[limit])
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.message(conn, conv, 2)
    assert health(bench)["in_system"] == 1
    bench.run(1.1)
    assert [each.get("code") for each in bench.frames(conn)[-2:]] == [None, "RATE_LIMITED"]
    bench.message(conn, conv, 3)
    assert bench.last(conn)["messageId"] == "m3"  # nothing of its own waits: at once
    assert len(bench.rows("refused")) == 2


def test_a_standstill_stops_the_servers() -> None:
    plan = {"name": "standstill", "at": "1s", "length": "10s"}
    bench = bench_of({"servers": 1, "service": "4s"}, faults=[plan])
    conn, conv = bench.routed()
    bench.message(conn, conv, 1)
    bench.run(11.5)
    assert not bench.ids("messages.sent")
    bench.run(2.6)
    assert bench.ids("messages.sent") == ["run.1-1.g.1"]


def test_other_frames_may_need_a_server_too() -> None:
    bench = bench_of({**ONE_SECOND_EACH, "also": ["frame typing", "POST /oauth/token"]})
    bench.request("POST", "/oauth/token", b"grant_type=client_credentials", rid="t")
    assert health(bench)["in_system"] == 1
    bench.run(1)
    assert health(bench)["served"] == 1
    gone = bench.request("POST", "/oauth/token", b"grant_type=client_credentials", rid="gone")
    bench.engine.on_request_gone(bench.now, gone)
    bench.run(2)
    assert gone not in bench.answers
    assert health(bench)["parked"] == 0


# ---------------------------------------------------------------- requests


def guest_of_longpoll(bench: Bench) -> tuple[str, str, str]:
    """Token, guest and conversation."""
    form = b"grant_type=client_credentials"
    number = bench.request("POST", "/api/v2/oauth2/token", form, authorization=bench_basic())
    token = bench.answer(number)[1]["access_token"]
    body = {"email": "a@b.c", "routing": {"queueId": "q"}}
    ids = bench.answer(bench.request("POST", "/api/v2/conversations/messaging/guest", body, token=token))[1]
    return token, ids["guestId"], ids["conversationId"]


def bench_basic() -> str:
    from base64 import b64encode

    from tests.simulator.engine_kit import SECRET

    return "Basic " + b64encode(f"guestswarm:{SECRET}".encode()).decode()


def post(bench: Bench, who: tuple[str, str, str], seq: int, **options: Any) -> int:
    token, guest, conv = who
    body = {
        "from": {"id": guest, "type": "guest"},
        "to": {"id": "q", "type": "queue"},
        "text": f"Hello [#run.1-1.g.{seq}]",
        "attachments": [],
    }
    return bench.request("POST", f"/api/v2/conversations/{conv}/messages", body, token=token, **options)


def test_a_request_with_a_message_waits_and_what_waits_behind_the_cliff_is_answered_503() -> None:
    bench = bench_of({**ONE_SECOND_EACH, "cliff": 2})
    who = guest_of_longpoll(bench)
    numbers = [post(bench, who, seq) for seq in (1, 2, 3)]
    assert bench.answers[numbers[2]].status == 503
    assert numbers[0] not in bench.answers
    bench.run(1)
    assert bench.answers[numbers[0]].status == 200
    assert numbers[1] not in bench.answers
    bench.run(1)
    assert bench.ids("messages.sent") == ["run.1-1.g.1", "run.1-1.g.2"]


def test_a_request_may_be_left_without_an_answer() -> None:
    bench = bench_of({**ONE_SECOND_EACH, "cliff": 1, "cliff_answer": "silence", "silence": "30s"})
    who = guest_of_longpoll(bench)
    post(bench, who, 1)
    number = post(bench, who, 2)
    bench.run(29)
    assert number not in bench.cuts
    bench.run(2)
    assert number in bench.cuts
    assert health(bench)["parked"] == 0


def test_a_message_whose_request_is_gone_was_read_all_the_same() -> None:
    bench = bench_of(ONE_SECOND_EACH)
    who = guest_of_longpoll(bench)
    number = post(bench, who, 1)
    bench.engine.on_request_gone(bench.now, number)
    bench.run(2)
    assert bench.ids("messages.sent") == ["run.1-1.g.1"]
    assert number not in bench.answers
