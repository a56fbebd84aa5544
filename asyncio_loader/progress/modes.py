"""How progress is shown: by the stream and the environment."""

from __future__ import annotations

import enum
import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import TextIO

from asyncio_loader.errors import ConfigError
from asyncio_loader.progress.terminals import is_terminal

__all__ = ["VARIABLE", "Mode", "can_be_live", "choose_mode"]

VARIABLE = "ASYNCIO_LOADER_PROGRESS"
"""Environment variable that says the mode."""


class Mode(enum.Enum):
    """How progress is shown."""

    LIVE = "live"
    PLAIN = "plain"
    OFF = "off"


def choose_mode(stream: TextIO, environ: Mapping[str, str] = os.environ) -> Mode:
    """The mode for a stream.

    ``ASYNCIO_LOADER_PROGRESS`` (``live``, ``plain``, ``off``) says it; else nothing is shown where ``CI`` is set, a
    live line on a terminal that can move its cursor if rich is installed, and plain lines anywhere else.

    Raises:
        ConfigError: the variable has another value; or it is ``live``, and rich is not installed.
    """
    asked = environ.get(VARIABLE, "").strip().lower()
    if asked:
        return _asked_for(asked)
    if environ.get("CI", "").lower() not in ("", "0", "false"):
        return Mode.OFF
    return Mode.LIVE if is_terminal(stream, environ) and _has_rich() else Mode.PLAIN


def can_be_live() -> bool:
    """Whether progress on standard error would be a live line now. Raises ConfigError as `choose_mode`."""
    return choose_mode(sys.stderr) is Mode.LIVE


def _asked_for(text: str) -> Mode:
    try:
        mode = Mode(text)
    except ValueError:
        names = ", ".join(mode.value for mode in Mode)
        raise ConfigError(f"{VARIABLE}={text!r} in the environment must be one of {names}") from None
    if mode is Mode.LIVE and not _has_rich():
        raise ConfigError(f"{VARIABLE}=live in the environment needs rich: pip install 'asyncio-loader[train]'")
    return mode


def _has_rich() -> bool:
    return importlib.util.find_spec("rich") is not None
