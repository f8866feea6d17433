"""webmessaging's wire format: encoders of what a guest sends, total decoders of what the server sends. No state."""

from __future__ import annotations

from typing import Any

import msgspec

from harness.core.events import Delivered, Listing, Typing, Unrecognised, Violation
from harness.core.reading import load_frame, load_object, name, path_id, seconds_ns, token
from harness.core.stamps import read_iso
from harness.errors import FailureCause

HEALTH_TRACE = "SGVhbHRoQ2hlY2tNZXNzYWdlSWQ="
"""The fixed tracing id of the mobile SDK's health checks."""
MAX_TEXT = 65536
_FAR = 10**12


def _write(frame: dict[str, Any]) -> str:
    return msgspec.json.encode(frame).decode()


# -------------------------------------------------------------------- what the guest writes
def request(action: str, session: str, trace: str, **fields: Any) -> str:
    """Any request: envelope and the action's own fields."""
    return _write({"action": action, "token": session, "tracingId": trace, **fields})


def configure(session: str, trace: str, deployment: str, *, start_new: bool | None, journey: bool, jwt: str = "") -> str:
    """The first request of a connection; with a JWT for a guest who has signed in."""
    fields: dict[str, Any] = {"deploymentId": deployment}
    if start_new is not None:
        fields["startNew"] = start_new
    if journey:
        fields["journeyContext"] = {
            "customer": {"id": session, "idType": "cookie"},
            "customerSession": {"id": "", "type": "web"},
        }
    if jwt:
        fields["data"] = {"code": jwt}
    return request("configureAuthenticatedSession" if jwt else "configureSession", session, trace, **fields)


def message(
    session: str,
    trace: str,
    text: str,
    *,
    content: list[dict[str, Any]] | None = None,
    structured: bool = False,
    metadata: dict[str, str] | None = None,
    attributes: dict[str, str] | None = None,
    attributes_in: str = "message",
) -> str:
    """A message of the guest: text, with a file, or the answer to something structured."""
    inner: dict[str, Any] = {"type": "Structured" if structured else "Text", "text": text}
    if content:
        inner["content"] = content
    if metadata:
        inner["metadata"] = metadata
    fields: dict[str, Any] = {"message": inner}
    if attributes:
        channel = {"metadata": {"customAttributes": attributes}}
        (inner if attributes_in == "message" else fields)["channel"] = channel
    return request("onMessage", session, trace, **fields)


def event(session: str, trace: str, what: dict[str, Any]) -> str:
    """An event of the guest: typing, presence."""
    return request("onMessage", session, trace, message={"type": "Event", "events": [what]})


def typing(session: str, trace: str, duration_ms: int) -> str:
    """The guest writes."""
    return event(session, trace, {"eventType": "Typing", "typing": {"type": "On", "duration": duration_ms}})


def presence(session: str, trace: str, kind: str) -> str:
    """`Join` or `Clear`."""
    return event(session, trace, {"eventType": "Presence", "presence": {"type": kind}})


def health(session: str) -> str:
    """A health check."""
    return request("echo", session, HEALTH_TRACE, message={"type": "Text", "text": "ping"})


def attachment(session: str, trace: str, ident: str, file_name: str, kind: str, size: int) -> str:
    """Ask for a place to upload a file to."""
    return request(
        "onAttachment", session, trace, attachmentId=ident, fileName=file_name, fileType=kind, fileSize=size, errorsAsJson=True
    )


# -------------------------------------------------------------------- what the server writes
class Session(msgspec.Struct, gc=False):
    """A session is configured, or (`connected` False) closed."""

    connected: bool
    new: bool | None
    read_only: bool
    cleared: bool
    auto_started: bool
    expires_s: int
    """Epoch seconds; 0: not given."""
    duration_s: int
    max_attributes: int
    trace: str


class Choice(msgspec.Struct, frozen=True, gc=False):
    """Something that can be answered by a button."""

    kind: str
    text: str
    payload: str


class File(msgspec.Struct, frozen=True, gc=False):
    """A file that hangs on a message."""

    ident: str
    url: str


class Said(msgspec.Struct):
    """A message that somebody sees."""

    message: Delivered
    inbound: bool
    choices: list[Choice]
    files: list[File]


class Presence(msgspec.Struct, gc=False):
    """Somebody came or went. `read_only` belongs to a disconnect."""

    kind: str
    inbound: bool
    read_only: bool
    trace: str
    server_ns: int


class Health(msgspec.Struct, gc=False):
    """A health check's answer, with the session's timing."""

    duration_s: int
    expires_s: int


class HistoryToken(msgspec.Struct, gc=False):
    """What opens the history."""

    value: str
    expires_s: int
    trace: str

    def __repr__(self) -> str:
        return f"HistoryToken(expires_s={self.expires_s})"


class Presigned(msgspec.Struct):
    """Where to put a file, or (no headers) where to get it."""

    ident: str
    url: str
    headers: tuple[tuple[str, str], ...]
    trace: str

    def __repr__(self) -> str:
        return f"Presigned(ident={self.ident!r})"


