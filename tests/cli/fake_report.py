"""Plays the report child: says what it was given and ends with the code in argv[1]."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

folder = Path(sys.argv[2])
ended = json.loads((folder / "manifest.json").read_text())["ended"]
(folder / "reporting").write_text("")
if sys.argv[1] == "hangs":
    time.sleep(60)
print(json.dumps({"args": sys.argv[3:], "ended": ended}))
sys.exit(int(sys.argv[1]))
