"""Cases of guests: a guest with a JWT of its own."""

from __future__ import annotations

from harness.core.spread import seconds
from tests.findings.cases.making import LONG, case, fault

CASES = (
    case("guests clean", "guests", "", "nothing", seconds=300.0, behaviour={"reload": 0.05}),
    case(
        "guests clean renewals",
        "guests",
        "",
        "sessions of 4 min, replaced ahead",
        seconds=500.0,
        ramp=60.0,
        simulator={"guests": {"token_life": "240s"}},
        settings={"renew_ahead": seconds(60)},
        behaviour=LONG,
    ),
    case(
        "guests token expires",
        "guests",
        "token-expired-in-session refresh-not-proactive",
        "only a load looks at the life",
        faults=("load_only_expiry",),
        seconds=500.0,
        ramp=60.0,
        simulator={"guests": {"token_life": "120s"}},
        behaviour=LONG,
        also={"socket-token-refused": "the spent token is tried again at each reconnect"},
    ),
    case("guests wrong secret", "guests", "credentials-refused", "another client id", target={"client_id": "nobody"}),
    case(
        "guests scope missing",
        "guests",
        "scope-refused",
        "guest:create is missing",
        simulator={"credentials": {"scopes": ["guest:read", "webchat:send"]}},
    ),
    case(
        "guests empty hints",
        "guests",
        "jwt-routing-hints-empty",
        "a third of the tokens has no hints",
        simulator={"guests": {"no_hints": 0.34}},
    ),
    case("guests bad JWT", "guests", "jwt-refused", "a third of the tokens is no JWT", simulator={"guests": {"malformed": 0.34}}),
    case("guests fast clock", "guests", "server-clock-skew jwt-refused", "the guest's clock is 2 h ahead", faults=("fast_clock",)),
    case("guests big profile", "guests", "profile-too-large", "11 KB of attributes", faults=("big_profile",)),
    case(
        "guests unknown profile",
        "guests",
        "profile-unknown-guest",
        "guests are forgotten",
        simulator={"guests": {"unknown_guest": 1.0, "unknown_as_400": True}},
        settings={"profile_sync": 1.0},
    ),
    case(
        "guests expired profile",
        "guests",
        "session-not-found",
        "guests are gone",
        simulator={"guests": {"unknown_guest": 1.0}},
        settings={"profile_sync": 1.0},
    ),
    case(
        "guests resumed without a birthday",
        "guests",
        "session-duration-unknown",
        "resumed sessions count from nowhere",
        faults=("forget_created",),
        behaviour={"reload": 0.2},
    ),
    case(
        "guests rate limit",
        "guests",
        "rate-limited",
        "6 calls a minute for the client",
        guests=10,
        ramp=2.0,
        simulator={"limits": [{"endpoint": "POST /api/v2/guests", "kind": "fixed_window", "window": "30s", "rate": "6/min"}]},
    ),
    case(
        "guests date at once",
        "guests",
        "rate-limited retry-after-ignored",
        "Retry-After as a date is not understood",
        faults=("date_at_once",),
        guests=10,
        ramp=2.0,
        simulator={
            "limits": [
                {"endpoint": "POST /api/v2/guests", "kind": "fixed_window", "window": "30s", "rate": "6/min", "retry_after": "date"}
            ]
        },
    ),
    case("guests resets", "guests", "", "connections reset now and then", simulator=fault("reset", share=0.05), behaviour=LONG),
    case(
        "guests mass reconnect",
        "guests",
        "",
        "all connections cut at once, with jitter",
        guests=20,
        ramp=20.0,
        simulator=fault("mass_disconnect", at="60s", every="60s"),
        behaviour=LONG,
    ),
    case(
        "guests zombie",
        "guests",
        "zombie-connection",
        "connections go deaf",
        simulator=fault("half_open", share=0.05),
        behaviour=LONG,
        seconds=400.0,
    ),
    case(
        "guests out of order",
        "guests",
        "out-of-order",
        "messages overtaken",
        simulator={"agents": {"extra": 0.8}, **fault("reorder", share=0.3)},
        behaviour=LONG,
    ),
    case("guests agent closes", "guests", "", "agents end conversations", simulator={"agents": {"close": 0.2}}),
)
