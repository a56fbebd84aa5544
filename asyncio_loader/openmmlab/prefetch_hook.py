"""What a Runner tells a `PrefetchDataset`: which epoch it is, and how large its batches are."""

from __future__ import annotations

from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from asyncio_loader.errors import ConfigError
from asyncio_loader.openmmlab.prefetch import PrefetchDataset

__all__ = ["PrefetchHook"]


# mmengine has this hook among every Runner's default ones, and its job is this very one: to tell the epoch to whatever
# orders the samples. In its place ours comes without a line in the config.
@HOOKS.register_module(name=["PrefetchHook", "DistSamplerSeedHook"], force=True)
class PrefetchHook(DistSamplerSeedHook):  # type: ignore[misc]  # mmengine ships no types
    """Sets epoch and batch size of a `PrefetchDataset`; for any other dataset it is mmengine's DistSamplerSeedHook.

    It is registered under that name, too, and so takes part in every Runner. Only a config that turns that hook off, or
    gives its class itself, needs ``custom_hooks=[dict(type="PrefetchHook")]``. An epoch set twice is the same epoch.

    Under an IterBasedTrainLoop every pass over the data is an epoch. After a resume mmengine goes through all batches
    trained before once more (unless ``fast_forward_on_resume=True`` of onedl-mmengine); the pass under way then has
    the order that it had.
    """

    def before_train(self, runner: Any) -> None:
        """Fill in the batch size.

        Raises:
            ConfigError: the dataset was given another, or was given none and its workers have started without it.
        """
        for dataloader in _dataloaders(runner.train_loop):
            _check_not_started(runner.train_loop, dataloader)
            _fit(dataloader)

    def before_train_epoch(self, runner: Any) -> None:
        """Set the epoch: the runner's, or the number of passes that are over."""
        dataset = _prefetching(getattr(runner.train_loop, "dataloader", None))
        if dataset is None:
            super().before_train_epoch(runner)
        elif isinstance(runner.train_loop, IterBasedTrainLoop):
            _set_pass(runner, dataset, runner.iter)
        else:
            dataset.set_epoch(runner.epoch)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Under an IterBasedTrainLoop, which has no epochs, have the next pass ready before the loop starts it."""
        dataset = _prefetching(getattr(runner.train_loop, "dataloader", None))
        if dataset is not None and isinstance(runner.train_loop, IterBasedTrainLoop):
            _set_pass(runner, dataset, runner.iter + 1)

    def before_val_epoch(self, runner: Any) -> None:
        """Fill in the batch size. Raises ConfigError: see the class of the dataset."""
        for dataloader in _dataloaders(runner.val_loop):
            _fit_for_evaluation(dataloader, "val_dataloader")

    def before_test_epoch(self, runner: Any) -> None:
        """Fill in the batch size. Raises ConfigError: see the class of the dataset."""
        for dataloader in _dataloaders(runner.test_loop):
            _fit_for_evaluation(dataloader, "test_dataloader")


def _dataloaders(loop: Any) -> list[Any]:
    """Of anybody's loop: mmagic's MultiValLoop has several, and `dataloader` only while it goes through one."""
    found = [getattr(loop, "dataloader", None), *(getattr(loop, "dataloaders", None) or ())]
    return [dataloader for dataloader in found if dataloader is not None]


def _check_not_started(loop: Any, dataloader: Any) -> None:
    dataset = _prefetching(dataloader)
    iterator = getattr(getattr(loop, "dataloader_iterator", None), "_iterator", None)
    if dataset is None or iterator is None or dataloader.num_workers == 0:
        return
    if dataset.takes_any_batch_size and dataset.batch_size != dataloader.batch_size:
        # mmengine 0.10's IterBasedTrainLoop starts them when it is made.
        raise ConfigError(
            f"train_dataloader.dataset: this mmengine starts the workers of an IterBasedTrainLoop before the dataset "
            f"can learn the size of the batches: give the PrefetchDataset batch_size={dataloader.batch_size}"
        )


def _prefetching(dataloader: Any) -> PrefetchDataset | None:
    dataset = getattr(dataloader, "dataset", None)
    return dataset if isinstance(dataset, PrefetchDataset) else None


def _set_pass(runner: Any, dataset: PrefetchDataset, steps_done: int) -> None:
    dataset.set_epoch(steps_done // len(runner.train_loop.dataloader))


def _fit(dataloader: Any) -> None:
    dataset = _prefetching(dataloader)
    if dataset is not None:
        dataset.fit_batch_size(dataloader.batch_size)


def _fit_for_evaluation(dataloader: Any, name: str) -> None:
    if _prefetching(dataloader) is not None and get_world_size() > 1:
        raise ConfigError(
            f"{name}: on {get_world_size()} ranks mmengine's evaluator needs all results, and a PrefetchDataset tells "
            "it the number of one rank's: use the dataset inside with a DefaultSampler there"
        )
    _fit(dataloader)
