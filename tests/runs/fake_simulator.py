"""Plays the simulator's process: argv[1] says how it behaves, the rest is what the real one would be given."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

how = sys.argv[1]
options = dict(zip(sys.argv[3::2], sys.argv[4::2], strict=False))
if how == "dies":
    print("guestswarm simulator: no such fault 'flood'", file=sys.stderr)
    sys.exit(2)
if how == "raises":
    raise RuntimeError("deep inside")
if how == "silent":
    time.sleep(60)
if how == "babbles":
    print("hello", flush=True)
    time.sleep(60)
line = {"port": 4711, "ca": "ca.pem" if "--tls" in sys.argv else None, "control": 4712, "token": "t0ken"}
if "--hand-over" in sys.argv:
    line["identity"] = "k3y"
print(json.dumps(line | {"secret": os.environ.get("GUESTSWARM_SIM_SECRET")}), flush=True)
with open(os.path.join(options["--folder"], "seen.json"), "w") as file:
    json.dump(
        {"config": json.loads(Path(options["--config"]).read_text()), "seed": options["--seed"], "session": os.getsid(0)}, file
    )
if how == "stubborn":
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(60)
sys.stdin.read()
