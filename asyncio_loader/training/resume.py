"""Going on where a run ended: which checkpoint, and how mmengine's Runner takes it up from anywhere."""

from __future__ import annotations

import logging
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import MessageHub
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from asyncio_loader.errors import AccessDenied, ConfigError, StateMismatch
from asyncio_loader.fileio.file_client import FileClient
from asyncio_loader.naming import named
from asyncio_loader.training.checkpoints import LAST_CHECKPOINT
from asyncio_loader.training.destinations import Destination
from asyncio_loader.training.weights import client_of

__all__ = ["ResumableRunner", "find_checkpoints", "find_last_checkpoint", "warn_of_earlier"]

_LOG = logging.getLogger(__name__)

_HUB = ("log_scalars", "runtime_info", "resumed_keys")
# torch lists every key that does not fit, each in full.
_SHOWN_CHARACTERS = 400
_SHOWN_NAMES = 4


class ResumableRunner(Runner):  # type: ignore[misc]
    """mmengine's Runner, with checkpoints read by a function instead of by mmengine's registry of URI schemes.

    So nothing has to be registered for the process, and the weights of another model are refused, not skipped. Nor is
    a checkpoint taken up that lacks the state of the schedule: the learning rate would be a wrong one, silently.

    The position in the data is taken up by the loop (`EpochLoop`, `IterationLoop`), for any number of ranks and any
    batch size.

    Args:
        read: a checkpoint as a dict, from its URI or path; its errors come through.
        resumed_by: what errors call the checkpoint: ``resume`` or ``resume_from``.
        options: the Runner's.
    """

    def __init__(self, *, read: Callable[[str], dict[str, Any]], resumed_by: str, **options: Any) -> None:
        self._read = read
        self._resumed_by = resumed_by
        super().__init__(**options)

    def load_checkpoint(self, filename: str, *_: object, **__: object) -> dict[str, Any]:
        """Called by `resume`.

        Raises:
            ConfigError: it is no checkpoint of a run, or of another model.
        """
        checkpoint = self._read(filename)
        name = f"{self._resumed_by}={filename!r}"
        _check_resumable(name, checkpoint, self.param_schedulers)
        self.call_hook("after_load_checkpoint", checkpoint=checkpoint)
        weights = {key.removeprefix("module."): value for key, value in checkpoint["state_dict"].items()}
        model = self.model.module if is_model_wrapper(self.model) else self.model
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            said = textwrap.shorten(str(error), _SHOWN_CHARACTERS, placeholder=" …")
            raise ConfigError(f"{name}: its weights are not those of the config's model: {said}") from error
        self.logger.info("resumed from %s", filename)
        self._has_moments = "optimizer" in checkpoint
        self._position, self._meta = checkpoint.get("data"), checkpoint["meta"]
        return checkpoint

    def resume(self, filename: str, *arguments: Any, **options: Any) -> None:
        """See mmengine.

        A checkpoint without an optimizer gives the learning rate all the same: the schedulers remember what they set.

        Raises:
            ConfigError: as `load_checkpoint`, or the optimizer of the checkpoint is another one, or it was saved in the
                middle of an epoch of other data; names the config.
            FetchError: the checkpoint could not be had; names the config, too.
        """
        name = f"{self._resumed_by}={filename!r}"
        with named(self.cfg.filename):
            try:
                super().resume(filename, *arguments, **options)
                if not self._has_moments:
                    self._take_up_rates()
            except ConfigError:
                raise
            except ValueError as error:
                # torch's optimizers: other parameter groups.
                raise ConfigError(f"{name}: its optimizer is not the config's: {error}") from error
            self._take_up_position(name)
        if not self._has_moments:
            self.logger.warning(
                "%s has no optimizer: momentum and the like start anew, at the learning rate of the schedule", filename
            )

    def _take_up_position(self, name: str) -> None:
        try:
            self.train_loop.go_on_from(self._position)
        except (StateMismatch, ConfigError) as error:
            raise ConfigError(f"{name}: the config's data cannot go on in the middle of its epoch: {error}") from error
        for scheduler in self.param_schedulers or ():
            # mmengine warns of an epoch that ends before the optimizer's first step. Those of before count, too.
            scheduler.optimizer._global_step = self.iter - 1
        before, now = self._meta.get("steps_per_epoch"), len(self.train_dataloader)
        if before not in (None, now):
            self.logger.info(
                "an epoch has %d steps now, and had %d: it ends where its data end, the last iteration is number %d, "
                "and what a schedule counts in iterations stays as it was, converted epochs included",
                now,
                before,
                self.max_iters,
            )

    def _take_up_rates(self) -> None:
        # Each one multiplies what the groups have, so that the last to step knows what came of all. At the end of an
        # epoch, when such runs save, those by epochs come after those by iterations.
        schedulers = sorted(self.param_schedulers or (), key=lambda scheduler: scheduler.by_epoch)
        for scheduler in schedulers:
            for group, value in zip(self.optim_wrapper.param_groups, scheduler.get_last_value(), strict=True):
                group[scheduler.param_name] = value


