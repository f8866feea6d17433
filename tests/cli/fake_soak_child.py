"""Plays the load children of a soak, one after the other: what each of them does stands in `plan` in the run folder's parent."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

folder = Path(sys.argv[1])
plan = folder.parent.parent / "plan"
how, *rest = plan.read_text().split()
plan.write_text(" ".join(rest))
order = json.loads((folder / "load.json").read_text())
with (folder.parent.parent / "orders").open("a") as file:
    file.write(json.dumps(order) + "\n")
if how in ("4", "5", "2"):
    print(json.dumps({"kind": "error", "what": f"refused with {how}", "where": "https://api.example.com", "hint": ""}), flush=True)
    sys.exit(int(how))
(folder / "journal-1.bin").touch()
if how == "lost":
    os.kill(os.getpid(), signal.SIGKILL)
manifest = json.loads((folder / "manifest.json").read_text())
(folder / "manifest.json").write_text(json.dumps({**manifest, "ended": how}))
print(json.dumps({"kind": "end", "ended": how}), flush=True)
