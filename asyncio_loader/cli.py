"""``asyncio-loader demo | train | tune | convert | doctor | show``.

Commands import what they need when they run: ``--help`` costs no torch import.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

from asyncio_loader import __version__
from asyncio_loader.doctor.arguments import add_arguments as add_doctor_arguments
from asyncio_loader.errors import ConfigError, LoaderError
from asyncio_loader.tuning.arguments import add_arguments as add_tune_arguments

__all__ = ["main", "tune_parser"]

_OK, _FAILED, _BAD_USAGE = 0, 1, 2
_MOST_PORT = 65535
# What shells say of a process that a signal ended: 128 and the signal's number.
_ENDS = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}

# A backward pass or a matrix product cannot be interrupted; on a CPU it may take seconds.
_PATIENCE_S = 1.5

# Then what was asked for by `_InterruptDeadline.before_end` has this long: copying a log takes a few requests.
_LAST_ACTS_S = 3.0

# Extra to install for a package that a command does not find.
_EXTRAS = {
    **dict.fromkeys(("mmengine", "torchvision", "pycocotools", "rich"), "train"),
    "moto": "demo",
    "prometheus_client": "metrics",
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
        with _terminable(), _InterruptDeadline() as deadline:
            arguments.before_kill = deadline.before_end
            code = command(arguments)
    except KeyboardInterrupt as error:
        code, said = _ENDS[signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT]
        if _rank() == "0":
            _say(said)
        _leave_at_once(code, argv)
    except (LoaderError, OSError, ModuleNotFoundError) as error:
        if arguments.debug or _is_bug(error):
            raise
        code = _tell(error)
    if code != _OK and _is_one_of_several():
        # torchrun ends all ranks when it sees that the first has gone, and the code of the others would be another.
        _leave_at_once(code, argv)
    return code


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell, which has been told by ``register-python-argcomplete`` to ask us at a Tab, and leave."""
    import argcomplete

    argcomplete.autocomplete(parser)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised in the main thread. A kind of Ctrl-C, so that everything unwinds as it does then."""


@contextmanager
def _terminable() -> Iterator[None]:
    """Have SIGTERM raise `Terminated`, the first time. Main thread only; a signal that is ignored stays ignored."""
    before = signal.getsignal(signal.SIGTERM)
    is_main = threading.current_thread() is threading.main_thread()
    # None: a handler that is not Python's, which could not be put back.
    if not is_main or before in (signal.SIG_IGN, None):
        yield
        return
    signals: list[int] = []

    def terminate(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        # A second one must not end the copying of the log, which the first one began; the deadline sees to its end.
        if len(signals) == 1:
            raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_bug(error: LoaderError | OSError | ModuleNotFoundError) -> bool:
    return isinstance(error, ModuleNotFoundError) and _extra_of(error) is None


def _extra_of(error: ModuleNotFoundError) -> str | None:
    return _EXTRAS.get((error.name or "").partition(".")[0])


def _tell(error: LoaderError | OSError | ModuleNotFoundError) -> int:
    """One line about an error that is no bug. The exit code."""
    if isinstance(error, ModuleNotFoundError):
        said = f"this needs {error.name}: pip install 'asyncio-loader[{_extra_of(error)}]'"
    elif isinstance(error, OSError) and not isinstance(error, LoaderError) and error.filename and error.strerror:
        # A disk that is full, a path that is none. What the network does is a LoaderError.
        said = f"{error.filename}: {error.strerror}"
    else:
        said = str(error)
    _say(f"error: {' '.join(said.split())}")
    return _exit_code(error)


def _exit_code(error: LoaderError | OSError | ModuleNotFoundError) -> int:
    return _BAD_USAGE if isinstance(error, ConfigError | ModuleNotFoundError) else _FAILED


def _leave_at_once(code: int, argv: Sequence[str] | None) -> None:
    """End the process, if `argv` is its own. Nothing is open, and Python would spend a second on taking torch apart."""
    if argv is None:
        sys.stdout.flush()
        os._exit(code)


def _is_one_of_several() -> bool:
    """Whether torchrun, or the like, has started this process."""
    return "WORLD_SIZE" in os.environ


def _rank() -> str:
    return os.environ.get("RANK", "0") if _is_one_of_several() else "0"


def _say(text: str) -> None:
    print(_line(text), file=sys.stderr, flush=True)


def _line(text: str) -> str:
    return f"asyncio-loader: {text}" if _rank() == "0" else f"asyncio-loader: rank {_rank()}: {text}"


def tune_parser(prog: str) -> argparse.ArgumentParser:
    """The parser of a program that is ``asyncio-loader tune`` by another name, for `main`."""
    parser = argparse.ArgumentParser(prog=prog, parents=[_common()], description=_TUNE)
    _add_tune(parser)
    return parser


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asyncio-loader", description="Train vision models straight from S3.")
    parser.add_argument("--version", action="version", version=f"asyncio-loader {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")
    common = _common()
    _add_demo(commands.add_parser("demo", parents=[common], help=_DEMO, description=_DEMO))
    _add_train(commands.add_parser("train", parents=[common], help=_TRAIN, description=_TRAIN))
    _add_tune(commands.add_parser("tune", parents=[common], help=_TUNE, description=_TUNE))
    _add_convert(commands.add_parser("convert", parents=[common], help=_CONVERT, description=_CONVERT))
    _add_doctor(commands.add_parser("doctor", parents=[common], help=_DOCTOR, description=_DOCTOR))
    _add_show(commands.add_parser("show", parents=[common], help=_SHOW, description=_SHOW))
    return parser


def _common() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


_DEMO = "from a bucket on this machine to a trained Faster R-CNN, in a few minutes on a CPU"
_TRAIN = "train what an OpenMMLab config describes, its data in S3 or on disk"
_TUNE = "measure how many GETs in flight are worth it, for a bucket and this machine, and print the options to set"
_CONVERT = "write the weights of a Faster R-CNN checkpoint as another project names them; paths may be s3://"
_DOCTOR = "look at all that is between this machine and its data (keys, clock, speed, …), and say what to do"
_SHOW = "draw what a config's pipeline feeds to the model: a contact sheet with boxes, masks, padding; needs no display"


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the made-up data set to DIR and leave it there")
    parser.add_argument("--steps", type=_count, metavar="N", help="training steps (default: the config's)")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("work_dirs", "demo"),
        metavar="DIR",
        help="where the picture, checkpoint and log go (default: %(default)s)",
    )
    parser.set_defaults(command=_demo)


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument(
        "--work-dir", type=Path, metavar="D", help="where checkpoints and logs go (default: work_dirs/<name of CONFIG>)"
    )
    _add_cfg_options(parser)
    parser.add_argument("--resume", action="store_true", help="continue from this run's last checkpoint")
    parser.add_argument(
        "--metrics-port",
        type=_port,
        metavar="N",
        help="show the loaders' figures to Prometheus there; of several ranks on a machine each takes the next port",
    )
    parser.add_argument(
        "--metrics-addr",
        default="127.0.0.1",
        metavar="A",
        help="address to listen at, 0.0.0.0: all of this machine (default: %(default)s)",
    )
    _add_trust(parser)
    parser.set_defaults(command=_train)


def _add_tune(parser: argparse.ArgumentParser) -> None:
    add_tune_arguments(parser)
    parser.set_defaults(command=_tune)


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="checkpoint of this project, torchvision or mmdet")
    parser.add_argument("target", metavar="DST", help="file to write; replaced if it is there")
    parser.add_argument("--to", choices=["mmdet", "torchvision"], required=True, help="whose names and layout")
    _add_trust(parser)
    parser.set_defaults(command=_convert)


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    add_doctor_arguments(parser)
    parser.set_defaults(command=_doctor)


def _add_show(parser: argparse.ArgumentParser) -> None:
    _add_config(parser)
    parser.add_argument("-n", type=_count, default=16, metavar="N", help="how many samples (default: %(default)d)")
    parser.add_argument(
        "--split", choices=["train", "val", "test"], default="train", help="of the config's data (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="the PNG (default: show_<split>.png in work_dirs/<name of CONFIG>)"
    )
    _add_cfg_options(parser)
    parser.set_defaults(command=_show)


def _add_config(parser: argparse.ArgumentParser) -> None:
    config = parser.add_argument(
        "config",
        type=Path,
        metavar="CONFIG",
        help="config file (.py, .json or .yaml) or the name of a ready config",
    )
    # What argcomplete looks for.
    config.completer = _configs_like  # type: ignore[attr-defined]
    parser.add_argument("--list", action=_ListConfigs, nargs=0, help="show the ready configs and leave")


def _configs_like(prefix: str, **_: object) -> list[str]:
    """The ready configs and the files that a Tab may mean."""
    from argcomplete.completers import FilesCompleter

    from asyncio_loader.config import ready_configs

    names = [name for name, path in ready_configs().items() if "_base_" not in path.parts]
    return [*names, *FilesCompleter(["py", "json", "yaml", "yml"])(prefix)]


class _ListConfigs(argparse.Action):
    """``--list``: as ``--help`` does, it asks for no other argument."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: object) -> NoReturn:
        from asyncio_loader.config import ready_configs

        try:
            configs = ready_configs()
        except ConfigError as error:
            parser.exit(_tell(error))
        parts = [name for name, path in configs.items() if "_base_" in path.parts]
        print("\n".join(["Ready configs:", *(f"  {name}" for name in configs if name not in parts)]))
        print("\n".join(["Parts for the _base_ of a config:", *(f"  {name}" for name in parts)]))
        parser.exit(_OK)


