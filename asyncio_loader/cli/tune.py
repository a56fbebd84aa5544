"""``asyncio-loader tune``."""

from __future__ import annotations

import argparse

from asyncio_loader.cli.exit_codes import OK
from asyncio_loader.tuning.arguments import add_arguments

__all__ = ["HELP", "add_arguments", "run"]

HELP = "measure how many GETs in flight are worth it, for a bucket and this machine, and print the options to set"


def run(arguments: argparse.Namespace) -> int:
    """See `Command`."""
    from asyncio_loader.tuning.run import run_tune

    run_tune(arguments)
    return OK
