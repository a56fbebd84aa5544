"""``asyncio-loader demo``."""

from __future__ import annotations

import argparse
from pathlib import Path

from asyncio_loader.arguments import local_path, positive_count
from asyncio_loader.cli.arguments import let_idle_threads_sleep
from asyncio_loader.cli.exit_codes import FAILED, OK

__all__ = ["HELP", "add_arguments", "run"]

HELP = "from a bucket on this machine to a trained Faster R-CNN, in a few minutes on a CPU"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command`."""
    parser.add_argument(
        "--keep", type=local_path, metavar="DIR", help="write the made-up data set to DIR and leave it there"
    )
    parser.add_argument("--steps", type=positive_count, metavar="N", help="training steps (default: the config's)")
    parser.add_argument(
        "--out",
        type=local_path,
        default=Path("work_dirs", "demo"),
        metavar="DIR",
        help="where the picture, checkpoint and log go (default: %(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """See `Command`."""
    let_idle_threads_sleep()
    from asyncio_loader.demo.run import run_demo

    return OK if run_demo(keep=arguments.keep, steps=arguments.steps, out=arguments.out) else FAILED
