"""``asyncio-loader show``."""

from __future__ import annotations

import argparse

from asyncio_loader.arguments import local_path, positive_count
from asyncio_loader.cli.arguments import add_cfg_options, add_config, let_idle_threads_sleep
from asyncio_loader.cli.exit_codes import OK

__all__ = ["HELP", "add_arguments", "run"]

HELP = "draw what a config's pipeline feeds to the model: a contact sheet with boxes, masks, padding; needs no display"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command`."""
    add_config(parser)
    parser.add_argument(
        "-n", type=positive_count, default=16, metavar="N", help="how many samples (default: %(default)d)"
    )
    parser.add_argument(
        "--split", choices=["train", "val", "test"], default="train", help="of the config's data (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=local_path,
        metavar="FILE",
        help="the PNG (default: show_<split>.png in work_dirs/<name of CONFIG>)",
    )
    add_cfg_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """See `Command`."""
    let_idle_threads_sleep()
    from asyncio_loader.config import load_config, parse_cfg_options

    config = load_config(arguments.config, parse_cfg_options(arguments.cfg_options))
    from asyncio_loader.show.run import show

    print(show(config, split=arguments.split, count=arguments.n, out=arguments.out))
    return OK
