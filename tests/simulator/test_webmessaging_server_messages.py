"""webmessaging: messages, attachments, the history and the truth, beyond the transcript."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.conformance.bench import SECOND
from harness.conformance.runner import wrapped
from harness.core.stamps import read_iso
from harness.simulator.dialects.webmessaging_settings import ACTIONS
from tests.simulator.test_engine_properties import BUSY
from tests.simulator.webmessaging_kit import DEPLOYMENT, GIVEN, HOST, TOKEN, Desk

FILE = GIVEN["attachmentId"]


# ------------------------------------------------------------ messages
def test_what_is_tolerated_and_what_is_not() -> None:
    desk = Desk()
    conn = desk.session()

    def send(message: Any, **fields: Any) -> int:
        return int(desk.ask(conn, "onMessage", message=message, **fields)["code"])

    button = {"contentType": "ButtonResponse", "buttonResponse": {"type": "QuickReply", "text": "Yes", "payload": "yes"}}
    good: list[Any] = [
        {"type": "Text", "text": "", "content": [button]},  # the mobile form of a quick reply
        {"type": "Text", "text": "x", "status": "Sent", "id": "mine", "extra": {"deep": [1, 2.5, None]}},
        {"text": "no type"},
        {"type": "Structured", "text": "a", "content": [button, button], "metadata": {"parentMessageId": "m"}},
        {"type": "Structured", "content": [{"contentType": "Form", "form": {"cannedResponseId": "c", "response": []}}]},
    ]
    assert [send(message, time="2024-01-01T00:00:00.000Z", unknown=1) for message in good] == [200] * 5
    bad: list[Any] = [
        {},
        "text",
        {"type": "Text"},
        {"type": "Dance", "text": "x"},
        {"type": "Text", "text": 5},
        {"type": "Text", "text": "x", "content": "y"},
        {"type": "Text", "text": "x", "content": ["y"]},
        {"type": "Text", "text": "x", "metadata": {"a": 1}},
        {"type": "Event"},
        {"type": "Event", "events": [{}]},
        {"type": "Event", "events": [{"eventType": "Presence", "presence": {"type": "Disconnect"}}]},
        {"type": "Text", "text": "x", "content": [{"contentType": "Attachment", "attachment": {}}]},
        {"type": "Text", "text": "x", "channel": {"metadata": {"customAttributes": [1]}}},
    ]
    assert [send(message) for message in bad] == [400] * len(bad)


def test_attributes_of_both_places_are_one_map() -> None:
    desk = Desk({"max_custom_data_bytes": 10})
    conn = desk.session()

    def places(outer: dict[str, Any], inner: dict[str, Any]) -> int:
        message = {"type": "Text", "text": "x", "channel": {"metadata": {"customAttributes": inner}}}
        return int(desk.ask(conn, "onMessage", message=message, channel={"metadata": {"customAttributes": outer}})["code"])

    assert places({"k": "123456789"}, {}) == 200
    assert places({"k": "123456789"}, {"k": "1"}) == 200
    assert places({"k": "12345"}, {"l": "12345"}) == 4013
    assert places({"ä": "1234567"}, {"l": ""}) == 200  # 9 bytes and 1
    assert places({"ä": "12345678"}, {"l": ""}) == 4013


def test_the_text_is_measured_in_bytes() -> None:
    desk = Desk()
    conn = desk.session()
    assert desk.ask(conn, "onMessage", message={"type": "Text", "text": "ä" * 2048})["code"] == 200
    answer = desk.ask(conn, "onMessage", message={"type": "Text", "text": "ä" * 2048 + "x"})
    assert answer["code"] == 4011
    assert "4097" in answer["body"]
    assert "4096" in answer["body"]


def test_times_are_unique_and_rise_in_stored_order_even_when_pushes_do_not() -> None:
    desk = Desk(
        {},
        {
            "agents": {"accept": "1ms", "reply": "3ms±100%", "typing": 0, "extra": 0.5},
            "faults": [{"name": "reorder", "share": 0.5}],
        },
    )
    conn = desk.session()
    for number in range(1, 40):
        desk.text(conn, number)
        desk.run(0.002)
    desk.run(20)
    bodies = desk.messages(conn)
    times = [body["channel"]["time"] for body in bodies]
    assert len(set(times)) == len(times)
    assert times != sorted(times)  # out of order, as the fault wants it
    listed = [entity["channel"]["time"] for entity in desk.history(desk.jwt(conn), "?pageSize=500")["entities"]]
    assert listed == sorted(listed, reverse=True)
    assert set(times) == set(listed)


def test_no_time_lies_in_the_future() -> None:
    """A time that was moved on for the sake of another one is waited for, by pushes and by the history."""
    desk = Desk({}, {"agents": {"accept": "1h"}, "latency": {"echo": "0s", "list": "0s"}})
    conn = desk.session()
    jwt = desk.jwt(conn)
    engine, plain, ahead = desk.engine, desk.engine.push, []

    def push(now: int, to: Any, data: str | bytes, *rest: Any, **more: Any) -> None:
        body = json.loads(data)["body"]
        ahead.append(read_iso(body["channel"]["time"]) - (now + engine.wall_offset_ns))
        plain(now, to, data, *rest, **more)

    with wrapped(engine, "push", lambda _: push):
        for number in range(1, 6):
            desk.say(conn, action="onMessage", token=TOKEN, message={"type": "Text", "text": f"x [#run.1-1.g.{number}]"})
        asked = desk.now
        first = desk.history(jwt)["entities"][0]["channel"]["time"]
        assert read_iso(first) <= desk.now + engine.wall_offset_ns
        assert desk.now <= asked + 6_000_000
        desk.run(1)
    assert len(ahead) == 5
    assert max(ahead) <= 0
    assert len(desk.messages(conn)) == 5


def test_shares_of_offers_and_of_the_bot() -> None:
    own = {"quick_replies": 0.2, "cards": 0.2, "carousels": 0.2, "date_pickers": 0.2, "list_pickers": 0.1, "bot": 0.5}
    desk = Desk(own)
    conn = desk.session()
    for _ in range(400):
        desk.agent()
    desk.run(1)  # no two times are equal, and none lies in the future
    bodies = desk.messages(conn)
    kinds = Counter(body["content"][0]["contentType"] if "content" in body else "" for body in bodies)
    assert set(kinds) == {"", "QuickReply", "Card", "Carousel", "DatePicker", "ListPicker"}
    assert 50 < kinds["Card"] < 110
    assert {body["type"] for body in bodies} == {"Text", "Structured"}
    assert all(body["text"].endswith("]") for body in bodies)
    plain = Counter(body["originatingEntity"] for body in bodies if body["type"] == "Text")
    assert set(plain) == {"Bot", "Human"}


def test_agents_type_twelve_times_a_minute_at_most() -> None:
    desk = Desk()
    conn = desk.session()
    for _ in range(20):
        desk.half.typing(desk.now, desk.conv())
    assert len(desk.messages(conn)) == 12
    desk.run(61)
    desk.half.typing(desk.now, desk.conv())
    assert len(desk.messages(conn)) == 13


def test_typing_is_passed_on_and_neither_kept_nor_counted_as_a_word() -> None:
    desk = Desk({"duration": "60s"})
    first, second = desk.session(), desk.session(peer="127.0.0.1:3001")
    expires = desk.half.sessions.expires_s(desk.of())
    desk.run(5)
    desk.ask(first, "onMessage", message={"type": "Event", "events": [{"eventType": "Typing", "typing": {"type": "On"}}]})
    assert [len(desk.messages(conn)) for conn in (first, second)] == [1, 1]
    assert desk.half.sessions.expires_s(desk.of()) == expires
    assert desk.history(desk.jwt(first))["total"] == 0


def test_join_opens_the_conversation() -> None:
    desk = Desk()
    conn = desk.session()
    desk.ask(conn, "onMessage", message={"type": "Event", "events": [{"eventType": "Presence", "presence": {"type": "Join"}}]})
    assert len(desk.engine.conversations) == 1
    assert desk.configure(conn)["body"]["autoStarted"] is True
    assert desk.history(desk.jwt(conn))["entities"][0]["events"][0]["presence"]["type"] == "Join"


def test_a_resend_is_stored_again_or_echoed_again() -> None:
    for stores, total in ((True, 2), (False, 1)):
        desk = Desk({}, {"server_stores_resend": stores})
        conn = desk.session()
        ids = {desk.text(conn, 1)["body"]["id"], desk.text(conn, 1)["body"]["id"]}
        assert len(ids) == total
        assert desk.history(desk.jwt(conn))["total"] == total


# ------------------------------------------------------------ attachments
def test_an_upload_link_is_good_once_for_its_file_with_its_headers_and_for_a_while() -> None:
    desk = Desk()
    conn = desk.session()
    offer = desk.ask(conn, "onAttachment", attachmentId=FILE, fileName="a.png", fileType="image/png", fileSize=3)["body"]
    path, tagging = offer["url"].partition(HOST)[2], offer["headers"]["x-amz-tagging"]

    def put(path: str, **headers: str) -> int:
        return desk.answers[desk.request("PUT", path, b"abc", **headers)].status

    assert put(path) == 403
    assert put(path.replace(FILE, "other"), x_amz_tagging=tagging) == 403
    assert put(path + "0", x_amz_tagging=tagging) == 403
    assert put(path, x_amz_tagging=tagging) == 200
    assert put(path, x_amz_tagging=tagging) == 403
    late = desk.ask(conn, "onAttachment", fileName="b.png", fileType="image/png", fileSize=3)["body"]
    desk.run(601)
    assert put(late["url"].partition(HOST)[2], x_amz_tagging=tagging) == 403


def test_a_download_link_grows_old_and_can_be_had_anew() -> None:
    desk = Desk()
    conn, other = desk.session(), desk.session(peer="127.0.0.1:3001")
    desk.upload(conn, FILE)
    for one in (conn, other):
        assert desk.last(one)["class"] == "UploadSuccessEvent"
    path = desk.last(conn)["body"]["downloadUrl"].partition(HOST)[2]
    number = desk.request("GET", path)
    assert (desk.answers[number].status, desk.answers[number].body) == (200, b"content")
    assert desk.answers[number].headers["content-type"] == "image/png"
    desk.run(601)
    assert desk.answers[desk.request("GET", path)].status == 403
    fresh = desk.ask(conn, "getAttachment", attachmentId=FILE)["body"]
    assert fresh["headers"] == {}
    assert desk.answers[desk.request("GET", fresh["url"].partition(HOST)[2])].status == 200


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"fileSize": None}, 4020),
        ({"fileName": None}, 4020),
        ({"fileSize": "3"}, 400),
        ({"fileSize": True}, 400),
        ({"attachmentId": 5}, 400),
        ({"fileName": "a/b.png"}, 4004),
        ({"fileName": ".png"}, 4004),
        ({"fileName": "a\n.png"}, 4004),
        ({"fileName": "tool.EXE"}, 4001),
        ({"fileType": "text/html"}, 4001),
        ({"fileSize": 0}, 4102),
        ({"fileSize": 2049}, 4002),
    ],
)
def test_refused_uploads(fields: dict[str, Any], code: int) -> None:
    desk = Desk({"file_types": ["image/*", "text/plain"], "max_file_kb": 2})
    conn = desk.session()
    asked = {"attachmentId": FILE, "fileName": "a.png", "fileType": "image/png", "fileSize": 3, **fields}
    answer = desk.ask(conn, "onAttachment", **asked)
    assert (answer["body"]["errorCode"] if answer["class"] == "GenerateUrlError" else answer["code"]) == code


@pytest.mark.parametrize(("data", "code"), [(b"", 4102), (b"x" * 2049, 4002)])
def test_content_that_is_not_what_was_said(data: bytes, code: int) -> None:
    desk = Desk({"max_file_kb": 2})
    conn = desk.session()
    offer = desk.ask(conn, "onAttachment", attachmentId=FILE, fileName="a.png", fileType="image/png", fileSize=3)["body"]
    desk.request("PUT", offer["url"].partition(HOST)[2], data, x_amz_tagging=offer["headers"]["x-amz-tagging"])
    desk.run(1)
    assert desk.last(conn)["body"]["errorCode"] == code
    content = [{"contentType": "Attachment", "attachment": {"id": FILE}}]
    assert desk.ask(conn, "onMessage", message={"content": content})["code"] == 4010


def test_an_attachment_is_the_sessions_and_is_sent_or_deleted_once() -> None:
    desk = Desk()
    conn, stranger = desk.session(), desk.session("another", peer="127.0.0.1:3001")
    desk.upload(conn, FILE)
    content = [{"contentType": "Attachment", "attachment": {"id": FILE}}]
    assert desk.ask(stranger, "onMessage", "another", message={"content": content})["code"] == 4009
    assert desk.ask(stranger, "getAttachment", "another", attachmentId=FILE)["code"] == 4009
    assert desk.ask(conn, "onMessage", message={"content": content})["code"] == 200
    assert desk.ask(conn, "onMessage", message={"content": content})["code"] == 4009
    assert desk.ask(conn, "deleteAttachment", attachmentId=FILE)["code"] == 4009
    assert desk.ask(conn, "deleteAttachment")["code"] == 4020


# ------------------------------------------------------------ history
def test_pages_from_the_newest_on() -> None:
    desk = Desk({}, {"agents": {"accept": "1h"}})
    conn = desk.session()
    for number in range(1, 8):
        desk.text(conn, number)
    jwt = desk.jwt(conn)
    pages = [desk.history(jwt, f"?pageSize=3&pageNumber={number}") for number in (1, 2, 3, 4)]
    assert [[entity["text"][-2] for entity in page["entities"]] for page in pages] == [["7", "6", "5"], ["4", "3", "2"], ["1"], []]
    assert {(page["total"], page["pageCount"], page["pageSize"]) for page in pages} == {(7, 3, 3)}
    for query in ("?pageSize=0", "?pageSize=x", "?pageNumber=-1", "?pageNumber=99999999999"):
        assert desk.answer(desk.request("GET", f"/api/v2/webmessaging/messages{query}", token=jwt))[0] == 400


def test_whose_history_and_for_how_long() -> None:
    desk = Desk({"jwt_life": "60s"})
    conn, other = desk.session(), desk.session("another", peer="127.0.0.1:3001")
    desk.text(conn, 1)
    assert desk.history(desk.jwt(other, "another"))["total"] == 0
    jwt = desk.jwt(conn)
    desk.run(61)
    for shown in (jwt, jwt[:-2], desk.sign_in()["jwt"], "no"):
        assert desk.answer(desk.request("GET", "/api/v2/webmessaging/messages", token=shown))[0] == 401
    fresh = desk.jwt(conn)
    desk.ask(conn, "onMessage", message={"type": "Event", "events": [{"eventType": "Presence", "presence": {"type": "Clear"}}]})
    assert desk.answer(desk.request("GET", "/api/v2/webmessaging/messages", token=fresh))[0] == 401


def test_history_goes_over_conversations_and_forgets_with_them() -> None:
    desk = Desk({}, {"forget_after": "60s", "agents": {"accept": "1h"}})
    conn = desk.session()
    desk.text(conn, 1)
    desk.configure(conn, startNew=True)
    desk.text(conn, 2, label="1-2")
    assert desk.history(desk.jwt(conn))["total"] == 2
    assert len({conv.id for conv in desk.engine.conversations.values()}) == 2
    desk.run(61)
    assert desk.history(desk.jwt(conn))["total"] == 2  # as long as the guest is there
    desk.leave(conn)
    desk.run(50)
    again = desk.session()
    desk.run(50)
    assert desk.history(desk.jwt(again))["total"] == 2
    desk.leave(again)
    desk.run(61)
    assert desk.history(desk.jwt(desk.session()))["total"] == 2  # or as long as one of its conversations goes on


def test_a_session_is_forgotten_whole_or_not_at_all() -> None:
    """Numbers must not begin anew for a guest that goes on: whom the server has forgotten, it tells so."""
    desk = Desk({}, {"forget_after": "1s"})
    conn = desk.session()
    jwt = desk.jwt(conn)
    desk.text(conn, 1)
    desk.run(5)
    desk.leave(conn)
    desk.run(5)
    again = desk.open()
    assert desk.configure(again)["body"]["newSession"] is False  # the conversation goes on
    desk.leave(again)
    desk.engine.close(desk.now, desk.conv(), by="agent")
    desk.run(5)
    assert not desk.truth.streams
    assert desk.answer(desk.request("GET", "/api/v2/webmessaging/messages", token=jwt))[0] == 401
    late = desk.open()
    assert desk.configure(late)["body"]["newSession"] is True
    assert desk.history(desk.jwt(late))["total"] == 0


def test_what_comes_late_for_a_session_that_is_forgotten_is_no_message() -> None:
    """A socket that was read slowly, and ended long ago: what was written on it does not open the conversation anew."""
    desk = Desk({}, {"forget_after": "1s"})
    conn = desk.session()
    desk.text(conn, 1)
    desk.engine.close(desk.now, desk.conv(), by="agent")
    desk.half.on_gone(desk.now, desk.engine.conns[conn])
    desk.run(5)
    assert desk.text(conn, 2)["code"] == 4007
    assert not desk.engine.conversations


def test_an_answer_to_an_earlier_conversations_message_is_none_in_the_next_one() -> None:
    """What was held up on an old socket may come in the midst of the token's next conversation, where its number means another."""
    desk = Desk({}, {"agents": {"accept": "1ms", "reply": "2s", "typing": 0}})
    conn = desk.session()
    desk.text(conn, 30)
    desk.run(1)
    desk.text(conn, 1, label="1-2")
    desk.run(5)
    assert [body["text"].rpartition("#")[2] for body in desk.messages(conn) if body["direction"] == "Outbound"] == [
        "run.1-2.a.1]",
        "run.1-2.a.2 re 1]",
    ]


