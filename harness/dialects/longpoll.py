"""The guest's half of `longpoll`: REST to send, a chain of long polls to receive.

Life of a conversation: token → guest (which is the conversation) → queued → chatting → leaving → over. What is sent goes one
POST at a time; what is received comes by one poll at a time. A conversation is over only when every request has returned,
so that no poll is ever abandoned and nothing of it reaches into the next.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from harness.core import ops
from harness.core.backoff import Backoff
from harness.core.misbehaviour import no_backoff, no_jitter
from harness.core.session import Context, Socket
from harness.core.wire import HttpFailure, HttpRequest, HttpResponse, SocketEnd
from harness.dialects.longpoll_auth import Call, Outcome, cause_of
from harness.dialects.longpoll_events import decode_guest
from harness.dialects.longpoll_poll import PollingSession
from harness.dialects.longpoll_probes import probes
from harness.dialects.longpoll_send import CONVERSATION, JSON, Phase
from harness.dialects.longpoll_settings import LongpollSettings
from harness.dialects.registry import Dialect
from harness.errors import FailureCause

GUEST_PATH = "/api/v2/conversations/messaging/guest"
EVENTS = "GET /api/v2/conversations/{id}/events"
CLOSE: dict[str, Any] = {"status": "closed"}
CALLBACK: dict[str, Any] = {"callback": {"requested": True}}


class LongpollSession(PollingSession):
    """One guest of dialect `longpoll`."""

    def __init__(self, context: Context, settings: LongpollSettings) -> None:
        super().__init__(context, settings)
        self._restart = Backoff(settings.retry_base, settings.retry_cap, proportional=max(settings.retry_jitter, 0.1))
        self._restarts = 0
        """Conversations in a row that came to nothing."""
        self._clear()

    def _clear(self) -> None:
        """What belongs to one conversation."""
        self._transferred = self._late_pending = False
        self._queue_ns = 0
        """Since when the guest has been waiting for an agent; 0: it is not."""
        self._leave_body = CLOSE
        self._leave_asked = False
        self._end_cause = ""
        self._abnormal = False
        self._clear_polling()
        self._clear_sending()

    # ---------------------------------------------------------------- from the shell
    def on_http(self, now: int, request: HttpRequest, outcome: HttpResponse | HttpFailure) -> None:
        """Take an answer, then see whether something waited for it."""
        super().on_http(now, request, outcome)
        self._settle(now)

    def on_deadline(self, now: int) -> None:
        """Run what is due, then see whether something waited for it."""
        super().on_deadline(now)
        self._settle(now)

    # ---------------------------------------------------------------- beginning
    def _begin_conversation(self, now: int) -> None:
        if self.stopping:
            self._next_or_finish(now)
            return
        self._new_conversation()
        self._clear()
        self._go(now, "authenticating")
        self._start_up(now, now)

    def _start_up(self, now: int, due: int) -> None:
        if self._token_usable(now):
            self._arm_refresh()
            self._create_guest(now, due)
        else:
            self._clear_credentials()  # an old guest session's token is not carried on
            self._phase = Phase.TOKEN
            self._acquire(now, due)

    def _token_ready(self, now: int) -> None:
        if self._phase is Phase.TOKEN and "again" not in self._timers:  # else the pause after a failed start goes on
            self._create_guest(now, now)

    def _token_failed(self, now: int, cause: FailureCause) -> None:
        if self._phase in (Phase.LIVE, Phase.LEAVING):
            self._wind_up(now, cause.value, abnormal=True)
        elif self._phase is Phase.TOKEN or self._waiting:
            self._start_failed(now, cause)

    def _start_failed(self, now: int, cause: FailureCause) -> None:
        self._waiting.clear()
        self._retries.clear()
        if self.stopping:
            self._wind_up(now, cause.value)
            return
        self._phase = Phase.TOKEN
        self._arm("again", max(now + self._restart.delay(self._restarts, self.rng), self._held_ns))
        self._restarts += 1

    def _create_guest(self, now: int, due: int) -> None:
        self._phase = Phase.GUEST
        settings, target = self.settings, self.context.target
        body: dict[str, Any] = {
            "email": settings.email.replace("{slot}", str(self.context.slot)).replace("{run}", self.context.run),
            "firstName": settings.first_name,
            "lastName": settings.last_name,
        }
        if settings.routing and not settings.late_routing:
            routing = {}
            if target.queue_id:
                routing["queueId"] = target.queue_id
            if target.skills:
                routing["skill"] = self.rng.choice(target.skills)
            if routing:
                body["routing"] = routing
        body["attributes"] = {
            "source": settings.source,
            "pageUrl": settings.page_url,
            "userAgent": settings.user_agent,
            **target.attributes,
        }
        self._call(
            now,
            Call(
                "guest",
                "POST " + GUEST_PATH,
                GUEST_PATH,
                self._on_guest,
                settings.request_timeout,
                due,
                body=msgspec.json.encode(body),
                content_type=JSON,
            ),
        )

    def _on_guest(self, now: int, call: Call, outcome: Outcome) -> None:
        created = decode_guest(outcome.body) if isinstance(outcome, HttpResponse) and 200 <= outcome.status < 300 else None
        if created is None:
            limited = isinstance(outcome, HttpResponse) and outcome.status == 429
            if limited and not self.stopping and self._retry_later(now, call, outcome, self.settings.limit_attempts):
                return
            cause = cause_of(outcome)
            if cause is FailureCause.UNAUTHORISED:
                self._clear_credentials()
            elif cause is FailureCause.CONFLICT:
                self._note(now, "routing.loop")
            self._start_failed(now, cause)
            return
        if self._guest_id and self._guest_id != created.guest_id:
            self._note(now, "guest.id_changed")
        self._guest_id = created.guest_id
        self.conversation_id = created.conversation_id
        self._phase = Phase.LIVE
        self._go(now, "queued")
        self._queue_ns = now
        self._arm("queue", now + self.settings.queue_limit)
        if self.settings.late_routing:
            self._late_pending = True
            self._arm("late", now + self.settings.late_routing_after)
        self._poll(now, now)
        if self.closing:
            self._begin_leaving(now)

    # ---------------------------------------------------------------- timers
    def _on_timer(self, name: str, now: int, due: int) -> None:
        if name == "poll":
            self._poll(now, due)
        elif name == "refresh":
            if self._phase in (Phase.GUEST, Phase.LIVE, Phase.LEAVING):
                self._acquire(now, due)
        elif name == "token":
            self._ask_token(now, due)
        elif name == "again":
            self._start_up(now, due)
        elif name == "queue":
            self._stalled(now)
        elif name == "late":
            self._route(now, due, self._queue_id)
        elif name == "post":
            self._post_again(now, due)
        elif name == "drain":
            self._drop_unsent()
        elif name == "leave":
            self._note(now, "leave.timeout")
            self._wind_up(now, FailureCause.TIMEOUT.value)
        elif name.startswith("call:"):
            call = self._retries.pop(name, None)
            if call is not None:
                call.free_ns, call.retried = due, False
                self._call(now, call)
        else:
            self._on_shared_timer(name, now, due)

    # ---------------------------------------------------------------- what the stream says
    def _on_agent(self, now: int, via: str) -> None:
        if self._agent:
            return
        self._agent = True
        self._restarts = 0
        self._disarm("queue")
        self._queue_over(now, ops.OK, "", via)
        if self._late_pending:
            self._note(now, "routing.late_race")
        if self._phase is Phase.LIVE:
            self._start_chatting(now)

    def _conversation_gone(self, now: int, status: int) -> None:
        """The server has no such conversation (404), gave up routing it (409), or will not know the guest again (401)."""
        if status == 401:
            self._clear_credentials()
            self._wind_up(now, FailureCause.UNAUTHORISED.value, abnormal=True)
        elif status == 404:
            self._note(now, "conversation.gone")
            self._wind_up(now, FailureCause.NOT_FOUND.value, abnormal=True)
        else:
            self._note(now, "routing.loop")
            self._wind_up(now, FailureCause.CONFLICT.value, abnormal=True)

    # ---------------------------------------------------------------- the queue
    def _queue_over(self, now: int, outcome: str, cause: str, ref: str) -> None:
        since, self._queue_ns = self._queue_ns, 0
        if since:
            self.context.observer.record(ops.Sample(now, self.label, "queue", outcome, cause, since, since, now, 0, ref, ""))
        elif outcome == ops.OK:
            self._note(now, "queue.accepted_late")

    def _stalled(self, now: int) -> None:
        """Nobody came in time: ask for a callback, go to the other queue, or wait on."""
        if self._phase is not Phase.LIVE or self._agent:
            return
        self._queue_over(now, ops.FAIL, FailureCause.QUEUE_STALLED.value, "")
        if self.stopping:
            return
        draw = self.rng.random() - self.settings.stalled_callback
        fallback = self.context.target.fallback_queue_id
        if draw < 0:
            self._note(now, "queue.callback")
            self._begin_leaving(now, CALLBACK)
        elif draw < self.settings.stalled_transfer and fallback and not self._transferred:
            self._note(now, "queue.transfer")
            self._transferred = True
            self._route(now, now, fallback)

    def _route(self, now: int, due: int, queue_id: str) -> None:
        if self._phase is Phase.LIVE:
            self._queue_id = queue_id
            self._put(now, due, "routing", {"routing": {"queueId": queue_id}})

    def _put(self, now: int, due: int, measure: str, body: dict[str, Any]) -> None:
        self._call(
            now,
            Call(
                measure,
                "PUT " + CONVERSATION,
                f"/api/v2/conversations/{quote(self.conversation_id, safe='')}",
                self._on_routed if measure == "routing" else self._on_left,
                self.settings.request_timeout,
                due,
                body=msgspec.json.encode(body),
                content_type=JSON,
            ),
        )

    def _on_routed(self, now: int, call: Call, outcome: Outcome) -> None:
        if isinstance(outcome, HttpResponse) and 200 <= outcome.status < 300:
            self._late_pending = False
            if self._transferred and not self._agent and not self._queue_ns and self._phase is Phase.LIVE:
                self._queue_ns = now  # a new wait, in another queue
                self._arm("queue", now + self.settings.queue_limit)
            return
        if self._phase is not Phase.LIVE:
            return
        if isinstance(outcome, HttpResponse) and outcome.status in (401, 404, 409):
            self._conversation_gone(now, outcome.status)
        elif not self._retry_later(now, call, outcome, self.settings.limit_attempts):
            self._late_pending = False
            self._queue_id = self.context.target.queue_id
            self._note(now, "routing.failed", cause_of(outcome).value)

    # ---------------------------------------------------------------- ending
    def _leave(self, now: int) -> None:
        if self._phase is Phase.IDLE:
            self._disarm("between")
            self._next_or_finish(now)
        elif self._phase is Phase.LIVE:
            self._begin_leaving(now)
        elif self._phase in (Phase.TOKEN, Phase.GUEST) and not self._guest_under_way():
            self._wind_up(now)
        self._settle(now)

    def _on_stop(self, now: int) -> None:
        if self._phase is Phase.IDLE and self.conversation:
            self._disarm("between")
            self._next_or_finish(now)
        elif self._phase in (Phase.TOKEN, Phase.GUEST) and not self._guest_under_way():
            self._wind_up(now)
        self._settle(now)

    def _guest_under_way(self) -> bool:
        """A conversation may come to be: then it has to be ended properly."""
        return any(measure == "guest" for measure, *_ in self._pending.values())

    def _begin_leaving(self, now: int, body: dict[str, Any] = CLOSE) -> None:
        """Send what is still held, tell the server, then read on to the stream's end."""
        if self._phase is not Phase.LIVE:
            return
        self._phase = Phase.LEAVING
        self._go(now, "leaving")
        self._leave_body = body
        for name in ("send", "length", "queue", "late", "call:routing"):
            self._disarm(name)
        self._held_send = 0
        self._arm("drain", now + self.settings.leave_drain)
        self._arm("leave", now + self.settings.leave_timeout)
        self._settle(now)

    def _settle(self, now: int) -> None:
        """Go on with whatever waited for requests to return."""
        if self._phase is Phase.LEAVING and not self._leave_asked and self._current is None and not self._queue:
            self._leave_asked = True
            self._put(now, now, "leave", self._leave_body)
        elif self._phase is Phase.OVER and not self._pending:
            self._conclude(now)

    def _on_left(self, now: int, call: Call, outcome: Outcome) -> None:
        if self._phase is not Phase.LEAVING:
            return
        if isinstance(outcome, HttpResponse):
            if 200 <= outcome.status < 300:
                if self._dropped_ns or "poll" in self._timers:
                    self._poll(now, now)
                return
            if outcome.status in (401, 404, 409):
                self._conversation_gone(now, outcome.status)
                return
        if not self._retry_later(now, call, outcome, self.settings.leave_attempts):
            self._wind_up(now, cause_of(outcome).value)

    def _silenced(self) -> bool:
        return self._phase in (Phase.IDLE, Phase.OVER) or (self._phase is Phase.GUEST and self.closing)

    def _wind_up(self, now: int, cause: str = "", *, abnormal: bool = False) -> None:
        """Ask for nothing more; once everything under way has returned, the conversation is over."""
        if self._phase in (Phase.IDLE, Phase.OVER):
            return
        if self.conversation_id:
            self._go(now, "leaving")
        self._phase = Phase.OVER
        self._end_cause, self._abnormal = cause, abnormal
        if cause:
            self._broken_off(FailureCause(cause))
        self._queue.clear()
        self._waiting.clear()
        self._retries.clear()
        self._held_send = 0
        for name in [name for name in self._timers if not name.startswith("reply:")]:
            self._disarm(name)
        self._acquiring = self._acquiring and any(measure == "token" for measure, *_ in self._pending.values())

    def _conclude(self, now: int) -> None:
        if self._queue_ns:
            self._queue_over(now, ops.INFO, FailureCause.INTERRUPTED.value, "")
        if self._dropped_ns:
            self._gap_over(now, ops.INFO, "")
        complete = self._closed_seen and not self._holes
        cause, abnormal = self._end_cause, self._abnormal
        self._end_conversation(now, complete, "" if complete else cause)
        self._clear()
        self._timers.clear()
        self._phase = Phase.IDLE
        pause = None
        if abnormal:
            pause = self._restart.delay(self._restarts, self.rng)
            self._restarts += 1
        self._next_or_finish(now, pause)

    # ---------------------------------------------------------------- this dialect has no sockets
    def _on_open(self, now: int, conn: int) -> None:
        """Never called: no socket is opened."""

    def _on_open_failed(self, now: int, conn: int, cause: str, response: HttpResponse | None) -> None:
        """Never called: no socket is opened."""

    def _on_frame(self, now: int, conn: int, data: str | bytes) -> None:
        """Never called: no socket is opened."""

    def _on_closed(self, now: int, socket: Socket, end: SocketEnd) -> None:
        """Never called: no socket is opened."""


DIALECT = Dialect(
    name="longpoll",
    probes=probes,
    published=False,
    transport="REST to send, long polling to receive",
    correlation="marker",
    bases=("api", "files"),
    settings=LongpollSettings,
    session=LongpollSession,
    sources=("Building a Custom Chat Widget from Scratch Using the Genesys Cloud Web Messaging Guest API (seed 000)",),
    transcript="longpoll.jsonl",
    measures=(
        "token",
        "guest",
        "routing",
        "queue",
        "ack",
        "reply",
        "upload",
        "download",
        "poll.hold",
        "event.lag",
        "refresh.gap",
        "reconnect.gap",
        "leave",
    ),
    client_faults={
        "no_refresh": {"proactive_refresh": False, "refresh_refused": False},
        "no_jitter": no_jitter(LongpollSettings),
        "no_backoff": no_backoff(LongpollSettings),
        "naive_poll": {"naive_poll": True},
        "race_attachments": {"race_attachments": True},
        "blind_resend": {"resend": "blind"},
    },
)
