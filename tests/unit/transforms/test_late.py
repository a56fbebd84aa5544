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


def test_it_keeps_its_uint8_values_until_it_is_written() -> None:
    container = late_container(NORMALIZE, PAD)
    late = container.late
    assert late is not None

    assert ((3, 64, 64), np.float32, None) == (late.shape, late.dtype, late.written)
    assert size_bytes({"img": container}) == 3 * 40 * 50
    late.write(np.empty((3, 64, 64), np.float32))
    assert size_bytes({"img": container}) == 4 * 3 * 64 * 64
    assert late.held_bytes == 0


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


def test_one_that_is_written_already_is_copied() -> None:
    container = late_container()
    late = container.late
    assert late is not None
    assert late.written is not None
    place = np.zeros((3, 44, 50), np.float32)
    late.write(place[:, 2:42])

    np.testing.assert_array_equal(IMAGE.transpose(2, 0, 1), place[:, 2:42])
    assert np.shares_memory(place, container.data.numpy())


def test_its_shape_says_how_it_lies() -> None:
    with leaving_images():
        outcome = Compose([NORMALIZE, BUNDLE])({"img": IMAGE})

    assert (outcome["pad_shape"], outcome["img"].late.shape) == ((40, 50, 3), (3, 40, 50))


def test_an_image_of_its_own_memory_keeps_that() -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    late = LateImage.of(array)

    assert late.array() is array
    assert (late.shape, late.dtype, late.held_bytes) == ((2, 3, 4), np.float32, 0)


def test_two_threads_may_write_it_at_once() -> None:
    both = threading.Barrier(2, timeout=30)
    may_end = threading.Event()

    def write(place: np.ndarray) -> None:
        both.wait()
        place[...] = 5
        if place is places[0]:
            assert may_end.wait(30)

    late = LateImage((1, 2, 2), np.uint8, write, held_bytes=0)
    places = [np.zeros((1, 2, 2), np.uint8) for _ in range(3)]
    first, second = (threading.Thread(target=late.write, args=(place,)) for place in places[:2])
    first.start()
    second.start()
    second.join()
    # One is through, the other in the midst of it.
    late.write(places[2])
    may_end.set()
    first.join()

    assert [5, 5, 5] == [place[0, 0, 0] for place in places]
    assert late.written is places[0]
