"""``asyncio-loader train``."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from asyncio_loader.arguments import local_path
from asyncio_loader.cli.arguments import add_cfg_options, add_config, add_trust, let_idle_threads_sleep, port
from asyncio_loader.cli.exit_codes import OK, exit_code, is_bug, is_one_of_several, tell
from asyncio_loader.errors import LoaderError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "train what an OpenMMLab config describes, its data in S3 or on disk"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See `Command`."""
    add_config(parser)
    parser.add_argument(
        "--work-dir",
        type=local_path,
        metavar="D",
        help="where checkpoints and logs go (default: work_dirs/<name of CONFIG>)",
    )
    add_cfg_options(parser)
    parser.add_argument("--resume", action="store_true", help="continue from this run's last checkpoint")
    parser.add_argument(
        "--metrics-port",
        type=port,
        metavar="N",
        help="show the loaders' figures to Prometheus there; of several ranks on a machine each takes the next port",
    )
    parser.add_argument(
        "--metrics-addr",
        default="127.0.0.1",
        metavar="A",
        help="address to listen at, 0.0.0.0: all of this machine (default: %(default)s)",
    )
    parser.add_argument(
        "--trace",
        type=Path,
        metavar="FILE",
        help="record when each object got where, for ui.perfetto.dev; of several ranks each has its own file",
    )
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="show how loading, uploads and downloads go (default: on a terminal)",
    )
    add_trust(parser)


def run(arguments: argparse.Namespace) -> int:
    """See `Command`. Of several ranks one tells what went wrong."""
    let_idle_threads_sleep()
    if not is_one_of_several():
        _load_and_train(arguments, nullcontext())
        return OK
    from asyncio_loader.training.distributed import joined_ranks, teller_of

    with joined_ranks() as ranks:
        try:
            _load_and_train(arguments, ranks.agreed())
        except (LoaderError, OSError, ModuleNotFoundError) as error:
            teller = teller_of(error)
            if teller is None or arguments.debug or is_bug(error):
                raise
            code = tell(error) if teller == ranks.rank else exit_code(error)
            # The first to go is the end of all; nobody goes before it has been told why.
            ranks.wait()
            return code
    return OK


def _load_and_train(arguments: argparse.Namespace, agreed: AbstractContextManager[None]) -> None:
    with agreed:
        from asyncio_loader.config import load_config, parse_cfg_options

        config = load_config(arguments.config, parse_cfg_options(arguments.cfg_options))
        from asyncio_loader.progress import process_board
        from asyncio_loader.training.runner import train
    # A process that is not unwound leaves a terminal whose last line has an end, too.
    arguments.before_kill(process_board().close)
    train(
        config,
        work_dir=arguments.work_dir,
        resume=arguments.resume,
        trusted=arguments.trust,
        before_kill=arguments.before_kill,
        metrics_port=arguments.metrics_port,
        metrics_addr=arguments.metrics_addr,
        trace=arguments.trace,
        progress=arguments.progress,
    )
