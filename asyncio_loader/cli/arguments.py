"""Arguments that several commands have, and what makes values of them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NoReturn

from asyncio_loader.cli.exit_codes import OK, tell
from asyncio_loader.errors import ConfigError

__all__ = ["add_cfg_options", "add_config", "add_trust", "let_idle_threads_sleep", "port"]

_MOST_PORT = 65535


def add_config(parser: argparse.ArgumentParser) -> None:
    """``CONFIG`` and ``--list``."""
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
            parser.exit(tell(error))
        parts = [name for name, path in configs.items() if "_base_" in path.parts]
        print(
            "\n".join(
                ["Ready configs, to train or as a _base_:", *(f"  {name}" for name in configs if name not in parts)]
            )
        )
        print("\n".join(["Parts for the _base_ of a config:", *(f"  {name}" for name in parts)]))
        parser.exit(OK)


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """``--cfg-options``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        default=[],
        metavar="k=v",
        help="override entries of the config: data.samples_per_gpu=4 'data.train.pipeline.2.img_scale=(640,480)'",
    )


def add_trust(parser: argparse.ArgumentParser) -> None:
    """``--trust``."""
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PLACE",
        help="a file or directory whose checkpoints may hold more than weights, which can run code when read",
    )


def port(text: str) -> int:
    """A `type` of argparse: a port to listen at."""
    value = int(text) if text.isdecimal() else _MOST_PORT + 1
    if value > _MOST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 (any that is free) to {_MOST_PORT}")
    return value


def let_idle_threads_sleep() -> None:
    """Must come before torch is imported: its OpenMP reads the variable once.

    By default an OpenMP thread that waits for the others spins, on the very core where the loader decodes, or where
    another process runs. A training step of the demo on 2 cores, one of them busy, took 2.5 s that way and 0.8 s this.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
