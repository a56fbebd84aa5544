"""``asyncio-loader demo | train | tune | convert | doctor | show``: a module for each command.

The module of a command has ``HELP``, ``add_arguments`` and ``run``, and imports what it needs when it runs: ``--help``
costs no torch import. ``command_line`` puts them together; ``exit_codes`` says how a run ended; ``interrupts`` sees to
it that Ctrl-C and SIGTERM end it.
"""

from __future__ import annotations

from asyncio_loader.cli.command_line import main, tune_parser

__all__ = ["main", "tune_parser"]