def test_as_long_as_nobody_was_told_of_a_session_it_is_a_new_one() -> None:
    desk = Desk({"silent": 1.0})
    conn = desk.open()
    desk.say(conn, action="configureSession", deploymentId=DEPLOYMENT, token=TOKEN)
    desk.half.door._settings = replace(desk.half.door._settings, silent=0.0)
    assert desk.configure(desk.open())["body"]["newSession"] is True
    assert desk.configure(desk.open())["body"]["newSession"] is False


def test_numbers_go_on_after_a_conversation_that_is_forgotten() -> None:
    desk = Desk({}, {"forget_after": "20s"})
    conn = desk.session()
    desk.text(conn, 1)
    desk.run(5)
    desk.engine.close(desk.now, desk.conv(), by="agent")  # of which the guest hears nothing
    desk.run(30)
    desk.text(conn, 2)
    desk.run(5)
    assert [body["text"].rpartition("#")[2] for body in desk.messages(conn)] == [
        "run.1-1.g.1]",
        "run.1-1.a.1 re 1]",
        "run.1-1.g.2]",
        "run.1-1.a.2 re 2]",
    ]
    desk.leave(conn)
    desk.engine.close(desk.now, desk.conv())
    desk.run(50)
    assert not desk.truth.streams


# ------------------------------------------------------------ truth
def recount(desk: Desk) -> Counter[str]:
    """What the rows must say, counted anew from what was really pushed."""
    seen: dict[str, set[int]] = defaultdict(set)
    counts: Counter[str] = Counter()
    for conn, frames in desk.pushed.items():
        for data in frames:
            frame = json.loads(data)
            text = frame["body"].get("text", "") if isinstance(frame["body"], dict) else ""
            if frame["class"] != "StructuredMessage" or " [#" not in text or frame["type"] != "message":
                continue
            unit = f"{text[text.rfind('#') + 1 : -1].partition(' re ')[0]}/{frame['body']['id']}"
            if not seen[unit]:
                counts["messages.returned" if ".g." in unit else "messages.delivered"] += 1
            elif conn in seen[unit]:
                counts["duplicated.same_connection"] += 1
            else:
                counts["duplicated.cross_connection"] += 1
            seen[unit].add(conn)
    return counts


