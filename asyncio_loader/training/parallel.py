"""mmengine's Runner as one of several ranks, whose gradients are averaged."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from torch import distributed, nn

from asyncio_loader.training.distributed import Ranks
from asyncio_loader.training.resume import ResumableRunner

__all__ = ["BroadcastBuffers", "RankRunner"]

_ARGUMENTS = inspect.signature(nn.parallel.DistributedDataParallel).parameters
# torch has renamed it, and warns of the old name on every rank.
_SYNCS_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _ARGUMENTS else "broadcast_buffers"


class BroadcastBuffers(Hook):  # type: ignore[misc]
    """Gives all ranks the buffers of rank 0 before an evaluation: the statistics of normalization that it saves.

    Each rank has those of its own images otherwise, and would judge another model than the checkpoint's. (mmcv's
    ``broadcast_bn_buffer``.)
    """

    def before_val_epoch(self, runner: Any) -> None:
        """See the class. Collective."""
        for buffer in runner.model.buffers():
            distributed.broadcast(buffer, 0)


class RankRunner(ResumableRunner):
    """A `ResumableRunner` that is one of `ranks`.

    mmengine's own wrapping names a GPU to every rank, also where there is none. The process group must be there.
    """

    def __init__(self, *, ranks: Ranks, **options: Any) -> None:
        self._ranks = ranks
        super().__init__(launcher="pytorch" if ranks.is_distributed else "none", **options)

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """Called by the Runner's constructor. Collective.

        mmengine sets the numbers of OpenMP's and MKL's threads where the launcher has not, and warns of it on every
        rank; torch has read them long before.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"Setting (OMP|MKL)_NUM_THREADS ")
            super().setup_env(env_cfg)

    def wrap_model(self, model_wrapper_cfg: dict[str, Any] | None, model: nn.Module) -> nn.Module:
        """Called by the Runner's constructor. Collective: parameters become those of rank 0."""
        wrapped: nn.Module
        if not self._ranks.is_distributed:
            wrapped = super().wrap_model(model_wrapper_cfg, model)
            return wrapped
        wrapped = MMDistributedDataParallel(
            module=model.to(get_device()),
            device_ids=[self._ranks.local_rank] if torch.cuda.is_available() else None,
            # Only an evaluation needs them to be equal; see `BroadcastBuffers`.
            **{_SYNCS_BUFFERS: False},
            find_unused_parameters=bool(self.cfg.get("find_unused_parameters", False)),
        )
        return wrapped

    def resume(self, filename: str, *arguments: Any, **options: Any) -> None:
        """See `ResumableRunner`. Collective: an error of one rank is raised on all."""
        with self._ranks.agreed():
            super().resume(filename, *arguments, **options)
