"""``asyncio-loader doctor``."""

from __future__ import annotations

import argparse

from asyncio_loader.cli.exit_codes import FAILED, OK
from asyncio_loader.doctor.arguments import add_arguments

__all__ = ["HELP", "add_arguments", "run"]

HELP = "look at all that is between this machine and its data (keys, clock, speed, …), and say what to do"


def run(arguments: argparse.Namespace) -> int:
    """See `Command`."""
    from asyncio_loader.doctor.run import run_doctor

    return OK if run_doctor(arguments) else FAILED