@pytest.mark.parametrize("connections", [1, 2, 3])
def test_rows_are_what_was_pushed(connections: int) -> None:
    faults = [{"name": "duplicate", "share": 0.3, "gap": "50ms", "direction": "both"}]
    desk = Desk({}, {"faults": faults, "agents": {"accept": "1s", "reply": "1s±50%", "typing": 0, "extra": 0.3}})
    conns = [desk.session(peer=f"127.0.0.1:{3000 + number}") for number in range(connections)]
    for number in range(1, 30):
        desk.text(conns[number % connections], number)
        desk.run(0.3)
    desk.run(20)
    counts, rows = recount(desk), Counter(row["row"] for row in desk.rows())
    assert counts["messages.returned"] == 29
    for name in ("messages.returned", "messages.delivered", "duplicated.same_connection", "duplicated.cross_connection"):
        assert rows[name] == counts[name], name
    assert rows["messages.sent"] == 29
    assert (rows["duplicated.cross_connection"] > 0) == (connections > 1)


def test_what_was_not_pushed_is_listed() -> None:
    desk = Desk({}, {"faults": [{"name": "lose_push", "share": 1.0, "direction": "both"}]})
    conn = desk.session()
    desk.text(conn, 1)
    desk.run(5)
    assert desk.messages(conn) == []
    assert not desk.ids("messages.returned") + desk.ids("messages.delivered")
    desk.history(desk.jwt(conn))
    assert desk.ids("messages.returned") == ["run.1-1.g.1"]
    assert desk.ids("messages.delivered") == ["run.1-1.a.1"]
    assert "lost.agent" not in desk.seal()


