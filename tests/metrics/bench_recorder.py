"""What recording costs: `python -m tests.metrics.bench_recorder`."""

from __future__ import annotations

import statistics
import time

from harness.core import ops
from harness.metrics.recorder import Recorder

NOW = 10**15
ROWS = 60_000


def cost(given: list[ops.Row], poll_return_ns: int = 0, **options: str) -> str:
    """Nanoseconds a row, best and median of nine passes, the close of the interval in it."""
    passes = []
    for _ in range(9):
        recorder = Recorder("ab12", "w0", lambda _: None, start_ns=NOW, **options)  # type: ignore[arg-type]
        for slot in range(500):
            recorder.record(ops.State(NOW, f"{slot}-1", "", "chatting"))
        take = recorder.record
        recorder.poll_return_ns = poll_return_ns
        began = time.perf_counter_ns()
        for row in given:
            take(row)
        recorder.close_interval(NOW + 10**9)
        passes.append((time.perf_counter_ns() - began) / len(given))
        assert recorder.fault == ""
    return f"{min(passes):6.0f} {statistics.median(passes):6.0f}"


def main() -> None:
    """Print one line for each kind of row."""
    labels = [f"{n % 500}-1" for n in range(ROWS)]
    kinds: dict[str, list[ops.Row]] = {
        "Sample reply": [ops.Sample(NOW, label, "reply", "ok", "", NOW, NOW + 9, NOW + 10**8, 0, "7", "") for label in labels],
        "Sample http": [ops.Sample(NOW, label, "resync", "ok", "", NOW, NOW, NOW + 9, 0, "r", "GET /x/{id}") for label in labels],
        "Arrived": [ops.Arrived(NOW, label, "a", n // 500 + 1, 0, "push", 1, f"m{n}", 0, "v") for n, label in enumerate(labels)],
        "Invoked": [ops.Invoked(NOW, label, n // 500 + 1, 1, NOW, 90) for n, label in enumerate(labels)],
        "State": [ops.State(NOW, label, "queued", "chatting") for label in labels],
    }
    print("ns a row       best median")
    for name, rows in kinds.items():
        print(f"{name:12}", cost(rows))
    print(f"{'bracketed':12}", cost(kinds["Sample reply"], NOW + 10**7))
    print(f"{'no rows':12}", cost(kinds["Sample reply"], rows="none"))


if __name__ == "__main__":
    main()
