"""The options of ``asyncio-loader doctor``. Standard library only: ``--help`` is quick."""

from __future__ import annotations

import argparse

from asyncio_loader.arguments import add_storage, positive_count, positive_seconds

__all__ = ["add_arguments"]

_EPILOG = """\
examples:
  %(prog)s s3://bucket/coco/train2017/              can it be listed and read, and how fast
  %(prog)s s3://bucket/runs/ --write                may checkpoints be put there, too
  %(prog)s s3://bucket/x/ --endpoint-url http://minio:9000
  %(prog)s data/coco/train2017/                     a directory of this machine

Each line says ok, warning or failed, and behind an arrow what to do. It only reads, for some seconds; with --write it
puts one object of 41 bytes called asyncio-loader-doctor-…, reads it and deletes it.
exit codes: 0 ok, or warnings only, 1 something failed, 2 bad usage, 130 interrupted.
"""

_SECONDS = 2.0
_MIB = 256
# Enough to see what more connections bring; which number is best is for `tune` to find.
_CONCURRENCY = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all of them."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("uri", metavar="URI", help="s3://bucket[/prefix or key], a path, or memory://")
    parser.add_argument("--write", action="store_true", help="see also whether an object can be put and deleted there")
    parser.add_argument(
        "--seconds",
        type=positive_seconds,
        default=_SECONDS,
        metavar="S",
        help="seconds that each measurement of the rate takes (default: %(default)g)",
    )
    parser.add_argument(
        "--mib",
        type=positive_count,
        default=_MIB,
        metavar="N",
        help="MiB that each of them reads at the most (default: %(default)d)",
    )
    parser.add_argument(
        "--concurrency",
        type=positive_count,
        default=_CONCURRENCY,
        metavar="N",
        help="GETs in flight in the second of them (default: %(default)d)",
    )
    add_storage(parser)
