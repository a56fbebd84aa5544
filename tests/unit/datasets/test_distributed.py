from __future__ import annotations

import pytest
import torch

from asyncio_loader.datasets.distributed import RankAndWorld, is_first_rank, rank_and_world


def test_without_a_process_group_there_is_no_rank() -> None:
    assert rank_and_world() is None


def test_it_is_read_from_the_process_group() -> None:
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=torch.distributed.HashStore())
    try:
        assert rank_and_world() == RankAndWorld(0, 1)
        assert is_first_rank()
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize(("variable", "is_first"), [(None, True), ("0", True), ("1", False)])
def test_without_a_process_group_the_environment_says_who_speaks(
    variable: str | None, is_first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RANK", raising=False)
    if variable is not None:
        monkeypatch.setenv("RANK", variable)

    assert is_first_rank() is is_first
