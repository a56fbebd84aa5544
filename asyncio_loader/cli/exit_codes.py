"""How a run ended: its exit code, and one line on standard error."""

from __future__ import annotations

import os
import sys

from asyncio_loader.errors import ConfigError, LoaderError

__all__ = ["BAD_USAGE", "FAILED", "OK", "exit_code", "is_bug", "is_one_of_several", "line", "rank", "say", "tell"]

OK, FAILED, BAD_USAGE = 0, 1, 2

# Extra to install for a package that a command does not find.
_EXTRAS = {
    **dict.fromkeys(("mmengine", "torchvision", "pycocotools", "rich"), "train"),
    "moto": "demo",
    "prometheus_client": "metrics",
    "plotly": "report",
}


def is_bug(error: LoaderError | OSError | ModuleNotFoundError) -> bool:
    """Whether a traceback is due: a module is missing that no extra brings."""
    return isinstance(error, ModuleNotFoundError) and _extra_of(error) is None


def _extra_of(error: ModuleNotFoundError) -> str | None:
    return _EXTRAS.get((error.name or "").partition(".")[0])


def tell(error: LoaderError | OSError | ModuleNotFoundError) -> int:
    """One line about an error that is no bug. The exit code."""
    if isinstance(error, ModuleNotFoundError):
        said = f"this needs {error.name}: pip install 'asyncio-loader[{_extra_of(error)}]'"
    elif isinstance(error, OSError) and not isinstance(error, LoaderError) and error.filename and error.strerror:
        # A disk that is full, a path that is none. What the network does is a LoaderError.
        said = f"{error.filename}: {error.strerror}"
    else:
        said = str(error)
    say(f"error: {' '.join(said.split())}")
    return exit_code(error)


def exit_code(error: LoaderError | OSError | ModuleNotFoundError) -> int:
    """Of an error that is no bug."""
    return BAD_USAGE if isinstance(error, ConfigError | ModuleNotFoundError) else FAILED


def is_one_of_several() -> bool:
    """Whether torchrun, or the like, has started this process."""
    return "WORLD_SIZE" in os.environ


def rank() -> str:
    """This process's among those that torchrun has started; else "0"."""
    return os.environ.get("RANK", "0") if is_one_of_several() else "0"


def say(text: str) -> None:
    """Write a line to standard error."""
    print(line(text), file=sys.stderr, flush=True)


def line(text: str) -> str:
    """`text` with the name of the program, and of the rank where there are several."""
    return f"asyncio-loader: {text}" if rank() == "0" else f"asyncio-loader: rank {rank()}: {text}"
