"""Arrays of memory that is used again."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch

from asyncio_loader.transforms import arrays
from asyncio_loader.transforms.arrays import ArrayPool, new_image
from asyncio_loader.transforms.formatting import DataContainer, to_chw_tensor
from asyncio_loader.transforms.scaling import flip_image, resize_image

MIB = 1024 * 1024
SHAPE = (400, 300, 3)


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16, np.float64])
@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 4, 3), (400, 300), (3, 400, 300), (800, 1333, 3)])
def test_it_is_an_array_to_write_to(shape: tuple[int, ...], dtype: Any) -> None:
    array = ArrayPool(96 * MIB, idle_bytes=96 * MIB).new(shape, dtype)
    array[...] = 7

    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert array.flags.writeable
    assert array.flags.c_contiguous
    assert array.flags.aligned
    assert (array == 7).all()


def test_memory_of_which_nothing_is_left_is_used_again() -> None:
    pool = ArrayPool(16 * MIB, idle_bytes=16 * MIB)
    first = _address(pool.new(SHAPE, np.uint8))

    # Of another shape, but of as many bytes.
    assert _address(pool.new((300, 100, 3), np.float32)) == first


@pytest.mark.parametrize(
    "keep",
    [
        lambda array: array,
        lambda array: array[5:7, ::2],
        lambda array: array.transpose(2, 0, 1),
        lambda array: array.view(np.int8),
        lambda array: memoryview(array)[3:4],
        lambda array: array.data,
        lambda array: array.flat,
        lambda array: torch.from_numpy(array),
        lambda array: torch.from_numpy(array)[1:].view(torch.int8),
        lambda array: torch.from_numpy(array).permute(2, 0, 1).unsqueeze(0),
        lambda array: torch.from_numpy(array).untyped_storage(),
        lambda array: torch.from_numpy(array).numpy(),
        lambda array: torch.from_dlpack(array),
        lambda array: np.from_dlpack(torch.from_numpy(array)),
        lambda array: torch.utils.dlpack.to_dlpack(torch.from_numpy(array)),
        lambda array: {"cache": [DataContainer(torch.from_numpy(array), stack=True)]},
        lambda array: np.lib.stride_tricks.as_strided(array, (2, 2), (1, 1)),
    ],
    ids=lambda _: "",
)
def test_memory_is_not_handed_out_while_anything_of_it_lives(keep: Callable[[Any], object]) -> None:
    pool = ArrayPool(64 * MIB, idle_bytes=64 * MIB)
    array = pool.new(SHAPE, np.uint8)
    address = _address(array)
    kept = keep(array)
    del array
    others = [pool.new(SHAPE, np.uint8) for _ in range(20)]

    assert address not in map(_address, others)

    del kept, others
    gc.collect()
    assert address in [_address(array) for array in [pool.new(SHAPE, np.uint8) for _ in range(21)]]


def test_what_a_graph_of_gradients_keeps_is_kept() -> None:
    pool = ArrayPool(64 * MIB, idle_bytes=64 * MIB)
    image = torch.from_numpy(pool.new((100_000,), np.float32).reshape(-1))
    image.fill_(3)
    weight = torch.ones(100_000, requires_grad=True)
    loss = (image * weight).sum()
    del image
    for _ in range(4):
        pool.new((100_000,), np.float32).fill(9)
    loss.backward()  # type: ignore[no-untyped-call]

    assert weight.grad is not None
    assert (weight.grad == 3).all()


def test_every_thread_has_memory_of_its_own_which_outlives_it_where_it_is_in_use() -> None:
    pool = ArrayPool(16 * MIB, idle_bytes=16 * MIB)
    made: list[npt.NDArray[Any]] = []

    def make() -> None:
        array = pool.new(SHAPE, np.uint8)
        array.fill(len(made) + 1)
        made.append(array)

    for _ in range(3):
        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
    for _ in range(8):
        pool.new(SHAPE, np.uint8).fill(99)

    assert [np.unique(array).tolist() for array in made] == [[1], [2], [3]]


def test_what_was_made_in_one_thread_and_dropped_in_another_is_used_again_by_the_first() -> None:
    pool = ArrayPool(16 * MIB, idle_bytes=16 * MIB)
    made = [pool.new(SHAPE, np.uint8)]
    address = _address(made[0])
    thread = threading.Thread(target=made.clear)
    thread.start()
    thread.join()

    assert _address(pool.new(SHAPE, np.uint8)) == address


def test_beyond_the_limit_arrays_are_numpys_own() -> None:
    pool = ArrayPool(4 * MIB, idle_bytes=MIB)
    kept = [pool.new((MIB // 2,), np.uint8) for _ in range(10)]

    assert [array.base is not None for array in kept] == [True] * 8 + [False] * 2
    assert pool.new((MIB,), np.uint8).base is None
    del kept
    # Larger than what may lie idle, and than a quarter.
    assert pool.new((MIB + 1,), np.uint8).base is None
    assert pool.new((MIB,), np.uint8).base is not None


def test_a_batch_that_is_larger_than_what_may_lie_idle_finds_its_memory_again() -> None:
    pool = ArrayPool(1024 * MIB, idle_bytes=4 * MIB)

    def make_batch() -> list[npt.NDArray[Any]]:
        return [pool.new((MIB,), np.uint8) for _ in range(16)]

    batch = make_batch()
    addresses = set(map(_address, batch))
    for _ in range(3):
        del batch
        batch = make_batch()
        assert set(map(_address, batch)) == addresses


def test_small_arrays_are_numpys_own() -> None:
    assert ArrayPool(4 * MIB, idle_bytes=4 * MIB).new((100,), np.uint8).base is None


@pytest.mark.parametrize(
    "make",
    [
        lambda image: resize_image(image, (320, 410)),
        lambda image: flip_image(image, "horizontal"),
        lambda image: to_chw_tensor(image).numpy(),
    ],
    ids=["resize", "flip", "planes"],
)
def test_stages_of_an_image_write_to_memory_of_the_pool(make: Callable[[Any], npt.NDArray[Any]]) -> None:
    image = np.random.default_rng(0).integers(0, 256, SHAPE, dtype=np.uint8)
    stage = make(image)
    expected, address = stage.copy(), _address(stage)
    # So that the one below is the next in turn, whatever other tests left.
    kept = [make(image) for _ in range(30)]
    del stage
    again = [make(255 - image) for _ in range(30)]

    assert address in map(_address, again)
    assert all((one == expected).all() for one in kept)


@pytest.mark.parametrize("shape", [(40, 30), (40, 30, 1), (40, 30, 3), (40, 30, 4), (40, 30, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_pixels_and_shapes_are_those_that_opencv_gives_by_itself(
    shape: tuple[int, ...], dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("asyncio_loader.transforms.arrays._SMALL_BYTES", 0)
    image = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    expected = cv2.resize(image, (70, 20), interpolation=cv2.INTER_LINEAR)
    for _ in range(3):
        resized = resize_image(image, (70, 20))
        flipped = flip_image(image, "diagonal")

        assert (resized.dtype, resized.shape) == (expected.dtype, expected.shape)
        assert (resized == expected).all()
        assert (flipped.dtype, flipped.shape) == (image.dtype, image.shape)
        assert (flipped == image[::-1, ::-1]).all()


def test_planes_are_placed_where_somebody_has_a_place_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_place", None)
    place = np.empty((3, 40, 30), np.uint8)
    arrays.place_planes(lambda shape, dtype: place if shape == (3, 40, 30) else None)
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    tensor = to_chw_tensor(image)

    assert tensor.data_ptr() == _address(place)
    assert (tensor.numpy() == image.transpose(2, 0, 1)).all()
    assert arrays.new_planes((3, 20, 30), np.uint8).shape == (3, 20, 30)


def test_new_image_is_for_all_threads_at_once() -> None:
    wrong: list[int] = []

    def work(mark: int) -> None:
        held: list[npt.NDArray[Any]] = []
        for number in range(200):
            array = new_image((200, 300 + 100 * (number % 3), 3), np.uint8)
            array.fill(mark)
            held.append(array)
            if len(held) > 5:
                wrong.extend(int((old != mark).sum()) for old in held[::2])
                del held[::2]

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sum(wrong) == 0
    assert len(wrong) > 100
