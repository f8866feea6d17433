"""Receiving in `longpoll`: a chain of polls with a cursor, the events in their answers, drops and their back-off."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from urllib.parse import quote

from harness.core import ops
from harness.core.address import own_address
from harness.core.marker import read_marker
from harness.core.session import Context
from harness.core.spread import seconds
from harness.core.wire import HttpFailure, HttpRequest
from harness.dialects.longpoll_attachment import is_broken
from harness.dialects.longpoll_auth import Call, Outcome
from harness.dialects.longpoll_events import ACCEPTED, FILTERED, MALFORMED, MESSAGE, Item, decode_events
from harness.dialects.longpoll_send import Phase, SendingSession
from harness.dialects.longpoll_settings import LongpollSettings
from harness.errors import FailureCause

EVENTS = "GET /api/v2/conversations/{id}/events"


class PollingSession(SendingSession):
    """The part of a guest that hears."""

    def __init__(self, context: Context, settings: LongpollSettings) -> None:
        super().__init__(context, settings)
        self._naive = settings.naive_poll or (settings.naive_share > 0 and self.rng.random() < settings.naive_share)
        self._epoch = 1
        self._poll_local = ""
        self._poll_broken = False
        self._clear_polling()

    def _clear_polling(self) -> None:
        """What belongs to one conversation."""
        self._since = -1
        self._polling = self._closed_seen = self._holes = False
        self._poll_attempt = self._poll_limited = self._early = 0
        self._dropped_ns = 0

    @abstractmethod
    def _on_agent(self, now: int, via: str) -> None:
        """An agent has accepted."""

    @abstractmethod
    def _wind_up(self, now: int, cause: str = "", *, abnormal: bool = False) -> None:
        """Nothing more will come: end the conversation once every request has returned."""

    # ---------------------------------------------------------------- polls
    def _poll(self, now: int, due: int) -> None:
        """Park the next poll, if none is."""
        if self._polling or self._closed_seen or self._phase not in (Phase.LIVE, Phase.LEAVING):
            return
        settings = self.settings
        probe = settings.reconnect_probe and self._dropped_ns > 0
        asked = 0 if self._naive or probe else -(-settings.wait // seconds(1))
        wait = seconds(asked)
        path = f"/api/v2/conversations/{quote(self.conversation_id, safe='')}/events?wait={asked}"
        if self._since >= 0:
            path += f"&since={self._since}"
        self._polling = True
        self._disarm("poll")
        self._call(
            now,
            Call(
                "poll.hold",
                EVENTS + "#naive" if self._naive else EVENTS,
                path,
                self._on_polled,
                wait + settings.poll_margin,
                due,
                lane="poll",
                hold_ns=wait,
            ),
        )

    def _on_polled(self, now: int, call: Call, outcome: Outcome) -> None:
        self._polling = False
        if isinstance(outcome, HttpFailure):
            self._poll_broken = True
            self._dropped(now)
            return
        request = call.request
        assert request is not None
        self._note_connection(request.local)
        status = outcome.status
        if 200 <= status < 300:
            items = decode_events(outcome.body, self.settings.max_answer)
            if items is None:
                self._note(now, "poll.oversize" if len(outcome.body) > self.settings.max_answer else "poll.malformed")
                self._dropped(now)
            else:
                self._on_events(now, call, request, items)
        elif self._phase is Phase.OVER:
            return
        elif status in (404, 409) or (status == 401 and self.settings.refresh_refused):
            self._conversation_gone(now, status)
        elif status == 429 and self._poll_limited < self.settings.limit_attempts:
            self._poll_limited += 1
            pause = self.backoff.delay(self._poll_limited - 1, self.rng)
            self._arm("poll", now + self._asked_wait(now, outcome, pause))
        else:
            self._dropped(now)

    def _reload(self, now: int) -> None:
        """The page is loaded anew: token, ids and cursor were stored, what the script remembered of failures was not."""
        self._note(now, "reload")
        self._poll_attempt = self._poll_limited = self._early = 0
        self._uploads_off = False
        if not self._polling and "poll" in self._timers:
            self._poll(now, now)

    def _note_connection(self, local: str) -> None:
        """Another TCP connection is another epoch."""
        if local and (local != self._poll_local or self._poll_broken):
            if self._poll_local:
                self._epoch += 1
            self._poll_local = local
            self._poll_broken = False

    def _on_events(self, now: int, call: Call, request: HttpRequest, items: list[Item]) -> None:
        settings = self.settings
        if self._dropped_ns:
            self._gap_over(now, ops.OK, request.id)
            if self._phase is Phase.LIVE:
                self._go(now, "chatting" if self._agent else "queued")
        self._poll_attempt = self._poll_limited = 0
        self._uploads_off = False
        start, wait = request.start_ns or now, call.hold_ns
        if not items:
            self._note(now, "poll.empty.naive" if self._naive else "poll.empty")
        if not items and wait and now - start < settings.poll_early * wait:
            self._early += 1
            self._note(now, "poll.early_empty")
        else:
            self._early = 0
        last = self._since
        for item in items:
            if item.id >= 0:
                if item.id <= last:
                    self._note(now, "cursor.violation", request.id)
                last = item.id
                self._since = max(self._since, item.id)
            self._on_item(now, item, request.id)
        if self._closed_seen:
            if self._phase is Phase.LIVE:
                self._broken_off(FailureCause.SESSION_CLOSED)
            self._wind_up(now)
        elif self._naive:
            self._arm("poll", max(now, start + settings.naive_interval))
        elif self._early > 1:
            # A server that answers empty at once would otherwise be asked as fast as the network allows.
            self._arm("poll", now + self.backoff.delay(self._early - 2, self.rng))
        else:
            self._poll(now, now)

    def _on_item(self, now: int, item: Item, via: str) -> None:
        if item.kind == MESSAGE:
            self._on_message(now, item, via)
        elif item.kind == ACCEPTED:
            self._on_agent(now, via)
        elif item.closed:
            self._closed_seen = True
        elif item.kind == FILTERED:
            self._note(now, "event.filtered")
        elif item.kind == MALFORMED:
            self._holes = True  # what it was will not come again: the read-back is not complete
            self._note(now, "event.malformed")

    def _on_message(self, now: int, item: Item, via: str) -> None:
        message = item.message
        assert message is not None
        post = self._post
        if post is not None and post.op is not None and post.start_ns:
            post.op.sent_ns = post.start_ns  # an answer may overtake the POST's own
        found = self._arrive(now, message.text, ops.PUSH, self._epoch, message.message_id, message.server_ns, via)
        expected = False
        if found is not None:
            direction, seq = found
            if direction == ops.GUEST:
                self._seen_in_stream(now, seq)
                expected = seq in self._attached
                self._attached.discard(seq)
                if message.sender and not item.own:
                    self._note(now, "message.misattributed")
            elif self._unknown or post is not None:
                marker = read_marker(message.text)
                if marker is not None and marker.re:
                    self._seen_in_stream(now, marker.re)
        if is_broken(item.files, expected):
            self._note(now, "attachment.broken")
        elif item.files:
            self._fetch(now, item.files)

    def _fetch(self, now: int, files: tuple[object, ...]) -> None:
        """Look at some of the files as an agent would: without the guest's token, and nowhere but at the target's own addresses."""
        share = self.settings.download
        for entry in files:
            if not share or self._phase is not Phase.LIVE or not isinstance(entry, dict) or self.rng.random() >= share:
                continue
            found = own_address(entry["url"], self.context.target.bases)
            if found is None:
                self._note(now, "download.refused")
                continue
            whole = partial(_is_whole, entry.get("size"))
            self._request(
                now,
                "download",
                "GET /{file}",
                *found,
                _fetched,
                timeout_ns=self.settings.download_timeout,
                lane="download",
                usable=whole,
            )

    def _dropped(self, now: int) -> None:
        """No events for now: back off and poll again."""
        if self._phase not in (Phase.LIVE, Phase.LEAVING):
            return
        if not self._dropped_ns:
            self._dropped_ns = now
            if self._phase is Phase.LIVE:
                self._go(now, "reconnecting")
        self._arm("poll", now + self.backoff.delay(self._poll_attempt, self.rng))
        self._poll_attempt += 1

    def _gap_over(self, now: int, outcome: str, ref: str) -> None:
        since, self._dropped_ns = self._dropped_ns, 0
        if now - since > self.settings.reconnect_limit:
            self._note(now, "reconnect.long")
        cause = "" if outcome == ops.OK else FailureCause.INTERRUPTED.value
        self.context.observer.record(ops.Sample(now, self.label, "reconnect.gap", outcome, cause, since, since, now, 0, ref, ""))


def _is_whole(size: object, body: bytes) -> bool:
    return not isinstance(size, int) or len(body) == size


def _fetched(now: int, request: HttpRequest, outcome: Outcome) -> None:
    """A file is only looked at; the sample is written already."""
