"""The options of ``asyncio-loader tune`` and of ``bench/throughput.py``. Standard library only: ``--help`` is quick."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from asyncio_loader.arguments import add_storage, local_path, positive_count, positive_seconds
from asyncio_loader.errors import ConfigError

__all__ = ["EPILOG", "add_arguments", "check_arguments"]

# argparse puts in the program: a percent sign would be written as two.
EPILOG = """\
examples:
  %(prog)s                                          a simulated S3 on this machine, to see what it does
  %(prog)s s3://bucket/coco/train2017/              fetching alone
  %(prog)s s3://bucket/coco/train2017/ --decode     as training sees it, decoded in threads
  %(prog)s s3://bucket/x/ --endpoint-url http://minio:9000 --concurrency 32,64,128,256,512

Each concurrency is measured in a process of its own: first a warm-up that opens the connections, then --seconds of
steady state. It reads, and writes nothing to the bucket; 5 settings of 5 s at 1 GB/s are 30 GB that leave it.
exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted (the table of what was measured comes anyway).
"""

_CONCURRENCY = (16, 32, 64, 128, 256)
_SECONDS = 5.0
_MOST_OBJECTS = 10_000
# S3 itself: first byte after 10–200 ms, around 30 in the middle.
_MEDIAN_MS = 30.0
_P99_OF_MEDIAN = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add all of them."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    # All of them by name would bury the line that says what is wrong.
    parser.usage = "%(prog)s [URI] [options]"
    parser.add_argument(
        "uri", metavar="URI", nargs="?", help="s3://bucket/prefix with the objects; none: a simulator on this machine"
    )
    what = parser.add_argument_group("what is measured")
    what.add_argument(
        "--concurrency",
        type=_counts,
        default=_CONCURRENCY,
        metavar="N,N,…",
        help=f"GETs in flight per process, one setting each (default: {','.join(map(str, _CONCURRENCY))})",
    )
    what.add_argument(
        "--seconds",
        type=positive_seconds,
        default=_SECONDS,
        metavar="S",
        help="steady state per setting (default: %(default)g)",
    )
    what.add_argument("--decode", action="store_true", help="decode the images, too (simplejpeg), in --threads threads")
    what.add_argument("--threads", type=positive_count, metavar="N", help="decoding threads (default: one per core)")
    what.add_argument(
        "--workers",
        type=positive_count,
        metavar="N",
        help="N workers of a torch DataLoader in place of threads in one process",
    )
    what.add_argument(
        "--objects",
        type=positive_count,
        default=_MOST_OBJECTS,
        metavar="N",
        help="list no more than the first N; they come in random order, again and again (default: %(default)d)",
    )
    what.add_argument("--seed", type=int, default=0, metavar="N", help="of that order (default: %(default)d)")
    what.add_argument(
        "--out",
        type=local_path,
        default=Path("work_dirs", "tune"),
        metavar="DIR",
        help="where JSON and plot go (default: %(default)s)",
    )
    what.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="record when each object got where, for ui.perfetto.dev; that takes time, which is in the figures",
    )
    add_storage(parser)
    simulator = parser.add_argument_group("the simulator, when there is no URI")
    simulator.add_argument(
        "--latency-median", type=_milliseconds, metavar="MS", help=f"to the first byte (default: {_MEDIAN_MS:g})"
    )
    simulator.add_argument(
        "--latency-p99",
        type=_milliseconds,
        metavar="MS",
        help=f"99th percentile of it (default: {_P99_OF_MEDIAN:g} times the median)",
    )


def check_arguments(arguments: argparse.Namespace) -> None:
    """Refuse what does not go together, and fill in the simulator's latency.

    Raises:
        ConfigError: what is wrong, in a line.
    """
    if arguments.threads is not None and not arguments.decode:
        raise ConfigError("--threads are decoding threads: they need --decode")
    if arguments.threads is not None and arguments.workers is not None:
        raise ConfigError("--threads and --workers exclude each other: a worker decodes by itself")
    if arguments.uri is not None:
        if arguments.latency_median is not None or arguments.latency_p99 is not None:
            raise ConfigError("--latency-median and --latency-p99 are the simulator's: leave the URI out for them")
        return
    for name in ("endpoint_url", "region", "profile", "anonymous"):
        if getattr(arguments, name):
            raise ConfigError(f"--{name.replace('_', '-')} is about a bucket: give its URI, s3://bucket/prefix")
    if arguments.latency_median is None:
        arguments.latency_median = _MEDIAN_MS
    if arguments.latency_p99 is None:
        arguments.latency_p99 = _P99_OF_MEDIAN * arguments.latency_median
    if arguments.latency_p99 < arguments.latency_median or (arguments.latency_p99 and not arguments.latency_median):
        raise ConfigError(
            f"--latency-p99 {arguments.latency_p99:g} does not fit --latency-median {arguments.latency_median:g}: "
            "it is at least the median, and the median is above 0"
        )


def _counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({positive_count(part.strip()) for part in text.split(",")}))


def _milliseconds(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds, 0 or more")
    return value


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return value if math.isfinite(value) else -1.0
