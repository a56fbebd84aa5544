"""Epochs of a dataset, how far one is consumed, and going on from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.data import get_worker_info

from asyncio_loader.checks import MOST_INT64, whole_number
from asyncio_loader.datasets.ordered import OrderedRefs
from asyncio_loader.datasets.position import Position
from asyncio_loader.datasets.state import check_description, describe_shard, make_state, read_shard, read_state
from asyncio_loader.datasets.stream import Progress
from asyncio_loader.errors import ConfigError, LoaderError, StateMismatch
from asyncio_loader.order.shard import Shard

__all__ = ["ResumableRefs"]


class ResumableRefs(OrderedRefs):
    """What a dataset knows of epochs and positions in them.

    Attributes:
        batch_size: samples per batch of the DataLoader around it.
        sets_epochs: whether `set_epoch` was called, as a loop over epochs does.
    """

    def __init__(self, *arguments: Any, batch_size: int, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.batch_size = whole_number("batch_size", batch_size, least=1)
        self.sets_epochs = False
        self._latest = _Latest()

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration will be of."""
        return self._position.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration, here and in live workers. An epoch never advances by itself.

        The epoch of a state that was loaded keeps the position to go on from; any other one begins at its first sample.
        """
        self._position.set_epoch(whole_number("epoch", epoch, least=0, most=MOST_INT64))
        self.sets_epochs = True

    def state_dict(self) -> dict[str, Any]:
        """How far the current epoch is consumed: small, for JSON and checkpoints. See `load_state_dict`.

        Consumed is what the latest iteration of this process has handed out; a `Loader` tells by whole batches.

        Raises:
            LoaderError: worker processes iterate, and only the training loop knows how many of their batches it used.
        """
        worker = get_worker_info()
        if worker is None and self._position.workers_began:
            raise LoaderError(
                "state_dict() of a dataset whose worker processes iterate: what they handed out may not have been "
                'trained on. Count in the training loop and say load_state_dict({"epoch": e, "consumed": n}), n = '
                "batches x batch size x ranks; or take a Loader, or torchdata's StatefulDataLoader"
            )
        progress = self._current_progress()
        if progress is None:
            return self.state_at(self._position.next(worker.id if worker else None), self.batch_size)
        plan = progress.part.plan
        state = self.state_at(Position(plan.epoch, progress.consumed), plan.batch_size)
        return state if worker is None else state | {"shard": describe_shard(progress)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Have the next iteration of the epoch go on with exactly the samples that are not consumed.

        On any number of ranks, workers and threads, and with any batch size unless batches are grouped. It counts for
        one iteration (of each worker); the one after it begins at the first sample again.

        Where a later epoch was chosen already, the state of one that is over changes nothing: a StatefulDataLoader
        without workers loads its state only when it begins to iterate, after `set_epoch`. With workers none of them
        knows whether the others are through: a state that was taken at the very end of an epoch, before its loop had
        ended, gives an empty pass. `of_stateful_dataloader` and `load_state_dict` of the dataset get that right.

        Args:
            state: of `state_dict`, here or in a `Loader`; or ``{"epoch": e, "consumed": n}``, n positions of the epoch
                over all ranks: batches trained on × batch size × ranks.

        Raises:
            StateMismatch: it is of another plan (other samples, seed, order), which the message names.
        """
        self.load_state(state, self.batch_size)

    def load_state(self, state: Mapping[str, Any], batch_size: int) -> None:
        """`load_state_dict` for batches of another size: for `Loader`."""
        position, description = read_state(state)
        if description is not None:
            check_description(description, self._describe(batch_size, position.epoch))
        worker = get_worker_info()
        try:
            plan = self._plan(batch_size, position)
        except ConfigError as error:
            # It cannot begin there: inside a batch of an order that is cut for a batch size.
            raise StateMismatch(f"epoch={position.epoch}, consumed={position.start}: {error}") from error
        if "shard" in state:
            rank = self._rank_and_world()
            shard = Shard(rank.rank, worker.id, worker.num_workers) if worker else None
            self._latest.resume_at = read_shard(state["shard"], position.epoch, shard, rank.world, batch_size)
        elif worker is None:
            is_past = plan.start == plan.length and position.epoch < self.epoch
            self._position.load(Position(self.epoch, 0) if is_past else position)
        else:
            self._latest.resume_at = position, 0

    def state_at(self, position: Position, batch_size: int) -> dict[str, Any]:
        """The state of a position: for `Loader`, and for hooks of training loops that count by themselves."""
        return make_state(position, self._describe(batch_size, position.epoch))

    def next_position(self) -> tuple[Position, int]:
        """Where the next iteration of this process begins, and the serial number of that decision: for `Loader`."""
        return self._position.next(), self._position.serial

    def _current_progress(self) -> Progress | None:
        """Of the latest iteration here, unless another position was chosen since."""
        progress, serial = self._latest.progress or (None, 0)
        return progress if serial == self._position.serial else None

    def _begin(self, worker: int | None) -> tuple[Position, int]:
        """Where an iteration begins that begins now, and how many of its samples it leaves out."""
        position = self._position.begin(worker)
        resume_at, self._latest.resume_at = self._latest.resume_at, None
        return resume_at or (position, 0)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_latest": _Latest()}


@dataclass(slots=True)
class _Latest:
    """What belongs to one process.

    Attributes:
        progress: of the latest iteration, and the serial number of the position that it began at.
        resume_at: where the next iteration begins, whatever the parent says, and how many samples it leaves out:
            from the state of a worker.
    """

    progress: tuple[Progress, int] | None = None
    resume_at: tuple[Position, int] | None = None
