"""What a run writes, where, and what it goes on from."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asyncio_loader.fileio.journal import UploadJournal
from asyncio_loader.training.destinations import Destination, check_destinations
from asyncio_loader.training.log_files import LONGEST_LOG_NAME
from asyncio_loader.training.resume import find_last_checkpoint, warn_of_earlier
from asyncio_loader.training.translate import RunPlan
from asyncio_loader.training.weights import read_checkpoint

__all__ = ["Places", "look_back", "plan_places"]

_LOG = logging.getLogger(__name__)

_DEFAULT_FILENAMES = {True: "epoch_{}.pth", False: "iter_{}.pth"}


@dataclass(slots=True)
class Places:
    """The directories of a run, and the checkpoint that it goes on from.

    Attributes:
        directory: the work directory.
        regular: where regular checkpoints go.
        best: where the best one goes.
        logs: where copies of the log go.
        resumed: URI or path of a checkpoint to go on from; None: the run starts anew.
        resumed_by: what errors call it: ``resume``, or the config's key, ``resume_from`` or in 3.x ``load_from``.
    """

    directory: Path
    regular: Destination
    best: Destination
    logs: list[Destination]
    resumed: str | None = None
    resumed_by: str = "resume_from"

    def read(self, uri: str, plan: RunPlan) -> dict[str, Any]:
        """A checkpoint to go on from: the run's own are read by what writes them."""
        client = self.regular.client if self.regular.holds(uri) else None
        return read_checkpoint(
            uri,
            path=self.resumed_by,
            trusted=plan.trusted_checkpoints,
            client=client,
            s3_client=plan.weights_client,
        )


def plan_places(plan: RunPlan, directory: Path) -> Places:
    """Where results go. Nothing is looked at."""
    journal = UploadJournal(directory / "uploads.jsonl")
    return Places(
        directory,
        regular=Destination.under(plan.checkpoint_dir, directory, journal),
        best=Destination.under(plan.best_dir, directory, journal),
        logs=[Destination.under(output.out_dir, directory, journal) for output in plan.logs],
    )


def look_back(places: Places, plan: RunPlan, *, resume: bool, config_name: str) -> tuple[str | None, str]:
    """Check the places, clear up what a killed run left there, and find the checkpoint to go on from.

    For one process of a run: it warns, and removes.

    Returns:
        `Places.resumed` and `Places.resumed_by`.

    Raises:
        ConfigError: a place is none; see `check_destinations`.
        FetchError: there was no answer.
    """
    regular = places.regular
    longest = max(LONGEST_LOG_NAME, config_name, key=lambda name: len(name.encode()))
    written = zip((regular, places.best), plan.longest_names, strict=True)
    check_destinations([*written, *((log, longest) for log in places.logs)])
    for upload in regular.journal.abort_leftovers():
        _LOG.info("aborted an upload to %s that an earlier run left unfinished", upload.uri)
    filename = plan.checkpoints.filename if plan.checkpoints else _DEFAULT_FILENAMES[plan.schedule.by_epoch]
    found = find_last_checkpoint(places.directory, regular, filename, plan.weights_client) if resume else None
    if found is None and plan.is_resumed:
        found, resume_key = plan.load_from, plan.dialect.resume
    else:
        resume_key = "resume" if resume else plan.dialect.resume
    if plan.checkpoints and plan.checkpoints.interval and not resume and not regular.holds(found):
        warn_of_earlier(regular, filename)
    return found, resume_key
