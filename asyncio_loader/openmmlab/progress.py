"""How far a Runner is in its data, by the number of steps that it has trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from asyncio_loader.datasets.dataset import AsyncIterableDataset
from asyncio_loader.datasets.position import Position
from asyncio_loader.errors import LoaderError
from asyncio_loader.order.plan import EpochPlan

__all__ = ["EndlessPasses", "Passage"]

_END = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """The way through one epoch of the data, begun at its start or, after a resume, further on.

    Attributes:
        dataset: whose epoch it is.
        plan: the order of the epoch, from where the passage began.
        steps_before: steps of the run that were done by then.
    """

    dataset: AsyncIterableDataset
    plan: EpochPlan
    steps_before: int

    @classmethod
    def begin(cls, dataloader: Any, steps_done: int) -> Passage:
        """The passage that the next ``iter(dataloader)`` goes; to be asked for right before that."""
        dataset = dataloader.dataset
        return cls(dataset=dataset, plan=dataset.plan(dataloader.batch_size or 1), steps_before=steps_done)

    def state_after(self, steps_done: int) -> dict[str, Any]:
        """The dataset's state once the run has done so many steps; if the epoch was over before that, its end.

        What workers have fetched beyond is of no account: a sample is consumed when it was trained on.
        """
        consumed = self.plan.consumed_after(steps_done - self.steps_before)
        return self.dataset.state_at(Position(self.plan.epoch, consumed), self.plan.batch_size)


class EndlessPasses:
    """Pass after pass over a dataloader of one of our datasets, each an epoch of its own: for IterBasedTrainLoop.

    mmengine's own iterator waits for two seconds after each pass, and finds the place of a resumed run by going through
    the data again. This one begins where the dataset says, with the first batch that is asked for.

    Attributes:
        passage: the pass under way, None before the first batch.
    """

    def __init__(self, dataloader: Any, count_steps: Callable[[], int], *, blank_items: int = 0) -> None:
        """Nothing is started yet.

        Args:
            dataloader: over an `AsyncIterableDataset` whose epoch and position are set.
            count_steps: says how many steps the run has done.
            blank_items: the first so many items are None and cost nothing: for a loop that takes what was trained
                before from its iterator and drops it.
        """
        self.passage: Passage | None = None
        self._dataloader = dataloader
        self._count_steps = count_steps
        self._blank_items = blank_items
        self._batches: Iterator[Any] = iter(())
        self._is_barren = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._blank_items:
            self._blank_items -= 1
            return None
        while (batch := next(self._batches, _END)) is _END:
            # A resumed run may stand at the very end of a pass; but a whole one has batches.
            if self._is_barren:
                raise LoaderError("train_dataloader: an epoch of it has no batch at all")
            self._begin()
        self._is_barren = False
        return batch

    def skip_iter(self, count: int) -> None:
        """Nothing: it stands behind the last batch that was trained already. For a loop that resumes."""

    def _begin(self) -> None:
        dataset = self._dataloader.dataset
        if self.passage is not None:
            dataset.set_epoch(self.passage.plan.epoch + 1)
        self.passage = Passage.begin(self._dataloader, self._count_steps())
        self._is_barren = self.passage.plan.start == 0
        self._batches = iter(self._dataloader)
