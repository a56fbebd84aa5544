"""``asyncio-loader convert``."""

from __future__ import annotations

import argparse
from contextlib import nullcontext

from asyncio_loader.cli.arguments import add_trust
from asyncio_loader.cli.exit_codes import OK

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write the weights of a Faster R-CNN checkpoint as another project names them; paths may be s3://"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command`."""
    parser.add_argument("source", metavar="SRC", help="checkpoint of this project, torchvision or mmdet")
    parser.add_argument("target", metavar="DST", help="file to write; replaced if it is there")
    parser.add_argument("--to", choices=["mmdet", "torchvision"], required=True, help="whose names and layout")
    add_trust(parser)


def run(arguments: argparse.Namespace) -> int:
    """See `Command`."""
    from asyncio_loader.progress import can_be_live, showing_transfers
    from asyncio_loader.training.weights import convert_checkpoint

    with showing_transfers() if can_be_live() else nullcontext():
        count = convert_checkpoint(arguments.source, arguments.target, to=arguments.to, trusted=arguments.trust)
    print(f"{arguments.target}: {count} tensors")
    return OK
