"""Cases of longpoll: guests who poll."""

from __future__ import annotations

from typing import Any

from harness.core.spread import seconds
from tests.findings.cases.making import LONG, case, fault


def _lose_files(world: Any, sessions: Any, recorder: Any, engine: Any) -> None:
    """The server forgets the files of half of the messages that have some."""
    take, seen = engine.take, [0]

    def losing(now: int, conv: Any, text: str, mid: str, who: str, name: str, attachments: Any = None, **more: Any) -> Any:
        seen[0] += 1
        return take(now, conv, text, mid, who, name, [] if attachments and seen[0] % 2 else attachments, **more)

    engine.take = losing


CASES = (
    case("longpoll clean", "longpoll", "", "nothing", seconds=300.0, behaviour={"attachments": 0.2, "reload": 0.05}),
    case(
        "longpoll clean renewals",
        "longpoll",
        "",
        "tokens of 2 min, renewed ahead",
        seconds=400.0,
        ramp=60.0,
        simulator={"token_life": "120s"},
        settings={"refresh_ahead": seconds(30)},
        behaviour=LONG,
    ),
    case(
        "longpoll token expires",
        "longpoll",
        "refresh-not-proactive",
        "renewed once it is over",
        settings={"proactive_refresh": False},
        seconds=400.0,
        ramp=60.0,
        simulator={"token_life": "120s"},
        behaviour=LONG,
    ),
    case(
        "longpoll token frozen",
        "longpoll",
        "token-expired-in-session refresh-not-proactive",
        "never renewed",
        faults=("no_refresh",),
        seconds=400.0,
        ramp=60.0,
        simulator={"token_life": "120s"},
        behaviour=LONG,
    ),
    case(
        "longpoll refresh storm",
        "longpoll",
        "refresh-storm",
        "renewals in step",
        faults=("no_jitter",),
        guests=12,
        ramp=0.5,
        seconds=300.0,
        simulator={"token_life": "150s"},
        behaviour=LONG,
    ),
    case("longpoll wrong secret", "longpoll", "credentials-refused", "another client id", target={"client_id": "nobody"}),
    case(
        "longpoll origin",
        "longpoll",
        "origin-refused",
        "an origin that is not on the list",
        target={"origin": "https://elsewhere.example"},
        simulator={"credentials": {"origins": ["https://here.example"]}},
    ),
    case(
        "longpoll scope missing",
        "longpoll",
        "scope-refused",
        "the application may not send",
        simulator={"credentials": {"scopes": ["guest:create", "conversations:read", "conversations:write"]}},
    ),
    case(
        "longpoll routing loop",
        "longpoll",
        "routing-loop",
        "a queue id that does not exist",
        simulator={"queues": ["other"]},
        seconds=300.0,
    ),
    case("longpoll no routing", "longpoll", "routing-loop", "no routing at all", settings={"routing": False}, seconds=300.0),
    case(
        "longpoll nobody on shift",
        "longpoll",
        "queue-stall-nobody-on-shift",
        "a skill that no agent has",
        simulator={"skills": {"Billing": False}},
        seconds=300.0,
    ),
    case(
        "longpoll queue overflow",
        "longpoll",
        "queue-overflow",
        "one agent for many",
        guests=8,
        seconds=500.0,
        simulator={"agents": {"number": 1, "concurrency": 1}},
        settings={"stalled_callback": 0.0, "stalled_transfer": 0.0},
    ),
    case(
        "longpoll race",
        "longpoll",
        "attachment-race",
        "messages do not wait for their files",
        faults=("race_attachments",),
        behaviour={**LONG, "attachments": 0.5},
        simulator={"latency": {"upload": "500ms"}},
    ),
    case(
        "longpoll files lost",
        "longpoll",
        "attachment-broken",
        "the server loses files, though messages waited for them",
        tamper=_lose_files,
        behaviour={**LONG, "attachments": 0.5},
        simulator={"latency": {"upload": "500ms"}},
    ),
    case(
        "longpoll uploads fail",
        "longpoll",
        "upload-failed-three-times",
        "the files service fails",
        behaviour={**LONG, "attachments": 0.5},
        simulator=fault("http_error", endpoint="POST /api/v2/files/upload"),
    ),
    case(
        "longpoll uploads fail now and then",
        "longpoll",
        "",
        "the files service fails now and then",
        behaviour={**LONG, "attachments": 0.5},
        simulator=fault("http_error", endpoint="POST /api/v2/files/upload", share=0.1),
    ),
    case("longpoll naive", "longpoll", "naive-polling", "a poll every 2 s", faults=("naive_poll",)),
    case(
        "longpoll short holds",
        "longpoll",
        "",
        "the server holds no poll longer than 2 s",
        simulator={"longpoll": {"max_wait": "2s"}},
        behaviour=LONG,
    ),
    case("longpoll half naive", "longpoll", "naive-polling", "half of the guests poll every 2 s", settings={"naive_share": 0.5}),
    case(
        "longpoll auto-closed",
        "longpoll",
        "conversation-auto-closed",
        "away for 90 s, closed after 60 s",
        simulator={"auto_close": "60s", **fault("maintenance", at="60s", **{"for": "90s"})},
        behaviour=LONG,
    ),
    case("longpoll agent closes", "longpoll", "", "agents end conversations", simulator={"agents": {"close": 0.2}}),
    case(
        "longpoll answers broken off",
        "longpoll",
        "",
        "answers cut now and then",
        simulator=fault("reset", share=0.02),
        behaviour=LONG,
    ),
    case(
        "longpoll duplicates",
        "longpoll",
        "duplicates-by-server",
        "events twice",
        simulator=fault("duplicate", share=0.1),
        behaviour=LONG,
    ),
    case(
        "longpoll blind re-send",
        "longpoll",
        "duplicates-by-resend resent-unchecked",
        "unanswered POSTs are sent again",
        faults=("blind_resend",),
        simulator=fault("lose_confirm", share=0.2),
        behaviour=LONG,
    ),
    case(
        "longpoll rate limit",
        "longpoll",
        "rate-limited",
        "the send endpoint takes 5 a minute of each",
        simulator={
            "limits": [
                {
                    "endpoint": "POST /api/v2/conversations/{conversationId}/messages",
                    "rate": "4/min",
                    "burst": 1,
                    "scope": "session",
                }
            ]
        },
        behaviour=LONG,
    ),
)
