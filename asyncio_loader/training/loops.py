"""Training by iterations over a loader that ends with every epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from mmengine.runner import IterBasedTrainLoop

__all__ = ["EndlessBatches", "EpochLoader", "IterationLoop"]


class EpochLoader(Protocol):
    """What a loop needs of a `Loader`."""

    def __iter__(self) -> Iterator[Any]:
        """The batches of the epoch that was set."""
        ...

    def __len__(self) -> int:
        """Batches per epoch."""
        ...

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration."""
        ...


class EndlessBatches:
    """Epoch after epoch of a loader, each in its own order.

    mmengine's own iterator sleeps for two seconds at the end of an epoch and looks for a sampler to shuffle.
    """

    def __init__(self, loader: EpochLoader) -> None:
        self._loader = loader
        self._epoch = -1
        self._batches: Iterator[Any] = iter(())

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        for batch in self._batches:
            return batch
        self._start(self._epoch + 1)
        return next(self._batches)

    def skip_iter(self, count: int) -> None:
        """Stand where `count` batches have been taken since the first epoch's start.

        Whole epochs cost nothing; batches of the last one are loaded and dropped.
        """
        epoch, rest = divmod(count, len(self._loader))
        self._start(epoch)
        for _ in range(rest):
            next(self._batches)

    def _start(self, epoch: int) -> None:
        self._epoch = epoch
        self._loader.set_epoch(epoch)
        self._batches = iter(self._loader)


class IterationLoop(IterBasedTrainLoop):  # type: ignore[misc]
    """mmengine's loop by iterations over `EndlessBatches`."""

    def __init__(self, runner: Any, dataloader: EpochLoader, **options: Any) -> None:
        super().__init__(runner, dataloader, **options)
        self.dataloader_iterator = EndlessBatches(dataloader)
