"""Going on where a run ended: which checkpoint, and how mmengine's Runner takes it up from anywhere."""

from __future__ import annotations

import logging
import re
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.runner import Runner

from asyncio_loader.errors import ConfigError
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.training.checkpoints import LAST_CHECKPOINT
from asyncio_loader.training.destinations import Destination

__all__ = ["ResumableRunner", "find_last_checkpoint"]

_LOG = logging.getLogger(__name__)

_NEEDED = ("meta", "state_dict", "message_hub")
# torch lists every key that does not fit, each in full.
_SHOWN_CHARACTERS = 400


class ResumableRunner(Runner):  # type: ignore[misc]
    """mmengine's Runner, with checkpoints read by a function instead of by mmengine's registry of URI schemes.

    So nothing has to be registered for the process, and the weights of another model are refused, not skipped.

    Args:
        read: a checkpoint as a dict, from its URI or path; its errors come through.
        options: the Runner's.
    """

    def __init__(self, *, read: Callable[[str], dict[str, Any]], **options: Any) -> None:
        self._read = read
        super().__init__(**options)

    def load_checkpoint(self, filename: str, *_: object, **__: object) -> dict[str, Any]:
        """Called by `resume`.

        Raises:
            ConfigError: it is no checkpoint of a run, or of another model.
        """
        checkpoint = self._read(filename)
        _check_resumable(filename, checkpoint)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        weights = {name.removeprefix("module."): value for name, value in checkpoint["state_dict"].items()}
        try:
            self.model.load_state_dict(weights)
        except RuntimeError as error:
            said = textwrap.shorten(str(error), _SHOWN_CHARACTERS, placeholder=" …")
            raise ConfigError(f"{filename}: its weights are not those of the config's model: {said}") from error
        self.logger.info("resumed from %s", filename)
        return checkpoint

    def resume(self, filename: str, *arguments: Any, **options: Any) -> None:
        """See mmengine.

        Raises:
            ConfigError: as `load_checkpoint`, or the optimizer of the checkpoint is another one.
        """
        try:
            super().resume(filename, *arguments, **options)
        except ConfigError:
            raise
        except ValueError as error:
            # torch's optimizers: other parameter groups.
            raise ConfigError(f"{filename}: its optimizer is not the config's: {error}") from error


def find_last_checkpoint(work_dir: Path, destination: Destination, filename: str) -> str | None:
    """The checkpoint that a run with this work directory goes on from.

    It is the one that the file `LAST_CHECKPOINT` in the work directory names. Where there is no such file, as on
    another machine, it is the one of most steps at the destination.

    Args:
        work_dir: of the run.
        destination: where its checkpoints go.
        filename: of a checkpoint, with ``{}`` for the steps.

    Returns:
        URI or path; None where there is none at all.

    Raises:
        FetchError: the destination could not be looked at.
    """
    note = work_dir / LAST_CHECKPOINT
    if note.is_file():
        uri = note.read_text(encoding="utf-8").strip()
        client = destination.client if destination.holds(uri) else FileClient.infer_client(uri=uri)
        if client.isfile(uri):
            return uri
        _LOG.warning("%s names %s, which is not there: looking in %s", note, uri, destination.directory)
    pattern = re.compile(re.escape(filename).replace(r"\{\}", r"(\d+)"))
    found = [(int(match[1]), name) for name in destination.names() if (match := pattern.fullmatch(name))]
    if not found:
        _LOG.info("nothing to resume in %s: starting anew", destination.directory)
        return None
    return destination.at(max(found)[1])


def _check_resumable(filename: str, checkpoint: dict[str, Any]) -> None:
    missing = [key for key in _NEEDED if key not in checkpoint]
    if missing or not {"epoch", "iter"} <= checkpoint["meta"].keys():
        raise ConfigError(
            f"{filename} is not a checkpoint that a run can go on from ({', '.join(missing) or 'counters'} missing): "
            "to start from its weights say load_from"
        )
