"""The command line as a whole: the parser of all commands, and the run of one."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Protocol

from asyncio_loader import __version__
from asyncio_loader.cli import convert, demo, doctor, report, show, train, tune
from asyncio_loader.cli.exit_codes import OK, is_bug, is_one_of_several, rank, say, tell
from asyncio_loader.cli.interrupts import ENDS, InterruptDeadline, Terminated, terminable
from asyncio_loader.errors import LoaderError

__all__ = ["main", "tune_parser"]


class Command(Protocol):
    """What the module of a command has.

    Attributes:
        HELP: a line about it.
    """

    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add its own; ``--debug`` is there."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do it. The exit code."""
        ...


# In the order of `--help`.
_COMMANDS: dict[str, Command] = {
    "demo": demo,
    "train": train,
    "tune": tune,
    "convert": convert,
    "doctor": doctor,
    "show": show,
    "report": report,
}


def main(argv: Sequence[str] | None = None, *, parser: argparse.ArgumentParser | None = None) -> int:
    """Run a command line.

    Args:
        argv: without the program; None: the process's own.
        parser: that of one command which is a program of its own; None: ``asyncio-loader`` with all its commands.

    Returns:
        Exit code: 0 done, 1 failed, 2 bad usage or configuration, 130 interrupted, 143 terminated (SIGTERM unwinds all
        as Ctrl-C does: schedulers of batch jobs and containers end a run that way). What the loader expects to go wrong
        is one line on standard error (and a traceback with ``--debug``), and so is what the file system refuses; an
        error it does not expect keeps its traceback, because it is a bug.
    """
    parser = parser or _parser()
    if "_ARGCOMPLETE" in os.environ:
        _complete(parser)
    arguments = parser.parse_args(argv)
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        with terminable(), InterruptDeadline() as deadline:
            arguments.before_kill = deadline.before_end
            code = command(arguments)
    except KeyboardInterrupt as error:
        code, said = ENDS[signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT]
        if rank() == "0":
            say(said)
        _leave_at_once(code, argv)
    except (LoaderError, OSError, ModuleNotFoundError) as error:
        if arguments.debug or is_bug(error):
            raise
        code = tell(error)
    if code != OK and is_one_of_several():
        # torchrun ends all ranks when it sees that the first has gone, and the code of the others would be another.
        _leave_at_once(code, argv)
    return code


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, which has been told by ``register-python-argcomplete`` to ask us at a Tab, and leave."""
    import argcomplete

    argcomplete.autocomplete(parser)


def _leave_at_once(code: int, argv: Sequence[str] | None) -> None:
    """End the process, if `argv` is its own. Nothing is open, and Python would spend a second on taking torch apart."""
    if argv is None:
        sys.stdout.flush()
        os._exit(code)


def tune_parser(prog: str) -> argparse.ArgumentParser:
    """The parser of a program that is ``asyncio-loader tune`` by another name, for `main`."""
    parser = argparse.ArgumentParser(prog=prog, parents=[_common()], description=tune.HELP)
    _add(tune, parser)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asyncio-loader", description="Train vision models straight from S3.")
    parser.add_argument("--version", action="version", version=f"asyncio-loader {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    common = _common()
    for name, command in _COMMANDS.items():
        _add(command, commands.add_parser(name, parents=[common], help=command.HELP, description=command.HELP))
    return parser


def _add(command: Command, parser: argparse.ArgumentParser) -> None:
    command.add_arguments(parser)
    parser.set_defaults(command=command.run)


def _common() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser
