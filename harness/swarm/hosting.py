"""`locust -f locustfiles/webchat.py`: Locust's own command as the host of runs. Importing this module in a locustfile is all.

The scenario comes by `--scenario` (or GUESTSWARM_SCENARIO); Locust's `-u`, `-r`, `-t` and `--host` beat it where they are
given. Each start of a test (there can be many from the web page) is a run with a folder of its own, each stop drains and
judges it, and the process ends with the verdict's exit code. With `--processes` or `--master` the master owns folder,
simulator and verdict; each worker has its own guests and its own journal in the same folder.
"""

from __future__ import annotations

import locust

import sys
from typing import Any

from locust import runners

from harness.errors import GuestswarmError
from harness.swarm.host import Host
from harness.swarm.master import MasterHost
from harness.swarm.user import GuestUser
from harness.swarm.worker import WorkerHost

_LOOPBACK = "127.0.0.1"


def add_options(parser: Any, **_: Any) -> None:
    """Our one option, and Locust's addresses on loopback unless somebody asks for more."""
    parser.add_argument(
        "--scenario",
        metavar="FILE",
        default="",
        env_var="GUESTSWARM_SCENARIO",
        include_in_web_ui=False,
        help="guestswarm: the scenario (.toml)",
    )
    parser.add_argument(
        "--runs",
        metavar="DIR",
        default="reports",
        env_var="GUESTSWARM_RUNS",
        include_in_web_ui=False,
        help="guestswarm: where runs land (default: reports)",
    )
    parser.set_defaults(web_host=_LOOPBACK, master_bind_host=_LOOPBACK)


def on_init(environment: Any, runner: Any, web_ui: Any, **_: Any) -> None:
    """Take our place in a Locust process. A wrong scenario ends it before anything is opened."""
    if not any(issubclass(user, GuestUser) for user in environment.user_classes):
        return
    if isinstance(runner, runners.WorkerRunner):
        WorkerHost(environment, runner).install()
        return
    try:
        host = (MasterHost if isinstance(runner, runners.MasterRunner) else Host)(environment, runner, web_ui)
    except GuestswarmError as error:
        sys.stderr.write(f"guestswarm: {error}\n")
        sys.exit(int(error.exit_code))
    host.install()


locust.events.init_command_line_parser.add_listener(add_options)  # type: ignore[no-untyped-call]
locust.events.init.add_listener(on_init)  # type: ignore[no-untyped-call]