def _add_cfg_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="k=v",
        help="override entries of the config: data.samples_per_gpu=4 'data.train.pipeline.2.img_scale=(640,480)'",
    )


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PLACE",
        help="a file or directory whose checkpoints may hold more than weights, which can run code when read",
    )


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def _port(text: str) -> int:
    value = int(text) if text.isdecimal() else _MOST_PORT + 1
    if value > _MOST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 (any that is free) to {_MOST_PORT}")
    return value


def _demo(arguments: argparse.Namespace) -> int:
    _let_idle_threads_sleep()
    from asyncio_loader.demo.run import run_demo

    return _OK if run_demo(keep=arguments.keep, steps=arguments.steps, out=arguments.out) else _FAILED


def _train(arguments: argparse.Namespace) -> int:
    _let_idle_threads_sleep()
    if not _is_one_of_several():
        _load_and_train(arguments, nullcontext())
        return _OK
    from asyncio_loader.training.distributed import joined_ranks, teller_of

    with joined_ranks() as ranks:
        try:
            _load_and_train(arguments, ranks.agreed())
        except (LoaderError, OSError, ModuleNotFoundError) as error:
            teller = teller_of(error)
            if teller is None or arguments.debug or _is_bug(error):
                raise
            code = _tell(error) if teller == ranks.rank else _exit_code(error)
            # The first to go is the end of all; nobody goes before it has been told why.
            ranks.wait()
            return code
    return _OK


