"""There is no page-locked memory without a GPU: an allocator that counts stands in for torch's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from asyncio_loader.datasets.collate import collate
from asyncio_loader.datasets.pinned import PinnedMemory, new_pinned_stack
from asyncio_loader.transforms.formatting import DataContainer


class Allocator:
    """Attributes:
    made: storages of what was asked for, by their address.
    """

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        tensor = torch.empty_strided(tuple(shape), tuple(strides), dtype=dtype).fill_(1)
        self.made.append(tensor.data_ptr())
        return tensor


def memory(limit_bytes: int = 1000) -> tuple[PinnedMemory, Allocator]:
    allocator = Allocator()
    return PinnedMemory(limit_bytes, allocator), allocator


def as_containers(*shapes: tuple[int, ...], dtype: torch.dtype = torch.uint8) -> list[DataContainer]:
    tensors = [torch.full(shape, number + 1).to(dtype) for number, shape in enumerate(shapes)]
    return [DataContainer(tensor, stack=True, padding_value=9) for tensor in tensors]


def test_no_more_than_the_limit_is_alive_and_what_is_gone_makes_room() -> None:
    pinned, _ = memory(1000)
    first = pinned.new((10, 10), torch.float32)
    second = pinned.new((100,), torch.int32)
    assert first is not None
    assert second is not None
    assert (first.shape, first.dtype, first.is_contiguous()) == ((10, 10), torch.float32, True)

    assert pinned.new((201,), torch.uint8) is None
    third = pinned.new((200,), torch.uint8)
    assert third is not None
    # A view is as good as the tensor.
    kept = first[3:4].view(torch.uint8)
    del first
    assert pinned.new((1,), torch.uint8) is None
    del kept
    assert pinned.new((400,), torch.uint8) is not None


def test_many_small_ones_that_are_gone_leave_nothing_behind() -> None:
    pinned, allocator = memory(10**9)
    for _ in range(5000):
        pinned.new((1,), torch.uint8)

    assert len(allocator.made) == 5000
    assert len(pinned._live) < 1000


def test_of_nothing_there_is_none() -> None:
    pinned, allocator = memory()

    assert pinned.new((3, 0), torch.float32) is None
    assert allocator.made == []


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.bool, torch.int64, torch.bfloat16])
def test_a_batch_is_copied_with_its_values(dtype: torch.dtype) -> None:
    pinned, allocator = memory()
    tensor = torch.arange(24).reshape(2, 3, 4).to(dtype)

    (copy, name), empty = pinned.pin(((tensor, "a name"), torch.zeros(0, 4)))

    assert (copy.data_ptr(), name) == (allocator.made[0], "a name")
    assert (copy.dtype, copy.tolist()) == (dtype, tensor.tolist())
    assert (len(allocator.made), empty.shape) == (1, (0, 4))


def test_a_copy_has_the_strides_of_a_whole_tensor_and_is_contiguous_of_a_part() -> None:
    pinned, _ = memory(10_000)
    channels_last = torch.arange(120.0).reshape(2, 3, 4, 5).to(memory_format=torch.channels_last)
    part = torch.arange(120.0).reshape(10, 12)[:, ::3]
    scalar = torch.tensor(3.5, requires_grad=True)

    copies = pinned.pin([channels_last, part, scalar])

    assert copies[0].is_contiguous(memory_format=torch.channels_last)
    assert copies[1].is_contiguous()
    assert [copy.tolist() for copy in copies] == [channels_last.tolist(), part.tolist(), 3.5]


def test_beyond_the_limit_tensors_stay_where_they_are() -> None:
    pinned, _ = memory(100)
    small, large = torch.ones(25), torch.ones(1)

    copies = pinned.pin([small, large])

    assert copies[0] is not small
    assert copies[1] is large


def test_what_is_page_locked_already_is_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    pinned, allocator = memory()
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self: self.data_ptr() in allocator.made)
    with pinned.taking_stacks():
        stack = collate(as_containers((3, 4), (3, 4)), 2).data[0]

    assert pinned.pin([stack])[0] is stack
    assert len(allocator.made) == 1


def test_collate_stacks_into_it_where_it_is_told_to() -> None:
    pinned, allocator = memory()
    samples = as_containers((2, 2), (2, 3), (1, 3))
    with pinned.taking_stacks():
        stack = collate(samples, 3).data[0]
    outside = collate(samples, 3).data[0]

    assert allocator.made == [stack.data_ptr()]
    assert stack.tolist() == [[[1, 1, 9], [1, 1, 9]], [[2, 2, 2], [2, 2, 2]], [[3, 3, 3], [9, 9, 9]]]
    assert torch.equal(outside, stack)


def test_a_stack_that_finds_no_room_lies_elsewhere() -> None:
    pinned, allocator = memory(10)
    with pinned.taking_stacks():
        stack = collate(as_containers((4, 4), (4, 4)), 2).data[0]

    assert allocator.made == []
    assert stack.tolist() == [np.full((4, 4), 1).tolist(), np.full((4, 4), 2).tolist()]


def test_an_error_ends_the_block() -> None:
    pinned, _ = memory()

    def fail() -> Any:
        with pinned.taking_stacks():
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert new_pinned_stack((3,), torch.uint8) is None