def test_a_phantom_is_echoed_and_not_listed() -> None:
    desk = Desk({}, {"faults": [{"name": "lose_ingest", "share": 1.0}]})
    conn = desk.session()
    assert desk.text(conn, 1)["body"]["direction"] == "Inbound"
    assert desk.history(desk.jwt(conn))["total"] == 0
    assert desk.seal()["lost.ingest"] == 1


@pytest.mark.parametrize(
    "kind", ["wrong_id", "unknown_type", "malformed", "oversize", "binary", "corrupt", "reset", "tear", "stall"]
)
def test_each_fault_of_a_delivery_reaches_every_connection(kind: str) -> None:
    plan: dict[str, Any] = {"name": kind, "share": 1.0, **({"length": "1s"} if kind == "stall" else {})}
    desk = Desk({}, {"faults": [plan]})
    conns = [desk.session(peer=f"127.0.0.1:{3000 + number}") for number in range(2)]
    desk.text(conns[0], 1)
    desk.run(10)
    assert desk.acts(kind)
    if kind in ("reset", "tear"):
        assert [desk.ended[conn][0] for conn in conns] == [kind, kind]
    elif kind != "stall":
        assert len(desk.pushed[conns[1]]) == len(desk.pushed[conns[0]])
    desk.seal()


def crowd(seed: int, turns: int = 300) -> Desk:
    """Ten guests who do whatever comes to mind, under all faults at once."""
    rng = Random(seed)
    own = {
        "disconnect": "ReadOnly",
        "upload_failures": 0.3,
        "cards": 0.2,
        "mishaps": {"5000": 0.02},
        "silent": 0.02,
        "duration": "90s",
    }
    desk = Desk(own, {**BUSY, "limit_sets": ["webmessaging"]}, seed=seed)
    conns: list[tuple[int, str]] = []
    clear = {"type": "Event", "events": [{"eventType": "Presence", "presence": {"type": "Clear"}}]}
    for turn in range(1, turns):
        conns = [item for item in conns if item[0] not in desk.ended]
        if len(conns) < 10 or rng.random() < 0.1:
            token = f"token-{rng.randrange(30)}"
            number, refused = desk.upgrade(f"/v1?deploymentId={DEPLOYMENT}", f"127.0.0.1:{3000 + turn}", host=HOST)
            if refused is None:
                conns.append((number, token))
                desk.say(number, action="configureSession", deploymentId=DEPLOYMENT, token=token, startNew=rng.random() < 0.3)
        elif rng.random() < 0.05:
            desk.leave(conns[0][0])
        else:
            conn, token = rng.choice(conns)
            kind = rng.choice(["onMessage"] * 6 + ["getJwt", "echo", "closeSession", "clear", "onAttachment"])
            message = {"type": "Text", "text": f"Hello [#run.{token}.g.{turn}]"}
            fields: dict[str, Any] = {"message": clear if kind == "clear" else message, "closeAllConnections": True}
            fields |= {"fileName": "a.png", "fileType": "image/png", "fileSize": 3}
            desk.say(conn, action="onMessage" if kind == "clear" else kind, token=token, tracingId=f"t{turn}", **fields)
            for frame in desk.frames(conn)[-1:]:
                if frame["class"] == "JwtResponse":
                    desk.request("GET", "/api/v2/webmessaging/messages?pageSize=50", token=frame["body"]["jwt"])
                elif frame["class"] == "PresignedUrlResponse":
                    url = frame["body"]["url"].partition(HOST)[2]
                    desk.request("PUT", url, b"abc", x_amz_tagging=frame["body"]["headers"]["x-amz-tagging"])
        desk.run(rng.random())
    for conn, _ in conns:
        desk.leave(conn)
    desk.engine.settle(desk.now)
    desk.run(400)
    desk.seal()
    return desk


