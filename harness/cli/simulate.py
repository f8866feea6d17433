"""`guestswarm simulate`: the simulator alone, in the foreground."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from harness.cli.terminal import Terminal


def add_to(commands: Any, common: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser = commands.add_parser(
        "simulate", parents=[common], help="the simulator alone; one JSON line on stdout when it listens, then until stopped"
    )
    parser.add_argument("--config", metavar="FILE", help="the [simulator] table as TOML or JSON; a whole scenario will do")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--port", default="0", help="0: any free one")
    parser.add_argument("--tls", action="store_true", help="with a certificate authority made for this run")
    parser.add_argument("--name", action="append", default=[], metavar="HOST", help="further name in the certificate")
    parser.add_argument("--folder", default=".", help="for truth.jsonl, ca.pem and a made-up secret")
    parser.add_argument("--dialects", default="", help="comma-separated; default: all")
    parser.set_defaults(execute=execute)


def execute(args: argparse.Namespace, terminal: Terminal) -> int:  # noqa: ARG001
    """Become the simulator: the same process id, so that signals need no passing on."""
    argv = [sys.executable, "-m", "harness.simulator", "--seed", args.seed, "--port", args.port, "--folder", args.folder]
    if args.config:
        argv += ["--config", args.config]
    if args.dialects:
        argv += ["--dialects", args.dialects]
    if args.tls:
        argv.append("--tls")
    for name in args.name:
        argv += ["--name", name]
    sys.stdout.flush()
    os.execv(sys.executable, argv)  # noqa: S606
