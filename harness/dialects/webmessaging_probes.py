"""What of webmessaging can be limited: the deployment's files, the history, the upgrade, and each action on the socket. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.core.probing import (
    Answer,
    FrameProbe,
    HoldProbe,
    Probes,
    RequestProbe,
    Seen,
    UpgradeProbe,
    again,
    built,
    refused_frame,
)
from harness.core.wire import HttpRequest
from harness.dialects.webmessaging_frames import (
    Configured,
    Fault,
    Health,
    HistoryToken,
    Presigned,
    Said,
    Session,
    attachment,
    configure,
    decode,
    health,
    message,
    request,
    typing,
)
from harness.dialects.webmessaging_settings import WebmessagingSettings

_TRACE = "00000000-0000-4000-8000-"
_Form = Callable[[Any, int], str]


def probes(settings: WebmessagingSettings) -> Probes:
    """All of them, with the paths of these settings."""
    upgrade = "GET " + settings.socket_path
    files = "GET " + settings.configuration_path
    quiet = {
        "ping_every": 0,
        "health_every": 0,
        "tabs": 0.0,
        "clear": 0.0,
        "authenticated": 0.0,
        "get_configuration": 0.0,
        "auto_start": False,
    }
    return Probes(
        ready=lambda session: session.phase == "live" and bool(session.conversation_id),
        settings=quiet,
        once_ready=_get_jwt,
        dimensions=("address", "session", "deployment"),
        probes=(
            RequestProbe(files, again(files)),
            RequestProbe("GET " + settings.history_path, _history),
            UpgradeProbe(upgrade),
            HoldProbe(upgrade),
            FrameProbe("frame onMessage", _message, _named(Said), "named"),
            FrameProbe("frame onMessage (typing)", _typing, _named(), "silence", note="typing is an event in an onMessage frame"),
            FrameProbe("frame echo", lambda session, _number: health(_token(session)), _read_health, "order"),
            FrameProbe("frame getJwt", _plain("getJwt"), _named(HistoryToken), "named"),
            FrameProbe("frame getConfiguration", _configuration, _named(Configured), "named"),
            FrameProbe(
                "frame configureSession", _configure, _named(Session), "named", note="for the session that is there already"
            ),
            FrameProbe(
                "frame onAttachment", _attachment, _named(Presigned), "named", note="asks for places that nothing is put into"
            ),
        ),
    )


def _get_jwt(session: Any, now: int) -> None:
    """The history is opened by a token of its own."""
    session._with_jwt(now, lambda _now, _ok: None)


def _token(session: Any) -> str:
    return str(session._session.reveal())


def _trace(number: int) -> str:
    return f"{_TRACE}{number:012d}"


def _number(trace: str) -> int:
    """Of the probe that has this tracing id; 0: it is none of ours."""
    return int(trace[len(_TRACE) :]) if trace.startswith(_TRACE) and trace[len(_TRACE) :].isdigit() else 0


# -------------------------------------------------------------------- forming
def _history(session: Any, _seen: Seen, number: int) -> HttpRequest | None:
    value, path = session._jwt.reveal(), session.settings.history_path
    if not value:
        return None
    return built(session, number, "GET " + path, "api", f"{path}?pageSize=1&pageNumber=1", [("Authorization", "bearer " + value)])


def _message(session: Any, number: int) -> str:
    return message(_token(session), _trace(number), "Is anybody there?")


def _typing(session: Any, number: int) -> str:
    return typing(_token(session), _trace(number), session.settings.typing_duration // 1_000_000)


def _plain(action: str) -> _Form:
    return lambda session, number: request(action, _token(session), _trace(number))


def _configuration(session: Any, number: int) -> str:
    return request("getConfiguration", _token(session), _trace(number), deploymentId=session.context.target.deployment_id)


def _configure(session: Any, number: int) -> str:
    deployment = session.context.target.deployment_id
    return configure(_token(session), _trace(number), deployment, start_new=None, journey=session.settings.journey)


def _attachment(session: Any, number: int) -> str:
    settings, ident = session.settings, _trace(number)
    return attachment(_token(session), ident, ident, settings.attachment_name, settings.attachment_type, 1024)


# -------------------------------------------------------------------- reading
def _trace_of(frame: object) -> str:
    if isinstance(frame, Said):
        return frame.message.trace
    return str(getattr(frame, "trace", ""))


def _named(*kinds: type) -> Callable[[Any, str | bytes], Answer | None]:
    """Read answers that bear the probe's tracing id: these kinds mean that it was taken."""

    def read(session: Any, data: str | bytes) -> Answer | None:
        frame = decode(data, session.settings.max_frame_bytes)
        number = _number(_trace_of(frame))
        if isinstance(frame, Fault):
            if frame.limited:
                return refused_frame(frame.retry_after_ns, number)
            return Answer(None, frame.code, n=number) if number else None
        return Answer(True, n=number) if number and isinstance(frame, kinds) else None

    return read


def _read_health(session: Any, data: str | bytes) -> Answer | None:
    """All health checks have the same tracing id, so that order alone tells which is meant."""
    frame = decode(data, session.settings.max_frame_bytes)
    if isinstance(frame, Health):
        return Answer(True)
    return refused_frame(frame.retry_after_ns) if isinstance(frame, Fault) and frame.limited else None