@pytest.mark.parametrize("seed", range(6))
def test_everything_at_once_is_repeatable_and_leaves_nothing_behind(seed: int) -> None:
    desk = crowd(seed)
    assert desk.lines == crowd(seed).lines
    assert len(desk.ids("messages.sent")) > 20
    health = desk.engine.health(desk.now)
    assert (health["conversations"], health["kept"], health["connections"], health["backlog"]) == (0, 0, 0, 0)
    assert not any(session.conns or session.talks for session in desk.half.sessions.by_digest.values())


# ------------------------------------------------------------ total over garbage
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.sampled_from(
    [
        "message",
        "deploymentId",
        "tracingId",
        "channel",
        "data",
        "attachmentId",
        "fileName",
        "fileType",
        "fileSize",
        "closeAllConnections",
        "startNew",
        "time",
    ]
)
WORDS = st.sampled_from(["Attachment", "Typing", "Presence", {"id": FILE}, {"type": "Join"}, {"type": "Clear"}])
ITEMS = st.dictionaries(st.sampled_from(["contentType", "eventType", "attachment", "presence", "typing"]), JSON | WORDS, max_size=3)
MESSAGES = st.dictionaries(
    st.sampled_from(["type", "text", "content", "events", "metadata", "channel"]),
    JSON | st.sampled_from(["Text", "Event", "Structured"]) | st.lists(ITEMS, max_size=2),
    max_size=4,
)
FRAMES = st.builds(
    lambda action, token, rest, message: {"action": action, "token": token, **rest, **message},
    st.sampled_from([*ACTIONS, "dance"]) | JSON,
    st.just(TOKEN) | JSON,
    st.dictionaries(NAMES, JSON | st.sampled_from([DEPLOYMENT, FILE, "a.png", "image/png", 3, True]), max_size=5),
    st.fixed_dictionaries({}, optional={"message": MESSAGES}),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FRAMES.map(json.dumps) | JSON.map(json.dumps) | st.text(max_size=40) | st.binary(max_size=40), max_size=25))
