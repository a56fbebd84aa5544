"""Which rank of a distributed job this process is."""

from __future__ import annotations

from typing import NamedTuple

from torch import distributed

__all__ = ["RankAndWorld", "rank_and_world"]


class RankAndWorld(NamedTuple):
    """A rank, and how many there are."""

    rank: int
    world: int


def rank_and_world() -> RankAndWorld | None:
    """This process's place in the default process group of `torch.distributed`; None where there is no group."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return None
    return RankAndWorld(distributed.get_rank(), distributed.get_world_size())
