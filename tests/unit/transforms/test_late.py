from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.datasets.size import size_bytes
from asyncio_loader.transforms import Compose
from asyncio_loader.transforms.formatting import DataContainer
from asyncio_loader.transforms.late import LateImage, leaving_images, may_be_late

NORMALIZE = {"type": "Normalize", "mean": [1, 2, 3], "std": [4, 5, 6]}
PAD = {"type": "Pad", "size_divisor": 32, "pad_val": 7}
BUNDLE = {"type": "DefaultFormatBundle"}
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def sample() -> dict[str, Any]:
    return {"img": IMAGE, "img_fields": ["img"], "img_shape": IMAGE.shape}


def late_container(*entries: Any) -> DataContainer:
    with leaving_images():
        container = Compose([*entries, BUNDLE])(sample())["img"]
    assert isinstance(container, DataContainer)
    return container


def test_an_image_is_late_only_where_that_is_allowed() -> None:
    pipeline = Compose([NORMALIZE, PAD, BUNDLE])
    found = []
    with leaving_images():
        thread = threading.Thread(target=lambda: found.append(may_be_late()))
        thread.start()
        thread.join()
        with leaving_images(False):
            assert pipeline(sample())["img"].late is None
        assert may_be_late()

    assert found == [False]
    assert not may_be_late()
    assert pipeline(sample())["img"].late is None


def test_it_weighs_what_it_is_written_from() -> None:
    container = late_container(NORMALIZE, PAD)
    late = container.late
    assert late is not None

    assert ((3, 64, 64), np.float32) == (late.shape, late.dtype)
    assert size_bytes({"img": container}) == 3 * 40 * 50
    assert size_bytes({"img": container, "data": container.data}) == 4 * 3 * 64 * 64


def test_where_it_was_written_to_is_not_its_own() -> None:
    container = late_container(NORMALIZE, PAD)
    late = container.late
    assert late is not None
    first, second = (np.empty((3, 64, 64), np.float32) for _ in range(2))
    late.write(first)
    wanted = first.copy()
    first[...] = 0
    late.write(second)

    np.testing.assert_array_equal(wanted, second)
    np.testing.assert_array_equal(wanted, container.data.numpy())


def test_whoever_asks_for_the_data_gets_a_tensor() -> None:
    container = late_container(NORMALIZE, PAD)
    wanted = Compose([NORMALIZE, PAD, BUNDLE])(sample())["img"].data

    assert torch.equal(wanted, container.data)
    assert container.data.is_contiguous()
    assert container.data.data_ptr() == container.data.data_ptr()
    assert container.late is None


@pytest.mark.parametrize("use", [lambda c: c.size(), lambda c: c.dim(), repr, len, lambda c: c.datatype])
def test_all_that_is_asked_of_a_container_is_the_tensors(use: Any) -> None:
    plain = Compose([NORMALIZE, PAD, BUNDLE])(sample())["img"]

    assert use(plain) == use(late_container(NORMALIZE, PAD))


@pytest.mark.parametrize("copied", [lambda c: pickle.loads(pickle.dumps(c)), copy.copy, copy.deepcopy])
def test_it_leaves_the_process_written(copied: Any) -> None:
    container = late_container(NORMALIZE, PAD)
    there = copied(container)

    assert there.late is None
    assert torch.equal(there.data, container.data)
    assert (there.stack, there.padding_value, there.cpu_only, there.pad_dims) == (True, 0, False, 2)


class Mine(DataContainer):
    """A user's own, with more to it."""

    def __init__(self, data: Any, name: str) -> None:
        super().__init__(data, stack=True)
        self.name = name


@pytest.mark.parametrize("copied", [lambda c: pickle.loads(pickle.dumps(c)), copy.copy, copy.deepcopy])
def test_a_container_of_ones_own_is_copied_whole(copied: Any) -> None:
    there = copied(Mine(LateImage.of(np.ones((1, 2, 2), np.uint8)), "a"))

    assert (type(there), there.name, there.stack, there.data.sum().item()) == (Mine, "a", True, 4)


def test_one_that_is_as_it_shall_be_is_copied() -> None:
    container = late_container()
    late = container.late
    assert late is not None
    place = np.zeros((3, 44, 50), np.float32)
    late.write(place[:, 2:42])

    np.testing.assert_array_equal(IMAGE.transpose(2, 0, 1), place[:, 2:42])
    assert late.array() is late.held
    assert not np.shares_memory(place, container.data.numpy())


def test_its_shape_says_how_it_lies() -> None:
    with leaving_images():
        outcome = Compose([NORMALIZE, BUNDLE])({"img": IMAGE})

    assert (outcome["pad_shape"], outcome["img"].late.shape) == ((40, 50, 3), (3, 40, 50))


def test_who_asks_at_once_gets_the_same_tensor() -> None:
    """Two threads make it, and the first one's is everybody's."""
    both = threading.Barrier(2, timeout=30)

    def write(held: np.ndarray, place: np.ndarray) -> None:
        both.wait()
        place[...] = 5

    container = DataContainer(LateImage((1, 2, 2), np.uint8, np.empty(0), write))
    got: list[torch.Tensor] = []
    threads = [threading.Thread(target=lambda: got.append(container.data)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [each.sum().item() for each in got] == [20, 20]
    assert container.data.data_ptr() in {each.data_ptr() for each in got}
