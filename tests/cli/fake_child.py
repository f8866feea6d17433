"""Plays the load child: argv[1] says how it behaves, argv[2] is the run folder."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType

how, folder = sys.argv[1], Path(sys.argv[2])


def say(**line: object) -> None:
    print(json.dumps(line), flush=True)


def told(number: int, _frame: FrameType | None) -> None:
    with (folder / "signals").open("a") as file:
        file.write(f"{signal.Signals(number).name}\n")


signal.signal(signal.SIGINT, told)
signal.signal(signal.SIGTERM, told)
order = json.loads((folder / "load.json").read_text())
(folder / "seen.json").write_text(
    json.dumps(
        {
            "order": order,
            "secret": bool(os.environ.get("GUESTSWARM_CLIENT_SECRET")),
            "token": os.environ.get("GUESTSWARM_CONTROL_TOKEN"),
        }
    )
)
if how == "unreachable":
    say(kind="error", what="nobody listens", where="https://api.example.com", hint="is it up?")
    sys.exit(4)
say(kind="phase", phase="load")
print("a stray line", flush=True)
say(kind="interval", guests=3, sent_per_s=2.4, p50_ms={"echo": 77.2}, p99_ms={"echo": 3710}, failed=1, lost=[0, 2], generator="ok")
(folder / "journal-0.bin").write_bytes(b"")
if how == "crashes":
    raise RuntimeError("deep inside")
if how == "shoots itself":
    os.kill(os.getpid(), signal.SIGKILL)
if how in ("waits", "deaf"):
    while how == "deaf" or not (folder / "signals").exists():
        time.sleep(0.01)
say(kind="end")
