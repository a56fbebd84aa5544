"""``asyncio-loader report``."""

from __future__ import annotations

import argparse

from asyncio_loader.cli.exit_codes import FAILED, OK, say

__all__ = ["HELP", "add_arguments", "run"]

HELP = "make one page that shows what a run did, second by second, and what held it up"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command`."""
    parser.add_argument(
        "run",
        metavar="RUN",
        help="work directory (its latest run), log directory or record.jsonl; a path or an s3:// URI",
    )
    parser.add_argument(
        "-o", "--out", default="report.html", metavar="FILE", help="the page, HTML (default: %(default)s)"
    )


def run(arguments: argparse.Namespace) -> int:
    """See `Command`. What could not be read of the run is told, and is a failure; the page has the rest."""
    from asyncio_loader.report.run import write_report

    notes = write_report(arguments.run, arguments.out)
    for note in notes:
        say(f"warning: {note}")
    print(arguments.out)
    return FAILED if notes else OK
