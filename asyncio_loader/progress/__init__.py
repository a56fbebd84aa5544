"""What a loader, an upload or a download does, shown while it runs: on a terminal a live line, elsewhere plain ones."""

from __future__ import annotations

from asyncio_loader.progress.board import Board, Shown, process_board
from asyncio_loader.progress.figures import Reading, RecentFigures, as_scalars
from asyncio_loader.progress.iteration import IterationLine, check_progress
from asyncio_loader.progress.modes import Mode, can_be_live, choose_mode
from asyncio_loader.progress.output import open_output
from asyncio_loader.progress.steps import StepLine
from asyncio_loader.progress.streams import following
from asyncio_loader.progress.terminals import is_terminal, width_of
from asyncio_loader.progress.transfer import TransferLine, showing_transfers, transferring

__all__ = [
    "Board",
    "IterationLine",
    "Mode",
    "Reading",
    "RecentFigures",
    "Shown",
    "StepLine",
    "TransferLine",
    "as_scalars",
    "can_be_live",
    "check_progress",
    "choose_mode",
    "following",
    "is_terminal",
    "open_output",
    "process_board",
    "showing_transfers",
    "transferring",
    "width_of",
]
