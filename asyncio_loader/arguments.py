"""What command lines that look at a bucket have in common. Standard library only: ``--help`` is quick."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

__all__ = ["add_storage", "local_path", "positive_count", "positive_seconds"]


def add_storage(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where S3 is, in a group of their own."""
    group = parser.add_argument_group("where S3 is (else environment and profile, as every AWS tool has it)")
    group.add_argument("--endpoint-url", metavar="URL", help="another S3 than Amazon's: http://minio:9000")
    group.add_argument("--region", metavar="NAME", help="the bucket's region")
    group.add_argument("--profile", metavar="NAME", help="a profile of the AWS config files")
    group.add_argument("--anonymous", action="store_true", help="unsigned requests, for public buckets")


def positive_count(text: str) -> int:
    """A `type` of argparse: a whole number of at least 1."""
    value = int(text) if text.isascii() and text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def positive_seconds(text: str) -> float:
    """A `type` of argparse: a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def local_path(text: str) -> Path:
    """A `type` of argparse: a path of this machine; of a URI `Path` would make a directory ``s3:``."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text!r} is a URI, and this is written to this machine's disk")
    return Path(text)
