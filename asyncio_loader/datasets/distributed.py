"""Which rank of a distributed job this process is."""

from __future__ import annotations

import os
from typing import NamedTuple

from torch import distributed

__all__ = ["RankAndWorld", "is_first_rank", "rank_and_world"]


class RankAndWorld(NamedTuple):
    """A rank, and how many there are."""

    rank: int
    world: int


def rank_and_world() -> RankAndWorld | None:
    """This process's place in the default process group of `torch.distributed`; None where there is no group."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    return RankAndWorld(distributed.get_rank(), distributed.get_world_size())


def is_first_rank() -> bool:
    """Whether this process speaks for all: by the default process group, without one by RANK in the environment."""
    place = rank_and_world()
    return place.rank == 0 if place is not None else os.environ.get("RANK", "0") == "0"
