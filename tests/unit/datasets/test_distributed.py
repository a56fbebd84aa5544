from __future__ import annotations

import torch

from asyncio_loader.datasets.distributed import RankAndWorld, rank_and_world


def test_without_a_process_group_there_is_no_rank() -> None:
    assert rank_and_world() is None


def test_it_is_read_from_the_process_group() -> None:
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    try:
        assert rank_and_world() == RankAndWorld(0, 1)
    finally:
        torch.distributed.destroy_process_group()
