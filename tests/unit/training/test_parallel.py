from __future__ import annotations

import copy
import logging
import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from torch import Tensor, nn

from asyncio_loader.errors import ConfigError
from asyncio_loader.training.distributed import Ranks, teller_of
from asyncio_loader.training.parallel import BroadcastBuffers, RankRunner
from asyncio_loader.training.resume import ResumableRunner
from tests.unit.training.crew import Crew


class Bare(RankRunner):
    """A Runner of nothing but its rank."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._distributed = ranks.is_distributed
        self.logger = logging.getLogger("bare")
        self.cfg: dict[str, Any] = {}


def test_a_process_alone_has_its_model_as_it_is() -> None:
    model = nn.Linear(2, 1)

    assert Bare(Ranks()).wrap_model(None, model) is model


def test_ranks_begin_with_the_weights_of_rank_0(crew: Crew) -> None:
    (first, of_first), (second, of_second) = crew.run(_first_weights)

    assert not torch.equal(first, second)
    assert torch.equal(first, of_first)
    assert torch.equal(first, of_second)


def test_gradients_are_those_of_the_images_of_all_ranks(crew: Crew) -> None:
    for expected, found in crew.run(_gradients):
        assert torch.allclose(found, expected)


def test_statistics_are_each_ranks_own_until_an_evaluation_takes_those_of_rank_0(crew: Crew) -> None:
    (first, after_first), (second, after_second) = crew.run(_statistics)

    assert not torch.equal(first["running_mean"], second["running_mean"])
    for name, value in first.items():
        assert torch.equal(after_first[name], value)
        assert torch.equal(after_second[name], value)


def test_a_checkpoint_that_one_rank_cannot_take_up_stops_all(crew: Crew) -> None:
    assert crew.run(_resume) == [("rank 1 cannot read a.pth", 1)] * 2


def test_nobody_is_warned_of_threads_that_nobody_asked_for(crew: Crew) -> None:
    assert crew.run(_set_up) == [True, True]


# What runs on the ranks.


def _first_weights(ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Of a rank's own model, and of the same when it has been wrapped."""
    torch.manual_seed(ranks.rank)
    model = nn.Linear(2, 1)
    before = model.weight.detach().clone()
    wrapped = Bare(ranks).wrap_model(None, model)
    # What mmengine asks its models for, and what checkpoints look through.
    assert isinstance(wrapped, MMDistributedDataParallel)
    assert is_model_wrapper(wrapped)
    return before, wrapped.module.weight.detach()


def _images(rank: int) -> Tensor:
    return torch.arange(8.0).reshape(4, 2) * (1 + rank)


def _gradients(ranks: Ranks) -> tuple[Tensor, Tensor]:
    """Of all images in one process, and what a rank has after its own."""
    torch.manual_seed(0)
    alone = nn.Linear(2, 1)
    wrapped = Bare(ranks).wrap_model(None, copy.deepcopy(alone))
    alone(torch.cat([_images(rank) for rank in range(ranks.world)])).square().mean().backward()
    wrapped(_images(ranks.rank)).square().mean().backward()
    return alone.weight.grad, wrapped.module.weight.grad


def _statistics(ranks: Ranks) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of normalization, before and after an evaluation begins."""
    wrapped = Bare(ranks).wrap_model(None, nn.BatchNorm1d(2))
    for _ in range(2):
        wrapped(_images(ranks.rank))
    before = {name: value.clone() for name, value in wrapped.module.named_buffers()}
    BroadcastBuffers().before_val_epoch(SimpleNamespace(model=wrapped))
    return before, dict(wrapped.module.named_buffers())


def _resume(ranks: Ranks) -> tuple[str, int | None]:
    def read(self: object, filename: str) -> None:
        if ranks.rank == 1:
            raise ConfigError(f"rank 1 cannot read {filename}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableRunner, "resume", read)
        with pytest.raises(ConfigError) as caught:
            Bare(ranks).resume("a.pth")
    return str(caught.value), teller_of(caught.value)


def _set_up(ranks: Ranks) -> bool:
    """Whether mmengine did what it warns of: warnings are errors here."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            # Both: what mmengine sets is undone, too.
            patch.setenv(name, "1")
            patch.delenv(name)
        Bare(ranks).setup_env({"mp_cfg": {"mp_start_method": "spawn"}})
        return all(name in os.environ for name in names)
