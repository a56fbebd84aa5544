"""What OpenCV and torch have of their own in the workers of a torch DataLoader."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from asyncio_loader import AsyncIterableDataset, Fetched
from asyncio_loader.stores.memory import MemoryStore

CORES = cv2.getNumberOfCPUs()
URIS = [f"memory://{n}" for n in range(4)]


def native_threads(_: Fetched) -> list[int]:
    return [cv2.getNumThreads(), torch.get_num_threads()]


def leave(_: int) -> None:
    cv2.setNumThreads(CORES)


def choose(_: int) -> None:
    cv2.setNumThreads(CORES + 1)


@pytest.mark.parametrize(
    ("prepare", "expected", "start_method"),
    [(leave, 1, "fork"), (leave, max(1, CORES // 2), "spawn"), (choose, CORES + 1, "fork")],
)
def test_a_worker_has_its_part_of_opencv_unless_somebody_chose(
    prepare: Callable[[int], None], expected: int, start_method: str
) -> None:
    dataset = AsyncIterableDataset(
        URIS, transform=native_threads, storage=MemoryStore(dict.fromkeys(URIS, b"x")), batch_size=1
    )
    loader: DataLoader[object] = DataLoader(
        dataset, None, num_workers=2, worker_init_fn=prepare, multiprocessing_context=start_method
    )

    # torch sees to its own.
    assert list(loader) == [[expected, 1]] * len(URIS)


def resize(_: Fetched) -> list[int]:
    return use_the_pool()


def use_the_pool() -> list[int]:
    return list(cv2.resize(np.zeros((1200, 1600, 3), np.uint8), (2400, 1800), interpolation=cv2.INTER_CUBIC).shape)


def test_a_forked_worker_does_without_the_pool_that_its_parent_has_used() -> None:
    use_the_pool()
    dataset = AsyncIterableDataset(URIS, transform=resize, storage=MemoryStore(dict.fromkeys(URIS, b"x")), batch_size=1)
    loader: DataLoader[object] = DataLoader(dataset, None, num_workers=2, multiprocessing_context="fork", timeout=20)

    assert list(loader) == [[1800, 2400, 3]] * len(URIS)