def _load_and_train(arguments: argparse.Namespace, agreed: AbstractContextManager[None]) -> None:
    with agreed:
        from asyncio_loader.config import load_config, parse_cfg_options

        config = load_config(arguments.config, parse_cfg_options(arguments.cfg_options))
        from asyncio_loader.training.runner import train
    train(
        config,
        work_dir=arguments.work_dir,
        resume=arguments.resume,
        trusted=arguments.trust,
        before_kill=arguments.before_kill,
        metrics_port=arguments.metrics_port,
        metrics_addr=arguments.metrics_addr,
    )


def _tune(arguments: argparse.Namespace) -> int:
    from asyncio_loader.tuning.run import run_tune

    run_tune(arguments)
    return _OK


def _convert(arguments: argparse.Namespace) -> int:
    from asyncio_loader.training.weights import convert_checkpoint

    count = convert_checkpoint(arguments.source, arguments.target, to=arguments.to, trusted=arguments.trust)
    print(f"{arguments.target}: {count} tensors")
    return _OK


def _doctor(arguments: argparse.Namespace) -> int:
    from asyncio_loader.doctor.run import run_doctor

    return _OK if run_doctor(arguments) else _FAILED


def _show(arguments: argparse.Namespace) -> int:
    _let_idle_threads_sleep()
    from asyncio_loader.config import load_config, parse_cfg_options

    config = load_config(arguments.config, parse_cfg_options(arguments.cfg_options))
    from asyncio_loader.show.run import show

    print(show(config, split=arguments.split, count=arguments.n, out=arguments.out))
    return _OK


def _let_idle_threads_sleep() -> None:
    """Must come before torch is imported: its OpenMP reads the variable once.

    By default an OpenMP thread that waits for the others spins, on the very core where the loader decodes, or where
    another process runs. A training step of the demo on 2 cores, one of them busy, took 2.5 s that way and 0.8 s this.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


class _InterruptDeadline:
    """Ends the process if an interrupt or SIGTERM has not ended it by itself `_PATIENCE_S` later.

    Python delivers a signal between two of its own instructions, so a long native call would hold it up. It
    is seen here by its wake-up byte, in a thread that no native call stops. Main thread only; elsewhere a no-op.
    """

    def __init__(self) -> None:
        self._last_acts: list[Callable[[], None]] = []

    def before_end(self, act: Callable[[], None]) -> None:
        """Have something done, in a thread and within `_LAST_ACTS_S`, before the process is ended from here."""
        self._last_acts.append(act)

    def __enter__(self) -> _InterruptDeadline:
        self._pipe: tuple[int, int] | None = None
        if threading.current_thread() is not threading.main_thread():
            return self
        self._pipe = os.pipe()
        os.set_blocking(self._pipe[1], False)
        self._before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        arguments = (self._pipe[0], self._last_acts)
        self._thread = threading.Thread(target=_watch, args=arguments, name="interrupt-deadline", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._pipe is None:
            return
        reading, writing = self._pipe
        signal.set_wakeup_fd(self._before)
        os.close(writing)
        self._thread.join()
        os.close(reading)


def _watch(reading: int, last_acts: list[Callable[[], None]]) -> None:
    """Wait for a signal that ends, then for the end of the pipe. Other signals pass."""
    while signals := os.read(reading, 1):
        if signals[0] in _ENDS:
            ready, _, _ = select.select([reading], [], [], _PATIENCE_S)
            if not ready:
                _die(signal.Signals(signals[0]), last_acts)


def _die(reason: signal.Signals, last_acts: list[Callable[[], None]]) -> NoReturn:
    code, said_first = _ENDS[reason]
    said: list[str] = []

    def act() -> None:
        for last_act in last_acts:
            try:
                last_act()
            except (LoaderError, OSError) as error:
                said.append(f" ({' '.join(str(error).split())})")

    # Not in this thread, because nobody knows how long it takes.
    thread = threading.Thread(target=act, name="last-acts", daemon=True)
    thread.start()
    thread.join(_LAST_ACTS_S)
    if thread.is_alive():
        said.append(" (there was no time to copy the log: it stays where it is)")
    if _rank() == "0":
        os.write(sys.stderr.fileno(), f"{_line(said_first)}{''.join(said)}\n".encode())
    os._exit(code)