def test_no_frame_raises(frames: list[str | bytes]) -> None:
    desk = Desk({"duration": "60s", "connections_max": 2}, {"limit_sets": ["webmessaging"]})
    conns = [desk.session(), desk.open(peer="127.0.0.1:3001")]
    for number, data in enumerate(frames):
        conn = conns[number % 2]
        if conn not in desk.ended:
            desk.frame(conn, data)
        desk.run(0.5)
    for pushed in desk.pushed.values():
        for data in pushed:
            assert isinstance(data, str)
            frame = json.loads(data, parse_constant=lambda name: pytest.fail(name))
            assert {"type", "class", "code", "body"} <= set(frame)
    desk.run(100)
    desk.seal()


PATHS = st.sampled_from(
    [
        ("GET", f"/webdeployments/v1/deployments/{DEPLOYMENT}/config.json"),
        ("GET", "/webdeployments/v1/deployments/%00%ff/domains.json"),
        ("GET", "/api/v2/webmessaging/messages"),
        ("POST", "/api/v2/webdeployments/token/oauthcodegrantjwtexchange"),
        ("POST", "/api/v2/webdeployments/token/refresh"),
        ("DELETE", "/api/v2/webdeployments/token/revoke"),
        ("POST", f"/api/v2/webmessaging/deployments/{DEPLOYMENT}/pushdevices/x"),
        ("POST", "/oauth/token"),
        ("GET", "/api/v2/routing/queues"),
        ("GET", "/api/v2/conversations/messages/x/details"),
        ("PATCH", "/api/v2/conversations/messages/x"),
        ("PUT", f"/uploads/{FILE}"),
        ("GET", f"/downloads/{FILE}"),
    ]
)
QUERIES = st.dictionaries(st.sampled_from(["pageSize", "pageNumber", "signature"]), st.text("0129-x%&", max_size=6), max_size=3)


@settings(max_examples=100, deadline=None)
@given(
    PATHS,
    QUERIES,
    JSON.map(json.dumps).map(str.encode) | st.binary(max_size=60),
    st.text(st.characters(max_codepoint=255), max_size=40),
)
def test_every_request_is_answered(path: tuple[str, str], query: dict[str, str], body: bytes, authorization: str) -> None:
    desk = Desk()
    conn = desk.session()
    text = "&".join(f"{name}={value}" for name, value in query.items())
    for shown in (authorization, f"Bearer {authorization}", f"Basic {authorization}", f"bearer {desk.jwt(conn)}"):
        number = desk.request(path[0], f"{path[1]}?{text}", body, authorization=shown)
        assert desk.answers[number].status < 500
    assert desk.now >= SECOND
