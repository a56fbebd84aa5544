"""mmengine's training loops over a loader that knows its position: they go on inside an epoch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from asyncio_loader.errors import StateMismatch

__all__ = ["EndlessBatches", "EpochLoader", "EpochLoop", "IterationLoop"]

_LOG = logging.getLogger(__name__)


class EpochLoader(Protocol):
    """What a loop needs of a `Loader`."""

    batch_size: int

    @property
    def dataset(self) -> Any:
        """With `plan` and `load_state_dict` of an `AsyncIterableDataset`."""
        ...

    def __iter__(self) -> Iterator[Any]:
        """The batches of the epoch that was set, from the position that was loaded."""
        ...

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration. The same epoch keeps a loaded position, another one forgets it."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The position behind the last batch that was handed out."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next iteration there; raises StateMismatch."""
        ...


class EpochLoop(EpochBasedTrainLoop):  # type: ignore[misc]
    """mmengine's loop by epochs, which reruns the whole epoch on a resume. This one trains what is left of it.

    Batches are counted so that the last one of an epoch is always number ``len(dataloader) - 1``: what counts steps
    within the epoch goes on where it was. Where the number of ranks or the batch size has changed, an epoch still ends
    where its data end; ``iter`` stays the number of steps done, and ``max_iters`` is that and the steps to come: the
    last one is known as such.
    """

    def go_on_from(self, state: Mapping[str, Any] | None) -> None:
        """Take up the position of a checkpoint. To be called when epoch and iteration have been set, before `run`.

        Args:
            state: of `Loader.state_dict`; None: it is not known, and the epoch begins anew, with a warning where part
                of it seems to have been trained.

        Raises:
            StateMismatch: the position is in the middle of an epoch of other data, or in another order. Between two
                epochs that is only warned of: the next one begins anew anyway.
        """
        loader, epoch = self.dataloader, self._epoch
        if state is not None and state["epoch"] in (epoch - 1, epoch):
            self._load(dict(state))
        elif self._iter != epoch * len(loader):
            _LOG.warning(
                "the checkpoint does not say what of epoch %d was trained when it was saved, after %d iterations: the "
                "epoch begins anew",
                epoch + 1,
                self._iter,
            )
        loader.set_epoch(epoch)
        steps = _steps_left(loader) + (self._max_epochs - epoch - 1) * len(loader)
        self._max_iters = self._iter + max(0, steps)

    def run_epoch(self) -> None:
        """Train what is left of the epoch. What follows an epoch follows also where nothing was left."""
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        done = len(self.dataloader) - _steps_left(self.dataloader)
        for place, batch in enumerate(self.dataloader, start=done):
            self.run_iter(place, batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _load(self, state: dict[str, Any]) -> None:
        try:
            self.dataloader.load_state_dict(state)
        except StateMismatch as error:
            if state["epoch"] == self._epoch:
                raise
            _LOG.warning("epoch %d is the first one on other data, or in another order: %s", self._epoch + 1, error)


class EndlessBatches:
    """Epoch after epoch of a loader, each in its own order.

    mmengine's own iterator sleeps for two seconds at the end of an epoch, looks for a sampler to shuffle, and loads on
    a resume what was trained before, to drop it.
    """

    def __init__(self, loader: EpochLoader) -> None:
        self._loader = loader
        self._epoch = 0
        self._is_placed = False
        self._batches: Iterator[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._batches is None:
            self._batches = self._begin(self._epoch)
        for batch in self._batches:
            return batch
        self._batches = self._begin(self._epoch + 1)
        return next(self._batches)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a position of `Loader.state_dict`. Raises StateMismatch."""
        self._loader.load_state_dict(dict(state))
        self._epoch = state["epoch"]
        self._is_placed = True

    def skip_iter(self, count: int) -> None:
        """Stand where `count` batches of this size have been taken since the first epoch's start. Nothing is loaded.

        mmengine's loop calls it upon a resume. A position that was loaded stays: it holds for any batch size.
        """
        if self._is_placed:
            return
        self._epoch, steps = divmod(count, len(self._loader))
        self._loader.set_epoch(self._epoch)
        consumed = self._loader.dataset.plan(self._loader.batch_size).consumed_after(steps)
        self._loader.dataset.load_state_dict({"epoch": self._epoch, "consumed": consumed})
        self._is_placed = True

    def _begin(self, epoch: int) -> Iterator[Any]:
        self._epoch = epoch
        self._loader.set_epoch(epoch)
        return iter(self._loader)


class IterationLoop(IterBasedTrainLoop):  # type: ignore[misc]
    """mmengine's loop by iterations over `EndlessBatches`."""

    def __init__(self, runner: Any, dataloader: EpochLoader, **options: Any) -> None:
        super().__init__(runner, dataloader, **options)
        self.dataloader_iterator = EndlessBatches(dataloader)

    def go_on_from(self, state: Mapping[str, Any] | None) -> None:
        """Take up the position of a checkpoint, before `run`. Raises StateMismatch.

        Args:
            state: of `Loader.state_dict`; None: it is not known, and follows from the number of iterations, which is
                exact with the batch size and the ranks that there were.
        """
        if state is not None:
            self.dataloader_iterator.load_state_dict(state)
        else:
            self.dataloader_iterator.skip_iter(self._iter)
        dataset = self.dataloader.dataset
        # On other ranks, or with other batches, an epoch has another number of steps than before.
        dataset.epochs = dataset.plan(self.dataloader.batch_size).epochs_after(self._max_iters - self._iter)


def _steps_left(loader: EpochLoader) -> int:
    steps: int = loader.dataset.plan(loader.batch_size).steps_left
    return steps
