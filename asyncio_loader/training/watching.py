"""Somebody looks on while a run trains: what is shown on standard error, and that log lines do not run into it."""

from __future__ import annotations

from contextlib import ExitStack
from logging import Handler

from asyncio_loader.progress import can_be_live, following, showing_transfers
from asyncio_loader.training.distributed import Ranks

__all__ = ["Watch", "open_watch"]


class Watch:
    """What of a run is shown while it goes on.

    Args:
        is_on: whether anything is.
    """

    def __init__(self, is_on: bool) -> None:
        self._is_on = is_on

    def line_of(self, split: str) -> str | bool:
        """`progress` for the `Loader` of a split."""
        return split if self._is_on else False

    def keep_whole(self, handlers: list[Handler], stack: ExitStack) -> None:
        """Have the lines of a run's log stand above what moves, until `stack` ends."""
        if self._is_on:
            stack.enter_context(following(handlers))


def open_watch(progress: bool | None, ranks: Ranks, stack: ExitStack) -> Watch:
    """Show how loading, uploads and downloads go, on the first rank, until `stack` ends. Collective.

    Args:
        progress: whether; None: where standard error is a terminal on which a line can move.

    Raises:
        ConfigError: the environment asks for what there is not; see `progress.choose_mode`.
    """
    with ranks.agreed():
        is_on = can_be_live() if progress is None else progress
    if is_on and ranks.is_main:
        stack.enter_context(showing_transfers())
    return Watch(is_on and ranks.is_main)
