"""The ranks of a run: torchrun's processes become one group, agree on errors, and share what one of them found."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import distributed

from asyncio_loader.errors import ConfigError, LoaderError

__all__ = ["JoinedRanks", "Ranks", "joined_ranks", "noticing_lost_ranks", "teller_of"]

Value = TypeVar("Value")

# What may be wrong with a config, a file, a server or an installation. Anything else is a bug: its rank ends with a
# traceback, and torchrun ends the others.
_EXPECTED = (LoaderError, OSError, ModuleNotFoundError)

_TOLD_BY = "told by rank "
_SHOWN_CHARACTERS = 200

# How long ranks wait for each other: rank 0 evaluates and uploads while the others stand in a collective.
_PATIENCE = timedelta(minutes=30)

_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Ranks:
    """One process that trains alone: rank 0 of 1. `JoinedRanks` is one of several.

    `exchange`, `collect` and all that use them are collectives: every rank calls them, in the same order.

    Attributes:
        rank: 0 ≤ rank < world.
        world: number of ranks.
        local_rank: number of this process on its machine; of its GPU, where there are any.
    """

    is_distributed = False

    def __init__(self, rank: int = 0, world: int = 1, local_rank: int = 0) -> None:
        self.rank = rank
        self.world = world
        self.local_rank = local_rank

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.rank == 0

    def exchange(self, value: Value) -> list[Value]:
        """What every rank has, in the order of the ranks. It must pickle; keep it small."""
        return [value]

    def collect(self, value: Value) -> list[Value]:
        """On rank 0 as `exchange`; on the others an empty list."""
        return [value]

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """All ranks leave the block well, or none does: what the first of them raises is raised on all.

        So nobody waits in a collective for a rank that has failed. `teller_of` says whose error it was. A bug, or an
        interrupt, comes through at once and on its own rank.
        """
        failure: Exception | None = None
        try:
            yield
        except _EXPECTED as error:
            failure = error
        for rank, other in enumerate(self.exchange(failure)):
            if other is None:
                continue
            # Its own one, with its own traceback, where it is this rank's.
            told = other if failure is None or rank != self.rank else failure
            if self.is_distributed:
                told.add_note(f"{_TOLD_BY}{rank}")
            raise told

    def from_main(self, make: Callable[[], Value]) -> Value:
        """What rank 0 makes, on all ranks; `make` is called on rank 0 alone, and its errors are raised on all."""
        made: list[Value] = []
        with self.agreed():
            if self.is_main:
                made.append(make())
        return self.exchange(made)[0][0]

    def wait(self) -> None:
        """Return when all ranks have come here."""
        self.exchange(None)


class JoinedRanks(Ranks):
    """A member of the default process group of `torch.distributed`."""

    is_distributed = True

    def __init__(self, local_rank: int) -> None:
        super().__init__(distributed.get_rank(), distributed.get_world_size(), local_rank)

    def exchange(self, value: Value) -> list[Value]:
        """See `Ranks`."""
        values: list[Any] = [None] * self.world
        distributed.all_gather_object(values, value)
        return values

    def collect(self, value: Value) -> list[Value]:
        """See `Ranks`."""
        values: list[Any] | None = [None] * self.world if self.is_main else None
        distributed.gather_object(value, values)
        return values or []


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """This process as one of the ranks that were started together, or alone where none were.

    They are found by the variables that torchrun sets in the environment: ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR``,
    ``MASTER_PORT`` and ``LOCAL_RANK``. The group talks by gloo on the CPU, and by NCCL between GPUs, if there
    are any; it is destroyed at the end of the block. One that exists already is used, and stays.

    Raises:
        ConfigError: a variable is missing or no number, or there are fewer GPUs than ranks on this machine.
        LoaderError: the ranks did not find each other; or one was lost, see `noticing_lost_ranks`.
    """
    if distributed.is_available() and distributed.is_initialized():
        yield JoinedRanks(_number("LOCAL_RANK", "0"))
        return
    if not _is_launched():
        yield Ranks()
        return
    local_rank = _number("LOCAL_RANK", "0")
    _join()
    try:
        with noticing_lost_ranks():
            ranks = JoinedRanks(local_rank)
            with ranks.agreed():
                _take_device(local_rank)
            yield ranks
    finally:
        distributed.destroy_process_group()


@contextmanager
def noticing_lost_ranks() -> Iterator[None]:
    """A collective that breaks because another rank has ended is no bug of this one.

    Raises:
        LoaderError: that is what happened; the other rank says why it ended.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo has no class of errors.
        if not isinstance(error, distributed.DistError) and "gloo" not in str(error):
            raise
        said = textwrap.shorten(str(error), _SHOWN_CHARACTERS, placeholder=" …")
        raise LoaderError(f"another rank has ended, or cannot be reached: it may say why itself ({said})") from error


def teller_of(error: BaseException) -> int | None:
    """The rank that tells of an error which all ranks raise; None where only this one knows of it."""
    for note in getattr(error, "__notes__", ()):
        if note.startswith(_TOLD_BY):
            return int(note.removeprefix(_TOLD_BY))
    return None


def _is_launched() -> bool:
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    if missing and _number("WORLD_SIZE", "1") > 1:
        raise ConfigError(
            f"WORLD_SIZE={os.environ['WORLD_SIZE']} in the environment, but no {', '.join(missing)}: start the ranks "
            "with torchrun, or unset it to train in one process"
        )
    return not missing


def _number(name: str, default: str) -> int:
    text = os.environ.get(name) or default
    if not text.isdecimal():
        raise ConfigError(f"{name}={text!r} in the environment: must be a whole number, as torchrun sets it")
    return int(text)


def _join() -> None:
    rank, world = _number("RANK", ""), _number("WORLD_SIZE", "")
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    try:
        distributed.init_process_group(backend, rank=rank, world_size=world, timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        said = textwrap.shorten(str(error), _SHOWN_CHARACTERS, placeholder=" …")
        raise LoaderError(f"rank {rank} found no way to the others at {place}: {said}") from error


def _take_device(local_rank: int) -> None:
    if not torch.cuda.is_available():
        return
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ConfigError(
            f"LOCAL_RANK={local_rank}, but there are {count} GPUs: say --nproc-per-node {count}, or "
            "CUDA_VISIBLE_DEVICES='' to train on the CPU"
        )
    torch.cuda.set_device(local_rank)
