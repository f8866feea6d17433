"""webchat's messages: what the base says and hears, in webchat's frames; read receipts; the listing by time."""

from __future__ import annotations

from functools import partial

from harness.core import ops
from harness.core.events import Listing, RateLimited
from harness.core.listed import Sync
from harness.core.sequence import Item
from harness.core.session import Op, Socket
from harness.dialects.webchat_frames import decode_listing, message_frame, read_frame, typing_frame
from harness.dialects.webchat_link import NORMAL, WebchatLink
from harness.dialects.webchat_paging import Pager
from harness.errors import FailureCause


class WebchatTalk(WebchatLink):
    """The part of a webchat guest that says and hears something."""

    def _forget_talk(self) -> None:
        super()._forget_talk()
        self._unread = ""

    def _message_frame(self, op: Op) -> str:
        return message_frame(self.conversation_id, op.message_id, op.text)

    def _typing_frame(self) -> str:
        return typing_frame(self.conversation_id)

    def _on_rate_limited(self, now: int, socket: Socket, event: RateLimited) -> None:
        socket.refusals += 1
        self._refused(now, self._frame_endpoint(), f"{socket.address}#{socket.refusals}", event.retry_after_ns)
        wait = self._asked_to_wait(event.retry_after_ns)
        if socket.conn == self._conn and self.phase in ("authenticating", "routing"):
            measure = "auth" if self.phase == "authenticating" else "routing"
            self._answered(now, measure, ops.FAIL, FailureCause.RATE_LIMITED.value)
            self._break_off(now, "rate limited", FailureCause.RATE_LIMITED, code=NORMAL, wait_ns=wait)
        else:
            self._hold(now, wait)
        self._refuse(now, event.message_id, FailureCause.RATE_LIMITED)

    # ---------------------------------------------------------------- read receipts
    def _on_pumped(self, now: int) -> None:  # noqa: ARG002
        if self._unread:
            self._send(self._conn, read_frame(self.conversation_id, self._unread))
            self._unread = ""

    def _on_shown(self, now: int, item: Item) -> None:  # noqa: ARG002
        if item.message_id and self.rng.random() < self.settings.read_receipts:
            self._read(item.message_id)

    def _read(self, message_id: str) -> None:
        """Say that an agent's message was seen, now or (the newest only) when the way is free again."""
        if self.state == "leaving":
            return
        if self._way_free():
            self._send(self._conn, read_frame(self.conversation_id, message_id))
        else:
            self._unread = message_id

    # ---------------------------------------------------------------- listing
    def _new_pager(self, since_ns: int) -> Pager:
        settings = self.settings
        return Pager(self.conversation_id, since_ns, settings.page_limit, settings.page_limit_cap, settings.max_pages)

    def _ask_page(self, now: int, sync: Sync) -> None:
        path = self.settings.listing_path
        answered = partial(self._page_answered, sync)
        assert isinstance(sync.pager, Pager)
        self._get(now, "resync", path, f"{path}?{sync.pager.query()}", answered, sync.attempts, self._stale_page)

    def _read_page(self, body: bytes) -> Listing | None:
        return decode_listing(body)

    def _on_synced(self, now: int) -> None:
        self._maybe_rebind(now)
