"""Scenes of a transcript played against one server half: guest lines become input, server lines are compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import strategies as st

from harness.conformance.bench import SECOND, SECRET, Bench
from harness.conformance.witness import Witness, scenes
from harness.core.wire import HttpResponse
from harness.simulator.config import SimConfig
from harness.simulator.conversations import Conversation

Hooks = Mapping[int, Callable[[], object]]
"""What else happens before a scene's line of that number."""


class Player:
    """Plays scenes, each after the one it says it follows."""

    dialect = ""
    spelt: dict[str, str] = {}  # noqa: RUF012
    """Names as the transcript has them -> as the bench has them."""

    def __init__(self, table: dict[str, Any] | None = None, **names: Any) -> None:
        self.scenes = scenes(self.dialect)
        self.bench = Bench(table, dialects=[self.dialect])
        self.witness = Witness(**names)
        self.conn = self.request = self.peers = 0
        self.refusal: HttpResponse | None = None
        self.seen: Counter[int] = Counter()

    @property
    def half(self) -> Any:
        return self.bench.engine.halves[self.dialect]

    @property
    def conv(self) -> Conversation:
        """The newest conversation."""
        return list(self.bench.engine.conversations.values())[-1]

    def play(self, scene: str, hooks: Hooks | None = None) -> None:
        """A scene, after the one it follows."""
        first = self.scenes[scene][0]
        if "after" in first:
            self.play(first["after"])
        self.go(scene, hooks)

    def go(self, scene: str, hooks: Hooks | None = None, *, start: int = 0, stop: int | None = None) -> None:
        """A scene alone, from a line on."""
        for place, line in enumerate(self.scenes[scene][start:stop], start):
            if hooks and place in hooks:
                hooks[place]()
            getattr(self, f"_{line['from']}_{line['kind']}")(line)

    def run_to(self, seconds: float) -> None:
        """Until so long after the beginning."""
        self.bench.run(seconds - (self.bench.now - self.bench.start) / SECOND)

    def switch(self, **table: Any) -> None:
        """Set the half's own table from here on."""
        self.half.settings = SimConfig.from_table({self.dialect: table}).settings_of(type(self.half))

    def says(self, answers: int = 0) -> None:
        """The agent says something now."""
        self.bench.engine.agent_says(self.bench.now, self.conv, answers)
        self.bench.tell()

    def types(self) -> None:
        """The agent types now."""
        self.half.typing(self.bench.now, self.conv)

    def faults(self, *plan: dict[str, Any]) -> None:
        """Another fault plan from here on."""
        self.bench.engine.set_faults(self.bench.now, list(plan))

    def drop(self) -> None:
        """The server's side resets the socket."""
        self.bench.engine.end(self.bench.now, self.bench.engine.conns[self.conn], "test", how="reset")
        self.bench.tell()

    # ------------------------------------------------------------ guest
    def _put(self, text: str) -> str:
        for name, value in self.spelt.items():
            text = text.replace(name, value)
        return text.replace("YOUR_CLIENT_SECRET", SECRET)

    def _guest_http(self, line: dict[str, Any]) -> None:
        fill = self.witness.fill
        body = line["body"]
        data = self._put(fill(body) if isinstance(body, str) else json.dumps(fill(body))).encode()
        headers = {name: self._put(value) for name, value in fill(line["headers"]).items()}
        self.request = self.bench.request(line["method"], self._put(fill(line["path"])), data, **headers)

    def _guest_upgrade(self, line: dict[str, Any]) -> None:
        self.peers += 1
        self.conn, self.refusal = self.bench.upgrade(self.witness.fill(line["path"]), f"127.0.0.1:{4000 + self.peers}")

    def _guest_frame(self, line: dict[str, Any]) -> None:
        assert self.refusal is None, self.refusal
        self.bench.say(self.conn, **self.witness.fill(line["body"]))

    def _guest_close(self, line: dict[str, Any]) -> None:
        self.bench.leave(self.conn, line["code"])

    # ------------------------------------------------------------ server
    def _answered(self, line: dict[str, Any], answer: HttpResponse | None) -> None:
        assert answer is not None
        assert answer.status == line["status"], answer
        assert answer.headers == line["headers"]
        self.witness.check(line["body"], json.loads(answer.body))

    def _server_http(self, line: dict[str, Any]) -> None:
        self._answered(line, self.bench.answers.get(self.request))

    def _server_upgrade(self, line: dict[str, Any]) -> None:
        if line["status"] == 101:
            assert self.refusal is None
        else:
            self._answered(line, self.refusal)

    def _server_frame(self, line: dict[str, Any]) -> None:
        at = self.seen[self.conn]
        for _ in range(300):
            if at < len(self.bench.pushed.get(self.conn, [])):
                break
            self.bench.run(0.1)
        frame = json.loads(self.bench.pushed[self.conn][at])
        self.seen[self.conn] += 1
        self.compare(line["body"], frame)

    def compare(self, pattern: dict[str, Any], frame: dict[str, Any]) -> None:
        self.witness.check(pattern, frame)

    def _ended(self, limit: int) -> tuple[str, int]:
        for _ in range(limit * 10):
            if self.conn in self.bench.ended:
                break
            self.bench.run(0.1)
        return self.bench.ended[self.conn]

    def _server_close(self, line: dict[str, Any]) -> None:
        assert self._ended(11) == ("close", line["code"])

    def _server_cut(self, line: dict[str, Any]) -> None:
        assert self._ended(11) == ("reset", 0)

    def quiet(self) -> bool:
        """Has every frame of the newest socket been looked at?"""
        return self.seen[self.conn] == len(self.bench.pushed.get(self.conn, []))


