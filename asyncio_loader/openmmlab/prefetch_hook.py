"""What a Runner tells our datasets: which epoch it is, how large its batches are, and where a resumed run goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import DistSamplerSeedHook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.runner.loops import _InfiniteDataloaderIterator

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.errors import ConfigError, StateMismatch
from asyncio_loader.openmmlab.prefetch import PrefetchDataset
from asyncio_loader.openmmlab.progress import EndlessPasses, Passage
from asyncio_loader.openmmlab.scalars import LoaderScalars
from asyncio_loader.order.plan import EpochPlan

__all__ = ["STATE_KEY", "PrefetchHook"]

STATE_KEY = "asyncio_loader_data"
"""Under which a checkpoint holds the position in the data: the dataset's state after the last step trained."""


# mmengine has this hook among every Runner's default ones, and its job is this very one: to tell the epoch to whatever
# orders the samples. In its place ours comes without a line in the config.
@HOOKS.register_module(name=["PrefetchHook", "DistSamplerSeedHook"], force=True)
class PrefetchHook(DistSamplerSeedHook):  # type: ignore[misc]  # mmengine ships no types
    """Epoch, batch size and exact resume for a `PrefetchDataset`, or any `AsyncIterableDataset`, in mmengine's Runner.

    It is registered as mmengine's DistSamplerSeedHook, too, and so takes part in every Runner; for any other dataset it
    is that hook. Only a config that turns that one off, or gives its class itself, needs
    ``custom_hooks=[dict(type="PrefetchHook")]``. Twice does what once does.

    Every checkpoint says how far the last step that was *trained* had come in the data (`STATE_KEY`). A resumed run
    goes on behind it, on any number of ranks and workers and with another batch size (unless batches are of one aspect
    group), and fetches nothing that was consumed. Under an EpochBasedTrainLoop the resumed epoch has only the rest of
    its batches, where mmengine would run all of it again; they are numbered from 0, also in the log. Under an
    IterBasedTrainLoop every pass over the data is an epoch, and the next one begins at once, where mmengine waits for
    two seconds. Its options for skipping on resume play no role: nothing needs to be skipped.

    The log and the visualizer backends get the loader's figures, workers included, under ``loader/``: see
    `progress.as_scalars`.

    A checkpoint without a position is taken as mmengine takes it: an epoch that was under way begins again, a loop by
    iterations goes on behind as many steps of the present size.
    """

    def __init__(self) -> None:
        self._passage: Passage | None = None
        self._loaded: Mapping[str, Any] = {}
        self._scalars: LoaderScalars | None = None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Remember the position, until it turns out whether the run is resumed or takes weights alone."""
        self._loaded = {name: checkpoint.get(name) for name in ("meta", STATE_KEY)}

    def before_train(self, runner: Any) -> None:
        """Fill in the batch size; go to where the checkpoint that the run is resumed from was taken.

        Raises:
            ConfigError: the dataset was given another batch size than the dataloader.
            StateMismatch: the checkpoint stands within an epoch of another dataset or order.
        """
        loop = runner.train_loop
        for dataloader in _dataloaders(loop):
            _fit(dataloader, "train_dataloader")
        dataset = _dataset(loop)
        if dataset is None:
            return
        state = self._state_of_resume(loop)
        iterator = getattr(loop, "dataloader_iterator", None)
        if isinstance(iterator, _InfiniteDataloaderIterator):
            loop.dataloader_iterator = _endless(loop, iterator, state)
        elif iterator is None and state is not None:
            _resume_epoch(runner, dataset, state)
        if dataset.epochs is None and getattr(loop.dataloader, "persistent_workers", False):
            # Others do not live to see the next epoch, so they have no use for its first objects.
            dataset.epochs = _count_epochs(loop)
        self._scalars = LoaderScalars(dataset, getattr(loop.dataloader, "num_workers", 0))

    def before_train_epoch(self, runner: Any) -> None:
        """Set the epoch, unless the loop has an iterator that does, as `EndlessPasses`."""
        loop = runner.train_loop
        dataset = _dataset(loop)
        if dataset is None:
            super().before_train_epoch(runner)
        elif getattr(loop, "dataloader_iterator", None) is None:
            # The same epoch keeps the position that was loaded.
            dataset.set_epoch(runner.epoch)
            self._passage = Passage.begin(loop.dataloader, runner.iter)

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Put the loader's figures into the message hub, for the log and the visualizer backends."""
        if self._scalars is not None:
            self._scalars.write(runner.message_hub)

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Put the position of the last trained step into it."""
        iterator = getattr(runner.train_loop, "dataloader_iterator", None)
        passage = iterator.passage if isinstance(iterator, EndlessPasses) else self._passage
        if passage is not None:
            # The count in the checkpoint, since within `after_train_iter` the runner's own has yet to be raised.
            checkpoint[STATE_KEY] = passage.state_after(checkpoint["meta"]["iter"])

    def before_val_epoch(self, runner: Any) -> None:
        """Fill in the batch size. Raises ConfigError: see `before_test_epoch`."""
        for dataloader in _dataloaders(runner.val_loop):
            _fit_for_evaluation(dataloader, "val_dataloader")

    def before_test_epoch(self, runner: Any) -> None:
        """Fill in the batch size, and on several ranks deal the samples out as mmengine's evaluator expects it.

        Raises:
            ConfigError: batch sizes differ; or, on several ranks, what the evaluator collects would not be every sample
                once.
        """
        for dataloader in _dataloaders(runner.test_loop):
            _fit_for_evaluation(dataloader, "test_dataloader")

    def _state_of_resume(self, loop: Any) -> Mapping[str, Any] | None:
        """The state in the checkpoint that the loop has its counters of; None if that has none, or there is none."""
        meta = self._loaded.get("meta") or {}
        is_resumed = loop.iter > 0 and (meta.get("epoch"), meta.get("iter")) == (loop.epoch, loop.iter)
        return self._loaded.get(STATE_KEY) if is_resumed else None


def _dataloaders(loop: Any) -> list[Any]:
    """Of anybody's loop: mmagic's MultiValLoop has several, and `dataloader` only while it goes through one."""
    found = [getattr(loop, "dataloader", None), *(getattr(loop, "dataloaders", None) or ())]
    return [dataloader for dataloader in found if dataloader is not None]


def _ours(dataloader: Any) -> AsyncIterableDataset | None:
    dataset = getattr(dataloader, "dataset", None)
    return dataset if isinstance(dataset, AsyncIterableDataset) else None


def _dataset(loop: Any) -> AsyncIterableDataset | None:
    return _ours(getattr(loop, "dataloader", None))


def _endless(loop: Any, replaced: Any, state: Mapping[str, Any] | None) -> EndlessPasses:
    dataloader, dataset = loop.dataloader, loop.dataloader.dataset
    # First: a worker that has yet to begin would take the position for itself.
    _end(dataloader, replaced._iterator)
    if state is not None:
        _load(dataset, state)
    elif loop.iter:
        passes, steps = divmod(loop.iter, len(dataloader))
        consumed = dataset.plan(dataloader.batch_size or 1).consumed_after(steps)
        dataset.load_state_dict({"epoch": passes, "consumed": consumed})
    # mmengine 0.10.7 resumes by dropping batches; later ones (onedl's) ask for a skip.
    blank_items = 0 if hasattr(replaced, "skip_iter") else loop.iter
    return EndlessPasses(dataloader, lambda: loop.iter, blank_items=blank_items)


def _resume_epoch(runner: Any, dataset: AsyncIterableDataset, state: Mapping[str, Any]) -> None:
    """Go on within the epoch, and have mmengine count the steps that are left."""
    loop = runner.train_loop
    dataset.set_epoch(loop.epoch)
    # The state of an earlier epoch was taken at its end.
    if state["epoch"] == loop.epoch:
        _load(dataset, state)
    if not isinstance(loop, EpochBasedTrainLoop):
        return
    plan, steps = dataset.plan(loop.dataloader.batch_size or 1), len(loop.dataloader)
    # A dataloader that drops a short batch has fewer steps than the plan.
    steps_left = max(0, plan.steps_left - (plan.steps - steps))
    max_iters = loop.iter + steps_left + (loop.max_epochs - loop.epoch - 1) * steps
    if max_iters != loop.max_iters:
        # Another geometry than before: mmengine has multiplied the present steps of an epoch by the epochs.
        loop._max_iters = max_iters
        runner.message_hub.update_info("max_iters", max_iters)
        runner.optim_wrapper.initialize_count_status(runner.model, loop.iter, max_iters)


def _count_epochs(loop: Any) -> int | None:
    """So many epochs of the data will be gone through; None for a loop of another kind."""
    if isinstance(loop, EpochBasedTrainLoop):
        return int(loop.max_epochs)
    if not isinstance(loop, IterBasedTrainLoop):
        return None
    plan: EpochPlan = loop.dataloader.dataset.plan(loop.dataloader.batch_size or 1)
    return plan.epochs_after(loop.max_iters - loop.iter)


def _end(dataloader: Any, iterator: Any) -> None:
    """End an iteration of a torch DataLoader: mmengine 0.10.7 begins one when the loop is made."""
    if getattr(dataloader, "_iterator", None) is iterator:
        # A persistent one, which the next `iter()` would go on with.
        dataloader._iterator = None
    if hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


def _load(dataset: AsyncIterableDataset, state: Mapping[str, Any]) -> None:
    try:
        dataset.load_state_dict(state)
    except StateMismatch as error:
        raise StateMismatch(
            f"train_dataloader: the run cannot be resumed within epoch {state.get('epoch')} of its data: {error}. "
            "Resume with the dataset of before, or take the weights alone (load_from, resume=False)"
        ) from error


def _fit(dataloader: Any, name: str) -> None:
    dataset = _ours(dataloader)
    if isinstance(dataset, PrefetchDataset):
        dataset.fit_batch_size(dataloader.batch_size)
    elif dataset is not None and getattr(dataloader, "num_workers", 0) > 1:
        wanted = dataloader.batch_size or 1
        if dataset.batch_size != wanted:
            raise ConfigError(
                f"{name}: batch_size={wanted}, but its {type(dataset).__name__} has batch_size={dataset.batch_size}: "
                "with workers the order of the samples depends on it, so they must be equal"
            )


def _fit_for_evaluation(dataloader: Any, name: str) -> None:
    dataset = _ours(dataloader)
    ranks = get_world_size()
    if dataset is not None and ranks > 1:
        if not isinstance(dataset, PrefetchDataset):
            raise ConfigError(
                f"{name}: on {ranks} ranks mmengine's evaluator takes len() of the dataset for the number of all "
                f"results, and a {type(dataset).__name__} tells one rank's: use a PrefetchDataset, which deals the "
                "samples out as the evaluator expects it"
            )
        dataset.deal_for_evaluation()
    _fit(dataloader, name)
