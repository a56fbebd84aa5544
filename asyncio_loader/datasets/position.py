"""Epoch, starting position and rank of a dataset, as live worker processes see them, too."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from asyncio_loader.errors import ConfigError

__all__ = ["Position", "SharedPosition"]

# Fields of the tensor; behind them one for the process itself and one for each worker.
_EPOCH, _START, _SERIAL, _WORKERS_BEGAN, _FIRST_SEEN = range(5)

# As many as nobody has: 8 KB.
_MOST_WORKERS = 1024


class Position(NamedTuple):
    """Where an iteration begins.

    Attributes:
        epoch: the epoch.
        start: positions of it, over all ranks, that were consumed before.
    """

    epoch: int
    start: int


class SharedPosition:
    """Epoch and starting position of the next iteration. A tensor in shared memory reaches live persistent workers
    under every start method; ``multiprocessing.Value`` does not pickle.

    A starting position counts once: for the next iteration of this process, and for the next one of each worker. So a
    resumed epoch is the only one that begins in its middle. Each process notes for itself that it has begun, because
    workers learn of an iteration one by one, and no one else tells them that it is another one.

    One process writes `set_epoch` and `load`, between iterations.
    """

    def __init__(self) -> None:
        self._values: torch.Tensor = torch.zeros(_FIRST_SEEN + 1 + _MOST_WORKERS, dtype=torch.int64)
        self._values.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def epoch(self) -> int:
        """The epoch of the next iteration."""
        return int(self._values[_EPOCH])

    @property
    def serial(self) -> int:
        """Counts the calls of `load`: a progress that was noted before the last one is void."""
        return int(self._values[_SERIAL])

    @property
    def workers_began(self) -> bool:
        """Whether a worker has begun an iteration since the epoch was set."""
        return bool(self._values[_WORKERS_BEGAN])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch. A starting position of the same epoch stays; another epoch begins at 0."""
        if epoch != self.epoch:
            self.load(Position(epoch, 0))
        self._values[_WORKERS_BEGAN] = 0

    def load(self, position: Position) -> None:
        """Choose epoch and starting position of the next iteration."""
        self._values[_EPOCH] = position.epoch
        self._values[_START] = position.start
        self._values[_SERIAL] += 1
        self._values[_WORKERS_BEGAN] = 0

    def next(self, worker: int | None = None) -> Position:
        """Where the next iteration begins: of a worker, by its number, or with None of this process itself."""
        is_new = self._values[self._place(worker)] != self._values[_SERIAL]
        return Position(self.epoch, int(self._values[_START]) if is_new else 0)

    def begin(self, worker: int | None = None) -> Position:
        """`next`, and note that it has begun."""
        position = self.next(worker)
        self._values[self._place(worker)] = self._values[_SERIAL]
        if worker is not None:
            self._values[_WORKERS_BEGAN] = 1
        return position

    def copy_if_private(self) -> None:
        """Move a pickled copy into shared memory of its own. A worker's view of its parent's stays what it is."""
        if not self._values.is_shared():  # type: ignore[no-untyped-call]
            self._values = self._values.clone()
            self._values.share_memory_()  # type: ignore[no-untyped-call]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.copy_if_private()

    @staticmethod
    def _place(worker: int | None) -> int:
        if worker is None:
            return _FIRST_SEEN
        if worker >= _MOST_WORKERS:
            raise ConfigError(f"num_workers must be at most {_MOST_WORKERS}: there is a worker {worker}")
        return _FIRST_SEEN + 1 + worker
