"""What OpenCV and torch have of their own in the workers of a torch DataLoader."""

from __future__ import annotations

from collections.abc import Callable

import cv2
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
    [(leave, max(1, CORES // 2), "fork"), (leave, max(1, CORES // 2), "spawn"), (choose, CORES + 1, "fork")],
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
