"""Failures of the worker processes of one DataLoader, counted together."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["SharedTally"]

# As many workers as `SharedPosition` knows: 16 KB.
_MOST_WORKERS = 1024


class SharedTally:
    """How many samples of an epoch each worker has seen fail, as all of them see it.

    A tensor in shared memory, for the reasons of `SharedPosition`. Each worker writes its own row alone, so there is no
    lock; a sum may be a failure behind that another worker is just counting.
    """

    def __init__(self) -> None:
        self._rows: torch.Tensor = torch.zeros(_MOST_WORKERS, 2, dtype=torch.int64)
        self._rows.share_memory_()  # type: ignore[no-untyped-call]

    def begin(self, worker: int, epoch: int) -> None:
        """The worker begins an iteration: it has seen nothing fail."""
        self._rows[worker, 0] = epoch
        self._rows[worker, 1] = 0

    def add(self, worker: int, workers: int) -> int:
        """Count a failure of the worker; the sum over all workers that are in the same epoch."""
        self._rows[worker, 1] += 1
        rows = self._rows[:workers]
        return int(rows[rows[:, 0] == rows[worker, 0], 1].sum())

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # A worker's view of its parent's stays what it is; a copy gets memory of its own.
        if not self._rows.is_shared():  # type: ignore[no-untyped-call]
            self._rows = self._rows.clone()
            self._rows.share_memory_()  # type: ignore[no-untyped-call]