# ---------------------------------------------------------------- for properties

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
PLAN = [
    {"name": "lose_ingest", "share": 0.05},
    {"name": "lose_push", "share": 0.05},
    {"name": "lose_all", "share": 0.05},
    {"name": "duplicate", "share": 0.1, "gap": "1s±100%"},
    {"name": "duplicate_store", "share": 0.05},
    {"name": "reorder", "share": 0.1, "extent": 2},
    {"name": "delay", "share": 0.1, "by": "3s±50%"},
    {"name": "corrupt", "share": 0.03},
    {"name": "wrong_id", "share": 0.03},
    {"name": "malformed", "share": 0.03},
    {"name": "unknown_type", "share": 0.03},
    {"name": "binary", "share": 0.03},
    {"name": "reset", "share": 0.02},
    {"name": "tear", "share": 0.02},
    {"name": "stall", "share": 0.02, "length": "5s"},
    {"name": "close_code", "every": "40s", "share": 0.1},
    {"name": "refuse_upgrade", "share": 0.05},
    {"name": "http_error", "share": 0.02},
    {"name": "slow_accept", "share": 0.1, "by": "500ms"},
]
CROWDED = {
    "agents": {
        "number": 20,
        "concurrency": 2,
        "accept": "1s±50%",
        "reply": "2s±80%",
        "typing": "300ms",
        "extra": 0.3,
        "close": 0.02,
    },
    "forget_after": "30s",
    "auto_close": "60s",
    "faults": PLAN,
    "limits": [{"endpoint": "frame message", "rate": "1/s", "burst": 3, "scope": "session"}],
}
"""A table under which much goes wrong."""


def recount(bench: Bench, pushed: dict[str, list[tuple[int, str]]]) -> None:
    """Judge the truth by another way of counting; `pushed`: the agents' numbers -> socket and id of each frame that went out."""
    counts = Counter(row["row"] for row in bench.rows())
    assert set(pushed) == set(bench.ids("messages.delivered"))
    same = cross = 0
    for copies in pushed.values():
        by_copy: dict[str, list[int]] = {}
        for conn, mid in copies:
            by_copy.setdefault(mid, []).append(conn)
        for conns in by_copy.values():
            same += sum(conn in conns[:place] for place, conn in enumerate(conns) if place)
            cross += sum(conn not in conns[:place] for place, conn in enumerate(conns) if place)
    assert (counts["duplicated.same_connection"], counts["duplicated.cross_connection"]) == (same, cross)
    assert counts["duplicated.resend"] == sum(len({mid for _, mid in copies}) - 1 for copies in pushed.values())
    assert not set(bench.ids("lost.agent")) & set(pushed)
    assert counts["disconnects"] == sum(how != "guest" for how, _ in bench.ended.values())
