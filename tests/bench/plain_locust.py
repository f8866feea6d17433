"""Plain Locust as its handbook shows it, with its own statistics: a guest of `longpoll` that posts a message every PERIOD seconds.

Run by `tests.bench.baselines`. PLAIN=http takes HttpUser, PLAIN=fast FastHttpUser; wait_time is `constant_pacing`.
"""

from __future__ import annotations

import os
from typing import Any

from locust import FastHttpUser, HttpUser, constant_pacing

PERIOD = float(os.environ.get("PERIOD", "0.1"))
SECRET = os.environ.get("SECRET", "")


class Posting:
    """What both kinds of user do."""

    wait_time = constant_pacing(PERIOD)
    client: Any
    _numbers = iter(range(1, 1 << 30))

    def on_start(self) -> None:
        self.number, self.sent = next(Posting._numbers), 0
        form = {"grant_type": "client_credentials"}
        answer = self.client.post("/api/v2/oauth2/token", data=form, auth=("guestswarm", SECRET), name="token")
        self.headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
        body = {
            "email": f"guest-{self.number}@example.com",
            "firstName": "Jane",
            "lastName": "Doe",
            "routing": {"queueId": "support", "skill": "Tier1_Support"},
        }
        found = self.client.post("/api/v2/conversations/messaging/guest", json=body, headers=self.headers, name="guest").json()
        self.conversation, self.guest = found["conversationId"], found["guestId"]

    def message(self) -> None:
        self.sent += 1
        body = {
            "to": {"id": "support", "type": "queue"},
            "from": {"id": self.guest, "type": "guest", "name": "Jane Doe"},
            "text": "Could you please have a look at the order that I placed last week?",
            "attachments": [],
        }
        headers = {**self.headers, "X-Request-Id": f"plain-{self.number}-{self.sent}"}
        self.client.post(f"/api/v2/conversations/{self.conversation}/messages", json=body, headers=headers, name="message")


if os.environ.get("PLAIN", "http") == "fast":

    class Fast(Posting, FastHttpUser):
        """geventhttpclient."""

        tasks = [Posting.message]  # noqa: RUF012

else:

    class Plain(Posting, HttpUser):
        """requests."""

        tasks = [Posting.message]  # noqa: RUF012