def find_last_checkpoint(
    work_dir: Path, destination: Destination, filename: str, s3_client: FileClient | None = None
) -> str | None:
    """The checkpoint that a run with this work directory goes on from.

    It is the one that the file `LAST_CHECKPOINT` in the work directory names, unless the destination has one of more
    steps: then the run went on on another machine. Where there is no such file it is the one of most steps.

    Args:
        work_dir: of the run.
        destination: where its checkpoints go.
        filename: of a checkpoint, with ``{}`` for the steps.
        s3_client: for a note of an ``s3://`` URI elsewhere; see `read_checkpoint`.

    Returns:
        URI or path; None where there is none at all.

    Raises:
        FetchError: the destination could not be looked at. With a note one that may not be listed is no error.
    """
    noted = _read_note(work_dir, destination, s3_client)
    try:
        found = find_checkpoints(destination, filename)
    except AccessDenied:
        if noted is None:
            raise
        return noted
    newest = destination.at(found[-1][1]) if found else None
    if noted is None:
        if newest is None:
            _LOG.info("nothing to resume in %s: starting anew", destination.directory)
        return newest
    match = _pattern(filename).fullmatch(noted.rpartition("/")[2])
    # A file that lies elsewhere belongs to another run, and its steps are others.
    is_own = destination.holds(noted) or os.path.dirname(noted) == os.path.abspath(work_dir)
    if newest is not None and match and is_own and int(match[1]) < found[-1][0]:
        _LOG.info("%s names %s, but the run went further: %s", work_dir / LAST_CHECKPOINT, noted, newest)
        return newest
    return noted


def find_checkpoints(destination: Destination, filename: str) -> list[tuple[int, str]]:
    """Steps and names of the regular checkpoints at a destination, in the order of the steps.

    Raises:
        FetchError: it could not be listed.
    """
    pattern = _pattern(filename)
    return sorted((int(match[1]), name) for name in destination.names() if (match := pattern.fullmatch(name)))


def warn_of_earlier(destination: Destination, filename: str) -> None:
    """Say so where a run that starts anew writes to a directory with checkpoints of an earlier one.

    Raises:
        FetchError: the destination could not be looked at. One that may not be listed is no error.
    """
    try:
        found = [name for _, name in find_checkpoints(destination, filename)]
    except AccessDenied:
        return
    if found:
        names = ", ".join(found if len(found) <= _SHOWN_NAMES else [*found[: _SHOWN_NAMES - 1], "…", found[-1]])
        _LOG.warning(
            "%s has %d checkpoints of an earlier run (%s), and this one starts anew: --resume would later go on from "
            "the one of most steps, whoever wrote it; say --resume, remove them, or take another directory",
            destination.directory,
            len(found),
            names,
        )


def _pattern(filename: str) -> re.Pattern[str]:
    return re.compile(re.escape(filename).replace(r"\{\}", r"(\d+)"))


def _read_note(work_dir: Path, destination: Destination, s3_client: FileClient | None) -> str | None:
    """What the work directory says is the last checkpoint, if it is there."""
    note = work_dir / LAST_CHECKPOINT
    if not note.is_file():
        return None
    uri = note.read_text(encoding="utf-8").strip()
    client = destination.client if destination.holds(uri) else client_of(uri, s3_client)
    if client.isfile(uri):
        return uri
    _LOG.warning("%s names %s, which is not there: looking in %s", note, uri, destination.directory)
    return None


def _check_resumable(name: str, checkpoint: dict[str, Any], schedulers: Sequence[object] | None) -> None:
    """Refuse, in one line, what a run with these schedulers cannot go on from."""
    problems = _damaged(checkpoint)
    if problems:
        raise ConfigError(
            f"{name} is not a checkpoint that a run can go on from ({', '.join(problems)} missing or damaged): "
            "to start from its weights say load_from"
        )
    states = checkpoint.get("param_schedulers")
    if states is None and ("optimizer" not in checkpoint or schedulers):
        raise ConfigError(
            f"{name} is the best checkpoint of a run, or another one of weights alone: it has no param_schedulers, and "
            "the learning rate would be a wrong one: to start from its weights say load_from"
        )
    if states is not None and (not _is_states(states) or len(states) != len(schedulers or ())):
        raise ConfigError(f"{name}: its param_schedulers are not those of the config's lr_config or param_scheduler")


def _damaged(checkpoint: dict[str, Any]) -> list[str]:
    meta, hub = checkpoint.get("meta"), checkpoint.get("message_hub")
    counters = [meta.get(key) for key in ("epoch", "iter")] if isinstance(meta, Mapping) else [None]
    has_hub = isinstance(hub, Mapping) and all(_is_dict(hub.get(key)) for key in _HUB)
    is_sound = {
        "meta": all(type(count) is int for count in counters),
        "state_dict": _is_dict(checkpoint.get("state_dict")),
        # In old files of mmengine it is the object itself.
        "message_hub": has_hub or isinstance(hub, MessageHub),
        "optimizer": _is_dict(checkpoint.get("optimizer", {})),
        "data": _is_position(checkpoint.get("data")),
    }
    return [key for key, is_so in is_sound.items() if not is_so]


def _is_dict(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _is_position(value: object) -> bool:
    return value is None or (isinstance(value, Mapping) and type(value.get("epoch")) is int)


def _is_states(value: object) -> bool:
    return isinstance(value, list) and all(_is_dict(state) for state in value)
