from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from asyncio_loader.training.loops import EndlessBatches


class Epochs:
    """A loader of three batches per epoch, each named ``epoch.batch``."""

    def __init__(self) -> None:
        self.epoch = 0
        self.loaded: list[str] = []

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Iterator[str]:
        for batch in range(3):
            self.loaded.append(f"{self.epoch}.{batch}")
            yield self.loaded[-1]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def test_epoch_follows_epoch() -> None:
    assert list(islice(EndlessBatches(Epochs()), 7)) == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2", "2.0"]


def test_skipping_stands_where_training_left_off() -> None:
    batches = EndlessBatches(Epochs())

    batches.skip_iter(7)

    assert list(islice(batches, 3)) == ["2.1", "2.2", "3.0"]


def test_whole_epochs_are_skipped_without_loading() -> None:
    loader = Epochs()
    batches = EndlessBatches(loader)

    batches.skip_iter(6)

    assert loader.loaded == []
    assert next(batches) == "2.0"