class Uploaded(msgspec.Struct, gc=False):
    """A file is there, or (`code`) is not."""

    ident: str
    code: str = ""


class Deleted(msgspec.Struct, gc=False):
    """A file is gone."""

    ident: str
    trace: str


class Configured(msgspec.Struct, gc=False):
    """The deployment's configuration, asked for on the socket."""

    max_attributes: int
    trace: str


class Notice(msgspec.Struct, gc=False):
    """A frame of the server's own: `ConnectionClosedEvent`, `SessionExpiredEvent`, `SessionClearedEvent`, `LogoutEvent`."""

    kind: str
    reason: str = ""


class Fault(msgspec.Struct, gc=False):
    """An error: `code` as in the protocol's table (0: none that can be read)."""

    code: int
    text: str
    trace: str
    ident: str = ""
    """The attachment that is meant."""
    retry_after_ns: int = -1
    limited: bool = False


Frame = (
    Session
    | Said
    | Typing
    | Presence
    | Health
    | HistoryToken
    | Presigned
    | Uploaded
    | Deleted
    | Configured
    | Notice
    | Fault
    | Unrecognised
    | Violation
)
_NOTICES = ("ConnectionClosedEvent", "SessionExpiredEvent", "SessionClearedEvent", "LogoutEvent")
_ERRORS = ("string", "Error", "ErrorMessage", "Unknown", "TooManyRequestsErrorMessage", "GenerateUrlError")


def _int(value: object) -> int:
    """A whole number, also as text; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 12:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _FAR:
        return 0
    return int(value)


def _object(fields: dict[str, Any], field: str) -> dict[str, Any]:
    value = fields.get(field)
    return value if isinstance(value, dict) else {}


def _objects(fields: dict[str, Any], field: str) -> list[dict[str, Any]]:
    value = fields.get(field)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def decode(data: str | bytes, max_bytes: int) -> Frame:
    """The meaning of one frame. Never raises, whatever the bytes."""
    frame = load_frame(data, max_bytes)
    if isinstance(frame, Violation):
        return frame
    kind = frame.get("class")
    if not isinstance(kind, str):
        return Violation(FailureCause.MALFORMED, "class")
    raw, trace = frame.get("body"), name(frame, "tracingId")
    body: dict[str, Any] = raw if isinstance(raw, dict) else {}
    code = _int(frame.get("code"))
    if code >= 400 or (kind in _ERRORS and not (kind in ("string", "Unknown") and 200 <= code < 300)):
        return _fault(kind, code, raw, body, trace)
    if kind == "StructuredMessage":
        if frame["type"] == "response":
            metadata = _object(body, "metadata")
            return Health(_int(metadata.get("durationSeconds")), _int(metadata.get("expirationDate")))
        return _structured(body, trace)
    if kind in _NOTICES:
        return Notice(kind, name(body, "reasonCode") or name(body, "reason"))
    return _answer(kind, body, trace)


def _answer(kind: str, body: dict[str, Any], trace: str) -> Frame:
    ident = path_id(body, "attachmentId")
    if kind == "SessionResponse":
        return _session(body, trace)
    if kind == "JwtResponse":
        value = token(body, "jwt")
        return HistoryToken(value, _int(body.get("exp")), trace) if value else Violation(FailureCause.MALFORMED, "jwt")
    if kind == "PresignedUrlResponse":
        url = body.get("url")
        headers = tuple((k, v) for k, v in _object(body, "headers").items() if isinstance(v, str))
        return Presigned(ident, url if isinstance(url, str) else "", headers, trace)
    if kind == "UploadSuccessEvent":
        return Uploaded(ident)
    if kind == "UploadFailureEvent":
        return Uploaded(ident, str(_int(body.get("errorCode"))))
    if kind == "AttachmentDeletedResponse":
        return Deleted(ident, trace)
    if kind == "GetConfigurationResponse":
        return Configured(_int(body.get("maxCustomDataBytes")), trace)
    return Unrecognised(kind[:32])


def _session(body: dict[str, Any], trace: str) -> Session | Violation:
    connected, new = body.get("connected"), body.get("newSession")
    if not isinstance(connected, bool):
        return Violation(FailureCause.MALFORMED, "connected")
    return Session(
        connected,
        new if isinstance(new, bool) else None,
        body.get("readOnly") is True,
        body.get("clearedExistingSession") is True,
        body.get("autoStarted") is True,
        _int(body.get("expirationDate")),
        _int(body.get("durationSeconds")),
        _int(body.get("maxCustomDataBytes")),
        trace,
    )


def _fault(kind: str, code: int, raw: object, body: dict[str, Any], trace: str) -> Fault:
    inner = _int(body.get("errorCode"))
    text = raw if isinstance(raw, str) else body.get("errorMessage") or body.get("message")
    limited = kind == "TooManyRequestsErrorMessage" or code == 429 or inner == 4029
    return Fault(
        429 if limited else inner or code,
        text[:200] if isinstance(text, str) else "",
        trace,
        path_id(body, "attachmentId"),
        seconds_ns(body.get("retryAfter")),
        limited,
    )


def _structured(body: dict[str, Any], trace: str) -> Frame:
    events = _objects(body, "events")
    if body.get("type") == "Event" or (events and not isinstance(body.get("text"), str)):
        return _event(body, events, trace)
    said = read_message(body, trace)
    return said if said is not None else Violation(FailureCause.MALFORMED, "message")


def _event(body: dict[str, Any], events: list[dict[str, Any]], trace: str) -> Frame:
    inbound = body.get("direction") == "Inbound"
    for item in events:
        kind = item.get("eventType")
        if kind == "Typing":
            return Typing("", "guest" if inbound else "agent")
        if kind == "Presence":
            read_only = _object(body, "metadata").get("readOnly")
            stamp = read_iso(name(_object(body, "channel"), "time"))
            return Presence(
                name(_object(item, "presence"), "type"), inbound, read_only == "true" or read_only is True, trace, stamp
            )
    kind = name(events[0], "eventType") if events else ""
    return Unrecognised(f"event.{kind}"[:32])


def read_message(body: dict[str, Any], trace: str = "") -> Said | None:
    """A message as it is pushed and as it is listed; None where there is nothing to be seen."""
    contents = _objects(body, "content")
    text = body.get("text")
    if not isinstance(text, str) and not contents:
        return None
    channel = _object(body, "channel")
    ident, stamp, direction = name(body, "id"), name(channel, "time"), body.get("direction")
    server_ns = read_iso(stamp) if stamp else 0
    flaw = ""
    if not ident:
        flaw = "id"
    elif not server_ns:
        flaw = "channel.time"
    elif direction not in ("Inbound", "Outbound"):
        flaw = "direction"
    elif not isinstance(text, str):
        flaw = "" if any(item.get("contentType") == "Attachment" for item in contents) else "text"
    inbound = direction == "Inbound"
    sender = "guest" if inbound else "agent"
    shown = text if isinstance(text, str) else ""
    message = Delivered(shown, "", ident, sender, stamp, server_ns, flaw, trace, name(channel, "messageId"))
    return Said(message, inbound, _choices(contents), _files(contents))


def _files(contents: list[dict[str, Any]]) -> list[File]:
    files = []
    for item in contents:
        if item.get("contentType") == "Attachment":
            inner = _object(item, "attachment")
            url = inner.get("url")
            files.append(File(path_id(inner, "id"), url if isinstance(url, str) else ""))
    return files


def _choices(contents: list[dict[str, Any]]) -> list[Choice]:
    found: list[Choice] = []
    for item in contents:
        kind = item.get("contentType")
        if kind == "QuickReply":
            _add(found, "QuickReply", _object(item, "quickReply"), "text", "payload")
        elif kind == "Card":
            _add_actions(found, _object(item, "card"))
        elif kind == "Carousel":
            for card in _objects(_object(item, "carousel"), "cards"):
                _add_actions(found, card)
        elif kind == "DatePicker":
            for slot in _objects(_object(item, "datePicker"), "availableTimes"):
                _add(found, "DatePicker", slot, "dateTime", "dateTime")
        elif kind == "ListPicker":
            for section in _objects(_object(item, "listPicker"), "sections"):
                for entry in _objects(section, "items"):
                    _add(found, "ListPicker", entry, "title", "id")
    return found


def _add_actions(found: list[Choice], card: dict[str, Any]) -> None:
    for action in _objects(card, "actions"):
        if action.get("type") == "Postback":
            _add(found, "Button", action, "text", "payload")


def _add(found: list[Choice], kind: str, fields: dict[str, Any], text: str, payload: str) -> None:
    shown, value = name(fields, text), name(fields, payload)
    if shown and value:
        found.append(Choice(kind, shown, value))


def answer_content(choice: Choice, message_id: str) -> list[dict[str, Any]]:
    """The content of a message that answers by a button."""
    response = {"type": choice.kind, "text": choice.text, "payload": choice.payload}
    if message_id:
        response["originatingMessageId"] = message_id
    return [{"contentType": "ButtonResponse", "buttonResponse": response}]


# -------------------------------------------------------------------- what is answered over HTTP
def decode_history(body: bytes) -> Listing | None:
    """One page of the history, newest first as it comes; None where the answer has another shape. Events are no rows."""
    answer = load_object(body)
    entities = answer.get("entities")
    if not isinstance(entities, list):
        return None
    rows, flawed = [], 0
    for entity in entities:
        if isinstance(entity, dict) and entity.get("type") == "Event":
            continue
        said = read_message(entity) if isinstance(entity, dict) else None
        if said is None:
            flawed += 1
        else:
            rows.append(said.message)
    return Listing(rows, len(entities), flawed, _int(answer.get("pageCount")))


class Exchanged(msgspec.Struct):
    """A JWT for a guest who has signed in; `refresh` may be empty."""

    jwt: str
    refresh: str

    def __repr__(self) -> str:
        return "Exchanged()"


def decode_exchange(body: bytes) -> Exchanged | None:
    """The answer of the exchange or of a refresh; None where no usable JWT is in it."""
    answer = load_object(body)
    jwt = token(answer, "jwt")
    return Exchanged(jwt, token(answer, "refreshToken")) if jwt else None
